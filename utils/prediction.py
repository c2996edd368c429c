"""Predictions of a trained model for encoded texts: logits or the best labels, in the order of the texts.

Windows of like length share a batch, and every word's scores are put back where it stands in its sentence.
"""

from __future__ import annotations

import numpy as np

from .batching import Windows, batch_plan, pad_ids
from .decoding import best_sequences


def word_scores(model, windows: Windows, batch_tokens: int = 8192, pad_id: int = 0) -> list[np.ndarray]:
    """The logits of every word of every sentence, in the sentences' order: one array (words, classes) a sentence.

    Args:
        model: a `TokenClassifier`.
        windows: from `encode_words`.
    """
    found: list[np.ndarray] = []
    for indices in batch_plan(windows.piece_counts(), batch_tokens, 1):
        logits = batch_logits(model, pad_ids(windows, indices, pad_id))
        found = found or [np.zeros((n, logits.shape[-1]), np.float32) for n in windows.lengths]
        for row, index in enumerate(indices):
            found[windows.sentence[index]][windows.words[index]] = logits[row, windows.positions[index]]
    return found


def predict_words(model, windows: Windows, transitions=None, batch_tokens: int = 8192, pad_id: int = 0) -> list[np.ndarray]:
    """The label ids of every sentence, as `word_scores`: one integer array (words,) a sentence.

    Args:
        transitions: from `decoding.iob2_transitions`: the best sequence that is valid. None: each word for itself.
    """
    return best_sequences(word_scores(model, windows, batch_tokens, pad_id), transitions)


def text_logits(model, windows: Windows, batch_tokens: int = 8192, pad_id: int = 0) -> np.ndarray:
    """Logits (n, c) of a sequence classifier for every text, in the texts' order. `windows` from `encode_texts`."""
    found = None
    for indices in batch_plan(windows.piece_counts(), batch_tokens, 1):
        logits = batch_logits(model, pad_ids(windows, indices, pad_id))
        found = np.zeros((len(windows), logits.shape[-1]), np.float32) if found is None else found
        found[indices] = logits
    return found


def predict_texts(model, windows: Windows, batch_tokens: int = 8192, pad_id: int = 0) -> np.ndarray:
    """The best label id of every text, in order: (n,). Arguments as for `text_logits`."""
    return np.argmax(text_logits(model, windows, batch_tokens, pad_id), axis=-1)


def batch_logits(model, batch: dict) -> np.ndarray:
    """The model's logits for one padded batch, dropout off; compiled once for a model's layers and open shapes."""
    import tensorflow as tf

    # Other layers (LoRA put in, merged, taken out) or other inputs: another graph.
    structure = tuple(map(id, getattr(model, "variables", ()))), tuple(sorted(batch))
    if getattr(model, "book_logits", (None,))[0] != structure:
        signature = {name: tf.TensorSpec([None] * np.ndim(value), value.dtype) for name, value in batch.items()}
        function = tf.function(lambda inputs: model(inputs, training=False), input_signature=[signature], autograph=False)
        model.book_logits = structure, function
    return model.book_logits[1]({name: tf.constant(value) for name, value in batch.items()}).numpy()
