"""The functions that chapter 9 defines, pulled out of the notebook and compared with Keras, TensorFlow and closed forms."""

import inspect
import types
from itertools import combinations

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from tests.unit.notebook_code import definitions
from utils.training import NO_DECAY, sequence_loss


@pytest.fixture(scope="module")
def chapter():
    """Namespace with every function of the notebook; no cell is executed."""
    random = np.random.default_rng(0)
    names = {"np": np, "tf": tf, "keras": keras, "special": special, "inspect": inspect, "NO_DECAY": NO_DECAY,
             "sequence_loss": sequence_loss, "x_train": random.normal(size=(60, 5)),
             "y_train": (random.random(60) > 0.5).astype(float)}
    return definitions("2-mathematics/09-optimization", names, ("CURVATURES", "noise_scales", "DECAY"))


def walk_keras(optimizer, start, gradients):
    variable = keras.Variable(start, dtype="float64")
    for gradient in gradients:
        optimizer.apply([tf.constant(gradient)], [variable])
    return variable.numpy()


def exact(**settings):
    """Values that float32 holds exactly: Keras rounds rate and betas to float32 before it uses them."""
    return {name: float(np.float32(value)) for name, value in settings.items()}


BETAS = exact(learning_rate=0.01, beta_1=0.9, beta_2=0.999)


@pytest.mark.parametrize("name, settings, make", [
    ("sgd", exact(learning_rate=0.1), keras.optimizers.SGD),
    ("momentum", exact(learning_rate=0.1, beta=0.9), lambda learning_rate, beta: keras.optimizers.SGD(learning_rate, beta)),
    ("adam", BETAS, keras.optimizers.Adam),
    ("adam", BETAS | {"epsilon": 1e-2}, keras.optimizers.Adam),
    ("adamw", BETAS | {"weight_decay": 0.1}, keras.optimizers.AdamW),
    ("nesterov_solution", exact(learning_rate=0.1, beta=0.9),
     lambda learning_rate, beta: keras.optimizers.SGD(learning_rate, beta, nesterov=True)),
])
def test_optimizers_equal_keras_over_a_hundred_random_gradients(chapter, name, settings, make):
    random = np.random.default_rng(1)
    start, gradients = random.normal(size=4), random.normal(size=(100, 4)) * [1e-4, 0.1, 1, 100]
    theta, state = start, {}
    for gradient in gradients:
        theta = chapter[name](theta, gradient, state, **settings)
    np.testing.assert_allclose(theta, walk_keras(make(**settings), start, gradients), atol=1e-9)


def test_the_paper_puts_epsilon_inside_the_bias_correction(chapter):
    random = np.random.default_rng(2)
    ours, paper, moved = {}, {}, {}
    a = b = c = 1.0
    for gradient in random.normal(size=30) * 1e-6:
        a = chapter["adam"](a, gradient, ours, 0.01)
        b = chapter["adam_paper"](b, gradient, paper, 0.01)
        c = chapter["adam_paper"](c, gradient, moved, 0.01, epsilon=chapter["moving"])
    assert a == pytest.approx(c, abs=1e-14) and abs(a - b) > 1e-4


def test_decay_without_gradient_has_the_values_of_the_article_errata(chapter):
    decoupled = chapter["shrink"](chapter["adamw"], weight_decay=0.1)
    coupled = chapter["shrink"](chapter["adam"], coupled=0.1)
    np.testing.assert_allclose(decoupled, 0.999 ** np.arange(201), rtol=1e-12)
    assert round(decoupled[-1], 4) == 0.8186 and round(coupled[-1], 3) == 0.016
    by_keras, optimizer = keras.Variable(1.0, dtype="float64"), keras.optimizers.Adam(0.01)
    for _ in range(200):
        optimizer.apply([0.1 * by_keras.value], [by_keras])
    assert coupled[-1] == pytest.approx(float(by_keras.numpy()), abs=1e-5)


def test_coupled_decay_depends_on_the_gradient_and_decoupled_does_not(chapter):
    decoupled = chapter["shrink_under_noise"](chapter["adamw"], 0.0, repeats=2000, weight_decay=0.1)
    coupled = chapter["shrink_under_noise"](chapter["adam"], 0.1, repeats=2000)
    np.testing.assert_allclose(decoupled, 0.999**200, atol=0.02)
    assert np.all(np.diff(coupled) > 0.1)


def test_gradients_of_the_losses_equal_automatic_differentiation(chapter):
    features, labels, theta = chapter["x_train"], chapter["y_train"], np.linspace(-1, 1, 5)
    variable = tf.Variable(theta)
    with tf.GradientTape(persistent=True) as tape:
        z = tf.linalg.matvec(features, variable)
        entropy = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=z))
        squared = tf.reduce_mean(0.5 * (tf.sigmoid(z) - labels) ** 2)
    np.testing.assert_allclose(chapter["gradient"](theta, features, labels), tape.gradient(entropy, variable), atol=1e-12)
    np.testing.assert_allclose(chapter["squared_gradient"](theta, features, labels), tape.gradient(squared, variable), atol=1e-12)
    assert chapter["losses"](theta, features, labels).mean() == pytest.approx(float(entropy), abs=1e-12)


def test_softmax_slopes_equal_automatic_differentiation(chapter):
    z = np.array([0.3, -1.0, 2.0])
    variable = tf.Variable(z)
    with tf.GradientTape(persistent=True) as tape:
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=1, logits=variable)
        squared = 0.5 * tf.reduce_sum((tf.nn.softmax(variable) - tf.one_hot(1, 3, dtype=tf.float64)) ** 2)
    np.testing.assert_allclose(chapter["cross_entropy_slope"](z, 1), tape.gradient(entropy, variable), atol=1e-12)
    np.testing.assert_allclose(chapter["squared_slope"](z, 1), tape.gradient(squared, variable), atol=1e-12)


def test_predicted_noise_equals_enumerating_every_batch(chapter):
    rows = np.random.default_rng(3).normal(size=(6, 3))
    mean = rows.mean(axis=0)
    for size in (1, 2, 5, 6):
        errors = [np.sum((rows[list(chosen)].mean(axis=0) - mean) ** 2) for chosen in combinations(range(6), size)]
        assert chapter["predicted_noise"](rows, size) == pytest.approx(np.mean(errors), abs=1e-12)
    measured = chapter["measured_noise"](rows, 2, 4000, np.random.default_rng(0))
    assert measured == pytest.approx(chapter["predicted_noise"](rows, 2), rel=0.1)


def test_sample_gradients_average_to_the_gradient(chapter):
    features, labels, theta = chapter["x_train"], chapter["y_train"], np.linspace(-1, 1, 5)
    rows = chapter["sample_gradients"](theta, features, labels)
    np.testing.assert_allclose(rows.mean(axis=0), chapter["gradient"](theta, features, labels), atol=1e-14)


def test_sgd_in_the_valley_follows_the_closed_form_and_turning_does_not_matter(chapter):
    start = np.array([4.0, 3.0])
    for angle in (0.0, 0.7):
        loss, slope = chapter["valley"](angle)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        path = chapter["trajectory"](chapter["sgd"], slope, turn @ start, 10, learning_rate=0.05)
        expected = start * (1 - 0.05 * np.array([1.0, 25.0])) ** 10
        np.testing.assert_allclose(path[-1], turn @ expected, atol=1e-12)
        assert loss(path[-1]) == pytest.approx(0.5 * expected[0] ** 2 + 12.5 * expected[1] ** 2)


def test_the_coupled_penalty_leaves_biases_and_norms_alone(chapter):
    class Model:
        trainable_variables = [keras.Variable([2.0, 1.0], name=name) for name in ("kernel", "bias", "gamma")]

    space = dict(chapter, DECAY=0.01, sequence_loss=lambda model, batch, training: 1.0)
    loss = types.FunctionType(chapter["l2_loss"].__code__, space)
    assert float(loss(Model(), None, True)) == pytest.approx(1.0 + 0.01 / 2 * 5.0)


def test_optimizers_of_the_fine_tuning_are_what_they_are_called(chapter):
    chapter["DECAY"] = 0.01
    for name, kind, momentum in (("SGD", keras.optimizers.SGD, 0.0), ("动量", keras.optimizers.SGD, 0.9),
                                 ("Adam", keras.optimizers.Adam, None), ("Adam + L2", keras.optimizers.Adam, None),
                                 ("AdamW", keras.optimizers.AdamW, None)):
        optimizer = chapter["make_optimizer"](name, 0.1)
        assert type(optimizer) is kind and optimizer.global_clipnorm == 1.0
        assert momentum is None or optimizer.momentum == momentum
    start = [keras.Variable([1.0], name=name) for name in ("kernel", "bias", "gamma")]
    optimizer.build(start)
    optimizer.apply([tf.zeros(1)] * 3, start)
    np.testing.assert_allclose([float(v.numpy()[0]) for v in start], [1 - 0.1 * 0.01, 1.0, 1.0], rtol=1e-6)


def test_checks_accept_the_solutions_and_refuse_the_empty_answers(chapter, capsys):
    chapter["good"] = np.zeros(5)
    chapter["x_train"], chapter["y_train"] = np.tile(chapter["x_train"], (2, 1)), np.tile(chapter["y_train"], 2)
    assert chapter["check_2"](chapter["regularizer_strength_solution"]) and not chapter["check_2"](chapter["regularizer_strength"])
    assert chapter["check_3"](chapter["accumulated_solution"]) and not chapter["check_3"](chapter["accumulated"])
    assert not chapter["check_3"](lambda gradients, sizes: np.mean(gradients, axis=0))
