"""Rows written to a file that nobody else sees, to be read again in any order."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastmlp.data.parts import Part

Array = NDArray[Any]

#: Turns targets and weights as they were written into those to train on, in place.
Finish = Callable[[Part], None]


class Scratch:
    """A store of rows in a temporary file.

    Rows lie in blocks of so many, each with the features of all its rows, their targets and their
    weights, so that a run of neighbours is read at one place. They are read and not mapped into
    memory: mapped pages would count as the process's own. The file has no name where the system
    allows that, and is gone with the process at the latest.

    Parameters
    ----------
    folder : str or None
        Where to put the file; None for that of temporary files.
    block : Part
        Memory for the rows of a block, of the types to store.
    needed : int, default=0
        Rows that will come, if that is known: whether there is room for them is seen at once.

    Raises
    ------
    OSError
        If the file cannot be made, or the disk has no room.
    """

    def __init__(self, folder: str | None, block: Part, needed: int = 0) -> None:
        self.folder = tempfile.gettempdir() if folder is None else folder
        self.n_rows = 0
        self.finish: Finish = lambda part: None
        self._block, self._filled = block, 0
        arrays = [array for array in block if array is not None]
        self._strides = [array.nbytes // len(array) for array in arrays]
        self._needed = needed
        free = shutil.disk_usage(self.folder).free
        if self._bytes_of(needed) > free:
            raise self._full(f"{free:,} are free")
        # `close` closes it. Without a buffer: what is read goes straight to where it is wanted.
        how: dict[str, Any] = {"prefix": "fastmlp-", "buffering": 0}
        self._file = tempfile.TemporaryFile(dir=self.folder, **how)  # noqa: SIM115

    @property
    def block_rows(self) -> int:
        """Rows of a block."""
        return self._block.n_rows

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the file."""
        with suppress(OSError):  # of a disk that is full
            self._file.close()

    def append(self, rows: Part) -> None:
        """Write rows behind those that there are."""
        size, done = self._block.n_rows, 0
        while done < rows.n_rows:
            n = min(size - self._filled, rows.n_rows - done)
            self._block.put(self._filled, rows.rows(done, done + n))
            self._filled, done, self.n_rows = self._filled + n, done + n, self.n_rows + n
            if self._filled == size:
                self.flush()

    def flush(self) -> None:
        """Write the last block, of which there may be a part; nothing can be appended then."""
        if not self._filled:
            return
        try:
            for array in self._block:
                if array is not None:
                    self._write(array.data.cast("B"))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
                raise
            raise self._full(f"{self._bytes_of(self.n_rows - self._filled):,} were written") from (
                error
            )
        self._filled = 0

    def _write(self, data: memoryview) -> None:
        while data:
            data = data[self._file.write(data) :]

    def _bytes_of(self, n_rows: int) -> int:
        size = self._block.n_rows
        return -(-n_rows // size) * size * sum(self._strides)

    def _full(self, what: str) -> OSError:
        needed = self._bytes_of(max(self._needed, self.n_rows))
        least = "" if self._needed else "at least "
        return OSError(
            errno.ENOSPC,
            f"No room for the rows' scratch file: it needs {least}{needed:,} bytes, and {what}. "
            "Name another folder as `scratch`",
            self.folder,
        )

    def read(self, first: int, into: Part) -> None:
        """Copy rows from this one on, as many as there is room for; by one thread at a time.

        Raises
        ------
        OSError
            If the file has been cut short.
        """
        size, done = self._block.n_rows, 0
        arrays = [array for array, own in zip(into, self._block, strict=True) if own is not None]
        while done < into.n_rows:
            number, row = divmod(first + done, size)
            n = min(size - row, into.n_rows - done)
            offset = number * size * sum(self._strides)
            for array, stride in zip(arrays, self._strides, strict=True):
                if array is not None:
                    self._fill(offset + row * stride, array[done : done + n])
                offset += size * stride
            done += n
        self.finish(into)

    def _fill(self, offset: int, array: Array) -> None:
        self._file.seek(offset)
        data = array.data.cast("B")
        while data:
            n = self._file.readinto(data)
            if not n:
                raise OSError(errno.EIO, os.strerror(errno.EIO), self.folder)
            data = data[n:]


class Kept:
    """Rows that come one chunk after the other, kept in memory as long as they have room there.

    Parameters
    ----------
    room : Part
        The memory, of the types to store.
    """

    def __init__(self, room: Part) -> None:
        self.room, self.n_rows = room, 0

    @property
    def rows(self) -> Part:
        """Those in memory."""
        return self.room.rows(0, self.n_rows)

    def takes(self, n: int) -> bool:
        """Say whether there is room for so many more."""
        return self.n_rows + n <= self.room.n_rows

    def append(self, rows: Part) -> None:
        """Keep more of them."""
        self.room.put(self.n_rows, rows)
        self.n_rows += rows.n_rows


def part_like(rows: Part, n: int) -> Part:
    """Room for so many rows of the same types."""
    return Part.empty(n, rows.X.shape[1], rows.X.dtype, weighted=rows.weight is not None)


def draws(seed: int, first: int, n: int) -> NDArray[np.float64]:
    """Draw a number from 0 to 1 for each of some rows: by its place alone, whatever comes first.

    Parameters
    ----------
    seed : int
        What all draws depend on.
    first, n : int
        The place of the first row, and how many.
    """
    of_a_step = 4  # of the counter
    generator = np.random.Generator(np.random.Philox(key=seed, counter=first // of_a_step))
    skipped = first % of_a_step
    return generator.random(n + skipped)[skipped:]


def is_held_out(seed: int, first: int, n: int, share: float) -> NDArray[np.bool_]:
    """Draw for each of some rows whether it is among the share to hold out; see `draws`."""
    return draws(seed, first, n) < share
