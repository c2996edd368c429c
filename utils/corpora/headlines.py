"""Headlines and leads of the People's Daily of January 1998: for each lead the headline that an editor gave it.

A lead is a paragraph that opens with a dateline (本报讯, 新华社北京1月4日电); the line just above it is its headline if it looks
like one. This copy of the corpus has lost the article ids, so what else belongs to the article is not known. Dateline and
reporter are taken off, because they are the same everywhere and no headline repeats them.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from itertools import accumulate

from datasets import DatasetDict, Features, Value

from .newspaper import BORDERS, FILE, clean_spans, person_spans, split_words
from .sources import read
from .tables import SPLITS, dataset, dataset_info

DATELINE = re.compile(
    r"(?:据?新华社|本报)[^,。:;]{0,22}?(?:讯|电)(?:专?电)?"
    r"(?:\([^)]{1,24}\)|(?:新华社|本报)?(?:实习生|通讯员|特派|特约)?记者[^。:]{1,40}?报道:|[^,。:]{1,16}报道:)?"
)
SHORTEST, LONGEST = 5, 40  # characters of a headline
SHORTEST_LEAD = 20  # characters of a lead after its dateline
NO_HEADLINE = re.compile(r"[。!?;,:、]$|^\(|^[●■▲]|图片|记者|本报|新华社|报道$|^(?:附|编者按|简讯|快讯|短讯)")
NOTE = ("标题与导语：带电头的段落与紧挨在它上面的标题行，电头和记者名已去掉；完全相同的导语或标题只留一次；按时间划分。"
        "标题由报社编辑所写，是金标；“这一行是标题”由规则判断")


def strip_dateline(text: str) -> str | None:
    """A lead without its dateline; None if it has none."""
    match = DATELINE.match(text)
    return text[match.end() :].lstrip(",:") if match else None


def is_headline(text: str) -> bool:
    """Whether a paragraph can be a headline: short, Chinese, without the marks of a sentence or a caption."""
    chinese = sum("\u4e00" <= character <= "\u9fff" for character in text)
    return SHORTEST <= len(text) <= LONGEST and 2 * chinese >= len(text) and not NO_HEADLINE.search(text)


def names(line: str) -> list[str]:
    """People (tag nr, surname and given name joined), places (ns) and organisations (nt) of a tagged paragraph, in order."""
    words = split_words(line)
    text = "".join(word for word, _ in words)
    offsets = [0, *accumulate(len(word) for word, _ in words)]
    organisations = [(place, place + 1, "ORG") for place, (_, tag) in enumerate(words) if tag == "nt"]
    spans = sorted(person_spans(words) + clean_spans(words) + organisations)
    return [text[offsets[first] : offsets[last]] for first, last, _ in spans]


@lru_cache(maxsize=1)
def _rows() -> list[tuple[str, str, str, list[str], list[str], str]]:
    """(split, headline, lead, names of the headline, of the lead, id) of every pair kept, in the order of the newspaper."""
    lines = read(FILE).splitlines()
    texts = ["".join(word for word, _ in split_words(line)) for line in lines]
    seen: Counter = Counter()
    rows = []
    for split in SPLITS:
        for place in range(max(1, BORDERS[split][0]), BORDERS[split][1]):
            headline, lead = texts[place - 1], strip_dateline(texts[place])
            if lead is None or len(lead) < SHORTEST_LEAD or not is_headline(headline):
                continue
            seen.update([headline, lead])
            if seen[headline] == seen[lead] == 1:
                rows.append((split, headline, lead, names(lines[place - 1]), names(lines[place]), str(place)))
    return rows


def headlines() -> DatasetDict:
    """Headlines and leads as train, validation and test, split by time (the days of `people_daily`).

    Returns:
        Columns headline, lead (after NFKC), names and lead_names (people, places and organisations of the headline and of the
        whole lead paragraph, from the tags of the corpus), id (0-based paragraph of the lead).

    Raises:
        DataError: the package's file is missing or altered.
    """
    text = Value("string")
    features = Features({"headline": text, "lead": text, "names": [text], "lead_names": [text], "id": text})
    info = dataset_info("people_daily", features, NOTE)
    result = DatasetDict()
    for split in SPLITS:
        rows = [row[1:] for row in _rows() if row[0] == split]
        columns = {name: [row[place] for row in rows] for place, name in enumerate(features)}
        result[split] = dataset(columns, info)
    return result
