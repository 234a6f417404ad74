"""The kernels' SIMD building blocks: elementwise loops, dot product, panel product, transpose.

Each is a Numba intrinsic over raw addresses and counts, so it can be called from any compiled
function; the caller answers for the sizes. An address is a number of bytes, every other distance
is counted in elements.

Arrays hold float32 or float64, which `size`, the bytes of one number (4 or 8), says when the code
runs: so what is compiled once serves both. Scalars are float64, and rounded to the arrays' type.
"""

from functools import partial

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastmlp.kernels.vectors import (
    I64,
    NUMBER,
    TILE_VECTORS,
    Loop,
    Vector,
    either,
    emit_function,
    first_lanes,
    lanes,
    llvm_real,
    rounded,
    widened,
)


def _name(what, real):
    return f"fastmlp_{what}_f{real.bitwidth}x{lanes(real)}"


def _pointer(builder, address, real):
    return builder.inttoptr(address, llvm_real(real).as_pointer())


def _void(context):
    return context.get_dummy_value()


def call_either(builder, size, what, kinds, emit, args, result=None):
    """Call the function that emit(real) writes, for the type of numbers that `size` says.

    kinds : LLVM types of the arguments, with `NUMBER` for a number of that type; such an argument
    comes as a double, and so does a result.
    """

    def call(real):
        number = llvm_real(real)
        returned = ir.VoidType() if result is None else number
        function = emit_function(
            builder,
            _name(what, real),
            returned,
            [number if kind is NUMBER else kind for kind in kinds],
            partial(emit, real),
        )
        values = [
            rounded(builder, value, real) if kind is NUMBER else value
            for value, kind in zip(args, kinds, strict=True)
        ]
        value = builder.call(function, values)
        return None if result is None else widened(builder, value)

    return either(builder, size, call)


@intrinsic
def address_of(typingctx, array):
    """Address of an array's first number, as int64."""

    def codegen(context, builder, signature, args):
        data = context.make_array(array)(context, builder, args[0]).data
        return builder.ptrtoint(data, I64)

    return types.int64(array), codegen


@intrinsic
def load(typingctx, address, size):
    """The number at an address, as float64."""

    def codegen(context, builder, signature, args):
        def read(real):
            pointer = _pointer(builder, args[0], real)
            return widened(builder, builder.load(pointer, align=real.bitwidth // 8))

        return either(builder, args[1], read)

    return types.float64(types.int64, types.int64), codegen


@intrinsic
def store(typingctx, address, number, size):
    """Write a number to an address, rounded to the type there."""

    def codegen(context, builder, signature, args):
        def write(real):
            pointer = _pointer(builder, args[0], real)
            builder.store(rounded(builder, args[1], real), pointer, align=real.bitwidth // 8)

        either(builder, args[2], write)
        return _void(context)

    return types.void(types.int64, types.float64, types.int64), codegen


def elementwise(formula, arrays, scalars, writes):
    """An intrinsic that applies `formula` to whole vectors of several arrays in place.

    Parameters
    ----------
    formula : callable
        formula(*vectors, *scalars) -> Vector or tuple of Vectors, in the arithmetic of `Vector`.
    arrays, scalars : int
        How many of each it takes.
    writes : tuple of int
        Which arrays take its results, in their order.

    Returns
    -------
    intrinsic
        f(count, size, (address, ...), (scalar, ...)): count numbers, a multiple of `BLOCK`.
    """
    what = f"{formula.__module__}.{formula.__name__}"
    places = types.UniTuple(types.int64, arrays)
    numbers = types.UniTuple(types.float64, scalars) if scalars else types.Tuple(())

    def emit(real, b, count, *values):
        vector_lanes = lanes(real)
        pointers = [_pointer(b, address, real) for address in values[:arrays]]
        constants = [Vector.broadcast(b, x, real) for x in values[arrays:]]
        with Loop(b, b.sdiv(count, I64(vector_lanes))) as step:
            at = b.mul(step.index, I64(vector_lanes))
            there = [b.gep(pointer, [at]) for pointer in pointers]
            vectors = [Vector.load(b, place, real) for place in there]
            results = formula(*vectors, *constants)
            results = results if isinstance(results, tuple) else (results,)
            for k, result in zip(writes, results, strict=True):
                result.store(there[k])

    @intrinsic
    def apply(typingctx, count, size, addresses, factors):
        def codegen(context, builder, signature, args):
            values = [args[0]]
            values += [builder.extract_value(args[2], k) for k in range(arrays)]
            values += [builder.extract_value(args[3], k) for k in range(scalars)]
            kinds = [I64] * (1 + arrays) + [NUMBER] * scalars
            call_either(builder, args[1], what, kinds, emit, values)
            return _void(context)

        return types.void(types.int64, types.int64, places, numbers), codegen

    return apply


@intrinsic
def interleave(typingctx, a, b, count, target, size):
    """target = a[0], b[0], a[1], b[1], …; addresses and the length of a and of b."""

    def emit(real, builder, a, b, count, target):
        n = lanes(real)
        a, b, target = (_pointer(builder, address, real) for address in (a, b, target))
        low = [k // 2 + n * (k % 2) for k in range(n)]
        high = [n // 2 + k for k in low]
        vectors = builder.sdiv(count, I64(n))
        with Loop(builder, vectors) as step:
            at = builder.mul(step.index, I64(n))
            x = Vector.load(builder, builder.gep(a, [at]), real)
            y = Vector.load(builder, builder.gep(b, [at]), real)
            to = builder.gep(target, [builder.mul(at, I64(2))])
            x.shuffled(y, low).store(to)
            x.shuffled(y, high).store(builder.gep(to, [I64(n)]))
        done = builder.mul(vectors, I64(n))
        with Loop(builder, builder.sub(count, done)) as rest:
            at = builder.add(done, rest.index)
            for k, source in enumerate((a, b)):
                to = builder.gep(target, [builder.add(builder.mul(at, I64(2)), I64(k))])
                builder.store(builder.load(builder.gep(source, [at])), to)

    def codegen(context, builder, signature, args):
        call_either(builder, args[4], "interleave", [I64] * 4, emit, args[:4])
        return _void(context)

    return types.void(*[types.int64] * 5), codegen


@intrinsic
def dot(typingctx, a, b, vectors, size):
    """Σ a[k] b[k] over whole vectors (int64 addresses and count), as float64."""

    def emit(real, builder, a, b, vectors):
        a, b = _pointer(builder, a, real), _pointer(builder, b, real)
        zero = Vector.constant(builder, 0.0, real)

        def step(at, accumulated):
            x = Vector.load(builder, builder.gep(a, [at]), real)
            y = Vector.load(builder, builder.gep(b, [at]), real)
            return x.times_plus(y, zero.like(accumulated)).value

        # Four sums side by side hide the latency of the FMA.
        quads = builder.sdiv(vectors, I64(4))
        with Loop(builder, quads, [zero.value] * 4) as r:
            first = builder.mul(r.index, I64(4 * lanes(real)))
            offsets = [builder.add(first, I64(j * lanes(real))) for j in range(4)]
            r.next = [step(at, x) for at, x in zip(offsets, r.values, strict=True)]
        s = [zero.like(x) for x in r.values]
        four = (s[0] + s[1]) + (s[2] + s[3])
        done = builder.mul(quads, I64(4))
        with Loop(builder, builder.sub(vectors, done), [four.value]) as r:
            at = builder.mul(builder.add(done, r.index), I64(lanes(real)))
            r.next = [step(at, r.values[0])]
        return zero.like(r.values[0]).sum()

    def codegen(context, builder, signature, args):
        return call_either(builder, args[3], "dot", [I64] * 3, emit, args[:3], result=NUMBER)

    return types.float64(*[types.int64] * 4), codegen


@intrinsic
def row_dots(typingctx, a, a_row, rows, w, columns, shift, out, size):
    """out[r] = shift + Σ a[r, k] w[k]: a layer of one output (N1).

    Parameters
    ----------
    a, a_row, rows : int64
        Address of A, distance of its rows, and how many.
    w, columns : int64
        Address of w and its length; w and the rows of A are padded to whole vectors. What the
        padding of A holds does not matter: where an activation is infinite, it is NaN.
    shift : float64
        Start of each sum.
    out : int64
        Address of the results (written), beside each other.
    """
    together = 8  # rows that share each vector of w, and hide each other's latency

    def emit(real, builder, a, a_row, rows, w, columns, shift, out):
        b = builder
        a, w, out = (_pointer(b, address, real) for address in (a, w, out))
        zero = Vector.constant(b, 0.0, real)
        whole = b.sdiv(columns, I64(lanes(real)))
        tail = b.srem(columns, I64(lanes(real)))
        inside = first_lanes(b, tail, real)

        def dots(first, n):
            starts = [b.gep(a, [b.mul(b.add(first, I64(i)), a_row)]) for i in range(n)]

            def add_vector(number, sums, mask=None):
                at = b.mul(number, I64(lanes(real)))
                factor = Vector.load(b, b.gep(w, [at]), real)
                sums = [zero.like(x) for x in sums]
                vectors = [Vector.load(b, b.gep(start, [at]), real) for start in starts]
                if mask is not None:
                    vectors = [x.where(mask, zero) for x in vectors]
                return [
                    factor.times_plus(x, total).value
                    for x, total in zip(vectors, sums, strict=True)
                ]

            with Loop(b, whole, [zero.value] * n) as step:
                step.next = add_vector(step.index, step.values)
            with Loop(b, b.zext(b.icmp_signed(">", tail, I64(0)), I64), step.values) as last:
                last.next = add_vector(whole, last.values, inside)
            for i, x in enumerate(last.values):
                total = b.fadd(zero.like(x).sum(), shift)
                b.store(total, b.gep(out, [b.add(first, I64(i))]), align=real.bitwidth // 8)

        groups = b.sdiv(rows, I64(together))
        done = b.mul(groups, I64(together))
        with Loop(b, groups) as group:
            dots(b.mul(group.index, I64(together)), together)
        with Loop(b, b.sub(rows, done)) as rest:
            dots(b.add(done, rest.index), 1)

    def codegen(context, builder, signature, args):
        kinds = [I64] * 5 + [NUMBER, I64]
        call_either(builder, args[7], "row_dots", kinds, emit, args[:7])
        return _void(context)

    return types.void(*[types.int64] * 5, types.float64, *[types.int64] * 2), codegen


@intrinsic
def weighted_row_sum(typingctx, a, a_step, b, b_step, shared, start, c, vectors, size):
    """c = start + Σ a[k] B[k, :] over the rows of B: a gradient's bias, and the last layer's.

    Parameters
    ----------
    a, a_step : int64
        Address of the weights of the rows and their distance (0: the same for all).
    b, b_step, shared : int64
        Address of B, distance of its rows, and how many.
    start, c, vectors : int64
        Addresses of what is added and of the result (written), and their length in vectors.
    """
    side = 4  # sums side by side, of every fourth row, hide the latency of the FMA

    def emit(real, builder, a, a_step, b, b_step, shared, start, c, vectors):
        ir_ = builder
        a, b, start, c = (_pointer(ir_, address, real) for address in (a, b, start, c))
        zero = Vector.constant(ir_, 0.0, real)

        def add_row(k, column, sums):
            factor = Vector.broadcast(
                ir_, ir_.load(ir_.gep(a, [ir_.mul(k, a_step)]), align=real.bitwidth // 8), real
            )
            row = ir_.add(ir_.mul(k, b_step), column)
            return [
                factor.times_plus(
                    Vector.load(ir_, ir_.gep(b, [ir_.add(row, I64(j * lanes(real)))]), real),
                    zero.like(x),
                ).value
                for j, x in enumerate(sums)
            ]

        def columns(first, n):
            column = ir_.mul(first, I64(lanes(real)))
            rounds = ir_.sdiv(shared, I64(side))
            with Loop(ir_, rounds, [zero.value] * (n * side)) as step:
                k = ir_.mul(step.index, I64(side))
                step.next = []
                for p in range(side):
                    sums = step.values[p * n : (p + 1) * n]
                    step.next += add_row(ir_.add(k, I64(p)), column, sums)
            s = [[zero.like(x) for x in step.values[p * n : (p + 1) * n]] for p in range(side)]
            total = [((s[0][j] + s[1][j]) + (s[2][j] + s[3][j])).value for j in range(n)]
            done = ir_.mul(rounds, I64(side))
            with Loop(ir_, ir_.sub(shared, done), total) as rest:
                rest.next = add_row(ir_.add(done, rest.index), column, rest.values)
            for j, x in enumerate(rest.values):
                at = ir_.add(column, I64(j * lanes(real)))
                (Vector.load(ir_, ir_.gep(start, [at]), real) + zero.like(x)).store(
                    ir_.gep(c, [at])
                )

        groups = ir_.sdiv(vectors, I64(TILE_VECTORS))
        done = ir_.mul(groups, I64(TILE_VECTORS))
        with Loop(ir_, groups) as group:
            columns(ir_.mul(group.index, I64(TILE_VECTORS)), TILE_VECTORS)
        with Loop(ir_, ir_.sub(vectors, done)) as rest:
            columns(ir_.add(done, rest.index), 1)

    def codegen(context, builder, signature, args):
        call_either(builder, args[8], "weighted_row_sum", [I64] * 8, emit, args[:8])
        return _void(context)

    return types.void(*[types.int64] * 9), codegen


#: Rows of the tiles that a panel is covered with: {6, 4, 1} cover any number of rows with at most
#: one single row (three, if there are fewer than four), and no row is computed twice.
TILE_ROWS = (6, 4, 1)


def row_tiles(rows):
    """How many tiles of 6, 4 and 1 rows cover `rows` rows, in this order."""
    sixes, rest = rows // 6, rows % 6
    if rest == 2 or rest == 3:
        if sixes > 0:
            return sixes - 1, 2, rest - 2
        return 0, 0, rest
    if rest >= 4:
        return sixes, 1, rest - 4
    return sixes, 0, rest


def _emit_tiles(builder, real, n_rows, n_vectors, count, p):
    """`count` tiles of n_rows rows below each other: gate ⊙ max(floor, start + A·B).

    Accumulators stay in registers over the whole shared dimension. Returns the row after the last.
    """
    b, width = builder, lanes(real)
    columns = [I64(j * width) for j in range(n_vectors)]
    with Loop(b, count, [p["row"]]) as tile:
        first = tile.values[0]
        rows = [b.add(first, I64(i)) for i in range(n_rows)]

        def place(pointer, stride, i, j, rows=rows):
            return b.gep(pointer, [b.add(b.mul(rows[i], stride), columns[j])])

        cells = [(i, j) for i in range(n_rows) for j in range(n_vectors)]
        start = [
            Vector.load(b, place(p["start"], p["start_row"], i, j), real).value for i, j in cells
        ]
        a_first = b.gep(p["a"], [b.mul(first, p["a_row"])])
        offsets = [b.mul(p["a_row"], I64(i)) for i in range(n_rows)]
        with Loop(b, p["shared"], [*start, a_first, p["b"]]) as k:
            *sums, a_at, b_at = k.values
            right = [Vector.load(b, b.gep(b_at, [column]), real) for column in columns]
            left = [Vector.broadcast(b, b.load(b.gep(a_at, [offset])), real) for offset in offsets]
            k.next = [
                left[i].times_plus(right[j], right[j].like(x)).value
                for (i, j), x in zip(cells, sums, strict=True)
            ]
            k.next += [b.gep(a_at, [p["a_step"]]), b.gep(b_at, [p["b_step"]])]
        floor = Vector.broadcast(b, p["floor"], real)
        results = [floor.like(x).at_least(floor) for x in k.values[: len(cells)]]
        gated = b.icmp_signed("!=", b.ptrtoint(p["gate"], I64), I64(0))
        with b.if_else(gated) as (then, otherwise):
            with then:
                for (i, j), x in zip(cells, results, strict=True):
                    gate = Vector.load(b, place(p["gate"], p["c_row"], i, j), real)
                    zero = x._of(0.0)
                    zero.where(gate.compare("==", 0.0), x).store(place(p["c"], p["c_row"], i, j))
            with otherwise:
                for (i, j), x in zip(cells, results, strict=True):
                    x.store(place(p["c"], p["c_row"], i, j))
        tile.next = [b.add(first, I64(n_rows))]
    return tile.values[0]


_PANEL = (
    "a",
    "a_row",
    "a_step",
    "b",
    "b_step",
    "c",
    "c_row",
    "shared",
    "start",
    "start_row",
    "gate",
)


@intrinsic(prefer_literal=True)
def panel(
    typingctx, vectors, tiles, a, a_row, a_step, b, b_step, c, c_row, shared, start, start_row,
    gate, floor, size,
):  # fmt: skip
    """Columns of one product: C = max(floor, start + A·B), and 0 where the gate is 0.

    Parameters
    ----------
    vectors : literal int
        Vectors beside each other: the columns of the panel.
    tiles : tuple of three int64
        Tiles of `TILE_ROWS` rows, from `row_tiles`.
    a, a_row, a_step : int64
        Address of A, distance of its rows, and of neighbours along the shared dimension.
    b, b_step : int64
        Address of B and distance of its rows.
    c, c_row : int64
        Address of C (written) and distance of its rows.
    shared : int64
        Length of the shared dimension.
    start, start_row : int64
        Address of what the sums start from, and distance of its rows (0: the same row for all).
    gate : int64
        Address of an array of C's layout; where it holds 0, C gets 0 (relu′). 0: no gate.
    floor : float64
        Lower bound of the results: 0 is relu, −inf none.
    """
    n_vectors = vectors.literal_value
    pointers = ("a", "b", "c", "start", "gate")

    def emit(real, builder, *values):
        p = dict(zip((*_PANEL, "floor"), values[3:], strict=True))
        p |= {name: _pointer(builder, p[name], real) for name in pointers}
        p["row"] = I64(0)
        for n_rows, count in zip(TILE_ROWS, values[:3], strict=True):
            p["row"] = _emit_tiles(builder, real, n_rows, n_vectors, count, p)

    def codegen(context, builder, signature, args):
        kinds = [I64] * (3 + len(_PANEL)) + [NUMBER]
        counts = [builder.extract_value(args[1], k) for k in range(3)]
        values = [*counts, *args[2:-1]]
        call_either(builder, args[-1], f"panel{n_vectors}", kinds, emit, values)
        return _void(context)

    return types.void(
        vectors, types.UniTuple(types.int64, 3), *[types.int64] * len(_PANEL), types.float64,
        types.int64,
    ), codegen  # fmt: skip


@intrinsic
def transpose_block(typingctx, source, source_row, target, target_row, size):
    """target = sourceᵀ for one square block of lanes × lanes numbers, in registers.

    log₂(lanes) rounds exchange ever larger blocks between pairs of rows.
    """

    def emit(real, builder, source, source_row, target, target_row):
        width = lanes(real)
        source, target = _pointer(builder, source, real), _pointer(builder, target, real)
        rows = [
            Vector.load(builder, builder.gep(source, [builder.mul(source_row, I64(i))]), real)
            for i in range(width)
        ]
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
            row.store(builder.gep(target, [builder.mul(target_row, I64(i))]))

    def codegen(context, builder, signature, args):
        call_either(builder, args[4], "transpose", [I64] * 4, emit, args[:4])
        return _void(context)

    return types.void(*[types.int64] * 5), codegen


__all__ = [
    "TILE_ROWS",
    "TILE_VECTORS",
    "address_of",
    "call_either",
    "dot",
    "elementwise",
    "interleave",
    "load",
    "panel",
    "row_dots",
    "row_tiles",
    "store",
    "transpose_block",
    "weighted_row_sum",
]
