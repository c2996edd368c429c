"""The functions that chapter 10 defines, pulled out of the notebook and compared with references on tiny inputs."""

from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize, sparse, special
from sklearn.linear_model import LogisticRegression

from tests.unit.notebook_code import definitions


@pytest.fixture
def chapter():
    """Namespace with every function of the notebook; no cell is executed."""
    names = {"np": np, "tf": tf, "keras": keras, "special": special, "optimize": optimize, "sparse": sparse,
             "Counter": Counter}
    return definitions("2-mathematics/10-cross-entropy", names)


@pytest.fixture
def generator():
    return np.random.default_rng(0)


@pytest.fixture
def problem(generator):
    """A small binary problem: features (40, 3) and labels (40,)."""
    features = generator.normal(size=(40, 3))
    return features, (features @ [1.0, -2.0, 0.5] + generator.normal(size=40) > 0).astype(float)


@pytest.fixture
def tokens(generator):
    """A padded batch: logits (3, 6, 5), labels and mask (3, 6)."""
    mask = (np.arange(6) < np.array([[6], [3], [1]])).astype(float)
    return generator.normal(size=(3, 6, 5)), generator.integers(0, 5, size=(3, 6)), mask


def test_sigmoid_and_softmax_equal_scipy(chapter, generator):
    z = generator.normal(0, 3, size=(4, 5))
    np.testing.assert_allclose(chapter["sigmoid"](z), special.expit(z), rtol=1e-12)
    np.testing.assert_allclose(chapter["softmax"](z), special.softmax(z, axis=-1), rtol=1e-12)


def test_log_softmax_equals_scipy_and_survives_huge_logits(chapter, generator):
    for scale in (1.0, 1e4):
        z = generator.normal(0, scale, size=(4, 5))
        np.testing.assert_allclose(chapter["log_softmax"](z), special.log_softmax(z, axis=-1), rtol=1e-12, atol=1e-12)


def test_binary_cross_entropy_equals_keras(chapter, generator):
    y_hat, y = generator.uniform(0.01, 0.99, 20), np.arange(20) % 2.0
    expected = keras.losses.binary_crossentropy(y[:, None], y_hat[:, None]).numpy()
    np.testing.assert_allclose(chapter["binary_cross_entropy"](y_hat, y), expected, rtol=1e-6)


@pytest.mark.parametrize("y", [0.0, 1.0])
def test_logits_form_equals_tensorflow_and_stays_finite(chapter, y):
    z = np.array([-1e4, -40.0, -1.0, 0.0, 1.0, 40.0, 1e4])
    expected = tf.nn.sigmoid_cross_entropy_with_logits(labels=np.full_like(z, y), logits=z).numpy()
    np.testing.assert_allclose(chapter["cross_entropy_from_logits"](z, y), expected, rtol=1e-12, atol=1e-300)


def test_slopes_equal_automatic_differentiation(chapter):
    z, y = np.linspace(-5, 5, 11), np.arange(11) % 2.0
    logit, probability = tf.Variable(z), tf.Variable(special.expit(z))
    with tf.GradientTape(persistent=True) as tape:
        from_logit = tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=logit)
        from_probability = -(y * tf.math.log(probability) + (1 - y) * tf.math.log(1 - probability))
        squashed = tf.sigmoid(logit)
    np.testing.assert_allclose(chapter["slope_in_logit"](z, y), tape.gradient(from_logit, logit), atol=1e-12)
    np.testing.assert_allclose(chapter["sigmoid_slope"](z), tape.gradient(squashed, logit), atol=1e-12)
    ours = chapter["slope_in_probability"](special.expit(z), y)
    np.testing.assert_allclose(ours, tape.gradient(from_probability, probability), rtol=1e-9)


def test_central_difference_is_exact_for_quadratics_of_any_shape(chapter, generator):
    for shape in ((), (3,), (2, 3)):
        point = generator.normal(size=shape)
        slopes = chapter["central_difference"](lambda value: np.sum(value**2 + 3 * value), point)
        assert slopes.shape == shape
        np.testing.assert_allclose(slopes, 2 * point + 3, atol=1e-8)


def test_agree_refuses_a_wrong_gradient_and_nan(chapter):
    right = np.array([1.0, 2.0])
    chapter["agree"]("x", right, right, right + 1e-8)
    for wrong in (right + 1e-5, -right, np.array([1.0, np.nan])):
        for arrays in ((wrong, right, right), (right, wrong, right), (right, right, wrong)):
            with pytest.raises(AssertionError):
                chapter["agree"]("x", *arrays)


def test_logistic_loss_gradient_and_hessian_equal_automatic_differentiation(chapter, problem, generator):
    features, labels = problem
    theta = generator.normal(size=3)
    variable = tf.Variable(theta)
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            logits = tf.linalg.matvec(features, variable)
            loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits))
        gradient = inner.gradient(loss, variable)
    assert chapter["logistic_loss"](theta, features, labels) == pytest.approx(float(loss), abs=1e-12)
    np.testing.assert_allclose(chapter["logistic_gradient"](theta, features, labels), gradient, atol=1e-12)
    np.testing.assert_allclose(chapter["logistic_hessian"](theta, features), outer.jacobian(gradient, variable), atol=1e-12)


def test_network_gradient_equals_automatic_differentiation(chapter, problem, generator):
    features, labels = problem
    inner, outer = tf.Variable(generator.normal(size=(2, 3))), tf.Variable(generator.normal(size=2))
    with tf.GradientTape() as tape:
        logits = tf.linalg.matvec(tf.tanh(tf.matmul(features, inner, transpose_b=True)), outer)
        loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits))
    expected = np.concatenate([slope.numpy().ravel() for slope in tape.gradient(loss, [inner, outer])])
    ours = chapter["network_gradient"](inner.numpy(), outer.numpy(), features, labels)
    np.testing.assert_allclose(ours, expected, atol=1e-12)
    flat = np.concatenate([inner.numpy().ravel(), outer.numpy()])
    assert chapter["network_loss"](flat, features, labels, hidden=2) == pytest.approx(float(loss), abs=1e-12)


def test_newton_and_gradient_descent_reach_the_optimum_of_scikit_learn(chapter, problem):
    features, labels = problem
    design = chapter["with_bias"](features)
    chapter.update(decay=0.05, penalty=np.array([0.05, 0.05, 0.05, 0.0]))
    judge = LogisticRegression(C=1 / (0.05 * len(labels)), tol=1e-12, max_iter=1000).fit(features, labels)
    expected = np.append(judge.coef_[0], judge.intercept_)
    np.testing.assert_allclose(chapter["newton"](design, labels)[0], expected, atol=1e-6)
    descended, history = chapter["gradient_descent"](design, labels, steps=2000)
    np.testing.assert_allclose(descended, expected, atol=1e-6)
    assert np.all(np.diff(history) <= 1e-12), "the loss must fall at every step with this learning rate"


def test_softmax_jacobian_and_gradient_equal_automatic_differentiation(chapter, generator):
    z = generator.normal(size=5)
    variable = tf.Variable(z)
    with tf.GradientTape(persistent=True) as tape:
        probabilities = tf.nn.softmax(variable)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=2, logits=variable)
    np.testing.assert_allclose(chapter["softmax_jacobian"](z), tape.jacobian(probabilities, variable), atol=1e-12)
    np.testing.assert_allclose(chapter["softmax_gradient"](z, 2), tape.gradient(loss, variable), atol=1e-12)


def test_masked_cross_entropy_equals_keras_and_a_loop_over_real_tokens(chapter, tokens):
    logits, labels, mask = tokens
    ours = chapter["masked_cross_entropy"](logits, labels, mask)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    assert ours == pytest.approx(float(loss(labels, logits, sample_weight=mask)), abs=1e-5)
    each = [-np.log(special.softmax(logits[i, t])[labels[i, t]]) for i, t in np.argwhere(mask > 0)]
    assert ours == pytest.approx(np.mean(each), abs=1e-12)


def test_masked_cross_entropy_and_gradient_ignore_padding(chapter, tokens):
    logits, labels, mask = tokens
    changed, other = logits.copy(), labels.copy()
    changed[mask == 0], other[mask == 0] = 1e3, 4
    assert chapter["masked_cross_entropy"](changed, other, mask) == chapter["masked_cross_entropy"](logits, labels, mask)
    assert np.all(chapter["masked_gradient"](changed, other, mask)[mask == 0] == 0)


def test_masked_gradient_equals_automatic_differentiation(chapter, tokens):
    logits, labels, mask = tokens
    variable = tf.Variable(logits)
    with tf.GradientTape() as tape:
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=variable)
        loss = tf.reduce_sum(mask * each) / mask.sum()
    np.testing.assert_allclose(chapter["masked_gradient"](logits, labels, mask), tape.gradient(loss, variable), atol=1e-12)


def test_table_gradient_adds_up_repeated_tokens_like_a_one_hot_product(chapter, tokens, generator):
    _, labels, mask = tokens
    table, token_ids = generator.normal(size=(4, 5)), generator.integers(0, 4, size=labels.shape)
    error = chapter["masked_gradient"](table[token_ids], labels, mask).reshape(-1, 5)
    expected = np.eye(4)[token_ids.ravel()].T @ error
    np.testing.assert_allclose(chapter["table_gradient"](table, token_ids, labels, mask), expected, atol=1e-12)


def test_pad_keeps_every_sequence_and_masks_the_rest(chapter):
    sequences = [[3, 1], [2], [5, 5, 5]]
    matrix, mask = chapter["pad"](sequences, fill=9)
    assert [list(row[real > 0]) for row, real in zip(matrix, mask)] == sequences
    assert np.all(matrix[mask == 0] == 9) and matrix.shape == (3, 3)
    assert chapter["pad"](sequences, 7)[0].shape == (3, 7)


def test_character_features_mark_the_characters_that_occur(chapter):
    features = chapter["character_features"](["好好", "不好吃", ""], ["好", "吃"])
    np.testing.assert_array_equal(features, [[1, 0], [1, 1], [0, 0]])


def test_window_features_are_the_three_neighbours_one_hot(chapter, generator):
    size = chapter["vocabulary_size"] = 6
    token_ids = generator.integers(0, size, size=(2, 5))
    dense = chapter["window_features"](token_ids).toarray()
    for (row, place), index in zip(np.ndindex(token_ids.shape), range(token_ids.size)):
        near = [token_ids[row, t] if 0 <= t < 5 else 0 for t in (place - 1, place, place + 1)]
        np.testing.assert_array_equal(dense[index], np.concatenate([np.eye(size)[token] for token in near]))


def test_train_window_reaches_the_optimum_of_scikit_learn(chapter, generator):
    features, labels = generator.normal(size=(60, 4)), generator.integers(0, 3, size=60)
    chapter["tag_names"] = ["O", "B-PER", "I-PER"]
    ours = chapter["train_window"](sparse.csr_matrix(features), labels, strength=0.1, steps=500)
    judge = LogisticRegression(C=1 / (0.1 * 60), fit_intercept=False, tol=1e-10, max_iter=1000).fit(features, labels)
    np.testing.assert_allclose(ours, judge.coef_.T, atol=1e-3)


def test_checks_of_the_exercises_accept_the_solutions_and_refuse_the_rest(chapter, capsys):
    z = np.array([1.0, -2.0, 0.5])
    reference = lambda z, label, temperature: np.array((z[label] - special.softmax(z / temperature) @ z) / temperature**2)
    check = chapter["checker"]([(z, 0, 0.5), (z, 2, 3.0)], reference)
    assert check(chapter["temperature_slope_solution"])
    assert not check(chapter["temperature_slope"]), "the empty answer"
    assert not check(lambda z, label, temperature: -chapter["temperature_slope_solution"](z, label, temperature))
    assert not check(lambda z, label, temperature: np.nan)


def test_solutions_equal_closed_forms(chapter, generator):
    z = generator.normal(size=4)
    target = 0.8 * np.eye(4)[1] + 0.2 / 4
    np.testing.assert_allclose(chapter["smoothed_gradient_solution"](z, 1, 0.2), special.softmax(z) - target, atol=1e-12)
    assert chapter["combine_solution"]([1.0, 4.0], [3, 1]) == pytest.approx(7 / 4)
