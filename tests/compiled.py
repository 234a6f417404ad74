"""What calls compiled code: pieces by their address, and small callers of what has none."""

import ctypes
from functools import lru_cache

import numba
import numpy as np
from numba import types
from numba.core.caching import NullCache

from fastmlp.kernels import loss
from fastmlp.kernels.piece import Piece, kind_of_numbers
from fastmlp.kernels.simd.elementwise import elementwise
from fastmlp.kernels.views import matrix
from fastmlp.runtime.numba_internals import c_function
from fastmlp.runtime.records import listed, numbers

_SIGNATURE = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 5)


class Caller(Piece):
    """A piece of the tests' own: not kept on disk, where it would outlive a change of the tests."""

    def address(self, record):
        if record not in self._compiled:
            if self._links:
                self._links[kind_of_numbers(record)].link()
            signature = types.void(numba.from_dtype(record), *[types.int64] * 4)
            flags = {"error_model": "numpy"}
            self._compiled[record] = c_function(self.function, signature, flags, NullCache())
        return int(self._compiled[record].address)

    def code(self, record):
        """LLVM's code for records of this type."""
        self.address(record)
        return self._compiled[record].inspect_llvm()


def caller(links=None):
    """Make a `Caller` of a function (record, at, first, rows, batch)."""
    return lambda function: Caller(function, links or {})


def _fill(record, values):
    for name, value in values.items():
        if hasattr(value, "fields"):
            _fill(record[name], value.fields())
        elif hasattr(value, "ctypes"):
            record[name][value.dtype.name] = value.ctypes.data
        elif hasattr(value, "address"):
            record[name][value.array.dtype.name] = value.address
        elif isinstance(value, dict):
            _fill(record[name], value)
        else:
            record[name] = value


class Record(np.ndarray):
    """A record that keeps what its fields name."""

    kept = None


def filled(dtype, **values):
    """A record whose fields name matrices, lists of numbers (by their address), or hold numbers."""
    record = np.zeros(1, dtype)
    _fill(record[0], values)
    record = record.view(Record)
    record.kept = values
    return record


def column(guarded, **more):
    """Fields of the record of one number a row."""
    kind = guarded.array.dtype.name
    return {kind: guarded.address, "row": 1, "panels": 1, "columns": 1, **more}


def call(piece, record, at=0, first=0, rows=0, batch=0):
    """Call a piece with a record, whose type says which code that is."""
    _SIGNATURE(piece.address(record.dtype))(record.ctypes.data, at, first, rows, batch)


def address(record):
    """Address of a record."""
    return int(record.ctypes.data)


@lru_cache
def operands(kind):
    """Record of what a caller of an intrinsic may need: matrices, lists, and numbers."""
    return np.dtype(
        [
            *((name, matrix(kind)) for name in ("c", "a", "b", "start", "gate")),
            *((name, numbers(kind)) for name in ("x", "y", "z", "v", "w")),
            *((name, np.int64) for name in ("i", "j", "k", "m", "n")),
            *((name, np.float64) for name in ("s", "t", "result")),
        ]
    )


def of(dtype, **values):
    """Filled `operands` of a type of numbers."""
    return filled(operands(np.dtype(dtype).name), **values)


def in_place(formula):
    """A caller: x ← formula(x) for the first `rows` numbers of x; a formula of one vector.

    The formula's name names its code: it must differ from every other one of its module.
    """
    apply = elementwise(formula, views=1, scalars=0, writes=(0,), ragged=True)

    @caller()
    def apply_in_place(record, at, first, rows, batch):
        apply((listed(record.x, 0, rows),), ())

    return apply_in_place


@caller()
def cross_entropy(record, at, first, rows, batch):
    """x, y, z : logits, targets, weights; v, w : δ and ℒ; s, t : ends of the loss."""
    views = (
        listed(record.x, 0, rows), listed(record.y, 0, rows), listed(record.z, 0, rows),
        listed(record.v, 0, rows), listed(record.w, 0, rows),
    )  # fmt: skip
    loss._cross_entropy(views, (record.s, record.t))


@caller()
def _both_probabilities(record, at, first, rows, batch):
    loss._probabilities((listed(record.x, 0, rows), listed(record.y, 0, rows)), ())


def both_probabilities(z):
    """1 − σ(z) and σ(z) in two columns, as the kernel computes them."""
    p, complement = z.copy(), np.zeros_like(z)
    call(_both_probabilities, of(z.dtype, x=p, y=complement), rows=len(z))
    return np.stack([complement, p], axis=1)
