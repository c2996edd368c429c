"""The functions that chapter 11 defines, pulled out of the notebook and compared with closed forms, Keras and brute force."""

import dataclasses
import itertools
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from scipy import special

from tests.unit.notebook_code import definitions
from utils import batching, checkpoints, finetuning, prediction, training
from utils.encoder import Encoder, EncoderConfig

CONSTANTS = ("Settings", "SmallNetwork", "SWITCHES")


@pytest.fixture
def chapter():
    """Namespace with every function, Settings and SmallNetwork of the notebook; no cell is executed."""
    names = {"np": np, "keras": keras, "dataclasses": dataclasses, "batching": batching, "prediction": prediction, "checkpoints": checkpoints,
             "finetuning": finetuning, "training": training, "random": np.random.default_rng(0)}
    return definitions("2-mathematics/11-regularization", names, CONSTANTS)


@pytest.fixture
def problem(chapter):
    """A small noisy problem; the notebook's bag() and rows_of() are replaced by it."""
    def draw(count, seed):
        random = np.random.default_rng(seed)
        features = random.normal(size=(count, 30)).astype(np.float32)
        return {"features": features, "labels": (features[:, 0] + random.normal(size=count) > 0).astype(np.int32)}

    chapter["rows_of"] = lambda split, size=None, seed=0: (size, seed)
    chapter["bag"] = lambda rows: draw(rows[0], rows[1])
    chapter["DEV"] = draw(200, 99)
    return chapter


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.4])
def test_smoothed_loss_equals_keras_on_smoothed_targets(chapter, epsilon):
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(20, 3)).astype(np.float32), random.integers(0, 3, 20)
    judge = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=epsilon)
    ours = chapter["smoothed_loss"](epsilon)(lambda batch, training: logits, {"labels": labels}, True)
    assert float(ours) == pytest.approx(float(judge(np.eye(3)[labels], logits)), rel=1e-5)


def test_smoothed_loss_is_lowest_at_the_smoothed_label(chapter):
    epsilon, target = 0.3, np.array([0.85, 0.15])
    losses = {p: float(chapter["smoothed_loss"](epsilon)(
        lambda batch, training: np.log([[p, 1 - p]]).astype(np.float32), {"labels": np.array([0])}, True))
        for p in (0.5, 0.7, 0.85, 0.9, 0.999)}
    assert min(losses, key=losses.get) == 0.85
    assert losses[0.85] == pytest.approx(special.entr(target).sum(), abs=1e-5)


def test_early_stopping_equals_a_literal_reading_of_the_rule(chapter):
    random = np.random.default_rng(2)
    for _ in range(50):
        losses, patience = list(random.random(12)), int(random.integers(1, 6))
        for stop in range(len(losses)):  # the first place whose last `patience` values did not better what came before
            after = stop - patience + 1
            if after > 0 and min(losses[after : stop + 1]) >= min(losses[:after]):
                break
        assert chapter["stop_early"](losses, patience) == (stop, int(np.argmin(losses[: stop + 1])))


def test_shrinkage_is_what_adamw_does_to_a_weight_without_gradient(chapter):
    settings = chapter["Settings"](learning_rate=0.01, epochs=0, weight_decay=0.5)
    steps = 40
    optimizer = training.make_optimizer(training.Plan(steps, 0.01, warmup=settings.warmup, weight_decay=0.5))
    weight = keras.Variable([[1.0]], name="kernel")
    optimizer.build([weight])
    for _ in range(steps):
        optimizer.apply_gradients([(keras.ops.zeros((1, 1)), weight)])
    assert chapter["shrinkage"](settings, steps) == pytest.approx(float(weight[0, 0]), rel=1e-5)


def test_dropout_keeps_the_mean_and_silences_the_right_share(chapter):
    random = np.random.default_rng(3)
    h = np.array([1.0, -2.0, 0.5])
    drawn = np.array([chapter["dropout"](h, 0.3, random) for _ in range(20000)])
    np.testing.assert_allclose(drawn.mean(axis=0), h, atol=0.04)
    np.testing.assert_allclose((drawn == 0).mean(axis=0), 0.3, atol=0.02)
    np.testing.assert_allclose(drawn[drawn[:, 0] != 0, 0], 1 / 0.7)


def test_expected_best_equals_the_average_over_all_draws_with_replacement(chapter):
    values = [0.3, 0.9, 0.5, 0.9]
    for budget in (1, 2, 3):
        brute = np.mean([max(draw) for draw in itertools.product(values, repeat=budget)])
        assert chapter["expected_best"](values, budget) == pytest.approx(brute)


def test_a_run_keeps_the_best_weights_and_hands_out_the_last(problem):
    settings = problem["Settings"](learning_rate=0.02, epochs=60)
    model, curve, latest = problem["run_small"](settings, 30, seed=1, evaluations=10)
    assert len(curve) == 10 and curve[-1]["step"] == 60
    best = min(curve, key=lambda point: point["dev_loss"])
    assert best["dev_loss"] < curve[-1]["dev_loss"], "this problem overfits"
    assert problem["scores"](model, problem["DEV"])["loss"] == pytest.approx(best["dev_loss"], rel=1e-5)
    model.set_weights(latest)
    assert problem["scores"](model, problem["DEV"])["loss"] == pytest.approx(curve[-1]["dev_loss"], rel=1e-5)


def test_the_network_memorises_permuted_labels_and_learns_nothing_from_them(problem):
    settings = problem["Settings"](learning_rate=0.02, epochs=100)
    _, curve, _ = problem["run_small"](settings, 30, seed=1, permuted=True, evaluations=1)
    assert curve[-1]["train_accuracy"] == 1.0 and 0.35 < curve[-1]["dev_accuracy"] < 0.65


def test_every_switch_moves_one_setting_and_changes_the_run(problem):
    default = problem["Settings"](learning_rate=0.02, epochs=20)
    _, reference, _ = problem["run_small"](default, 30, seed=1, evaluations=1)
    for name, change in problem["SWITCHES"].items():
        changed = dataclasses.replace(default, **change)
        different = [field.name for field in dataclasses.fields(changed) if getattr(changed, field.name) != getattr(default, field.name)]
        assert len(different) == (name != "默认")
        _, curve, _ = problem["run_small"](changed, 30, seed=1, evaluations=1)
        assert (curve[-1]["train_loss"] != reference[-1]["train_loss"]) == (name != "默认")


def test_a_frozen_small_network_moves_its_last_layer_only(problem):
    settings = problem["Settings"](learning_rate=0.02, epochs=5, frozen=True)
    trained, _, _ = problem["run_small"](settings, 30, seed=1, evaluations=1)
    fresh, _, _ = problem["run_small"](dataclasses.replace(settings, learning_rate=1e-12), 30, seed=1, evaluations=1)
    np.testing.assert_array_equal(trained.hidden.get_weights()[0], fresh.hidden.get_weights()[0])
    assert not np.allclose(trained.classifier.get_weights()[0], fresh.classifier.get_weights()[0])


def test_the_encoder_gets_the_dropout_of_the_settings_and_freezes_its_lower_half(chapter, monkeypatch):
    shape = EncoderConfig(vocab_size=20, hidden_size=8, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16)
    monkeypatch.setattr(checkpoints, "load_encoder", lambda source, revision, add_pooler, **changes: Encoder(
        dataclasses.replace(shape, **changes)))
    chapter["profile"] = SimpleNamespace(checkpoint="", revision=None)
    settings = chapter["Settings"](learning_rate=1e-3, epochs=1, dropout=0.3, frozen=True)
    model = chapter["start_encoder"](settings, seed=0)
    assert model.encoder.config.hidden_dropout_prob == model.dropout.rate == 0.3
    assert model.encoder.blocks[0].attention.dropout.rate == 0.3
    assert [block.trainable for block in model.encoder.blocks] == [False, False, True, True]
    assert not model.encoder.embeddings.trainable


def test_drawn_settings_stay_in_the_search_space(chapter):
    default = chapter["Settings"](learning_rate=1e-3, epochs=7)
    drawn = [chapter["draw_settings"](np.random.default_rng(seed), default) for seed in range(200)]
    rates = np.log10([settings.learning_rate for settings in drawn])
    assert rates.min() >= -4 and rates.max() <= -2 and abs(rates.mean() + 3) < 0.15
    assert all(1e-3 <= settings.weight_decay <= 10 and settings.epochs == 7 and not settings.frozen for settings in drawn)
    assert {settings.dropout for settings in drawn} == {0.0, 0.1, 0.3, 0.5}


def test_rank_prefers_accuracy_and_then_a_low_loss(chapter):
    points = [{"dev_accuracy": 0.8, "dev_loss": 0.5}, {"dev_accuracy": 0.8, "dev_loss": 0.4}, {"dev_accuracy": 0.7, "dev_loss": 0.1}]
    assert max(points, key=chapter["rank"]) is points[1]


def test_mean_curve_averages_the_seeds_point_by_point(chapter):
    rows = [{"switch": "默认", "curve": [{"step": 1, "dev_loss": value}, {"step": 2, "dev_loss": 2 * value}]} for value in (1.0, 3.0)]
    rows.append({"switch": "别的", "curve": [{"step": 1, "dev_loss": 99.0}]})
    assert chapter["mean_curve"](rows, "默认") == [{"step": 1, "dev_loss": 2.0}, {"step": 2, "dev_loss": 4.0}]


def test_checks_of_the_exercises_accept_the_solutions_and_refuse_the_rest(chapter, capsys):
    for check, solution, wrong in (
        ("check_smooth", "smooth_label_solution", lambda label, classes, epsilon: np.eye(classes)[label] * (1 - epsilon)),
        ("check_patience", "best_with_margin_solution", lambda losses, patience, margin: int(np.argmin(losses))),
        ("check_decay", "decay_steps_solution", lambda theta, gradient, rate, decay, steps: theta - steps * rate * gradient),
    ):
        assert chapter[check](chapter[solution])
        assert not chapter[check](wrong)
        assert not chapter[check](lambda *arguments: None)
