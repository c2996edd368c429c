"""What all methods of parameter-efficient fine-tuning share: freezing, naming, saving, removing.

An adaptation is made on an `Encoder`, or on a model of `utils.heads`, whose head stays trainable beside it. The base
is frozen except for the weights that a method trains in place (the biases of BitFit, the LayerNorms of Houlsby's adapters);
`remove` restores those, so one base serves many tasks, each with a small file of its own.
"""

from __future__ import annotations

import hashlib
import json
import operator
import os
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from keras import ops

from ..encoder import Encoder
from ..errors import ConfigError
from ..files import write_atomically
from ..heads import layers_by_path, replace_layer


def encoder_of(model: keras.Model) -> Encoder:
    """The encoder of `model`, which is one or has one.

    Raises:
        ConfigError: neither.
    """
    found = model if isinstance(model, Encoder) else getattr(model, "encoder", None)
    if not isinstance(found, Encoder):
        raise ConfigError(f"{type(model).__name__} 不是编码器，也没有编码器：请给 Encoder 或 utils.heads 里的模型")
    return found


def variables_by_path(model: keras.Model) -> dict[str, keras.Variable]:
    """Every weight of `model` under a dotted path such as `encoder.blocks.0.attention.query.kernel`."""
    layers = sorted(layers_by_path(model).items(), key=lambda item: -item[0].count("."))  # inner layers name first
    found: dict[str, keras.Variable] = {}
    named: set[int] = set()
    for path, layer in [*layers, ("", model)]:
        for variable in layer.weights:
            if id(variable) not in named:
                named.add(id(variable))
                found[f"{path}.{variable.name}" if path else variable.name] = variable
    return found


def fingerprint(encoder: Encoder) -> str:
    """SHA-256 of an encoder's weights by name."""
    total = hashlib.sha256()
    for path, variable in sorted(variables_by_path(encoder).items()):
        total.update(path.encode() + np.ascontiguousarray(ops.convert_to_numpy(variable)).tobytes())
    return total.hexdigest()


def whole(name: str, value: object, most: int) -> int:
    """`value` as a size.

    Raises:
        ConfigError: it is not a whole number from 1 to `most`; names the parameter.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if not 1 <= number <= most:
        raise ConfigError(f"{name}={value!r} 不合理：要 1 到 {most} 的整数")
    return number


class Adaptation:
    """A model with some layers replaced and everything else in its encoder frozen.

    Args:
        model: an `Encoder` or a model of `utils.heads`; it is changed in place.
        method: name of the method, one of `utils.peft.METHODS`.
        settings: the method's arguments, plain JSON values, from which `utils.peft.load` makes it anew.

    Attributes:
        model: the adapted model.
        base: SHA-256 of the encoder before it was adapted; a saved adaptation fits only this base.
        removed: whether `remove` has taken it off the model, on which another one may stand by now.

    Raises:
        ConfigError: the model has no encoder, or is adapted already.
    """

    def __init__(self, model: keras.Model, method: str, settings: dict):
        encoder = encoder_of(model)
        if getattr(encoder, "adapted", None):
            raise ConfigError("这个编码器已经装了一种高效微调方法；请先 remove()，再换另一种")
        self.model, self.method, self.settings = model, method, settings
        self.base, self.removed = fingerprint(encoder), False
        self._before = [(v, v.trainable, None) for v in encoder.weights]
        in_encoder = {id(v) for v in encoder.weights}
        head = [v for v in model.weights if id(v) not in in_encoder]
        self._before += [(v, v.trainable, ops.convert_to_numpy(v)) for v in head]
        self._replaced: dict[str, keras.layers.Layer] = {}
        for variable in encoder.weights:
            variable.trainable = False
        encoder.adapted = "plain"  # "changed" while layers stand in it that no checkpoint has a name for

    def replace(self, make: Callable[[keras.layers.Layer], keras.layers.Layer], *paths: str) -> None:
        """Put `make(layer)` in the place of each layer; paths count from the encoder. If one cannot be made, none is."""
        encoder = encoder_of(self.model)
        layers = layers_by_path(encoder)
        try:
            made = {path: make(layers[path]) for path in paths}
        except BaseException:  # memory, an interrupt: the model is left as it was
            self.remove()
            raise
        for path, layer in made.items():
            replace_layer(encoder, path, layer)
            self._replaced[path] = layers[path]
        encoder.adapted = "changed"

    def train(self, *names: str) -> None:
        """Train those weights of the base whose own name (bias, beta, gamma…) is listed; `remove` restores them."""
        for index, (variable, before, _) in enumerate(self._before):
            if variable.name in names and not variable.trainable:
                self._before[index] = (variable, before, ops.convert_to_numpy(variable))
                variable.trainable = True

    def trainable(self) -> dict[str, keras.Variable]:
        """Exactly what a training step changes, by path."""
        return {path: variable for path, variable in variables_by_path(self.model).items() if variable.trainable}

    def count(self, head: bool = False) -> int:
        """Number of trainable parameters in the encoder; with `head`, in the whole model."""
        whole = self.model if head else encoder_of(self.model)
        return sum(int(np.prod(variable.shape)) for variable in whole.trainable_variables)

    def save(self, path: str | os.PathLike) -> Path:
        """Write what is trainable, and nothing else, as safetensors; `utils.peft.load` puts it on a fresh base.

        Raises:
            ConfigError: it has been removed.
        """
        from safetensors.numpy import save

        self.standing()
        tensors = {name: np.ascontiguousarray(ops.convert_to_numpy(v)) for name, v in self.trainable().items()}
        about = {"method": self.method, "settings": self.settings, "base": self.base}
        write_atomically(Path(path), save(tensors, metadata={"peft": json.dumps(about)}))
        return Path(path)

    def standing(self) -> None:
        """Refuse what makes sense only while the adaptation is on the model.

        Raises:
            ConfigError: it has been removed.
        """
        if self.removed:
            raise ConfigError(f"这个 {self.method} 已经从模型上撤下（remove）；请重新建立它，或用 utils.peft.load 读回保存的文件")

    def remove(self) -> keras.Model:
        """Undo everything: the layers, the weights and what was trainable are as before. Returns the model.

        A second call does nothing, because another adaptation may stand on the model by then.
        """
        if self.removed:
            return self.model
        encoder = encoder_of(self.model)
        for path, layer in self._replaced.items():
            replace_layer(encoder, path, layer)
        for variable, trainable, value in self._before:
            variable.trainable = trainable
            if value is not None:
                variable.assign(value)
        self._replaced.clear()
        self._before.clear()
        encoder.adapted, self.removed = None, True
        return self.model
