"""Rows that are held out for early stopping, and the metric that is taken on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from fastmlp.data.rows import Rows

Array = NDArray[Any]
Metric = Callable[[Array, Array, Array | None], float]


@dataclass(frozen=True)
class Validation:
    """Rows that are held out, and the metric that is taken on them.

    Attributes
    ----------
    rows : Rows
        Where the rows lie.
    order : ndarray of int64, or None
        Which of `rows` are held out; None for all.
    targets : ndarray of shape (n_held_out,)
        Their targets, 0 or 1.
    sample_weight : ndarray of shape (n_held_out,), or None
        Their weights.
    metric : callable
        ``metric(targets, probabilities, sample_weight)``; higher is better.
    """

    rows: Rows
    order: NDArray[np.int64] | None
    targets: Array
    sample_weight: Array | None
    metric: Metric

    def score(self, probabilities: Array) -> float:
        """Take the metric on the probabilities of the rows in `order`."""
        return self.metric(self.targets, probabilities, self.sample_weight)


def accuracy(targets: Array, probabilities: Array, sample_weight: Array | None) -> float:
    """Take the weighted share of rows whose class is predicted right (class 1 where p > 0.5)."""
    return float(np.average((probabilities > 0.5) == targets, weights=sample_weight))


def always_right(targets: Array, probabilities: Array, sample_weight: Array | None) -> float:
    """Take the accuracy of a model that knows one class and can only predict that."""
    return 1.0


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
