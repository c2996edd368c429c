"""`utils.optimizers` against Keras's own AdamW."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from utils.optimizers import NO_DECAY, AdamW, WarmupDecay

SHAPES = {"kernel": (7, 5), "bias": (5,), "embeddings": (9, 4), "gamma": (4,)}


def variables():
    random = np.random.default_rng(0)
    return [keras.Variable(random.normal(size=shape).astype(np.float32), name=name) for name, shape in SHAPES.items()]


def step_of(optimizer, trained):
    """One update as the trainer makes it: inside a compiled function."""
    optimizer.build(trained)
    signature = [tf.TensorSpec(v.shape) for v in trained]
    return tf.function(lambda *gradients: optimizer.apply_gradients(zip(gradients, trained)), signature, autograph=False)


def keras_adamw(schedule, weight_decay, **arguments):
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=weight_decay, **arguments)
    optimizer.exclude_from_weight_decay(var_names=list(NO_DECAY))
    return optimizer


@pytest.mark.parametrize("decay", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_a_hundred_steps_equal_those_of_keras(decay, weight_decay):
    arguments = {"weight_decay": weight_decay, "beta_2": 0.98, "global_clipnorm": 1.0}
    ours, theirs, random = variables(), variables(), np.random.default_rng(1)
    steps = [step_of(make(WarmupDecay(0.01, 100, 0.1, decay), **arguments), trained)
             for make, trained in ((AdamW, ours), (keras_adamw, theirs))]
    start = [v.numpy() for v in ours]
    for _ in range(100):
        gradients = [tf.constant(random.normal(size=v.shape).astype(np.float32)) for v in ours]
        for step in steps:
            step(*gradients)
    for mine, other, before in zip(ours, theirs, start):
        np.testing.assert_allclose(mine.numpy(), other.numpy(), rtol=1e-5, atol=1e-6)
        assert not np.allclose(mine.numpy(), before, atol=1e-3)


def test_a_step_takes_half_the_operations_of_keras_or_fewer():
    count = {}
    for make in (AdamW, keras_adamw):
        trained = [keras.Variable(np.zeros((3, 2), np.float32), name=f"kernel_{i}") for i in range(40)]
        step = step_of(make(WarmupDecay(0.01, 9, 0.1, "linear"), weight_decay=0.01), trained)
        count[make] = len(step.get_concrete_function().graph.get_operations())
    assert count[AdamW] <= count[keras_adamw] / 2


def test_decay_leaves_biases_and_norms_alone():
    trained = variables()
    step = step_of(AdamW(WarmupDecay(0.1, 1, 0.0, "constant"), weight_decay=0.5), trained)
    before = [v.numpy() for v in trained]
    step(*[tf.zeros(v.shape) for v in trained])
    for variable, value in zip(trained, before):
        share = 1.0 if variable.name in ("bias", "gamma") else 1 - 0.1 * 0.5
        np.testing.assert_allclose(variable.numpy(), share * value, rtol=1e-6)
