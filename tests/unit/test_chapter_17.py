"""The functions that chapter 17 defines, compared with closed forms, SciPy, scikit-learn and brute force."""

import functools
import json
from collections import Counter, defaultdict
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import chi2, entropy
from sklearn.metrics import f1_score

from tests.unit.notebook_code import definitions
from utils.files import write_atomically

PAGE = "3-code/17-deployment"
CONSTANTS = ("LABELS", "MARKS", "SILENT", "BINS", "Registry")


@pytest.fixture(scope="module")
def chapter():
    """Namespace with every function of the notebook; no cell is executed."""
    import unicodedata

    from utils import batching, checkpoints, profiles

    names = {"functools": functools, "np": np, "Counter": Counter, "defaultdict": defaultdict, "lru_cache": lru_cache, "chi2": chi2, "json": json,
             "softmax": softmax, "unicodedata": unicodedata, "batching": batching, "write_atomically": write_atomically,
             "tokenizer": checkpoints.load_tokenizer(profiles.CHECKPOINT), "names": {"旧": "新闻", "新": "评论"}}
    return definitions(PAGE, names, CONSTANTS)


# --- the task ----------------------------------------------------------------------------------------------------------


def test_marks_become_labels_of_the_characters_before_them(chapter):
    cases = {
        "他说：“好！”走了。": ("他说好走了", [0, 1, 2, 0, 2]), "甲、乙；丙": ("甲乙丙", [3, 1, 0]),
        "共3.5元，1,000人": ("共3.5元1,000人", [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]), "，开头": ("开头", [0, 0]),
        "好？！。": ("好", [2]), "ＡＢ　，": ("AB", [0, 1]), "": ("", []), "。。。": ("", []),
    }
    for text, (characters, labels) in cases.items():
        assert chapter["strip_marks"](text) == (list(characters), labels), text


@given(st.text("甲乙丙丁", min_size=1, max_size=30), st.data())
def test_what_is_restored_is_stripped_again_to_the_same(chapter, text, data):
    labels = data.draw(st.lists(st.integers(0, 3), min_size=len(text), max_size=len(text)))
    assert chapter["strip_marks"](chapter["restore"](list(text), labels)) == (list(text), labels)


def test_passages_are_long_enough_cut_to_the_limit_and_in_an_order_of_their_own(chapter):
    texts = [f"{'字' * i}，{'词' * 15}、完" for i in range(1, 90)] + ["短，的。", "没有标点" * 10]
    cut = "字，" + "词、" * 2 + "字" * 57 + "3.14"  # the limit falls behind the point of the number
    rows = chapter["passages"]([*texts, cut])
    assert all(c[-1] != "." for c, _ in rows)
    assert all(20 <= len(c) <= 62 and len(c) == len(k) and sum(x > 0 for x in k) >= 2 for c, k in rows)
    assert rows == chapter["passages"](texts) and rows != chapter["passages"](texts, seed=1)
    assert all(chapter["strip_marks"]("".join(c))[0] == c for c, _ in rows)
    assert sorted(map(str, rows)) == sorted(map(str, chapter["passages"](texts, seed=1)))


def test_the_score_is_the_micro_f1_of_scikit_learn_over_the_marks(chapter):
    random = np.random.default_rng(0)
    part = [(["字"] * n, list(random.integers(0, 4, n))) for n in random.integers(1, 40, 30)]
    predicted = [[x if random.random() < 0.6 else int(random.integers(0, 4)) for x in k] for _, k in part]
    table = chapter["count_marks"](part, predicted)
    expected = f1_score(np.concatenate([k for _, k in part]), np.concatenate(predicted), labels=[1, 2, 3], average="micro")
    assert table.shape == (30, 3) and chapter["f1_of"](table) == pytest.approx(expected)
    assert chapter["f1_of"](chapter["count_marks"]([(["字"], [0])], [[0]])) == 0.0


def test_the_pair_baseline_says_the_most_common_mark_and_nothing_where_it_knows_nothing(chapter):
    guess = chapter["pair_tagger"]([(list("甲乙"), [1, 2]), (list("甲乙"), [1, 0]), (list("甲乙"), [3, 2])])
    assert guess(list("甲乙丙")) == [1, 0, 0] and guess(list("乙")) == [2] and guess([]) == []


def test_tags_of_long_sentences_are_those_of_each_character_alone(chapter):
    tokenizer = chapter["tokenizer"]
    text = list("今天天气很好我们去公园散步" * 15)
    ids = tokenizer.convert_tokens_to_ids(text)

    def run(batch):
        return 5.0 * (batch["input_ids"][..., None] % 4 == np.arange(4))

    tags, sure = chapter["tag"](run, [text, list("好"), []])
    assert list(tags[0]) == [i % 4 for i in ids] and [len(t) for t in tags] == [len(text), 1, 0]
    assert np.allclose(np.concatenate(sure), np.exp(5) / (np.exp(5) + 3))


# --- drift -------------------------------------------------------------------------------------------------------------


def test_psi_is_the_sum_of_both_divergences_of_the_smoothed_shares(chapter):
    random = np.random.default_rng(1)
    x, y = random.normal(size=200), random.normal(0.5, 1, size=70)
    edges = chapter["quantile_edges"](x)
    p, q = (np.array([np.sum((v >= low) & (v < high)) for low, high in zip(edges, edges[1:])]) + 0.5 for v in (x, y))
    p, q = p / p.sum(), q / q.sum()
    assert chapter["psi"](x, y, edges) == pytest.approx(entropy(p, q) + entropy(q, p))
    assert chapter["psi"](x, x, edges) == 0 and len(edges) == 6
    assert np.histogram(x, edges)[0].tolist() == [40] * 5


def test_bins_of_a_feature_with_few_values_lose_no_observation(chapter):
    values = np.array([1.0] * 50 + [2.0] * 5)
    edges = chapter["quantile_edges"](values)
    assert np.histogram([0.0, 1.0, 3.0], edges)[0].sum() == 3 and np.isfinite(chapter["psi"](values, values[:9], edges))


def test_the_limit_of_psi_is_exceeded_about_as_often_as_it_says(chapter):
    random = np.random.default_rng(2)
    n, m, edges = 400, 200, np.array([-np.inf, *np.linspace(0, 1, 6)[1:-1], np.inf])
    values = [chapter["psi"](random.random(n), random.random(m), edges) for _ in range(1500)]
    assert np.mean(values) == pytest.approx((1 / n + 1 / m) * 4, rel=0.1)
    assert 0.03 < np.mean(values > chapter["psi_limit"](n, m, false_alarm=0.05)) < 0.075
    assert chapter["psi_limit"](n, m, false_alarm=0.01) > chapter["psi_limit"](n, 2 * m, false_alarm=0.01)


def test_mmd_is_the_double_sum_of_its_definition(chapter):
    random = np.random.default_rng(3)
    points = random.normal(size=(11, 3))
    kernel = np.exp(-((points[:, None] - points[None]) ** 2).sum(-1))
    masks = np.array([[i < 6 for i in range(11)], [i % 2 == 0 for i in range(11)]])
    for value, mask in zip(chapter["mmd_of"](kernel, masks), masks):
        x, y = points[mask], points[~mask]
        k = lambda a, b: np.exp(-np.sum((a - b) ** 2))
        inside = lambda z: np.mean([k(z[i], z[j]) for i in range(len(z)) for j in range(len(z)) if i != j])
        assert value == pytest.approx(inside(x) + inside(y) - 2 * np.mean([k(a, b) for a in x for b in y]))


def test_the_mmd_test_finds_a_shift_and_keeps_its_level_without_one(chapter):
    random = np.random.default_rng(4)
    reference = random.normal(size=(80, 3))
    assert chapter["mmd_test"](reference, random.normal(1.0, 1, size=(40, 3)))[1] == pytest.approx(1 / 200)
    levels = [chapter["mmd_test"](random.normal(size=(40, 3)), random.normal(size=(30, 3)), seed=i)[1] for i in range(60)]
    assert np.mean(np.array(levels) <= 0.1) < 0.25 and 0.3 < np.mean(levels) < 0.7


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 3))
def test_the_alarm_is_the_end_of_the_first_unbroken_run(chapter, flags, needed):
    ends = [i for i in range(needed, len(flags) + 1) if all(flags[i - needed : i])]
    assert chapter["first_alarm"](flags, needed) == (ends[0] if ends else None)


# --- gate and versions -------------------------------------------------------------------------------------------------


def tables(old, new, n=150, seed=0):
    """Counts of n passages with six marks each, of which a share is found; the same seed finds the same ones first."""
    random = np.random.default_rng(seed)
    found = {kind: (random.random((n, 6)) < share).sum(1) for kind, share in (("旧", old), ("新", new))}
    return {kind: np.stack([right, np.full(n, 6), np.full(n, 6)], 1) for kind, right in found.items()}


def test_the_bootstrap_is_that_of_a_plain_loop(chapter):
    before, after = tables(0.5, 0.5)["旧"], tables(0.6, 0.6, seed=1)["旧"]
    found = chapter["bootstrap_difference"](before, after, draws=20, seed=7)
    rows = np.random.default_rng(7).integers(0, len(before), (20, len(before)))
    assert found == pytest.approx([chapter["f1_of"](after[r]) - chapter["f1_of"](before[r]) for r in rows])
    assert not chapter["bootstrap_difference"](before, before).any()


@pytest.mark.parametrize("old, new, passes", [(0.5, 0.7, True), (0.3, 0.7, False), (0.5, 0.4, False), (0.9, 0.4, False)])
def test_the_gate_wants_new_gains_and_no_old_losses(chapter, old, new, passes):
    assert chapter["gate"](tables(0.5, 0.4), tables(old, new))[0] is passes


def test_too_little_data_do_not_pass_the_gate(chapter):
    enough = chapter["gate"](tables(0.5, 0.4, 3000), tables(0.5, 0.5, 3000, seed=1))[0]
    assert enough and not chapter["gate"](tables(0.5, 0.4, 8), tables(0.5, 0.5, 8, seed=1))[0]


def test_both_mixtures_have_as_many_passages_and_the_stated_shares(chapter):
    old, new = [f"o{i}" for i in range(90)], [f"n{i}" for i in range(90)]
    fresh, mixed = (chapter["mixture"](strategy, old, new, seed=3) for strategy in ("只用新数据", "新旧各半"))
    assert len(fresh) == len(set(fresh)) == len(mixed) == len(set(mixed)) == 60
    assert all(row[0] == "n" for row in fresh) and sum(row[0] == "n" for row in mixed) == 30


def test_the_registry_goes_forward_and_back_and_refuses_what_is_incomplete(chapter, tmp_path):
    registry = chapter["Registry"](tmp_path)
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        with pytest.raises(ValueError, match=version):
            registry.promote(version)
        (tmp_path / version / "golden.json").write_text("{}")
        registry.promote(version)
    assert registry.deployed() == ["v1", "v2"] and registry.rollback() == "v1" and registry.deployed() == ["v1"]
    with pytest.raises(ValueError, match="没有更早"):
        registry.rollback()
    assert chapter["Registry"](tmp_path).deployed() == ["v1"]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([1e-3, 3e-4, 2e-3]), st.floats(0, 1)), min_size=1, max_size=9))
def test_the_best_rate_has_the_best_mean_on_the_selection_data(chapter, pairs):
    rows = [{"learning_rate": rate, "dev": score} for rate, score in pairs]
    best = chapter["best_rate"](rows)
    means = [np.mean([s for r, s in pairs if r == rate]) for rate, _ in pairs]
    assert np.mean([row["dev"] for row in best]) == pytest.approx(max(means)) and len({row["learning_rate"] for row in best}) == 1
