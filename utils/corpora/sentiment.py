"""The reviews of ChnSentiCorp (books, hotels, computers) for sentiment classification, cleaned and honestly split.

The files hold most reviews twice and break many of them over several lines. So duplicates go first, and neighbouring
lines stay on one side of the split: a random split by line lets halves of one review stand on both sides.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

from datasets import ClassLabel, DatasetDict, Features, Value

from ..errors import ConfigError
from .sources import read
from .tables import SPLITS, dataset, dataset_info

DOMAINS = ("book", "hotel", "pc")
LABELS = ("negative", "positive")
BLOCK_LINES = 25  # consecutive lines that stay together in one split
MINIMUM_CHARACTERS = 7  # shorter lines are scraps of broken reviews
BOILERPLATE = ("宾馆反馈", "免费注册", "补充点评")  # replies of the hotel, page navigation, addenda without their review

# Which lines (0-based, half open) of the two files belong to which domain, in the order of the file.
FILES = {"positive": "sentiment/pos.txt", "negative": "sentiment/neg.txt"}
LINES = {
    "positive": (
        ("book", 0, 2000), ("hotel", 2000, 5376), ("book", 5376, 7376), ("hotel", 7376, 10760), ("pc", 10760, 16548),
    ),
    "negative": (
        ("book", 0, 2000), ("hotel", 2000, 6382), ("book", 6382, 8382), ("hotel", 8382, 12787), ("pc", 12787, 18576),
    ),
}


def split_of_block(label: str, domain: str, block: int) -> str:
    """Split of one block of lines: decided by a hash of its name, so it never depends on a generator or an order."""
    digest = hashlib.sha256(f"{label}/{domain}/{block}".encode()).digest()
    place = int.from_bytes(digest[:8], "big") % 10
    return "validation" if place == 8 else "test" if place == 9 else "train"


def is_review(text: str) -> bool:
    """Whether a line can be read as (part of) a review: long enough, Chinese, and no boilerplate of the web page."""
    has_chinese = any("\u4e00" <= character <= "\u9fff" for character in text)
    return len(text) >= MINIMUM_CHARACTERS and has_chinese and not any(phrase in text for phrase in BOILERPLATE)


@lru_cache(maxsize=1)
def _rows() -> tuple[tuple[str, str, str, str, str], ...]:
    """(split, text, label, domain, id) of every cleaned line; id is label, file line (1-based)."""
    lines = {label: [line.strip() for line in read(name).split("\n")] for label, name in FILES.items()}
    contradictory = set(lines["positive"]) & set(lines["negative"])
    rows = []
    for label in LABELS:
        seen = set(contradictory)
        for domain in DOMAINS:
            places = [i for name, start, end in LINES[label] if name == domain for i in range(start, end)]
            for order, i in enumerate(places):
                text = lines[label][i]
                if text in seen or not is_review(text):
                    continue
                seen.add(text)
                split = split_of_block(label, domain, order // BLOCK_LINES)
                rows.append((split, text, label, domain, f"{label}-{i + 1}"))
    return tuple(rows)


def reviews(domains: tuple[str, ...] = ("hotel", "pc")) -> DatasetDict:
    """Sentiment of reviews, as train, validation and test (about 80/10/10).

    Cleaning, in this order: NFKC and outer blanks off; texts found in both classes dropped; of identical texts within
    a class the first kept; lines of fewer than seven characters, without a Chinese character, or with a phrase of
    `BOILERPLATE` dropped. A row is a line of the file: a broken review gives several rows, all in one split.
    The polarity of books can be read off their length; use hotels and computers unless that is the lesson.

    Args:
        domains: any of "book", "hotel", "pc".

    Returns:
        Columns text (str), label (ClassLabel negative, positive), domain (str), id (class and 1-based line of its file).

    Raises:
        ConfigError: an unknown domain, or none.
        DataError: the package's files are missing or altered.
    """
    domains = (domains,) if isinstance(domains, str) else tuple(domains)
    unknown = [domain for domain in domains if domain not in DOMAINS]
    if unknown or not domains:
        raise ConfigError(f"domains={domains!r} 中没有可用的领域；可选：{'、'.join(DOMAINS)}" if not domains else
                          f"没有名为 {unknown[0]!r} 的评论领域；可选：{'、'.join(DOMAINS)}")
    features = Features({
        "text": Value("string"), "label": ClassLabel(names=list(LABELS)), "domain": Value("string"), "id": Value("string"),
    })
    info = dataset_info("reviews", features, "去重、去掉两类共有的文本与网页套话；按连续 25 行为一块划分，标签由来源文件给出")
    chosen = [row for row in _rows() if row[3] in domains]
    result = DatasetDict()
    for split in SPLITS:
        rows = [row for row in chosen if row[0] == split]
        columns = {
            "text": [row[1] for row in rows],
            "label": [LABELS.index(row[2]) for row in rows],
            "domain": [row[3] for row in rows],
            "id": [row[4] for row in rows],
        }
        result[split] = dataset(columns, info)
    return result
