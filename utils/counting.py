"""A start for pre-training that is counted, not learned: which characters stand near which, and at what distance.

Four tables of a language model are set from counts before the first step (chapter 4 explains and ablates them):
piece embeddings from an SVD of directed PPMI matrices, position embeddings from sinusoids in dimensions of their own, the
first layer's heads so that each reads one neighbour, and their values so that the sum of what they read is a naive Bayes
guess at the hidden piece. Sources: Levy and Goldberg 2014, Levy, Goldberg and Dagan 2015 (PPMI, its shift and smoothing,
SVD); Vaswani et al. 2017, section 3.5 (a shift of sinusoids is a rotation).
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix, hstack

from .errors import ConfigError

OFFSETS = (-1, 1, -2, 2)  # places that the heads of the first layer read, from the place that they write to
WINDOW = 3  # neighbours that shape the embeddings
RIDGE = 1e-3  # of the mean diagonal, in the least squares behind the values
FOCUS = 7.0  # score of the place that a head reads; other places have scores near zero
GAIN = 0.5  # root mean square of what one head adds to a place, where the place itself has one
NOISE = 0.1  # share of the random kernel that stays, so that training finds no symmetry
QUIET = 0.2  # factor on the random kernels that write to the residual stream: at first they must not drown the counts


def directed_ppmi(row: np.ndarray, size: int, distance: int, first: int, power: float = 0.75, shift: float = 0.5) -> csr_matrix:
    """Positive pointwise mutual information of a piece and the piece `distance` places after it.

    Args:
        row: (places,) piece ids of the text.
        size: pieces in the vocabulary.
        distance: at least 1.
        first: ids below are specials and not counted.
        power: smoothing of the later piece's distribution.
        shift: taken off every entry before the negative ones are cut.

    Returns:
        (size, size) matrix, [a, b] for b standing `distance` after a; in nats.
    """
    left, right = row[:-distance], row[distance:]
    real = (left >= first) & (right >= first)
    pairs = coo_matrix((np.ones(real.sum()), (left[real], right[real])), shape=(size, size)).tocsr().tocoo()
    of_left = np.bincount(pairs.row, pairs.data, size) / pairs.data.sum()
    of_right = np.bincount(pairs.col, pairs.data, size) ** power
    of_right /= of_right.sum()
    information = np.log(pairs.data / pairs.data.sum() / (of_left[pairs.row] * of_right[pairs.col]))
    return csr_matrix((np.maximum(information - shift, 0), (pairs.row, pairs.col)), shape=(size, size))


class Counts:
    """What is counted in a text, for embeddings of `width` dimensions.

    Attributes:
        embeddings: (size, width) with rows of root mean square one; pieces without neighbours get noise.
        neighbours: offset -> (size, size) PPMI of a piece (row) and the one that stands `offset` places from it (column).
        frequency: (size,) how often each piece occurs, plus one; specials count as one.
    """

    def __init__(self, row: np.ndarray, size: int, width: int, first: int, seed: int = 1):
        from sklearn.utils.extmath import randomized_svd

        self.first, self.width = first, width
        self.neighbours: dict[int, csr_matrix] = {}
        for distance in range(1, WINDOW + 1):
            after = directed_ppmi(row, size, distance, first)
            self.neighbours[distance], self.neighbours[-distance] = after, after.T.tocsr()
        left, values, _ = randomized_svd(hstack(list(self.neighbours.values())).tocsr(), width, random_state=seed)
        table = left * np.sqrt(values)
        table = np.pad(table, ((0, 0), (0, width - table.shape[1])))  # a vocabulary smaller than the width has fewer
        norms = np.linalg.norm(table, axis=1)
        unseen = norms < 1e-9 * norms.max()  # the SVD leaves rounding errors there, not zeros
        table -= table[~unseen].mean(axis=0)
        table[unseen] = np.random.default_rng(seed).normal(size=(unseen.sum(), width))
        self.embeddings = table * np.sqrt(width) / np.linalg.norm(table, axis=1, keepdims=True)
        self.frequency = np.bincount(row, minlength=size) + 1.0
        self.frequency[:first] = 1.0

    def reader(self, offset: int) -> np.ndarray:
        """The (width, width) matrix R for which `embeddings @ R @ embeddings.T` is nearest to `neighbours[offset]`.

        Least squares with weights by frequency: R maps the embedding of a neighbour to a guess at the piece between.
        """
        weights = np.sqrt(self.frequency[self.first :] / self.frequency[self.first :].sum())[:, None]
        table = self.embeddings[self.first :] * weights
        gram = table.T @ table
        inverse = np.linalg.inv(gram + RIDGE * np.trace(gram) / self.width * np.eye(self.width))
        seen = self.neighbours[offset][self.first :, self.first :].multiply(weights).multiply(weights.T)
        return inverse @ (table.T @ (seen @ table)) @ inverse


def layout(width: int) -> tuple[int, int]:
    """How the dimensions are shared at the start: (those of pieces, those of positions)."""
    places = width // 4 // 2 * 2
    return width - places, places


def waves(places: int, seed: int = 1) -> np.ndarray:
    """(places / 2,) angular frequencies between 0 and pi, drawn at random so that far places are not confused."""
    return np.pi * np.sort(np.random.default_rng([seed, 2]).random(places // 2))


def sinusoids(length: int, width: int, seed: int = 1) -> np.ndarray:
    """Cosine and sine of every wave in turn -> (length, width); zero in the dimensions of pieces, else mean square one."""
    pieces, places = layout(width)
    angles = np.arange(length)[:, None] * waves(places, seed)
    table = np.zeros((length, width))
    table[:, pieces::2], table[:, pieces + 1 :: 2] = np.sqrt(2) * np.cos(angles), np.sqrt(2) * np.sin(angles)
    return table


def shift_kernels(width: int, head: int, offset: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Query and key kernels (width, head) of a head that looks `offset` places away.

    The key is the position's code, the query that of the place looked for: each pair of dimensions turned by
    offset x frequency. Their product is then largest, by far, where the distance is the offset.
    """
    pieces, places = layout(width)
    if head < places:
        raise ConfigError(f"每个头 {head} 维，放不下 {places} 维的位置；头数至多 4")
    query, key = np.zeros((width, head)), np.zeros((width, head))
    for index, frequency in enumerate(waves(places, seed)):
        row, column = pieces + 2 * index, 2 * index
        cosine, sine = np.cos(offset * frequency), np.sin(offset * frequency)
        key[row, column] = key[row + 1, column + 1] = 1.0
        query[row, column], query[row + 1, column] = cosine, -sine
        query[row, column + 1], query[row + 1, column + 1] = sine, cosine
    return query, key


def plant_readers(model, counts: Counts, seed: int = 1) -> None:
    """Set the first layer's attention of a language model so that head h reads the piece at `OFFSETS[h]`.

    Kernels that write elsewhere become quiet, the transform nearly the identity, and the output bias the logarithm of
    the frequencies. Expects embeddings as `counts` and `sinusoids` give them.
    """
    attention = model.encoder.blocks[0].attention
    width, heads = attention.width, min(attention.heads, len(OFFSETS))
    head, (pieces, places) = width // attention.heads, layout(width)
    query, key, value, projection = (np.zeros((width, width)) for _ in range(4))
    score = FOCUS * np.sqrt(head) / places  # a piece's place and its code each have mean square one after the norm
    for index, offset in enumerate(OFFSETS[:heads]):
        columns = slice(index * head, (index + 1) * head)
        query[:, columns], key[:, columns] = (np.sqrt(score) * kernel for kernel in shift_kernels(width, head, offset, seed))
        left, values, right = np.linalg.svd(counts.reader(offset))
        rank = min(head, pieces)
        value[:pieces, columns][:, :rank] = right[:rank].T * np.sqrt(values[:rank])
        projection[columns][:rank, :pieces] = (left[:, :rank] * np.sqrt(values[:rank])).T
    share = counts.frequency[counts.first :] / counts.frequency[counts.first :].sum()
    read = counts.embeddings[counts.first :] @ value[:pieces] @ projection / np.sqrt(heads)
    gain = np.sqrt(GAIN / np.sqrt((share[:, None] * read[:, :pieces] ** 2).sum() / pieces))
    for layer, kernel in ((attention.query, query), (attention.key, key),
                          (attention.value, gain * value), (attention.projection, gain * projection)):
        layer.kernel.assign(kernel + NOISE * _numpy(layer.kernel))
    for number, block in enumerate(model.encoder.blocks):
        block.contract.kernel.assign(QUIET * _numpy(block.contract.kernel))
        if number:
            block.attention.projection.kernel.assign(QUIET * _numpy(block.attention.projection.kernel))
    model.transform.kernel.assign(QUIET * np.eye(width) + NOISE * _numpy(model.transform.kernel))
    model.bias.assign(np.log(counts.frequency / counts.frequency.sum()))


def _numpy(variable) -> np.ndarray:
    from keras import ops

    return ops.convert_to_numpy(variable)
