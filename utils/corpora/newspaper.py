"""The People's Daily corpus of January 1998 (PFR): words and part-of-speech tags in, sentences with IOB2 labels out.

The file has one paragraph a line, each token as word/tag. What must be known about this copy: the brackets of
compound names and the article ids are lost (so organisations are found by a rule, see `organisations`), and a Chinese
name is two tokens, surname and given name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate

from datasets import Dataset, DatasetDict

from ..errors import ConfigError
from .organisations import Span, Word, silver_spans
from .sources import read
from .tables import SPLITS, dataset, dataset_info, label_names, tag_features

FILE = "tag/199801.txt"
# First paragraph (0-based) of each split and one past its last. By time, never at random: news repeat themselves
# within days. The borders are paragraphs that open the weather report, which stands once in each of the 31 issues.
BORDERS = {"train": (0, 15136), "validation": (15136, 17006), "test": (17006, 19484)}
SCHEMES = {"silver": ("PER", "LOC", "ORG"), "clean": ("PER", "LOC")}
NOTES = {
    "silver": "PER 由词性 nr 得出；ORG 是银标签（按机构中心词规则推出，并非人工标注）；LOC 是规则之后剩下的 ns；按时间划分，重复句只留第一次出现",
    "clean": "只有 PER（词性 nr）与 LOC（词性 ns），均来自原有词性标注；按时间划分，重复句只留第一次出现",
}
SENTENCE_ENDS = frozenset("。!?")  # after NFKC
CLOSING = frozenset("”’)》」』")  # stay with the sentence that they close
MINIMUM_CHARACTERS = 5
COMPOUND_SURNAMES = frozenset("欧阳 司马 诸葛 司徒 南宫 令狐 上官 皇甫 慕容 尉迟 公孙 东方 夏侯 端木 宇文 长孙 呼延".split())
RARE_CHARACTER = re.compile(r"[(〈][^()〈〉]+[)〉]")  # "(昆音)" stands for one character that the encoding lacked
CHINESE = re.compile("[\u3400-\u9fff]")


def split_words(line: str) -> list[Word]:
    """"中国/ns  人民/n" -> [("中国", "ns"), ("人民", "n")]. The tag follows the last slash."""
    return [token.rpartition("/")[::2] for token in line.split()]


def join_names(run: list[str]) -> list[int]:
    """How many words of a run of nr tokens each person takes: ["邓", "小平", "克林顿"] -> [2, 1].

    A surname (one character, or a listed compound) and a given name of up to two characters are one person. A run of
    exactly (1, 1, 2) characters is one person with a double surname (陈 方 安生). Other runs are read from the left,
    each person as long as possible.
    """
    lengths = [len(RARE_CHARACTER.sub("□", word)) for word in run]
    if lengths == [1, 1, 2]:
        return [3]
    sizes, place = [], 0
    while place < len(run):
        surname = lengths[place] == 1 or run[place] in COMPOUND_SURNAMES
        size = 2 if surname and place + 1 < len(run) and lengths[place + 1] <= 2 else 1
        sizes.append(size)
        place += size
    return sizes


def person_spans(words: list[Word]) -> list[Span]:
    """People of a paragraph, in words: [(first, one past the last, "PER")]."""
    spans, place = [], 0
    while place < len(words):
        if words[place][1] != "nr":
            place += 1
            continue
        end = place + 1
        while end < len(words) and words[end][1] == "nr":
            end += 1
        for size in join_names([word for word, _ in words[place:end]]):
            spans.append((place, place + size, "PER"))
            place += size
    return spans


def clean_spans(words: list[Word]) -> list[Span]:
    """Places by their plain tag. Neighbouring places stay separate, as the annotators left them."""
    return [(place, place + 1, "LOC") for place, (_, tag) in enumerate(words) if tag == "ns"]


def sentence_borders(words: list[Word]) -> list[int]:
    """Word numbers at which sentences end: after 。！？ and the closing quotes and brackets that follow."""
    borders, ended = [], False
    for place, (word, _) in enumerate(words):
        if word in SENTENCE_ENDS:
            ended = True
        elif ended and word not in CLOSING:
            borders.append(place)
            ended = False
    return borders + [len(words)]


def sentences(scheme: str) -> Iterator[tuple[str, str, list[int], str]]:
    """(split, characters, label numbers, id) of every sentence that is kept, in the order of the newspaper.

    Label numbers are places in `label_names(SCHEMES[scheme])`. Dropped are sentences of fewer than five characters,
    those without a Chinese character, and repetitions: the first of the whole month stays, so nothing in validation
    or test stands in train. The id is the paragraph (0-based) and the sentence within it (0-based, dropped ones
    counted): "15136-0".
    """
    find_spans = silver_spans if scheme == "silver" else clean_spans
    begin = {kind: 2 * number + 1 for number, kind in enumerate(SCHEMES[scheme])}  # B-X; I-X is one more
    seen = set()
    lines = read(FILE).splitlines()
    for split in SPLITS:
        for paragraph in range(*BORDERS[split]):
            words = split_words(lines[paragraph])
            text = "".join([word for word, _ in words])
            offsets = [0, *accumulate([len(word) for word, _ in words])]  # in characters
            labels = [0] * len(text)
            for first, last, kind in find_spans(words) + person_spans(words):
                start, end = offsets[first], offsets[last]
                labels[start:end] = [begin[kind] + 1] * (end - start)
                labels[start] = begin[kind]
            start = 0
            for number, border in enumerate(sentence_borders(words)):
                end = offsets[border]
                sentence = text[start:end]
                if len(sentence) >= MINIMUM_CHARACTERS and sentence not in seen and CHINESE.search(sentence):
                    seen.add(sentence)
                    yield split, sentence, labels[start:end], f"{paragraph}-{number}"
                start = end


@lru_cache(maxsize=None)
def _datasets(scheme: str) -> dict[str, Dataset]:
    columns = {split: {"tokens": [], "ner_tags": [], "id": []} for split in SPLITS}
    for split, text, labels, name in sentences(scheme):
        columns[split]["tokens"].append(list(text))
        columns[split]["ner_tags"].append(labels)
        columns[split]["id"].append(name)
    info = dataset_info("people_daily", tag_features(label_names(SCHEMES[scheme])), NOTES[scheme])
    return {split: dataset(columns[split], info) for split in SPLITS}


def people_daily(scheme: str = "silver") -> DatasetDict:
    """Named entities of the People's Daily, January 1998, as train, validation and test (split by time).

    Args:
        scheme: "silver": PER from the part-of-speech tags, ORG by the rule of `organisations`, LOC what it leaves;
            "clean": PER and LOC from the part-of-speech tags, nothing derived.

    Returns:
        Columns tokens (single characters after NFKC), ner_tags (ClassLabel, IOB2), id ("paragraph-sentence").

    Raises:
        ConfigError: an unknown scheme.
        DataError: the package's file is missing or altered.
    """
    if scheme not in SCHEMES:
        raise ConfigError(f"没有名为 {scheme!r} 的标注方案 scheme；可选：{'、'.join(SCHEMES)}")
    return DatasetDict(_datasets(scheme))


@lru_cache(maxsize=1)
def _distinct_paragraphs() -> dict[str, list[str]]:
    lines = read(FILE).splitlines()
    seen, result = set(), {split: [] for split in SPLITS}
    for split in SPLITS:
        for line in lines[slice(*BORDERS[split])]:
            text = "".join(word for word, _ in split_words(line))
            if text not in seen:
                seen.add(text)
                result[split].append(text)
    return result


def people_daily_text(split: str) -> list[str]:
    """Paragraphs without tags, in the order of the newspaper, for pre-training.

    Of identical paragraphs only the first of the month is kept. The splits are the days of `people_daily`.

    Args:
        split: "train", "validation" or "test".

    Raises:
        ConfigError: an unknown split.
        DataError: the package's file is missing or altered.
    """
    if split not in SPLITS:
        raise ConfigError(f"没有名为 {split!r} 的划分；可选：{'、'.join(SPLITS)}")
    return list(_distinct_paragraphs()[split])
