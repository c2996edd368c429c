"""The Transformer decoder in Keras 3 and the encoder-decoder on `utils.encoder`: causal self-attention, cross-attention,
one step at a time with a cache.

Written with `keras.ops` and Keras layers only, like the encoder. Chapter 22 explains it. Source: Vaswani et al. 2017
(arXiv:1706.03762), sections 3.1 and 3.2.3; here each sum is normalised after it is made (post-norm), as in the encoder.

Shapes in comments: b sentences, t target pieces, s source pieces, h heads, d numbers a head, w = h·d the width, v vocabulary.
"""

from __future__ import annotations

from dataclasses import replace

import keras
from keras import ops

from .encoder import ACTIVATIONS, MASKED, Embeddings, Encoder, EncoderConfig, SelfAttention, dense, layer_norm
from .errors import ConfigError

Cache = list[dict]  # for each block: "key", "value" (b, h, t, d) of what was written; "memory_key", "memory_value" (b, h, s, d)


def padding_mask(attention_mask, dtype):
    """Additive mask (b, 1, 1, s) from a mask (b, s) whose ones are real pieces."""
    return ops.cast(ops.where(ops.cast(attention_mask, "bool")[:, None, None, :], 0.0, MASKED), dtype)


def causal_mask(length, dtype):
    """Additive mask (1, 1, t, t): place i may look at places 0 to i."""
    places = ops.arange(length)
    return ops.cast(ops.where(places[None, :] <= places[:, None], 0.0, MASKED), dtype)[None, None]


class TargetEmbeddings(Embeddings):
    """The encoder's embeddings, but the first piece may stand at another place than 0: (b, t) integers -> (b, t, w).

    Args:
        config: shape of the decoder.
        word: a table of pieces to share with the encoder; None makes one.
    """

    def __init__(self, config: EncoderConfig, word: keras.layers.Embedding | None = None, name: str = "embeddings"):
        super().__init__(config, name=name)
        if word is not None:
            self.word = word

    def call(self, input_ids, start=0, training=None):
        places = start + ops.arange(ops.shape(input_ids)[1])
        hidden_states = self.word(input_ids) + self.position(places) + self.token_type.embeddings[0]
        return self.dropout(self.norm(hidden_states), training=training)


class CrossAttention(SelfAttention):
    """Multi-head attention whose queries come from one sequence and whose keys and values from another (the memory)."""

    def project(self, memory):
        """Keys and values of a memory (b, s, w): two of (b, h, s, d)."""
        return self.split_heads(self.key(memory)), self.split_heads(self.value(memory))

    def call(self, hidden_states, memory, memory_mask, training=None):
        return self.attend(hidden_states, *self.project(memory), memory_mask, training=training)


class DecoderBlock(keras.layers.Layer):
    """Causal self-attention, cross-attention, two dense layers; each with a residual sum and a norm after it."""

    def __init__(self, config: EncoderConfig, name: str):
        super().__init__(name=name)
        self.config = config
        self.attention = SelfAttention(config, name="attention")
        self.cross_attention = CrossAttention(config, name="cross_attention")
        self.expand = dense(config, config.intermediate_size, "expand", ACTIVATIONS[config.hidden_act])
        self.contract = dense(config, config.hidden_size, "contract")
        self.attention_norm, self.cross_norm, self.contract_norm = (
            layer_norm(config, name) for name in ("attention_norm", "cross_norm", "contract_norm")
        )
        self.dropout = keras.layers.Dropout(config.hidden_dropout_prob, name="dropout")

    def build(self, input_shape=None):
        shape = (None, None, self.config.hidden_size)
        for layer in (self.attention, self.cross_attention, self.expand, self.attention_norm, self.cross_norm, self.contract_norm):
            layer.build(shape)
        self.contract.build((None, None, self.config.intermediate_size))

    def call(self, hidden_states, memory, mask, memory_mask, training=None):
        attended = self.attention(hidden_states, mask, training=training)
        crossed = lambda states: self.cross_attention(states, memory, memory_mask, training=training)
        return self.combine(hidden_states, attended, crossed, training)

    def step(self, hidden_states, cache: dict, memory_mask):
        """The same for one new place: (b, 1, w) and what the cache holds of those before -> (b, 1, w), new cache."""
        key = self.attention.split_heads(self.attention.key(hidden_states))  # (b, h, 1, d)
        value = self.attention.split_heads(self.attention.value(hidden_states))
        key, value = ops.concatenate([cache["key"], key], axis=2), ops.concatenate([cache["value"], value], axis=2)
        attended = self.attention.attend(hidden_states, key, value, 0.0)  # nothing in the cache lies in the future
        crossed = lambda states: self.cross_attention.attend(
            states, cache["memory_key"], cache["memory_value"], memory_mask
        )
        return self.combine(hidden_states, attended, crossed, False), {**cache, "key": key, "value": value}

    def combine(self, hidden_states, attended, crossed, training):
        """Residual sums and norms around the two attentions and the dense layers."""
        hidden_states = self.attention_norm(hidden_states + self.dropout(attended, training=training))
        hidden_states = self.cross_norm(hidden_states + self.dropout(crossed(hidden_states), training=training))
        transformed = self.contract(self.expand(hidden_states))
        return self.contract_norm(hidden_states + self.dropout(transformed, training=training))


class Decoder(keras.Model):
    """The decoder: pieces written so far and a memory (the encoder's states) -> states from which the next is predicted.

    Args:
        config: shape; `is_decoder` is implied.
        word: the encoder's table of pieces, to share it; None makes one.
    """

    def __init__(self, config: EncoderConfig, word: keras.layers.Embedding | None = None, name: str = "decoder"):
        super().__init__(name=name)
        self.config = replace(config, is_decoder=True)
        self.embeddings = TargetEmbeddings(self.config, word)
        self.blocks = [DecoderBlock(self.config, name=f"block_{i}") for i in range(config.num_hidden_layers)]
        self.bias = self.add_weight(shape=(config.vocab_size,), initializer="zeros", name="bias")
        for layer in (self.embeddings, *self.blocks):
            layer.build()
        self.built = True

    def call(self, input_ids, memory, attention_mask, training=None):
        """(b, t) pieces, (b, s, w) memory, (b, s) mask of the memory -> states (b, t, w), the past of each place only."""
        mask, memory_mask = causal_mask(ops.shape(input_ids)[1], self.compute_dtype), padding_mask(attention_mask, self.compute_dtype)
        hidden_states = self.embeddings(input_ids, training=training)
        for block in self.blocks:
            hidden_states = block(hidden_states, memory, mask, memory_mask, training=training)
        return hidden_states

    def logits(self, hidden_states):
        """(…, w) -> (…, v); the output matrix is the table of pieces (tied)."""
        return ops.matmul(hidden_states, ops.transpose(self.embeddings.word.embeddings)) + self.bias

    def start(self, memory) -> Cache:
        """The cache before the first piece."""
        shape = (ops.shape(memory)[0], self.config.num_attention_heads, 0, self.config.hidden_size // self.config.num_attention_heads)
        cache = []
        for block in self.blocks:
            key, value = block.cross_attention.project(memory)
            nothing = ops.zeros(shape, memory.dtype)
            cache.append({"key": nothing, "value": nothing, "memory_key": key, "memory_value": value})
        return cache

    def step(self, input_ids, cache: Cache, attention_mask):
        """One more piece a sentence: (b,) -> states (b, w) and the longer cache."""
        memory_mask = padding_mask(attention_mask, self.compute_dtype)
        hidden_states = self.embeddings(input_ids[:, None], start=ops.shape(cache[0]["key"])[2])
        longer = []
        for block, past in zip(self.blocks, cache):
            hidden_states, past = block.step(hidden_states, past, memory_mask)
            longer.append(past)
        return hidden_states[:, 0], longer


class EncoderDecoder(keras.Model):
    """A sequence in, another out.

    Input: a dict with `input_ids` (b, s), `attention_mask` (b, s) and `decoder_input_ids` (b, t), the target moved one place
    to the right. Output: logits (b, t, v) of the target's pieces.

    Raises:
        ConfigError: encoder and decoder differ in width.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder, name: str = "encoder_decoder"):
        super().__init__(name=name)
        widths = encoder.config.hidden_size, decoder.config.hidden_size
        if widths[0] != widths[1]:
            raise ConfigError(f"编码器宽 {widths[0]}，解码器宽 {widths[1]}：交叉注意力要求两者相同")
        self.encoder, self.decoder = encoder, decoder
        self.built = True

    def memory(self, inputs, training=None):
        """What the decoder reads: the encoder's states (b, s, w)."""
        return self.encoder({name: inputs[name] for name in ("input_ids", "attention_mask")}, training=training)

    def call(self, inputs, training=None):
        memory = self.memory(inputs, training=training)
        return self.decoder.logits(
            self.decoder(inputs["decoder_input_ids"], memory, inputs["attention_mask"], training=training)
        )

    def start(self, inputs) -> Cache:
        """Read the sources; the cache from which `step` goes on."""
        return self.decoder.start(self.memory(inputs, training=False))

    def step(self, input_ids, cache: Cache, inputs):
        """The last pieces (b,), the cache, the sources -> log-probabilities of the next pieces (b, v), the longer cache."""
        hidden_states, cache = self.decoder.step(input_ids, cache, inputs["attention_mask"])
        return ops.log_softmax(self.decoder.logits(hidden_states), axis=-1), cache

    def cross_attention(self, inputs) -> list:
        """Cross-attention probabilities of every block of the decoder, each (b, h, t, s), for given targets."""
        attentions = [block.cross_attention for block in self.decoder.blocks]
        for attention in attentions:
            attention.keep_weights = True
        try:
            self(inputs, training=False)
            return [attention.last_weights for attention in attentions]
        finally:
            for attention in attentions:
                attention.keep_weights, attention.last_weights = False, None
