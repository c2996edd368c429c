"""Soft prompts: learned vectors in place of words, before the text (prompt tuning) or in every attention (deep prompts).

Lester et al. 2021 (arXiv:2104.08691); Liu et al. 2022, P-Tuning v2 (arXiv:2110.07602), after Li and Liang 2021.
The text keeps its positions, and the outputs are those of the text alone.
"""

from __future__ import annotations

import keras
from keras import ops

from ..encoder import Embeddings, EncoderConfig, SelfAttention
from .adaptation import Adaptation, encoder_of, whole


class PromptedEmbeddings(keras.layers.Layer):
    """Embeddings with `length` learned vectors before them: (b, t) -> (b, length + t, w).

    They start as the embeddings of pieces drawn at random (Lester et al. found that better than noise), without position.
    """

    def __init__(self, base: Embeddings, length: int):
        super().__init__(name=base.name)
        self.base = base
        self.prompts = length
        pieces = keras.random.randint((length,), 0, base.config.vocab_size)
        start = base.norm(base.word(pieces) + base.token_type.embeddings[0])
        self.prompt = self.add_weight(shape=(length, base.config.hidden_size), name="prompt")
        self.prompt.assign(start)
        self.built = True

    @property
    def word(self):
        """The table of pieces, which a language model's output shares."""
        return self.base.word

    def call(self, input_ids, token_type_ids=None, training=None):
        text = self.base(input_ids, token_type_ids, training=training)  # (b, t, w)
        prompt = ops.broadcast_to(self.prompt, (ops.shape(text)[0], *self.prompt.shape))
        return ops.concatenate([ops.cast(prompt, text.dtype), text], axis=1)


class PrefixedAttention(keras.layers.Layer):
    """Self-attention that also reads `length` learned keys and values: (b, t, w) -> (b, t, w)."""

    def __init__(self, base: SelfAttention, config: EncoderConfig, length: int):
        super().__init__(name=base.name)
        self.base = base
        shape = (base.heads, length, base.width // base.heads)
        self.prefix_key = self.add_weight(shape=shape, initializer=config.initializer(), name="prefix_key")
        self.prefix_value = self.add_weight(shape=shape, initializer=config.initializer(), name="prefix_value")
        self.built = True

    @property
    def keep_weights(self) -> bool:
        """Whether the base keeps its attention probabilities; here (b, h, t, length + t)."""
        return self.base.keep_weights

    @keep_weights.setter
    def keep_weights(self, value: bool):
        self.base.keep_weights = value

    @property
    def last_weights(self):
        """Attention probabilities of the last call, prefix first."""
        return self.base.last_weights

    @last_weights.setter
    def last_weights(self, value):
        self.base.last_weights = value

    def call(self, hidden_states, mask, training=None):
        base, length = self.base, self.prefix_key.shape[1]
        key, value = base.split_heads(base.key(hidden_states)), base.split_heads(base.value(hidden_states))
        key, value = self._before(self.prefix_key, key), self._before(self.prefix_value, value)
        mask = ops.pad(mask, ((0, 0), (0, 0), (0, 0), (length, 0)))  # 0: everybody may look at the prefix
        return base.attend(hidden_states, key, value, mask, training)

    @staticmethod
    def _before(prefix, text):
        """(h, length, d) before (b, h, t, d)."""
        rows = ops.broadcast_to(prefix, (ops.shape(text)[0], *prefix.shape))
        return ops.concatenate([ops.cast(rows, text.dtype), text], axis=2)


def prompt_tuning(model: keras.Model, length: int = 16) -> Adaptation:
    """Learn `length` vectors that stand before the text; parameters: length × width.

    Raises:
        ConfigError: a length that is no whole number from 1 to the encoder's places, or a model without encoder.
    """
    length = whole("length", length, encoder_of(model).config.max_position_embeddings)
    adaptation = Adaptation(model, "prompt_tuning", {"length": length})
    adaptation.replace(lambda base: PromptedEmbeddings(base, length), "embeddings")
    return adaptation


def deep_prompts(model: keras.Model, length: int = 16) -> Adaptation:
    """Learn `length` keys and values in the attention of every block; parameters: 2 × blocks × length × width.

    Raises:
        ConfigError: a length that is no whole number from 1 to the encoder's places, or a model without encoder.
    """
    encoder = encoder_of(model)
    length = whole("length", length, encoder.config.max_position_embeddings)
    adaptation = Adaptation(model, "deep_prompts", {"length": length})
    paths = [f"blocks.{i}.attention" for i in range(len(encoder.blocks))]
    adaptation.replace(lambda base: PrefixedAttention(base, encoder.config, length), *paths)
    return adaptation
