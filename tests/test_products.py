"""The matrix product and the transpose, for every tile, tail, layout and ending."""

from itertools import cycle
from itertools import product as combinations

import numpy as np
import pytest
from guards import Guarded, bits, check_unchanged, untouched
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_kernels import product as naive_product
from naive_kernels import product_error, whole_vectors

from fastmlp.kernels import products
from fastmlp.kernels.jit import kernel
from fastmlp.kernels.vectors import VECTOR_BYTES

DTYPES = (np.float32, np.float64)


@kernel
def product_from_compiled(
    a, a_row, a_step, b, b_step, c, c_row, rows, columns, shared, start, start_row, gate, floor,
    size,
):  # fmt: skip
    products.product(
        a, a_row, a_step, b, b_step, c, c_row, rows, columns, shared, start, start_row, gate, floor,
        size,
    )  # fmt: skip


@kernel
def transpose_from_compiled(source, source_row, target, target_row, rows, columns, size):
    products.transpose(source, source_row, target, target_row, rows, columns, size)


def lanes(dtype):
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def multiply(
    A, B, start, gate=None, floor=-np.inf, by_columns=False, gaps=(0, 0, 0), shift=0,
    kernel=products.product,
):  # fmt: skip
    """Run the kernel on guarded copies, check every guard, and return C without its padding."""
    dtype = A.dtype
    rows, shared = A.shape
    columns = B.shape[1]
    whole = whole_vectors(columns, lanes(dtype))
    pad = ((0, 0), (0, whole - columns))
    start = np.atleast_2d(start)
    a = Guarded(A.T if by_columns else A, row=(rows if by_columns else shared) + gaps[0])
    b = Guarded(np.pad(B, pad), row=whole + gaps[1], shift=shift)
    s = Guarded(np.pad(start, pad), row=whole + gaps[0], shift=shift)
    c = Guarded(np.full((rows, whole), np.nan, dtype), row=whole + gaps[2], shift=shift)
    g = None if gate is None else Guarded(np.pad(gate, pad), row=c.row)
    a_row, a_step = (1, a.row) if by_columns else (a.row, 1)
    kernel(
        a.address, a_row, a_step, b.address, b.row, c.address, c.row, rows, columns, shared,
        s.address, s.row if len(start) > 1 else 0, 0 if g is None else g.address, floor,
        dtype.itemsize,
    )  # fmt: skip
    check_unchanged(a, b, s, *([] if g is None else [g]))
    c.check_all_but_the_array()
    return c.array[:, :columns].copy()


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_shape_layout_and_ending(dtype):
    # Small whole numbers: every sum is exact, so that each bit of the memory around can be named.
    rng = np.random.RandomState(0)
    rows_most, columns_most, shared_most, row = 25, 70, 10, 112
    padding = whole_vectors(columns_most, lanes(dtype))
    A = rng.randint(-4, 5, (rows_most, shared_most)).astype(dtype)
    a = Guarded(A, row=13), Guarded(A.T, row=29)
    b = Guarded(rng.randint(-4, 5, (shared_most, padding)).astype(dtype), row=padding + 3)
    full = Guarded(rng.randint(-9, 10, (rows_most, padding)).astype(dtype), row=padding + 5)
    gate = Guarded(rng.randint(-1, 2, (rows_most, padding)).astype(dtype), row=row)
    endings = list(combinations((0, 1), (False, True), (False, True), (0.0, -np.inf)))
    shared_sizes = cycle(range(shared_most + 1))  # 11 sizes meet 16 endings in every pairing
    memory = untouched((rows_most + 2) * row, dtype)
    expected = untouched(memory.size, dtype)
    inside = expected.reshape(-1, row)
    first = memory.ctypes.data + row * memory.itemsize
    nan = bits(untouched(1, dtype))
    cases = 0
    for rows in range(1, rows_most + 1):
        for columns in range(1, columns_most + 1):
            whole = whole_vectors(columns, lanes(dtype))
            for layout, one_start, gated, floor in endings:
                shared = next(shared_sizes)
                bits(memory)[...] = nan
                products.product(
                    a[layout].address, *((13, 1), (1, 29))[layout], b.address, b.row, first, row,
                    rows, columns, shared, full.address, 0 if one_start else full.row,
                    gate.address if gated else 0, floor, A.itemsize,
                )  # fmt: skip
                inside[1 : 1 + rows, :whole] = naive_product(
                    A[:rows, :shared], b.array[:shared, :whole],
                    full.array[0, :whole] if one_start else full.array[:rows, :whole],
                    gate.array[:rows, :whole] if gated else None, floor,
                )  # fmt: skip
                same = memory == expected
                same |= bits(memory) == bits(expected)
                assert same.all(), (rows, columns, shared, layout, one_start, gated, floor)
                bits(inside)[1 : 1 + rows, :whole] = nan
                cases += 1
    check_unchanged(*a, b, full, gate)
    assert cases == rows_most * columns_most * 16


def numbers(rng, shape, dtype):
    return rng.randn(*shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [products.product, product_from_compiled])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 130),
    columns=st.integers(1, 200),
    shared=st.integers(0, 150),
    by_columns=st.booleans(),
    gated=st.booleans(),
    one_start=st.booleans(),
    floor=st.sampled_from([-np.inf, 0.0, -0.5]),
    gaps=st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40)),
    shift=st.integers(0, 17),
)
def test_against_the_twin(
    dtype, kernel, seed, rows, columns, shared, by_columns, gated, one_start, floor, gaps, shift
):  # fmt: skip
    rng = np.random.RandomState(seed)
    A, B = numbers(rng, (rows, shared), dtype), numbers(rng, (shared, columns), dtype)
    start = numbers(rng, (1 if one_start else rows, columns), dtype)
    gate = np.maximum(numbers(rng, (rows, columns), dtype), 0) if gated else None
    C = multiply(A, B, start, gate, floor, by_columns, gaps, shift, kernel)
    expected = naive_product(A.astype(np.float64), B.astype(np.float64), start, gate, floor)
    assert (np.abs(C - expected) <= product_error(A, B, start)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_number_has_the_same_bits_in_every_tile(dtype):
    rng = np.random.RandomState(1)
    A, B = numbers(rng, (25, 40), dtype), numbers(rng, (40, 100), dtype)
    start = numbers(rng, (100,), dtype)
    whole = multiply(A, B, start)
    for rows in range(1, 25):
        np.testing.assert_array_equal(multiply(A[:rows], B, start), whole[:rows])
        np.testing.assert_array_equal(multiply(A[rows:], B, start), whole[rows:])
    for columns in range(1, 100):
        part = multiply(A, B[:, :columns], start[:columns])
        np.testing.assert_array_equal(part, whole[:, :columns])
    np.testing.assert_array_equal(multiply(A, B, start, by_columns=True), whole)
    np.testing.assert_array_equal(multiply(A, B, np.tile(start, (25, 1))), whole)


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_term_is_added_in_order_and_rounded_once(dtype):
    # In order: (1 + tiny) − 1 + tiny is tiny once tiny alone is lost beside 1.
    eps = np.finfo(dtype).eps
    tiny = dtype(eps / 4)
    A = np.array([[1, tiny, -1, tiny]], dtype)
    assert multiply(A, np.ones((4, 1), dtype), np.zeros(1, dtype)) == tiny
    # Rounded once: (1 + eps)² − (1 + 2 eps) = eps², which a product rounded alone would lose.
    one = dtype(1) + eps
    A = np.array([[one]], dtype)
    C = multiply(A, A, np.array([-(1 + 2 * eps)], dtype))
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
def test_no_rows_writes_nothing(dtype):
    c = Guarded(np.ones((1, 64), dtype))
    products.product(
        c.address, 64, 1, c.address, 64, c.address, 64, 0, 64, 1, c.address, 0, 0, 0.0,
        c.array.itemsize,
    )  # fmt: skip
    check_unchanged(c)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_distance_of_zero_repeats_one_number(dtype):
    # The sum of the columns of B: how the bias gradient is summed.
    B = np.random.RandomState(4).randint(-9, 10, (33, 48)).astype(dtype)
    b, one = Guarded(B), Guarded(np.ones((1, 1), dtype))
    zeros, c = Guarded(np.zeros((1, 48), dtype)), Guarded(np.zeros((1, 48), dtype))
    products.product(
        one.address, 0, 0, b.address, b.row, c.address, 0, 1, 48, 33, zeros.address, 0, 0,
        -np.inf, B.itemsize,
    )  # fmt: skip
    check_unchanged(b, one, zeros)
    c.check_all_but_the_array()
    np.testing.assert_array_equal(c.array[0], B.sum(axis=0))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [products.transpose, transpose_from_compiled])
def test_transpose_of_every_shape(dtype, kernel):
    rng = np.random.RandomState(5)
    width = lanes(dtype)
    for rows, columns in [*combinations((1, 3, 15, 16, 17, 33, 50), repeat=2), (5, 130), (130, 5)]:
        whole = whole_vectors(rows, width), whole_vectors(columns, width)
        values = bits(numbers(rng, whole, dtype)).copy().view(dtype)
        bits(values)[0, 0] = bits(untouched(1, dtype))[0] + 1  # a NaN keeps its bits
        source = Guarded(values, row=whole[1] + 7, shift=3)
        target = Guarded(np.zeros(whole[::-1], dtype), row=whole[0] + 9, shift=5)
        kernel(
            source.address, source.row, target.address, target.row, rows, columns, values.itemsize
        )
        check_unchanged(source)
        target.check_all_but_the_array()
        np.testing.assert_array_equal(
            bits(np.ascontiguousarray(target.array)), bits(np.ascontiguousarray(values.T))
        )
