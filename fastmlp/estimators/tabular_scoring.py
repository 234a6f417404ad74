"""What decides on the best epoch of a network for a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.data.split import Metric, Validation, negative_loss
from fastmlp.estimators.predicted import by_scorer

Array = NDArray[Any]


def metric_of(estimator: Any, classes: Array, X: Callable[[], Any], y: Array) -> Metric:
    """What decides on the best epoch."""
    if estimator.scoring in (None, "loss"):
        return negative_loss
    scored = by_scorer(estimator.scoring, classes, y, X())

    def metric(validation: Validation, probabilities: Array, parameters: Any) -> float:
        return scored(validation, probabilities.astype(np.float64), parameters)

    return metric
