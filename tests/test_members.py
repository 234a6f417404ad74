"""Rows of members that take turns, against NumPy: spread, gathered, and seen one by one."""

import numpy as np
import pytest
from compiled import call, caller, of
from guards import Panels, check_unchanged
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmlp.kernels.simd import panels
from fastmlp.kernels.simd.vector import PANEL
from fastmlp.kernels.views import every, whole

DTYPES = (np.float32, np.float64)
SHAPES = {
    "seed": st.integers(0, 2**32 - 1),
    "rows": st.integers(0, 9),
    "members": st.integers(1, 9),
    "n_panels": st.integers(1, 3),
    "gap": st.integers(0, 3),
}


@caller()
def spread(record, at, first, rows, batch):
    panels.spread_to_members(whole(record.a), whole(record.b), whole(record.c), record.i)


@caller()
def gather(record, at, first, rows, batch):
    e, delta, r = whole(record.a), whole(record.b), whole(record.c)
    panels.gather_from_members(e, delta, r, whole(record.start), record.i)


@caller()
def of_one_member(record, at, first, rows, batch):
    """a[:, first::i] is doubled."""
    view = every(whole(record.a), first, record.i)
    for panel in range(view.shape[0]):
        for r in range(view.shape[1]):
            for k in range(PANEL):
                view[panel, r, k] *= 2


def integers(rng, *shape):
    """Numbers whose products and sums are exact."""
    return rng.integers(-8, 9, shape).astype(np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(**SHAPES)
def test_spread(dtype, seed, rows, members, n_panels, gap):
    rng = np.random.default_rng(seed)
    width = n_panels * PANEL
    E, R = integers(rng, rows, width).astype(dtype), integers(rng, members, width).astype(dtype)
    a = Panels(np.zeros((rows * members, width), dtype), gap=gap)
    e, r = Panels(E, gap=gap, shift=1), Panels(R, gap=gap, shift=2)
    call(spread, of(dtype, a=a, b=e, c=r, i=members))
    check_unchanged(e, r)
    a.check(slice(None))
    expected = (E[:, None] * R).reshape(rows * members, width)
    np.testing.assert_array_equal(a.values, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(**SHAPES)
def test_gather(dtype, seed, rows, members, n_panels, gap):
    rng = np.random.default_rng(seed)
    width = n_panels * PANEL
    E, D = integers(rng, rows, width), integers(rng, rows * members, width)
    R, S = integers(rng, members, width), integers(rng, members, width)
    e, delta, r, dr = (
        Panels(x.astype(dtype), gap=gap, shift=k) for k, x in enumerate((E, D, R, S))
    )
    call(gather, of(dtype, a=e, b=delta, c=r, start=dr, i=members))
    check_unchanged(delta, r)
    e.check(slice(None))
    dr.check(slice(None))
    D = D.reshape(rows, members, width)
    np.testing.assert_array_equal(e.values, (R * D).sum(axis=1))
    np.testing.assert_array_equal(dr.values, S + (E[:, None] * D).sum(axis=0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("members", "rows"), [(1, 5), (3, 4), (8, 2), (2, 0)])
def test_rows_of_one_member(dtype, members, rows):
    A = np.arange(members * rows * 2 * PANEL, dtype=dtype).reshape(members * rows, 2 * PANEL)
    for m in range(members):
        a = Panels(A, gap=1)
        call(of_one_member, of(dtype, a=a, i=members), first=m)
        expected = A.copy()
        expected[m::members] *= 2
        np.testing.assert_array_equal(a.values, expected)
        a.check(slice(None))
