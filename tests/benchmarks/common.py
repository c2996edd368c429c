"""What the benchmarks share: data, checkpoints of both sizes, a process for each contender, the lines of a result.

Every contender of a comparison runs in a process of its own, one after the other, with the same number of threads; so a
ratio is one of times measured in one run on one machine. Nothing here is a test: a machine under load gives other times.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
THREADS = 2  # as utils.THREADS; said again here because torch's processes do not import TensorFlow
SIZES = {"4x256": None, "6x384": {"num_hidden_layers": 6, "hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536}}
# glibc keeps the pages of large tensors; the same for every contender, as in the Makefile.
ENVIRONMENT = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error",
               "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**34), "MALLOC_TOP_PAD_": str(2**28),
               "OMP_NUM_THREADS": str(THREADS), "PYTHONHASHSEED": "0", "BOOK_QUIET": "1"}


def ner_data(sentences: int, seed: int = 0) -> dict:
    """People's Daily with silver labels: {"labels", "train": (sentences, ids), "validation": …}; `sentences` of the train split.

    They are drawn as chapter 13 draws its 2,000; of the validation split 600 serve.
    """
    from utils import corpora

    data = corpora.people_daily(scheme="silver")
    rows = {}
    for split, count in (("train", sentences), ("validation", 600)):
        part = data[split]
        count = min(count, len(part))
        chosen = np.random.default_rng(seed).choice(len(part), count, replace=False) if count < len(part) else np.arange(count)
        part = part.select(chosen)
        rows[split] = [list(row) for row in part["tokens"]], [list(row) for row in part["ner_tags"]]
    return {"labels": data["train"].features["ner_tags"].feature.names, **rows}


def write_checkpoint(size: str, folder: Path, labels: list[str]) -> Path:
    """The same start for all: a token classifier as a Hugging Face folder, with its vocabulary.

    4x256 is the shipped checkpoint with a new head; 6x384 has no trained checkpoint, so it starts from random weights.
    """
    import keras

    from utils import checkpoints, profiles
    from utils.encoder import Encoder, EncoderConfig
    from utils.heads import TokenClassifier

    keras.utils.set_random_seed(1)
    vocabulary = (profiles.CHECKPOINT / "vocab.txt").read_text(encoding="utf8").splitlines()
    if SIZES[size] is None:
        # With a pooler, which KerasHub's encoder has to have; nobody uses it.
        encoder = checkpoints.load("encoder", profiles.CHECKPOINT, add_pooler=True)
    else:
        encoder = Encoder(EncoderConfig(len(vocabulary), add_pooler=True, **SIZES[size]))
    model = TokenClassifier(encoder, len(labels))
    model.labels = labels
    checkpoints.save(encoder, folder / "backbone", vocabulary=vocabulary)
    plain = TokenClassifier(checkpoints.load("encoder", folder / "backbone", add_pooler=False), len(labels))
    plain.classifier.set_weights(model.classifier.get_weights())
    plain.labels = labels
    return checkpoints.save(plain, folder / "classifier", vocabulary=vocabulary)


def options(parser: argparse.ArgumentParser, run_contender: Callable[..., dict]) -> argparse.Namespace | None:
    """The options of a program, with those that every comparison has; None if it was called for one contender, and is done.

    Args:
        parser: with the options of the program's own.
        run_contender: (name, **options) -> result; `contend` calls the program again with these.
    """
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write the result there as well")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--options", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.update(ENVIRONMENT)
    if not given.contender:
        return given
    print(json.dumps(run_contender(given.contender, **given.options)))
    return None


def contend(module: str, name: str, **options) -> dict:
    """Run one contender in a new process; returns what it printed as its last line, or {"error": …}."""
    arguments = [sys.executable, "-m", module, "--contender", name, "--options", json.dumps(options)]
    done = subprocess.run(arguments, cwd=ROOT, env={**os.environ, **ENVIRONMENT}, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return {"error": f"exit status {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def matmul_peak(size: int = 2048, seconds: float = 3.0) -> float:
    """FLOP per second of the best of many float32 matrix products of TensorFlow on this machine, with `THREADS` threads."""
    import time

    import tensorflow as tf

    a, b = tf.random.normal((size, size)), tf.random.normal((size, size))
    product = tf.function(lambda x, y: tf.linalg.matmul(x, y))
    product(a, b)
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        product(a, b).numpy()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def tf_threads() -> None:
    """Fix TensorFlow's threads, as `utils.setup` does; before its first operation."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(2)


def circumstances(name: str) -> dict:
    """When, with what, on what, how busy the machine was, and which code of the book the benchmark `name` measures."""
    import importlib.metadata as metadata

    from utils.book import speed

    versions = {name: metadata.version(name) for name in ("tensorflow", "keras", "keras-hub", "transformers", "torch", "numpy")
                if _installed(name)}
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"), "python": platform.python_version(),
            "versions": versions, "cores": os.cpu_count(), "threads": THREADS, "load_before": load,
            "code": speed.code_behind(name, ROOT)}


def _installed(name: str) -> bool:
    import importlib.metadata as metadata

    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def finish(name: str, result: dict, keep: Path | None) -> None:
    """Print a result as JSON, and write it to a file if one is given."""
    text = json.dumps({"benchmark": name, **result}, ensure_ascii=False, indent=1)
    print(text)
    if keep:
        keep.write_text(text + "\n", encoding="utf-8")
