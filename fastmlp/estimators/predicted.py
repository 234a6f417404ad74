"""Scores of predictions that there are: validation rows need not lie where the scorer is."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import check_scoring

from fastmlp.data.split import Metric, Validation, checked_score, takes_weights

Array = NDArray[Any]


class Predicted(ClassifierMixin, BaseEstimator):
    """Stands in for an estimator whose predictions there are.

    Parameters
    ----------
    classes : ndarray
        The labels, sorted.
    probabilities : ndarray of shape (n_samples, 2)
        Of both classes.
    """

    def __init__(self, classes: Array, probabilities: Array) -> None:
        self.classes, self.probabilities = classes, probabilities
        self.classes_ = classes

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities."""
        return self.probabilities

    def decision_function(self, X: Any) -> Array:
        """Return logits, of which there are the logarithms of both probabilities."""
        with np.errstate(divide="ignore"):
            logarithms = np.log(self.probabilities.astype(np.float64))
        logits: Array = logarithms[:, 1] - logarithms[:, 0]
        return logits

    def predict(self, X: Any) -> Array:
        """Return the labels."""
        is_last = self.probabilities[:, 1] > 0.5
        labels: Array = self.classes[
            is_last.astype(np.intp) if len(self.classes) > 1 else 0 * is_last
        ]
        return labels


def by_scorer(scoring: Any, classes: Array, labels: Array, X: Any = None) -> Metric:
    """Make a metric of a scorer, which is given an estimator that has predicted already.

    Parameters
    ----------
    scoring : str or callable
        The scorer.
    classes : ndarray
        The labels that there are, sorted.
    labels : ndarray of shape (n_validation,)
        Of the validation rows.
    X : array-like or frame
        What a scorer of the user's own is given as the rows; a named one looks at none.
    """
    scorer = check_scoring(None, scoring=scoring)
    with_weights = takes_weights(scorer)

    def metric(validation: Validation, probabilities: Array, _: Any) -> float:
        weights = {}
        if with_weights and validation.sample_weight is not None:
            weights["sample_weight"] = validation.sample_weight
        rows = probabilities if X is None else X
        score = scorer(Predicted(classes, probabilities), rows, labels, **weights)
        return checked_score(score, scoring, len(labels))

    return metric


def check_named(scoring: Any) -> None:
    """ValueError if scoring is a function, which would ask for all validation rows at once."""
    if callable(scoring):
        raise ValueError(
            f"scoring={scoring!r} would be given all validation rows at once: name one of "
            "scikit-learn's scorers, or 'loss'."
        )
