"""AdamW with a warm-up and a decay, made for models of many small variables."""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

NO_DECAY = ("bias", "beta", "gamma")  # biases and LayerNorm are not pulled towards zero (Devlin et al. 2019, code)


@keras.saving.register_keras_serializable("book")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to `peak`, then linear or cosine decay to zero at `steps`, or none ("constant")."""

    def __init__(self, peak: float, steps: int, warmup: float, decay: str):
        self.peak, self.steps, self.warmup, self.decay = peak, steps, warmup, decay

    def factor(self, step):
        """The share of the peak, 0 to 1, at an update (the first is 0): η_t of Loshchilov and Hutter (2019)."""
        warm = max(1, math.ceil(self.warmup * self.steps))
        step = tf.cast(step, "float32") + 1.0  # the first update already moves
        left = tf.clip_by_value((self.steps + 1 - step) / max(1, self.steps + 1 - warm), 0.0, 1.0)
        shape = {"linear": left, "cosine": 0.5 - 0.5 * tf.cos(math.pi * left), "constant": tf.ones_like(left)}
        return tf.minimum(step / warm, shape[self.decay])

    def __call__(self, step):
        return self.peak * self.factor(step)

    def get_config(self):
        return {"peak": self.peak, "steps": self.steps, "warmup": self.warmup, "decay": self.decay}


class AdamW(keras.optimizers.Adam):
    """AdamW (Loshchilov and Hutter 2019): Adam, and a decay of the weights that is not divided by Adam's root.

    As Keras's own, but rate, decay and bias corrections are computed once a step. Keras computes them for every variable:
    for the book's encoder half of the operations of a training step, all of which TensorFlow must trace before the first.

    Args:
        learning_rate: of which the decay takes the same share as the rate.
        weight_decay: λ; the weights lose the share λ · rate at every step, those with a name of `NO_DECAY` excepted.
        adam: further arguments of `keras.optimizers.Adam`.
    """

    def __init__(self, learning_rate: WarmupDecay, weight_decay: float, **adam):
        super().__init__(learning_rate, **adam)
        self._schedule = learning_rate
        self._full_decay = np.float32(weight_decay) * np.float32(learning_rate.peak)
        self._rate = self._decay = None

    def apply(self, grads, trainable_variables=None):
        """One step, as Keras defines it; `update_step` finds the step's rate and decay ready."""
        step = tf.cast(self.iterations.value + 1, "float32")
        factor = self._schedule.factor(self.iterations.value)
        rate = self._schedule.peak * factor
        self._rate = rate * tf.sqrt(1.0 - tf.pow(self.beta_2, step)) / (1.0 - tf.pow(self.beta_1, step))
        self._decay = factor * self._full_decay
        super().apply(grads, trainable_variables)

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable; `learning_rate` is Keras's, without the corrections, and is not used."""
        if self._full_decay and not any(name in variable.name for name in NO_DECAY):
            variable.assign_sub(variable * self._decay)
        index = self._get_variable_index(variable)
        mean, square = self._momentums[index].value, self._velocities[index].value
        mean.assign_add((gradient - mean) * (1 - self.beta_1))
        square.assign_add((tf.square(gradient) - square) * (1 - self.beta_2))
        variable.assign_sub(mean * self._rate / (tf.sqrt(square) + self.epsilon))
