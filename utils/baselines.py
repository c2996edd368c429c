"""What a score is measured against: the best constant answer, characters counted, and the error that chance leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np


def majority_share(labels: Iterable[int]) -> float:
    """The accuracy of always answering the label that is most frequent in `labels` (n,) themselves; n > 0."""
    return float(np.unique(np.asarray(labels), return_counts=True)[1].max() / len(labels))


def standard_error(accuracy: float, count: int) -> float:
    """The standard deviation of the share of right answers among `count` independent ones, from the binomial distribution.

    Args:
        accuracy: share of right answers, 0 to 1.
        count: how many answers it was measured on.
    """
    return float(np.sqrt(accuracy * (1 - accuracy) / count))


def character_ngrams(preprocessor: Callable[[str], str] | None = None):
    """A classifier of texts that has read nothing before: TF-IDF of single characters and pairs, logistic regression.

    Args:
        preprocessor: what is read of a text, in place of scikit-learn's lower-casing; None: the text in lower case.

    Returns:
        a scikit-learn pipeline, not fitted: fit(texts, labels), predict(texts), score(texts, labels).
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    features = TfidfVectorizer(analyzer="char", ngram_range=(1, 2), preprocessor=preprocessor)
    return make_pipeline(features, LogisticRegression(C=10, max_iter=1000))


def best_rates(rows: Iterable[Mapping[str, Any]], *names: str, score: str = "validation") -> dict[Any, float]:
    """For each method the learning rate whose validation score, averaged over its rows (seeds), is highest.

    Args:
        rows: each with "rate", the score and the columns `names`.
        names: the columns that tell one method from another.
        score: the column to choose by.

    Returns:
        {method: rate}: a method is the value of the one column, or the tuple of several; of equal scores the smaller rate.
    """
    scores: dict[Any, dict[float, list[float]]] = {}
    for row in rows:
        key = row[names[0]] if len(names) == 1 else tuple(row[name] for name in names)
        scores.setdefault(key, {}).setdefault(row["rate"], []).append(row[score])
    return {key: max(sorted(tried), key=lambda rate: np.mean(tried[rate])) for key, tried in scores.items()}
