"""The functions that chapter 1 defines, pulled out of the notebook and compared with references on tiny inputs."""

from collections import Counter

import keras
import numpy as np
import pytest
from scipy import stats
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from tests.unit.notebook_code import definitions
from utils import batching, checkpoints, prediction, profiles, prompts
from utils.baselines import majority_share, standard_error


@pytest.fixture
def chapter():
    """Namespace with every function of the notebook; no cell is executed."""
    names = {"majority_share": majority_share, "standard_error": standard_error,
             "np": np, "Counter": Counter, "keras": keras, "batching": batching, "prediction": prediction, "prompts": prompts,
             "TfidfVectorizer": TfidfVectorizer, "LogisticRegression": LogisticRegression, "SIZES": (100, 500, 2000)}
    return definitions("1-concepts/01-background", names, constants=("PROMPT",))


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_count_vectors_equal_scikit_learn(chapter, n):
    texts = ["不贵,很好不好", "很贵,不好很好"]
    reference = CountVectorizer(analyzer="char", ngram_range=(n, n), lowercase=False).fit_transform(texts).toarray()
    np.testing.assert_array_equal(chapter["count_vectors"](texts, n), reference)


def test_repeated_share_counts_identical_texts(chapter):
    assert chapter["repeated_share"](["a", "b", "b"], ["b", "c", "a", "d"]) == 0.5


def test_smaller_samples_lie_inside_larger_ones_with_their_own_labels(chapter):
    part = [str(i) for i in range(100)], np.arange(100)
    small, large, other = (chapter["take"](part, size, seed) for size, seed in ((10, 1), (40, 1), (10, 2)))
    assert set(small[0]) < set(large[0]) and set(small[0]) != set(other[0])
    assert [int(text) for text in large[0]] == large[1].tolist() and len(set(large[0])) == 40


def test_the_features_are_those_of_the_formula(chapter):
    texts = ["好好好", "好坏", "坏很坏坏"]
    vectorizer, classifier = chapter["fit_ngrams"](texts, [1, 0, 0], strength=1.0)
    names = list(vectorizer.get_feature_names_out())
    rows = []
    for text in texts:
        counts = Counter(text[i:i + n] for n in (1, 2, 3) for i in range(len(text) - n + 1))
        row = np.zeros(len(names))
        for name, count in counts.items():
            documents = sum(name in other for other in texts)
            row[names.index(name)] = (1 + np.log(count)) * (np.log((1 + len(texts)) / (1 + documents)) + 1)
        rows.append(row / np.linalg.norm(row))
    np.testing.assert_allclose(vectorizer.transform(texts).toarray(), rows, atol=1e-12)
    assert classifier.predict(vectorizer.transform(["好好", "坏坏"])).tolist() == [1, 0]


def test_the_setting_with_the_best_validation_accuracy_is_chosen(chapter):
    rows = [{"method": m, "size": s, "setting": setting, "dev_accuracy": accuracy}
            for m, s, setting, accuracy in (("a", 1, 10, 0.7), ("a", 1, 1, 0.7), ("a", 1, 100, 0.6), ("a", 2, 1, 0.1),
                                            ("a", 2, 100, 0.2), ("b", 1, 5, 0.3))]
    assert chapter["best_settings"](rows) == {("a", 1): 1, ("a", 2): 100, ("b", 1): 5}
    assert chapter["best_settings"]([]) == {}


def test_labels_needed_inverts_a_curve_that_is_linear_in_the_logarithm(chapter):
    sizes = (100, 500, 2000)
    curve = lambda size: 0.5 + 0.04 * np.log(size)
    accuracies = [curve(size) for size in sizes]
    for size in (150, 499, 1234):
        assert chapter["labels_needed"](sizes, accuracies, curve(size)) == pytest.approx(size)
    assert chapter["labels_needed"](sizes, accuracies, 0.2) == 100
    assert chapter["labels_needed"](sizes, accuracies, 0.95) is None


def test_the_threshold_rule_is_as_good_as_a_decision_stump(chapter, random):
    for _ in range(20):
        values, labels = random.integers(0, 12, 40), random.integers(0, 2, 40)
        rule = chapter["threshold_rule"](values, labels)
        reached = chapter["rule_accuracy"](values, labels, *rule)
        stump = DecisionTreeClassifier(max_depth=1).fit(values[:, None], labels).score(values[:, None], labels)
        by_hand = max(np.mean((values >= t) == labels) for t in values)
        by_hand = max(by_hand, max(np.mean((values < t) == labels) for t in values))
        assert reached == pytest.approx(by_hand) and reached >= stump - 1e-12


def test_a_length_rule_follows_the_lengths_and_not_the_words(chapter):
    values = np.array([10, 20, 150, 180])
    assert chapter["threshold_rule"](values, np.array([0, 0, 1, 1])) == (150.0, 1)
    assert chapter["threshold_rule"](values, np.array([1, 1, 0, 0])) == (150.0, -1)


def test_labels_are_saved_only_where_the_rival_needs_more_of_them_and_the_scores_differ(chapter):
    label_verdict = chapter["label_verdict"]
    assert label_verdict(500, 401.0, "更低") == "没有省标注" and label_verdict(500, 500.0, "更低") == "没有省标注"
    assert label_verdict(500, 900.0, "更高") == "省了标注" and label_verdict(2000, None, "更高") == "省了标注"
    assert label_verdict(100, 133.0, "分不出") == "分不出省没省" == label_verdict(100, None, "分不出")


def test_the_gain_over_the_majority_is_counted_in_binomial_standard_errors(chapter):
    labels = np.array([1] * 60 + [0] * 40)
    assert chapter["gain_in_errors"](0.7, labels) == pytest.approx(0.1 / (stats.binom(100, 0.7).std() / 100))
    assert chapter["gain_in_errors"](0.6, labels) == pytest.approx(0)


def test_the_result_table_gives_means_and_spread_over_seeds(chapter):
    rows = [{"method": "甲", "size": 100, "test": t, "hotel": 0.5, "pc": 0.25, "parameters": 1000, "train_seconds": 2.0}
            for t in (0.7, 0.8, 0.9)]
    line = chapter["result_table"](rows).splitlines()[-1]
    assert line == "| 甲 | 100 | 80.0 ± 10.0 | 50.0 | 25.0 | 1,000 | 2.0 |"


def test_cloze_scores_equal_one_unpadded_question_at_a_time(chapter):
    tokenizer = checkpoints.load_tokenizer(profiles.CHECKPOINT)
    model = checkpoints.load("language", profiles.CHECKPOINT)
    chapter["tokenizer"] = tokenizer
    texts = ["房间很大,服务也好。", "差", "屏幕坏了,售后不理人,再也不买了。"]
    scores = chapter["cloze_scores"](model, texts)
    good, bad = tokenizer.convert_tokens_to_ids(["好", "差"])
    for text, score in zip(texts, scores):
        ids = tokenizer(chapter["PROMPT"] + text, return_tensors="np")["input_ids"]
        logits = keras.ops.convert_to_numpy(model({"input_ids": ids}))[0, ids[0].tolist().index(tokenizer.mask_token_id)]
        assert score == pytest.approx(logits[good] - logits[bad], abs=1e-3)
