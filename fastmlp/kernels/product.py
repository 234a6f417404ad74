"""The matrix product of a training step: two compiled functions a dtype for its three uses.

    forward      a = max(floor, a_in W + b)     A by rows, starts at the bias, relu as the floor
    δ recursion  delta_in = (delta Wᵀ) ⊙ g′     A by rows, B the transposed copy, g′ as the gate
    gradient     dW = a_inᵀ delta               A by columns

Names are those of `layer`. All matrices are views in panels (see `views`). The functions are
reached by their symbols, so that the pieces which use them stay small: each takes half a second to
compile, and every piece would do it again.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from fastmlp.kernels.piece import Symbol
from fastmlp.kernels.simd.tile import OPERAND_TYPES, PLAIN, emit_product
from fastmlp.kernels.simd.vector import I64, PANEL, declare, lanes
from fastmlp.kernels.views import panels_from, rows_from
from fastmlp.runtime.jit import kernel

_N_ADDRESSES = len(OPERAND_TYPES) - 1


@intrinsic(prefer_literal=True)
def _write_product(typingctx, real, by_columns, operands, floor):
    """Write the product here; real : a number of the type, operands : see `tile.Operands`."""

    def codegen(context, builder, signature, args):
        addresses = cgutils.unpack_tuple(builder, args[2], _N_ADDRESSES)
        emit_product(real, bool(by_columns.literal_value), builder, *addresses, args[3])
        return context.get_dummy_value()

    return types.void(real, by_columns, operands, types.float64), codegen


def _function(kind, by_columns):
    """The product's function for one type of numbers, to be called by address."""
    zero = np.dtype(kind).type(0)
    transposed = int(by_columns)

    def product_function(
        rows, vectors, shared, a, a_panel, b, b_panel, c, c_panel, start, start_row, start_panel,
        gate, ending, floor,
    ):  # fmt: skip
        operands = (
            rows, vectors, shared, a, a_panel, b, b_panel, c, c_panel, start, start_row,
            start_panel, gate, ending,
        )  # fmt: skip
        _write_product(zero, transposed, operands, floor)

    product_function.__qualname__ = _name(kind, by_columns)
    return product_function


def _name(kind, by_columns):
    return f"fastmlp_{'transposed_' * by_columns}product_{kind}"


def _symbols(by_columns):
    signature = types.void(*[types.int64] * _N_ADDRESSES, types.float64)
    return {
        kind: Symbol(_name(kind, by_columns), _function(kind, by_columns), signature)
        for kind in ("float32", "float64")
    }


#: The product's function by type of numbers, for A by rows and for A by columns.
PRODUCT, TRANSPOSED_PRODUCT = _symbols(False), _symbols(True)


@intrinsic(prefer_literal=True)
def _call(typingctx, by_columns, c, a, b, start, gate, numbers, floor):
    """Call the product's function.

    by_columns : 1 takes A by columns, else 0; numbers : columns of C, length of the shared
    dimension, ending; the rest as in `product`.
    """
    real = c.dtype
    name = _name(real.name, bool(by_columns.literal_value))

    def codegen(context, builder, signature, args):
        def opened(position, kind):
            return make_array(kind)(context, builder, args[position])

        def panel(array):
            stride = builder.extract_value(array.strides, 0)
            return builder.sdiv(stride, I64(real.bitwidth // 8))

        def address(array):
            return builder.ptrtoint(array.data, I64)

        to, left, right, origin = (
            opened(k, kind) for k, kind in ((1, c), (2, a), (3, b), (4, start))
        )
        columns, shared, ending = cgutils.unpack_tuple(builder, args[6], 3)
        width = lanes(real)
        vectors = builder.sdiv(builder.add(columns, I64(width - 1)), I64(width))
        # A row of one number to start from is one row for all.
        one_row = builder.icmp_signed("==", builder.extract_value(origin.shape, 1), I64(1))
        values = [
            builder.extract_value(to.shape, 1), vectors, shared, address(left), panel(left),
            address(right), panel(right), address(to), panel(to), address(origin),
            builder.select(one_row, I64(0), I64(PANEL)), panel(origin), address(opened(5, gate)),
            ending, args[7],
        ]  # fmt: skip
        builder.call(declare(builder.module, name, ir.VoidType(), OPERAND_TYPES), values)
        return context.get_dummy_value()

    return types.void(
        by_columns, c, a, b, start, gate, types.UniTuple(types.int64, 3), types.float64
    ), codegen


@kernel
def product(c, a, b, start, shape, floor):
    """C = max(floor, start + A·B): a layer's forward pass (N1).

    Parameters
    ----------
    c : (panels, rows, PANEL)
        Written, in whole vectors.
    a : (panels, rows, PANEL)
        As many rows.
    b : (panels, shared, PANEL)
        Padded to whole vectors, as are c and start.
    start : (panels, rows or 1, PANEL)
        What the sums start from; one row serves all.
    shape : (columns, shared)
        Columns of C, and columns of A, which are the rows of B.
    floor : float64
        Lower bound of C: 0 is relu, −∞ none.
    """
    _call(0, c, a, b, start, c, (shape[0], shape[1], PLAIN), floor)


@kernel
def product_with_gate(c, a, b, start, shape, gate, ending):
    """C = start + A·B, then left so, 0 where the gate is 0, or times the gate: δ recursion (N8).

    gate : laid out as C, and may be C; ending : PLAIN (the gate is not read), GATED or TIMES, see
    `tile`; the rest as `product`.
    """
    _call(0, c, a, b, start, gate, (shape[0], shape[1], ending), -np.inf)


@kernel
def add_transposed_product(c, a, b, start, columns):
    """C = start + AᵀB: a gradient (N9).

    Parameters
    ----------
    c : (panels, rows, PANEL)
        Written; its rows are the columns of A.
    a, b : (panels, shared, PANEL)
        Sums run over their rows in order. A has a panel for each `PANEL` rows of C, or more.
    start : (panels, rows or 1, PANEL)
        As C, or of one row, which serves all; C itself adds to what is there.
    columns : int64
        Of B and C.
    """
    for panel in range((c.shape[1] + PANEL - 1) // PANEL):
        low = panel * PANEL
        rows = min(PANEL, c.shape[1] - low)
        origin = rows_from(start, low, rows) if start.shape[1] > 1 else start
        _call(
            1, rows_from(c, low, rows), panels_from(a, panel, 1), b, origin, c,
            (columns, b.shape[1], PLAIN), -np.inf,
        )  # fmt: skip
