"""Rows that training is validated on: which they are, and the metrics that are taken on them."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from fastmlp.data.rows import Rows

Array = NDArray[Any]
#: Weights and biases, by layer.
Parameters = tuple[list[Array], list[Array]]


@dataclass(frozen=True)
class Validation:
    """Rows that training is validated on, and the metric that tells when to stop.

    Attributes
    ----------
    rows : Rows
        Where the rows lie.
    order : ndarray of int64, or None
        Which of `rows` they are; None for all.
    targets : ndarray of bool of shape (n_validation,)
        Their targets.
    sample_weight : ndarray of shape (n_validation,), or None
        Their weights.
    metric : callable
        ``metric(validation, probabilities, parameters)``; higher is better.
    """

    rows: Rows
    order: NDArray[np.int64] | None
    targets: Array
    sample_weight: Array | None
    metric: Metric

    def score(self, probabilities: Array, parameters: Callable[[], Parameters]) -> float:
        """Take the metric.

        Parameters
        ----------
        probabilities : ndarray of shape (n_validation, 2)
            1 − ŷ and ŷ of the rows.
        parameters : callable
            Returns the weights and biases that these come from.
        """
        return self.metric(self, probabilities, parameters)

    def loss(self, probabilities: Array) -> float:
        """Take the mean of ℒ = −log P(y) (N2), without an L2 term."""
        right = np.where(self.targets, probabilities[:, 1], probabilities[:, 0])
        return -_mean(np.log(right.astype(np.float64)), self.sample_weight)


Metric = Callable[[Validation, Array, Callable[[], Parameters]], float]


def _mean(values: Array, weight: Array | None) -> float:
    """Take a weighted mean; a power of two brings the largest weight near 1 and changes no bit."""
    if weight is not None:
        weight = np.ldexp(weight, -int(np.frexp(weight.max())[1]))  # a sum of huge ones is infinite
    return float(np.average(values, weights=weight))


def accuracy(validation: Validation, probabilities: Array, parameters: Any) -> float:
    """Take the weighted share of rows whose class is predicted right (class 1 where ŷ > 0.5)."""
    right = (probabilities[:, 1] > 0.5) == validation.targets
    return _mean(right, validation.sample_weight)


def always_right(validation: Validation, probabilities: Array, parameters: Any) -> float:
    """Take the accuracy of a model that knows one class and can only predict that."""
    return 1.0


def negative_loss(validation: Validation, probabilities: Array, parameters: Any) -> float:
    """Take −ℒ, so that higher is better."""
    return -validation.loss(probabilities)


def takes_weights(scorer: Callable[..., Any]) -> bool:
    """Whether a scorer can be given weights of the rows."""
    try:
        parameters = inspect.signature(scorer).parameters.values()
    except (TypeError, ValueError):  # of a function in C, which does not say
        return False
    return any(p.name == "sample_weight" or p.kind is p.VAR_KEYWORD for p in parameters)


def checked_score(score: Any, scoring: Any, n_rows: int) -> float:
    """What a scorer has returned; ValueError unless it is a number."""
    if not isinstance(score, Real) or math.isnan(float(score)):
        raise ValueError(
            f"scoring={scoring!r} must give a number, and gave {score!r} for the "
            f"{n_rows} validation rows."
        )
    return float(score)


def hold_out(
    rows: Rows,
    targets: Array,
    sample_weight: Array | None,
    fraction: float,
    rng: np.random.RandomState,
    metric: Metric = accuracy,
) -> tuple[NDArray[np.int64], Validation]:
    """Hold out rows for early stopping, stratified by class.

    The rows are split by their numbers and stay where they are. The draws are those of
    ``train_test_split(X, y, stratify=y)``.

    Parameters
    ----------
    rows : Rows
        The rows to split.
    targets : ndarray of shape (n_samples,)
        0 or 1 for each row.
    sample_weight : ndarray of shape (n_samples,), or None
        The weights of the rows.
    fraction : float
        The share of the rows to hold out.
    rng : RandomState
        Where the split is drawn from.
    metric : callable, default=accuracy
        What is taken on the rows held out.

    Returns
    -------
    order : ndarray of int64
        The rows to train on.
    validation : Validation
        The rows held out.

    Raises
    ------
    ValueError
        If a class has a single row, if fewer than two rows would be held out, or if either part
        has no weight.
    """
    classes = targets != 0
    n_ones = np.count_nonzero(classes)
    if 1 in (n_ones, len(classes) - n_ones):
        # The split refuses a class of one row, and lists such classes in its message: as words.
        classes = classes.astype(str)
    train, held_out = train_test_split(
        np.arange(len(targets), dtype=np.int64),
        test_size=fraction,
        random_state=rng,
        stratify=classes,
    )
    if len(held_out) < 2:
        raise ValueError(
            f"The validation set is too small: validation_fraction={fraction} of {len(targets)} "
            f"rows leaves {len(held_out)}, and two are needed."
        )
    held_out_weight = None
    if sample_weight is not None:
        held_out_weight = sample_weight[held_out]
        for part, weight in (("train on", sample_weight[train]), ("hold out", held_out_weight)):
            if not weight.any():
                raise ValueError(f"sample_weight is 0 for all rows that were drawn to {part}.")
    return train, Validation(rows, held_out, targets[held_out], held_out_weight, metric)
