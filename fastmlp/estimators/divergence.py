"""Which parameter or data may have made training diverge: what is out of the ordinary is named."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastmlp.data.checks import TrainingData
from fastmlp.estimators.settings import Settings

# Scaled features and trained weights are far below it.
_LARGE = 1000.0

# Weights are multiplied by 1 − learning rate · weight_decay: beyond this they grow.
_LARGEST_DECAY = 2.0


def why_diverged(settings: Settings, data: TrainingData, start: Iterable[Any]) -> str:
    """Say what to change where training ended in weights that are not finite.

    Parameters
    ----------
    settings : Settings
        The parameters.
    data : TrainingData
        What it was trained on.
    start : iterable of array-like
        The weights and biases that it went on from; none if they were drawn.
    """
    reasons = []
    n_rows, weight = settings.minibatch_rows(data.rows.n_samples), data.sample_weight
    if weight is None and settings.alpha > n_rows:
        reasons.append(
            f"alpha={settings.alpha:g} outweighs the {n_rows} losses of a minibatch: lower alpha."
        )
    elif weight is not None and settings.alpha > (least := _least_sum(weight, n_rows)):
        reasons.append(
            f"alpha={settings.alpha:g} outweighs the losses of a minibatch whose sample_weight "
            f"sums to {least:.3g}: lower alpha, or raise sample_weight."
        )
    if settings.by_epochs and settings.learning_rate_init > 1:
        reasons.append(f"Lower learning_rate_init={settings.learning_rate_init:g}.")
    decay = settings.regularisation.weight_decay
    if settings.by_epochs and settings.learning_rate_init * decay > _LARGEST_DECAY:
        reasons.append(
            f"weight_decay={decay:g} times learning_rate_init={settings.learning_rate_init:g} is "
            "above 2, which makes weights grow: lower weight_decay."
        )
    if (reach := _reach(start)) > _LARGE:
        reasons.append(f"coefs_ and intercepts_, which it went on from, reach {reach:.3g}.")
    if (reach := _reach([data.rows.array, data.rows.values])) > _LARGE:
        reasons.append(f"Scale X, which reaches {reach:.3g}.")
    advice = "Scale X, or lower learning_rate_init." if settings.by_epochs else "Scale X."
    return " ".join(reasons or [advice])


def _least_sum(weight: np.ndarray, n_rows: int) -> float:
    """Take the sum of the smallest weights, as many as a minibatch has, zeros apart."""
    return float(np.sort(weight[weight > 0])[:n_rows].sum())


def _reach(arrays: Iterable[Any]) -> float:
    """Find the largest magnitude; a copy as from abs() would be large."""
    arrays = [np.asarray(array) for array in arrays if array is not None and np.size(array)]
    return max((max(float(a.max()), -float(a.min())) for a in arrays), default=0.0)
