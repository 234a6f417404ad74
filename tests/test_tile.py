"""The register tile: the product's function for every tile, stride, stretch and ending."""

import ctypes

import numpy as np
import pytest
from guards import Panels, check_unchanged
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_kernels import product, product_error

from fastmlp.kernels.product import PRODUCT, TRANSPOSED_PRODUCT
from fastmlp.kernels.simd.tile import (
    GATED,
    OPERAND_TYPES,
    PLAIN,
    TIMES,
    Operands,
)
from fastmlp.kernels.simd.vector import PANEL
from fastmlp.runtime.cpu import TILE_VECTORS, VECTOR_BYTES

DTYPES = (np.float32, np.float64)


def lanes(dtype):
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def run(dtype, by_columns, **operands):
    """Call the product's function; see `tile.Operands`."""
    symbol = (TRANSPOSED_PRODUCT if by_columns else PRODUCT)[np.dtype(dtype).name]
    symbol.link()
    signature = [ctypes.c_int64] * (len(OPERAND_TYPES) - 1) + [ctypes.c_double]
    function = ctypes.CFUNCTYPE(None, *signature)(symbol._compiled.address)
    function(*Operands(**operands))


@pytest.mark.parametrize("dtype", DTYPES)
def test_sizes(dtype):
    assert VECTOR_BYTES in (16, 32, 64)
    assert PANEL % lanes(dtype) == 0
    assert TILE_VECTORS in (2, 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vectors", range(1, 12))
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 40),  # every number of tiles of 4 and 1 rows, beside none and some of 6
    shared=st.integers(0, 70),
    by_columns=st.booleans(),
    one_start=st.booleans(),
    ending=st.sampled_from([PLAIN, GATED, TIMES]),
    floor=st.sampled_from([-np.inf, 0.0]),
    gap=st.integers(0, 5),
)
def test_tiles(dtype, vectors, seed, rows, shared, by_columns, one_start, ending, floor, gap):
    if by_columns:  # rows of the result are one panel of A, and left as they are
        rows, ending, floor = min(rows, PANEL), PLAIN, -np.inf
    rng = np.random.RandomState(seed)
    columns = vectors * lanes(dtype)
    A = rng.randn(rows, shared).astype(dtype)
    B = rng.randn(shared, columns).astype(dtype)
    start = rng.randn(1 if one_start else rows, columns).astype(dtype)
    gate = rng.randint(-1, 2, (rows, columns)).astype(dtype)
    # What pads A does not matter.
    a = Panels(A.T if by_columns else A, gap=2 * gap, fill=np.nan)
    b, s = Panels(B, gap=gap, shift=1), Panels(start, gap=2 * gap, shift=3)
    c, g = (Panels(x, gap=gap, shift=5) for x in (np.zeros_like(gate), gate))
    run(
        dtype, by_columns, rows=rows, vectors=vectors, shared=shared, a=a.address,
        a_panel=a.panel, b=b.address, b_panel=b.panel, c=c.address, c_panel=c.panel,
        start=s.address, start_row=0 if one_start else s.row, start_panel=s.panel,
        gate=g.address, ending=ending, floor=floor,
    )  # fmt: skip
    check_unchanged(a, b, s, g)
    c.check(slice(None), slice(columns))
    exact = A.astype(np.float64), B.astype(np.float64)
    expected = product(
        *exact, start, None if ending == PLAIN else gate, floor, times=ending == TIMES
    )
    assert (np.abs(c.values - expected) <= product_error(A, B, start)).all()
