"""Constant answer, binomial error, character n-grams and the choice of a learning rate, against references worked out apart."""

import numpy as np
import pytest
from scipy import stats
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression

from utils import baselines


@pytest.mark.parametrize("labels", [[0, 0, 1], [1, 1, 0, 1], [0, 1], [1], [2, 0, 2, 1, 2], [0, 0, 0]])
def test_the_majority_share_is_the_accuracy_of_the_best_constant_answer(labels):
    constant = DummyClassifier(strategy="most_frequent").fit(np.zeros((len(labels), 1)), labels)
    assert baselines.majority_share(np.array(labels)) == pytest.approx(constant.score(np.zeros((len(labels), 1)), labels))


@pytest.mark.parametrize("accuracy, count", [(0.5, 100), (0.9, 37), (0.0, 5), (1.0, 5)])
def test_the_standard_error_is_the_binomial_one(accuracy, count):
    assert baselines.standard_error(accuracy, count) == pytest.approx(stats.binom(count, accuracy).std() / count)


TEXTS = ["房间很好", "服务很差", "Very 好", "very 差", "好好好", "差差差"]
LABELS = [1, 0, 1, 0, 1, 0]


@pytest.mark.parametrize("preprocessor", [None, lambda text: text[:2]])
def test_character_ngrams_are_counted_weighted_and_regressed_as_scikit_learn_does_step_by_step(preprocessor):
    read = preprocessor or str.lower
    counts = CountVectorizer(analyzer="char", ngram_range=(1, 2), lowercase=False).fit([read(text) for text in TEXTS])
    weights = TfidfTransformer()
    train = weights.fit_transform(counts.transform([read(text) for text in TEXTS]))
    reference = LogisticRegression(C=10, max_iter=1000).fit(train, LABELS)
    new = ["VERY 好", "差，很 Very"]
    expected = reference.predict_proba(weights.transform(counts.transform([read(text) for text in new])))
    found = baselines.character_ngrams(preprocessor).fit(TEXTS, LABELS).predict_proba(new)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_best_rate_has_the_highest_mean_over_the_seeds_and_of_equal_ones_the_smaller_wins():
    rows = [{"method": "a", "rate": rate, "dev": score} for rate, score in [(3, 0.9), (3, 0.1), (1, 0.6), (1, 0.6), (2, 0.6)]]
    assert baselines.best_rates(rows, "method", score="dev") == {"a": 1}
    two = [{"task": "t", "method": m, "rate": r, "validation": s} for m, r, s in [("a", 1, 0.1), ("a", 2, 0.2), ("b", 5, 0.0)]]
    assert baselines.best_rates(two, "task", "method") == {("t", "a"): 2, ("t", "b"): 5}
    assert baselines.best_rates([], "method") == {}
