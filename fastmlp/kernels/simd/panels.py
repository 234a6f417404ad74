"""Panels row by row and block by block: outer product, multiples of rows, transpose, interleave.

All take views (see `kernels.views`).
"""

from numba import types
from numba.extending import intrinsic

from fastmlp.kernels.simd.calling import call_function, distance, opened
from fastmlp.kernels.simd.tile import GATED, TIMES
from fastmlp.kernels.simd.vector import I64, PANEL, Loop, Vector, lanes


def _emit_outer_panel(real, b, c, c_row, weights, weight_step, row, gate, gate_row, rows, ending):
    zero = Vector.constant(b, 0.0, real)
    places = [I64(j * lanes(real)) for j in range(PANEL // lanes(real))]
    factors = [Vector.load(b, b.gep(row, [place]), real) for place in places]

    def each_row(end):
        with Loop(b, rows) as r:
            at = b.gep(weights, [b.mul(r.index, weight_step)])
            weight = Vector.broadcast(b, b.load(at), real)
            to, beside = b.mul(r.index, c_row), b.mul(r.index, gate_row)
            for place, factor in zip(places, factors, strict=True):
                # A sum that starts from 0, as those of the products: −0 becomes 0.
                x = end(weight.times_plus(factor, zero), b.gep(gate, [b.add(beside, place)]))
                x.store(b.gep(c, [b.add(to, place)]))

    def gated(x, place):
        return zero.where(Vector.load(b, place, real).compare("==", 0.0), x)

    with b.if_else(b.icmp_signed("==", ending, I64(GATED))) as (then, other):
        with then:
            each_row(gated)
        with other, b.if_else(b.icmp_signed("==", ending, I64(TIMES))) as (times, plain):
            with times:
                each_row(lambda x, place: x * Vector.load(b, place, real))
            with plain:
                each_row(lambda x, place: x)


@intrinsic
def outer_product(typingctx, c, weights, w, gate, ending):
    """c[r] = weights[r] · w, and then as the ending of a product says: δ from the last layer (N8).

    Parameters
    ----------
    c : (panels, rows, PANEL)
        Written. Its rows may lie apart, and so may those of the gate, and the weights.
    weights : (rows,)
    w : (panels, 1, PANEL)
    gate : (panels, rows, PANEL)
        May be c.
    ending : int64
        PLAIN, GATED or TIMES; see `tile`.
    """
    real = c.dtype

    def codegen(context, builder, signature, args):
        to, factors, row, other = opened(context, builder, [c, weights, w, gate], args[:4])
        with Loop(builder, builder.extract_value(to.shape, 0)) as panel:

            def at(view):
                shift = builder.mul(panel.index, distance(builder, view, 0, real))
                return builder.gep(view.data, [shift])

            rows = builder.extract_value(to.shape, 1)
            values = [
                at(to), distance(builder, to, 1, real), factors.data,
                distance(builder, factors, 0, real), at(row), at(other),
                distance(builder, other, 1, real), rows, args[4],
            ]  # fmt: skip
            call_function(builder, "outer_panel", real, _emit_outer_panel, values)
        return context.get_dummy_value()

    return types.void(c, weights, w, gate, types.int64), codegen


def _emit_add_row(real, b, y, y_panel, x, x_panel, panels, factor):
    multiple = Vector.broadcast(b, factor, real)
    with Loop(b, panels) as panel:
        to = b.gep(y, [b.mul(panel.index, y_panel)])
        source = b.gep(x, [b.mul(panel.index, x_panel)])
        for j in range(0, PANEL, lanes(real)):
            place = b.gep(to, [I64(j)])
            value = Vector.load(b, b.gep(source, [I64(j)]), real)
            value.times_plus(multiple, Vector.load(b, place, real)).store(place)


@intrinsic
def add_multiple_of_row(typingctx, y, row, x, other, factor):
    """y[:, row] += factor · x[:, other]; both (panels, rows, PANEL)."""
    real = y.dtype

    def codegen(context, builder, signature, args):
        to, source = opened(context, builder, [y, x], [args[0], args[2]])
        values = []
        for view, number in ((to, args[1]), (source, args[3])):
            start = builder.mul(number, distance(builder, view, 1, real))
            values += [builder.gep(view.data, [start]), distance(builder, view, 0, real)]
        values += [builder.extract_value(to.shape, 0), args[4]]
        call_function(builder, "add_row", real, _emit_add_row, values)
        return context.get_dummy_value()

    return types.void(y, types.int64, x, types.int64, real), codegen


def _emit_transpose(real, b, source, target):
    """One square block of lanes × lanes numbers, in registers; rows lie `PANEL` apart.

    log₂(lanes) rounds exchange ever larger blocks between pairs of rows.
    """
    width = lanes(real)
    rows = [Vector.load(b, b.gep(source, [I64(i * PANEL)]), real) for i in range(width)]
    stride = 1
    while stride < width:
        for i in range(width):
            if i & stride:
                continue
            upper, lower = rows[i], rows[i + stride]
            own = [k if not k & stride else width + k - stride for k in range(width)]
            other = [k + stride if not k & stride else width + k for k in range(width)]
            rows[i], rows[i + stride] = upper.shuffled(lower, own), upper.shuffled(lower, other)
        stride *= 2
    for i, row in enumerate(rows):
        row.store(b.gep(target, [I64(i * PANEL)]))


@intrinsic
def transpose_panel(typingctx, source, row, panel, target, target_row, target_panel):
    """The PANEL × PANEL numbers of `source` from row on in one panel, transposed into `target`.

    source, target : (panels, rows, PANEL), target written; the numbers begin at target_row in
    target_panel.
    """
    real = source.dtype

    def codegen(context, builder, signature, args):
        view, other = opened(context, builder, [source, target], [args[0], args[3]])

        def place(view, row, panel, i, j):
            start = builder.mul(panel, distance(builder, view, 0, real))
            start = builder.add(start, builder.mul(row, I64(PANEL)))
            return builder.gep(view.data, [builder.add(start, I64(i * PANEL + j))])

        for i in range(0, PANEL, lanes(real)):
            for j in range(0, PANEL, lanes(real)):
                values = [
                    place(view, args[1], args[2], i, j), place(other, args[4], args[5], j, i)
                ]  # fmt: skip
                call_function(builder, "transpose", real, _emit_transpose, values)
        return context.get_dummy_value()

    return types.void(
        source, types.int64, types.int64, target, types.int64, types.int64
    ), codegen  # fmt: skip


def _emit_interleave(real, b, x, y, count, target):
    n = lanes(real)
    low = [k // 2 + n * (k % 2) for k in range(n)]
    high = [n // 2 + k for k in low]
    vectors = b.sdiv(count, I64(n))
    with Loop(b, vectors) as step:
        at = b.mul(step.index, I64(n))
        left = Vector.load(b, b.gep(x, [at]), real)
        right = Vector.load(b, b.gep(y, [at]), real)
        to = b.gep(target, [b.mul(at, I64(2))])
        left.shuffled(right, low).store(to)
        left.shuffled(right, high).store(b.gep(to, [I64(n)]))
    done = b.mul(vectors, I64(n))
    with Loop(b, b.sub(count, done)) as rest:
        at = b.add(done, rest.index)
        for k, source in enumerate((x, y)):
            to = b.gep(target, [b.add(b.mul(at, I64(2)), I64(k))])
            b.store(b.load(b.gep(source, [at])), to)


@intrinsic
def interleave(typingctx, x, y, target):
    """target = x[0], y[0], x[1], y[1], …; all (n,), and target (2n,)."""

    def codegen(context, builder, signature, args):
        left, right, to = opened(context, builder, [x, y, target], args)
        count = builder.extract_value(left.shape, 0)
        values = [left.data, right.data, count, to.data]
        call_function(builder, "interleave", x.dtype, _emit_interleave, values)
        return context.get_dummy_value()

    return types.void(x, y, target), codegen
