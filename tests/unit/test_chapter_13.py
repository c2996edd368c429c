"""The functions that chapter 13 defines, pulled out of the notebook and compared with hand-counted examples."""

from collections import Counter

import numpy as np
import pytest

from tests.unit.notebook_code import definitions
from utils import metrics


@pytest.fixture
def chapter():
    """Namespace with every function of the notebook; no cell is executed."""
    import pathlib
    import tempfile

    import pycrfsuite

    names = {"metrics": metrics, "Counter": Counter, "np": np, "pycrfsuite": pycrfsuite, "tempfile": tempfile,
             "pathlib": pathlib, "test": ([], []), "transitions": None}  # the last two are default arguments
    return definitions("3-code/13-ner", names)


def tagged(text, *spans):
    tags = ["O"] * len(text)
    for kind, start, end in spans:
        tags[start:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - start - 1)
    return list(text), tags


def test_the_dictionary_takes_the_longest_match_and_the_most_common_type(chapter):
    rows = [tagged("北京", ("LOC", 0, 2)), tagged("北京大学", ("ORG", 0, 4)), tagged("长安", ("LOC", 0, 2)),
            tagged("长安", ("PER", 0, 2)), tagged("长安", ("PER", 0, 2))]
    tag = chapter["dictionary_tagger"](([s for s, _ in rows], [t for _, t in rows]))
    sentence, expected = tagged("去北京大学见长安北京", ("ORG", 1, 5), ("PER", 6, 8), ("LOC", 8, 10))
    assert tag(sentence) == expected
    assert tag([]) == []


def test_the_crf_learns_what_its_window_shows_and_fails_on_permuted_labels(chapter):
    random = np.random.default_rng(0)
    sentences, tags = [], []
    for _ in range(60):
        sentence = ["甲乙丙丁"[i] for i in random.integers(0, 4, 12)]
        sentences.append(sentence)
        tags.append(["B-X" if i and sentence[i - 1] == "甲" else "O" for i in range(12)])
    train, test = (sentences[:40], tags[:40]), (sentences[40:], tags[40:])

    def f1(labels):
        tag = chapter["crf_tagger"]((train[0], labels))
        return metrics.entity_scores(test[1], [tag(s) for s in test[0]]).f1

    assert f1(train[1]) == 1.0
    assert f1([list(random.permutation(row)) for row in train[1]]) < 0.5


def test_errors_fall_into_the_kinds_counted_by_hand(chapter):
    gold = [tagged("0123456789", ("A", 0, 2), ("A", 3, 5), ("A", 6, 8))[1], tagged("0123456789", ("A", 0, 4))[1]]
    found = [tagged("0123456789", ("A", 0, 2), ("B", 3, 5), ("A", 6, 9))[1], tagged("0123456789", ("B", 1, 3), ("B", 8, 9))[1]]
    counts = chapter["error_kinds"](gold, found)
    assert +counts == Counter({"类型错": 1, "边界错": 1, "又错边界又错类型": 1, "凭空多出": 1})
    missed = chapter["error_kinds"](gold[:1], [["O"] * 10])
    assert +missed == Counter({"完全漏掉": 3})


def test_recall_is_split_by_what_training_has_shown(chapter):
    chapter["test"] = [tagged("甲乙丙丁", ("A", 0, 2), ("A", 2, 4))[0]] * 2, [tagged("甲乙丙丁", ("A", 0, 2), ("A", 2, 4))[1]] * 2
    predicted = [tagged("甲乙丙丁", ("A", 0, 2))[1], tagged("甲乙丙丁", ("A", 0, 2), ("A", 2, 4))[1]]
    seen = ([list("甲乙")], [["B-A", "I-A"]])
    assert chapter["recall_by_seen"](predicted, seen) == {("A", "见过"): 1.0, ("A", "没见过"): 0.5}


def test_a_sample_pairs_sentences_with_their_own_labels_and_repeats(chapter):
    part = [[str(i)] for i in range(50)], [[f"t{i}"] for i in range(50)]
    sentences, tags = chapter["sample"](part, 20)
    assert len(sentences) == 20 and len({s[0] for s in sentences}) == 20
    assert all(tag == [f"t{sentence[0]}"] for sentence, tag in zip(sentences, tags))
    assert chapter["sample"](part, 20) == (sentences, tags)
    assert chapter["sample"](part, None) is part
