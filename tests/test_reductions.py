"""Sums over rows and columns, and the transpose, against NumPy."""

import numpy as np
import pytest
from compiled import call, caller, of
from guards import Guarded, Panels, bits, check_unchanged, untouched
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_kernels import product_error, whole_vectors

from fastmlp.kernels.simd import panels, reductions
from fastmlp.kernels.simd.vector import PANEL
from fastmlp.kernels.views import part, whole
from fastmlp.runtime.cpu import VECTOR_BYTES
from fastmlp.runtime.records import listed

DTYPES = (np.float32, np.float64)


@caller()
def square_of_row(record, at, first, rows, batch):
    record.result = reductions.square_of_row(whole(record.a), first)


@caller()
def add_multiple_of_row(record, at, first, rows, batch):
    factor = listed(record.x, 0, 1)[0]
    panels.add_multiple_of_row(whole(record.c), first, whole(record.a), at, factor)


@caller()
def row_dots(record, at, first, rows, batch):
    shift = listed(record.x, 0, 1)[0]
    out, a = listed(record.y, 0, rows), part(record.a, 0, 0, rows)
    reductions.row_dots(out, a, whole(record.b), record.i, shift)


@caller()
def weighted_row_sum(record, at, first, rows, batch):
    """i : rows of a stretch, j : its distance, k : weights that there are."""
    reductions.weighted_row_sum(
        whole(record.c), listed(record.x, 0, record.k), part(record.a, 0, 0, record.i),
        whole(record.start), record.j, rows,
    )  # fmt: skip


@caller()
def transpose_panel(record, at, first, rows, batch):
    panels.transpose_panel(whole(record.a), record.i, record.j, whole(record.c), record.k, record.m)


@caller()
def interleave(record, at, first, rows, batch):
    x, y = listed(record.x, 0, rows), listed(record.y, 0, rows)
    panels.interleave(x, y, listed(record.z, 0, 2 * rows))


def lanes(dtype):
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def numbers(rng, shape, dtype, exact):
    values = rng.randn(*shape)
    return (np.round(4 * values) if exact else values).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("in_rows", [False, True])
def test_square_of_a_row_of_every_width(dtype, in_rows):
    rng = np.random.RandomState(0)
    for columns in (*range(70), 130, 257):
        for exact in (True, False):
            values = numbers(rng, (3, columns), dtype, exact)
            a = Panels(values, gap=columns % 3, shift=1, in_rows=in_rows)
            for row, x in enumerate(values.astype(np.longdouble)):
                record = of(dtype, a=a)
                call(square_of_row, record, first=row)
                bound = 0 if exact else product_error(values[[row]], values[[row]].T, 0)
                assert abs(record["result"][0] - (x * x).sum()) <= bound
            check_unchanged(a)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("piece", [square_of_row, row_dots])
def test_a_sum_reports_nan_wherever_it_is(dtype, piece):
    n = 7 * PANEL
    for place in range(n):
        values = np.zeros((1, n), dtype)
        values[0, place] = np.nan
        a, w, out = Panels(values), Panels(np.zeros((1, n), dtype)), np.zeros(1, dtype)
        for left, right in ((a, w), (w, a)):
            record = of(dtype, a=left, b=right, x=np.zeros(1, dtype), y=out, i=n)
            call(piece, record, rows=1)
            result = record["result"] if piece is square_of_row else out
            assert np.isnan(result).all() == (piece is row_dots or left is a)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("in_rows", [False, True])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    columns=st.integers(1, 100),
    exact=st.booleans(),
    gap=st.integers(0, 3),
)
def test_add_a_multiple_of_a_row(dtype, in_rows, seed, columns, exact, gap):
    rng = np.random.RandomState(seed)
    values, others = (numbers(rng, (rows, columns), dtype, exact) for rows in (4, 5))
    c, a = Panels(values, gap=gap, in_rows=in_rows), Panels(others, gap=1, shift=1)
    factor = Guarded(numbers(rng, (1,), dtype, exact))
    call(add_multiple_of_row, of(dtype, c=c, a=a, x=factor), at=2, first=3)
    check_unchanged(a, factor)
    c.check(slice(3, 4))
    expected = values.astype(np.longdouble)
    expected[3] += factor.array[0, 0].astype(np.longdouble) * others[2]
    # Rounded once.
    np.testing.assert_array_max_ulp(c.values, expected.astype(dtype), 0 if exact else 1)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 40),
    columns=st.integers(0, 100),
    gap=st.integers(0, 3),
    exact=st.booleans(),
)
def test_dots_of_many_rows(dtype, seed, rows, columns, gap, exact):
    rng = np.random.RandomState(seed)
    A, w = (numbers(rng, shape, dtype, exact) for shape in ((rows, columns), (1, columns)))
    # The padding of A holds anything, NaN here; that of w zeros.
    a, b = Panels(A, gap=gap, shift=1, fill=np.nan), Panels(w, gap=gap, shift=2)
    out, shift = Guarded(np.zeros(rows, dtype), shift=3), np.full(1, 0.5, dtype)
    call(row_dots, of(dtype, a=a, b=b, x=shift, y=out, i=columns), rows=rows)
    check_unchanged(a, b)
    out.check_all_but_the_array()
    expected = (A.astype(np.float64) @ w[0].astype(np.float64)) + 0.5
    bound = 0 if exact else product_error(A, w.T, np.full((rows, 1), 0.5))[:, 0]
    assert (np.abs(out.array[0] - expected) <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_dot_does_not_depend_on_the_rows_beside_it(dtype):
    rng = np.random.RandomState(3)
    A, w = (numbers(rng, shape, dtype, False) for shape in ((29, 77), (1, 77)))
    results = []
    for rows in range(30):
        out, shift, a, b = np.zeros(29, dtype), np.zeros(1, dtype), Panels(A), Panels(w)
        call(row_dots, of(dtype, a=a, b=b, x=shift, y=out, i=77), rows=rows)
        results.append(out[:rows])
    for rows in range(30):
        np.testing.assert_array_equal(results[rows], results[29][:rows])


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 60),
    quads=st.integers(1, 6),
    alone=st.booleans(),
    columns=st.integers(0, 100),
    one_weight=st.booleans(),
    in_place=st.booleans(),
    gap=st.integers(0, 3),
    exact=st.booleans(),
)
def test_weighted_sum_of_rows(
    dtype, seed, rows, quads, alone, columns, one_weight, in_place, gap, exact
):
    rng = np.random.RandomState(seed)
    # In stretches of 4, 8, … rows; a single one may have any number.
    length = rows if alone else 4 * quads
    stretches = 1 if alone else max(1, -(-rows // length))
    A = numbers(rng, (stretches, length, columns), dtype, exact)
    weight = numbers(rng, (1 if one_weight else max(2, rows),), dtype, exact)
    start = numbers(rng, (1, columns), dtype, exact)
    a, x = Panels(A, gap=gap, shift=2), Guarded(weight, shift=1)
    s, c = Panels(start, gap=gap, shift=3), Panels(np.zeros_like(start), shift=4)
    target = s if in_place else c
    record = of(dtype, a=a, x=x, c=target, start=s, i=length, j=a.block, k=weight.size)
    call(weighted_row_sum, record, rows=rows)
    check_unchanged(a, x, c if in_place else s)
    target.check(slice(None))
    factors = np.repeat(weight, rows)[:rows] if one_weight else weight[:rows]
    B = A.reshape(stretches * length, columns)[:rows]
    expected = start + factors[None].astype(np.float64) @ B
    bound = 0 if exact else product_error(factors[None], B, start)
    assert (np.abs(target.values - expected) <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_weighted_sum_has_the_same_bits_in_any_stretches(dtype):
    rng = np.random.RandomState(4)
    A, weight = numbers(rng, (48, 37), dtype, False), numbers(rng, (48,), dtype, False)
    start = Panels(np.zeros((1, 37), dtype))
    results = []
    for length in (4, 8, 12, 16, 24, 48):
        a, c = Panels(A.reshape(-1, length, 37)), Panels(np.ones((1, 37), dtype))
        record = of(dtype, a=a, x=weight, c=c, start=start, i=length, j=a.block, k=48)
        call(weighted_row_sum, record, rows=47)
        results.append(c.values)
    for result in results:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_transpose_of_a_panel(dtype):
    rng = np.random.RandomState(5)
    values = bits(rng.randn(48, 3 * PANEL).astype(dtype)).copy().view(dtype)
    bits(values)[17, 20] = bits(untouched(1, dtype))[0] + 1  # a NaN keeps its bits
    for row, panel, target_row, target_panel in ((0, 0, 0, 0), (16, 1, 32, 0), (32, 2, 16, 1)):
        source = Panels(values, gap=1, shift=1)
        target = Panels(np.zeros((48, 2 * PANEL), dtype), gap=2, shift=2)
        record = of(dtype, a=source, c=target, i=row, j=panel, k=target_row, m=target_panel)
        call(transpose_panel, record)
        check_unchanged(source)
        rows = slice(target_row, target_row + PANEL)
        columns = slice(target_panel * PANEL, (target_panel + 1) * PANEL)
        target.check(rows, columns)
        block = values[row : row + PANEL, panel * PANEL : (panel + 1) * PANEL]
        np.testing.assert_array_equal(
            bits(target.values)[rows, columns], bits(np.ascontiguousarray(block.T))
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_interleave(dtype):
    for count in range(3 * whole_vectors(PANEL, lanes(dtype)) + 2):
        values = np.arange(2 * count, dtype=dtype).reshape(2, -1)
        x, y = (Guarded(v, shift=k) for k, v in enumerate(values))
        target = Guarded(np.zeros(2 * count, dtype), shift=2)
        call(interleave, of(dtype, x=x, y=y, z=target), rows=count)
        check_unchanged(x, y)
        target.check_all_but_the_array()
        np.testing.assert_array_equal(target.array[0], values.T.ravel())


@pytest.mark.parametrize("dtype", DTYPES)
def test_guard_zones_see_a_stray_write(dtype):
    zone, panels = Guarded(np.zeros((3, 16), dtype), row=20), Panels(np.zeros((3, 20), dtype), 1)
    rows = slice(None)
    for guarded, places, check in (
        (zone, (-1, 16, 19, 3 * 20), zone.check_all_but_the_array),
        (panels, (-1, 3 * PANEL, 4 * PANEL - 1, 7 * PANEL), lambda: panels.check(rows)),
        (panels, (-1, 0, 4 * PANEL, 7 * PANEL), lambda: panels.check(rows, slice(1, PANEL))),
    ):
        start = (guarded.address - guarded.memory.ctypes.data) // guarded.memory.itemsize
        for place in places:
            check()
            kept = guarded.memory[start + place : start + place + 1].copy()
            guarded.memory[start + place] = 2.5
            with pytest.raises(AssertionError):
                check()
            bits(guarded.memory)[start + place] = bits(kept)[0]
            check()
