"""Rows of X into the input buffer, in the order of the epoch, converted on the way (a⁽⁰⁾ = x).

Targets, weights of rows and other numbers take the same way: they are rows of one column.

X is read where it lies, whatever its numeric type and strides, so it is never copied as a whole.
"""

from functools import partial

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastmlp.kernels.jit import phase
from fastmlp.kernels.simd import call_either
from fastmlp.kernels.vectors import I64, VECTOR_BYTES, Loop, emit_function, lanes, llvm_real

#: Types of X that are read in place; a position in this list is the type's code.
SOURCE_TYPES = ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")
FLOAT32, FLOAT64, BOOL = (SOURCE_TYPES.index(name) for name in ("f4", "f8", "b1"))
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


def _emit_gather(
    kind, real, b, x, x_row, x_column, order, first, rows, columns, target, target_row
):
    """Write the function that gathers from one source type into one type of buffer."""
    itemsize = int(kind[1])
    width, number, source = lanes(real), llvm_real(real), _llvm_source(kind)
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
    own_number = b.alloca(I64)
    with Loop(b, rows) as row:
        position = b.add(first, row.index)
        b.store(position, own_number)
        listed = b.inttoptr(b.add(order, b.mul(position, I64(8))), I64.as_pointer())
        source_row = b.load(b.select(ordered, listed, own_number))
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


def _emit_choice(b, code, *args):
    """Write the function that calls the one of the source type `code`."""
    *places, size = args
    end = b.append_basic_block("end")
    choice = b.switch(code, end)
    for number, kind in enumerate(SOURCE_TYPES):
        block = b.append_basic_block(kind)
        choice.add_case(I64(number), block)
        b.position_at_end(block)
        kind = "u1" if kind == "b1" else kind  # a bool is a byte of 0 or 1
        call_either(b, size, f"gather_{kind}", [I64] * 9, partial(_emit_gather, kind), places)
        b.branch(end)
    b.position_at_end(end)


@intrinsic
def gather(
    typingctx, code, x, x_row, x_column, order, first, rows, columns, target, target_row, size
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
    first, rows, columns : int64
        Where in the order to begin, and how much to gather.
    target, target_row : int64
        Address of the buffer (written; padding is left alone) and distance of its rows in elements.
    size : int64
        Bytes of one number of the buffer.
    """

    def codegen(context, builder, signature, args):
        name = f"fastmlp_gather_x{VECTOR_BYTES}"
        function = emit_function(builder, name, ir.VoidType(), [I64] * 11, _emit_choice)
        builder.call(function, args)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 11), codegen


@phase
def copy_numbers(source, target, count, size):
    """target[k] = source[k] for k < count; addresses of numbers of one type."""
    code = FLOAT32 if size == 4 else FLOAT64
    gather(code, source, 0, size, 0, 0, 1, count, target, 0, size)
