"""The functions that chapter 8 defines, pulled out of the notebook and compared with closed forms and brute force."""

import collections
import dataclasses
import functools
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from scipy.optimize import minimize
from scipy.special import rel_entr, softmax

from tests.unit.notebook_code import definitions
from utils import batching, checkpoints, finetuning, metrics, peft, profiles, training, verdicts
from utils.batching import Windows
from utils.encoder import MASKED, Encoder, EncoderConfig
from utils.errors import ConfigError
from utils.heads import TokenClassifier

PAGE = "1-concepts/08-continual-learning"
CONFIG = EncoderConfig(30, 16, 2, 2, 24, max_position_embeddings=32)


@pytest.fixture(scope="module")
def chapter():
    """Namespace with every function of the notebook; no cell is executed."""
    names = {
        "np": np, "tf": tf, "keras": keras, "ops": ops, "collections": collections, "dataclasses": dataclasses,
        "functools": functools, "time": time, "batching": batching, "checkpoints": checkpoints, "finetuning": finetuning,
        "metrics": metrics, "peft": peft, "training": training, "verdicts": verdicts, "Windows": Windows, "MASKED": MASKED, "Encoder": Encoder,
        "TokenClassifier": TokenClassifier, "ConfigError": ConfigError, "profile": profiles.get("mini"), "EPOCHS": 2,
        "BATCH_TOKENS": 64, "kinds": ["PER", "LOC", "ORG"], "order": ["hotel", "book", "pc"],
    }
    constants = ("TEMPERATURE", "MEMORY_BATCH", "FISHER_SIZE", "METHODS", "SCENARIOS", "DOMAINS", "OUTPUTS", "Learner", "DOMAIN_METHODS")
    return definitions(PAGE, names, constants)


def tiny(seed, outputs=2, grow=False, tokens=False):
    keras.utils.set_random_seed(seed)
    model = (TokenClassifier if tokens else finetuning.MeanClassifier)(Encoder(CONFIG), outputs)
    if grow:
        model.encoder.set_weights(tiny(99).encoder.get_weights())  # one base for every seed
        peft.adapters(model, size=4, placement="pfeiffer")
    return model


def texts(count, seed=0, classes=2, tokens=False):
    random = np.random.default_rng(seed)
    ids = [random.integers(3, 30, random.integers(4, 9)).astype(np.int32) for _ in range(count)]
    places = [np.arange(1, len(row) - 1) for row in ids]
    labels = [random.integers(0, classes, len(row)).astype(np.int32) for row in places] if tokens else None
    windows = Windows(ids, places, places, np.arange(count), np.array([len(row) for row in places]), labels)
    return windows, None if tokens else random.integers(0, classes, count)


# --- measures -----------------------------------------------------------------------------------------------------------


def test_acc_bwt_and_forgetting_equal_values_computed_by_hand(chapter):
    matrix = [[0.8, 0.1, 0.2], [0.9, 0.7, 0.3], [0.6, 0.75, 0.5]]
    assert chapter["average_accuracy"](matrix) == pytest.approx((0.6 + 0.75 + 0.5) / 3)
    assert chapter["backward_transfer"](matrix) == pytest.approx(((0.6 - 0.8) + (0.75 - 0.7)) / 2)
    assert chapter["forgetting"](matrix) == pytest.approx(((0.9 - 0.6) + (0.7 - 0.75)) / 2)  # the best ever, not the first


def test_the_scenarios_differ_only_in_what_is_told(chapter):
    logits = [[3.0, 1.0, 2.0, 0.0, 9.0, 9.0], [0.0, 2.0, 3.0, 1.0, 9.0, 9.0]]  # the third domain is not open yet
    score = functools.partial(chapter["scenario_accuracy"], logits=logits, labels=[0, 0], domain=1, task=1)
    assert score("task") == 1.0  # within outputs 2 and 3 both are negative
    assert score("class") == 0.5  # the first goes to the first domain
    assert chapter["scenario_accuracy"]("domain", [[2.0, 1.0], [0.0, 1.0]], [0, 0], 0, 0) == 0.5
    assert [chapter["opened"]("class", k) for k in range(3)] == [2, 4, 6]
    assert list(chapter["closed"](2, 4)) == [0, 0, np.float32(MASKED), np.float32(MASKED)]


def review_row(method, seed, last, scenario="class"):
    return {"method": method, "seed": seed, "matrices": {scenario: [[0.0, 0.0], [last, last]]}}


def test_methods_are_compared_seed_by_seed_and_an_incomplete_one_is_left_out(chapter):
    rows = [review_row("lwf", 2, 0.6), review_row("sequential", 1, 0.3), review_row("lwf", 1, 0.4), review_row("sequential", 2, 0.2),
            review_row("l2", 1, 0.9), review_row("joint", 1, 1.0, "domain"), review_row("replay_5", 2, 0.42), review_row("replay_5", 1, 0.5)]
    replay, distilled = "重放 5% +21.0 ± 1.0（+20.0、+22.0）：更高", "LwF 蒸馏 +25.0 ± 15.0（+10.0、+40.0）：分不出"
    assert chapter["paired"](rows, "class", "sequential") == f"{replay}\n{distilled}"
    assert chapter["paired"](rows, "class", "sequential", ("lwf", "l2")) == distilled
    assert chapter["paired"](rows, "class", "replay_5", ("lwf",)) == "LwF 蒸馏 +4.0 ± 14.0（-10.0、+18.0）：分不出"
    assert chapter["paired"](rows, "class", "ewc_given") == chapter["paired"]([], "class", "l2") == "尚无记录"


def test_every_method_of_the_reviews_has_a_line_in_the_table_of_scenarios_even_without_rows(chapter):
    rows = [review_row("sequential", seed, 0.5) for seed in (1, 2)] + [review_row("l2", seed, 0.25, "domain") for seed in (1, 2)]
    lines = chapter["scenario_table"](rows).splitlines()[2:]
    named = [chapter["METHODS"][method]["name"] for method in chapter["METHODS"] if method != "extend"]
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines] == named
    assert lines[0] == "| 顺序微调 | — | — | — | — | 50.0 ± 0.0 | 50.0 ± 0.0 |"
    assert lines[1] == "| L2 | — | — | 25.0 ± 0.0 | 25.0 ± 0.0 | — | — |" and lines[2] == "| EWC，给定标签 |" + " — |" * 6


def test_a_chosen_rate_is_told_as_a_multiple_of_the_profile_s_rate(chapter):
    chosen = {"fine": 0.3 * profiles.get("mini").learning_rate, "adapter": 30.0 * profiles.get("mini").learning_rate}
    assert chapter["as_factors"](chosen, {"fine": "甲", "adapter": "乙"}) == "选中的倍数：甲 0.3，乙 30"


# --- options ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["hotel,music", "hotel", "hotel,pc,hotel", ""])
def test_a_bad_order_is_refused_with_the_valid_choices(chapter, text):
    with pytest.raises(ConfigError) as error:
        chapter["check_order"](text, chapter["DOMAINS"])
    assert all(name in str(error.value) for name in ("hotel", "book", "pc"))


def test_a_good_order_keeps_its_order(chapter):
    assert chapter["check_order"]("pc, hotel", chapter["DOMAINS"]) == ["pc", "hotel"]


def test_unknown_methods_scenarios_and_importances_are_refused_with_the_valid_choices(chapter):
    with pytest.raises(ConfigError, match="replay_5"):
        chapter["continual_run"]("domain", [], "dropout", 0.0, 1e-3, 0, None)
    with pytest.raises(ConfigError, match="class"):
        chapter["scenario_accuracy"]("online", [[0.0, 1.0]], [0], 0, 0)
    with pytest.raises(ConfigError, match="sampled"):
        chapter["consolidate"](None, None, "guess", None, 0)


# --- losses -------------------------------------------------------------------------------------------------------------


def test_the_penalty_is_the_quadratic_form_and_so_is_its_gradient(chapter):
    random = np.random.default_rng(1)
    shapes = [(3, 2), (4,)]
    values, anchors, weights = ([random.normal(size=s).astype("float32") for s in shapes] for _ in range(3))
    weights = [w**2 for w in weights]
    variables = [tf.Variable(v) for v in values]
    with tf.GradientTape() as tape:
        penalty = chapter["quadratic_penalty"](variables, anchors, weights)
    flat = lambda arrays: np.concatenate([np.ravel(a) for a in arrays]).astype(float)
    moved, omega = flat(values) - flat(anchors), np.diag(flat(weights))
    assert float(penalty) == pytest.approx(0.5 * moved @ omega @ moved, rel=1e-5)
    assert np.allclose(flat(tape.gradient(penalty, variables)), omega @ moved, rtol=1e-5)


def test_the_minimum_with_penalty_is_the_one_that_a_search_finds(chapter):
    a, b, hessian_a, hessian_b = np.array([0.3, -1.0]), np.array([2.0, 1.0]), np.diag([4.0, 0.2]), np.array([[1.0, 0.3], [0.3, 1.0]])
    form = lambda x, centre, h: 0.5 * (x - centre) @ h @ (x - centre)
    for strength in (0.1, 1.0, 30.0):
        found = minimize(lambda x: form(x, b, hessian_b) + strength * form(x, a, hessian_a), a, tol=1e-10).x
        assert np.allclose(chapter["penalised_minimum"](hessian_b, b, hessian_a, a, strength), found, atol=1e-4)


def test_distillation_is_the_divergence_of_the_softened_distributions(chapter):
    random = np.random.default_rng(2)
    student, teacher = random.normal(size=(2, 5, 3)).astype("float32") * 3
    for temperature in (1.0, 2.0, 7.0):
        q, p = softmax(teacher.astype(float) / temperature, axis=-1), softmax(student.astype(float) / temperature, axis=-1)
        found = ops.convert_to_numpy(chapter["distillation"](student, teacher, temperature))
        assert np.allclose(found, temperature**2 * rel_entr(q, p).sum(axis=-1), atol=1e-4)
    assert np.allclose(chapter["distillation"](teacher, teacher), 0, atol=1e-6)


def test_closed_outputs_take_no_part_in_distillation(chapter):
    mask = chapter["closed"](2, 4)
    student, teacher = np.array([[1.0, 2.0, 50.0, 7.0]], "float32"), np.array([[2.0, 0.0, 9.0, -80.0]], "float32")
    found = chapter["distillation"](student + mask, teacher + mask)
    assert np.allclose(found, chapter["distillation"](student[:, :2], teacher[:, :2]), atol=1e-5)


# --- batches ------------------------------------------------------------------------------------------------------------


def test_new_data_weigh_one_and_every_memory_as_much_as_the_new_task(chapter):
    new, memory = texts(9), [texts(5, seed=1), texts(2, seed=2)]
    teacher = [np.full(2, float(i), np.float32) for i in range(9)]
    batches = chapter["training_batches"](new, "domain", 2, 2, seed=0, memory=memory, teacher=teacher, alpha=0.5)
    steps = batching.batch_plan(new[0].piece_counts(), 64, 2, 0)
    assert len(batches) == len(steps)
    for batch, indices in zip(batches, steps):
        n = len(indices)
        assert len(batch["weights"]) == n + chapter["MEMORY_BATCH"]
        assert batch["weights"][:n].sum() == pytest.approx(1) and batch["weights"][n:].sum() == pytest.approx(2)
        assert np.array_equal(batch["teacher"][:n, 0], indices) and not batch["teacher_weights"][n:].any()
        assert batch["teacher_weights"].sum() == pytest.approx(0.5)
        assert np.array_equal(batch["labels"][:n], new[1][indices])


def test_joining_and_picking_keep_texts_with_their_labels(chapter):
    for tokens in (False, True):
        first, second = texts(4, tokens=tokens), texts(3, seed=5, tokens=tokens)
        windows, labels = chapter["pick"](chapter["join"]([first, second]), [6, 0])
        assert np.array_equal(windows.input_ids[0], second[0].input_ids[2])
        assert np.array_equal(windows.input_ids[1], first[0].input_ids[0])
        if tokens:
            assert labels is None and np.array_equal(windows.labels[0], second[0].labels[2])
        else:
            assert list(labels) == [second[1][2], first[1][0]]


@pytest.mark.parametrize("share, size", [(0.01, 2), (0.05, 8), (0.001, 1)])
def test_the_memory_has_the_right_size_and_is_balanced(chapter, share, size):
    part = texts(160, seed=3)
    part = part[0], (np.arange(160) < 110).astype(int)  # many more of one class
    kept = chapter["choose_memory"](part, share, seed=4)
    counts = np.bincount(part[1][kept], minlength=2)
    assert len(kept) == len(set(kept)) == size and abs(counts[0] - counts[1]) <= 1
    assert len(chapter["choose_memory"](texts(160, tokens=True), share, seed=4)) == size


def test_where_the_label_is_o_only_the_teacher_speaks(chapter):
    labels = np.array([[0, 3, 0], [4, 0, 0]])
    batch = {"labels": labels, "weights": np.ones((2, 3), "float32"), "teacher_weights": np.full((2, 3), 2.0, "float32"),
             "closed": np.zeros(5), "student_closed": np.ones(5)}
    found = chapter["only_teacher_says_o"](batch)
    assert np.array_equal(found["weights"], labels > 0) and np.array_equal(found["teacher_weights"], 2.0 * (labels == 0))
    assert found["student_closed"] is batch["closed"]


def test_texts_without_label_listen_to_the_teacher_alone(chapter):
    part, teacher = texts(12), [np.zeros(2, np.float32)] * 12
    batches = chapter["pool_batches"](part, teacher, 5, seed=0, epochs=1)
    for batch, indices in zip(batches, batching.batch_plan(part[0].piece_counts(), 64, 1, 0)):
        assert np.array_equal(batch["weights"] > 0, indices < 5) and (batch["teacher_weights"] > 0).all()
        assert batch["weights"].sum() == pytest.approx(float((indices < 5).any()))  # the labels weigh one in all, however few


def test_every_pupil_takes_the_same_number_of_steps(chapter, learner, monkeypatch):
    steps = []
    for name, value in {"LABELLED": 8, "UNLABELLED": 16, "POOL_EPOCHS": 2, "pupil": lambda layers: learner}.items():
        monkeypatch.setitem(chapter, name, value)
    monkeypatch.setitem(chapter, "pool_batches", lambda part, teacher, labelled, seed, epochs: range(epochs * len(part[0])))
    monkeypatch.setitem(chapter, "fit", lambda learner, batches, rate: steps.append(len(batches)))
    for count in (8, 24):
        chapter["train_pupil"](2, texts(count), None, 1e-3, 0)
    assert steps == [48, 48]


def test_the_score_right_after_learning_is_the_mean_of_the_diagonal(chapter):
    stages = [{"domain": [0.8, 0.1]}, {"domain": [0.5, 0.6]}]
    found = chapter["result_of"](stages, 1.0, 0.0)
    assert found["learned"] == pytest.approx(0.7) and found["acc"] == pytest.approx(0.55) and found["bwt"] == pytest.approx(-0.3)
    assert chapter["result_of"](stages[-1:], 1.0, 0.0)["learned"] is None


def test_the_best_option_is_chosen_and_an_edge_is_named(chapter, capsys):
    assert chapter["choose"]("L2", {0.1: 0.5, 1.0: 0.7, 10.0: 0.6}, 2.0, "g") == 1.0 and "边" not in capsys.readouterr().out
    assert chapter["choose"]("L2", {0.1: 0.5, 1.0: 0.6, 10.0: 0.7}, 2.0, "g") == 10.0 and "10（边）" in capsys.readouterr().out
    assert chapter["choose"]("L2", {}, 2.0, "g") == 2.0


# --- learners -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learner(chapter):
    return chapter["Learner"](tiny)


def test_a_run_after_a_reset_repeats_the_first_bit_by_bit(chapter, learner):
    batches = chapter["training_batches"](texts(10), "domain", 2, 0, seed=0)
    found = []
    for strength in (0.0, 5.0, 0.0):
        learner.reset(3)
        for weight in learner.importance:
            weight.assign(tf.ones_like(weight))
        chapter["fit"](learner, batches, 1e-3, strength)
        found.append(np.array(chapter["logits_of"](learner, texts(10)[0])))
    assert np.array_equal(found[0], found[2]) and not np.array_equal(found[0], found[1])


def test_important_parameters_stay_and_others_move(chapter, learner):
    learner.reset(1)
    before = [np.array(v) for v in learner.variables]
    for index, (anchor, value, weight) in enumerate(zip(learner.anchors, before, learner.importance)):
        anchor.assign(value)
        weight.assign(tf.fill(weight.shape, float(index % 2)))
    batches = chapter["training_batches"](texts(16), "domain", 2, 0, seed=0, epochs=6)
    chapter["fit"](learner, batches, 3e-3, 1e4)
    moved = [np.abs(np.array(v) - old).mean() for v, old in zip(learner.variables, before)]
    assert np.mean(moved[1::2]) < 0.5 * np.mean(moved[0::2])


def test_a_loss_that_is_not_finite_is_refused(chapter, learner):
    learner.reset(0)
    batches = chapter["training_batches"](texts(10), "domain", 2, 0, seed=0)
    with pytest.raises(ConfigError, match="inf|nan"):
        chapter["fit"](learner, batches, float("nan"))
    learner.reset(0)


def test_warming_up_compiles_what_a_method_needs(chapter):
    learner = chapter["Learner"](tiny)
    chapter["warm_up"](learner, "domain", texts(10), 1e-3, "ones")
    assert learner.step and learner.predict and not learner.squares
    chapter["warm_up"](learner, "domain", texts(10), 1e-3, "sampled")
    assert learner.squares


@pytest.mark.parametrize("tokens", [False, True])
def test_the_fisher_information_is_the_mean_of_squared_gradients_of_single_texts(chapter, tokens):
    count = chapter["FISHER_SIZE"]
    part, learner = texts(count, tokens=tokens), chapter["Learner"](functools.partial(tiny, tokens=tokens))
    learner.reset(0)
    chapter["consolidate"](learner, part, "given", np.zeros(2, np.float32), seed=0)
    wanted = [np.zeros(v.shape) for v in learner.variables]
    for i in range(count):
        with tf.GradientTape() as tape:
            logits = learner.model(batching.pad_ids(part[0], [i]), training=False)[0]
            places = part[0].positions[i]
            log_p = tf.nn.log_softmax(tf.gather(logits, places) if tokens else logits[None])
            labels = part[0].labels[i] if tokens else part[1][i:i + 1]
            likelihood = tf.reduce_sum(tf.gather(log_p, labels, batch_dims=1))
        for total, gradient in zip(wanted, tape.gradient(likelihood, learner.variables)):
            total += np.asarray(tf.convert_to_tensor(gradient)) ** 2 / count
    for found, total in zip(learner.importance, wanted):
        assert np.allclose(found, total, rtol=1e-3, atol=1e-7)


def test_labels_are_sampled_from_the_model_and_never_from_closed_outputs(chapter):
    learner = chapter["Learner"](functools.partial(tiny, outputs=3))
    learner.model.classifier.set_weights([np.zeros((16, 3)), np.log([0.2, 0.3, 0.5])])
    part = texts(400)
    _, labels = chapter["sampled_labels"](learner, part, np.zeros(3), seed=0)
    assert np.allclose(np.bincount(labels, minlength=3) / 400, [0.2, 0.3, 0.5], atol=0.08)
    _, labels = chapter["sampled_labels"](learner, part, chapter["closed"](2, 3), seed=0)
    assert np.allclose(np.bincount(labels, minlength=3) / 400, [0.4, 0.6, 0.0], atol=0.08)


@pytest.mark.parametrize("how", ["ones", "given", "sampled"])
def test_outputs_not_yet_open_are_held_by_l2_and_left_free_by_ewc(chapter, how):
    learner = chapter["Learner"](functools.partial(tiny, outputs=4))
    learner.reset(0)
    chapter["consolidate"](learner, texts(chapter["FISHER_SIZE"]), how, chapter["closed"](2, 4), seed=0)
    heads = [np.array(w) for v, w in zip(learner.variables, learner.importance) if v.shape[-1] == 4]
    assert len(heads) == 2  # kernel and bias of the head
    for weights in heads:
        assert (weights[..., :2] > 0).all() and (weights[..., 2:] == (how == "ones")).all()


def test_the_fisher_information_of_logistic_regression_has_its_closed_form(chapter):
    random = np.random.default_rng(3)
    x, theta = random.normal(size=(40_000, 2)), np.array([1.0, -2.0])
    p = 1 / (1 + np.exp(-x @ theta))
    exact = np.mean((p * (1 - p))[:, None] * x**2, axis=0)
    assert np.allclose(chapter["logistic_fisher"](theta, x), exact)
    assert np.allclose(chapter["logistic_fisher"](theta, x, random.random(len(x)) < p), exact, rtol=0.05)
    assert chapter["logistic_fisher"](theta, x, p > 0.5).sum() < exact.sum()  # a model that fits its labels looks careless


def test_a_growing_network_leaves_old_outputs_bitwise_unchanged(chapter):
    learner = chapter["Learner"](functools.partial(tiny, grow=True))
    chapter["learner_for"] = lambda head, grow: learner
    base = [np.array(v) for v in learner.model.encoder.weights if not v.trainable]
    first, second = texts(12, seed=6), texts(12, seed=7)
    experts, _ = chapter["learn_experts"]("domain", [first], 1e-2, seed=1)
    before = np.array(chapter["logits_of"](learner, first[0]))
    experts += chapter["learn_experts"]("domain", [second], 1e-2, seed=1)[0]
    assert not np.array_equal(before, chapter["logits_of"](learner, first[0]))
    chapter["put"](learner, experts[0])
    assert np.array_equal(before, chapter["logits_of"](learner, first[0]))
    assert all(np.array_equal(old, v) for old, v in zip(base, (v for v in learner.model.encoder.weights if not v.trainable)))


def test_what_must_be_kept_is_counted_in_parameters_or_pieces(chapter):
    model = tiny(0)
    chapter["learner_for"] = lambda head, grow=False: type("Holder", (), {"model": model})
    tasks, numbers = [texts(100, seed=s) for s in range(3)], sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    stored = {name: chapter["stored_megabytes"](name, "domain", tasks, 0) * 1e6 / 4 for name in chapter["METHODS"]}
    assert [stored[n] for n in ("sequential", "l2", "ewc_given", "ewc_sampled", "lwf", "growing")] == pytest.approx(
        [0, numbers, 2 * numbers, 2 * numbers, 0, 3 * numbers])  # the teacher of LwF is the model itself
    assert stored["joint"] == sum(len(row) for task in tasks[:2] for row in task[0].input_ids)
    assert 0 < stored["replay_1"] < stored["replay_5"] < 0.07 * stored["joint"]


def test_the_student_takes_every_other_block_of_the_checkpoint(chapter):
    student, whole = chapter["small"](2, 0), checkpoints.load_encoder(profiles.CHECKPOINT)
    assert len(student.encoder.blocks) == 2
    for mine, source in zip(student.encoder.blocks, (whole.blocks[0], whole.blocks[2])):
        assert all(np.array_equal(a, b) for a, b in zip(mine.get_weights(), source.get_weights()))


def test_a_growing_network_is_scored_with_the_block_that_is_told_or_guessed(chapter, monkeypatch):
    """Two domains, two texts each; a block's answers, and which domain each text looks like, are given."""
    answers = {1: [[0, 1], [1, 1]], 2: [[1, 1], [0, 1]]}  # block -> its answers on either domain's texts
    looks, labels, current = [[0.0, 1.0], [1.0, 1.0]], [np.array([0, 1]), np.array([0, 0])], []
    windows = [object(), object()]
    monkeypatch.setitem(chapter, "tests", {"test": list(zip(windows, labels))})
    monkeypatch.setitem(chapter, "learn_experts", lambda head, tasks, rate, seed: ([1, 2], 3.0))
    monkeypatch.setitem(chapter, "learner_for", lambda head, grow=False: None)
    monkeypatch.setitem(chapter, "put", lambda learner, expert: current.append(expert))
    one_hot = lambda rows: np.eye(2)[rows]
    monkeypatch.setitem(chapter, "logits_of", lambda learner, w: one_hot(answers[current[-1]][windows.index(w)]))
    centres = {"first": np.zeros((1, 1)), "second": np.ones((1, 1))}
    states = lambda w: centres[w] if isinstance(w, str) else np.array(looks[windows.index(w)])[:, None]
    monkeypatch.setitem(chapter, "mean_state", states)
    stages, seconds = chapter["growing_reviews"]([("first", None), ("second", None)], 1e-3, 0, "test")
    assert seconds == 3.0
    # One block: it answers everything, and no text can be taken for the second domain.
    assert stages[0] == {"task": [1.0, 0.0], "domain": [1.0, 0.0], "class": [1.0, 0.0]}
    # Two: told the domain, 0 1 and 0 1 against 0 1 and 0 0; guessed, the second hotel text goes to the other block.
    assert stages[1] == {"task": [1.0, 0.5], "domain": [1.0, 0.5], "class": [0.5, 0.5]}


# --- entities -----------------------------------------------------------------------------------------------------------


def test_types_that_are_not_labelled_become_o(chapter):
    tags = ["B-PER", "I-PER", "O", "B-ORG", "B-LOC", "I-LOC"]
    assert chapter["label_ids"](tags, ["LOC"]) == [0, 0, 0, 0, 3, 4]
    assert chapter["to_tags"](chapter["label_ids"](tags, chapter["kinds"])) == tags
    hidden = chapter["hidden_share"]([(None, tags)], "LOC")
    assert hidden == {"PER": pytest.approx(2 / 4), "ORG": pytest.approx(1 / 4)}


def test_of_several_taggers_the_surest_entity_wins(chapter):
    random = np.random.default_rng(8)
    logits = random.normal(size=(3, 50, 3)) * 2
    found = chapter["merge_experts"](list(logits))
    shares = softmax(logits, axis=-1)
    for place in range(50):
        claims = [(shares[k, place].max(), 1 + 2 * k + shares[k, place].argmax() - 1) for k in range(3) if shares[k, place].argmax()]
        assert found[place] == (max(claims)[1] if claims else 0)


def test_the_guessed_task_is_that_of_the_nearest_centre(chapter):
    random = np.random.default_rng(9)
    features, centres = random.normal(size=(20, 4)), random.normal(size=(3, 4))
    wanted = [min(range(3), key=lambda k: np.linalg.norm(row - centres[k])) for row in features]
    assert list(chapter["nearest"](features, centres)) == wanted


def test_the_probability_of_a_type_is_shared_between_o_itself_and_others(chapter):
    shares = np.array([[0.5, 0.2, 0.1, 0.1, 0.1, 0.0, 0.0], [0.1, 0.3, 0.4, 0.0, 0.0, 0.1, 0.1], [0.7, 0.1, 0.0, 0.1, 0.1, 0.0, 0.0],
                       [0.2, 0.0, 0.0, 0.0, 0.0, 0.3, 0.5]])
    found = chapter["where_it_goes"]([np.log(shares[:2] + 1e-12), np.log(shares[2:] + 1e-12)], [["B-PER", "I-PER"], ["B-LOC", "B-ORG"]])
    assert np.allclose(found, [[0.3, 0.5, 0.2], [0.7, 0.2, 0.1], [0.2, 0.8, 0.0]], atol=1e-6)


def test_every_scenario_has_a_table_with_forgetting_memory_and_time(chapter):
    row = lambda seed, drop: {"method": "sequential", "seed": seed, "stored": 0.25, "train_seconds": 9.0 + seed,
                              "matrices": {"class": [[0.8, 0.1], [0.8 - drop, 0.6]], "task": [[0.9, 0.5], [0.9, 0.7]]}}
    rows = [row(1, 0.2), row(2, 0.4), {**row(1, 0.0), "method": "lwf", "matrices": {"domain": [[0.5, 0.5], [0.5, 0.5]]}}]
    line = lambda scenario: chapter["summary_table"](rows, scenario).splitlines()[2:]
    assert line("class") == ["| 顺序微调 | 55.0 ± 7.1 | -30.0 ± 14.1 | 30.0 ± 14.1 | 0.25 | 10.5 |"]
    assert line("task") == ["| 顺序微调 | 80.0 ± 0.0 | 0.0 ± 0.0 | 0.0 ± 0.0 | 0.25 | 10.5 |"]
