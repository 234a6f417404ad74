"""Columns of a table as numbers that a network can use, and what the δ recursion makes of them.

An embedded column becomes `width` numbers. A number x, scaled to x̃, at the share f of the way from
edge j of the column to edge j + 1, becomes

    e = x̃ w₀ + b₀ + T_j + f (T_{j+1} − T_j),    T_j = V_0 + … + V_{j−1}

which is the piecewise-linear embedding "B" of Gorishniy, Rubachev and Babenko 2022: linear at
first, where V = 0, and bent by training. All of an encoding of as many numbers as there are bins
comes from two rows of T. A category of level j becomes b₀ + V_j, and so does a gap, of a row of its
own.
A plain column has two values, which become −1 and 1; a gap becomes 0.

Member m of the network sees e ⊙ r_m, with factors r_m of its own (Gorishniy, Kotelnikov and Babenko
2024, TabM-mini). A row of the table is `members` rows of the minibatch: of every member, in turn.

    δ_e = Σ_m r_m ⊙ δ⁽⁰⁾_m        ∂r_m = Σ e ⊙ δ⁽⁰⁾_m        ∂w₀ = Σ x̃ δ_e        ∂b₀ = Σ δ_e
    ∂T_j = Σ (1 − f) δ_e, ∂T_{j+1} = Σ f δ_e        ∂V_j = Σ_{i>j} ∂T_i
"""

from functools import lru_cache

import numpy as np

from fastmlp.kernels.epoch import epoch_at, row_number, rows_of
from fastmlp.kernels.piece import piece
from fastmlp.kernels.simd.panels import gather_from_members, spread_to_members
from fastmlp.kernels.simd.vector import PANEL
from fastmlp.kernels.views import matrix, part
from fastmlp.runtime.jit import kernel
from fastmlp.runtime.records import listed, number, numbers, record_at

#: Widths of embeddings are multiples of this: a loop of fixed length is one vector.
LANES = 8

#: What a column is: numbers between edges, levels, or one of the two kinds of plain columns.
NUMBER, CATEGORY, PLAIN_NUMBER, PLAIN_CATEGORY = range(4)

#: What is known of a column of the table. Fields
#: ------
#: source : its number in X
#: kind : one of the above
#: start, edges : of a number, its first edge in the list of all edges, and how many it has
#: level, levels : of a category, the first entry of its levels in the list of the rows that they
#:     have in V, and how many levels X may name; an entry for all others and one for a gap follow
#: low, high : of a plain number, the values that become −1 and 1
#: center, scale : x̃ = z / √(1 + (z/3)²) with z = (x − center) / scale
COLUMN = np.dtype(
    [
        *((name, np.int64) for name in ("source", "kind", "start", "edges", "level", "levels")),
        *((name, np.float64) for name in ("low", "high", "center", "scale")),
    ]
)

#: Where the parameters of an embedded column lie. Fields
#: ------
#: knots : its first row of T
#: table : of the matrix that V lies in, its first row of `PANEL` numbers
#: stored : how many of these there are
#: rows : rows of V
PLACE = np.dtype([(name, np.int64) for name in ("knots", "table", "stored", "rows")])

_column_at, _place_at = record_at(COLUMN), record_at(PLACE)
_COLUMN_SIZE, _PLACE_SIZE = COLUMN.itemsize, PLACE.itemsize

#: Where the smooth clip bends.
BEND = 3.0

#: And where it is as good as at its end.
FAR = 1e9


@lru_cache
def encode_record(source, kind):
    """Record of a table of one of the types of X, and of the buffers of `kind` that it goes to.

    Fields
    ------
    x : address of X, and the distances of its rows and columns in bytes
    members, width : of the network, and of an embedding
    n_embedded, n_plain : columns
    columns, places : addresses of a `COLUMN` each, embedded ones first, and of a `PLACE` of each
        embedded one
    edges, level_rows : of all columns, see `COLUMN`
    linear : w₀ and b₀ of a column, then of the next, in rows of `PANEL`
    table : V of a column, then of the next, likewise
    factors : r, a row a member
    knots : T, row by row; two rows a column more than V has
    d_linear, d_table : gradients of `linear` and `table`
    d_factors : of r, in a room of each block of rows
    a, delta : e ⊙ r and δ⁽⁰⁾, in blocks of rows
    embedded : e, and then δ_e, in blocks of rows of the table
    cell_knots, cell_shares, cell_values : j, f and x̃ of each row of the table and embedded column
    block_rows : rows of the table that a block has
    epoch : address of the `EPOCH`
    """
    x = np.dtype([(np.dtype(source).name, np.int64), ("row", np.int64), ("column", np.int64)])
    one, of_kind = matrix(kind), numbers(kind)
    return np.dtype(
        [
            ("x", x),
            *((name, np.int64) for name in ("members", "width", "n_embedded", "n_plain")),
            *((name, np.int64) for name in ("columns", "places", "block_rows", "epoch")),
            ("edges", numbers("float64")),
            ("level_rows", numbers("int64")),
            *((name, one) for name in ("linear", "table", "factors")),
            *((name, one) for name in ("d_linear", "d_table", "d_factors")),
            *((name, one) for name in ("a", "delta", "embedded")),
            ("knots", of_kind),
            ("cell_knots", numbers("int64")),
            *((name, of_kind) for name in ("cell_shares", "cell_values")),
        ]
    )


@kernel
def _value(record, row, source):
    """X[row, source], as float64."""
    size = listed(record.x, 0, 1).itemsize
    return np.float64(number(record.x, (row * record.x.row + source * record.x.column) // size))


@kernel
def _place_in(matrix, at, row, column):
    """Position of a number in block `at` of a matrix in panels."""
    panel = column // PANEL
    return at * matrix.block + panel * matrix.panel + row * PANEL + column % PANEL


@kernel
def _interval(record, column, x):
    """Number of the edge below x, and the share of the way to the next."""
    edges, n = listed(record.edges, column.start, column.edges), column.edges
    if x <= edges[0]:
        return 0, 0.0
    if x >= edges[n - 1]:
        return n - 2, 1.0
    low, high = 0, n - 1
    while high - low > 1:
        middle = (low + high) // 2
        if x >= edges[middle]:
            low = middle
        else:
            high = middle
    return low, (x - edges[low]) / (edges[low + 1] - edges[low])


@kernel
def _level_row(record, column, x):
    """Row of a level's V: codes that no level has count as others, and NaN is a gap."""
    if x != x:
        return number(record.level_rows, column.level + column.levels + 1)
    code = column.levels
    if 0.0 <= x < column.levels:
        code = np.int64(x)
    return number(record.level_rows, column.level + code)


@kernel
def _cell(record, column, x):
    """j, f and x̃ of a cell of an embedded column."""
    if column.kind == CATEGORY:
        return _level_row(record, column, x), 0.0, 0.0
    if x != x:
        return column.edges, 0.0, 0.0
    # Further out, x̃ is the same to the last bit, and z² may overflow.
    z = min(max((x - column.center) / column.scale, -FAR), FAR)
    below, share = _interval(record, column, x)
    return below, share, z / np.sqrt(1.0 + (z / BEND) * (z / BEND))


@kernel
def _plain(record, column, x):
    """The value of a plain column: −1 … 1, and 0 for a gap or a level never seen."""
    if x != x:
        return 0.0
    if column.kind == PLAIN_CATEGORY and x != column.low and x != column.high:
        return 0.0
    share = (x - column.low) / (column.high - column.low)
    return min(max(2.0 * share - 1.0, -1.0), 1.0)


@piece()
def encode(record, at, first, rows, batch):
    """E and the cells of a block of rows of the table."""
    epoch, members, n = epoch_at(record.epoch), record.members, record.n_embedded
    start = batch * epoch.batch_size + first
    for i in range(rows // members):
        row, cells = row_number(epoch, start + i * members), (at * record.block_rows + i) * n
        for k in range(n):
            column = _column_at(record.columns + k * _COLUMN_SIZE)
            below, share, value = _cell(record, column, _value(record, row, column.source))
            listed(record.cell_knots, cells + k, 1)[0] = below
            listed(record.cell_shares, cells + k, 1)[0] = share
            listed(record.cell_values, cells + k, 1)[0] = value
            _embed(record, at, i, k, cells + k)
        for k in range(n, n + record.n_plain):
            column = _column_at(record.columns + k * _COLUMN_SIZE)
            x = _plain(record, column, _value(record, row, column.source))
            place = _place_in(record.embedded, at, i, n * record.width + k - n)
            listed(record.embedded, place, 1)[0] = x


@kernel
def _embed(record, at, i, k, cell):
    """E of an embedded column k of row i of a block."""
    width, place = record.width, _place_at(record.places + k * _PLACE_SIZE)
    share, value = number(record.cell_shares, cell), number(record.cell_values, cell)
    row_of_knots = (place.knots + number(record.cell_knots, cell)) * width
    for q in range(0, width, LANES):
        e = listed(record.embedded, _place_in(record.embedded, at, i, k * width + q), LANES)
        w = listed(record.linear, 2 * k * width + q, LANES)
        b = listed(record.linear, (2 * k + 1) * width + q, LANES)
        low = listed(record.knots, row_of_knots + q, LANES)
        high = listed(record.knots, row_of_knots + width + q, LANES)
        for j in range(LANES):
            e[j] = value * w[j] + b[j] + (low[j] + share * (high[j] - low[j]))


@piece()
def spread(record, at, first, rows, batch):
    """a⁽⁰⁾ = e ⊙ r of a block of rows, of every member in turn."""
    members = record.members
    a, e = part(record.a, at, 0, rows), part(record.embedded, at, 0, rows // members)
    spread_to_members(a, e, part(record.factors, 0, 0, members), members)


@piece()
def gather(record, at, first, rows, batch):
    """δ_e = Σ r_m ⊙ δ⁽⁰⁾_m of a block of rows, in the place of e, and ∂r_m = Σ e ⊙ δ⁽⁰⁾_m."""
    members = record.members
    e, delta = part(record.embedded, at, 0, rows // members), part(record.delta, at, 0, rows)
    r, dr = part(record.factors, 0, 0, members), part(record.d_factors, at, 0, members)
    dr[:] = 0
    gather_from_members(e, delta, r, dr, members)


@piece()
def encode_gradient(record, at, first, rows, batch):
    """Gradients of w₀, b₀ and V of the embedded columns first …, over a minibatch."""
    for k in range(first, first + rows):
        place = _place_at(record.places + k * _PLACE_SIZE)
        listed(record.d_table, place.table * PANEL, place.stored * PANEL)[:] = 0
        listed(record.d_linear, 2 * k * record.width, 2 * record.width)[:] = 0
        _embedding_gradient(record, k, place, batch)


@kernel
def _embedding_gradient(record, k, place, batch):
    """Gradients of one column."""
    epoch, members = epoch_at(record.epoch), record.members
    is_number = _column_at(record.columns + k * _COLUMN_SIZE).kind == NUMBER
    for position in range(0, rows_of(epoch, batch), members):
        block = position // epoch.block_rows
        i = position // members - block * record.block_rows
        cell = position // members * record.n_embedded + k
        below, share = number(record.cell_knots, cell), number(record.cell_shares, cell)
        value = number(record.cell_values, cell)
        for q in range(0, record.width, LANES):
            to = _place_in(record.embedded, block, i, k * record.width + q)
            delta = listed(record.embedded, to, LANES)
            dw = listed(record.d_linear, 2 * k * record.width + q, LANES)
            db = listed(record.d_linear, (2 * k + 1) * record.width + q, LANES)
            for j in range(LANES):
                dw[j] += value * delta[j]
                db[j] += delta[j]
            if not is_number:
                _add_rest(record, place, (below, q), share, delta)
                continue
            # The place of V_j has ∂T_{j+1}, and T_0 is none of the parameters.
            if below > 0:
                _add_rest(record, place, (below - 1, q), share, delta)
            if share > 0:
                _add(record, place, (below, q), share, delta)
    if is_number:
        _sum_from_the_end(record, place, place.rows - 1)


@kernel
def _steps(record, place, t, q):
    """Position of numbers of V_t of a column, from q on."""
    return place.table * PANEL + t * record.width + q


@kernel
def _add(record, place, where, share, delta):
    """Add share · δ_e to a row of V's gradient; where : the row, and first of the numbers."""
    target = listed(record.d_table, _steps(record, place, where[0], where[1]), LANES)
    for j in range(LANES):
        target[j] += share * delta[j]


@kernel
def _add_rest(record, place, where, share, delta):
    """Add (1 − share) · δ_e; in the type of the numbers, which an integer 1 would widen."""
    target = listed(record.d_table, _steps(record, place, where[0], where[1]), LANES)
    for j in range(LANES):
        target[j] += delta[j] - share * delta[j]


@kernel
def _sum_from_the_end(record, place, n):
    """∂V_j = Σ_{i>j} ∂T_i for n rows, in place."""
    for t in range(n - 2, -1, -1):
        row = listed(record.d_table, _steps(record, place, t, 0), record.width)
        later = listed(record.d_table, _steps(record, place, t + 1, 0), record.width)
        for j in range(record.width):
            row[j] += later[j]


@piece()
def sum_steps(record, at, first, rows, batch):
    """T of the columns first …, from V."""
    width = record.width
    for k in range(first, first + rows):
        place = _place_at(record.places + k * _PLACE_SIZE)
        is_number = _column_at(record.columns + k * _COLUMN_SIZE).kind == NUMBER
        sums = place.rows - 1 if is_number else 0
        T = listed(record.knots, place.knots * width, (place.rows + 2) * width)
        V = listed(record.table, _steps(record, place, 0, 0), place.rows * width)
        # T_0 = 0 leads the sums, and a row behind the last is read, times 0.
        T[:] = 0
        for j in range(sums * width):
            T[width + j] = T[j] + V[j]
        shift = width if is_number else 0
        for j in range(sums * width, place.rows * width):
            T[shift + j] = V[j]
