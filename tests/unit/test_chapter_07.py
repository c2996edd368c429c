"""The functions that chapter 7 defines, pulled out of the notebook and compared with references."""

import functools

import keras
import numpy as np
import pytest
from scipy import special
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from tests.unit.notebook_code import definitions
from utils import batching, checkpoints, prediction, profiles, prompts, training
from utils.baselines import best_rates, character_ngrams

TEXTS = ["房间很大,服务也好。", "差", "屏幕坏了,售后不理人,再也不买了。", "很好很好。"]
PAGE = "1-concepts/07-prompts"
CONSTANTS = ("TEMPLATE", "WORDS", "LENGTH", "TEMPLATES")


@pytest.fixture
def chapter():
    """Namespace with every function of the notebook; no cell is executed."""
    names = {"np": np, "keras": keras, "functools": functools, "batching": batching, "prediction": prediction, "checkpoints": checkpoints, "prompts": prompts,
             "training": training, "profile": profiles.get("mini"), "STEPS": 40, "BATCH": 8, "RATE_SIZES": (4, 16, 64), "DEFAULT_RATE": 3,
             "tokenizer": checkpoints.load_tokenizer(profiles.CHECKPOINT), "scipy_softmax": special.softmax,
             "best_rates": best_rates, "character_ngrams": character_ngrams}
    return definitions(PAGE, names, constants=CONSTANTS)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_softmax_equals_scipy_also_for_huge_logits(chapter, random):
    for logits in (random.normal(size=(5, 3)), np.array([1000.0, 998.0])):
        np.testing.assert_allclose(chapter["softmax"](logits), special.softmax(logits, axis=-1))


def test_calibration_divides_by_the_probabilities_of_the_empty_input(chapter, random):
    logits, empty = random.normal(size=(6, 2)), random.normal(size=2)
    ratio = special.softmax(logits, axis=1) / special.softmax(empty)
    expected = ratio / ratio.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(special.softmax(chapter["calibrate"](logits, empty), axis=1), expected)


def test_the_empty_input_is_undecided_after_calibration(chapter, random):
    empty = random.normal(size=2)
    np.testing.assert_allclose(special.softmax(chapter["calibrate"](empty[None], empty), axis=1), [[0.5, 0.5]])


def test_accuracy_equals_scikit_learn(chapter, random):
    logits, labels = random.normal(size=(50, 2)), random.integers(0, 2, 50)
    guesses = (logits[:, 1] > logits[:, 0]).astype(int)
    assert chapter["accuracy_of"](logits, labels) == pytest.approx(accuracy_score(labels, guesses))
    np.testing.assert_allclose(chapter["margin"](logits) > 0, guesses)


def test_draws_are_balanced_nested_and_differ_between_seeds(chapter, random):
    labels = random.integers(0, 2, 300)
    for size in (4, 16, 64):
        drawn = chapter["draw"](labels, size, 3)
        assert len(set(drawn)) == size and labels[drawn].sum() == size // 2
        assert np.array_equal(drawn[: size // 2], chapter["draw"](labels, size // 2, 3))
    assert set(chapter["draw"](labels, 16, 3)) != set(chapter["draw"](labels, 16, 4))
    assert len(chapter["draw"](labels, 0, 1)) == 0


@pytest.mark.parametrize("count", [4, 8, 16, 64])
def test_the_plan_uses_every_example_equally_often(chapter, count):
    plan = chapter["step_plan"](count, 1)
    assert len(plan) == 40 and {len(step) for step in plan} == {min(8, count)}
    uses = np.bincount(np.concatenate(plan), minlength=count)
    assert uses.max() - uses.min() <= 1


def test_the_prompt_loss_is_the_cross_entropy_over_the_verbalisers_words(chapter, random):
    logits = random.normal(size=(4, 9)).astype(np.float32)
    labels = np.array([0, 1, 1, 0])
    batch = {"input_ids": 0, "attention_mask": 0, "positions": 0, "labels": labels}
    loss = chapter["prompt_loss"]([7, 2])(lambda inputs, training: keras.ops.convert_to_tensor(logits), batch, True)
    shares = special.log_softmax(logits[:, [7, 2]], axis=1)
    assert float(loss) == pytest.approx(-shares[np.arange(4), labels].mean(), abs=1e-6)


def test_embeddings_are_means_over_real_pieces_of_length_one(chapter):
    encoder = checkpoints.load_encoder(profiles.CHECKPOINT)
    found = chapter["embed"](encoder, TEXTS)
    for text, vector in zip(TEXTS, found):
        ids = chapter["tokenizer"](text, return_tensors="np")["input_ids"]
        mean = keras.ops.convert_to_numpy(encoder({"input_ids": ids}))[0].mean(axis=0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-4)


def test_nearest_centroid_equals_scikit_learn(chapter, random):
    vectors, new = random.normal(size=(12, 5)), random.normal(size=(40, 5))
    labels = np.arange(12) % 2
    expected = NearestCentroid().fit(vectors, labels).predict(new)
    np.testing.assert_array_equal(chapter["nearest_centroid"](vectors, labels, new), expected)


def test_nearest_neighbour_equals_scikit_learn(chapter, random):
    vectors, new, labels = random.normal(size=(12, 5)), random.normal(size=(40, 5)), np.arange(12) % 2
    expected = KNeighborsClassifier(1).fit(vectors, labels).predict(new)
    np.testing.assert_array_equal(chapter["nearest_neighbour"](vectors, labels, new), expected)


@pytest.mark.parametrize("method", ["fit_centroid", "fit_neighbour"])
def test_methods_without_training_give_their_own_examples_back(chapter, method):
    chapter["language_model"] = checkpoints.load("language", profiles.CHECKPOINT)
    texts, labels = TEXTS[:2], np.array([1, 0])
    predict = chapter[method](texts, labels, None, 1)
    assert predict(texts).tolist() == predict(tuple(texts)).tolist() == [1, 0]
    assert predict(texts[::-1]).tolist() == [0, 1]  # what is kept belongs to the texts, not to the number of the call


def test_prompt_training_fits_its_examples_and_without_labels_is_the_zero_shot_model(chapter):
    labels = np.array([1, 0, 0, 1])
    predict = chapter["fit_prompt"](TEXTS, labels, 1e-3, 1)
    assert predict(TEXTS).tolist() == labels.tolist()
    untouched = checkpoints.load("language", profiles.CHECKPOINT)
    expected = chapter["cloze_logits"](untouched, TEXTS).argmax(axis=1)
    assert chapter["fit_prompt"]([], labels[:0], 1e-3, 1)(TEXTS).tolist() == expected.tolist()


def test_the_rate_with_the_best_validation_mean_is_chosen_and_test_is_not_looked_at(chapter):
    rows = [{"method": "提示", "labels": 4, "rate": rate, "seed": seed, "dev_balanced": dev, "test_balanced": test}
            for rate, seed, dev, test in ((1, 1, 0.9, 0.1), (1, 2, 0.5, 0.2), (2, 1, 0.6, 0.9), (2, 2, 0.6, 0.8))]
    chapter["rate_rows"] = [{name: row[name] for name in row if name != "test_balanced"} for row in rows]
    best_rate, values_of = chapter["best_rate"], chapter["values_of"]
    assert best_rate(chapter["rate_rows"], "提示", 4) == 1  # means 0.7 and 0.6
    assert best_rate(chapter["rate_rows"], "提示", 8) == 1  # from the largest number tried that is not above 8
    assert best_rate(chapter["rate_rows"], "提示", 16) == 3  # the default: nothing recorded
    assert best_rate(chapter["rate_rows"], "提示", 0) == best_rate([], "分类头", 4) == 3
    assert values_of(rows, "提示", 4).tolist() == [0.1, 0.2] and values_of(rows, "提示", 4, 2).tolist() == [0.9, 0.8]
    assert len(values_of([], "提示", 4)) == 0


def test_the_control_trains_on_as_many_labels_as_asked_and_scores_the_validation_part(chapter, random):
    seen = []

    def fit(texts, labels, rate, seed):
        seen.append((texts, labels.tolist(), rate, seed))
        return lambda new: np.array([1, 1, 0, 0])

    labels = random.integers(0, 2, 60)
    chapter |= {"train": ([str(i) for i in range(60)], labels), "dev": (list("abcd"), np.array([1, 0, 0, 0])), "fit_prompt": fit}
    assert chapter["prompt_on_many"](20, 3, 2) == {"dev_accuracy": 0.75, "dev_balanced": pytest.approx((1 + 2 / 3) / 2)}
    drawn = chapter["draw"](labels, 20, 2)
    assert seen == [([str(i) for i in drawn], labels[drawn].tolist(), 3, 2)]


def test_the_control_uses_every_label_once(chapter):
    many = chapter["STEPS"] * chapter["BATCH"]
    assert sorted(np.concatenate(chapter["step_plan"](many, 1))) == list(range(many))


def test_balanced_accuracy_gives_every_constant_answer_a_half(chapter):
    labels = np.array([1, 1, 1, 0])
    assert chapter["balanced"](np.ones(4, int), labels) == chapter["balanced"](np.zeros(4, int), labels) == 0.5
    assert chapter["balanced"](labels, labels) == 1.0
    assert chapter["balanced"](np.array([1, 0, 1, 0]), labels) == pytest.approx((2 / 3 + 1) / 2)


def test_a_cell_shows_mean_sample_deviation_and_range(chapter):
    assert chapter["cell_text"](np.array([0.7, 0.8, 0.9])) == "80.0 ± 10.0 [70.0, 90.0]"
    assert chapter["cell_text"](np.array([0.7])) == "70.0"
    assert chapter["cell_text"](np.array([])) == "–"


def test_choosing_scores_the_chosen_template_on_seen_and_on_unseen_data(chapter):
    correct = np.array([[1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]])
    for seed in range(20):
        seen, rest = chapter["choose_with"](correct, 3, np.random.default_rng(seed))
        order = np.random.default_rng(seed).permutation(6)
        best = int(correct[1, order[:3]].sum() > correct[0, order[:3]].sum())
        assert seen == pytest.approx(correct[best, order[:3]].mean())
        assert rest == pytest.approx(correct[best, order[3:]].mean())


def test_there_are_ten_different_templates_which_encode(chapter):
    assert len(set(chapter["TEMPLATES"])) == 10
    for template in chapter["TEMPLATES"]:
        prompts.encode_cloze(chapter["tokenizer"], TEXTS, template)


def test_ngrams_read_as_much_of_a_text_as_the_model_and_equal_scikit_learn(chapter):
    labels, opening = np.array([1, 0, 0, 1]), chapter["LENGTH"] - 2
    texts, new = [*TEXTS[:3], "OK,很好"], ["很大很好", "坏了不买", "好" * opening + "坏了" * 50, "ok"]
    vectors = TfidfVectorizer(analyzer="char", ngram_range=(1, 2)).fit(texts)  # lower-cases
    model = LogisticRegression(C=10, max_iter=1000).fit(vectors.transform(texts), labels)
    expected = model.predict(vectors.transform([text[:opening] for text in new]))
    assert chapter["ngram_guesses"](texts, labels, new).tolist() == expected.tolist() == [1, 0, 1, 1]


def test_a_live_run_is_put_beside_the_record_of_the_same_experiment_only(chapter):
    rows = [{"method": "提示", "labels": size, "rate": rate, "seed": seed, "dev_accuracy": value, "dev_balanced": value / 2}
            for size, rate, seed, value in ((16, 1, 1, 0.5), (16, 2, 1, 0.6), (16, 1, 2, 0.7), (8, 1, 1, 0.8))]
    assert chapter["recorded_scores"](rows, "提示", 16, 1, 1) == "准确率 50.0%，平衡准确率 25.0%"
    assert chapter["recorded_scores"](rows, "分类头", 16, 1, 1) == chapter["recorded_scores"]([], "提示", 16, 1, 1) == "没有这一次"
