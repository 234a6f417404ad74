"""Arrays within guard zones: memory around them that no kernel may write to.

The zones hold a NaN of a rare bit pattern. A write there is seen because the bits change; a read
shows up in a result, which becomes NaN. Arithmetic on a guard alone keeps its bits: where a kernel
works in place, tests let it work on a part of an array as well.
"""

import contextlib
import ctypes
import faulthandler
import mmap
import os
import signal
import sys
import warnings
from unittest import mock

import numpy as np

from fastmlp.kernels.simd.vector import PANEL

#: Numbers on either side: more than the widest tile and one vector hold.
MARGIN = 96

_NAN = {4: 0x7FC5A5A5, 8: 0x7FFC5A5A5A5A5A5A}


def bits(array):
    """The numbers of a contiguous array as unsigned integers."""
    return array.view(f"u{array.dtype.itemsize}")


def untouched(size, dtype):
    """A flat array of guard values."""
    memory = np.empty(size, dtype)
    if memory.dtype.kind == "f":
        bits(memory)[...] = _NAN[memory.dtype.itemsize]
    else:
        memory.view(np.uint8)[...] = 0x5A
    return memory


class Guarded:
    """A copy of `values`, rows `row` numbers apart, in the middle of guard zones.

    What lies between the rows is guarded as well. `shift` moves it by single numbers.
    """

    def __init__(self, values, row=None, shift=0):
        values = np.atleast_2d(values)
        rows, columns = values.shape
        self.row = columns if row is None else row
        assert self.row >= columns
        self.memory = untouched(rows * self.row + 2 * MARGIN + shift, values.dtype)
        start = MARGIN + shift
        body = self.memory[start : start + rows * self.row]
        self.array = body.reshape(rows, self.row)[:, :columns]
        self.array[...] = values
        self.address = self.memory.ctypes.data + start * values.dtype.itemsize
        self._before = bits(self.memory).copy()
        self._start = start

    def check(self, rows=0, columns=0):
        """Assert that nothing but the first columns of the first rows has been written."""
        now = bits(self.memory).copy()
        for k in range(rows):
            begin = self._start + k * self.row
            now[begin : begin + columns] = self._before[begin : begin + columns]
        np.testing.assert_array_equal(now, self._before)

    def check_all_but_the_array(self):
        """Assert that nothing outside the array has been written."""
        self.check(*self.array.shape)


class Panels:
    """A matrix, or one a block, as `fastmlp.kernels.views` stores it, in the middle of guard zones.

    values : (rows, columns) or (blocks, rows, columns)
    gap : rows of guard between the panels, or panels between the rows where these are apart
    shift : moves it by single numbers
    fill : what pads the columns to whole panels
    in_rows : whether the panels lie within the rows

    What lies between rows, panels and blocks is guarded as well.
    """

    def __init__(self, values, gap=0, shift=0, fill=0, in_rows=False):
        values = np.asarray(values)
        self.shape = values.shape
        blocks = values.reshape(-1, *values.shape[-2:]) if values.size else values[None]
        n, self.rows, self.columns = blocks.shape[-3:]
        self.panels = -(-self.columns // PANEL)
        if in_rows:
            self.panel, self.row = PANEL, (self.panels + gap) * PANEL
            self.block = self.rows * self.row
        else:
            self.panel, self.row = (self.rows + gap) * PANEL, PANEL
            self.block = self.panels * self.panel
        size = values.dtype.itemsize
        start = MARGIN + shift
        self.memory = untouched(n * self.block + 2 * MARGIN + shift, values.dtype)
        self.address = self.memory.ctypes.data + start * size
        strides = (self.block * size, self.row * size, self.panel * size, size)
        self._shape = (n, self.rows, self.panels, PANEL)
        self._strides = strides
        self._start = start
        padded = np.full((n, self.rows, self.panels * PANEL), fill, values.dtype)
        padded[:, :, : self.columns] = blocks
        self._view(self.memory)[...] = padded.reshape(self._shape)
        self._before = bits(self.memory).copy()

    def _view(self, memory):
        return np.lib.stride_tricks.as_strided(memory[self._start :], self._shape, self._strides)

    @property
    def padded(self):
        """What is there now, (blocks, rows, padded columns)."""
        view = self._view(self.memory)
        return view.reshape(len(view), self.rows, self.panels * PANEL)

    @property
    def values(self):
        """What is there now, without the padding, in the shape that it was made from."""
        return self.padded[:, :, : self.columns].reshape(self.shape).copy()

    def fields(self, **more):
        """Of the record of the matrix; `advance` is for one whose rows are taken by `first`."""
        return {
            self.memory.dtype.name: self.address, "panel": self.panel, "row": self.row,
            "panels": self.panels, "rows": self.rows, "columns": PANEL, "block": self.block, **more,
        }  # fmt: skip

    def check(self, rows=slice(0), columns=slice(None), block=slice(None)):
        """Assert that nothing but these rows and columns (slices) of a block has been written."""
        now = bits(self.memory).copy()
        shape = self._shape[0], self.rows, self.panels * PANEL
        written = np.zeros(shape, bool)
        written[block, rows, columns] = True
        view, before = self._view(now), self._view(self._before)
        view[...] = np.where(written.reshape(self._shape), before, view)
        np.testing.assert_array_equal(now, self._before)


def check_unchanged(*guarded):
    """Assert that nothing has been written to any of them."""
    for one in guarded:
        one.check()


#: Memory that cannot be read needs mprotect, and the test that runs into it a process of its own.
CAN_FENCE = sys.platform.startswith("linux")


def fenced(size):
    """`size` bytes that end where no memory can be read, and as many that begin after such."""
    page = mmap.PAGESIZE
    pages = -(-size // page)
    room = mmap.mmap(-1, (pages + 2) * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(room))
    for fence in (start, start + (pages + 1) * page):
        if ctypes.CDLL(None).mprotect(ctypes.c_void_p(fence), page, 0) != 0:
            raise OSError("mprotect failed")
    inside = np.frombuffer(room, np.uint8)[page : (pages + 1) * page]
    return inside[-size:], inside[:size]


def survives(function):
    """Whether a forked process lives through function(); what it compiles is compiled before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside other threads
        child = os.fork()
    if child == 0:
        status = 1
        try:
            faulthandler.disable()
            signal.alarm(60)  # one that hangs dies
            function()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] == 0


class GuardedMemory:
    """NumPy for a module under test: what it allocates with `zeros` and `empty` is guarded."""

    def __init__(self):
        self._zones = []

    def __getattr__(self, name):
        return getattr(np, name)

    def zeros(self, shape, dtype=np.float64):
        """Zeros that begin on a cache line, between guard zones."""
        dtype = np.dtype(dtype)
        size, margin = int(np.prod(shape)) * dtype.itemsize, 8 * MARGIN
        room = np.empty(size + 2 * margin + 128, np.uint8)
        start = -room.ctypes.data % 64 + margin
        kind = dtype if dtype.kind == "f" else np.dtype(np.int64)
        before, after = room[start - margin : start], room[start + size : start + size + margin]
        for zone in (before, after):
            zone[...] = np.resize(untouched(1, kind).view(np.uint8), margin)
            self._zones.append((zone, zone.copy()))
        body = room[start : start + size].view(dtype).reshape(shape)
        body[...] = 0
        return body

    empty = zeros

    def check(self):
        """Assert that no guard zone has been written to."""
        assert self._zones
        for zone, before in self._zones:
            np.testing.assert_array_equal(zone, before)

    def protect(self, *modules):
        """A context in which these modules allocate here."""
        stack = contextlib.ExitStack()
        for module in modules:
            stack.enter_context(mock.patch.object(module, "np", self))
            if hasattr(module, "aligned_zeros"):
                stack.enter_context(mock.patch.object(module, "aligned_zeros", self.zeros))
        return stack
