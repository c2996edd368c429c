"""People, offices, places and the labelled pairs: the sampler, the stored offsets and the text agree."""

import json
import re

import pytest

from utils.corpora import fingerprint, relations
from utils.corpora.newspaper import BORDERS
from utils.errors import DataError

EACH = {"validation": 14, "test": 45}  # pairs of a stratum that were drawn for labelling


def test_an_office_takes_its_prefixes_and_needs_the_noun_tag():
    words = [("常务", "b"), ("副", "b"), ("省长", "n"), ("李", "nr"), ("主席", "v"), ("外交部长", "n"), ("记者", "n")]
    assert relations.office_spans(words) == [(0, 3), (5, 6)]


def test_a_sentence_yields_every_pair_of_the_two_relations_and_no_other():
    mentions = tuple(relations.Mention(i, i + 1, kind) for i, kind in enumerate(["place", "office", "person", "person", "office"]))
    found = [(p.kind, p.first.start, p.second.start) for p in relations.pairs_of(relations.Sentence("x", "train", "甲乙丙丁戊", mentions))]
    assert sorted(found) == sorted([("holds", 2, 1), ("holds", 2, 4), ("holds", 3, 1), ("holds", 3, 4), ("of", 1, 0), ("of", 4, 0)])


@pytest.mark.parametrize("first, second, gap, band", [((0, 2), (2, 4), 0, 0), ((8, 9), (0, 5), 3, 1), ((0, 1), (11, 12), 10, 2), ((30, 31), (0, 5), 25, 3)])
def test_the_gap_counts_the_characters_between_in_either_order(first, second, gap, band):
    sentence = relations.Sentence("x", "train", "字" * 40, ())
    pair = relations.Pair(sentence, "holds", relations.Mention(*first, "person"), relations.Mention(*second, "office"))
    assert (pair.gap, relations.band(pair)) == (gap, band)


def test_sentences_keep_to_their_days_and_name_a_person_and_an_office():
    for split, (low, high) in BORDERS.items():
        rows = relations.office_sentences(split)
        assert all(low <= int(s.id.split("-")[0]) < high and len(s.text) <= relations.LONGEST for s in rows)
        assert all({"person", "office"} <= {m.kind for m in s.mentions} for s in rows)
    texts = [s.text for split in BORDERS for s in relations.office_sentences(split)]
    assert len(texts) == len(set(texts))


@pytest.mark.parametrize("split", EACH)
def test_the_labelled_pairs_are_exactly_those_that_the_sampler_draws(split):
    drawn = relations.candidates(split, EACH[split])
    rows = relations.labelled(split)
    assert [row.pair for row in rows] == [pair for pair, _ in drawn]
    assert [row.weight for row in rows] == pytest.approx([weight for _, weight in drawn], abs=1e-3)
    total = sum(1 for s in relations.office_sentences(split) for _ in relations.pairs_of(s))
    assert sum(row.weight for row in rows) == pytest.approx(total, rel=1e-3)  # the weights stand for the whole split


def test_the_test_set_is_large_read_twice_and_holds_pairs_without_relation():
    rows = relations.labelled("test")
    assert len(rows) >= 300 and all(len(row.passes) == 2 for row in rows)
    for kind in relations.KINDS:
        labels = [row.label for row in rows if row.pair.kind == kind]
        assert 0.2 < sum(labels) / len(labels) < 0.8
    assert all(row.label == row.passes[0] for row in rows if len(set(row.passes)) == 1)  # only disagreements are settled


def test_the_file_of_labels_holds_offsets_and_no_text_of_the_corpus():
    text = relations.LABELS.read_text(encoding="utf-8")
    assert not re.search("[\u3400-\u9fff]", text)
    assert json.loads(text)["sha256"] == fingerprint("people_daily")


def test_an_offset_that_meets_no_mention_is_refused(monkeypatch):
    row = json.loads(relations.LABELS.read_text(encoding="utf-8"))["pairs"]["test"][0]
    row[2] = [row[2][0] + 1, row[2][1]]
    monkeypatch.setattr(relations, "_labels", lambda: {"pairs": {"test": [row]}})
    with pytest.raises(DataError, match=row[0]):
        relations.labelled("test")


def test_altered_labels_are_refused(monkeypatch, tmp_path):
    file = tmp_path / "relations.json"
    file.write_bytes(relations.LABELS.read_bytes().replace(b"0]", b"1]", 1))
    monkeypatch.setattr(relations, "LABELS", file)
    relations._labels.cache_clear()
    try:
        with pytest.raises(DataError, match="relations.json"):
            relations.labelled("test")
    finally:
        relations._labels.cache_clear()
