"""Who holds which office where: people, offices and places in the sentences of the People's Daily, and their pairs.

A sentence has mentions of three kinds. *person*: the tag nr. *place*: places and organisations of the silver scheme
(`organisations`). *office*: a noun that ends in one of `OFFICES`, with a prefix such as 副 before it; an inventory of
words, which says nothing about who holds the office. Two relations are asked for: "holds" (person, office) and "of"
(office, place). Chapter 20 explains them.

The labels of the hand-labelled pairs stand in `utils/assets/relations.json` as offsets, never as text.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np

from ..errors import DataError
from .newspaper import BORDERS, CHINESE, FILE, MINIMUM_CHARACTERS, person_spans, sentence_borders, split_words
from .organisations import Word, silver_spans
from .sources import read
from .tables import SPLITS

LABELS = Path(__file__).resolve().parents[1] / "assets" / "relations.json"
LABELS_SHA256 = "85d9cdb1f689a98391e61797dd49cfa31f2be99ad02c359282c833ef514c133b"  # here, so that other labels make records stale
OFFICES = tuple(
    "主席 总统 总理 首相 部长 外长 财长 防长 书记 主任 局长 厅长 司长 处长 科长 署长 关长 市长 省长 县长 区长 乡长 镇长 州长 "
    "专员 院长 校长 所长 会长 理事长 董事长 经理 行长 总裁 社长 台长 馆长 团长 议长 委员长 秘书长 大使 公使 参赞 领事 "
    "代办 发言人 国务委员 委员 国务卿 大臣 司令 司令员 政委 参谋长 军长 师长 旅长 检察长 审计长 庭长 站长 队长 矿长 厂长 "
    "主编 总编辑 总干事 总督 特使 长官 支书 组长".split()
)
PREFIXES = frozenset("副 常务 名誉 代 代理 执行 助理".split())  # belong to the office that follows
LONGEST = 120  # characters; longer sentences are left out
KINDS = {"holds": ("person", "office"), "of": ("office", "place")}
BANDS = (0, 3, 10, 25)  # characters between the two mentions: [0, 3), [3, 10), [10, 25), [25, …)


@dataclass(frozen=True, order=True)
class Mention:
    """Where a person, office or place stands in its sentence, in characters; end exclusive."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Sentence:
    """A sentence with its mentions. The id is that of `newspaper.sentences`: "paragraph-number"."""

    id: str
    split: str
    text: str
    mentions: tuple[Mention, ...]

    def of_kind(self, kind: str) -> list[Mention]:
        """The mentions of one kind, in order."""
        return [mention for mention in self.mentions if mention.kind == kind]


@dataclass(frozen=True)
class Pair:
    """Two mentions of a sentence that may stand in the relation `kind`; first and second as in `KINDS`."""

    sentence: Sentence
    kind: str
    first: Mention
    second: Mention

    @property
    def gap(self) -> int:
        """Characters between the two mentions."""
        return max(self.first.start, self.second.start) - min(self.first.end, self.second.end)

    def words(self) -> tuple[str, str]:
        """The text of the two mentions."""
        text = self.sentence.text
        return text[self.first.start : self.first.end], text[self.second.start : self.second.end]


def office_spans(words: Sequence[Word]) -> list[tuple[int, int]]:
    """Offices in words: nouns that end in one of `OFFICES`, with the prefixes before them."""
    spans = []
    for place, (word, tag) in enumerate(words):
        if tag == "n" and word.endswith(OFFICES):
            first = place
            while first and words[first - 1][0] in PREFIXES:
                first -= 1
            spans.append((first, place + 1))
    return spans


def _mentions(words: list[Word]) -> list[tuple[int, int, str]]:
    """(first word, one past the last, kind); an office inside the name of an organisation is none."""
    places = [(first, last, "place") for first, last, _ in silver_spans(words)]
    people = [(first, last, "person") for first, last, _ in person_spans(words)]
    taken = {place for first, last, _ in places for place in range(first, last)}
    offices = [(first, last, "office") for first, last in office_spans(words) if not taken & set(range(first, last))]
    return sorted(places + people + offices)


@lru_cache(maxsize=1)
def _sentences() -> tuple[Sentence, ...]:
    lines, seen, found = read(FILE).splitlines(), set(), []
    for split in SPLITS:
        for paragraph in range(*BORDERS[split]):
            words = split_words(lines[paragraph])
            offsets = [0, *accumulate(len(word) for word, _ in words)]
            text = "".join(word for word, _ in words)
            mentions, first = _mentions(words), 0
            for number, border in enumerate(sentence_borders(words)):
                start, end = offsets[first], offsets[border]
                inside = [m for m in mentions if first <= m[0] and m[1] <= border]
                first, sentence = border, text[start:end]
                if len(sentence) < MINIMUM_CHARACTERS or sentence in seen or not CHINESE.search(sentence):
                    continue
                seen.add(sentence)
                if {"person", "office"} <= {kind for _, _, kind in inside} and len(sentence) <= LONGEST:
                    own = tuple(Mention(offsets[a] - start, offsets[b] - start, kind) for a, b, kind in inside)
                    found.append(Sentence(f"{paragraph}-{number}", split, sentence, own))
    return tuple(found)


def office_sentences(split: str) -> list[Sentence]:
    """The sentences of a split that name a person and an office, at most `LONGEST` characters, repetitions dropped.

    Raises:
        DataError: the package's file is missing or altered.
    """
    return [sentence for sentence in _sentences() if sentence.split == split]


def pairs_of(sentence: Sentence) -> Iterator[Pair]:
    """Every pair of mentions that could stand in one of the two relations."""
    for kind, (first, second) in KINDS.items():
        for a in sentence.of_kind(first):
            for b in sentence.of_kind(second):
                yield Pair(sentence, kind, a, b)


def band(pair: Pair) -> int:
    """The number of the distance band (`BANDS`) in which a pair lies."""
    return sum(pair.gap >= low for low in BANDS) - 1


def candidates(split: str, each: int, seed: int = 20) -> list[tuple[Pair, float]]:
    """Pairs to be labelled by hand, with their weights, in the order of the newspaper.

    The strata are relation × distance band: known before any label and without any pattern. From each at most `each`
    pairs are drawn at random; a sentence gives at most one pair of each relation, a person's name at most four of a
    stratum, so that no single figure rules.

    Args:
        split: "validation" or "test".
        each: pairs of a stratum.
        seed: seed of the draw.

    Returns:
        (pair, weight): the weight is the number of pairs of the split that one drawn pair stands for.
    """
    strata: dict[tuple[str, int], list[Pair]] = {}
    for sentence in office_sentences(split):
        for pair in pairs_of(sentence):
            strata.setdefault((pair.kind, band(pair)), []).append(pair)
    random, chosen, used = np.random.default_rng(seed), [], set()
    for stratum in sorted(strata):
        members, drawn, words = strata[stratum], [], Counter()
        for index in random.permutation(len(members)):
            pair = members[index]
            first = pair.words()[0] if pair.kind == "holds" else pair.words()[1]
            if len(drawn) < each and (pair.sentence.id, pair.kind) not in used and words[first] < 4:
                used.add((pair.sentence.id, pair.kind))
                words[first] += 1
                drawn.append(pair)
        chosen += [(pair, len(members) / len(drawn)) for pair in drawn]
    order = {sentence.id: place for place, sentence in enumerate(office_sentences(split))}
    return sorted(chosen, key=lambda row: (order[row[0].sentence.id], row[0].kind, row[0].first, row[0].second))


@dataclass(frozen=True)
class Labelled:
    """A pair that was read: does the relation hold? `passes` are the two independent answers, `label` the settled one."""

    pair: Pair
    weight: float
    passes: tuple[bool, ...]
    label: bool


@lru_cache(maxsize=1)
def _labels() -> dict:
    content = LABELS.read_bytes()
    if hashlib.sha256(content).hexdigest() != LABELS_SHA256:
        raise DataError(f"{LABELS.name} 与本书发布的不同：请用 git 恢复它")
    return json.loads(content)


def labelled(split: str) -> list[Labelled]:
    """The hand-labelled pairs of a split, with the text that the installed corpus gives them.

    Raises:
        DataError: the list was altered, or the corpus is not the one that was labelled: an offset meets no mention.
    """
    sentences = {sentence.id: sentence for sentence in office_sentences(split)}
    found = []
    for name, kind, first, second, weight, passes, label in _labels()["pairs"][split]:
        spans = [Mention(*span, kind=mention) for span, mention in zip((first, second), KINDS[kind])]
        if name not in sentences or not set(spans) <= set(sentences[name].mentions):
            raise DataError(f"{LABELS.name}：{name} 的 {first}、{second} 与语料不符；请重新安装语料包，或用 git 恢复这个文件")
        pair = Pair(sentences[name], kind, *spans)
        found.append(Labelled(pair, weight, tuple(map(bool, passes)), bool(label)))
    return found
