"""Formulas applied to whole vectors of several views in place."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from fastmlp.kernels.simd.vector import (
    I32,
    I64,
    Loop,
    Vector,
    declare,
    emit_function,
    first_lanes,
    lanes,
    llvm_real,
)


def _masked(b, pointer, mask, real, value=None):
    """Read the masked lanes of the vector at a pointer, or write them; the others are 0."""
    kind = Vector.type(real)
    at = b.bitcast(pointer, kind.as_pointer())
    name = f"v{lanes(real)}f{real.bitwidth}.p0"
    align = I32(real.bitwidth // 8)
    flags = ir.VectorType(ir.IntType(1), lanes(real))
    if value is None:
        arguments = [kind.as_pointer(), I32, flags, kind]
        read = declare(b.module, f"llvm.masked.load.{name}", kind, arguments)
        zero = ir.Constant(kind, [0.0] * lanes(real))
        return Vector(b, b.call(read, [at, align, mask, zero]), real)
    arguments = [kind, kind.as_pointer(), I32, flags]
    write = declare(b.module, f"llvm.masked.store.{name}", ir.VoidType(), arguments)
    b.call(write, [value.value, at, align, mask])
    return None


def elementwise(formula, views, scalars, writes, ragged=False):
    """An intrinsic that applies `formula` to whole vectors of several views in place.

    Parameters
    ----------
    formula : callable
        formula(*vectors, *scalars) -> Vector or tuple of Vectors, in the arithmetic of `Vector`.
        Its module and name name its code.
    views, scalars : int
        How many of each it takes.
    writes : tuple of int
        Which views take its results, in their order.
    ragged : bool
        Whether views may end within a vector; nothing is read or written past their end.

    Returns
    -------
    intrinsic
        f((view, …), (scalar, …)): views of one shape and type, (panels, rows, columns) or
        (numbers,). Scalars are float64, and rounded to that type.
    """
    # The linker takes functions of one name for one: all that the code depends on is in it.
    what = f"{formula.__module__}.{formula.__name__}_{views}_{scalars}"
    what += f"_{'_'.join(map(str, writes))}{'_ragged' * ragged}"

    def emit(real, b, count, *values):
        pointers, constants = (
            values[:views],
            [Vector.broadcast(b, x, real) for x in values[views:]],
        )

        def apply(at, mask=None):
            there = [b.gep(pointer, [at]) for pointer in pointers]
            if mask is None:
                vectors = [Vector.load(b, place, real) for place in there]
            else:
                vectors = [_masked(b, place, mask, real) for place in there]
            results = formula(*vectors, *constants)
            for k, result in zip(
                writes, results if isinstance(results, tuple) else (results,), strict=True
            ):
                if mask is None:
                    result.store(there[k])
                else:
                    _masked(b, there[k], mask, real, result)

        width = I64(lanes(real))
        vectors = b.sdiv(count, width)
        with Loop(b, vectors) as step:
            apply(b.mul(step.index, width))
        if ragged:
            rest = b.srem(count, width)
            with b.if_then(b.icmp_signed(">", rest, I64(0))):
                apply(b.mul(vectors, width), first_lanes(b, rest, real))

    @intrinsic
    def apply(typingctx, arrays, factors):
        kind = arrays[0]
        real = kind.dtype

        def codegen(context, builder, signature, args):
            number = llvm_real(real)
            name = f"fastmlp_{what}_f{real.bitwidth}x{lanes(real)}"
            function = emit_function(
                builder,
                name,
                ir.VoidType(),
                [I64, *[number.as_pointer()] * views, *[number] * scalars],
                lambda body, *values: emit(real, body, *values),
            )
            there = [
                make_array(kind)(context, builder, value)
                for kind, value in zip(
                    arrays, cgutils.unpack_tuple(builder, args[0], views), strict=True
                )
            ]
            constants = cgutils.unpack_tuple(builder, args[1], scalars)
            if real.bitwidth == 32:
                constants = [builder.fptrunc(x, number) for x in constants]
            shape = cgutils.unpack_tuple(builder, there[0].shape, kind.ndim)
            if kind.ndim == 1:
                builder.call(function, [shape[0], *(view.data for view in there), *constants])
                return context.get_dummy_value()
            count = builder.mul(shape[1], shape[2])
            with Loop(builder, shape[0]) as panel:
                places = []
                for view in there:
                    stride = builder.extract_value(view.strides, 0)
                    shift = builder.sdiv(builder.mul(panel.index, stride), I64(real.bitwidth // 8))
                    places.append(builder.gep(view.data, [shift]))
                builder.call(function, [count, *places, *constants])
            return context.get_dummy_value()

        return types.void(arrays, factors), codegen

    return apply
