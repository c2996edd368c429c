"""Chapter 18: the functions that it defines against closed forms, and its worker program run as two real processes."""

import ast
import contextlib
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types

import numpy as np
import pytest

from tests.unit.notebook_code import CHAPTERS, definitions

PAGE = "3-code/18-distribution"
ROWS, WIDTH, STEPS = 6, 12, 6
SMALL = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
         "max_position_embeddings": 32, "model_type": "bert"}


def cells():
    notebook = json.loads((CHAPTERS / f"{PAGE}.ipynb").read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in notebook if cell["cell_type"] == "code"]


def sources():
    """The source of every function of the notebook, by name."""
    return {node.name: ast.get_source_segment(cell, node) for cell in cells() for node in ast.parse(cell).body
            if isinstance(node, ast.FunctionDef)}


@pytest.fixture(scope="module")
def chapter(root):
    import keras
    import tensorflow as tf

    from utils import checkpoints, training
    from utils.encoder import Encoder, EncoderConfig
    from utils.heads import TokenClassifier

    names = {"np": np, "tf": tf, "keras": keras, "json": json, "os": os, "pathlib": __import__("pathlib"), "sys": sys,
             "signal": signal, "socket": socket, "subprocess": subprocess, "threading": threading, "time": time,
             "contextlib": contextlib, "inspect": inspect, "training": training, "checkpoints": checkpoints,
             "Encoder": Encoder, "EncoderConfig": EncoderConfig, "TokenClassifier": TokenClassifier, "root": root,
             "ROWS": ROWS, "STEPS": STEPS, "single": None, "labels": None}
    return definitions(PAGE, names)


@pytest.fixture(scope="module")
def program(chapter, tmp_path_factory):
    """The worker program that the notebook writes, from the same functions."""
    wanted = next(node for cell in cells() for node in ast.parse(cell).body
                  if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "WORKER_FUNCTIONS")
    texts = sources()
    functions = [texts[name.id] for name in wanted.value.elts]
    return chapter["write_program"](tmp_path_factory.mktemp("program") / "worker.py", functions)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny checkpoint, so that the processes spend their time on what is tested."""
    import keras

    from utils import checkpoints
    from utils.encoder import Encoder, EncoderConfig

    keras.utils.set_random_seed(3)
    return str(checkpoints.save(Encoder(EncoderConfig.from_dict(SMALL)), tmp_path_factory.mktemp("tiny") / "bert"))


def prepare(folder, checkpoint, **changes):
    """A folder as the chapter's `prepare` writes it, with sentences of very different lengths."""
    folder.mkdir()
    random = np.random.default_rng(0)
    lengths = random.integers(1, WIDTH + 1, (STEPS, ROWS))
    mask = (np.arange(WIDTH) < lengths[..., None]).astype(np.int32)
    ids = random.integers(5, 50, (STEPS, ROWS, WIDTH)).astype(np.int32) * mask
    np.savez(folder / "batches.npz", input_ids=ids, attention_mask=mask, labels=(ids % 3).astype(np.int32),
             weights=mask.astype(np.float32))
    settings = {"seed": 1, "steps": STEPS, "learning_rate": 1e-2, "clip_norm": 0, "save_every": 2, "checkpoint": checkpoint,
                "revision": None, "labels": ["a", "b", "c"], "layers": None, "measure": False, "workers": 2}
    (folder / "settings.json").write_text(json.dumps(settings | changes), encoding="utf-8")
    return folder


def one_device(chapter, folder):
    """The losses of the same training in this process, written without the chapter's step or tf.distribute."""
    import keras
    import tensorflow as tf

    trainer = chapter["build_trainer"](tf.distribute.get_strategy(), folder)
    clip_norm = json.loads((folder / "settings.json").read_text())["clip_norm"]
    losses = []
    for step in range(STEPS):
        batch = trainer.batches(step)
        with tf.GradientTape() as tape:
            logits = trainer.model(batch, training=False)
            each = keras.losses.sparse_categorical_crossentropy(batch["labels"], logits, from_logits=True)
            loss = tf.reduce_sum(each * batch["weights"]) / batch["weights"].sum()
        variables = trainer.model.trainable_variables
        gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, variables)]
        if clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, clip_norm)
        trainer.optimizer.apply(gradients, variables)
        losses.append(float(loss))
    return losses


def results(folder, count=2):
    return [json.loads((folder / f"result-{i}.json").read_text(encoding="utf-8")) for i in range(count)]


# --- the arithmetic -----------------------------------------------------------------------------------------------------


def test_the_shares_hold_every_row_once_and_their_weights_sum_to_one(chapter):
    batch = {"ids": np.arange(7)[:, None], "weights": np.arange(7, dtype=np.float32)[:, None]}
    parts = [chapter["share"](batch, index, 3) for index in range(3)]
    assert sorted(np.concatenate([p["ids"] for p in parts]).ravel()) == list(range(7))
    assert sum(p["weights"].sum() for p in parts) == pytest.approx(1.0)
    assert batch["weights"].sum() == 21  # the batch itself is left as it was


def test_the_mean_of_means_gives_both_halves_the_same_weight_and_leaves_the_batch(chapter):
    weights = np.random.default_rng(2).integers(0, 2, (6, 9)).astype(np.float32)
    batch = {"ids": np.arange(6), "weights": weights.copy()}
    losses = np.random.default_rng(3).random((6, 9))
    changed = chapter["share"](chapter["mean_of_means"](lambda step: batch)(0), 0, 1)
    halves = [(losses[i::2] * weights[i::2]).sum() / weights[i::2].sum() for i in range(2)]
    assert (losses * changed["weights"]).sum() == pytest.approx(sum(halves) / 2, rel=1e-5)
    np.testing.assert_array_equal(batch["weights"], weights)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_ring_gives_everybody_the_sum_and_sends_what_the_formula_says(chapter, count):
    vectors = np.random.default_rng(0).normal(size=(count, 60)).astype(np.float32)
    found, sent = chapter["ring_all_reduce"](vectors)
    for vector in found:
        np.testing.assert_allclose(vector, vectors.sum(axis=0), rtol=1e-5, atol=1e-5)
    assert sent == [pytest.approx(2 * (count - 1) / count * 60 * 4)] * count


def test_a_ring_of_uneven_chunks_is_right_too(chapter):
    vectors = np.arange(21, dtype=np.float32).reshape(3, 7)
    assert all(list(v) == list(vectors.sum(axis=0)) for v in chapter["ring_all_reduce"](vectors)[0])


def test_the_line_is_recovered_over_five_orders_of_magnitude(chapter):
    points = {str(n): 2e-3 + 4e-9 * n for n in (10**3, 10**5, 10**7, 10**8)}
    assert chapter["fit_line"](points) == (pytest.approx(2e-3), pytest.approx(4e-9))
    assert chapter["fit_line"]({1: 2.0, 2: 1.0})[1] == 0.0  # noise may make a slope negative; a time is not


def test_the_step_time_is_the_sum_of_its_parts(chapter):
    cost = {"c0": 1.0, "c1": 2.0, "update": 0.5, "alpha": 0.25, "beta": 1e-3, "bytes": 4000}
    assert chapter["step_seconds"](1, 12, cost) == pytest.approx(1 + 24 + 0.5)
    assert chapter["step_seconds"](2, 12, cost) == pytest.approx(1 + 12 + 0.5 + 0.25 + 4)  # alpha + beta n
    assert chapter["step_seconds"](4, 12, cost) == pytest.approx(1 + 6 + 0.5 + 6 * (0.125 + 1))


def test_no_other_interval_wastes_less_than_the_best_one(chapter):
    save, failure = 3.0, 5000.0
    waste = lambda interval: save / interval + interval / (2 * failure)
    best = chapter["best_interval"](save, failure)
    assert waste(best) <= min(waste(best * factor) for factor in (0.5, 0.9, 1.1, 2.0))


def test_kerass_adam_squares_sparse_gradients_occurrence_by_occurrence(chapter):
    dense, sparse = chapter["second_moment"](True), chapter["second_moment"](False)
    assert dense == pytest.approx([4, 49], rel=1e-3)
    assert sparse == pytest.approx([14, 21], rel=1e-3)  # once this fails, Keras is mended: say so in the chapter


def test_the_bytes_of_a_step_count_only_the_rows_of_the_table_that_occur(chapter):
    from utils.encoder import Encoder, EncoderConfig

    encoder = Encoder(EncoderConfig.from_dict(SMALL))
    model = types.SimpleNamespace(encoder=encoder, trainable_variables=encoder.trainable_variables)
    assert chapter["sparse_bytes"](model, 7) == 4 * (encoder.count_params() - (50 - 7) * 16)


@pytest.mark.parametrize(("wrong", "clip_norm"), [("mean of means", 0), ("clipped before the sum", 0.05)])
def test_a_wrong_sum_of_the_shares_leaves_the_tolerance_of_the_curves(chapter, checkpoint, tmp_path, wrong, clip_norm):
    """The tolerance of the curves below, 1e-4, means something: the mistakes that the chapter names are far outside it."""
    import tensorflow as tf

    folder = prepare(tmp_path / "wrong", checkpoint, clip_norm=clip_norm)
    trainer = chapter["build_trainer"](tf.distribute.get_strategy(), folder)
    losses = []
    for step in range(STEPS):
        batch, sums = trainer.batches(step), []
        losses.append(float(chapter["share_loss"](trainer.model, chapter["share"](batch, 0, 1), training=True)))
        for index in range(2):
            part = chapter["share"](batch, index, 2)
            if wrong == "mean of means":
                part["weights"] = part["weights"] / part["weights"].sum() / 2
            with tf.GradientTape() as tape:
                loss = chapter["share_loss"](trainer.model, part, training=True)
            gradients = [tf.convert_to_tensor(g) for g in tape.gradient(loss, trainer.model.trainable_variables)]
            sums.append(tf.clip_by_global_norm(gradients, clip_norm)[0] if clip_norm else gradients)
        trainer.optimizer.apply([a + b for a, b in zip(*sums)], trainer.model.trainable_variables)
    assert np.abs(np.subtract(losses, one_device(chapter, folder))).max() > 1e-3


# --- processes ----------------------------------------------------------------------------------------------------------


def test_the_free_ports_are_distinct_and_can_be_bound(chapter):
    ports = chapter["free_ports"](8)
    assert len(set(ports)) == 8
    with socket.socket() as one:
        one.bind(("127.0.0.1", ports[0]))


def test_the_workers_are_stopped_when_the_body_fails(chapter, tmp_path):
    sleeper = tmp_path / "sleep.py"
    sleeper.write_text("import time\ntime.sleep(600)\n")
    with pytest.raises(ZeroDivisionError), chapter["cluster"](sleeper, tmp_path, 2) as processes:
        with pytest.raises(TimeoutError):
            chapter["first_exit"](processes, limit=0.2)
        assert [p.poll() for p in processes] == [None, None]
        1 / 0
    assert all(p.poll() is not None for p in processes)


def test_every_worker_is_told_the_same_loopback_addresses_and_its_own_place(chapter, tmp_path):
    program = tmp_path / "tell.py"
    program.write_text("import os, sys\nprint(os.environ['TF_CONFIG'])\nsys.exit(int(sys.stdin is None))\n")
    with chapter["cluster"](program, tmp_path, 3) as processes:
        assert chapter["first_exit"](processes, limit=60) == [0, 0, 0]
    told = [json.loads((tmp_path / f"log-{i}.txt").read_text()) for i in range(3)]
    assert [t["task"] for t in told] == [{"type": "worker", "index": i} for i in range(3)]
    addresses = told[0]["cluster"]["worker"]
    assert all(t["cluster"]["worker"] == addresses for t in told)
    assert len(set(addresses)) == 3 and all(a.startswith("127.0.0.1:") for a in addresses)


def test_a_killed_worker_comes_back_and_the_loss_curve_is_that_of_one_device(chapter, program, checkpoint, tmp_path):
    folder = prepare(tmp_path / "run", checkpoint, die_before=5)
    with chapter["cluster"](program, folder, 2) as processes:
        chapter["first_exit"](processes, limit=120)
        assert processes[1].poll() == -signal.SIGKILL, (folder / "log-1.txt").read_text()[-3000:]
    assert all(p.poll() is not None for p in processes)
    first = chapter["progress"](folder)
    assert max(first) == 5  # five steps done, four of them in the checkpoint
    settings = json.loads((folder / "settings.json").read_text()) | {"die_before": None}
    (folder / "settings.json").write_text(json.dumps(settings))
    with chapter["cluster"](program, folder, 2) as processes:
        assert chapter["first_exit"](processes, limit=120) == [0, 0], (folder / "log-0.txt").read_text()[-3000:]
    chief, other = results(folder)
    assert chief["first_step"] == other["first_step"] == 4
    assert chief["losses"] == other["losses"] and chief["weights"] == other["weights"]
    np.testing.assert_allclose(chief["losses"], one_device(chapter, folder), atol=1e-4)
    assert chief["losses"][4] == pytest.approx(first[5], abs=1e-6)  # the lost step, computed again


@pytest.mark.soak
def test_clipping_after_the_sum_gives_the_curve_of_one_device(chapter, program, checkpoint, tmp_path):
    folder = prepare(tmp_path / "clip", checkpoint, clip_norm=0.05)
    with chapter["cluster"](program, folder, 2) as processes:
        assert chapter["first_exit"](processes, limit=120) == [0, 0], (folder / "log-0.txt").read_text()[-3000:]
    chief, _ = results(folder)
    np.testing.assert_allclose(chief["losses"], one_device(chapter, folder), atol=1e-4)


@pytest.mark.soak
def test_every_part_of_a_step_is_measured_and_fit_is_tried(chapter, program, checkpoint, tmp_path):
    folder = prepare(tmp_path / "measure", checkpoint, measure=True)
    with chapter["cluster"](program, folder, 2) as processes:
        assert chapter["first_exit"](processes, limit=200) == [0, 0], (folder / "log-0.txt").read_text()[-3000:]
    chief, _ = results(folder)
    times = [*chief["all_reduce"].values(), *chief["gradient"].values(), chief["update"], chief["step"]]
    assert all(t > 0 for t in times)
    assert max(chief["all_reduce"].values()) == chief["all_reduce"][str(4 * 2**22)]  # the longest message takes longest
    assert "Error" in chief["fit"] or chief["fit"] == "成功"


MIRRORED = """
import sys
sys.path.insert(0, {root!r})
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import contextlib, json, os, pathlib, signal
import keras
import numpy as np
from utils import checkpoints, training
from utils.encoder import Encoder, EncoderConfig
from utils.heads import TokenClassifier
{functions}
folder = pathlib.Path(sys.argv[1])
strategy = tf.distribute.MirroredStrategy(["/CPU:0", "/CPU:1"])
trainer = build_trainer(strategy, folder)
losses = train(trainer, parallel_step(strategy, trainer), chief=False)
same = copies_agree(trainer.model.trainable_variables)
(folder / "mirrored.json").write_text(json.dumps([losses, same]))
"""


@pytest.mark.parametrize("clip_norm", [pytest.param(0, marks=pytest.mark.soak), 0.05])
def test_two_mirrored_devices_give_the_curve_of_one_and_equal_copies(chapter, checkpoint, tmp_path, root, clip_norm):
    # In a process of its own: logical devices must be set before TensorFlow starts.
    folder = prepare(tmp_path / "mirrored", checkpoint, clip_norm=clip_norm)
    texts = sources()
    wanted = ("share", "share_loss", "build_model", "build_trainer", "replica_step", "parallel_step", "train", "copies_agree")
    script = tmp_path / "mirrored.py"
    script.write_text(MIRRORED.format(root=str(root), functions="\n".join(texts[name] for name in wanted)))
    done = subprocess.run([sys.executable, str(script), str(folder)], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-3000:]
    losses, (count, same) = json.loads((folder / "mirrored.json").read_text())
    assert same and count > 10
    np.testing.assert_allclose(losses, one_device(chapter, folder), atol=1e-4)
