"""The measurements of chapter 16, pulled out of the notebook and compared with SciPy, closed forms and brute force."""

import functools
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from scipy import optimize, stats

from tests.unit.notebook_code import definitions
from utils import batching, finetuning, heads, metrics, prediction, profiles, prompts, training
from utils.batching import Windows
from utils.encoder import Encoder, EncoderConfig

CONSTANTS = ("NAME_CONTEXTS", "GIVEN", "SURNAMES", "SPECIAL", "PLAIN", "STEPS", "INNER", "FURTHER_STEPS", "FURTHER_TOKENS")
CONFIG = EncoderConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
                       hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.0, max_position_embeddings=64, initializer_range=0.3)
VOCABULARY = {name: i for i, name in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]", "["])}
TOKENIZER = SimpleNamespace(all_special_ids=[0, 1, 2, 3, 4], pad_token_id=0, unk_token_id=1, cls_token_id=2, mask_token_id=4,
                            get_vocab=lambda: {**VOCABULARY, **{f"字{i}": i for i in range(7, 40)}})


@pytest.fixture(scope="module")
def chapter():
    """Namespace with every function of the notebook; no cell is executed."""
    names = {"np": np, "keras": keras, "ops": ops, "tf": tf, "stats": stats, "re": re, "functools": functools, "batching": batching,
             "finetuning": finetuning, "heads": heads, "metrics": metrics, "prediction": prediction, "training": training, "prompts": prompts, "tokenizer": TOKENIZER, "LIVE_FACTOR": 0.3}
    return definitions("3-code/16-evaluation", names, CONSTANTS)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    return finetuning.MeanClassifier(Encoder(CONFIG), num_labels=2)


def sentence(length=9, seed=0):
    return np.array([2, *np.random.default_rng(seed).integers(7, 40, length), 3], np.int32)


def test_the_auc_is_the_share_of_pairs_in_the_right_order(chapter):
    scores, labels = np.random.default_rng(4).normal(size=40).round(1), np.random.default_rng(5).integers(0, 2, 40)
    pairs = [1.0 if good > bad else 0.5 if good == bad else 0.0 for good in scores[labels == 1] for bad in scores[labels == 0]]
    assert chapter["auc"](scores, labels) == pytest.approx(np.mean(pairs))
    assert chapter["auc"](np.arange(4.0), np.array([0, 0, 1, 1])) == 1.0


def test_learning_rates_are_shown_as_the_profile_of_the_record_had_them(chapter, monkeypatch, capsys):
    rows = [{"start": "shipped", "factor": factor, "seed": 1, "validation": 0.7} for factor in (0.1, 0.3, 1.0)]
    for name, value in {"profile": profiles.PROFILES["full"], "profiles": profiles, "STARTS": {"shipped": "起点"},
                        "FACTORS": {"shipped": (0.1, 0.3, 1.0)}}.items():
        monkeypatch.setitem(chapter, name, value)
    for entry, shown in (({"rates": {"profile": "mini"}}, "1e-04"), ({"rates": {"profile": "full"}}, "3e-06"), ({}, "3e-06")):
        monkeypatch.setitem(chapter, "records", SimpleNamespace(read_recorded=lambda number, entry=entry: entry))
        chapter["show_rates"]("rates", rows, "shipped")
        assert capsys.readouterr().out.startswith(f"起点： {shown} 70.0%")


# --- bootstrap ----------------------------------------------------------------------------------------------------------


def test_redrawn_accuracies_follow_the_binomial_distribution(chapter):
    right = np.repeat([1.0, 0.0], [70, 30])
    draws = chapter["bootstrap"](100, lambda chosen: right[chosen].mean(), draws=20000)
    assert draws.mean() == pytest.approx(0.7, abs=0.002) and draws.std() == pytest.approx(np.sqrt(0.7 * 0.3 / 100), rel=0.03)
    reached = [np.mean(np.round(100 * draws) <= count) for count in range(101)]
    np.testing.assert_allclose(reached, stats.binom.cdf(range(101), 100, 0.7), atol=0.015)
    np.testing.assert_allclose(chapter["mean_interval"](right, draws=20000), stats.binom.ppf([0.025, 0.975], 100, 0.7) / 100, atol=0.011)


def test_the_interval_is_scipys_percentile_interval_also_for_skewed_data_and_other_levels(chapter):
    values = np.random.default_rng(1).exponential(size=40)
    for level in (0.8, 0.95):
        draws = chapter["bootstrap"](40, lambda chosen: np.median(values[chosen]), draws=6000)
        twin = stats.bootstrap((values,), np.median, n_resamples=6000, method="percentile", confidence_level=level, rng=2)
        np.testing.assert_allclose(chapter["interval"](draws, level), twin.confidence_interval, atol=0.06)


def test_a_paired_interval_has_the_spread_of_the_differences(chapter):
    random = np.random.default_rng(0)
    first = random.integers(0, 2, 300).astype(float)
    second = np.where(random.random(300) < 0.85, first, 1 - first)
    paired = chapter["paired_differences"](first, second, draws=4000)
    assert paired.std() == pytest.approx((first - second).std() / np.sqrt(300), rel=0.05)
    apart = np.sqrt(first.var() / 300 + second.var() / 300)
    assert paired.std() < 0.7 * apart
    assert np.all(chapter["paired_differences"](first, first, draws=50) == 0)


# --- labels and domains ---------------------------------------------------------------------------------------------------


def test_labels_needed_reads_a_curve_that_is_straight_in_the_logarithm(chapter):
    means = {size: (0.1 * np.log(size), 0.0) for size in (50, 100, 400)}
    for wanted in (60, 100, 250, 400):
        assert chapter["labels_needed"](means, 0.1 * np.log(wanted)) == pytest.approx(wanted)
    assert chapter["labels_needed"](means, 0.1 * np.log(50) - 1) == 50
    assert chapter["labels_needed"](means, 1.0) is None and chapter["labels_needed"]({}, 0.5) is None


def test_flip_turns_exactly_the_share_and_leaves_its_argument(chapter):
    labels = np.arange(50) % 2
    kept = labels.copy()
    for share in (0.0, 0.2, 0.4, 1.0):
        assert np.sum(chapter["flip"](labels, share, 1) != labels) == round(50 * share)
    np.testing.assert_array_equal(labels, kept)
    assert not np.array_equal(chapter["flip"](labels, 0.2, 1), chapter["flip"](labels, 0.2, 2))


def test_tables_are_averaged_by_method_and_the_best_rate_is_taken(chapter):
    rows = [{"method": "a", "size": 10, "test": value} for value in (0.5, 0.7)] + [{"method": "b", "size": 10, "test": 0.1}]
    assert chapter["table_means"](rows, "a") == {10: (pytest.approx(0.6), pytest.approx(np.std([0.5, 0.7], ddof=1)))}
    tried = [{"start": "hotel", "factor": f, "seed": seed, "validation": v + shift}
             for seed, shift in ((1, -0.05), (2, 0.05)) for f, v in ((0.1, 0.9), (0.3, 0.7), (1.0, 0.8))]
    tried += [{"start": "pc", "factor": 1.0, "seed": 1, "validation": 1.0}]
    assert chapter["rate_means"](tried, "hotel") == {0.1: pytest.approx(0.9), 0.3: pytest.approx(0.7), 1.0: pytest.approx(0.8)}
    assert chapter["best_factor"](tried, "hotel") == 0.1 and chapter["best_factor"]([], "hotel") == 0.3
    runs = [{"start": "s", "source": "t", "seed": seed, "test": seed / 10} for seed in (3, 1, 2)]
    np.testing.assert_allclose(chapter["seed_scores"](runs, "s", "t"), [0.1, 0.2, 0.3])
    assert chapter["recovered"]([0.5], [0.6], [0.7]) == pytest.approx(0.5) and chapter["recovered"]([0.7], [0.8], [0.6]) is None


@pytest.fixture(scope="module")
def windows():
    ids = [sentence(length, seed) for seed, length in enumerate((5, 60, 30, 61, 12))]
    empty = [np.zeros(0, np.int32)] * len(ids)
    return Windows(ids, empty, list(empty), np.arange(len(ids)), np.array([len(row) for row in ids]))


def test_hidden_places_are_ordinary_pieces_and_keep_their_answers(chapter, windows):
    original = batching.pad_ids(windows, range(5))["input_ids"].ravel()
    counts = np.zeros(3)
    for seed in range(60):
        batch = chapter["hide"](windows, range(5), np.random.default_rng(seed), share=0.2)
        found, places = batch["input_ids"].ravel(), batch["positions"]
        assert len(set(places)) == len(places) == round(0.2 * np.sum(original > 4))
        assert np.all(original[places] > 4) and np.array_equal(batch["labels"], original[places])
        rest = np.setdiff1d(np.arange(len(found)), places)
        np.testing.assert_array_equal(found[rest], original[rest])
        counts += [np.sum(found[places] == 4), np.sum(found[places] == original[places]), len(places)]
        assert not np.isin(found[places], [0, 1, 2, 3, 5]).any()
    assert counts[0] / counts[2] == pytest.approx(0.8, abs=0.03)
    assert counts[1] / counts[2] == pytest.approx(0.1 + 0.1 / len(chapter["PLAIN"]), abs=0.03)


def test_losses_are_booked_to_the_text_in_which_the_place_stands(chapter, windows):
    def language(batch, training):  # certain of piece 7 with a margin that grows with the row
        width = batch["input_ids"].shape[1]
        lengths = batch["attention_mask"].sum(axis=1)
        logits = np.zeros((len(batch["positions"]), 40), np.float32)
        logits[np.arange(len(logits)), batch["labels"]] = lengths[batch["positions"] // width] / 20
        return tf.constant(logits)

    totals = chapter["text_losses"](language, windows)
    for (loss, count), ids in zip(totals, windows.input_ids):
        expected = np.log(39 + np.exp(len(ids) / 20)) - len(ids) / 20
        assert count == 0 or loss / count == pytest.approx(expected, rel=1e-4)
    assert chapter["loss_interval"](totals)[0] == pytest.approx(totals[:, 0].sum() / totals[:, 1].sum())


def test_marks_become_iob2_and_counts_give_the_books_f1(chapter):
    characters, tags = chapter["parse_marks"]("[李娜|PER]在[杭州|LOC]。")
    assert "".join(characters) == "李娜在杭州。" and tags == ["B-PER", "I-PER", "O", "B-LOC", "I-LOC", "O"]
    random = np.random.default_rng(4)
    valid = lambda: chapter["parse_marks"]("".join(random.choice(["[甲乙|PER]", "[丙|LOC]", "丁戊", "己"], 6)))[1]
    true = [valid() for _ in range(20)]
    predicted = [list(random.permutation(row)) if random.random() < 0.5 else row for row in true]
    counts = chapter["entity_counts"](true, predicted)
    scores = metrics.entity_scores(true, predicted)
    assert chapter["f1_of"](counts) == pytest.approx(scores.f1)
    assert counts[:, 0].sum() / counts[:, 1].sum() == pytest.approx(scores.precision)


# --- calibration ------------------------------------------------------------------------------------------------------------


def brute_force_error(confidence, right, bins):
    total = 0.0
    for k in range(bins):
        low, high = 0.5 + 0.5 * k / bins, 0.5 + 0.5 * (k + 1) / bins
        members = [i for i, c in enumerate(confidence) if low < c <= high or (k == 0 and c == low)]
        if members:
            accuracy = sum(right[i] for i in members) / len(members)
            total += len(members) / len(right) * abs(accuracy - sum(confidence[i] for i in members) / len(members))
    return total


@pytest.mark.parametrize("bins", [1, 4, 10])
def test_the_calibration_error_equals_a_count_by_hand(chapter, bins):
    random = np.random.default_rng(bins)
    confidence = np.concatenate([0.5 + 0.5 * random.random(200), [0.5, 1.0, 0.75]])
    right = (random.random(203) < 0.7).astype(float)
    assert chapter["expected_calibration_error"](confidence, right, bins=bins) == pytest.approx(brute_force_error(confidence, right, bins))
    assert chapter["reliability"](confidence, right, bins=bins)[:, 0].sum() == 203


def test_a_calibrated_model_has_the_error_of_a_binomial_sample(chapter):
    confidence = np.full(400, 0.8)
    simulated = chapter["null_calibration_error"](confidence, draws=3000)
    assert simulated.mean() == pytest.approx(np.sqrt(2 * 0.8 * 0.2 / (np.pi * 400)), rel=0.05)  # mean of |normal|


@pytest.mark.parametrize("classes", [2, 5])
def test_the_temperature_is_the_minimum_that_scipy_finds(chapter, classes):
    random = np.random.default_rng(classes)
    logits = random.normal(size=(500, classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.array([random.choice(classes, p=row) for row in probabilities])
    for factor in (0.3, 1.0, 4.0):
        found = chapter["best_temperature"](factor * logits, labels)
        twin = optimize.minimize_scalar(lambda t: chapter["cross_entropy"](factor * logits, labels, np.exp(t)), bounds=(-6, 6), method="bounded",
                                        options={"xatol": 1e-9})
        assert found == pytest.approx(np.exp(twin.x), rel=1e-4)
        assert found == pytest.approx(factor, rel=0.25)  # the labels were drawn at temperature 1


def test_cross_entropy_and_confidence_are_those_of_a_softmax(chapter):
    logits, labels = np.random.default_rng(0).normal(size=(30, 3)) * 3, np.arange(30) % 3
    tempered = logits / 1.7
    probabilities = np.exp(tempered) / np.exp(tempered).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(chapter["confidence_of"](logits, 1.7), probabilities.max(axis=1))
    assert chapter["cross_entropy"](logits, labels, 1.7) == pytest.approx(-np.log(probabilities[np.arange(30), labels]).mean())
    assert np.isfinite(chapter["cross_entropy"](1e4 * logits, labels))


# --- bias -------------------------------------------------------------------------------------------------------------------


def test_effects_are_what_was_put_in_whatever_the_templates_say(chapter):
    groups, templates = np.array([0.3, -0.1, -0.2]), np.random.default_rng(0).normal(size=(20, 1)) * 10
    scores = templates + groups
    np.testing.assert_allclose(chapter["effects"](scores), np.tile(groups, (20, 1)), atol=1e-12)
    assert chapter["spread"](scores) == pytest.approx(groups.std())
    assert chapter["spread_p_value"](scores, draws=200)[0] == pytest.approx(1 / 201)
    pairs = templates + np.array([0.0, 0.2, 0.5, 0.5])
    np.testing.assert_allclose(chapter["gender_gaps"](pairs), np.full(20, 0.4))


def test_the_order_of_groups_is_that_of_their_means_whatever_the_templates_say(chapter):
    groups, templates = np.array([0.3, -0.1, 0.7, 0.0]), np.random.default_rng(0).normal(size=(6, 1)) * 10
    before = templates + groups
    assert chapter["order_agreement"](before, 5 - 2 * before) == pytest.approx(-1.0)
    other = np.random.default_rng(1).normal(size=(6, 4))
    assert chapter["order_agreement"](before, other) == pytest.approx(stats.spearmanr(groups, other.mean(axis=0)).statistic)


def test_without_an_effect_small_p_values_are_as_rare_as_they_should_be(chapter):
    found = [chapter["spread_p_value"](np.random.default_rng(seed).normal(size=(8, 5)), draws=99)[0] for seed in range(300)]
    assert np.mean(np.array(found) <= 0.05) < 0.09 and np.mean(found) == pytest.approx(0.5, abs=0.06)


def test_the_language_head_on_another_encoder_is_the_head_of_the_first_with_the_weights_of_the_second(chapter, model, monkeypatch):
    keras.utils.set_random_seed(8)
    language = heads.LanguageModel(Encoder(CONFIG))
    language.bias.assign(np.random.default_rng(0).normal(size=40))
    monkeypatch.setitem(chapter, "language", language)
    batch = {"input_ids": sentence()[None], "attention_mask": np.ones((1, 11), np.int32), "positions": np.array([2, 5], np.int32)}
    np.testing.assert_allclose(chapter["language_with"](language.encoder)(batch, training=False), language(batch, training=False), atol=1e-6)
    before = model.get_weights()
    changed = chapter["language_with"](model.encoder)(batch, training=False)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights()))
    twin = heads.LanguageModel(Encoder(CONFIG))
    twin.set_weights(language.get_weights())
    twin.encoder.set_weights(model.encoder.get_weights())
    np.testing.assert_allclose(changed, twin(batch, training=False), atol=1e-5)


def test_recall_of_names_is_a_mean_over_given_names_for_every_template(chapter, monkeypatch):
    def tag(tagger, sentences):  # finds every name in templates that begin with it; elsewhere only those of 王
        rows = []
        for characters in sentences:
            text, row = "".join(characters), ["O"] * len(characters)
            surname, start = next((s, text.index(s + g)) for s in chapter["SURNAMES"] for g in chapter["GIVEN"] if s + g in text)
            given = next(g for g in chapter["GIVEN"] if text[start + len(surname):].startswith(g))
            if (start == 0 or surname == "王") and given != "晓红":
                row[start:start + len(surname + given)] = ["B-PER"] + ["I-PER"] * (len(surname + given) - 1)
            rows.append(row)
        return rows

    monkeypatch.setitem(chapter, "tag", tag)
    recall = chapter["name_recall"](None)
    assert recall.shape == (len(chapter["NAME_CONTEXTS"]), len(chapter["SURNAMES"]))
    first = np.array([context.startswith("{}") for context in chapter["NAME_CONTEXTS"]])
    np.testing.assert_allclose(recall[:, 0], 0.75)
    np.testing.assert_allclose(recall[:, 1:], np.tile(0.75 * first[:, None], len(chapter["SURNAMES"]) - 1))


# --- attribution --------------------------------------------------------------------------------------------------------------


def test_the_function_of_the_embeddings_is_the_model(chapter, model):
    rows = np.stack([sentence(), sentence(seed=1)])
    mask = np.ones_like(rows)
    mask[1, 7:] = 0
    words = model.encoder.embeddings.word(rows)
    expected = model({"input_ids": rows, "attention_mask": mask}, training=False)
    np.testing.assert_allclose(chapter["logits_from_words"](model, words, mask), expected, atol=1e-5)


def test_integrated_gradients_are_exact_for_linear_and_quadratic_functions(chapter):
    random = np.random.default_rng(0)
    weights, start, end = (random.normal(size=(4, 3)) for _ in range(3))
    linear = chapter["integrated_gradients"](lambda x: tf.reduce_sum(x * weights, axis=(1, 2)), start, end, steps=1)
    np.testing.assert_allclose(linear, weights * (end - start), atol=1e-12)
    square = chapter["integrated_gradients"](lambda x: tf.reduce_sum(weights * x**2, axis=(1, 2)), start, end, steps=1)
    np.testing.assert_allclose(square, weights * (end**2 - start**2), atol=1e-12)


def test_integrated_gradients_are_complete_on_the_encoder_and_better_with_more_points(chapter, model):
    errors = []
    for seed in range(6):
        function, start, end = chapter["endpoints"](model, sentence(seed=seed))
        change = float(function(end[None])[0] - function(start[None])[0])
        errors.append([abs(chapter["integrated_gradients"](function, start, end, steps).sum() - change) for steps in (2, 8, 64)])
    coarse, middle, fine = np.mean(errors, axis=0)
    assert coarse > middle > fine and max(row[2] for row in errors) < 2e-3


def test_special_pieces_get_no_attribution_and_the_function_favours_the_chosen_class(chapter, model):
    ids = sentence(seed=2)
    function, start, end = chapter["endpoints"](model, ids)
    assert float(function(end[None])[0]) >= 0
    paths = chapter["integrated_gradients"](function, start, end, 4)
    assert np.all(paths[[0, -1]] == 0) and np.all(np.abs(paths[1:-1]).sum(axis=1) > 0)


def test_the_rivals_are_the_slope_and_the_mean_attention(chapter, model):
    ids = sentence(seed=4)
    scores, error, change = chapter["explain"](model, ids, steps=32)
    function, start, end = chapter["endpoints"](model, ids)
    assert error == pytest.approx(scores["积分梯度"].sum() - change) and abs(error) < 0.01
    assert scores["注意力"].sum() == pytest.approx(1.0, abs=1e-5)
    step, numeric = 1e-2, []
    for k in range(CONFIG.hidden_size):
        shift = np.zeros(end.shape, np.float32)
        shift[3, k] = step
        numeric.append(float(function((end + shift)[None])[0] - function((end - shift)[None])[0]) / (2 * step))
    assert scores["梯度大小"][3] == pytest.approx(np.linalg.norm(numeric), rel=0.03)


def test_deletion_of_a_linear_model_drops_what_its_weights_say(chapter):
    weights = np.zeros(40)
    weights[[10, 11, 12, 13]] = 4.0, 1.0, -2.0, 0.5
    predict = lambda rows: weights[rows].sum(axis=1)
    ids = np.array([2, 13, 10, 12, 11, 3], np.int32)
    best, worst = [2, 4, 1, 3], [3, 1, 4, 2]
    found = chapter["deletion_drops"](predict, ids, [best, worst], fractions=(0.25, 0.5, 1.0))
    np.testing.assert_allclose(found, [(4 + 5 + 3.5) / 3, (-2 - 1.5 + 3.5) / 3])
    random = [np.random.default_rng(seed).permutation([1, 2, 3, 4]) for seed in range(24)]
    assert chapter["deletion_drops"](predict, ids, random).max() <= chapter["deletion_drops"](predict, ids, [best])[0] + 1e-9
    assert list(ids) == [2, 13, 10, 12, 11, 3]


def test_the_right_attribution_beats_random_deletion_and_the_reverse_loses(chapter, model):
    reviews = [sentence(12, seed) for seed in range(10)]
    by_force = []
    for ids in reviews:
        side = 1 if chapter["id_logits"](model, ids[None])[0].argmax() else -1
        rows = np.tile(ids, (len(ids), 1))
        np.fill_diagonal(rows, 4)
        margins = np.diff(chapter["id_logits"](model, np.concatenate([ids[None], rows])))[:, 0] * side
        by_force.append(({"right": margins[0] - margins[1:], "reverse": margins[1:] - margins[0]},))
    drops = chapter["deletion_table"](model, reviews, by_force)
    assert drops.shape == (10, 3)
    assert drops[:, 0].mean() > drops[:, 2].mean() > drops[:, 1].mean()


def test_rank_correlation_leaves_out_the_special_pieces(chapter):
    first = np.array([9.0, 1.0, 2.0, 3.0, -9.0])
    pairs = [(first, np.array([-5.0, 10.0, 20.0, 30.0, 50.0])), (first, np.array([0.0, 3.0, 2.0, 1.0, 0.0]))]
    np.testing.assert_allclose(chapter["rank_correlations"](pairs), [1.0, -1.0])
