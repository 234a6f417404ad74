"""From logits to the logarithms of the probabilities of two classes (N5).

They are computed from e^(−|z|), which never overflows, and not from the probabilities: ``log(p)``
is infinite where p underflows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# The temporary arrays of this many rows stay in cache.
_BLOCK = 1 << 14

# In exact arithmetic no probability is 0. One below the smallest float64 counts as that number.
_LEAST_LOGARITHM = math.log(math.ulp(0.0))  # −744.4


def log_probabilities(logits: Array) -> Array:
    """Compute log σ(−z) and log σ(z), neither ever below −744.4.

    Parameters
    ----------
    logits : ndarray of shape (n_samples,)
        z, in float32 or float64.

    Returns
    -------
    ndarray of shape (n_samples, 2)
        In the dtype of the logits.
    """
    result = np.empty((len(logits), 2), dtype=logits.dtype)
    for start in range(0, len(logits), _BLOCK):
        block = slice(start, start + _BLOCK)
        distance = np.abs(logits[block])
        ratio = np.exp(-distance)
        softplus = np.log1p(ratio)
        # Where the larger probability rounds to 1, its logarithm is 0, or the two would disagree.
        larger = np.where(1 + ratio == 1, 0, -softplus)
        smaller = np.maximum(-distance - softplus, _LEAST_LOGARITHM)
        _put(result[block], logits[block] > 0, larger, smaller)
    return result


def _put(result: Array, is_one: NDArray[np.bool_], larger: Array, smaller: Array) -> None:
    """Write the larger number of each row to the column of its class."""
    result[:, 0] = np.where(is_one, smaller, larger)
    result[:, 1] = np.where(is_one, larger, smaller)
