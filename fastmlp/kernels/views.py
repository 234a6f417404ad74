"""What kernels know of memory: records that say where a matrix lies, and views of it.

A matrix is stored in panels of `PANEL` columns, panel after panel, each with its rows one after
another. So what the register tile reads and writes is contiguous, whatever the width of the layer:

    columns   0 … 15     16 … 31           a view of rows first … first + rows − 1:
    row 0    │ ▒▒▒▒▒ │   │ ▒▒▒▒▒ │           shape   (panels, rows, PANEL)
    row 1    │ ▒▒▒▒▒ │   │ ▒▒▒▒▒ │           strides (panel, PANEL, 1) numbers
    …        │  …    │   │  …    │

Views are typed arrays made from an address: they own nothing, and the caller answers for sizes.
"""

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from fastmlp.runtime.records import I64, field, kind_of, view


def matrix(kind):
    """Record of a matrix of numbers of type `kind` ("float32", "float64").

    Fields
    ------
    kind : address of the first number
    panel, row : distance of panels, and of rows, in numbers
    panels, rows, columns : how many panels there are, rows, and columns of a panel
    block : distance of one block of rows, or one unit's room, from the next
    advance : what one row of `first` moves a view by: `row`, or 0 in a block or room
    """
    names = (kind, "panel", "row", "panels", "rows", "columns", "block", "advance")
    return np.dtype([(name, np.int64) for name in names])


@intrinsic
def part(typingctx, record, at, first, rows):
    """`rows` rows of a matrix from `first` on in block or room `at`: (panels, rows, columns)."""
    number = kind_of(record)
    kind = types.Array(number, 3, "A")

    def codegen(context, builder, signature, args):
        source, at, first, rows = args
        fields = {
            name: field(context, builder, source, record, name)
            for name in ("panel", "row", "panels", "columns", "block", "advance", number.name)
        }
        shift = builder.add(builder.mul(at, fields["block"]), builder.mul(first, fields["advance"]))
        address = builder.add(fields[number.name], builder.mul(shift, I64(number.bitwidth // 8)))
        return view(
            context, builder, kind, address,
            [fields["panels"], rows, fields["columns"]], [fields["panel"], fields["row"], I64(1)],
        )  # fmt: skip

    return kind(record, types.int64, types.int64, types.int64), codegen


@intrinsic
def column(typingctx, record, at, first, rows):
    """Rows of a matrix of one column: (rows,); arguments as of `part`."""
    number = kind_of(record)
    kind = types.Array(number, 1, "C")

    def codegen(context, builder, signature, args):
        source, at, first, rows = args
        fields = [
            field(context, builder, source, record, name)
            for name in ("block", "advance", number.name)
        ]
        block, advance, address = fields
        shift = builder.add(builder.mul(at, block), builder.mul(first, advance))
        address = builder.add(address, builder.mul(shift, I64(number.bitwidth // 8)))
        return view(context, builder, kind, address, [rows], [I64(1)])

    return kind(record, types.int64, types.int64, types.int64), codegen


@intrinsic
def whole(typingctx, record):
    """All rows of a matrix: (panels, rows, columns)."""
    number = kind_of(record)
    kind = types.Array(number, 3, "A")

    def codegen(context, builder, signature, args):
        panel, row, panels, rows, columns, address = (
            field(context, builder, args[0], record, name)
            for name in ("panel", "row", "panels", "rows", "columns", number.name)
        )
        return view(context, builder, kind, address, [panels, rows, columns], [panel, row, I64(1)])

    return kind(record), codegen


def _cut(context, builder, kind, value, axis, first, length, step=None):
    """A view's rows, panels or numbers along an axis from `first` on, step by step.

    length(n) : how many they are, of n that there are
    """
    source = make_array(kind)(context, builder, value)
    shape = cgutils.unpack_tuple(builder, source.shape, kind.ndim)
    strides = cgutils.unpack_tuple(builder, source.strides, kind.ndim)
    start = builder.mul(first, strides[axis])
    shape[axis] = length(shape[axis])
    if step is not None:
        strides[axis] = builder.mul(strides[axis], step)
    address = builder.add(builder.ptrtoint(source.data, I64), start)
    result = make_array(types.Array(kind.dtype, kind.ndim, "A"))(context, builder)
    populate_array(
        result,
        data=builder.inttoptr(address, source.data.type),
        shape=cgutils.pack_array(builder, shape),
        strides=cgutils.pack_array(builder, strides),
        itemsize=source.itemsize,
        meminfo=None,
    )
    return result._getvalue()


@intrinsic
def every(typingctx, a, first, step):
    """Every step-th row of a view from `first` on: the rows, or numbers, of one member.

    a : (panels, rows, columns) or (rows,), with step as a divisor of its rows
    """
    axis = 1 if a.ndim == 3 else 0

    def codegen(context, builder, signature, args):
        value, first, step = args
        return _cut(context, builder, a, value, axis, first, lambda n: builder.sdiv(n, step), step)

    return types.Array(a.dtype, a.ndim, "A")(a, types.int64, types.int64), codegen


@intrinsic
def rows_from(typingctx, a, first, count):
    """`count` rows of a view of (panels, rows, columns): what a slice would be, unchecked."""

    def codegen(context, builder, signature, args):
        value, first, count = args
        return _cut(context, builder, a, value, 1, first, lambda _: count)

    return types.Array(a.dtype, 3, "A")(a, types.int64, types.int64), codegen


@intrinsic
def panels_from(typingctx, a, first, count):
    """`count` panels of a view of (panels, rows, columns): what a slice would be, unchecked."""

    def codegen(context, builder, signature, args):
        value, first, count = args
        return _cut(context, builder, a, value, 0, first, lambda _: count)

    return types.Array(a.dtype, 3, "A")(a, types.int64, types.int64), codegen
