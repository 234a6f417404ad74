"""The rows that early stopping goes by, and the score that is taken on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.metrics import check_scoring
from sklearn.utils import _safe_indexing

from fastmlp.data.checks import check_fits_in, check_validation_data
from fastmlp.data.class_weights import weighted
from fastmlp.data.labels import encode
from fastmlp.data.rows import as_rows
from fastmlp.data.split import (
    Metric,
    Parameters,
    Validation,
    accuracy,
    always_right,
    checked_score,
    hold_out,
    negative_loss,
    takes_weights,
)
from fastmlp.estimators.given import Given, Problem
from fastmlp.estimators.settings import Settings

Array = NDArray[Any]


def check_arguments(given: Given, settings: Settings) -> None:
    """Check that the arguments of fit go together, and with the parameters.

    Raises
    ------
    ValueError
        If one of X_val and y_val is missing, or if nothing would be done with them.
    """
    names = ("X_val", "y_val", "sample_weight_val")
    present = [name for name in names if getattr(given, name) is not None]
    if not present:
        return
    missing = [name for name in names[:2] if name not in present]
    if missing:
        raise ValueError(f"{present[0]} is given without {missing[0]}.")
    if not settings.by_epochs:
        raise ValueError(f"X_val needs solver='adam' or 'sgd', not {settings.solver!r}.")
    if not settings.early_stopping:
        raise ValueError("X_val needs early_stopping=True, which goes by it.")


def validation_of(
    problem: Problem, settings: Settings, rng: np.random.RandomState
) -> tuple[NDArray[np.int64], Validation | None]:
    """Say which rows to train on, and with early stopping, on which to validate.

    Parameters
    ----------
    problem : Problem
        The rows, and those to validate on if they were given.
    settings : Settings
        The parameters.
    rng : RandomState
        Where a split is drawn from.

    Raises
    ------
    ValueError
        If the rows given are not as X and y are, or if rows cannot be held out.
    """
    data = problem.data
    everything = np.arange(data.rows.n_samples, dtype=np.int64)
    if not settings.early_stopping:
        return everything, None
    metric = plain_metric(settings, len(data.classes))
    if problem.given.X_val is None:
        fraction = settings.validation_fraction
        order, validation = hold_out(
            data.rows, data.targets, data.sample_weight, fraction, rng, metric
        )
        labels = problem.checked.y[validation.order]
    else:
        order, (validation, labels) = everything, _given_rows(problem, metric)
    if settings.scoring not in (None, "loss"):
        scored = _by_scorer(problem, settings.scoring, validation, labels)
        validation = replace(validation, metric=scored)
    return order, validation


def plain_metric(settings: Settings, n_classes: int) -> Metric:
    """What is taken on validation rows where no scorer is named."""
    if settings.scoring == "loss":
        return negative_loss
    return accuracy if n_classes == 2 else always_right


def _given_rows(problem: Problem, metric: Metric) -> tuple[Validation, Array]:
    """Check the validation rows that the user gave, and return their labels too."""
    given = problem.given
    checked = check_validation_data(
        problem.draft, given.X_val, given.y_val, given.sample_weight_val, problem.data.classes
    )
    targets = encode(checked.y, problem.data.classes)
    dtype, X = problem.data.rows.values.dtype, checked.X
    try:
        weight = weighted(checked.sample_weight, targets, problem.class_weights)
        check_fits_in(dtype, X)
    except ValueError as error:
        raise ValueError(f"X_val, y_val or sample_weight_val: {error}") from error
    # Of the same kind as X: the weights are laid out for one kind.
    if scipy.sparse.issparse(problem.checked.X):
        X = scipy.sparse.csr_array(X)
    elif scipy.sparse.issparse(X):
        X = X.toarray()
    return Validation(as_rows(X, dtype), None, targets, weight, metric), checked.y


def _by_scorer(problem: Problem, scoring: Any, validation: Validation, labels: Array) -> Metric:
    """Make a metric of a scorer: it is given an estimator that has the weights of the moment."""
    scorer = check_scoring(problem.draft, scoring=scoring)
    if validation.order is None:
        X = problem.given.X_val
    elif hasattr(problem.draft, "feature_names_in_"):
        X = _safe_indexing(problem.given.X, validation.order)  # a table with names stays one
    else:
        X = problem.checked.X[validation.order]
    weights = {}
    if validation.sample_weight is not None and takes_weights(scorer):
        weights["sample_weight"] = validation.sample_weight

    def metric(_: Validation, __: Array, parameters: Callable[[], Parameters]) -> float:
        score = scorer(problem.fitted(parameters()), X, labels, **weights)
        return checked_score(score, scoring, len(labels))

    return metric
