"""Decoding against every sequence there is, and against the rule of IOB2."""

import itertools

import numpy as np
import pytest

from utils import decoding, metrics
from utils.errors import ConfigError

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]


def valid(tags):
    """IOB2 read literally: I-X needs B-X or I-X before it."""
    before = ["O", *tags]
    return all(not tag.startswith("I-") or left[1:] == tag[1:] or left == "B" + tag[1:] for left, tag in zip(before, tags))


@pytest.mark.parametrize("seed", range(20))
def test_the_best_valid_sequence_is_found_among_all(seed):
    random = np.random.default_rng(seed)
    scores = [random.normal(0, 2, (length, len(LABELS))) for length in (1, 4, 2, 5)]
    found = decoding.best_sequences(scores, decoding.iob2_transitions(LABELS))
    for one, path in zip(scores, found):
        candidates = [p for p in itertools.product(range(len(LABELS)), repeat=len(one)) if valid([LABELS[i] for i in p])]
        best = max(candidates, key=lambda p: sum(one[place, label] for place, label in enumerate(p)))
        assert path.tolist() == list(best)


def test_without_transitions_every_word_chooses_for_itself():
    scores = [np.random.default_rng(0).normal(size=(7, 5))]
    assert decoding.best_sequences(scores, None)[0].tolist() == scores[0].argmax(axis=1).tolist()


def test_many_sentences_of_all_lengths_come_back_in_order_and_valid():
    """More than one batch, empty sentences among them; the two modes of scoring then agree."""
    random = np.random.default_rng(3)
    scores = [random.normal(size=(length, len(LABELS))) for length in random.integers(0, 30, 700)]
    tags = [[LABELS[i] for i in path] for path in decoding.best_sequences(scores, decoding.iob2_transitions(LABELS))]
    assert [len(row) for row in tags] == [len(one) for one in scores]
    assert all(valid(row) for row in tags)
    gold = [[tag if random.random() < 0.9 else "O" for tag in row] for row in tags]
    gold = [row if valid(row) else ["O"] * len(row) for row in gold]
    strict, loose = (metrics.entity_scores(gold, tags, mode=mode) for mode in ("strict", "conlleval"))
    assert strict == loose


def test_a_valid_best_path_is_left_alone():
    scores = np.full((4, len(LABELS)), -5.0)
    scores[range(4), [1, 2, 0, 3]] = 5.0
    assert decoding.best_sequences([scores], decoding.iob2_transitions(LABELS))[0].tolist() == [1, 2, 0, 3]


def test_shifting_a_word_s_scores_changes_nothing():
    """So logits and log-probabilities give the same answer."""
    random = np.random.default_rng(5)
    scores = [random.normal(size=(9, len(LABELS)))]
    shifted = [scores[0] + random.normal(size=(9, 1))]
    transitions = decoding.iob2_transitions(LABELS)
    assert np.array_equal(decoding.best_sequences(scores, transitions)[0], decoding.best_sequences(shifted, transitions)[0])


def test_a_label_that_is_not_iob2_is_named():
    with pytest.raises(ConfigError, match="'S-PER'"):
        decoding.iob2_transitions(["O", "S-PER"])
