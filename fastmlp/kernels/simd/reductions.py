"""Sums over rows and columns: what goes with the products of a step.

All take views (see `kernels.views`). Sums have an order of their own, which depends on sizes alone.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastmlp.kernels.simd.calling import call_function, distance, opened
from fastmlp.kernels.simd.vector import I64, PANEL, Loop, Vector, first_lanes, lanes, llvm_real

_PANEL = I64(PANEL)


def _vector_place(b, vector, panel, real, columns=_PANEL):
    """Place of a vector of a row, counted from its first number; columns : of a panel."""
    column = b.mul(vector, I64(lanes(real)))
    inside = b.urem(column, columns)
    return b.add(b.mul(b.udiv(column, columns), panel), inside)


def _emit_square(real, b, row, panel, columns, vectors):
    zero = Vector.constant(b, 0.0, real)

    def step(vector, accumulated):
        x = Vector.load(b, b.gep(row, [_vector_place(b, vector, panel, real, columns)]), real)
        return x.times_plus(x, zero.like(accumulated)).value

    # Four sums side by side hide the latency of the FMA.
    quads = b.sdiv(vectors, I64(4))
    with Loop(b, quads, [zero.value] * 4) as r:
        first = b.mul(r.index, I64(4))
        r.next = [step(b.add(first, I64(j)), x) for j, x in enumerate(r.values)]
    s = [zero.like(x) for x in r.values]
    four = (s[0] + s[1]) + (s[2] + s[3])
    done = b.mul(quads, I64(4))
    with Loop(b, b.sub(vectors, done), [four.value]) as r:
        r.next = [step(b.add(done, r.index), r.values[0])]
    return zero.like(r.values[0]).sum()


@intrinsic
def square_of_row(typingctx, a, row):
    """‖a[:, row]‖² of (panels, rows, columns of a panel), as float64."""
    real = a.dtype

    def codegen(context, builder, signature, args):
        (view,) = opened(context, builder, [a], args[:1])
        start = builder.mul(args[1], distance(builder, view, 1, real))
        panels, columns = (builder.extract_value(view.shape, axis) for axis in (0, 2))
        vectors = builder.sdiv(builder.mul(panels, columns), I64(lanes(real)))
        panel = distance(builder, view, 0, real)
        values = [builder.gep(view.data, [start]), panel, columns, vectors]
        total = call_function(builder, "square", real, _emit_square, values, llvm_real(real))
        return total if real.bitwidth == 64 else builder.fpext(total, ir.DoubleType())

    return types.float64(a, types.int64), codegen


#: Rows that share each vector of the weights, and hide each other's latency.
_ROWS_TOGETHER = 8


def _emit_row_dots(real, b, out, out_step, a, a_panel, a_row, rows, w, w_panel, columns, shift):
    zero = Vector.constant(b, 0.0, real)
    whole = b.sdiv(columns, I64(lanes(real)))
    tail = b.srem(columns, I64(lanes(real)))
    inside = first_lanes(b, tail, real)

    def dots(first, n):
        starts = [b.gep(a, [b.mul(b.add(first, I64(i)), a_row)]) for i in range(n)]

        def add_vector(number, sums, mask=None):
            there = _vector_place(b, number, a_panel, real)
            factor = Vector.load(b, b.gep(w, [_vector_place(b, number, w_panel, real)]), real)
            vectors = [Vector.load(b, b.gep(start, [there]), real) for start in starts]
            if mask is not None:
                vectors = [x.where(mask, zero) for x in vectors]
            return [
                factor.times_plus(x, zero.like(total)).value
                for x, total in zip(vectors, sums, strict=True)
            ]

        with Loop(b, whole, [zero.value] * n) as step:
            step.next = add_vector(step.index, step.values)
        with Loop(b, b.zext(b.icmp_signed(">", tail, I64(0)), I64), step.values) as last:
            last.next = add_vector(whole, last.values, inside)
        for i, x in enumerate(last.values):
            total = b.fadd(zero.like(x).sum(), shift)
            to = b.gep(out, [b.mul(b.add(first, I64(i)), out_step)])
            b.store(total, to, align=real.bitwidth // 8)

    groups = b.sdiv(rows, I64(_ROWS_TOGETHER))
    done = b.mul(groups, I64(_ROWS_TOGETHER))
    with Loop(b, groups) as group:
        dots(b.mul(group.index, I64(_ROWS_TOGETHER)), _ROWS_TOGETHER)
    with Loop(b, b.sub(rows, done)) as rest:
        dots(b.add(done, rest.index), 1)


@intrinsic
def row_dots(typingctx, out, a, w, columns, shift):
    """out[r] = shift + Σ a[r, k] w[k]: a layer of one output (N1).

    Parameters
    ----------
    out : (rows,)
        Written; its numbers may lie apart.
    a : (panels, rows, PANEL)
        Its rows may lie apart. What its padding holds does not matter: where an activation is
        infinite, it is NaN.
    w : (panels, 1, PANEL)
        Padded with zeros.
    columns : int64
        Length of the sums.
    shift : number
        Start of each sum.
    """
    real = a.dtype

    def codegen(context, builder, signature, args):
        to, left, right = opened(context, builder, [out, a, w], args[:3])
        values = [
            to.data, distance(builder, to, 0, real), left.data, distance(builder, left, 0, real),
            distance(builder, left, 1, real), builder.extract_value(left.shape, 1), right.data,
            distance(builder, right, 0, real), args[3], args[4],
        ]  # fmt: skip
        call_function(builder, "row_dots", real, _emit_row_dots, values)
        return context.get_dummy_value()

    return types.void(out, a, w, types.int64, real), codegen


#: Sums side by side, of every fourth row, hide the latency of the FMA.
_SUMS_TOGETHER = 4


def _emit_panel_sum(real, b, c, start, weights, weight_step, a, a_row, length, jump, rows):
    """One panel: c = start + Σ weights[r] a[r]; rows lie in stretches of `length`, `jump` apart.

    length is a multiple of `_SUMS_TOGETHER`, but for the last stretch.
    """
    zero = Vector.constant(b, 0.0, real)
    n = PANEL // lanes(real)

    def add_row(row, at, sums):
        place = b.gep(weights, [b.mul(row, weight_step)])
        factor = Vector.broadcast(b, b.load(place, align=real.bitwidth // 8), real)
        return [
            factor.times_plus(
                Vector.load(b, b.gep(at, [I64(j * lanes(real))]), real), zero.like(x)
            ).value
            for j, x in enumerate(sums)
        ]

    quads_a_stretch = b.sdiv(length, I64(_SUMS_TOGETHER))
    quads = b.sdiv(rows, I64(_SUMS_TOGETHER))
    stretches = b.udiv(b.sub(b.add(rows, length), I64(1)), length)
    with Loop(b, stretches, [zero.value] * (n * _SUMS_TOGETHER)) as stretch:
        begun = b.mul(stretch.index, quads_a_stretch)
        left = b.sub(quads, begun)
        here = b.select(b.icmp_signed("<", left, quads_a_stretch), left, quads_a_stretch)
        base = b.gep(a, [b.mul(stretch.index, jump)])
        with Loop(b, here, stretch.values) as quad:
            row = b.mul(quad.index, I64(_SUMS_TOGETHER))
            first = b.add(b.mul(begun, I64(_SUMS_TOGETHER)), row)
            quad.next = []
            for p in range(_SUMS_TOGETHER):
                at = b.gep(base, [b.mul(b.add(row, I64(p)), a_row)])
                sums = quad.values[p * n : (p + 1) * n]
                quad.next += add_row(b.add(first, I64(p)), at, sums)
        stretch.next = quad.values
    s = [[zero.like(x) for x in stretch.values[p * n : (p + 1) * n]] for p in range(_SUMS_TOGETHER)]
    total = [((s[0][j] + s[1][j]) + (s[2][j] + s[3][j])).value for j in range(n)]
    done = b.mul(quads, I64(_SUMS_TOGETHER))
    with Loop(b, b.sub(rows, done), total) as rest:
        row = b.add(done, rest.index)
        base = b.gep(a, [b.mul(b.udiv(row, length), jump)])
        at = b.gep(base, [b.mul(b.urem(row, length), a_row)])
        rest.next = add_row(row, at, rest.values)
    for j, x in enumerate(rest.values):
        shift = I64(j * lanes(real))
        (Vector.load(b, b.gep(start, [shift]), real) + zero.like(x)).store(b.gep(c, [shift]))


@intrinsic
def weighted_row_sum(typingctx, c, weights, a, start, jump, rows):
    """c = start + Σ weights[r] a[r, :] over rows: a gradient's bias, and the last layer's (N9).

    Parameters
    ----------
    c, start : (panels, 1, PANEL)
        Result (written) and what is added to it.
    weights : (rows,) or (1,)
        Weights of the rows; a single one is for all. They may lie apart.
    a : (panels, length, PANEL)
        The first stretch of rows, which may lie apart; its length is a multiple of 4 unless it is
        the only one.
    jump, rows : int64
        Distance of stretches in numbers, and rows of all of them.
    """
    real = a.dtype

    def codegen(context, builder, signature, args):
        to, factors, rows_, origin = opened(
            context, builder, [c, weights, a, start], [args[0], args[1], args[2], args[3]]
        )
        alone = builder.icmp_signed("==", builder.extract_value(factors.shape, 0), I64(1))
        step = builder.select(alone, I64(0), distance(builder, factors, 0, real))
        length = builder.extract_value(rows_.shape, 1)
        # A stretch without rows: stretches are counted by division.
        length = builder.select(builder.icmp_signed(">", length, I64(0)), length, I64(1))
        with Loop(builder, builder.extract_value(rows_.shape, 0)) as panel:

            def at(view):
                shift = builder.mul(panel.index, distance(builder, view, 0, real))
                return builder.gep(view.data, [shift])

            values = [
                at(to), at(origin), factors.data, step, at(rows_),
                distance(builder, rows_, 1, real), length, args[4], args[5],
            ]  # fmt: skip
            call_function(builder, "panel_sum", real, _emit_panel_sum, values)
        return context.get_dummy_value()

    return types.void(c, weights, a, start, types.int64, types.int64), codegen
