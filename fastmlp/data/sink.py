"""A first pass over a source: every row is checked, and kept in memory or in a scratch file."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.data.checks import check_fits_in
from fastmlp.data.chunks import Chunk, Order, Source
from fastmlp.data.parts import Part, piece_rows
from fastmlp.data.sample import Sample
from fastmlp.data.scratch import Kept, Scratch, is_held_out, part_like
from fastmlp.data.totals import Labels, Totals

Array = NDArray[Any]
FLOAT32 = np.dtype(np.float32)

#: Rows that move from memory to a file at once.
_MOVED_ROWS = 65_536

#: Bytes a row takes beside its features: target, weight, and its places in orders.
_BESIDE = 1 + 8 + 16


def chunk_bytes(memory: int) -> int:
    """Bytes of a table to convert at once, where so many may be used in all."""
    return min(memory // 32, 2**22)


@dataclass(frozen=True)
class Room:
    """How much memory there is, and for what.

    Attributes
    ----------
    n_bytes : int
        For everything.
    batch_rows : int
        Rows of a minibatch.
    reading : int, default=0
        Bytes that reading takes while there are two windows. The first pass has one, and what it
        reads has room in place of the other.
    """

    n_bytes: int
    batch_rows: int
    reading: int = 0

    def window_bytes(self) -> int:
        """Bytes of one of two windows; an eighth of all is for chunks."""
        return max(0, self.n_bytes * 7 // 8 - self.reading) // 2

    def rows(self, X: Array) -> int:
        """Rows like these that a window has room for."""
        return self.window_bytes() // (X[:1].nbytes + _BESIDE)

    def window_rows(self, X: Array) -> int:
        """As many rows, in whole minibatches.

        Raises
        ------
        ValueError
            If there is no room for two minibatches.
        """
        n = self.rows(X) // self.batch_rows * self.batch_rows
        if not n:
            least = 2 * self.batch_rows * (X[:1].nbytes + _BESIDE) + self.reading
            least = -(-least * 8 // 7) + 1
            reading = f", {self.reading} of them for pages of files" if self.reading else ""
            raise ValueError(
                f"memory={self.n_bytes} has no room for two minibatches of {self.batch_rows} rows "
                f"of {X.shape[1]} features, which need {least}{reading}: raise it, or have "
                "smaller minibatches."
            )
        return n

    def piece_rows(self, X: Array) -> int:
        """Rows of a piece: few enough that a window mixes many of them."""
        return piece_rows(X[:1].nbytes + _BESIDE, self.rows(X))


@dataclass
class Storing:
    """How rows are stored.

    Attributes
    ----------
    room : Room
        Memory.
    folder : str, None or False
        Where a scratch file goes; None for the folder of temporary files, and False for none.
    working : dtype or None
        In which the network works, where that is known; float32 halves what is stored.
    """

    room: Room
    folder: Any
    working: np.dtype[Any] | None
    dtype: np.dtype[Any] | None = None

    def stored(self, chunk: Chunk) -> Array:
        """The features of a chunk as they are stored.

        Raises
        ------
        ValueError
            With the place, if one is too large.
        """
        if self.dtype is None:
            is_wide = chunk.X.dtype.itemsize > FLOAT32.itemsize
            self.dtype = FLOAT32 if self.working == FLOAT32 and is_wide else chunk.X.dtype
        is_narrow = FLOAT32 in (self.working, self.dtype)
        try:
            if not is_narrow and not np.can_cast(chunk.X.dtype, self.dtype):
                raise ValueError(f"holds {chunk.X.dtype}, and there was {self.dtype} before.")
            check_fits_in(FLOAT32 if is_narrow else self.dtype, chunk.X)
        except ValueError as error:
            raise ValueError(f"{chunk.where}, from row {chunk.first} on: {error}") from error
        stored: Array = chunk.X.astype(self.dtype, copy=False)
        return stored


@dataclass
class Sink:
    """Takes rows in: into memory, and once there is no room, all of them into files.

    Attributes
    ----------
    storing : Storing
        How.
    stack : ExitStack
        Removes the files.
    held_out : tuple of (seed, share), or None
        Which rows go to a second file, where there are files; see `is_held_out`.
    needed : int or None
        Rows that will come, if known.
    drawn : Sample or None
        Draws from the rows that are not held out, where there are files.
    """

    storing: Storing
    stack: ExitStack
    held_out: tuple[int, float] | None = None
    needed: int | None = None
    drawn: Sample | None = None
    n_rows: int = 0
    kept: Kept | None = None
    is_full: bool = False
    files: list[Scratch] = field(default_factory=list)
    held_totals: Totals = field(default_factory=Totals)
    sample: Part | None = None  # the first rows

    def append(self, rows: Part) -> None:
        """Take more rows in."""
        if self.kept is None:
            n = self.storing.room.rows(rows.X)
            self.kept = Kept(
                part_like(rows, max(1, n if self.needed is None else min(n, self.needed)))
            )
        if not self.is_full and not self.kept.takes(rows.n_rows):
            self.spill()
        if self.is_full:
            self._write(rows, self.n_rows)
        else:
            self.kept.append(rows)
        self.n_rows += rows.n_rows

    def spill(self) -> None:
        """Move all rows from memory to files; without files, forget them."""
        assert self.kept is not None
        room, held = self.storing.room, self.kept.rows
        X = self.kept.room.X
        window_rows, block_rows = room.window_rows(X), room.piece_rows(X)
        n = min(held.n_rows, max(room.batch_rows, block_rows))
        self.sample = part_like(held, n)
        self.sample.put(0, held.rows(0, n))
        if self.storing.folder is not False:
            out = 0.0 if self.held_out is None else self.held_out[1]
            for share in [1 - out, out] if out else [1.0]:
                block = part_like(held, block_rows)
                file = Scratch(self.storing.folder, block, int((self.needed or 0) * share))
                self.files.append(self.stack.enter_context(file))
        for first in range(0, held.n_rows, _MOVED_ROWS):
            self._write(held.rows(first, min(first + _MOVED_ROWS, held.n_rows)), first)
        if self.kept.room.n_rows < window_rows:
            self.kept = Kept(part_like(held, window_rows))
        self.is_full = True

    def _write(self, rows: Part, first: int) -> None:
        if not self.files:
            return
        if self.held_out is None:
            self._write_to_train_on(rows)
            return
        seed, share = self.held_out
        out = is_held_out(seed, first, rows.n_rows, share)
        held = rows.chosen(out)
        self.held_totals.add(held.targets, held.weight)
        self._write_to_train_on(rows.chosen(~out))
        self.files[1].append(held)

    def _write_to_train_on(self, rows: Part) -> None:
        self.files[0].append(rows)
        if self.drawn is not None:
            self.drawn.add(rows)

    def window(self) -> Part:
        """Memory for a window."""
        assert self.kept is not None
        return self.kept.room.rows(0, self.storing.room.window_rows(self.kept.room.X))


def take_in(
    source: Source, sink: Sink, labels: Labels, totals: Totals, first: Callable[[Chunk], None]
) -> None:
    """Read all rows of a source into a sink; targets are codes of `Labels`.

    Parameters
    ----------
    source : Source
        The rows.
    sink : Sink
        Where they go.
    labels, totals
        What is found of them.
    first : callable
        Is told of the first chunk.

    Raises
    ------
    ValueError, TypeError
        With the place, if something is not as it should be; or if there are no rows.
    OSError
        If they cannot be read, or have no room.
    """
    for chunk in source.chunks():
        X = sink.storing.stored(chunk)
        if not sink.n_rows:
            first(chunk)
        codes = labels.codes(chunk)
        totals.add(codes, chunk.weight)
        sink.append(Part(X, codes, chunk.weight))
    if not sink.n_rows:
        raise ValueError("The source has no rows.")
    for file in sink.files:
        file.flush()


@dataclass(frozen=True)
class Finish:
    """Makes of targets and weights as they were read those to train on, in place.

    Attributes
    ----------
    swapped : bool
        Whether codes and targets differ.
    by_class : ndarray of shape (n_classes,), or None
        Weights of the classes.
    weighted : bool
        Whether rows have weights of their own.
    """

    swapped: bool
    by_class: NDArray[np.float64] | None
    weighted: bool

    def __call__(self, part: Part) -> None:
        """Do it."""
        if self.swapped:
            np.logical_not(part.targets, out=part.targets)
        if self.by_class is not None and part.weight is not None:
            of_rows = self.by_class[part.targets.astype(np.intp)]
            part.weight[...] = of_rows * part.weight if self.weighted else of_rows

    def room(self, part: Part) -> Part:
        """The same memory, with room for weights where there are any to train on."""
        if self.by_class is None and not self.weighted:
            return part._replace(weight=None)
        return part if part.weight is not None else part._replace(weight=np.empty(part.n_rows))

    def of(self, part: Part) -> Part:
        """A part that is to be trained on; its arrays may be changed."""
        part = self.room(part)
        self(part)
        return part


def parts_of(
    source: Source, storing: Storing, classes: Array, by_class: NDArray[np.float64] | None
) -> Callable[[Order], Generator[Part, None, None]]:
    """Make a function that reads a source anew, in units of an order that it is given."""

    def parts(order: Order) -> Generator[Part, None, None]:
        labels = Labels(classes)
        for chunk in source.chunks(order):
            finish = Finish(False, by_class, chunk.weight is not None)
            targets, weight = labels.codes(chunk), chunk.weight
            if weight is not None and by_class is not None:
                weight = weight.copy()  # the user's own
            yield finish.of(Part(storing.stored(chunk), targets, weight))

    return parts
