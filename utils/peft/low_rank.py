"""LoRA: a frozen kernel plus a learned product of two thin matrices (Hu et al. 2022, arXiv:2106.09685)."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Sequence

import keras
import numpy as np
from keras import ops

from ..errors import ConfigError
from ..heads import layers_by_path, replace_layer
from .adaptation import Adaptation, encoder_of, whole


class LowRankDense(keras.layers.Layer):
    """A dense layer whose kernel is W + (alpha / rank)·A·B: A (in, rank) at random, B (rank, out) zero at the start."""

    def __init__(self, base: keras.layers.Dense, rank: int, alpha: float):
        super().__init__(name=base.name)
        self.base = base
        self.scale = alpha / rank
        width_in, width_out = base.kernel.shape
        # Uniform within ±1/sqrt(in), as in the authors' code (the paper says Gaussian).
        uniform = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
        self.lora_a = self.add_weight(shape=(width_in, rank), initializer=uniform, name="lora_a")
        self.lora_b = self.add_weight(shape=(rank, width_out), initializer="zeros", name="lora_b")
        self.built = True

    def call(self, inputs):
        outputs = ops.matmul(inputs, self.base.kernel)
        outputs += self.scale * ops.matmul(ops.matmul(inputs, self.lora_a), self.lora_b)  # never the (in, out) product
        return self.base.activation(outputs + self.base.bias)

    def update(self) -> np.ndarray:
        """(alpha / rank)·A·B: (in, out)."""
        return self.scale * ops.convert_to_numpy(self.lora_a) @ ops.convert_to_numpy(self.lora_b)


class LowRank(Adaptation):
    """LoRA on a model; `merge` makes it a plain model of the base's speed, `unmerge` takes that back."""

    def __init__(self, model: keras.Model, rank: int, targets: Sequence[str], alpha: float):
        self._kernels: dict[str, tuple[LowRankDense, np.ndarray]] = {}
        super().__init__(model, "lora", {"rank": rank, "targets": list(targets), "alpha": alpha})

    def merge(self) -> keras.Model:
        """Add the updates to the kernels and put the plain dense layers back, so that inference costs nothing more.

        Returns:
            the model, which `utils.checkpoints.save` can write like any other.

        Raises:
            ConfigError: it has been removed.
        """
        self.standing()
        encoder = encoder_of(self.model)
        for path, base in self._replaced.items() if not self._kernels else ():
            layer = replace_layer(encoder, path, base)
            self._kernels[path] = (layer, ops.convert_to_numpy(base.kernel))
            base.kernel.assign(base.kernel + layer.update())
        encoder.adapted = "plain"
        return self.model

    def unmerge(self) -> keras.Model:
        """Undo `merge`: kernels as before, bit by bit (they are kept, not computed back).

        Raises:
            ConfigError: it has been removed.
        """
        self.standing()
        encoder = encoder_of(self.model)
        for path, (layer, kernel) in self._kernels.items():
            layer.base.kernel.assign(kernel)
            replace_layer(encoder, path, layer)
        encoder.adapted = "changed"
        self._kernels.clear()
        return self.model

    def save(self, path):
        if self._kernels:
            raise ConfigError("LoRA 已并入权重：先 unmerge() 再保存，或用 checkpoints.save 保存整个模型")
        return super().save(path)

    def remove(self) -> keras.Model:
        if not self.removed:
            self.unmerge()
        return super().remove()


def lora(
    model: keras.Model, rank: int = 8, targets: Sequence[str] = ("query", "value"), alpha: float | None = None
) -> LowRank:
    """Put LoRA on chosen dense layers.

    Args:
        model: an `Encoder` or a model of `utils.heads`.
        rank: rank of each update, at most the smaller side of the smallest chosen kernel.
        targets: names of dense layers (`query`, `key`, `value`, `projection`, `expand`, `contract`, `pooler`), meant in
            every block, or full paths such as `blocks.0.attention.query`.
        alpha: the update is scaled by alpha / rank; default: `rank`, a scale of one.

    Raises:
        ConfigError: an unknown target (the message lists the valid ones), a rank or alpha that is no use.
    """
    targets = tuple(targets) if isinstance(targets, Iterable) and not isinstance(targets, str) else (targets,)
    layers = {p: layer for p, layer in layers_by_path(encoder_of(model)).items() if isinstance(layer, keras.layers.Dense)}
    names = list(dict.fromkeys(path.rpartition(".")[2] for path in layers))
    chosen = [path for path in layers if path in targets or path.rpartition(".")[2] in targets]
    unknown = [str(target) for target in targets if target not in [*layers, *names]]
    if unknown or not chosen:
        raise ConfigError(f"targets={targets!r} 里没有可用的线性层 {'、'.join(unknown)}；可选：{'、'.join(names)}")
    rank = whole("rank", rank, min(min(layers[path].kernel.shape) for path in chosen))
    alpha = rank if alpha is None else alpha
    if not isinstance(alpha, numbers.Real) or not 0 < alpha < math.inf:
        raise ConfigError(f"alpha={alpha!r} 不合理：要大于 0 的数")
    adaptation = LowRank(model, rank, targets, float(alpha))
    adaptation.replace(lambda dense: LowRankDense(dense, rank, alpha), *chosen)
    return adaptation
