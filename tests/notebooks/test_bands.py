"""A method that has stopped working must turn the run red: the recorded band has to notice it."""

import subprocess
import sys

import numpy as np
import pytest

from tests.unit.notebook_code import definitions, run_cells
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


def test_a_prompt_trained_on_shuffled_labels_falls_below_the_recorded_band_of_chapter_7():
    table = next((table for table in records.read_recorded(7).values() if "prompt_balanced" in table["bands"]), None)
    if table is None:
        pytest.fail("第 7 章没有 prompt_balanced 的记录区间：请运行 make record CHAPTER=7 OPTIONS=\"--only live\"")
    page, case = "1-concepts/07-prompts", table["rows"][0]["case"]
    chapter = definitions(page, run_cells(page, "load-data") | {"STEPS": 40, "BATCH": 8}, ("TEMPLATE", "WORDS", "LENGTH"))
    assert case["labels"] == chapter["STEPS"] * chapter["BATCH"]
    texts, labels = chapter["train"]
    chapter["train"] = texts, np.random.default_rng(1).permutation(labels)
    assert chapter["prompt_on_many"](**case)["dev_balanced"] < table["bands"]["prompt_balanced"]["low"]
