"""From scores of labels to a sequence of labels: the best one for itself, or the best sequence that IOB2 allows.

The second is Viterbi's algorithm (Viterbi 1967) over a table of allowed neighbours, with no learned transition scores.
Shapes in comments: s sentences, w words, c labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .errors import ConfigError

FORBIDDEN = -1e9  # finite, so that a sum of two is still a number
BATCH = 256  # sentences of like length that are decoded side by side


def iob2_transitions(labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which label may begin a sentence, and which may follow which: I-X only after B-X or I-X.

    Args:
        labels: O, B-TYPE and I-TYPE by id.

    Returns:
        (first, follows): booleans (c,) and (c, c); follows[a, b] says that b may stand right after a.

    Raises:
        ConfigError: a label is not IOB2.
    """
    for label in labels:
        if label != "O" and label[:2] not in ("B-", "I-"):
            raise ConfigError(f"标签 {label!r} 不是 O、B-类型 或 I-类型，无法按 IOB2 解码")
    inside = np.array([label.startswith("I-") for label in labels])
    same = np.array([[a != "O" and a[2:] == b[2:] for b in labels] for a in labels])
    return ~inside, ~inside[None, :] | same


def best_sequences(scores: Sequence[np.ndarray], transitions: tuple[np.ndarray, np.ndarray] | None) -> list[np.ndarray]:
    """The label ids of every sentence: the sequence with the greatest sum of scores among those allowed.

    Args:
        scores: for each sentence (w, c), for example logits or log-probabilities; the two give the same answer.
        transitions: from `iob2_transitions`; None lets every word choose for itself.

    Returns:
        one integer array (w,) a sentence.
    """
    if transitions is None:
        return [np.argmax(one, axis=-1).astype(np.int32) for one in scores]
    lengths = np.array([len(one) for one in scores], int)
    found: list[np.ndarray] = [np.zeros(0, np.int32)] * len(scores)
    order = np.argsort(lengths, kind="stable")
    for start in range(int(np.sum(lengths == 0)), len(order), BATCH):
        chosen = order[start : start + BATCH]
        for index, path in zip(chosen, _viterbi([scores[i] for i in chosen], *transitions)):
            found[index] = path
    return found


def _viterbi(scores: list[np.ndarray], first: np.ndarray, follows: np.ndarray) -> list[np.ndarray]:
    """Viterbi's algorithm for sentences side by side, each of one word or more."""
    lengths = np.array([len(one) for one in scores])
    padded = np.zeros((len(scores), lengths.max(), len(first)))  # beyond its end a sentence's scores are not read
    for row, one in enumerate(scores):
        padded[row, : len(one)] = one
    steps = np.where(follows, 0.0, FORBIDDEN)  # (c, c)
    best = padded[:, 0] + np.where(first, 0.0, FORBIDDEN)  # (s, c)
    totals, origins = [best], []
    for place in range(1, padded.shape[1]):
        through = best[:, :, None] + steps  # (s, c before, c after)
        origins.append(through.argmax(axis=1))
        best = through.max(axis=1) + padded[:, place]
        totals.append(best)
    paths = []
    for row, length in enumerate(lengths):
        path = [int(totals[length - 1][row].argmax())]
        for place in range(length - 2, -1, -1):
            path.append(int(origins[place][row, path[-1]]))
        paths.append(np.array(path[::-1], np.int32))
    return paths
