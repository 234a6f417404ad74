"""Rows of X into the input buffer, in the order of the epoch, converted on the way (a⁽⁰⁾ = x).

X is read where it lies, whatever its numeric type and strides, so it is never copied as a whole.
"""

from functools import lru_cache, partial

import numpy as np
from llvmlite import ir
from numba import from_dtype, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from fastmlp.kernels.epoch import epoch_at, row_number
from fastmlp.kernels.piece import piece
from fastmlp.kernels.simd.vector import (
    I64,
    PANEL,
    Loop,
    emit_function,
    lanes,
    llvm_real,
    prefetch,
)
from fastmlp.kernels.views import matrix, part
from fastmlp.runtime.cpu import CACHE_LINE

#: Types of X that are read in place.
SOURCES = tuple(
    np.dtype(name) for name in ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")
)

#: Rows that are prefetched ahead of the one that is copied, and most cache lines of each of them;
#: a longer row is a stream that the CPU sees by itself. In the order of an epoch, rows of a large X
#: are waited for one by one: 28 columns of float32 in 450 MB take 47 ns a row, and 25 with this (13
#: where X is in a cache, with and without), an epoch of one layer of 16 units 0.87 of its time, of
#: 100 units 0.97 to 1.01. Sixteen rows ahead are as good, 32 are not; 200 columns gain nothing.
_AHEAD, _LINES = 8, 4


@lru_cache
def rows_record(source, kind):
    """Record of a dense X of one of `SOURCES`, and of the buffer of `kind` its rows go to.

    Fields
    ------
    x : address of X, and the distances of its rows and columns in bytes, of either sign
    n_features : columns of X
    a : a⁽⁰⁾, the buffer; written
    epoch : address of the `EPOCH`
    """
    x = np.dtype([(np.dtype(source).name, np.int64), ("row", np.int64), ("column", np.int64)])
    return np.dtype([("x", x), ("n_features", np.int64), ("a", matrix(kind)), ("epoch", np.int64)])


def _llvm_source(kind):
    if isinstance(kind, types.Float):
        return llvm_real(kind)
    return ir.IntType(8 if kind == types.boolean else kind.bitwidth)


def _converted(b, value, kind, real, target):
    """A value (scalar or vector) of a source type as the type `target`."""
    if isinstance(kind, types.Float):
        if kind.bitwidth == real.bitwidth:
            return value
        return (b.fpext if kind.bitwidth < real.bitwidth else b.fptrunc)(value, target)
    signed = isinstance(kind, types.Integer) and kind.signed
    return (b.sitofp if signed else b.uitofp)(value, target)


def _emit(kind, real, b, source, x_column, n_columns, target, panel):
    """One row: source (address) into the buffer at `target`, panel by panel."""
    source_type, number = _llvm_source(kind), llvm_real(real)
    itemsize = source_type.width // 8 if isinstance(source_type, ir.IntType) else kind.bitwidth // 8

    def copy(column, place, width):
        wide = width > 1
        from_type = ir.VectorType(source_type, width) if wide else source_type
        to_type = ir.VectorType(number, width) if wide else number
        at = b.add(source, b.mul(column, x_column))
        value = b.load(b.inttoptr(at, from_type.as_pointer()), align=1)
        value = _converted(b, value, kind, real, to_type)
        b.store(value, b.bitcast(place, to_type.as_pointer()), align=real.bitwidth // 8)

    beside = b.icmp_signed("==", x_column, I64(itemsize))
    with b.if_else(beside) as (vectors, numbers):
        with vectors:
            whole = b.sdiv(n_columns, I64(PANEL))
            with Loop(b, whole) as full:
                column = b.mul(full.index, I64(PANEL))
                to = b.gep(target, [b.mul(full.index, panel)])
                for j in range(0, PANEL, lanes(real)):
                    copy(b.add(column, I64(j)), b.gep(to, [I64(j)]), lanes(real))
            done = b.mul(whole, I64(PANEL))
            rest = b.sub(n_columns, done)
            to = b.gep(target, [b.mul(whole, panel)])
            # The columns of the last panel by halves: 8, 4, 2, 1.
            width = PANEL // 2
            while width:
                at = b.and_(rest, I64(-2 * width))
                with b.if_then(b.icmp_signed("!=", b.and_(rest, I64(width)), I64(0))):
                    for j in range(0, width, min(width, lanes(real))):
                        column = b.add(at, I64(j))
                        copy(b.add(done, column), b.gep(to, [column]), min(width, lanes(real)))
                width //= 2
        with numbers, Loop(b, n_columns) as step:
            shift = b.mul(b.udiv(step.index, I64(PANEL)), panel)
            shift = b.add(shift, b.urem(step.index, I64(PANEL)))
            copy(step.index, b.gep(target, [shift]), 1)


def _fields(b, record):
    """Address of X, and the distances of its rows and columns, from a pointer to its record."""
    place = b.bitcast(record, I64.as_pointer())
    return [b.load(b.gep(place, [I64(k)]), align=8) for k in range(3)]


@intrinsic
def _take_row(typingctx, x, row, columns, a, r):
    """a[:, r] = X[row]; x : record with address and distances of X."""
    source = from_dtype(np.dtype(next(iter(dict(x.members)))))
    real = a.dtype

    def codegen(context, builder, signature, args):
        address, x_row, x_column = _fields(builder, args[0])
        view = make_array(a)(context, builder, args[3])
        panel = builder.sdiv(builder.extract_value(view.strides, 0), I64(real.bitwidth // 8))
        values = [
            builder.add(address, builder.mul(args[1], x_row)), x_column, args[2],
            builder.gep(view.data, [builder.mul(args[4], I64(PANEL))]), panel,
        ]  # fmt: skip
        function = emit_function(
            builder,
            f"fastmlp_take_{source}_f{real.bitwidth}x{lanes(real)}",
            ir.VoidType(),
            [value.type for value in values],
            partial(_emit, source, real),
        )
        builder.call(function, values)
        return context.get_dummy_value()

    return types.void(x, types.int64, types.int64, a, types.int64), codegen


@intrinsic
def _fetch_row(typingctx, x, row, lines):
    """Prefetch so many cache lines from X[row] on; x : as of `_take_row`."""

    def codegen(context, builder, signature, args):
        address, x_row, _ = _fields(builder, args[0])
        at = builder.add(address, builder.mul(args[1], x_row))
        with Loop(builder, args[2]) as line:
            place = builder.add(at, builder.mul(line.index, I64(CACHE_LINE)))
            prefetch(builder, builder.inttoptr(place, I64.as_pointer()))
        return context.get_dummy_value()

    return types.void(x, types.int64, types.int64), codegen


@piece()
def take_rows(rows_of_x, at, first, rows, batch):
    """a⁽⁰⁾ = X[order[first + r]] for r < rows.

    rows_of_x : `rows_record`.
    """
    epoch = epoch_at(rows_of_x.epoch)
    a = part(rows_of_x.a, at, 0, rows)
    start = batch * epoch.batch_size + first
    # A row may begin anywhere in a line. Below 0, where columns go backwards, none is prefetched.
    lines = min(_LINES, 2 + rows_of_x.n_features * rows_of_x.x.column // CACHE_LINE)
    ahead = min(_AHEAD, rows - 1)
    for r in range(-ahead, rows):
        if r + ahead < rows:
            _fetch_row(rows_of_x.x, row_number(epoch, start + r + ahead), lines)
        if r >= 0:
            _take_row(rows_of_x.x, row_number(epoch, start + r), rows_of_x.n_features, a, r)
