"""Panels row by row and block by block: outer product, multiples of rows, transpose, interleave.

All take views (see `kernels.views`). Rows of members lie as members take turns: row i of a table is
the rows i n … i n + n − 1 of n members.
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


def _emit_spread(real, b, a, e, r, rows, members):
    with Loop(b, rows) as row:
        at_e = b.gep(e, [b.mul(row.index, I64(PANEL))])
        values = _panel_row(b, at_e, real)
        with Loop(b, members) as m:
            at = b.add(b.mul(row.index, members), m.index)
            to = b.gep(a, [b.mul(at, I64(PANEL))])
            factors = _panel_row(b, b.gep(r, [b.mul(m.index, I64(PANEL))]), real)
            _store_panel_row([x * y for x, y in zip(values, factors, strict=True)], b, to, real)


def _emit_gather(real, b, e, delta, r, dr, rows, members):
    zero = Vector.constant(b, 0.0, real)
    with Loop(b, rows) as row:
        at_e = b.gep(e, [b.mul(row.index, I64(PANEL))])
        values = _panel_row(b, at_e, real)
        with Loop(b, members, [zero.value] * len(values)) as m:
            at = b.add(b.mul(row.index, members), m.index)
            errors = _panel_row(b, b.gep(delta, [b.mul(at, I64(PANEL))]), real)
            of_member = b.mul(m.index, I64(PANEL))
            factors = _panel_row(b, b.gep(r, [of_member]), real)
            to = b.gep(dr, [of_member])
            sums = _panel_row(b, to, real)
            sums = [
                x.times_plus(y, total)
                for x, y, total in zip(values, errors, sums, strict=True)
            ]  # fmt: skip
            _store_panel_row(sums, b, to, real)
            m.next = [
                x.times_plus(y, zero.like(total)).value
                for x, y, total in zip(factors, errors, m.values, strict=True)
            ]
        _store_panel_row([zero.like(x) for x in m.values], b, at_e, real)


def _panel_row(b, at, real):
    """The vectors of a row of a panel."""
    places = range(0, PANEL, lanes(real))
    return [Vector.load(b, b.gep(at, [I64(j)]), real) for j in places]


def _store_panel_row(vectors, b, at, real):
    for k, vector in enumerate(vectors):
        vector.store(b.gep(at, [I64(k * lanes(real))]))


def _by_panel(name, emit, writes):
    """An intrinsic over views of one number of panels, which works panel by panel.

    emit(real, builder, *places, rows, members) : of a panel; writes : how many rows it has
    """

    def code(kinds, real):
        def codegen(context, builder, signature, args):
            views = opened(context, builder, kinds, args[: len(kinds)])
            rows = builder.extract_value(views[writes].shape, 1)
            with Loop(builder, builder.extract_value(views[0].shape, 0)) as panel:
                places = [
                    builder.gep(
                        view.data, [builder.mul(panel.index, distance(builder, view, 0, real))]
                    )
                    for view in views
                ]
                call_function(builder, name, real, emit, [*places, rows, args[-1]])
            return context.get_dummy_value()

        return codegen

    return code


_SPREAD, _GATHER = _by_panel("spread", _emit_spread, 1), _by_panel("gather", _emit_gather, 0)


@intrinsic
def spread_to_members(typingctx, a, e, r, members):
    """a[i n + m] = e[i] ⊙ r[m] for n members.

    Parameters
    ----------
    a : (panels, rows · members, PANEL)
        Written.
    e : (panels, rows, PANEL)
    r : (panels, members, PANEL)
    members : int64
    """
    return types.void(a, e, r, types.int64), _SPREAD([a, e, r], a.dtype)


@intrinsic
def gather_from_members(typingctx, e, delta, r, dr, members):
    """dr[m] += Σ e[i] ⊙ delta[i n + m], and then e[i] = Σ r[m] ⊙ delta[i n + m], for n members.

    Parameters
    ----------
    e : (panels, rows, PANEL)
        Read, and written.
    delta : (panels, rows · members, PANEL)
    r, dr : (panels, members, PANEL)
        dr is written.
    members : int64
    """
    return types.void(e, delta, r, dr, types.int64), _GATHER([e, delta, r, dr], e.dtype)
