"""What decides on the best epoch of a network for a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import check_scoring

from fastmlp.data.split import Metric, Validation, checked_score, negative_loss, takes_weights

Array = NDArray[Any]


class _Answers(ClassifierMixin, BaseEstimator):
    """A classifier that has the probabilities of one table at hand, for scorers to ask for."""

    def __init__(self, classes: Array, probabilities: Array) -> None:
        self.classes_, self._probabilities = classes, probabilities

    def predict_proba(self, X: Any) -> Array:
        return self._probabilities

    def decision_function(self, X: Any) -> Array:
        with np.errstate(divide="ignore"):
            return np.log(self._probabilities[:, 1]) - np.log(self._probabilities[:, 0])

    def predict(self, X: Any) -> Array:
        return self.classes_[(self._probabilities[:, 1] > 0.5).astype(np.intp)]

    def fit(self, X: Any, y: Any) -> _Answers:
        return self


def metric_of(estimator: Any, classes: Array, X: Callable[[], Any], y: Array) -> Metric:
    """What decides on the best epoch."""
    scoring = estimator.scoring
    if scoring in (None, "loss"):
        return negative_loss
    scorer = check_scoring(_Answers(classes, np.empty((0, 2))), scoring=scoring)
    table, with_weights = X(), takes_weights(scorer)

    def metric(validation: Validation, probabilities: Array, _: Any) -> float:
        weights = {}
        if with_weights and validation.sample_weight is not None:
            weights["sample_weight"] = validation.sample_weight
        answers = _Answers(classes, probabilities.astype(np.float64))
        return checked_score(scorer(answers, table, y, **weights), scoring, len(y))

    return metric
