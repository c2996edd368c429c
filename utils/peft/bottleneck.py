"""Bottleneck adapters: a small network with a residual connection, put into every block.

Houlsby et al. 2019 (arXiv:1902.00751): after attention and after the feed-forward layer, before the residual sum;
LayerNorms train along. Pfeiffer et al. 2021 (arXiv:2005.00247): only after the feed-forward layer; placed as in the
AdapterHub library, between two passes of the block's last LayerNorm. Here the second matrix starts at zero, so that
the start is exactly the base; the papers start with small random values.
"""

from __future__ import annotations

import keras

from ..encoder import ACTIVATIONS, EncoderConfig
from ..errors import ConfigError
from .adaptation import Adaptation, encoder_of, whole


class Bottleneck(keras.layers.Layer):
    """x -> up(f(down(x))): (…, w) -> (…, size) -> (…, w); zero at the start."""

    def __init__(self, config: EncoderConfig, size: int, name: str):
        super().__init__(name=name)
        self.down = keras.layers.Dense(
            size, ACTIVATIONS[config.hidden_act], kernel_initializer=config.initializer(), name="down"
        )
        self.up = keras.layers.Dense(config.hidden_size, kernel_initializer="zeros", name="up")
        self.down.build((None, config.hidden_size))
        self.up.build((None, size))
        self.built = True

    def call(self, inputs):
        return self.up(self.down(inputs))


class AdaptedDropout(keras.layers.Layer):
    """Houlsby: stands where a sub-layer's dropout stood, the last stop before the residual sum."""

    def __init__(self, base: keras.layers.Dropout, config: EncoderConfig, size: int):
        super().__init__(name=base.name)
        self.base = base
        self.adapter = Bottleneck(config, size, "adapter")
        self.built = True

    def call(self, inputs, training=None):
        outputs = self.base(inputs, training=training)
        return outputs + self.adapter(outputs)


class AdaptedNorm(keras.layers.Layer):
    """Pfeiffer, as in AdapterHub: norm(x + adapter(norm(x))), where x is the block's last residual sum."""

    def __init__(self, base: keras.layers.LayerNormalization, config: EncoderConfig, size: int):
        super().__init__(name=base.name)
        self.base = base
        self.adapter = Bottleneck(config, size, "adapter")
        self.built = True

    def call(self, inputs):
        return self.base(inputs + self.adapter(self.base(inputs)))


PLACES = {
    "houlsby": (AdaptedDropout, ("attention_dropout", "contract_dropout"), ("gamma", "beta")),
    "pfeiffer": (AdaptedNorm, ("contract_norm",), ()),
}


def adapters(model: keras.Model, size: int = 16, placement: str = "houlsby") -> Adaptation:
    """Put a bottleneck adapter after each sub-layer (Houlsby) or after each feed-forward layer (Pfeiffer).

    Args:
        model: an `Encoder` or a model of `utils.heads`.
        size: width of the bottleneck, at most four times that of the encoder.
        placement: "houlsby", which trains all LayerNorms of the encoder too, or "pfeiffer".

    Raises:
        ConfigError: an unknown placement (the message lists the valid ones), a size that is no use.
    """
    encoder = encoder_of(model)
    size = whole("size", size, 4 * encoder.config.hidden_size)
    if placement not in list(PLACES):  # a list could not be looked up in a dict
        raise ConfigError(f"没有名为 {placement!r} 的位置 placement；可选：{'、'.join(PLACES)}")
    adaptation = Adaptation(model, "adapters", {"size": size, "placement": placement})
    layer, names, trained = PLACES[placement]
    if trained:  # LayerNorm has a gamma and a beta, and nothing else in the encoder has
        adaptation.train(*trained)
    paths = [f"blocks.{i}.{name}" for i in range(len(encoder.blocks)) for name in names]
    adaptation.replace(lambda base: layer(base, encoder.config, size), *paths)
    return adaptation
