"""Columns of numbers on one scale, whatever their units and however far outliers lie."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.kernels import encode

Array = NDArray[Any]

# Results lie between minus this and this.
LIMIT = encode.BEND

# Rows that are scaled at a time, so that they stay in the cache through all steps.
_ROWS_OF_A_BLOCK = 1024


def center_and_scale(x: Array) -> tuple[float, float]:
    """Median and spread of a column, without NaN.

    Parameters
    ----------
    x : ndarray of shape (n,)
        The column.

    Returns
    -------
    center : float
        The median; 0 where all is NaN.
    scale : float
        The distance of the upper quartile from the lower one; where it is 0, half of the distance
        of the greatest value from the least; where that is 0 too, 1.
    """
    x = x[~np.isnan(x)].astype(np.float64, copy=False)
    if len(x) == 0:
        return 0.0, 1.0
    low, center, high = np.quantile(x, [0.25, 0.5, 0.75])
    if high > low:
        return float(center), float(high - low)
    least, greatest = x.min(), x.max()
    return float(center), float(greatest / 2 - least / 2) if greatest > least else 1.0


def smooth_clip(X: Array, center: Array, scale: Array) -> Array:
    """Scale columns, and bring what lies far out near to ±3 with a smooth function.

    That is x' / sqrt(1 + (x' / 3)²) of x' = (x - center) / scale.

    Parameters
    ----------
    X : ndarray of float32 or float64 of shape (n_rows, n_columns)
        The columns, finite or NaN; not changed.
    center, scale : ndarray of shape (n_columns,)
        What `center_and_scale` gives for each.

    Returns
    -------
    ndarray of the dtype and shape of X
        C-contiguous; NaN where X has it.
    """
    out = np.empty(X.shape, dtype=X.dtype)
    center, scale = center.astype(X.dtype), scale.astype(X.dtype)
    # A scale that is too small for the dtype makes infinity of what is not at the center.
    scale = np.maximum(scale, np.finfo(X.dtype).tiny)
    with np.errstate(over="ignore"):
        for start in range(0, len(X), _ROWS_OF_A_BLOCK):
            block = out[start : start + _ROWS_OF_A_BLOCK]
            np.subtract(X[start : start + _ROWS_OF_A_BLOCK], center, out=block)
            block /= scale
            np.clip(block, -encode.FAR, encode.FAR, out=block)
            root = block * (1 / LIMIT)
            root *= root
            root += 1
            np.sqrt(root, out=root)
            block /= root
    return out
