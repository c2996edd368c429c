"""The functions that chapter 6 defines, pulled out of the notebook and compared with counts made by hand."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from tests.unit.notebook_code import CHAPTERS, definitions
from utils import metrics, peft
from utils.encoder import Encoder, EncoderConfig
from utils.verdicts import paired

PAGE = "1-concepts/06-peft"


@pytest.fixture(scope="module")
def chapter():
    """Namespace with every function of the notebook; no cell is executed."""
    names = {"np": np, "keras": keras, "ops": ops, "metrics": metrics, "peft": peft, "WIDTH": 4, "paired": paired}
    cells = json.loads((CHAPTERS / f"{PAGE}.ipynb").read_text(encoding="utf-8"))["cells"]
    methods = next(source for cell in cells if (source := "".join(cell["source"])).startswith("METHODS = {"))
    exec(methods.partition("\n\n\n")[0], names)
    return definitions(PAGE, names)


def test_memory_of_full_training_is_four_numbers_a_parameter(chapter):
    assert chapter["training_megabytes"](1_000_000, 1_000_000, 0) == pytest.approx(16)
    assert chapter["training_megabytes"](1_000_000, 1_000, 1_000) == pytest.approx(4 + 0.004 + 0.012)


def test_the_formulas_of_the_counting_section_equal_real_models(chapter):
    layers, width, inner = 3, 24, 40
    model = Encoder(EncoderConfig(30, width, layers, 4, inner, max_position_embeddings=16, add_pooler=True))
    wanted = chapter["closed_forms"](layers, width, inner, pooler=True)
    assert set(wanted) == set(chapter["METHODS"]) - {"全部参数"}
    for name, count in wanted.items():
        adaptation = chapter["METHODS"][name](model)
        assert adaptation.count() == count, name
        adaptation.remove()


def test_the_formulas_give_the_published_counts_of_bert_base(chapter):
    with_pooler, without = (chapter["closed_forms"](12, 768, 3072, pooler=pooler) for pooler in (True, False))
    assert (with_pooler["LoRA"], with_pooler["BitFit"], without["BitFit"]) == (294_912, 102_912, 102_144)


def test_what_is_added_and_what_is_changed_is_told_apart(chapter):
    class Head:
        encoder = Encoder(EncoderConfig(30, 8, 2, 2, 12, max_position_embeddings=16))

    methods = chapter["METHODS"]
    assert chapter["added_and_changed"](Head, methods["BitFit"]) == (0, 2 * (7 * 8 + 12) + 8)
    assert chapter["added_and_changed"](Head, methods["浅层提示"]) == (16 * 8, 0)
    assert chapter["added_and_changed"](Head, methods["Houlsby 适配器"]) == (2 * 2 * (2 * 8 * 16 + 16 + 8), 5 * 2 * 8)


def test_the_map_of_methods_refuses_the_article_and_idle_methods(chapter):
    edges = chapter["map_edges"]({"LoRA": (10, 0), "BitFit": (0, 5), "Houlsby": (3, 2)})
    assert set(edges) == {("LoRA", "新增并训练", "新的参数"), ("LoRA", "冻结", "全部预训练参数"),
                          ("BitFit", "改动", "一部分预训练参数"), ("Houlsby", "新增并训练", "新的参数"),
                          ("Houlsby", "改动", "一部分预训练参数")}
    chapter["check_map"](edges)
    with pytest.raises(ValueError, match="BitFit"):
        chapter["check_map"]([*edges, ("BitFit", "冻结", "全部预训练参数")])
    with pytest.raises(ValueError, match="什么都不训练"):
        chapter["check_map"](chapter["map_edges"]({"nothing": (0, 0)}))


def test_keras_low_rank_counts_are_those_of_the_last_axis(chapter):
    layer = chapter["keras_projection"](width=12, heads=3)
    layer.enable_lora(2)
    counts = {v.name: int(np.prod(v.shape)) for v in layer.trainable_variables}
    assert sorted(counts.values()) == sorted([12, 12 * 3 * 2, 2 * 4])  # biases, A of (12, 3, r), B of (r, 4)
    bert = 768 + 768 * 12 * 8 + 8 * 64
    assert 24 * bert == 1_800_192


def test_the_toy_attention_is_a_weighted_mean_computed_by_hand(chapter):
    text = np.array([[2.0, 0, 0, 0], [0, 2.0, 0, 0]], "float32")
    strong = np.exp(2.0)  # 2·2 / sqrt(4)
    share = strong / (strong + 1)
    wanted = [[2 * share, 2 * (1 - share), 0, 0], [2 * (1 - share), 2 * share, 0, 0]]
    np.testing.assert_allclose(np.array(chapter["attention"](text, text)), wanted, atol=1e-6)


def test_the_dictionary_takes_the_longest_match_of_what_training_has_shown(chapter):
    tag = lambda text, *spans: ["O" if not (s := next((s for s in spans if s[1] <= i < s[2]), None))
                                else ("B-" if i == s[1] else "I-") + s[0] for i in range(len(text))]
    train = (None, [list("去北京市"), list("李雷")], [tag("去北京市", ("LOC", 1, 4)), tag("李雷", ("PER", 0, 2))])
    part = (None, [list("李雷在北京市"), list("上海")], [tag("李雷在北京市", ("PER", 0, 2), ("LOC", 3, 6)), tag("上海", ("LOC", 0, 2))])
    # Two of three found, nothing wrong: precision 1, recall 2/3.
    assert chapter["dictionary_f1"](train, part) == pytest.approx(2 * (2 / 3) / (1 + 2 / 3))


def test_the_table_pairs_seeds(chapter):
    rows = [{"method": m, "seed": s, "test": t, "trained": n} for m, n, scores in
            (("全部参数", 100, (0.5, 0.7)), ("LoRA", 10, (0.4, 0.5))) for s, t in enumerate(scores)]
    lines = chapter["result_table"](rows).splitlines()
    assert lines[2].startswith("| 全部参数 | 100 | 60.0 ± 14.1 | +0.0")
    assert lines[3].startswith("| LoRA | 10 | 45.0 ± 7.1 | -15.0")


def test_the_dictionary_is_subtracted_seed_by_seed(chapter):
    rows = [{"method": m, "seed": s, "test": t} for m, s, t in (("LoRA", 2, 0.5), ("LoRA", 1, 0.4), ("BitFit", 1, 0.3))]
    lines = chapter["minus_dictionary"](rows, {1: 0.35, 2: 0.6}).splitlines()
    assert lines == ["LoRA减词典：平均 -2.5（各种子 -10.0、+5.0）", "BitFit减词典：平均 -5.0（各种子 -5.0）"]


def test_methods_are_compared_with_the_head_seed_by_seed_and_two_standard_errors_decide(chapter):
    scores = {"只训练分类头": (0.4, 0.5, 0.6), "LoRA": (0.42, 0.51, 0.61), "深层提示": (0.41, 0.53, 0.6), "浅层提示": (0.38, 0.49, 0.59)}
    rows = [{"method": m, "seed": s, "test": t} for m, values in scores.items() for s, t in enumerate(values)][::-1]
    lines = chapter["minus_head"](rows).splitlines()
    assert len(lines) == 3 and lines[2].startswith("LoRA减只训练分类头：平均 +1.3，标准误差 0.3（各种子 ")
    assert [line[-3:] for line in lines] == ["：更低", "分不出", "：更高"]


def test_the_live_run_stands_beside_every_recorded_seed_of_the_same_method(chapter):
    rows = [{"method": "LoRA", "seed": s, "f1": f} for s, f in ((2, 0.5), (1, 0.4))] + [{"method": "全部参数", "seed": 1, "f1": 0.6}]
    lines = chapter["beside"](rows, {"LoRA": {"f1": 0.45}, "全部参数": {"f1": 0.61}}).splitlines()
    assert lines[0] == "| 做法 | 现场，种子 1 | 记录，种子 1 | 记录，种子 2 | 记录的平均 |"
    assert lines[2:] == ["| LoRA | 45.0 | 40.0 | 50.0 | 45.0 |", "| 全部参数 | 61.0 | 60.0 | — | 60.0 |"]
