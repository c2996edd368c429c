"""A method that has stopped working must turn the run red: the recorded band has to notice it."""

import subprocess
import sys

import pytest

from utils import records


def test_training_on_shuffled_labels_falls_out_of_the_recorded_band_and_fails(root):
    bands = [table["bands"]["ner_f1"] for table in records.read_recorded(13).values() if "ner_f1" in table["bands"]]
    if not bands:
        pytest.fail("第 13 章没有 ner_f1 的记录区间：请运行 make record CHAPTER=13")
    command = [sys.executable, "-m", "utils.book", "run", "13", "-p", "SHUFFLE_LABELS=True"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode != 0
    assert "超出区间 3-code/13-ner：ner_f1=" in done.stdout + done.stderr
    assert "失败" not in done.stdout, "the notebook must run through: only its result is wrong"
