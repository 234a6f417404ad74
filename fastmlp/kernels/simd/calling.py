"""How an intrinsic over views calls the function that does its work."""

from functools import partial

from llvmlite import ir
from numba.np.arrayobj import make_array

from fastmlp.kernels.simd.vector import I64, emit_function, lanes


def call_function(builder, what, real, emit, args, result=None):
    """Call the function that emit(real, builder, *args) writes, once a module."""
    function = emit_function(
        builder,
        f"fastmlp_{what}_f{real.bitwidth}x{lanes(real)}",
        ir.VoidType() if result is None else result,
        [arg.type for arg in args],
        partial(emit, real),
    )
    return builder.call(function, args)


def opened(context, builder, kinds, values):
    """Structs of the arrays that some values are."""
    return [
        make_array(kind)(context, builder, value) for kind, value in zip(kinds, values, strict=True)
    ]


def distance(builder, view, axis, real):
    """Distance of neighbours along an axis, in numbers."""
    return builder.sdiv(builder.extract_value(view.strides, axis), I64(real.bitwidth // 8))
