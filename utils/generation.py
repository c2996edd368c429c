"""Write with an encoder-decoder: greedy search and beam search, batched, on the cache of `utils.decoder`.

Chapter 22 explains both with a slow version for any distribution. Beam search as in Wu et al. 2016 (arXiv:1609.08144),
section 7, without their coverage term: finished hypotheses are compared by log-probability over `length_penalty`.

Shapes in comments: n sources, k beams, v vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

NEVER = -1e9  # score of a beam that must not be continued


@dataclass(frozen=True)
class Hypothesis:
    """A finished output: its pieces without the end mark, the sum of log-probabilities (nats), and the score of ranking."""

    pieces: tuple[int, ...]
    log_probability: float
    score: float


def length_penalty(length: int, alpha: float) -> float:
    """What a sum of log-probabilities over `length` pieces (end mark included) is divided by; alpha 0: by one."""
    return ((5 + length) / 6) ** alpha


def beam_search(
    model: keras.Model,
    inputs: dict[str, np.ndarray],
    *,
    beams: int,
    start_id: int,
    end_id: int,
    max_length: int,
    alpha: float = 0.0,
    forbidden: Sequence[int] = (),
) -> list[list[Hypothesis]]:
    """The best outputs for each source, best first. One beam is greedy search.

    Args:
        model: gives `start(inputs) -> cache` and `step(ids, cache, inputs) -> (log-probabilities, cache)`.
        inputs: arrays (n, …), whatever the model's `start` and `step` read.
        beams: open hypotheses kept a source.
        start_id, end_id: the marks that open and close an output.
        max_length: pieces of an output at most, end mark included; what is still open then is closed as it stands.
        alpha: exponent of the length penalty.
        forbidden: pieces that must never be written (padding, say).

    Returns:
        for each source up to `beams` hypotheses. The search of a source is over when as many have ended.
    """
    count = len(next(iter(inputs.values())))
    spread = {name: tf.constant(np.repeat(value, beams, axis=0)) for name, value in inputs.items()}  # (n·k, …)
    start, step = _compiled(model, spread)
    barred = tf.constant(list(forbidden), tf.int32)
    cache = start(spread)
    scores = np.full((count, beams), NEVER)
    scores[:, 0] = 0.0  # all beams begin alike: let one of them speak
    last = np.full(count * beams, start_id, np.int32)
    written = np.zeros((count, beams, 0), np.int64)
    finished: list[list[Hypothesis]] = [[] for _ in range(count)]

    def close(row: int, pieces: np.ndarray, total: float, length: int):
        if total > NEVER / 2 and len(finished[row]) < beams:
            hypothesis = Hypothesis(tuple(map(int, pieces)), float(total), float(total) / length_penalty(length, alpha))
            finished[row].append(hypothesis)

    for length in range(1, max_length + 1):
        likely, likely_pieces, cache = step(tf.constant(last), cache, spread, barred, 2 * beams)
        # Of each beam its 2k best: k of them may end and still k are left to go on.
        total = scores[:, :, None] + likely.numpy().astype(np.float64).reshape(count, beams, -1)  # (n, k, 2k)
        width = total.shape[-1]
        best = _largest(total.reshape(count, -1), 2 * beams)
        ranked = np.take_along_axis(total.reshape(count, -1), best, axis=1)
        pieces = np.take_along_axis(likely_pieces.numpy().reshape(count, -1), best, axis=1)
        parents = best // width  # both (n, 2k)
        ends = pieces == end_id
        for row, place in zip(*np.nonzero(ends[:, :beams])):
            close(row, written[row, parents[row, place]], ranked[row, place], length)
        onward = np.argsort(ends, axis=1, kind="stable")[:, :beams]  # the best that do not end
        scores = np.where(np.take_along_axis(ends, onward, axis=1), NEVER, np.take_along_axis(ranked, onward, axis=1))
        parents, pieces = (np.take_along_axis(array, onward, axis=1) for array in (parents, pieces))
        written = np.concatenate([np.take_along_axis(written, parents[:, :, None], axis=1), pieces[:, :, None]], axis=2)
        if all(len(done) >= beams for done in finished) or (scores <= NEVER / 2).all():
            break
        last = pieces.reshape(-1).astype(np.int32)
        rows = tf.constant((np.arange(count)[:, None] * beams + parents).reshape(-1), tf.int32)
        cache = tf.nest.map_structure(lambda tensor: tf.gather(tensor, rows), cache) if beams > 1 else cache
    for row, done in enumerate(finished):  # what is still open when the room is used up
        for pieces, total in zip(written[row], scores[row]):
            close(row, pieces, total, written.shape[2])
    return [sorted(done, key=lambda hypothesis: -hypothesis.score) for done in finished]


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the `count` largest of each row (or of all), largest first, equal ones in order: (n, m) -> (n, count)."""
    count = min(count, values.shape[1])
    places = np.sort(np.argpartition(-values, count - 1, axis=1)[:, :count], axis=1)
    order = np.argsort(-np.take_along_axis(values, places, axis=1), axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1)


def _compiled(model: keras.Model, inputs: dict):
    """`model.start` and the step of a search as graphs for batches of every size, made once a model.

    The step gives of each hypothesis the log-probabilities of its likeliest next pieces, those pieces, and the cache: all
    the others never leave TensorFlow, whose `top_k` is faster than sorting in NumPy and takes equal ones in order.
    """
    if not hasattr(model, "book_generation"):
        loose = lambda tensor: tf.TensorSpec([None] * (len(tensor.shape) - 1) + [tensor.shape[-1] if len(tensor.shape) > 2 else None], tensor.dtype)
        shapes = tf.nest.map_structure(loose, inputs)
        start = tf.function(lambda arrays: model.start(arrays), input_signature=[shapes], autograph=False)
        cache = tf.nest.map_structure(loose, start(inputs))

        def likeliest(ids, cache, arrays, barred, count):
            log_probabilities, cache = model.step(ids, cache, arrays)
            vocabulary = tf.shape(log_probabilities)[-1]
            never = tf.scatter_nd(barred[:, None], tf.ones_like(barred), vocabulary[None]) > 0
            allowed = tf.where(never, tf.constant(NEVER, log_probabilities.dtype), log_probabilities)
            return *tf.math.top_k(allowed, tf.minimum(count, vocabulary)), cache

        vector, number = tf.TensorSpec([None], "int32"), tf.TensorSpec([], "int32")
        step = tf.function(likeliest, input_signature=[vector, cache, shapes, vector, number], autograph=False)
        model.book_generation = start, step
    return model.book_generation
