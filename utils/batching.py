"""From words and labels to batches: pieces through `word_ids()`, windows for long sentences, buckets by length.

A word's label belongs to its first piece; specials, later pieces and padding weigh nothing in loss and score. A sentence
longer than the encoder is cut into overlapping windows; every word is owned by the window in which it stands farthest from
an edge, so no word is lost or counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import ConfigError, DataError

OVERLAP = 32  # pieces that neighbouring windows share
PAD_TO = 8  # batches are padded to a multiple of this, so that few shapes occur


@dataclass
class Windows:
    """Encoded sentences.

    Attributes:
        input_ids: one integer array a window, specials included.
        positions: for each window, where in it the first pieces of the words that it owns stand.
        words: for each window, the index of these words in their sentence.
        sentence: for each window, the index of its sentence.
        lengths: number of words of each sentence.
        labels: for each window, the label ids of its words, or None.
    """

    input_ids: list[np.ndarray]
    positions: list[np.ndarray]
    words: list[np.ndarray]
    sentence: np.ndarray
    lengths: np.ndarray
    labels: list[np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.input_ids)

    def piece_counts(self) -> np.ndarray:
        """Pieces in each window."""
        return np.array([len(ids) for ids in self.input_ids])


def encode_words(
    tokenizer,
    sentences: Sequence[Sequence[str]],
    labels: Sequence[Sequence[int]] | None = None,
    max_length: int = 128,
) -> Windows:
    """Cut sentences of words (or characters) into windows of pieces.

    Args:
        tokenizer: a fast transformers tokenizer.
        sentences: each a sequence of words.
        labels: a label id for each word, or None.
        max_length: pieces a window, [CLS] and [SEP] included.

    Raises:
        DataError: a sentence and its labels differ in length; names the sentence.
        ConfigError: max_length leaves no room.
    """
    if max_length < OVERLAP + 8:
        raise ConfigError(f"max_length={max_length} 太小；至少要 {OVERLAP + 8}")
    for i, sentence in enumerate(sentences):
        if labels is not None and len(sentence) != len(labels[i]):
            raise DataError(f"第 {i + 1} 句有 {len(sentence)} 个词，却有 {len(labels[i])} 个标签")
    # A word that the tokenizer would drop (a control character, say) becomes [UNK], so that its label stays.
    known = [[w if w.strip() else tokenizer.unk_token for w in s] for s in sentences]
    result = Windows([], [], [], np.zeros(0, int), np.array([len(s) for s in sentences], int), None if labels is None else [])
    owners: list[int] = []
    for start in range(0, len(known), 2000):
        chunk = [list(s) for s in known[start : start + 2000]]
        for round_ in range(2):
            encoded = tokenizer(
                chunk,
                is_split_into_words=True,
                truncation=True,
                max_length=max_length,
                stride=OVERLAP,
                return_overflowing_tokens=True,
                return_attention_mask=False,
                return_token_type_ids=False,
            )
            if not _replace_vanished(chunk, encoded.encodings, encoded["overflow_to_sample_mapping"], tokenizer.unk_token):
                break
        by_sentence: dict[int, list[int]] = {}
        for window, index in enumerate(encoded["overflow_to_sample_mapping"]):
            by_sentence.setdefault(index, []).append(window)
        for index, windows in by_sentence.items():
            ids = [np.array(encoded["input_ids"][w], np.int32) for w in windows]
            for i, (words, positions) in enumerate(_own_words([encoded.encodings[w].word_ids for w in windows])):
                result.input_ids.append(ids[i])
                result.words.append(words)
                result.positions.append(positions)
                owners.append(start + index)
                if labels is not None:
                    result.labels.append(np.asarray(labels[start + index], np.int32)[words])
    result.sentence = np.array(owners, int)
    return result


def _replace_vanished(chunk: list[list[str]], encodings, samples: list[int], unknown: str) -> bool:
    """Put [UNK] where a word has got no piece at all; True if there was any."""
    seen: list[set] = [set() for _ in chunk]
    for encoding, index in zip(encodings, samples):
        seen[index].update(encoding.word_ids)
    changed = False
    for sentence, words in zip(chunk, seen):
        for word in range(len(sentence)):
            if word not in words:
                sentence[word], changed = unknown, True
    return changed


def _own_words(windows: list[list[int | None]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For the windows of one sentence: (words owned, places of their first pieces), each word in exactly one window."""
    best: dict[int, tuple[int, int, int]] = {}  # word -> (distance to the nearer edge, window, place)
    for index, word_ids in enumerate(windows):
        first, last = index == 0, index == len(windows) - 1
        previous = None
        for place, word in enumerate(word_ids):
            if word is not None and word != previous:
                # The ends of the sentence are no edges: nothing is cut off there.
                left = place - 1 if not first else len(word_ids)
                right = len(word_ids) - 2 - place if not last else len(word_ids)
                # A window that starts inside a word holds only its later pieces: the one before has the first piece.
                starts_inside = place == 1 and index > 0 and word in windows[index - 1]
                distance = -1 if starts_inside else min(left, right)
                if word not in best or distance > best[word][0]:
                    best[word] = (distance, index, place)
            previous = word
    owned: list[list[tuple[int, int]]] = [[] for _ in windows]
    for word in sorted(best):
        _, index, place = best[word]
        owned[index].append((word, place))
    return [
        (np.array([w for w, _ in pairs], int), np.array([p for _, p in pairs], np.int32)) for pairs in owned
    ]


def batch_plan(lengths: np.ndarray, batch_tokens: int, epochs: int, seed: int = 0) -> list[np.ndarray]:
    """Which windows make up each step: windows of like length together, in an order that changes every epoch.

    Args:
        lengths: pieces of each window.
        batch_tokens: bound on the padded size of a batch.
        epochs: passes over the data.
        seed: seed of the order.

    Returns:
        an index array for each step. Every epoch holds every window once, in the same number of steps.
    """
    if batch_tokens < padded(max(lengths, default=0)):
        raise ConfigError(f"batch_tokens={batch_tokens} 比最长的一段（{max(lengths)} 个词元）还短")
    sizes = np.array([padded(n) for n in lengths], int)
    ends, count, ranked = [], 0, np.sort(sizes)
    for rank, size in enumerate(ranked):  # where a batch ends depends on the sizes alone, so it is alike in every epoch
        if count and size * (count + 1) > batch_tokens:
            ends.append(rank)
            count = 0
        count += 1
    steps: list[np.ndarray] = []
    for epoch in range(epochs):
        random = np.random.default_rng([seed, epoch])
        order = np.lexsort((random.random(len(sizes)), sizes))  # by size, at random among equals
        batches = np.split(order, ends)
        steps += [batches[i] for i in random.permutation(len(batches))]
    return steps


def padded(length: int) -> int:
    """`length` rounded up to the multiple to which batches are padded."""
    return -(-int(length) // PAD_TO) * PAD_TO


def pad_ids(windows: Windows, indices: Sequence[int], pad_id: int = 0) -> dict:
    """input_ids and attention_mask (b, t) of some windows, padded to the longest of them."""
    width = padded(max(len(windows.input_ids[i]) for i in indices))
    ids = np.full((len(indices), width), pad_id, np.int32)
    mask = np.zeros((len(indices), width), np.int32)
    for row, index in enumerate(indices):
        ids[row, : len(windows.input_ids[index])] = windows.input_ids[index]
        mask[row, : len(windows.input_ids[index])] = 1
    return {"input_ids": ids, "attention_mask": mask}


def token_batches(windows: Windows, plan: list[np.ndarray], pad_id: int = 0):
    """batches(step) for `training.Trainer`: input_ids, attention_mask, labels and weights, all (b, t)."""

    def batch(step: int) -> dict:
        indices = plan[step]
        arrays = pad_ids(windows, indices, pad_id)
        labels = np.zeros_like(arrays["input_ids"])
        weights = np.zeros(labels.shape, np.float32)
        for row, index in enumerate(indices):
            labels[row, windows.positions[index]] = windows.labels[index]
            weights[row, windows.positions[index]] = 1.0
        return arrays | {"labels": labels, "weights": weights}

    return batch


def sequence_batches(windows: Windows, labels: np.ndarray, plan: list[np.ndarray], pad_id: int = 0):
    """batches(step) for sequence classification: input_ids, attention_mask (b, t) and labels (b,)."""
    labels = np.asarray(labels, np.int32)
    return lambda step: pad_ids(windows, plan[step], pad_id) | {"labels": labels[plan[step]]}


def encode_texts(tokenizer, texts: Sequence[str], max_length: int = 128) -> Windows:
    """Each text as one window, cut at `max_length` pieces (for classification, where the beginning must do)."""
    encoded = tokenizer(list(texts), truncation=True, max_length=max_length, return_token_type_ids=False)
    ids = [np.array(row, np.int32) for row in encoded["input_ids"]]
    empty = [np.zeros(0, np.int32)] * len(ids)
    return Windows(ids, empty, list(empty), np.arange(len(ids)), np.array([len(row) for row in ids]))
