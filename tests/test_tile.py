"""The register tile: the product's function for every tile, stride, stretch and ending."""

import ctypes

import numpy as np
import pytest
from guards import MARGIN, Guarded, Panels, check_unchanged, untouched
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_kernels import product, product_error

from fastmlp.kernels.product import PRODUCT
from fastmlp.kernels.simd.tile import (
    GATED,
    OPERAND_TYPES,
    PLAIN,
    TILE_ROWS,
    TIMES,
    Operands,
    row_tiles,
)
from fastmlp.kernels.simd.vector import PANEL
from fastmlp.runtime.cpu import TILE_VECTORS, VECTOR_BYTES

DTYPES = (np.float32, np.float64)


def lanes(dtype):
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def run(dtype, **operands):
    """Call the product's function; see `tile.Operands`."""
    symbol = PRODUCT[np.dtype(dtype).name]
    symbol.link()
    signature = [ctypes.c_int64] * (len(OPERAND_TYPES) - 1) + [ctypes.c_double]
    function = ctypes.CFUNCTYPE(None, *signature)(symbol._compiled.address)
    function(*Operands(**operands))


@pytest.mark.parametrize("dtype", DTYPES)
def test_sizes(dtype):
    assert VECTOR_BYTES in (16, 32, 64)
    assert PANEL % lanes(dtype) == 0
    assert TILE_VECTORS in (2, 4)


def test_tiles_cover_every_number_of_rows_once():
    for rows in range(2000):
        tiles = row_tiles(rows)
        assert min(tiles) >= 0
        assert np.dot(tiles, TILE_ROWS) == rows
        assert tiles[2] <= (3 if rows < 4 else 1)


def spread(A, by_columns, length, gap):
    """A in guard zones, in stretches of its shared dimension.

    Returns the guarded memory, a copy of it, the address of A and its three distances.
    """
    rows, shared = A.shape
    a_row, a_step = (1, rows + gap) if by_columns else (length + gap, 1)
    jump = (length if by_columns else rows) * max(a_row, a_step) + gap
    stretches = -(-shared // length)
    memory = untouched(2 * MARGIN + jump * (stretches + 1), A.dtype)
    for k in range(shared):
        start = MARGIN + k // length * jump + k % length * a_step
        memory[start : start + rows * a_row : a_row][:rows] = A[:, k]
    address = memory.ctypes.data + MARGIN * A.itemsize
    return memory, memory.tobytes(), address, (a_row, a_step, jump)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vectors", range(1, 12))
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    tiles=st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 4)),
    shared=st.integers(0, 70),
    length=st.integers(1, 80),
    by_columns=st.booleans(),
    one_start=st.booleans(),
    ending=st.sampled_from([PLAIN, GATED, TIMES]),
    floor=st.sampled_from([-np.inf, 0.0]),
    gap=st.integers(0, 5),
)
def test_tiles(
    dtype, vectors, seed, tiles, shared, length, by_columns, one_start, ending, floor, gap
):
    rng = np.random.RandomState(seed)
    rows, columns = int(np.dot(tiles, TILE_ROWS)), vectors * lanes(dtype)
    A = rng.randn(rows, shared).astype(dtype)
    B = rng.randn(shared, columns).astype(dtype)
    start = rng.randn(1 if one_start else rows, columns).astype(dtype)
    gate = rng.randint(-1, 2, (rows, columns)).astype(dtype)
    memory, before, address, (a_row, a_step, jump) = spread(A, by_columns, length, gap)
    b, s = Panels(B, gap=gap, shift=1), Panels(start, gap=2 * gap, shift=3)
    c, g = (Panels(x, gap=gap, shift=5) for x in (np.zeros_like(gate), gate))
    run(
        dtype, sixes=tiles[0], fours=tiles[1], ones=tiles[2], vectors=vectors, shared=shared,
        a=address, a_row=a_row, a_step=a_step, length=length, a_jump=jump, b=b.address,
        b_panel=b.panel, c=c.address, c_panel=c.panel, start=s.address,
        start_row=0 if one_start else s.row, start_panel=s.panel, gate=g.address, ending=ending,
        floor=floor,
    )  # fmt: skip
    for x in (b, s, g):
        x.check()
    assert memory.tobytes() == before
    c.check(slice(None), slice(columns))
    exact = A.astype(np.float64), B.astype(np.float64)
    expected = product(
        *exact, start, None if ending == PLAIN else gate, floor, times=ending == TIMES
    )
    assert (np.abs(c.values - expected) <= product_error(A, B, start)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_distance_of_zero_repeats_one_number(dtype):
    # The sum of the columns of B.
    B = np.random.RandomState(4).randint(-9, 10, (33, 48)).astype(dtype)
    b, one = Panels(B), Guarded(np.ones((1, 1), dtype))
    zeros, c = Panels(np.zeros((1, 48), dtype)), Panels(np.zeros((1, 48), dtype))
    run(
        dtype, sixes=0, fours=0, ones=1, vectors=48 // lanes(dtype), shared=33, a=one.address,
        a_row=0, a_step=0, length=33, a_jump=0, b=b.address, b_panel=b.panel, c=c.address,
        c_panel=c.panel, start=zeros.address, start_row=0, start_panel=zeros.panel, gate=0,
        ending=PLAIN, floor=-np.inf,
    )  # fmt: skip
    check_unchanged(b, one, zeros)
    c.check(slice(None))
    np.testing.assert_array_equal(c.values[0], B.sum(axis=0))
