"""Some rows drawn from all that come, however many these are."""

from __future__ import annotations

import numpy as np

from fastmlp.data.parts import Part
from fastmlp.data.scratch import draws, part_like


class Sample:
    """Rows drawn without replacement from those that come, each as likely as any other.

    Each row has a number drawn, by its place alone, and those of the smallest numbers are kept. So
    it does not matter in which parts the rows come.

    Parameters
    ----------
    n_rows : int
        How many to keep at most.
    n_bytes : int
        How much memory they may take, with those that are to be compared with them.
    seed : int
        What all draws depend on.
    """

    def __init__(self, n_rows: int, n_bytes: int, seed: int) -> None:
        self.n_rows, self._n_bytes, self._seed = n_rows, n_bytes, seed
        self._n_seen, self._n_kept, self._limit = 0, 0, 1.0
        self._room: Part | None = None
        self._numbers = np.empty(0)

    @property
    def _n_more(self) -> int:
        """How many rows may wait until some are dropped."""
        return max(1, self.n_rows // 4)

    def add(self, rows: Part) -> None:
        """Draw from more rows."""
        if self._room is None:
            row = sum(array[:1].nbytes for array in part_like(rows, 1) if array is not None)
            self.n_rows = max(1, min(self.n_rows, 4 * self._n_bytes // (5 * row)))
            self._room = part_like(rows, self.n_rows + self._n_more)
            self._numbers = np.empty(self._room.n_rows)
        numbers = draws(self._seed, self._n_seen, rows.n_rows)
        chosen = np.flatnonzero(numbers < self._limit)
        for first in range(0, len(chosen), self._n_more):
            some = chosen[first : first + self._n_more]
            at, end = self._n_kept, self._n_kept + len(some)
            self._room.put(at, rows.chosen(some))
            self._numbers[at:end] = numbers[some]
            self._n_kept = end
            if end > self.n_rows:
                self._drop()
        self._n_seen += rows.n_rows

    def _drop(self) -> None:
        """Keep the rows of the smallest numbers, in the order in which they came."""
        assert self._room is not None
        numbers = self._numbers[: self._n_kept]
        kept = np.sort(np.argpartition(numbers, self.n_rows - 1)[: self.n_rows])
        self._room.put(0, self._room.chosen(kept))
        smallest = numbers[kept]
        self._numbers[: self.n_rows] = smallest
        self._n_kept, self._limit = self.n_rows, float(smallest.max())

    @property
    def rows(self) -> Part:
        """Those that are kept, in the order in which they came; there must have been some."""
        assert self._room is not None
        return self._room.rows(0, self._n_kept)
