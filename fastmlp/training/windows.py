"""Epochs over rows that do not lie in one array: in windows, each trained on as a table is.

Rows are shuffled on two levels. Those that a store can read at any place are taken as pieces of
some hundred neighbours, whose order is drawn for each epoch; a window holds many pieces, and its
rows are shuffled once more. So rows of all places meet in a window, at the cost of reading long
runs. (L. Xu et al., "In-database machine learning with CorgiPile", SIGMOD 2022, compare this with
other ways to shuffle.)
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastmlp.data.parts import Part, Store
from fastmlp.data.rows import as_rows
from fastmlp.network.session import Session
from fastmlp.runtime.threads import Work
from fastmlp.training.loop import Training, shuffle

Array = NDArray[Any]
Ranges = list[tuple[int, int]]


@dataclass(frozen=True)
class Pieces:
    """Rows cut into pieces of neighbours.

    Attributes
    ----------
    n_rows : int
        Rows of all.
    piece_rows : int
        Rows of each but the last.
    """

    n_rows: int
    piece_rows: int

    @property
    def n_pieces(self) -> int:
        """How many there are."""
        return -(-self.n_rows // self.piece_rows)

    def spread(self, n_rows: int) -> NDArray[np.int64]:
        """Numbers of pieces that lie evenly among all, and have about so many rows."""
        n = max(1, min(self.n_pieces, n_rows // self.piece_rows))
        return np.linspace(0, self.n_pieces - 1, n).astype(np.int64)

    def ranges(self, order: NDArray[np.int64], first: int, last: int) -> Ranges:
        """Which rows stand at places from `first` to `last`, where pieces are laid in this order.

        Parameters
        ----------
        order : ndarray of int64 of shape (n_pieces,)
            Numbers of the pieces, each once.
        first, last : int
            Places; the last is not among them.

        Returns
        -------
        list of (start, stop)
            Runs of neighbours, in the order of the places.
        """
        starts = order * self.piece_rows
        stops = np.minimum(starts + self.piece_rows, self.n_rows)
        ends = np.cumsum(stops - starts)
        runs: Ranges = []
        for k in range(int(np.searchsorted(ends, first, side="right")), len(order)):
            begin = int(ends[k] - (stops[k] - starts[k]))
            if begin >= last:
                break
            start = int(starts[k]) + max(0, first - begin)
            runs.append((start, int(starts[k]) + min(last, int(ends[k])) - begin))
        return runs


def window_rows(n_rows: int, most: int, batch_rows: int) -> int:
    """Rows of the windows of an epoch: as even as whole minibatches are, and `most` at most.

    most : a multiple of the rows of a minibatch
    """
    each = -(-n_rows // max(1, -(-n_rows // most)))
    return min(most, -(-each // batch_rows) * batch_rows)


def read(store: Store, runs: Ranges, into: Part, stop: Callable[[], bool] = lambda: False) -> Part:
    """Read runs of rows, one behind the other; returns the part of the memory that they fill.

    stop : asked ahead of each; it ends where the answer is yes
    """
    done = 0
    for first, last in runs:
        if stop():
            break
        store.read(first, into.rows(done, done + last - first))
        done += last - first
    return into.rows(0, done)


#: Fills memory with the next rows, asking a function whether to stop; an empty part is the end.
Fill = Callable[[Part, Callable[[], bool]], Part]


def ahead(fill: Fill, room: tuple[Part, Part]) -> Generator[Part, None, None]:
    """Yield what fills the memory next, while a thread fills the other half of it.

    A window is the caller's until the next one is asked for.
    """
    stopped: list[bool] = []

    def filling(into: Part) -> Work[Part]:
        return Work(partial(fill, into, lambda: bool(stopped)))

    work = filling(room[0])
    try:
        work.begin()
        while (part := work.result()).n_rows:
            room = room[::-1]
            work = filling(room[0])
            work.begin()
            yield part
    finally:
        stopped.append(True)
        work.leave()


class Windows(Protocol):
    """Where the windows of an epoch come from."""

    def epoch(self, rng: np.random.RandomState | None) -> Generator[Part, None, None]:
        """Windows of all rows, the order drawn from `rng`, or for None as it is."""


@dataclass
class StoredWindows:
    """Windows of rows that can be read at any place.

    Attributes
    ----------
    store : Store
        The rows.
    pieces : Pieces
        In which they are read.
    room : tuple of two Part
        Memory for two windows, of as many rows each: whole minibatches.
    batch_rows : int
        Rows of a minibatch. All windows but the last of an epoch have whole ones, so they are those
        of one large window.
    some : ndarray of int64 or None
        Numbers of the pieces to read, where these are not all.
    """

    store: Store
    pieces: Pieces
    room: tuple[Part, Part]
    batch_rows: int
    some: NDArray[np.int64] | None = None

    def epoch(self, rng: np.random.RandomState | None) -> Generator[Part, None, None]:
        """Windows of all rows; see `Windows`."""
        some = self.some
        order = np.arange(self.pieces.n_pieces, dtype=np.int64) if some is None else some.copy()
        n = sum(last - first for first, last in self.pieces.ranges(order, 0, self.pieces.n_rows))
        size = window_rows(n, self.room[0].n_rows, self.batch_rows)
        if rng is not None:
            shuffle(order, rng)
        firsts = iter(range(0, n, size))

        def fill(into: Part, stop: Callable[[], bool]) -> Part:
            first = next(firsts, n)
            return read(self.store, self.pieces.ranges(order, first, first + size), into, stop)

        return ahead(fill, self.room)


@dataclass
class Windowed(Training):
    """Training whose epochs go through windows.

    Attributes
    ----------
    windows : Windows
        Of the rows to train on.
    batch_size : int
        Rows of a minibatch.
    """

    windows: Windows = field(kw_only=True)
    batch_size: int = field(kw_only=True)

    def train_epoch(self, rates: float | Array) -> tuple[float, int]:
        """Train for an epoch: the mean loss of its minibatches, and how many rows they had."""
        with closing(self.windows.epoch(self.rng if self.shuffle else None)) as parts:
            sums = train_on(self.session, parts, rates, self.batch_size, self.rng, self.shuffle)
        return sums.loss, sums.n_rows


@dataclass
class Sums:
    """What came of some windows: Σ loss · rows, rows that count, and all rows."""

    losses: float = 0.0
    counted: int = 0
    n_rows: int = 0

    @property
    def loss(self) -> float:
        """The mean loss."""
        return self.losses / max(1, self.counted)


def train_on(
    session: Session,
    parts: Iterable[Part],
    rates: float | Array,
    batch_size: int,
    rng: np.random.RandomState,
    shuffled: bool,
) -> Sums:
    """Train a session on one part after the other.

    Parameters
    ----------
    session : Session
        Prepared, for minibatches of so many rows.
    parts : iterable of Part
        Each but the last of whole minibatches.
    rates : float or ndarray of shape (n_minibatches,)
        The learning rate of each minibatch of all.
    batch_size : int
        Rows of a minibatch.
    rng : RandomState
        Where the order of the rows of a part is drawn from.
    shuffled : bool
        Whether it is.
    """
    sums, done = Sums(), 0
    for part in parts:
        session.feed(as_rows(part.X, session.network.dtype), part.targets, part.weight)
        order = np.arange(part.n_rows, dtype=np.int64)
        if shuffled:
            shuffle(order, rng)
        n_batches = -(-part.n_rows // batch_size)
        own = rates if isinstance(rates, float) else rates[done : done + n_batches]
        loss = session.train_epoch(order, own)
        done += n_batches
        sums.losses += loss * session.rows_of_epoch
        sums.counted += session.rows_of_epoch
        sums.n_rows += part.n_rows
    return sums
