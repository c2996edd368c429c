"""The functions that chapter 2 defines, pulled out of the notebook and compared with TensorFlow, brute force and SciPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

from tests.unit.notebook_code import definitions


@pytest.fixture(scope="module")
def chapter():
    """Namespace with every function of the notebook; no cell is executed."""
    names = {"np": np, "tf": tf, "keras": keras, "special": special}
    return definitions("1-concepts/02-neural-networks", names, ("ACTIVATIONS", "TF_ACTIVATIONS", "GROUPS"))


@pytest.fixture
def problem():
    random = np.random.default_rng(0)
    return random.normal(size=(20, 6)), (random.random(20) > 0.5).astype(float)


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu", "linear"])
def test_activation_slopes_equal_central_differences(chapter, activation):
    function, slope = chapter["ACTIVATIONS"][activation]
    a = np.linspace(-3, 3, 24)  # no zero among them: ReLU has no derivative there
    np.testing.assert_allclose(slope(a), (function(a + 1e-6) - function(a - 1e-6)) / 2e-6, atol=1e-6)


@pytest.mark.parametrize("sizes", [[6, 1], [6, 5, 1], [6, 5, 4, 1]])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "relu"])
def test_backpropagation_equals_automatic_differentiation(chapter, problem, sizes, activation):
    features, labels = problem
    layers = chapter["initialise"](sizes, "he", seed=1)
    variables = [tf.Variable(array) for pair in layers for array in pair]
    with tf.GradientTape() as tape:
        h = features
        for index in range(0, len(variables), 2):
            h = tf.matmul(h, variables[index]) + variables[index + 1]
            if index < len(variables) - 2:
                h = {"sigmoid": tf.sigmoid, "tanh": tf.tanh, "relu": tf.nn.relu}[activation](h)
        loss = keras.losses.binary_crossentropy(labels[None], tf.transpose(h), from_logits=True)[0]
    inputs, sums = chapter["forward"](layers, features, activation)
    gradients, deltas = chapter["backward"](layers, inputs, sums, labels, activation)
    assert chapter["loss_of"](sums, labels) == pytest.approx(float(loss), abs=1e-7)
    assert [d.shape for d in deltas] == [a.shape for a in sums]
    for ours, theirs in zip([array for pair in gradients for array in pair], tape.gradient(loss, variables)):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)


def test_the_numeric_slope_finds_a_wrong_gradient(chapter, problem):
    features, labels = problem
    layers = chapter["initialise"]([6, 5, 1], "glorot", seed=2)
    right = chapter["backward"](layers, *chapter["forward"](layers, features, "tanh"), labels, "tanh")[0][0][0][2, 3]
    numeric = chapter["numeric_slope"](layers, features, labels, "tanh", 0, (2, 3))
    assert numeric == pytest.approx(right, abs=1e-9) and abs(numeric + right) > 1e-4


def test_initialisations_have_the_stated_spread(chapter):
    for scheme, expected in (("glorot", np.sqrt(2 / 600)), ("he", np.sqrt(2 / 400)), ("small", 0.01), ("large", 1.0)):
        matrix, bias = chapter["initialise"]([400, 200], scheme, seed=0)[0]
        assert matrix.std() == pytest.approx(expected, rel=0.02) and not bias.any()
    assert not chapter["initialise"]([4, 3], "zeros", seed=0)[0][0].any()


def test_a_network_with_zero_weights_stays_symmetric(chapter, problem):
    features, labels = problem
    layers = chapter["initialise"]([6, 5, 1], "zeros", seed=0)
    gradients, _ = chapter["backward"](layers, *chapter["forward"](layers, features, "tanh"), labels, "tanh")
    assert not gradients[0][0].any() and np.ptp(gradients[1][0]) == 0


def test_a_neuron_reaches_the_loss_of_scikit_learn(chapter, problem):
    from sklearn.linear_model import LogisticRegression

    features, labels = problem
    labels = np.where(np.arange(20) % 4, labels, 1 - labels)  # not separable
    weights, bias = chapter["train_neuron"](features, labels, learning_rate=0.5, steps=20000)
    judge = LogisticRegression(C=1e6, tol=1e-10, max_iter=5000).fit(features, labels)
    np.testing.assert_allclose(np.append(weights, bias), np.append(judge.coef_[0], judge.intercept_), atol=1e-2)


def test_training_lowers_the_loss_and_learns_what_a_neuron_cannot(chapter):
    random = np.random.default_rng(0)
    corners = random.integers(0, 2, size=(400, 2)).astype(float)
    targets = (corners[:, 0] == corners[:, 1]).astype(float)
    parts = {"train": corners, "validation": corners}
    chapter.update(x=parts, y={"train": targets, "validation": targets})
    _, history = chapter["train"]([2, 8, 1], "tanh", "he", 0.3, seed=0, epochs=60, size=40)
    assert history[-1][2] == 1.0 and history[-1][0] < 0.1 * history[0][0]
    _, straight = chapter["train"]([2, 8, 1], "linear", "he", 0.3, seed=0, epochs=60, size=40)
    assert straight[-1][2] < 0.9


def test_co_occurrence_equals_counting_in_a_loop(chapter):
    codes = np.random.default_rng(1).integers(-1, 4, size=60)
    expected = np.zeros((4, 4))
    for i, a in enumerate(codes):
        for j in range(max(0, i - 2), min(len(codes), i + 3)):
            if i != j and a >= 0 and codes[j] >= 0:
                expected[a, codes[j]] += 1
    np.testing.assert_array_equal(chapter["co_occurrence"](codes, 4), expected)


def test_pair_loss_equals_the_expectation_over_sampled_pairs(chapter):
    random = np.random.default_rng(2)
    counts, u, v = random.integers(0, 5, size=(4, 4)).astype(float), random.normal(size=(4, 3)), random.normal(size=(4, 3))
    share = counts.sum(axis=0) ** 0.75 / (counts.sum(axis=0) ** 0.75).sum()
    total = 0.0
    for a in range(4):
        for b in range(4):
            expected_negative = sum(share[c] * np.log(special.expit(-u[a] @ v[c])) for c in range(4))
            total -= counts[a, b] * (np.log(special.expit(u[a] @ v[b])) + 5 * expected_negative)
    ours = chapter["pair_loss"](tf.constant(u), tf.constant(v), tf.constant(counts), tf.constant(chapter["negative_counts"](counts)))
    assert float(ours) == pytest.approx(total / counts.sum(), abs=1e-10)


def test_trained_vectors_tell_two_communities_apart(chapter):
    counts = np.kron(np.eye(2), np.ones((3, 3))) * 50 + 1
    table, losses = chapter["train_vectors"](counts, 4, 150, seed=0)
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    similarity = unit @ unit.T
    assert losses[-1] < losses[0] and similarity[0, 1] > similarity[0, 3] + 0.3


def test_neighbours_rank_and_purity_agree_with_a_hand_made_table(chapter):
    table = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    chapter.update(vocabulary=list("甲乙丙丁"), places=[0, 1, 2, 3], kinds=np.array(["一", "一", "二", "二"]))
    assert chapter["neighbours"](table, "甲", 3) == ["乙", "丁", "丙"]
    assert chapter["rank_of"](table, "甲", "丙") == 3
    assert chapter["purity"](table, nearest=1) == 1.0
    assert chapter["purity"](table[[0, 2, 1, 3]], nearest=1) == 0.0


def test_projection_keeps_the_variance_that_it_reports(chapter):
    table = np.random.default_rng(4).normal(size=(30, 5))
    flat, share = chapter["project"](table)
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    eigenvalues = np.linalg.eigvalsh(np.cov(unit.T))[::-1]
    np.testing.assert_allclose(share, eigenvalues[:2] / eigenvalues.sum(), atol=1e-12)
    np.testing.assert_allclose(flat.var(axis=0, ddof=1), eigenvalues[:2], atol=1e-12)


def test_encoding_skips_unknown_characters_and_pads_with_zero(chapter):
    chapter.update(vocabulary=list("甲乙"), LENGTH=4)
    np.testing.assert_array_equal(chapter["encode"](["乙x甲", "甲甲甲甲甲", ""]), [[2, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]])


def test_the_collapsed_scores_give_the_logits_of_the_average_classifier(chapter):
    chapter.update(SIZE=5, LENGTH=6)
    model = chapter["average_classifier"](seed=0, width=3)
    rows = np.array([[1, 2, 2, 0, 0, 0], [5, 4, 3, 2, 1, 1]], np.int32)
    table, head, bias = model.get_weights()
    scores = chapter["collapse_solution"](table, head[:, 0], bias[0])
    np.testing.assert_allclose([scores[row[row > 0]].mean() for row in rows], np.array(model(rows))[:, 0], atol=1e-6)


def test_softplus_solution_is_the_slope_of_softplus(chapter):
    a = np.linspace(-5, 5, 21)
    expected = (np.logaddexp(0, a + 1e-6) - np.logaddexp(0, a - 1e-6)) / 2e-6
    np.testing.assert_allclose(chapter["softplus_slope_solution"](a), expected, atol=1e-8)


def test_checks_accept_the_solutions_and_refuse_wrong_answers(chapter, problem, capsys):
    features, labels = problem
    chapter.update(corners=np.array([[0, 0], [1, 0], [0, 1], [1, 1]], float), targets=np.array([1, 0, 0, 1], float),
                   batch=np.tile(features, (1, 34))[:, :200], batch_labels=labels)
    solved = [(np.full((2, 2), 10.0), np.array([-5.0, -15.0])), (np.array([[-1.0], [1.0]]), np.array([1.0]))]
    assert chapter["check_1"](solved) and not chapter["check_1"](None)
    assert not chapter["check_1"]([(np.ones((2, 2)), np.zeros(2)), (np.ones((2, 1)), np.zeros(1))])
    assert chapter["check_2"](chapter["softplus_slope_solution"]) and not chapter["check_2"](chapter["softplus_slope"])
    assert not chapter["check_2"](lambda a: (a > 0).astype(float))
