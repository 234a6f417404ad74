"""The matrix product of a training step: one kernel for its three uses.

    forward      z⁽ˡ⁾ = a⁽ˡ⁻¹⁾ W⁽ˡ⁾ + b⁽ˡ⁾       A by rows, start at the bias, relu as the floor
    δ recursion  δ⁽ˡ⁾ = δ⁽ˡ⁺¹⁾ W⁽ˡ⁺¹⁾ᵀ           A by rows, B the transposed copy, relu′ as the gate
    gradient     ∂W⁽ˡ⁾ = a⁽ˡ⁻¹⁾ᵀ δ⁽ˡ⁾            A by columns: distance 1 between its rows

Every sum runs over the shared dimension in order, whatever tile it falls into, so a result depends
neither on how rows are shared out nor on how many threads there are.
"""

from fastmlp.kernels.jit import kernel
from fastmlp.kernels.simd import TILE_VECTORS, panel, row_tiles, transpose_block
from fastmlp.kernels.vectors import VECTOR_BYTES

_row_tiles = kernel(row_tiles)


@kernel
def product(
    a, a_row, a_step, b, b_step, c, c_row, rows, columns, shared, start, start_row, gate, floor,
    size,
):  # fmt: skip
    """C = max(floor, start + A·B), and 0 where the gate is 0 (N1, N8, N9).

    Parameters
    ----------
    a, a_row, a_step : int64
        Address of A (rows × shared), distances along both dimensions in elements.
    b, b_step : int64
        Address of B (shared × columns) and distance of its rows.
    c, c_row : int64
        Address of C (rows × columns; written) and distance of its rows.
    rows, columns, shared : int64
        Sizes. Columns are computed in whole vectors: B, C, start and gate are padded to them.
    start, start_row : int64
        Address of what the sums start from; distance 0 uses one row for all.
    gate : int64
        Address of an array laid out as C, or 0 for none.
    floor : float64
        Lower bound of C.
    size : int64
        Bytes of one number of all arrays: 4 or 8.
    """
    width = VECTOR_BYTES // size
    tiles = _row_tiles(rows)
    left = (columns + width - 1) // width
    at = 0
    while left > 0:
        shift = at * size
        there = 0 if gate == 0 else gate + shift
        b_at, c_at, s_at = b + shift, c + shift, start + shift
        # Five and six vectors go as 3 + 2 and 3 + 3: a lone vector would starve the FMA units.
        if TILE_VECTORS == 4 and (left == 4 or left >= 7):
            n = 4
            panel(
                4, tiles, a, a_row, a_step, b_at, b_step, c_at, c_row, shared,
                s_at, start_row, there, floor, size,
            )  # fmt: skip
        elif TILE_VECTORS == 4 and left != 1 and left != 2:
            n = 3
            panel(
                3, tiles, a, a_row, a_step, b_at, b_step, c_at, c_row, shared,
                s_at, start_row, there, floor, size,
            )  # fmt: skip
        elif left >= 2:
            n = 2
            panel(
                2, tiles, a, a_row, a_step, b_at, b_step, c_at, c_row, shared,
                s_at, start_row, there, floor, size,
            )  # fmt: skip
        else:
            n = 1
            panel(
                1, tiles, a, a_row, a_step, b_at, b_step, c_at, c_row, shared,
                s_at, start_row, there, floor, size,
            )  # fmt: skip
        at += n * width
        left -= n


@kernel
def transpose(source, source_row, target, target_row, rows, columns, size):
    """target (columns × rows) = sourceᵀ; both padded to whole blocks in both dimensions.

    source, target : int64 addresses; distances of rows in elements; size : bytes of one number.
    """
    width = VECTOR_BYTES // size
    for i in range(0, rows, width):
        for j in range(0, columns, width):
            transpose_block(
                source + (i * source_row + j) * size,
                source_row,
                target + (j * target_row + i) * size,
                target_row,
                size,
            )
