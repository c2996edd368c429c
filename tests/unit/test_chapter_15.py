"""The functions that chapter 15 defines, pulled out of the notebook and compared with references made by hand."""

import builtins
import dis
import itertools
import pathlib
import tempfile
import types

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy.optimize import brentq

from tests.unit.notebook_code import definitions
from utils import batching, finetuning, metrics, peft
from utils.baselines import best_rates
from utils.encoder import Encoder, EncoderConfig
from utils.heads import TokenClassifier
from utils.verdicts import paired

PAGE = "3-code/15-peft-in-practice"
CONSTANTS = ("SETTINGS", "EXPECTED", "CURVE", "FACTORS", "TASKS")


@pytest.fixture(scope="module")
def chapter():
    """Namespace with every function and some constants of the notebook; no cell is executed."""
    names = {"best_rates": best_rates, "np": np, "keras": keras, "peft": peft, "paired": paired,
             "finetuning": finetuning, "metrics": metrics, "batching": batching,
             "pathlib": pathlib, "tempfile": tempfile, "save_file": save_file, "number": keras.ops.convert_to_numpy, "SIZES": {50: 8, 600: 2}}
    return definitions(PAGE, names, CONSTANTS)


@pytest.fixture
def model():
    keras.utils.set_random_seed(1)
    return TokenClassifier(Encoder(EncoderConfig(40, 32, 3, 4, 64, max_position_embeddings=16)), 5)


def trained_paths(model):
    return {path for path, variable in peft.variables_by_path(model).items() if variable.trainable}


def test_every_contestant_trains_the_head_and_what_its_row_says(chapter, model):
    head = {"classifier.kernel", "classifier.bias"}
    everything = set(peft.variables_by_path(model))
    wanted = {
        "全部参数": lambda path: True,
        "只训练分类头": lambda path: False,
        "只训练顶层": lambda path: path.startswith("encoder.blocks.2."),
        "适配器": lambda path: ".adapter." in path or path.endswith(("gamma", "beta")),
        "浅层提示": lambda path: path == "encoder.embeddings.prompt",
        "深层提示": lambda path: path.endswith(("prefix_key", "prefix_value")),
        "LoRA": lambda path: path.endswith(("lora_a", "lora_b")),
        "BitFit": lambda path: path.endswith(("bias", "beta")),
    }
    assert list(wanted) == list(chapter["SETTINGS"]) == list(chapter["FACTORS"])
    for method, (name, settings) in chapter["SETTINGS"].items():
        adaptation = chapter["adapt"](model, name, settings)
        expected = {path for path in peft.variables_by_path(model) if wanted[method](path)} | head
        assert trained_paths(model) == expected, method
        if adaptation is not None:
            adaptation.remove()
    assert trained_paths(model) == everything


def test_training_the_top_layer_leaves_the_rest_and_can_be_undone_bit_by_bit(chapter, model):
    before = {path: np.array(v) for path, v in peft.variables_by_path(model).items()}
    adaptation = chapter["top_layer"](model)
    for variable in model.trainable_variables:
        variable.assign(variable + 1.0)
    moved = {path for path, v in peft.variables_by_path(model).items() if not np.array_equal(before[path], np.array(v))}
    assert moved == {path for path in before if path.startswith(("encoder.blocks.2.", "classifier."))}
    adaptation.remove()
    assert all(np.array_equal(before[path], np.array(v)) for path, v in peft.variables_by_path(model).items())


def test_file_sizes_are_four_bytes_a_parameter_and_a_header(chapter, model):
    found = chapter["inventory"](model)
    assert list(found) == list(chapter["SETTINGS"])
    assert found["全部参数"][0] == model.count_params()
    assert found["BitFit"][0] == 3 * (7 * 32 + 64) + 32 + 32 * 5 + 5
    assert found["LoRA"][0] == 3 * 2 * 2 * 32 * 8 + 32 * 5 + 5
    for count, size in found.values():
        assert 4 * count < size < 4 * count + 12_000


def test_the_logistic_baseline_sees_a_character_and_its_neighbours(chapter):
    first, last = chapter["characters"]("北京")
    assert first == {"左": "<s>", "字": "北", "右": "京", "左字": "<s>北", "字右": "北京"}
    assert last["左"] == "北" and last["右"] == "</s>"


def test_what_a_rate_loses_is_counted_from_the_best_one(chapter):
    rows = [{"task": "ner", "method": m, "rate": r, "validation": v}
            for m, r, v in (("a", 3, 0.5), ("a", 1, 0.5), ("a", 2, 0.4), ("b", 2, 0.1), ("b", 1, 0.3))]
    lost = chapter["lost_at"](rows, 2)
    assert lost == {("ner", "a"): pytest.approx(0.1), ("ner", "b"): pytest.approx(0.2)}


def test_the_front_is_what_brute_force_leaves(chapter):
    random = np.random.default_rng(0)
    for _ in range(50):
        points = {str(i): (float(c), float(q)) for i, (c, q) in enumerate(random.integers(0, 6, (7, 2)))}
        beaten = {b for (a, (ca, qa)), (b, (cb, qb)) in itertools.permutations(points.items(), 2)
                  if ca <= cb and qa >= qb and (ca < cb or qa > qb)}
        front = chapter["pareto"](points)
        assert set(front) == set(points) - beaten
        assert [points[name] for name in front] == sorted(points[name] for name in front)


def test_crossings_are_the_roots_of_the_interpolated_difference(chapter):
    sizes, first, second = [50, 200, 600, 2400], [10, 30, 60, 61], [20, 35, 50, 70]
    difference = lambda size: np.interp(np.log(size), np.log(sizes), np.subtract(first, second))
    wanted = [brentq(difference, 200, 600), brentq(difference, 600, 2400)]
    assert chapter["crossings"](sizes, first, second) == pytest.approx(wanted)
    assert chapter["crossings"]([1, 10], [1, 2], [3, 4]) == []


def test_lines_that_touch_cross_only_if_they_change_sides(chapter):
    crossings = chapter["crossings"]
    touching = [0.0, 1e-12, -1e-12]
    for nothing in touching:
        assert crossings([50, 200, 500], [nothing, 1, 2], [0, 0, 0]) == []  # equal at the end
        assert crossings([50, 200, 500], [1, nothing, 2], [0, 0, 0]) == []  # touches and turns back
        assert crossings([50, 200, 500], [1, nothing, -2], [0, 0, 0]) == pytest.approx([200])
        assert crossings([50, 200, 500, 900], [-1, nothing, nothing, 2], [0] * 4) == pytest.approx([200])  # where they meet
    assert crossings([1, 10], touching[:2], [0, 0]) == []
    assert crossings([1, 100], [1e-8, -1e-8], [0, 0]) == pytest.approx([10])  # small, and yet on two sides


def test_a_lora_that_does_nothing_and_a_base_that_moved_are_told(chapter, model):
    base = Encoder(EncoderConfig(40, 32, 3, 4, 64, max_position_embeddings=16))
    base.set_weights(model.encoder.get_weights())
    chapter["adapt"](model, *chapter["SETTINGS"]["LoRA"])
    assert chapter["lora_and_base"](model, base) == (0.0, [])
    paths = peft.variables_by_path(model.encoder)
    ups = [variable for path, variable in paths.items() if path.endswith("lora_b")]
    assert len(ups) == 6
    for variable in ups[1:]:
        variable.assign(variable + 0.5)
    assert chapter["lora_and_base"](model, base)[0] == 0.0  # one is still zero
    ups[0].assign(ups[0] - 0.25)
    assert chapter["lora_and_base"](model, base) == (0.25, [])
    paths["blocks.1.attention.query.base.bias"].assign_add(np.ones(32))
    assert chapter["lora_and_base"](model, base)[1] == ["blocks.1.attention.query.bias"]


def test_the_record_of_the_same_case_and_seed_is_found_and_no_other(chapter):
    rows = [{"task": "ner", "method": "LoRA", "rate": rate, "seed": seed, "validation": value}
            for rate, seed, value in ((1, 1, 0.4), (1, 2, 0.5), (2, 1, 0.6))]
    find = chapter["recorded_validation"]
    assert (find(rows, "ner", "LoRA", 1, 1), find(rows, "ner", "LoRA", 2, 1)) == (40.0, 60.0)
    assert find(rows, "sentiment", "LoRA", 1, 1) is None and find([], "ner", "LoRA", 1, 1) is None


def rows_for(scores):
    return [{"task": task, "method": method, "seed": seed, "test": value / 100}
            for (task, method), values in scores.items() for seed, value in enumerate(values)]


def test_the_table_has_a_row_for_each_method_and_says_what_is_missing(chapter):
    sizes = {"ner": {"全部参数": (1000, 4000), "LoRA": (10, 140)}}
    costs = {"LoRA": {"step_seconds": 0.5, "training_megabytes": 200.0}}
    rows = rows_for({("ner", "LoRA"): (40, 50, 60), ("sentiment", "LoRA"): (70, 70, 70)})
    lines = chapter["league_table"](rows, rows_for({("ner", "x"): (1, 2, 3)}), sizes, costs).splitlines()
    assert lines[2] == "| 全部参数 | 1,000 | 100.00% | 尚无记录 | 尚无记录 | — | — | 4 |"
    assert lines[3] == "| LoRA | 10 | 1.00% | 50.0 ± 10.0 | 70.0 ± 0.0 | 0.50 | 200 | 0 |"
    assert lines[4].startswith("| 逻辑回归 | — | — | 2.0 ± 1.0 | 尚无记录")


def test_scores_come_in_the_order_of_the_seeds(chapter):
    rows = [{"task": "ner", "method": "a", "seed": seed, "test": seed / 10} for seed in (3, 1, 2)]
    np.testing.assert_allclose(chapter["scores_of"](rows, "ner", "a"), [10, 20, 30])
    assert len(chapter["scores_of"](rows, "ner", "b")) == 0


def test_advice_keeps_every_limit_and_puts_the_smallest_file_first(chapter):
    entry = lambda q, k, m, s: {"quality": q, "kilobytes": k, "megabytes": m, "step_seconds": s}
    entries = {"full": entry(60, 18000, 500, 3), "lora": entry(57, 140, 400, 2), "bitfit": entry(52, 60, 390, 2), "head": entry(40, 6, 100, 1)}
    advise = chapter["advise"]
    assert advise(entries, 0) == ["full"]
    assert advise(entries, 3) == ["lora", "full"]
    assert advise(entries, 8, kilobytes=1000) == ["bitfit", "lora"]
    assert advise(entries, np.inf, megabytes=200) == ["head"]
    assert advise(entries, 0, step_seconds=2.5) == [] and advise({}, 5) == []


def test_of_several_measurements_the_fastest_stands(chapter):
    rows = [{"method": m, "step_seconds": s, "repeat": r} for m, s, r in
            (("LoRA", 0.5, 1), ("全部参数", 0.9, 1), ("LoRA", 0.3, 2), ("全部参数", 1.1, 2), ("LoRA", 0.4, 3))]
    found = chapter["fastest"](rows)
    assert list(found) == ["全部参数", "LoRA"]
    assert [(row["step_seconds"], row["repeat"]) for row in found.values()] == [(0.9, 1), (0.3, 2)]


def test_scores_can_be_those_of_the_validation_set(chapter):
    rows = [{"task": "ner", "method": "a", "seed": 1, "test": 0.5, "validation": 0.6}]
    assert list(chapter["scores_of"](rows, "ner", "a", "validation")) == [60.0] and list(chapter["scores_of"](rows, "ner", "a")) == [50.0]


def test_storage_breaks_even_where_the_text_says(chapter):
    base, file, whole = 18.0, 0.5, 18.2
    even = base / (whole - file)
    assert chapter["storage"](even, base, file) == pytest.approx(even * whole)
    assert chapter["storage"](1, base, file) > whole and chapter["storage"](2, base, file) < 2 * whole


def test_solutions_agree_with_brute_force(chapter):
    for disk, whole, base, file in itertools.product((0, 7, 50), (5, 9), (5, 9), (1, 2)):
        plain = max(n for n in range(60) if n * whole <= disk)
        shared = max([0, *(n for n in range(60) if base + n * file <= disk)])
        assert chapter["capacity_solution"](disk, whole, base, file) == (plain, shared)
    assert chapter["kept_solution"](75, 50, 100) == 0.5 and chapter["kept_solution"](1, 2, 2) is None


def test_switching_counts_runs_in_the_reordered_stream(chapter):
    random = np.random.default_rng(1)
    for window in (1, 2, 3, 5, 20):
        stream, current, ordered = list(random.choice(["a", "b", "c"], 20)), None, []
        for start in range(0, 20, window):
            block = sorted(stream[start : start + window])
            block = [t for t in block if t == current] + [t for t in block if t != current]
            ordered, current = ordered + block, block[-1]
        assert chapter["switches_solution"](stream, window) == sum(1 for _ in itertools.groupby(ordered))


def globals_read(function_code):
    found = {step.argval for step in dis.get_instructions(function_code) if step.opname == "LOAD_GLOBAL"}
    inner = [constant for constant in function_code.co_consts if isinstance(constant, types.CodeType)]
    return found.union(*map(globals_read, inner))


def test_what_travels_to_another_process_rests_on_nothing_of_the_notebook(chapter):
    travels = ("top_layer", "adapt", "step_cost")
    for name in travels:
        assert globals_read(chapter[name].__code__) <= set(travels) | set(dir(builtins)), name


@pytest.mark.parametrize("rate, expected", [(1, [1, 2]), (2, [1, 2, 4]), (8, [4, 8])])
def test_other_sizes_are_tried_at_the_chosen_rate_and_its_neighbours(chapter, monkeypatch, rate, expected):
    monkeypatch.setitem(chapter, "RATES", {"LoRA": [1, 2, 4, 8]})
    assert chapter["nearby"]("LoRA", rate) == expected


def test_groups_whose_best_rate_is_the_least_or_the_greatest_are_named(chapter):
    rows = [{"task": "ner", "method": "a", "size": size, "rate": rate, "validation": value}
            for size, values in ((50, (0.1, 0.3, 0.2)), (500, (0.3, 0.3, 0.2)), (2000, (0.1, 0.2, 0.3)))
            for rate, value in zip((1, 2, 4), values)]
    assert chapter["chosen_at_edge"](rows) == [("ner", "a", 500), ("ner", "a", 2000)]


def test_the_table_of_differences_pairs_every_method_with_every_rival(chapter):
    scores = {(task, method): (50, 60, 70) for task in chapter["TASKS"] for method in chapter["SETTINGS"]}
    scores["ner", "LoRA"] = (40, 52, 60)
    lines = chapter["paired_table"](rows_for(scores), ("全部参数",)).splitlines()
    assert lines[0] == "| 做法 | 实体识别，减全部参数 | 情感分类，减全部参数 |"
    assert "| 全部参数 | — | — |" in lines and "| LoRA | -9.3 ± 0.7 | +0.0 ± 0.0 |" in lines
