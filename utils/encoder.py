"""BERT in Keras 3: embeddings, self-attention, post-norm blocks and the heads that the book uses.

Written with `keras.ops` and Keras layers only, so that any Keras backend runs it. Chapter 3 builds the same parts step
by step. Source: Devlin et al. 2019 (arXiv:1810.04805); Vaswani et al. 2017 (arXiv:1706.03762) for attention.

Shapes in comments: b sentences, t pieces, h heads, d numbers a head, w = h·d the width.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import keras
from keras import ops

from .errors import ConfigError

ACTIVATIONS = {
    "gelu": lambda x: keras.activations.gelu(x, approximate=False),
    "gelu_new": lambda x: keras.activations.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: keras.activations.gelu(x, approximate=True),
    "relu": keras.activations.relu,
}
LARGEST = 10**7  # far above any BERT; a bound on what a damaged config.json may ask for
RANGES = {  # field of `EncoderConfig` -> (types, least, greatest)
    **dict.fromkeys(("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                     "max_position_embeddings", "type_vocab_size"), (int, 1, LARGEST)),
    "pad_token_id": (int, 0, LARGEST),
    **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), ((int, float), 0, 1)),
    **dict.fromkeys(("layer_norm_eps", "initializer_range"), ((int, float), 0, 1)),
}
MASKED = -1e9  # added to the scores of forbidden places; exp(-1e9) is exactly zero in float32


@dataclass(frozen=True)
class EncoderConfig:
    """Shape of an encoder; the names are those of Hugging Face's `config.json`.

    `add_pooler` says whether the encoder has BERT's dense layer over [CLS]; `is_decoder` makes attention causal.
    """

    vocab_size: int
    hidden_size: int = 256
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    intermediate_size: int = 1024
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    pad_token_id: int = 0
    is_decoder: bool = False
    add_pooler: bool = False

    def __post_init__(self):
        for name, (types, low, high) in RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, types) or not low <= value <= high:
                raise ConfigError(f"{name}={value!r} 不合理：要在 {low} 和 {high} 之间{'，是整数' if types is int else ''}")
        if not isinstance(self.hidden_act, str) or self.hidden_act not in ACTIVATIONS:
            raise ConfigError(f"hidden_act={self.hidden_act!r} 不认识；可选：{'、'.join(ACTIVATIONS)}")
        if self.hidden_size % self.num_attention_heads:
            raise ConfigError(
                f"hidden_size={self.hidden_size} 不能被 num_attention_heads={self.num_attention_heads} 整除"
            )

    @classmethod
    def from_dict(cls, values: dict) -> "EncoderConfig":
        """Take the known fields out of a parsed `config.json`; others are ignored."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in known})

    def initializer(self):
        """Normal distribution truncated at two standard deviations, as BERT draws its weights."""
        return keras.initializers.TruncatedNormal(stddev=self.initializer_range)


def dense(config: EncoderConfig, units: int, name: str, activation=None) -> keras.layers.Dense:
    return keras.layers.Dense(units, activation=activation, kernel_initializer=config.initializer(), name=name)


def layer_norm(config: EncoderConfig, name: str) -> keras.layers.LayerNormalization:
    return keras.layers.LayerNormalization(epsilon=config.layer_norm_eps, name=name)


class Embeddings(keras.layers.Layer):
    """Sum of piece, position and segment embeddings, normalised: (b, t) integers -> (b, t, w)."""

    prompts = 0  # how many learned vectors stand before the pieces: only where utils.peft put them there

    def __init__(self, config: EncoderConfig, name: str = "embeddings"):
        super().__init__(name=name)
        self.config = config

        def table(rows, table_name):
            return keras.layers.Embedding(
                rows, config.hidden_size, embeddings_initializer=config.initializer(), name=table_name
            )

        self.word = table(config.vocab_size, "word")
        self.position = table(config.max_position_embeddings, "position")
        self.token_type = table(config.type_vocab_size, "token_type")
        self.norm = layer_norm(config, "norm")
        self.dropout = keras.layers.Dropout(config.hidden_dropout_prob, name="dropout")

    def build(self, input_shape=None):
        for layer in (self.word, self.position, self.token_type):
            layer.build((None, None))
        self.norm.build((None, None, self.config.hidden_size))

    def call(self, input_ids, token_type_ids=None, training=None):
        length = ops.shape(input_ids)[1]
        hidden_states = self.word(input_ids) + self.position(ops.arange(length))  # (b, t, w) + (t, w)
        # Without segments every piece belongs to segment 0: one row, added to all.
        hidden_states += self.token_type.embeddings[0] if token_type_ids is None else self.token_type(token_type_ids)
        return self.dropout(self.norm(hidden_states), training=training)


class SelfAttention(keras.layers.Layer):
    """Multi-head scaled dot-product attention: (b, t, w) and an additive mask -> (b, t, w).

    `query`, `key`, `value` and `projection` are plain dense layers with (w, w) kernels, so that LoRA and its kin can
    take their places. After a call with `keep_weights = True` the probabilities (b, h, t, t) stand in `last_weights`.
    """

    def __init__(self, config: EncoderConfig, name: str = "attention"):
        super().__init__(name=name)
        self.heads = config.num_attention_heads
        self.width = config.hidden_size
        self.query = dense(config, self.width, "query")
        self.key = dense(config, self.width, "key")
        self.value = dense(config, self.width, "value")
        self.projection = dense(config, self.width, "projection")
        self.dropout = keras.layers.Dropout(config.attention_probs_dropout_prob, name="dropout")
        self.keep_weights = False
        self.last_weights = None

    def build(self, input_shape=None):
        for layer in (self.query, self.key, self.value, self.projection):
            layer.build((None, None, self.width))

    def split_heads(self, x):
        """(b, t, w) -> (b, h, t, d)."""
        batch, length = ops.shape(x)[0], ops.shape(x)[1]
        x = ops.reshape(x, (batch, length, self.heads, self.width // self.heads))
        return ops.transpose(x, (0, 2, 1, 3))

    def call(self, hidden_states, mask, training=None):
        key = self.split_heads(self.key(hidden_states))
        value = self.split_heads(self.value(hidden_states))
        return self.attend(hidden_states, key, value, mask, training)

    def attend(self, hidden_states, key, value, mask, training=None):
        """What the places of (b, t, w) read from keys and values (b, h, places, d), through the projection."""
        query = self.split_heads(self.query(hidden_states)) * (self.width // self.heads) ** -0.5
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))  # (b, h, query, key)
        weights = ops.softmax(scores + mask, axis=-1)
        if self.keep_weights:
            self.last_weights = weights
        mixed = ops.matmul(self.dropout(weights, training=training), value)  # (b, h, t, d)
        mixed = ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), ops.shape(hidden_states))  # (b, t, w)
        return self.projection(mixed)


class Block(keras.layers.Layer):
    """One Transformer layer, normalised after each residual sum (post-norm): (b, t, w) -> (b, t, w)."""

    def __init__(self, config: EncoderConfig, name: str):
        super().__init__(name=name)
        self.config = config
        self.attention = SelfAttention(config)
        self.attention_dropout = keras.layers.Dropout(config.hidden_dropout_prob, name="attention_dropout")
        self.attention_norm = layer_norm(config, "attention_norm")
        self.expand = dense(config, config.intermediate_size, "expand", ACTIVATIONS[config.hidden_act])
        self.contract = dense(config, config.hidden_size, "contract")
        self.contract_dropout = keras.layers.Dropout(config.hidden_dropout_prob, name="contract_dropout")
        self.contract_norm = layer_norm(config, "contract_norm")

    def build(self, input_shape=None):
        shape = (None, None, self.config.hidden_size)
        for layer in (self.attention, self.attention_norm, self.expand, self.contract_norm):
            layer.build(shape)
        self.contract.build((None, None, self.config.intermediate_size))

    def call(self, hidden_states, mask, training=None):
        attended = self.attention_dropout(self.attention(hidden_states, mask, training=training), training=training)
        hidden_states = self.attention_norm(hidden_states + attended)
        transformed = self.contract_dropout(self.contract(self.expand(hidden_states)), training=training)
        return self.contract_norm(hidden_states + transformed)


class Encoder(keras.Model):
    """The BERT encoder.

    Input: a dict with `input_ids` (b, t), and optionally `attention_mask` (b, t; 1 = real piece; default: all real)
    and `token_type_ids` (b, t; default: segment 0). Output: last hidden states (b, t, w).
    """

    def __init__(self, config: EncoderConfig, name: str = "encoder"):
        super().__init__(name=name)
        self.config = config
        self.embeddings = Embeddings(config)
        self.blocks = [Block(config, name=f"block_{i}") for i in range(config.num_hidden_layers)]
        self.pooler = dense(config, config.hidden_size, "pooler", "tanh") if config.add_pooler else None
        self.build()

    def build(self, input_shape=None):
        for layer in (self.embeddings, *self.blocks):
            layer.build()
        if self.pooler is not None:
            self.pooler.build((None, self.config.hidden_size))
        self.built = True

    def mask(self, inputs: dict):
        """Additive mask (b or 1, 1, 1 or t, t): 0 where a piece may look, -1e9 where it must not."""
        prompts = self.embeddings.prompts  # places before the text, always visible
        length = ops.shape(inputs["input_ids"])[1] + prompts
        if "attention_mask" in inputs:
            real = inputs["attention_mask"]
            real = ops.pad(real, ((0, 0), (prompts, 0)), constant_values=1) if prompts else real
            allowed = ops.cast(real, "bool")[:, None, None, :]
        else:
            # One mask a text where the model is causal: TensorFlow fuses the sum with the product before it, and its
            # kernel takes fifteen times as long if a (1, 1, t, t) mask has to serve all texts.
            texts = ops.shape(inputs["input_ids"])[0] if self.config.is_decoder else 1
            allowed = ops.ones((texts, 1, 1, length), "bool")
        if self.config.is_decoder:
            places = ops.arange(length)
            allowed = ops.logical_and(allowed, places[None, None, None, :] <= places[None, None, :, None])
        return ops.cast(ops.where(allowed, 0.0, MASKED), self.compute_dtype)

    def call(self, inputs, training=None):
        return self.hidden_states(inputs, training=training)[-1]

    def hidden_states(self, inputs: dict, training=None) -> list:
        """The output of the embeddings and of every block: a list of (b, t, w), one longer than the blocks."""
        mask = self.mask(inputs)
        states = [self.embeddings(inputs["input_ids"], inputs.get("token_type_ids"), training=training)]
        for block in self.blocks:
            states.append(block(states[-1], mask, training=training))
        prompts = self.embeddings.prompts
        return [state[:, prompts:] for state in states] if prompts else states

    def pool(self, hidden_states):
        """BERT's sentence vector: the pooler over [CLS] if there is one, else the [CLS] state itself. -> (b, w)."""
        first = hidden_states[:, 0]
        return first if self.pooler is None else self.pooler(first)

    def attention_weights(self, inputs: dict) -> list:
        """Attention probabilities of every block, each (b, h, t, t)."""
        for block in self.blocks:
            block.attention.keep_weights = True
        try:
            self(inputs, training=False)
            return [block.attention.last_weights for block in self.blocks]
        finally:
            for block in self.blocks:
                block.attention.keep_weights, block.attention.last_weights = False, None
