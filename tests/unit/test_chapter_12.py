"""The functions that chapter 12 defines, pulled out of the notebook and compared with references."""

import base64
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import types
import venv

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.unit.notebook_code import CHAPTERS, definitions
from utils import colab, doctor, machine


@pytest.fixture
def chapter():
    """Namespace with every function of the notebook; no cell is executed."""
    modules = (base64, doctor, hashlib, importlib, keras, machine, os, pathlib, re, subprocess, sys, tempfile)
    names = {module.__name__.rpartition(".")[2]: module for module in modules} | {"np": np, "tf": tf, "time": time}
    return definitions("3-code/12-environment", names, ("QUESTION",))


def test_a_fresh_environment_is_isolated(chapter, tmp_path):
    venv.create(tmp_path, with_pip=False)
    fresh = tmp_path / ("Scripts" if os.name == "nt" else "bin") / "python"
    assert chapter["ask"](fresh) == (True, False)
    assert chapter["ask"](sys.executable) == (sys.prefix != sys.base_prefix, True)


def test_a_fingerprint_is_the_published_sha256(chapter):
    assert chapter["fingerprint"](b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert chapter["fingerprint"](b"abc").startswith("ba7816bf8f01cfea")


def test_altered_files_of_a_package_are_found(chapter, tmp_path, monkeypatch):
    (tmp_path / "fake").mkdir()
    info = tmp_path / "fake_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-package\nVersion: 1.0\n")
    lines = []
    for name in ("a.py", "b.py", "c.py"):
        (tmp_path / "fake" / name).write_text(name)
        digest = base64.urlsafe_b64encode(hashlib.sha256(name.encode()).digest()).decode().rstrip("=")
        lines.append(f"fake/{name},sha256={digest},4")
    (info / "RECORD").write_text("\n".join([*lines, "fake_package-1.0.dist-info/RECORD,,"]) + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert chapter["altered_files"]("fake-package") == (3, [])
    (tmp_path / "fake" / "b.py").write_text("b.py ")
    (tmp_path / "fake" / "c.py").unlink()
    checked, wrong = chapter["altered_files"]("fake-package")
    assert checked == 3 and sorted(wrong) == ["fake/b.py", "fake/c.py"]


def test_packages_that_colab_lacks_are_sought_before_their_files_are_listed(monkeypatch, capsys):
    # Nothing in the chapter imports them, and only a module that is sought is installed by the finder of `utils.colab`.
    packages, sought = {package: module for module, package in colab.MODULES.items()}, set()
    files = importlib.metadata.files

    def only_of_what_is_there(package):
        if packages[package] not in sought:
            raise importlib.metadata.PackageNotFoundError(package)
        return files(package)

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, package=None: sought.add(name))
    monkeypatch.setattr(importlib.metadata, "files", only_of_what_is_there)
    cells = json.loads((CHAPTERS / "3-code" / "12-environment.ipynb").read_text(encoding="utf-8"))["cells"]
    source = next("".join(cell["source"]) for cell in cells if cell["id"] == "record")
    exec(source, {"base64": base64, "hashlib": hashlib, "importlib": importlib, "pathlib": pathlib})
    assert capsys.readouterr().out.count("全部相符") == 3


def test_training_memory_is_that_of_weights_gradients_and_moments(chapter):
    model = keras.Sequential([keras.layers.Input((7,)), keras.layers.Dense(5), keras.layers.Dense(3)])
    optimizer = keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    count = model.count_params()
    moments = sum(int(np.prod(variable.shape)) for variable in optimizer.variables if len(variable.shape) > 0)
    assert chapter["training_bytes"](count) == 4 * (count + count + moments)


def test_the_speed_comes_from_the_fastest_repetition(chapter):
    ticks = iter([0.0, 5.0, 5.0, 7.0, 7.0, 10.0])
    chapter["time"] = types.SimpleNamespace(perf_counter=lambda: next(ticks))
    assert chapter["matmul_rate"](size=4, repeats=3) == 2 * 4**3 / 2.0


def test_a_seed_repeats_a_training_and_another_changes_it(chapter):
    assert chapter["train_small"](1) == chapter["train_small"](1) != chapter["train_small"](2)


def test_the_mirrors_answer_is_shown_without_its_port(chapter, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(machine, "http_status", lambda *arguments: 503)
    text = chapter["shown"]("http://127.0.0.1:54321/503")
    assert "503" in text and "54321" not in text and "HF_ENDPOINT" in text


def test_checks_accept_the_solutions_and_refuse_the_rest(chapter, capsys):
    newest, changed, cores = chapter["newest"], chapter["changed_files"], chapter["check_cores"]
    assert chapter["check_1"](newest) and chapter["check_2"](changed) and chapter["check_3"](cores)
    empty = lambda *arguments: None
    assert not chapter["check_1"](empty) and not chapter["check_2"](empty) and not chapter["check_3"](empty)
    as_text = lambda versions, limits: max((v for v in versions if machine.satisfies(v, limits)), default=None)
    assert not chapter["check_1"](as_text), "compares strings"
    assert not chapter["check_2"](lambda folder, hashes: [name for name in hashes if not (folder / name).is_file()])
    assert not chapter["check_3"](lambda cores=8: [doctor.Finding(doctor.OK, "核数", str(cores))])
