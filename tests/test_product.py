"""The matrix product in its three uses, for every tile, tail, layout and ending."""

from itertools import cycle

import numpy as np
import pytest
from compiled import call, caller, of
from guards import Panels, bits, check_unchanged, untouched
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_kernels import product as naive_product
from naive_kernels import product_error, whole_vectors

from fastmlp.kernels.product import (
    PRODUCT,
    TRANSPOSED_PRODUCT,
    add_transposed_product,
    product,
    product_with_gate,
)
from fastmlp.kernels.simd.tile import GATED, PLAIN, TIMES
from fastmlp.kernels.simd.vector import PANEL
from fastmlp.kernels.views import part, whole
from fastmlp.runtime.cpu import VECTOR_BYTES

DTYPES = (np.float32, np.float64)


@caller(PRODUCT)
def forward(record, at, first, rows, batch):
    """i : columns, j : length of the shared dimension, s : floor."""
    c, a, start = part(record.c, 0, 0, rows), part(record.a, 0, 0, rows), whole(record.start)
    product(c, a, whole(record.b), start, (record.i, record.j), record.s)


@caller(PRODUCT)
def backward(record, at, first, rows, batch):
    """k : ending."""
    c, a, start = part(record.c, 0, 0, rows), part(record.a, 0, 0, rows), whole(record.start)
    gate, shape = part(record.gate, 0, 0, rows), (record.i, record.j)
    product_with_gate(c, a, whole(record.b), start, shape, gate, record.k)


@caller(TRANSPOSED_PRODUCT)
def gradient(record, at, first, rows, batch):
    a, b = part(record.a, 0, 0, record.j), part(record.b, 0, 0, record.j)
    add_transposed_product(part(record.c, 0, 0, rows), a, b, whole(record.start), record.i)


USES = {"forward": forward, "backward": backward, "gradient": gradient}


def lanes(dtype):
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def multiply(
    A, B, start, gate=None, floor=-np.inf, ending=None, by_columns=False, gaps=(0, 0, 0), shift=0
):  # fmt: skip
    """Run the kernel on guarded copies, check every guard, and return C without its padding."""
    dtype = A.dtype
    rows, shared = A.shape
    columns = B.shape[1]
    # What pads A does not matter.
    a = Panels(A.T if by_columns else A, gap=gaps[0], fill=np.nan)
    b = Panels(B, gap=gaps[1], shift=shift)
    s = Panels(np.atleast_2d(start), gap=gaps[0], shift=shift)
    c = Panels(np.full((rows, columns), np.nan, dtype), gap=gaps[2], shift=shift)
    g = Panels(np.zeros_like(c.values) if gate is None else gate, gap=gaps[2])
    if ending is None:
        ending = PLAIN if gate is None else GATED
    use = "gradient" if by_columns else "forward" if gate is None else "backward"
    record = of(dtype, a=a, b=b, c=c, start=s, gate=g, i=columns, j=shared, k=ending, s=floor)
    call(USES[use], record, rows=rows)
    check_unchanged(a, b, s, g)
    c.check(slice(None), slice(whole_vectors(columns, lanes(dtype))))
    return c.values


def exact_case(dtype, rows_most, columns_most, shared_most):
    """A, its transpose, B, start values and gate: small whole numbers, so that sums are exact."""
    rng = np.random.RandomState(0)
    A = rng.randint(-4, 5, (rows_most, shared_most)).astype(dtype)
    B = rng.randint(-4, 5, (shared_most, columns_most)).astype(dtype)
    start, gate = rng.randint(-9, 10, (2, rows_most, columns_most)).astype(dtype)
    gate = np.sign(gate)
    return (
        Panels(A, gap=1), Panels(A.T, gap=2), Panels(B, gap=3), Panels(start, gap=5),
        Panels(gate, gap=2),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_shape_layout_and_ending(dtype):
    # Each bit of the memory around can be named.
    rows_most, columns_most, shared_most = 25, 70, 10
    a, a_transposed, b, full, gate = exact_case(dtype, rows_most, columns_most, shared_most)
    c = Panels(np.zeros((rows_most, columns_most), dtype), gap=2)
    memory, expected = c.memory, untouched(c.memory.size, dtype)
    inside, nan = c._view(expected), bits(untouched(1, dtype))
    one_start = [False, True]
    cases = [
        *(("forward", one, PLAIN, floor) for one in one_start for floor in (0.0, -np.inf)),
        *(("backward", one, ending, -np.inf) for one in one_start for ending in range(3)),
        *(("gradient", one, PLAIN, -np.inf) for one in one_start),
    ]
    records = []
    for use, one, ending, floor in cases:
        left = a_transposed if use == "gradient" else a
        start = {**full.fields(), "rows": 1} if one else full
        record = of(dtype, a=left, b=b, c=c, start=start, gate=gate, k=ending, s=floor)
        records.append((USES[use], record))
    shared_sizes = cycle(range(shared_most + 1))  # 11 sizes meet 12 cases in every pairing
    A, B, F, G = (x.padded[0] for x in (a, b, full, gate))
    done = 0
    for rows in range(1, rows_most + 1):
        for columns in range(1, columns_most + 1):
            width = whole_vectors(columns, lanes(dtype))
            for (use, one, ending, floor), (kernel, record) in zip(cases, records, strict=True):
                shared = next(shared_sizes)
                bits(memory)[...] = nan
                record["i"], record["j"] = columns, shared
                if use == "gradient":
                    record["a"]["panels"] = -(-rows // PANEL)
                if not one:
                    record["start"]["rows"] = rows
                call(kernel, record, rows=rows)
                result = naive_product(
                    A[:rows, :shared], B[:shared, :width],
                    F[0, :width] if one else F[:rows, :width],
                    None if ending == PLAIN else G[:rows, :width], floor, times=ending == TIMES,
                )  # fmt: skip
                bits(expected)[...] = nan
                flat = inside[0].reshape(rows_most, -1).copy()
                flat[:rows, :width] = result
                inside[0] = flat.reshape(inside[0].shape)
                same = memory == expected
                same |= bits(memory) == bits(expected)
                assert same.all(), (rows, columns, shared, use, one, ending, floor)
                done += 1
    check_unchanged(a, a_transposed, b, full, gate)
    assert done == rows_most * columns_most * 12


def numbers(rng, shape, dtype):
    return rng.randn(*shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("use", USES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 130),
    columns=st.integers(1, 200),
    shared=st.integers(0, 150),
    one_start=st.booleans(),
    ending=st.sampled_from([PLAIN, GATED, TIMES]),
    floor=st.sampled_from([-np.inf, 0.0, -0.5]),
    gaps=st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)),
    shift=st.integers(0, 17),
)
def test_against_the_twin(
    dtype, use, seed, rows, columns, shared, one_start, ending, floor, gaps, shift
):
    rng = np.random.RandomState(seed)
    A, B = numbers(rng, (rows, shared), dtype), numbers(rng, (shared, columns), dtype)
    start = numbers(rng, (1 if one_start else rows, columns), dtype)
    gate = None
    if use == "backward":
        gate, floor = numbers(rng, (rows, columns), dtype), -np.inf
        gate = gate if ending == TIMES else np.maximum(gate, 0)
    if use == "gradient":
        floor = -np.inf
    C = multiply(A, B, start, gate, floor, ending if use == "backward" else None,
                 use == "gradient", gaps, shift)  # fmt: skip
    seen = None if ending == PLAIN else gate
    expected = naive_product(
        A.astype(np.float64), B.astype(np.float64), start, seen, floor, times=ending == TIMES
    )
    bound = product_error(A, B, start)
    if gate is not None and ending == TIMES:
        bound = bound * np.abs(gate) + np.finfo(dtype).eps * np.abs(expected)
    assert (np.abs(C - expected) <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_number_has_the_same_bits_in_every_tile(dtype):
    rng = np.random.RandomState(1)
    A, B = numbers(rng, (25, 40), dtype), numbers(rng, (40, 100), dtype)
    start = numbers(rng, (100,), dtype)
    all_of_it = multiply(A, B, start)
    for rows in range(1, 25):
        np.testing.assert_array_equal(multiply(A[:rows], B, start), all_of_it[:rows])
        np.testing.assert_array_equal(multiply(A[rows:], B, start), all_of_it[rows:])
        by_columns = multiply(A[:rows], B, start, by_columns=True)
        np.testing.assert_array_equal(by_columns, all_of_it[:rows])
    for columns in range(1, 100):
        fewer = multiply(A, B[:, :columns], start[:columns])
        np.testing.assert_array_equal(fewer, all_of_it[:, :columns])
    np.testing.assert_array_equal(multiply(A, B, start, by_columns=True), all_of_it)
    np.testing.assert_array_equal(multiply(A, B, np.tile(start, (25, 1))), all_of_it)
    ones = np.ones((25, 100), dtype)
    for ending in (PLAIN, GATED, TIMES):
        np.testing.assert_array_equal(multiply(A, B, start, ones, ending=ending), all_of_it)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("by_columns", [False, True])
def test_each_term_is_added_in_order_and_rounded_once(dtype, by_columns):
    # In order: (1 + tiny) − 1 + tiny is tiny once tiny alone is lost beside 1.
    eps = np.finfo(dtype).eps
    tiny = dtype(eps / 4)
    A = np.array([[1, tiny, -1, tiny]], dtype)
    C = multiply(A, np.ones((4, 1), dtype), np.zeros(1, dtype), by_columns=by_columns)
    np.testing.assert_array_equal(C, tiny)
    # Rounded once: (1 + eps)² − (1 + 2 eps) = eps², which a product rounded alone would lose.
    one = dtype(1) + eps
    A = np.array([[one]], dtype)
    C = multiply(A, A, np.array([-(1 + 2 * eps)], dtype), by_columns=by_columns)
    np.testing.assert_array_equal(C, dtype(eps) * dtype(eps))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("floor", [0.0, -np.inf])
def test_nan_and_infinity_stay_in_their_row(dtype, floor):
    rng = np.random.RandomState(2)
    A, B = numbers(rng, (13, 5), dtype), np.abs(numbers(rng, (5, 37), dtype)) + dtype(0.1)
    clean = multiply(A, B, np.zeros(37, dtype), floor=floor)
    A[3, 2], A[6, 1], A[9, 4], A[12, 0] = np.nan, np.inf, -np.inf, np.nan
    C = multiply(A, B, np.zeros(37, dtype), floor=floor)
    assert np.isnan(C[[3, 12]]).all()
    assert (C[6] == np.inf).all()
    assert (C[9] == floor).all()
    others = np.setdiff1d(np.arange(13), [3, 6, 9, 12])
    np.testing.assert_array_equal(C[others], clean[others])


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_in_a_weight_stays_in_its_column(dtype):
    rng = np.random.RandomState(3)
    A, B = numbers(rng, (9, 5), dtype), numbers(rng, (5, 37), dtype)
    B[2, 17] = np.nan
    C = multiply(A, B, np.zeros(37, dtype), floor=0.0)
    np.testing.assert_array_equal(np.isnan(C).all(axis=0), np.arange(37) == 17)
    assert np.isnan(C).sum() == 9


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gate_closes_at_both_zeros_and_at_nothing_else(dtype):
    smallest = np.finfo(dtype).smallest_subnormal
    gate = np.array([[0.0, -0.0, smallest, -smallest, np.nan, np.inf, 1.0]], dtype)
    A, B = np.full((1, 1), np.nan, dtype), np.ones((1, 7), dtype)
    C = multiply(A, B, np.zeros(7, dtype), gate)
    np.testing.assert_array_equal(np.isnan(C[0]), [False, False, True, True, True, True, True])
    np.testing.assert_array_equal(bits(C[0, :2]), 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ending", [GATED, TIMES])
def test_the_gate_may_be_what_is_written(dtype, ending):
    rng = np.random.RandomState(4)
    A, B = numbers(rng, (29, 11), dtype), numbers(rng, (11, 50), dtype)
    start, gate = numbers(rng, (1, 50), dtype), rng.randint(-1, 2, (29, 50)).astype(dtype)
    expected = multiply(A, B, start, gate, ending=ending)
    a, b, s, c = Panels(A), Panels(B), Panels(start), Panels(gate, gap=1, shift=1)
    record = of(dtype, a=a, b=b, c=c, start=s, gate=c, i=50, j=11, k=ending)
    call(backward, record, rows=29)
    c.check(slice(None))
    np.testing.assert_array_equal(c.values, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gradient_adds_to_what_is_there(dtype):
    rng = np.random.RandomState(5)
    A, B = numbers(rng, (37, 21), dtype), numbers(rng, (21, 50), dtype)
    start = numbers(rng, (37, 50), dtype)
    expected = multiply(A, B, start, by_columns=True)
    a, b, c = Panels(A.T), Panels(B), Panels(start, gap=1, shift=1)
    call(gradient, of(dtype, a=a, b=b, c=c, start=c, i=50, j=21), rows=37)
    c.check(slice(None))
    np.testing.assert_array_equal(c.values, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("use", USES)
def test_no_rows_writes_nothing(dtype, use):
    c = Panels(np.ones((1, 64), dtype))
    call(USES[use], of(dtype, a=c, b=c, c=c, start=c, gate=c, i=64, j=1), rows=0)
    check_unchanged(c)
