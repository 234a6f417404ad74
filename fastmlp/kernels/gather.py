"""Rows of X into the input buffer, in the order of the epoch, converted on the way (a⁽⁰⁾ = x).

X is read where it lies, whatever its numeric type and strides, so it is never copied as a whole.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastmlp.kernels.jit import kernel
from fastmlp.kernels.simd import _name
from fastmlp.kernels.vectors import I64, Loop, emit_function, lanes, llvm_real

#: Types of X that are read in place; a position in this list is the type's code.
SOURCE_TYPES = ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")
_CODES = {np.dtype(name): code for code, name in enumerate(SOURCE_TYPES)}


def source_code(dtype: np.dtype) -> int:
    """Code of a type of X; KeyError where kernels cannot read it in place."""
    return _CODES[dtype]


def _llvm_source(kind):
    if kind == "f4":
        return ir.FloatType()
    if kind == "f8":
        return ir.DoubleType()
    return ir.IntType(8 * int(kind[1]))


def _converted(builder, value, kind, target):
    """value (scalar or vector) of a source type as the type `target`."""
    if kind in ("f4", "f8"):
        source_bits, target_bits = 32 if kind == "f4" else 64, 32 if "float" in str(target) else 64
        if source_bits == target_bits:
            return value
        convert = builder.fpext if source_bits < target_bits else builder.fptrunc
        return convert(value, target)
    return (builder.sitofp if kind[0] == "i" else builder.uitofp)(value, target)


def _gather_from(kind):
    """The intrinsic that gathers from one source type."""
    itemsize = int(kind[1])

    @intrinsic
    def gather_rows(
        typingctx, x, x_row, x_column, order, first, rows, columns, target, target_row, like
    ):  # fmt: skip
        real = like
        width, number, source = lanes(real), llvm_real(real), _llvm_source(kind)

        def emit(b, x, x_row, x_column, order, first, rows, columns, target, target_row):
            numbers = b.inttoptr(target, number.as_pointer())

            def copy(address, place, lanes_at_once):
                from_type = ir.VectorType(source, width) if lanes_at_once > 1 else source
                to_type = ir.VectorType(number, width) if lanes_at_once > 1 else number
                value = b.load(b.inttoptr(address, from_type.as_pointer()), align=1)
                value = _converted(b, value, kind, to_type)
                place = b.bitcast(place, to_type.as_pointer())
                b.store(value, place, align=real.bitwidth // 8)

            whole = b.select(
                b.icmp_signed("==", x_column, I64(itemsize)), b.sdiv(columns, I64(width)), I64(0)
            )
            done = b.mul(whole, I64(width))
            overlaps = b.and_(b.icmp_signed(">", whole, I64(0)), b.icmp_signed("<", done, columns))
            ends_within = b.zext(overlaps, I64)
            done = b.select(overlaps, columns, done)
            ordered = b.icmp_signed("!=", order, I64(0))
            with Loop(b, rows) as row:
                position = b.add(first, row.index)
                # Without an order the row itself is read as its number, and then not used.
                source_row = b.load(
                    b.inttoptr(
                        b.select(ordered, b.add(order, b.mul(position, I64(8))), target),
                        I64.as_pointer(),
                    ),
                    align=4,
                )
                source_row = b.select(ordered, source_row, position)
                at = b.add(x, b.mul(source_row, x_row))
                to = b.gep(numbers, [b.mul(row.index, target_row)])

                def copy_vector(shift):
                    copy(b.add(at, b.mul(shift, I64(itemsize))), b.gep(to, [shift]), width)

                with Loop(b, whole) as step:
                    copy_vector(b.mul(step.index, I64(width)))
                # The last vector of a row may overlap the one before.
                with Loop(b, ends_within):
                    copy_vector(b.sub(columns, I64(width)))
                with Loop(b, b.sub(columns, done)) as step:
                    column = b.add(done, step.index)
                    copy(b.add(at, b.mul(column, x_column)), b.gep(to, [column]), 1)

        def codegen(context, builder, signature, args):
            name = _name(f"gather_{kind}", real)
            function = emit_function(builder, name, ir.VoidType(), [I64] * 9, emit)
            builder.call(function, args[:9])
            return context.get_dummy_value()

        return types.void(*[types.int64] * 9, real), codegen

    return gather_rows


_f4, _f8, _i1, _i2, _i4, _i8, _u1, _u2, _u4, _u8 = map(_gather_from, SOURCE_TYPES[:-1])


@kernel
def gather(
    code, x, x_row, x_column, order, first, rows, columns, target, target_row, like
):  # fmt: skip
    """target[r, c] = X[order[first + r], c] for r < rows and c < columns.

    Parameters
    ----------
    code : int64
        Position of X's type in `SOURCE_TYPES`.
    x, x_row, x_column : int64
        Address of X and the distances of its rows and columns in bytes, of either sign.
    order : int64
        Address of row numbers (int64), or 0: the rows first, first + 1, … themselves.
    target, target_row : int64
        Address of the buffer (written; padding is left alone) and distance of its rows in elements.
    like : float32 or float64
        Gives the type of the buffer.
    """
    if code == 0:
        _f4(x, x_row, x_column, order, first, rows, columns, target, target_row, like)
    elif code == 1:
        _f8(x, x_row, x_column, order, first, rows, columns, target, target_row, like)
    elif code == 2:
        _i1(x, x_row, x_column, order, first, rows, columns, target, target_row, like)
    elif code == 3:
        _i2(x, x_row, x_column, order, first, rows, columns, target, target_row, like)
    elif code == 4:
        _i4(x, x_row, x_column, order, first, rows, columns, target, target_row, like)
    elif code == 5:
        _i8(x, x_row, x_column, order, first, rows, columns, target, target_row, like)
    elif code == 6 or code == 10:  # a bool is a byte of 0 or 1
        _u1(x, x_row, x_column, order, first, rows, columns, target, target_row, like)
    elif code == 7:
        _u2(x, x_row, x_column, order, first, rows, columns, target, target_row, like)
    elif code == 8:
        _u4(x, x_row, x_column, order, first, rows, columns, target, target_row, like)
    elif code == 9:
        _u8(x, x_row, x_column, order, first, rows, columns, target, target_row, like)
