"""What is to be known of a column beside its rows: how many have a value, and which ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class ColumnFacts:
    """What all rows of a column have together.

    Attributes
    ----------
    n_known, n_gaps : int
        Rows with a value, and without.
    low, high : float
        The least and the greatest value; 0 without any.
    is_pair : bool
        Whether no row has another value than these two.
    counts : ndarray of int64 of shape (n_codes,), or None
        Of a category, the rows of each code.
    """

    n_known: int
    n_gaps: int
    low: float
    high: float
    is_pair: bool
    counts: NDArray[np.int64] | None

    @classmethod
    def of(cls, x: Array, *, is_category: bool) -> ColumnFacts:
        """Those of a column that is in memory.

        Parameters
        ----------
        x : ndarray of shape (n,)
            Numbers or codes; NaN where there is a gap.
        is_category : bool
            Whether they are codes.
        """
        x = np.ascontiguousarray(x)  # a column of a large table is slow to reach, and is read often
        gaps = np.isnan(x)
        known = x[~gaps] if gaps.any() else x
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
        if is_category:
            return cls.of_codes(np.bincount(known.astype(np.intp)), int(gaps.sum()))
        is_pair = bool(np.all((known == low) | (known == high)))
        return cls(len(known), int(gaps.sum()), low, high, is_pair, None)

    @classmethod
    def of_codes(cls, counts: NDArray[np.int64], n_gaps: int) -> ColumnFacts:
        """Those of a category with so many rows of each code."""
        present = np.flatnonzero(counts)
        low, high = (int(present[0]), int(present[-1])) if len(present) else (0, 0)
        return cls(int(counts.sum()), n_gaps, low, high, len(present) <= 2, counts)
