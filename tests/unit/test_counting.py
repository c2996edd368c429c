"""The start from counts against brute force: dense counts, a full SVD, the geometry of rotations, naive Bayes by hand."""

import math

import keras
import numpy as np
import pytest

from utils import counting, pretraining
from utils.errors import ConfigError
from utils.pretraining import FIRST_WORD, MASK


@pytest.fixture(scope="module")
def toy():
    """Random text over ten characters -> (stream, mask of the pieces that have neighbours)."""
    letters, random = list("甲乙丙丁戊己庚辛壬癸"), np.random.default_rng(1)
    texts = ["".join(random.choice(letters, p=random.dirichlet(np.ones(10)), size=40)) for _ in range(6)]
    vocabulary = pretraining.build_vocabulary([*texts, "子子"], min_count=1)  # 子 is in the vocabulary alone
    stream = pretraining.TextStream(texts, vocabulary)
    return stream, np.isin(np.arange(len(vocabulary)), stream.ids[1]) & (np.arange(len(vocabulary)) >= FIRST_WORD)


def dense_ppmi(row, size, distance, shift):
    """Brute force: count every ordered pair one by one."""
    counts = np.zeros((size, size))
    for left, right in zip(row, row[distance:]):
        if left >= FIRST_WORD and right >= FIRST_WORD:
            counts[left, right] += 1
    total, later = counts.sum(), counts.sum(0) ** 0.75
    result = np.zeros_like(counts)
    for a, b in zip(*np.nonzero(counts)):
        pmi = math.log(counts[a, b] / total / (counts[a].sum() / total * later[b] / later.sum()))
        result[a, b] = max(0.0, pmi - shift)
    return result


@pytest.mark.parametrize("distance", [1, 2, 3])
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_directed_ppmi_equals_a_count_of_every_ordered_pair(toy, distance, shift):
    stream, _ = toy
    row, size = stream.ids[1], len(stream.vocabulary)
    found = counting.directed_ppmi(row, size, distance, FIRST_WORD, shift=shift).toarray()
    wanted = dense_ppmi(row.tolist(), size, distance, shift)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    assert not np.allclose(found, found.T)  # the direction is kept


def test_embeddings_are_the_centred_best_low_rank_picture_of_the_neighbours_on_both_sides(toy):
    stream, seen = toy
    size, width = len(stream.vocabulary), 5
    counts = counting.Counts(stream.ids[1], size, width, FIRST_WORD)
    right = [dense_ppmi(stream.ids[1].tolist(), size, distance, 0.5) for distance in (1, 2, 3)]
    left, values, _ = np.linalg.svd(np.hstack([side for matrix in right for side in (matrix, matrix.T)]))
    wanted = (left[:, :width] * np.sqrt(values[:width]))[seen]
    wanted -= wanted.mean(axis=0)
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    found = counts.embeddings[seen] / np.sqrt(width)
    # Singular vectors are unique up to sign: compare the cosines of rows.
    np.testing.assert_allclose(found @ found.T, wanted @ wanted.T, atol=1e-3)


def test_every_row_has_mean_square_one_also_the_noise_of_pieces_without_neighbours(toy):
    stream, seen = toy
    counts = counting.Counts(stream.ids[1], len(stream.vocabulary), 6, FIRST_WORD)
    np.testing.assert_allclose((counts.embeddings**2).mean(axis=1), 1.0, rtol=1e-9)
    assert np.linalg.matrix_rank(counts.embeddings[~seen]) == 6


def test_a_reader_is_the_weighted_least_squares_solution(toy):
    stream, _ = toy
    counts = counting.Counts(stream.ids[1], len(stream.vocabulary), 4, FIRST_WORD)
    table, target = counts.embeddings[FIRST_WORD:], counts.neighbours[-1][FIRST_WORD:, FIRST_WORD:].toarray()
    weights = counts.frequency[FIRST_WORD:] / counts.frequency[FIRST_WORD:].sum()
    weights = np.sqrt(np.outer(weights, weights)).ravel()
    # The same problem written out: one unknown for each entry of the matrix.
    wanted, *_ = np.linalg.lstsq(np.kron(table, table) * weights[:, None], target.ravel() * weights, rcond=None)
    np.testing.assert_allclose(counts.reader(-1), wanted.reshape(4, 4), atol=0.02 * np.abs(wanted).max())  # the ridge


def test_a_head_scores_highest_where_the_distance_is_its_offset():
    width, head, length = 256, 64, 256
    places = counting.sinusoids(length, width)
    for offset in counting.OFFSETS:
        query, key = counting.shift_kernels(width, head, offset)
        scores = (places @ query) @ (places @ key).T
        inside = np.arange(4, length - 4)
        assert (scores[inside].argmax(axis=1) == inside + offset).all()
        top = np.sort(scores[inside], axis=1)
        np.testing.assert_allclose(top[:, -1], 64.0)  # 32 waves, each of amplitude squared two
        assert (top[:, -2] < 0.6 * top[:, -1]).all()


def test_sinusoids_leave_the_dimensions_of_pieces_free_and_have_mean_square_one_in_theirs():
    table = counting.sinusoids(50, 32)
    pieces, places = counting.layout(32)
    assert (pieces, places) == (24, 8)
    assert (table[:, :pieces] == 0).all()
    np.testing.assert_allclose((table[:, pieces:] ** 2).mean(axis=1), 1.0)


def test_more_heads_than_the_positions_leave_room_for_are_refused():
    with pytest.raises(ConfigError, match="头数至多 4"):
        counting.shift_kernels(64, 8, 1)


def test_before_any_step_the_model_beats_the_frequencies_where_neighbours_tell():
    """Text in which each character is decided by the one before: only a model that reads its neighbour can know it."""
    order = "春夏秋冬梅兰竹菊琴棋书画"
    texts = [(order * 6)[start : start + 60] for start in range(12)] * 4
    vocabulary = pretraining.build_vocabulary(texts)
    stream = pretraining.TextStream(texts, vocabulary)
    recipe = pretraining.Recipe(length=32, batch=4, long_length=64)
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}

    def accuracy(**changes):
        import dataclasses

        model = pretraining.build_model(stream, dataclasses.replace(recipe, **changes), **shape)
        return pretraining.masked_scores(model, stream, recipe, batches=1)["accuracy"]

    assert accuracy() > 0.5
    assert accuracy(readers=False) < 0.3 and accuracy(ppmi=False, sinusoids=False, readers=False) < 0.3


def test_the_hidden_piece_says_nothing_about_itself(toy):
    stream, _ = toy
    recipe = pretraining.Recipe(length=16, long_length=32)
    model = pretraining.build_model(stream, recipe, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=32)
    row = keras.ops.convert_to_numpy(model.encoder.embeddings.word.embeddings)[MASK]
    assert (row[: counting.layout(32)[0]] == 0).all()
