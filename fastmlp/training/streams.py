"""Training on rows that are read from a file or from a source, window by window."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.data.parts import Part
from fastmlp.data.rows import as_rows
from fastmlp.data.split import Validation
from fastmlp.training.loop import shuffle
from fastmlp.training.windows import Windowed, Windows, ahead

Array = NDArray[Any]
Parts = Generator[Part, None, None]


@dataclass
class PassingWindows:
    """Windows of rows that can only be read as they pass by.

    Attributes
    ----------
    parts : callable
        Reads all rows, in units of an order that is given, or for None as they lie.
    n_units : int
        How many units there are; 0 where they come in their own order.
    n_rows : int
        How many rows there must be.
    room : tuple of two Part
        Memory for two windows, of as many rows each.
    """

    parts: Callable[[NDArray[np.int64] | None], Parts]
    n_units: int
    n_rows: int
    room: tuple[Part, Part]

    def epoch(self, rng: np.random.RandomState | None) -> Parts:
        """Windows of all rows; see `Windows`.

        Raises
        ------
        ValueError
            If there are more or fewer rows than there were.
        """
        order = None
        if rng is not None and self.n_units > 0:
            order = np.arange(self.n_units, dtype=np.int64)
            shuffle(order, rng)
        done, rest = 0, self.room[0].rows(0, 0)
        with _closing(self.parts(order)) as parts:

            def fill(into: Part, stop: Callable[[], bool]) -> Part:
                nonlocal rest
                n = 0
                while n < into.n_rows and not stop():
                    if not rest.n_rows:
                        part = next(parts, None)
                        if part is None:
                            break
                        rest = part
                    k = min(rest.n_rows, into.n_rows - n)
                    into.put(n, rest.rows(0, k))
                    n, rest = n + k, rest.rows(k, rest.n_rows)
                return into.rows(0, n)

            with closing(ahead(fill, self.room)) as windows:
                for window in windows:
                    done += window.n_rows
                    if done > self.n_rows:
                        break
                    yield window
        if done != self.n_rows:
            what = "more" if done > self.n_rows else f"{done}"
            raise ValueError(
                f"The source gives {what} rows now, and gave {self.n_rows} in the first pass."
            )


@contextmanager
def _closing(parts: Parts) -> Iterator[Parts]:
    """Close a generator, unless a thread is in it: a second interrupt has cut the wait for its end.

    It closes itself when that thread lets go of it.
    """
    try:
        yield parts
    finally:
        if inspect.getgeneratorstate(parts) != inspect.GEN_RUNNING:
            parts.close()


@dataclass
class Streamed(Windowed):
    """Training in windows whose validation rows come in windows as well.

    Attributes
    ----------
    held_out : Windows or None
        Of the validation rows.
    """

    held_out: Windows | None = field(default=None, kw_only=True)

    def probabilities(self, validation: Validation) -> Array:
        """1 − ŷ and ŷ of the validation rows: (n_validation, 2)."""
        assert self.held_out is not None
        dtype = self.session.network.dtype
        found, done = np.empty((len(validation.targets), 2), dtype), 0
        with closing(self.held_out.epoch(None)) as parts:
            for part in parts:
                rows = as_rows(part.X, dtype)
                found[done : done + part.n_rows] = self.session.probabilities(rows)
                done += part.n_rows
        return found
