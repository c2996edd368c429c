"""The training routine: exact resume, early stopping, schedule, decay, against closed forms and an uninterrupted run."""

import math
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf

from utils import profiles, progress, training
from utils.encoder import Encoder, EncoderConfig
from utils.errors import ConfigError
from utils.heads import TokenClassifier

CONFIG = EncoderConfig(vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)


def make_model(seed=0):
    keras.utils.set_random_seed(seed)
    return TokenClassifier(Encoder(CONFIG), 3)


def batch(step):
    random = np.random.default_rng(step)
    ids = random.integers(5, 30, (4, 8)).astype(np.int32)
    return {"input_ids": ids, "labels": (ids % 3).astype(np.int32), "weights": np.ones((4, 8), np.float32)}


def weights_of(model):
    return [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]


def trainer(model, plan, **more):
    return training.Trainer(model, training.token_loss, batch, plan, label=None, **more)


def test_a_resumed_run_equals_an_uninterrupted_one_bit_by_bit(tmp_path):
    tf.config.experimental.enable_op_determinism()
    plan = training.Plan(steps=12, learning_rate=1e-2, evaluate_every=4)

    def evaluate(model):
        return {"score": -float(training.token_loss(model, batch(99), training=False))}

    whole = make_model()
    history = trainer(whole, plan, evaluate=evaluate).run()
    first = trainer(make_model(), plan, evaluate=evaluate, state=tmp_path / "state.npz", save_every=5)
    first.run(until=7)  # a kill after this finds the state of step 7
    second_model = make_model(seed=5)  # another start and another dropout seed: all must come from the file
    second = trainer(second_model, plan, evaluate=evaluate, state=tmp_path / "state.npz", save_every=5)
    resumed = second.run()
    assert resumed.losses == history.losses
    assert resumed.evaluations == history.evaluations
    for mine, theirs in zip(weights_of(second_model), weights_of(whole)):
        np.testing.assert_array_equal(mine, theirs)


def test_a_piece_that_occurs_twice_counts_in_the_clipping_with_the_sum_of_its_gradients():
    """Against AdamW's formula in NumPy; Keras 3.15 takes the norm over the rows of a sparse gradient, one per occurrence."""
    table = keras.layers.Embedding(3, 1, embeddings_initializer="ones")
    table.build((None, None))
    scales = [1.0, 0.1, 0.3]  # the first gradient and the third are clipped, the second is not

    def loss(model, batch, training):
        return keras.ops.sum(model(batch["input_ids"])[..., 0] * batch["weights"])

    def data(step):  # piece 0 occurs twice: its gradient is the sum
        return {"input_ids": np.array([[0, 0, 1]], np.int32), "weights": np.float32([[1.0, 3.0, 0.5]]) * np.float32(scales[step])}

    plan = training.Plan(3, 0.1, warmup=0.0, decay="constant", weight_decay=0.0, clip_norm=1.0)
    training.Trainer(table, loss, data, plan, label=None).run()
    value, first, second = np.ones(3), np.zeros(3), np.zeros(3)
    for step, scale in enumerate(scales, start=1):
        gradient = np.array([4.0, 0.5, 0.0]) * scale
        gradient *= min(1.0, plan.clip_norm / np.linalg.norm(gradient))
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        size = np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        value -= 0.1 * size * first / (np.sqrt(second) + 1e-7)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(table.embeddings)[:, 0], value, atol=1e-5)


def test_a_state_of_another_plan_is_refused(tmp_path):
    trainer(make_model(), training.Plan(2, 1e-3), state=tmp_path / "s.npz").run()
    with pytest.raises(ConfigError, match="另一个训练计划"):
        trainer(make_model(), training.Plan(3, 1e-3), state=tmp_path / "s.npz").run()


def test_a_kill_while_saving_leaves_the_state_before(tmp_path, monkeypatch):
    plan = training.Plan(4, 1e-3)
    trainer(make_model(), plan, state=tmp_path / "s.npz").run(until=2)

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", killed)  # the new file is written, but has not yet taken the place of the old
        with pytest.raises(KeyboardInterrupt):
            trainer(make_model(), plan, state=tmp_path / "s.npz").run(until=3)
    again = trainer(make_model(), plan, state=tmp_path / "s.npz")
    again.load_state()
    assert again.step == 2 and len(again.run().losses) == 4


def test_the_pipeline_is_not_tuned():
    """The tuning thread sleeps twice as long each time, and the end of a run may have to wait for it."""
    stream = trainer(make_model(), training.Plan(steps=2, learning_rate=1e-3))._stream(2)
    assert stream._dataset.options().autotune.enabled is False


def test_the_schedule_equals_its_closed_form():
    schedule = training.WarmupDecay(1.0, 100, 0.1, "linear")
    for step in range(100):
        expected = (step + 1) / 10 if step < 10 else (100 - step) / 91
        assert float(schedule(step)) == pytest.approx(min(expected, 1.0), abs=1e-6)
    cosine = training.WarmupDecay(1.0, 100, 0.1, "cosine")
    assert float(cosine(54)) == pytest.approx(0.5 - 0.5 * math.cos(math.pi * 46 / 91), abs=1e-6)


def test_decay_moves_kernels_and_embeddings_but_not_biases_and_norms():
    model = make_model()
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    plan = training.Plan(steps=1, learning_rate=0.1, warmup=0.0, decay="constant", weight_decay=0.5)
    optimizer = training.make_optimizer(plan)
    optimizer.build(model.trainable_variables)
    zeros = [tf.zeros(v.shape) for v in model.trainable_variables]
    optimizer.apply_gradients(zip(zeros, model.trainable_variables))
    for variable in model.trainable_variables:  # kernels and embeddings are matrices; biases, gamma and beta are vectors
        value = keras.ops.convert_to_numpy(variable)
        np.testing.assert_allclose(value, 1.0 if value.ndim == 1 else 1 - 0.1 * 0.5, rtol=1e-6)
    assert {len(v.shape) for v in model.trainable_variables} == {1, 2}


TWO_REPLICAS = """
import keras
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from utils import training
from utils.encoder import Encoder, EncoderConfig
from utils.heads import TokenClassifier

shape = EncoderConfig(30, 16, 1, 2, 32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)

def batches(step):  # weights over the whole batch sum to one, so the losses of two halves add up to that of the whole
    ids = np.random.default_rng(step).integers(5, 30, (4, 8)).astype(np.int32)
    return {"input_ids": ids, "labels": (ids % 3).astype(np.int32), "weights": np.full((4, 8), 1 / 32, np.float32)}

def loss(model, batch, training):
    logits = model(batch, training=training)
    each = keras.losses.sparse_categorical_crossentropy(batch["labels"], logits, from_logits=True)
    return keras.ops.sum(each * batch["weights"])

def make():
    keras.utils.set_random_seed(0)
    plan = training.Plan(steps=4, learning_rate=1e-2, clip_norm=2.0**30)
    return training.Trainer(TokenClassifier(Encoder(shape), 3), loss, batches, plan, label=None)

alone = make()
expected = alone.run().losses
strategy = tf.distribute.MirroredStrategy(["/CPU:0", "/CPU:1"])
with strategy.scope():
    shared = make()

@tf.function
def step(parts):
    return strategy.reduce("SUM", strategy.run(shared.train_step, args=(parts,)), axis=None)

found = []
for number in range(4):
    half = lambda context: {k: tf.constant(v[context.replica_id_in_sync_group :: 2]) for k, v in batches(number).items()}
    found.append(float(step(strategy.experimental_distribute_values_from_function(half))))
np.testing.assert_allclose(found, expected, atol=1e-5)
for mine, theirs in zip(shared.model.trainable_variables, alone.model.trainable_variables):
    np.testing.assert_allclose(mine.numpy(), theirs.numpy(), atol=1e-5)
print("equal", len(found))
"""


def test_the_step_under_strategy_run_on_two_devices_equals_the_same_training_on_one(root):
    """In a process of its own: a CPU can be divided only before TensorFlow's first operation."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(TWO_REPLICAS)], cwd=root, capture_output=True, text=True)
    assert done.stdout.endswith("equal 4\n"), done.stderr[-3000:]


def test_the_progress_line_gives_rate_and_time_left(monkeypatch, capsys):
    clock = iter([0.0, 10.0, 11.0, 40.0])  # made; step 20; one second later; the last step
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    monkeypatch.delenv("BOOK_QUIET", raising=False)
    bar = progress.Progress("训练", 0, 100)
    bar.show(20, [2.0, 1.0], 0.5)  # 20 steps in 10 s: 2 a second, 80 steps left
    bar.show(22, [2.0], 0.5)  # too soon after the last
    bar.show(100, [1.0], None)
    bar.close()
    shown = [line.rstrip() for line in capsys.readouterr().out.replace("\n", "").split("\r")[1:]]
    assert shown == ["训练 20/100 · 损失 1.500 · 验证 0.500 · 2.0 步/秒 · 还需 40 秒", "训练 100/100 · 损失 1.000 · 2.5 步/秒 · 还需 0 秒"]
    monkeypatch.setenv("BOOK_QUIET", "1")
    clock = iter([0.0, 10.0])
    silent = progress.Progress("训练", 0, 100)
    silent.show(20, [2.0], None)
    silent.close()
    assert capsys.readouterr().out == ""


def test_early_stopping_returns_the_best_weights():
    scores = iter([0.2, 0.9, 0.5, 0.4, 0.8])
    seen = []

    def evaluate(model):
        seen.append(weights_of(model))
        return {"score": next(scores)}

    model = make_model()
    history = trainer(model, training.Plan(50, 1e-2, evaluate_every=2, patience=2), evaluate=evaluate).run()
    assert history.stopped_early and history.best_step == 4 and len(history.losses) == 8
    for mine, best in zip(weights_of(model), seen[1]):
        np.testing.assert_array_equal(mine, best)


def test_the_token_loss_is_the_mean_over_weighted_places():
    model = make_model()
    example = batch(1)
    example["weights"][:, 4:] = 0
    logits = keras.ops.convert_to_numpy(model(example, training=False))
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    rows, columns = np.indices(example["labels"].shape)
    picked = -logp[rows, columns, example["labels"]][:, :4]
    assert float(training.token_loss(model, example, training=False)) == pytest.approx(picked.mean(), rel=1e-5)


def test_a_loss_that_is_not_finite_stops_with_a_hint():
    with pytest.raises(ConfigError, match="学习率"):
        training.Trainer(
            make_model(), lambda m, b, training: tf.reduce_sum(m(b)) * float("nan"), batch, training.Plan(3, 1e-3), label=None
        ).run()


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"learning_rate": -1}, {"decay": "step"}, {"evaluate_every": 0}, {"patience": 0}])
def test_a_plan_that_cannot_be_followed_is_refused(wrong):
    with pytest.raises(ConfigError, match="decay" if "decay" in wrong else next(iter(wrong))):
        training.Plan(**{"steps": 3, "learning_rate": 1e-3, **wrong})


def test_without_a_gpu_xla_stays_off_whatever_the_profile_says(monkeypatch):
    for gpus in ([], ["GPU:0"]):
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind, gpus=gpus: gpus)
        assert profiles.get("full").jit_compile == bool(gpus) and not profiles.get("mini").jit_compile
