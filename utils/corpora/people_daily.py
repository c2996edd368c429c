"""The People's Daily corpus of January 1998 (PFR): words and part-of-speech tags in, sentences with IOB2 labels out.

The file has one paragraph a line, each token as word/tag. What must be known about this copy: the brackets of
compound names and the article ids are lost (so organisations are found by a rule, see `organisations`), and a Chinese
name is two tokens, surname and given name.
"""

from __future__ import annotations

from functools import lru_cache

from ..errors import ConfigError
from .sources import read
from .tables import SPLITS

FILE = "tag/199801.txt"
# First paragraph (0-based) of each split. By time, never at random: news repeat themselves within days. The borders
# are paragraphs that open a day's weather report, which stands once in each of the 31 issues.
BORDERS = {"train": (0, 15136), "validation": (15136, 17006), "test": (17006, 19484)}

Word = tuple[str, str]  # the word and its part-of-speech tag


def split_words(line: str) -> list[Word]:
    """"中国/ns  人民/n" -> [("中国", "ns"), ("人民", "n")]. The tag follows the last slash."""
    return [token.rpartition("/")[::2] for token in line.split()]


def paragraphs() -> list[list[Word]]:
    """All 19,484 paragraphs of the file after NFKC, in order."""
    return [split_words(line) for line in read(FILE).splitlines()]


@lru_cache(maxsize=1)
def _distinct_texts() -> dict[str, list[str]]:
    """Plain paragraphs by split; of identical paragraphs only the first of the whole month is kept."""
    lines = read(FILE).splitlines()
    seen, result = set(), {}
    for split in SPLITS:
        result[split] = []
        for line in lines[slice(*BORDERS[split])]:
            text = "".join(token.rpartition("/")[0] for token in line.split())
            if text not in seen:
                seen.add(text)
                result[split].append(text)
    return result


def people_daily_text(split: str) -> list[str]:
    """Paragraphs without tags, in the order of the newspaper, for pre-training.

    Args:
        split: "train", "validation" or "test": the same days as in `people_daily`.

    Raises:
        ConfigError: an unknown split.
        DataError: the package's file is missing or altered.
    """
    if split not in SPLITS:
        raise ConfigError(f"没有名为 {split!r} 的划分；可选：{'、'.join(SPLITS)}")
    return list(_distinct_texts()[split])
