"""The task heads of the book on `utils.encoder`: token and sequence classification, masked or causal language model.

A head is a Keras model with an `encoder`; `layers_by_path` reaches every layer of it by name.
Shapes in comments: b sentences, t pieces, w width, n predicted places, v vocabulary.
"""

from __future__ import annotations

import keras
from keras import ops

from .encoder import ACTIVATIONS, Encoder, dense, layer_norm
from .errors import ConfigError


class Classifier(keras.Model):
    """What both classifiers are: an encoder, dropout, and one linear layer to `num_labels` logits."""

    def __init__(self, encoder: Encoder, num_labels: int, name: str | None = None):
        super().__init__(name=name)
        self.encoder = encoder
        self.num_labels = num_labels
        self.dropout = keras.layers.Dropout(encoder.config.hidden_dropout_prob, name="head_dropout")
        self.classifier = dense(encoder.config, num_labels, "classifier")
        self.classifier.build((None, encoder.config.hidden_size))
        self.built = True


class TokenClassifier(Classifier):
    """A label for every piece: inputs as for `Encoder` -> logits (b, t, num_labels)."""

    def call(self, inputs, training=None):
        return self.classifier(self.dropout(self.encoder(inputs, training=training), training=training))


class SequenceClassifier(Classifier):
    """A label for every sentence, from [CLS] through the pooler if there is one -> logits (b, num_labels)."""

    def call(self, inputs, training=None):
        pooled = self.encoder.pool(self.encoder(inputs, training=training))
        return self.classifier(self.dropout(pooled, training=training))


class LanguageModel(keras.Model):
    """Predict pieces; the output matrix is the embedding table itself (tied), with a bias of its own.

    Inputs as for `Encoder`. With `positions` (n,), indices into the flattened (b·t) places, only those are computed:
    logits (n, v); without it every place: (b, t, v). Masked or causal is the encoder's choice (`is_decoder`).
    """

    def __init__(self, encoder: Encoder, name: str = "language_model"):
        super().__init__(name=name)
        config = encoder.config
        self.encoder = encoder
        self.transform = dense(config, config.hidden_size, "transform", ACTIVATIONS[config.hidden_act])
        self.transform_norm = layer_norm(config, "transform_norm")
        for layer in (self.transform, self.transform_norm):
            layer.build((None, config.hidden_size))
        self.bias = self.add_weight(shape=(config.vocab_size,), initializer="zeros", name="bias")
        self.built = True

    def call(self, inputs, training=None):
        hidden_states = self.encoder(inputs, training=training)
        if "positions" in inputs:
            flat = ops.reshape(hidden_states, (-1, self.encoder.config.hidden_size))  # (b·t, w)
            hidden_states = ops.take(flat, inputs["positions"], axis=0)  # (n, w)
        hidden_states = self.transform_norm(self.transform(hidden_states))
        table = self.encoder.embeddings.word.embeddings  # (v, w)
        return ops.matmul(hidden_states, ops.transpose(table)) + self.bias


def layers_by_path(model: keras.Model) -> dict[str, keras.layers.Layer]:
    """Every layer below `model` under a dotted path such as `encoder.blocks.0.attention.query`.

    The path is the chain of attributes, so `replace_layer` can put another layer in its place.
    """
    found: dict[str, keras.layers.Layer] = {}

    def visit(layer, path):
        for name, value in vars(layer).items():
            if name.startswith("_"):
                continue
            children = {name: value} if isinstance(value, keras.layers.Layer) else {}
            if isinstance(value, (list, tuple)):
                children = {f"{name}.{i}": v for i, v in enumerate(value) if isinstance(v, keras.layers.Layer)}
            for key, child in children.items():
                child_path = f"{path}.{key}" if path else key
                found[child_path] = child
                visit(child, child_path)

    visit(model, "")
    return found


def replace_layer(model: keras.Model, path: str, layer: keras.layers.Layer) -> keras.layers.Layer:
    """Put `layer` where `path` points and return the layer that stood there.

    Raises:
        ConfigError: no layer has this path; the message lists some that exist.
    """
    known = layers_by_path(model)
    if path not in known:
        raise ConfigError(f"模型里没有名为 {path!r} 的层；例如有：{'、'.join(list(known)[:8])}……")
    parent_path, _, attribute = path.rpartition(".")
    old = known[path]
    if attribute.isdigit():  # an element of a list, such as blocks.0
        owner_path, _, list_name = parent_path.rpartition(".")
        owner = known.get(owner_path, model)
        getattr(owner, list_name)[int(attribute)] = layer
    else:
        owner = known.get(parent_path, model)
    # Keras keeps a second list of a layer's children for its variables; the newcomer takes the old one's place in it.
    owner._tracker.replace_tracked_value("layers", old, layer)
    if not attribute.isdigit():
        setattr(owner, attribute, layer)
    return old
