"""Some rows of a table that does not lie in one place: a chunk, a partition, a window."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Most bytes of a piece: long enough for a disk, and a window of 200 MiB has thousands of them.
PIECE_BYTES = 2**17

#: Fewest pieces of a full window. Where rows are sorted by their targets, the share of a class in a
#: window of so many is right to 0.02. A short last window of few pieces raised log loss by 12%.
PIECES_OF_WINDOW = 512


class Part(NamedTuple):
    """Rows with their targets and weights.

    Attributes
    ----------
    X : ndarray of shape (n, n_features)
        The features: finite numbers, row by row.
    targets : ndarray of bool of shape (n,)
        1 for the last class.
    weight : ndarray of float64 of shape (n,), or None
        Weights of the rows.
    """

    X: Array
    targets: NDArray[np.bool_]
    weight: NDArray[np.float64] | None

    @classmethod
    def empty(cls, n: int, n_features: int, dtype: Any, *, weighted: bool) -> Part:
        """Room for so many rows."""
        weight = np.empty(n) if weighted else None
        return cls(np.empty((n, n_features), dtype), np.empty(n, np.bool_), weight)

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return len(self.targets)

    def rows(self, first: int, last: int) -> Part:
        """Some of them, in the same memory."""
        weight = None if self.weight is None else self.weight[first:last]
        return Part(self.X[first:last], self.targets[first:last], weight)

    def chosen(self, which: Array) -> Part:
        """Copy some of them; which : a mask, or their places."""
        weight = None if self.weight is None else self.weight[which]
        return Part(self.X[which], self.targets[which], weight)

    def put(self, at: int, rows: Part) -> None:
        """Copy other rows in, from this place on."""
        for array, values in zip(self, rows, strict=True):
            if array is not None:
                array[at : at + rows.n_rows] = values


def piece_rows(row_bytes: int, window_rows: int) -> int:
    """Rows of a piece, for windows of so many rows."""
    return max(1, min(PIECE_BYTES // max(1, row_bytes), window_rows // PIECES_OF_WINDOW))


class Store(Protocol):
    """Rows that can be read from any place on.

    Attributes
    ----------
    n_rows : int
        How many there are.
    """

    @property
    def n_rows(self) -> int:
        """How many rows there are."""

    def read(self, first: int, into: Part) -> None:
        """Copy rows from this one on, as many as there is room for."""
