"""What the chapters on fine-tuning share: choose what may move, train a classifier on labelled windows, score it.

Shapes in comments: n texts, c classes, w width. Chapters 5 and 11 explain what is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from .batching import Windows, batch_plan, pad_ids, sequence_batches, token_batches
from .encoder import Encoder
from .errors import ConfigError
from .heads import Classifier, TokenClassifier
from .training import History, Plan, Trainer, sequence_loss, token_loss


def select(windows: Windows, indices: Sequence[int]) -> Windows:
    """Some of the windows of `batching.encode_texts` (one window a text), in the given order."""
    if len(windows) != len(windows.lengths) or windows.labels is not None:
        raise ConfigError("select 只用于 encode_texts 的结果：一条文本恰好一段")
    pick = lambda rows: [rows[i] for i in indices]
    count = len(indices)
    return Windows(pick(windows.input_ids), pick(windows.positions), pick(windows.words), np.arange(count),
                   windows.lengths[np.asarray(indices, int)])


def freeze(model: Classifier, top_blocks: int | None) -> Classifier:
    """Let only the head and the last `top_blocks` blocks of the encoder be trained.

    Args:
        model: a classifier of `utils.heads` (or with an `encoder` like theirs).
        top_blocks: 0 = the head alone (the pooler counts as head), None = everything, embeddings too.

    Raises:
        ConfigError: the encoder has fewer blocks.
    """
    blocks = model.encoder.blocks
    if top_blocks is not None and not 0 <= top_blocks <= len(blocks):
        raise ConfigError(f"top_blocks={top_blocks} 不合适：编码器有 {len(blocks)} 层，可取 0 到 {len(blocks)} 或 None")
    everything = top_blocks is None
    model.encoder.embeddings.trainable = everything
    for place, block in enumerate(blocks):
        block.trainable = everything or place >= len(blocks) - top_blocks
    return model


def trainable_count(model: keras.Model) -> int:
    """How many numbers training may change."""
    return sum(int(np.prod(variable.shape)) for variable in model.trainable_variables)


def fine_tune(
    model: Classifier,
    windows: Windows,
    labels: Sequence[int] | None = None,
    *,
    learning_rate: float,
    epochs: int,
    batch_tokens: int,
    seed: int = 0,
    measure: Callable[[keras.Model], dict] | None = None,
    evaluations: int = 1,
    loss: Callable | None = None,
    jit_compile: bool = False,
    label: str | None = None,
    **plan,
) -> History:
    """Train a token or sequence classifier; with `measure`, the weights of the best evaluation stay.

    Args:
        model: a `TokenClassifier` (the labels stand in `windows`), or any model of logits (n, c).
        windows: the encoded training texts.
        labels: a class for every text; None for a `TokenClassifier`.
        learning_rate: peak rate.
        epochs: passes over the data.
        batch_tokens: pieces, padding included, in one batch.
        seed: seed of the order of the batches (not of the weights: set that before the model is made).
        measure: model -> dict with the key "score" (higher is better).
        evaluations: how often, evenly spread; the last stands at the end.
        loss: loss(model, batch, training); default: cross-entropy.
        jit_compile, label: as for `training.Trainer`.
        plan: further fields of `training.Plan` (warmup, weight_decay, patience…).

    Raises:
        ConfigError: labels missing or of another number than the texts.
    """
    tokens = isinstance(model, TokenClassifier)
    if not tokens and (labels is None or len(labels) != len(windows)):
        raise ConfigError(f"有 {len(windows)} 条文本，标签却有 {0 if labels is None else len(labels)} 个")
    order = batch_plan(windows.piece_counts(), batch_tokens, epochs, seed)
    batches = token_batches(windows, order) if tokens else sequence_batches(windows, np.asarray(labels), order)
    every = -(-len(order) // evaluations)
    return Trainer(
        model, loss or (token_loss if tokens else sequence_loss), batches,
        Plan(len(order), learning_rate, evaluate_every=every, **plan), evaluate=measure,
        jit_compile=jit_compile, label=label,
    ).run()


def _compiled(function: Callable) -> Callable:
    """`function` of a padded batch, traced once for batches of every size."""
    signature = {name: tf.TensorSpec([None, None], "int32") for name in ("input_ids", "attention_mask")}
    return tf.function(function, input_signature=[signature], autograph=False)


def sequence_scores(logits: np.ndarray, labels: Sequence[int]) -> dict[str, float]:
    """Accuracy (0 to 1) and mean cross-entropy (nats) of logits (n, c)."""
    labels, logits = np.asarray(labels, int), np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return {"accuracy": float(np.mean(logits.argmax(axis=-1) == labels)),
            "loss": float(-log_probabilities[np.arange(len(labels)), labels].mean())}


class MeanClassifier(Classifier):
    """A label for every sentence, from the mean of the last states of its real pieces -> logits (n, c).

    There is no layer between the mean and the linear head, so a frozen encoder makes this a linear model on features
    that can be computed once (`mean_states`).
    """

    def call(self, inputs, training=None):
        states = self.encoder(inputs, training=training)  # (n, t, w)
        return self.classifier(self.dropout(mean_of_real(states, inputs["attention_mask"]), training=training))


def mean_of_real(states, mask):
    """Mean of states (n, t, w) over the places where mask (n, t) is 1 -> (n, w)."""
    counted = ops.cast(mask, states.dtype)[:, :, None]
    return ops.sum(states * counted, axis=1) / ops.sum(counted, axis=1)


def mean_states(encoder: Encoder, windows: Windows, batch_tokens: int = 8192, pad_id: int = 0) -> dict[str, np.ndarray]:
    """Features of every text from every layer: {"mean": (layers, n, w), "first": (layers, n, w)}.

    Layer 0 is the output of the embeddings; "first" is the state of [CLS].
    """
    if not hasattr(encoder, "book_states"):
        encoder.book_states = _compiled(lambda inputs: [
            (mean_of_real(states, inputs["attention_mask"]), states[:, 0]) for states in encoder.hidden_states(inputs)
        ])
    shape = (len(encoder.blocks) + 1, len(windows), encoder.config.hidden_size)
    found = {"mean": np.zeros(shape, np.float32), "first": np.zeros(shape, np.float32)}
    for indices in batch_plan(windows.piece_counts(), batch_tokens, 1):
        states = encoder.book_states(pad_ids(windows, indices, pad_id))
        for layer, (mean, first) in enumerate(states):
            found["mean"][layer, indices], found["first"][layer, indices] = mean, first
    return found
