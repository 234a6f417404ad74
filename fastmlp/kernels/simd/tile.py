"""The register tile: a block of a matrix product whose sums stay in registers from start to end.

LLVM does not tile loops for registers, and plain loops stop at a third of what a core can do. Here
6 rows × 2 vectors of sums (× 4 with 32 registers) are kept while the shared dimension runs by:

               b ──►│ B0 │ B1 │        one step: 2 vectors of B, 6 broadcasts of A, 12 FMAs
            ┌───────┼────┼────┤
        a ──► A0    │ S00│ S01│
            │ A1    │ S10│ S11│
            │ …     │  … │  … │
            │ A5    │ S50│ S51│

Every sum runs over the shared dimension in order, whatever tile it falls into, so a result depends
neither on how rows are shared out nor on how many threads there are.
"""

from typing import NamedTuple

from llvmlite import ir

from fastmlp.kernels.simd.vector import (
    I64,
    PANEL,
    Loop,
    Vector,
    emit_function,
    lanes,
    llvm_real,
    prefetch,
)
from fastmlp.runtime.cpu import TILE_VECTORS, VECTOR_BYTES

#: Rows of the tiles that a product is covered with: {6, 4, 1} cover any number of rows with at most
#: one single row (three, if there are fewer than four), and no row is computed twice.
TILE_ROWS = (6, 4, 1)

#: Steps of the shared dimension that are written one after another; a divisor of `PANEL`.
_UNROLLED = 4

#: Whether the columns that come next are prefetched. A group of columns reads its part of B for
#: every tile, and for the first of them it may come from a cache that all cores share. With vectors
#: of 64 bytes a tile asks for a line every three cycles, which is more than comes from there:
#: without it, training two layers of 1024 takes 1.07 times as long, and its products in float64
#: 1.05 to 1.15 times. Where B is in a core's own cache, nothing changes.
_PREFETCHES = VECTOR_BYTES == 64

#: What happens to the results: nothing; 0 where the gate is 0 (relu′); times the gate (any g′).
PLAIN, GATED, TIMES = range(3)


class Operands(NamedTuple):
    """Arguments of the product's function while its code is written; distances in numbers.

    Fields
    ------
    rows : of C
    vectors : vectors of a row of C that are computed
    shared : length of the shared dimension
    a, a_panel : A, and distance of its panels
    b, b_panel : B, whose rows are the shared dimension, and distance of its panels
    c, c_panel : C (written) and distance of its panels
    start, start_row, start_panel : what the sums start from; distance 0 is one row for all
    gate, ending : an array laid out as C, and what it is for (PLAIN, GATED, TIMES)
    floor : lower bound of the results; −∞ is none. By columns, results are left as they are.
    """

    rows: ir.Value
    vectors: ir.Value
    shared: ir.Value
    a: ir.Value
    a_panel: ir.Value
    b: ir.Value
    b_panel: ir.Value
    c: ir.Value
    c_panel: ir.Value
    start: ir.Value
    start_row: ir.Value
    start_panel: ir.Value
    gate: ir.Value
    ending: ir.Value
    floor: ir.Value


#: LLVM types of `Operands`: addresses and distances are int64, floor is a double.
OPERAND_TYPES = [I64] * (len(Operands._fields) - 1) + [ir.DoubleType()]


def _row_tiles(b, rows):
    """How many tiles of 6, 4 and 1 rows cover all rows; 8 and 9 are 4 + 4 (+ 1), not 6 + 1 + 1."""
    sixes, rest = b.udiv(rows, I64(6)), b.urem(rows, I64(6))
    few = b.icmp_unsigned("<", b.sub(rest, I64(2)), I64(2))  # 2 or 3 would be single rows
    one_less = b.and_(few, b.icmp_signed(">", sixes, I64(0)))
    sixes = b.sub(sixes, b.zext(one_less, I64))
    left = b.sub(rows, b.mul(sixes, I64(6)))
    return sixes, b.udiv(left, I64(4)), b.urem(left, I64(4))


def _place(b, vector, panel, real):
    """Distance of a vector from the first number of its row, given the distance of panels."""
    column = b.mul(vector, I64(lanes(real)))
    return b.add(
        b.mul(b.udiv(column, I64(PANEL)), panel),
        b.urem(column, I64(PANEL)),
    )


def _store(b, results, places, p):
    for value, place in zip(results, places, strict=True):
        value.store(b.gep(p.c, [place]))


def _end(b, results, places, p, real):
    """Write the results: as they are, gated, or times the gate."""
    floor = Vector.broadcast(b, p.floor, real)
    results = [x.at_least(floor) for x in results]

    def gates():
        return [Vector.load(b, b.gep(p.gate, [place]), real) for place in places]

    with b.if_else(b.icmp_signed("==", p.ending, I64(PLAIN))) as (plain, other):
        with plain:
            _store(b, results, places, p)
        with other, b.if_else(b.icmp_signed("==", p.ending, I64(GATED))) as (gated, times):
            with gated:
                closed = [gate.compare("==", 0.0) for gate in gates()]
                left = [x.zeros().where(c, x) for x, c in zip(results, closed, strict=True)]
                _store(b, left, places, p)
            with times:
                products = [x * gate for x, gate in zip(results, gates(), strict=True)]
                _store(b, products, places, p)


class Columns(NamedTuple):
    """The columns of a tile.

    Fields
    ------
    in_b, in_c, in_start : for each vector, its place in rows of B, C and start
    pace : how far the prefetching goes with `_UNROLLED` steps, in numbers
    """

    in_b: list[ir.Value]
    in_c: list[ir.Value]
    in_start: list[ir.Value]
    pace: ir.Value


def _accumulate(b, real, by_columns, count, sums, at, columns):
    """sums += A·B over `count` steps of the shared dimension, which lie within one panel of A.

    by_columns : whether the rows of the tile are columns of A
    at : pointers to the first step in A and in B, and to what is prefetched

    Returns the sums and the pointers after the last step. `_UNROLLED` steps go together: every
    address is then a pointer with a constant, and counting costs less than a tenth.
    """
    beside = [b.sub(column, columns.in_b[0]) for column in columns.in_b]
    n_vectors = len(beside)
    n_rows = len(sums) // n_vectors
    step, row = (PANEL, 1) if by_columns else (1, PANEL)

    def one_step(sums, a, b_at, k):
        right = [Vector.load(b, b.gep(b.gep(b_at, [x]), [I64(k * PANEL)]), real) for x in beside]
        left = [
            Vector.broadcast(b, b.load(b.gep(a, [I64(k * step + i * row)])), real)
            for i in range(n_rows)
        ]
        return [
            left[n // n_vectors].times_plus(right[n % n_vectors], right[0].like(x)).value
            for n, x in enumerate(sums)
        ]

    def steps(rounds, together, carried):
        with Loop(b, rounds, carried) as r:
            *sums, a, b_at, ahead = r.values
            for k in range(together):
                sums = one_step(sums, a, b_at, k)
            if _PREFETCHES and together > 1:
                prefetch(b, ahead)
                ahead = b.gep(ahead, [columns.pace])
            r.next = [
                *sums, b.gep(a, [I64(together * step)]), b.gep(b_at, [I64(together * PANEL)]), ahead
            ]  # fmt: skip
        return r.values

    carried = steps(b.udiv(count, I64(_UNROLLED)), _UNROLLED, [*sums, *at])
    return steps(b.urem(count, I64(_UNROLLED)), 1, carried)


def _emit_tiles(b, real, by_columns, n_rows, count, carried, columns, p):
    """`count` tiles of n_rows rows below each other.

    carried : their first row, and pointer to what is prefetched; returns those after them
    """
    cells = [(i, j) for i in range(n_rows) for j in range(len(columns.in_b))]
    b_first = b.gep(p.b, [columns.in_b[0]])
    with Loop(b, count, carried) as tile:
        first, ahead = tile.values
        rows = [b.add(first, I64(i)) for i in range(n_rows)]
        starts = [b.add(b.mul(rows[i], p.start_row), columns.in_start[j]) for i, j in cells]
        sums = [Vector.load(b, b.gep(p.start, [at]), real).value for at in starts]
        if by_columns:
            at = [b.gep(p.a, [first]), b_first, ahead]
            *sums, _, _, ahead = _accumulate(b, real, True, p.shared, sums, at, columns)
        else:
            a = b.gep(p.a, [b.mul(first, I64(PANEL))])
            n_panels = b.udiv(b.add(p.shared, I64(PANEL - 1)), I64(PANEL))
            with Loop(b, n_panels, [*sums, p.shared, a, b_first, ahead]) as panel:
                *sums, left, a, b_at, ahead = panel.values
                steps = b.select(b.icmp_signed("<", left, I64(PANEL)), left, I64(PANEL))
                at = [a, b_at, ahead]
                *sums, _, b_at, ahead = _accumulate(b, real, False, steps, sums, at, columns)
                panel.next = [*sums, b.sub(left, I64(PANEL)), b.gep(a, [p.a_panel]), b_at, ahead]
            *sums, _, _, _, ahead = panel.values
        zero = Vector.constant(b, 0.0, real)
        places = [b.add(b.mul(rows[i], I64(PANEL)), columns.in_c[j]) for i, j in cells]
        results = [zero.like(x) for x in sums]
        if by_columns:
            _store(b, results, places, p)
        else:
            _end(b, results, places, p, real)
        tile.next = [b.add(first, I64(n_rows)), ahead]
    return tile.values


def _prefetching(b, real, n_vectors, at, tiles, p):
    """Pointer to the columns behind those from `at` on, and the pace that fetches all of them.

    tiles : how many there are of each height

    A line at a time is the most. The last columns have none behind them, and stay where they are.
    """
    behind = b.add(at, I64(n_vectors))
    there = b.icmp_signed("<", behind, p.vectors)
    first = _place(b, b.select(there, behind, at), p.b_panel, real)
    n_tiles = b.add(b.add(tiles[0], tiles[1]), tiles[2])
    of_all_tiles, line = I64(_UNROLLED * n_vectors * lanes(real)), I64(lanes(real))
    pace = b.add(b.udiv(of_all_tiles, b.add(n_tiles, I64(1))), I64(1))  # there may be none
    pace = b.select(b.icmp_signed("<", pace, line), pace, line)
    return b.gep(p.b, [first]), b.select(there, pace, I64(0))


def _emit_columns(real, by_columns, n_vectors, b, at, *operands):
    """All rows of n_vectors vectors of C beside each other, the first of them number `at`."""
    p = Operands(*operands)
    number = llvm_real(real).as_pointer()
    p = p._replace(
        **{name: b.inttoptr(getattr(p, name), number) for name in ("a", "b", "c", "start", "gate")}
    )
    places = [
        [_place(b, b.add(at, I64(j)), panel, real) for j in range(n_vectors)]
        for panel in (p.b_panel, p.c_panel, p.start_panel)
    ]
    tiles = _row_tiles(b, p.rows)
    ahead, pace = _prefetching(b, real, n_vectors, at, tiles, p)
    in_b, in_c, in_start = places
    columns = Columns(in_b, in_c, in_start, pace)
    carried = [I64(0), ahead]
    for n_rows, count in zip(TILE_ROWS, tiles, strict=True):
        carried = _emit_tiles(b, real, by_columns, n_rows, count, carried, columns, p)


def emit_product(real, by_columns, b, *operands):
    """The function of a product: C = ending(max(floor, start + A·B)), by columns start + AᵀB.

    By columns, A is one panel, and its columns are the rows of C.

    Five and six vectors go as 3 + 2 and 3 + 3: a lone vector would starve the FMA units.
    """
    p = Operands(*operands)
    rounded = p.floor if real.bitwidth == 64 else b.fptrunc(p.floor, ir.FloatType())
    values = [*operands[:-1], rounded]
    kinds = [I64, *OPERAND_TYPES[:-1], llvm_real(real)]

    def columns(at, n_vectors):
        function = emit_function(
            b,
            f"fastmlp_columns{n_vectors}{'t' * by_columns}_f{real.bitwidth}x{lanes(real)}",
            ir.VoidType(),
            kinds,
            lambda body, *args: _emit_columns(real, by_columns, n_vectors, body, *args),
        )
        b.call(function, [at, *values])

    def stretch(at, count, n_vectors):
        """`count` groups of n_vectors; returns the vector after them."""
        with Loop(b, count, [at]) as group:
            columns(group.values[0], n_vectors)
            group.next = [b.add(group.values[0], I64(n_vectors))]
        return group.values[0]

    at = I64(0)
    if TILE_VECTORS == 4:
        over = b.urem(p.vectors, I64(4))
        short = b.and_(
            b.icmp_unsigned("<", b.sub(over, I64(1)), I64(2)), b.icmp_signed(">", p.vectors, I64(4))
        )
        at = stretch(at, b.sub(b.udiv(p.vectors, I64(4)), b.zext(short, I64)), 4)
        at = stretch(at, b.udiv(b.sub(p.vectors, at), I64(3)), 3)
    at = stretch(at, b.udiv(b.sub(p.vectors, at), I64(2)), 2)
    stretch(at, b.sub(p.vectors, at), 1)
