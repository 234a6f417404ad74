"""Networks for a table that does not fit into memory: an epoch is a stretch of rows of a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fastmlp.data.rows import as_rows
from fastmlp.training.loop import FitResult, Training, Watcher, shuffle
from fastmlp.training.schedules import Constant
from fastmlp.training.streams import Parts, Streamed
from fastmlp.training.table import Member
from fastmlp.training.windows import Sums, Windows


@dataclass
class StreamedStretches(Streamed):
    """Training in stretches of rows, each counted as an epoch; see `Stretches`.

    A stretch begins where the one before it has ended, and goes through as many windows as it
    takes. Behind the last window of a pass comes the first one of the next.

    Attributes
    ----------
    rows_of_stretch : int
        Rows of an epoch.
    """

    rows_of_stretch: int = field(kw_only=True)
    _parts: Parts | None = field(default=None, init=False)
    _order: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64), init=False)
    _place: int = field(default=0, init=False)

    def run(self, max_epochs: int, *, warn_unconverged: bool = True) -> FitResult:
        """Train; see `Training.run`."""
        try:
            return super().run(max_epochs, warn_unconverged=warn_unconverged)
        finally:
            if self._parts is not None:
                self._parts.close()

    def train_epoch(self, rates: float | NDArray[np.float64]) -> tuple[float, int]:
        """Train on the next stretch: the mean loss of its minibatches, and how many rows."""
        sums = Sums()
        while sums.n_rows < self.rows_of_stretch:
            if self._place == len(self._order):
                self._next_window()
            rows = self._order[self._place :][: self.rows_of_stretch - sums.n_rows]
            self._place += len(rows)
            loss = self.session.train_epoch(rows, rates)
            sums.losses += loss * self.session.rows_of_epoch
            sums.counted += self.session.rows_of_epoch
            sums.n_rows += len(rows)
        return sums.loss, sums.n_rows

    def _next_window(self) -> None:
        part = None if self._parts is None else next(self._parts, None)
        if part is None:
            self._parts = self.windows.epoch(self.rng)
            part = next(self._parts)
        rows = as_rows(part.X, self.session.network.dtype)
        self.session.feed(rows, part.targets, part.weight)
        self._order, self._place = np.arange(part.n_rows, dtype=np.int64), 0
        shuffle(self._order, self.rng)


@dataclass
class StreamedMember(Member):
    """One network of several; `data` has some of its rows, and `order` none.

    Attributes
    ----------
    windows : Windows
        Of the rows that it is trained on.
    held_out : Windows
        Of the rows that it is validated on.
    n_streamed : int
        How many rows it is trained on.
    """

    windows: Windows = field(kw_only=True)
    held_out: Windows = field(kw_only=True)
    n_streamed: int = field(kw_only=True)

    @property
    def n_rows(self) -> int:
        """How many rows it is trained on."""
        return self.n_streamed

    def training(self, watchers: Sequence[Watcher]) -> Training:
        """The loop that it is trained in."""
        return StreamedStretches(
            self.session, self.order, self.rng, Constant(self.recipe.learning_rate),
            self.plateau(), self.validation, watchers=watchers, windows=self.windows,
            batch_size=self.batch_size, held_out=self.held_out,
            rows_of_stretch=min(self.rows_of_stretch, self.n_rows),
        )  # fmt: skip
