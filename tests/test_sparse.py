"""CSR rows in the first layer: forward and gradient, with and without a hidden layer."""

from itertools import pairwise

import numpy as np
import pytest
from guards import CAN_FENCE, Guarded, check_unchanged, fenced, survives
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_kernels import dense, product_error

from fastmlp.kernels.jit import kernel
from fastmlp.kernels.sparse import (
    apply_clear,
    apply_relu,
    sort_entries,
    sparse_forward,
    sparse_gradient,
    sparse_logits,
    sparse_output_gradient,
)

DTYPES = (np.float32, np.float64)


@kernel
def clear_and_relu(count, size, cleared, rectified):
    apply_clear(count, size, (cleared,), ())
    apply_relu(count, size, (rectified,), ())


@kernel
def first_layer_from_compiled(
    csr, order, n, features, entries, ends, weights, row, bias, z, gradient, delta, size
):  # fmt: skip
    sparse_forward(csr, order, 0, n, weights, row, bias, z, row, size)
    begin = sort_entries(csr, order, 0, n, 0, features, features, entries, ends)
    sparse_gradient(csr, entries, begin, ends[0], gradient, row, 0, delta, row, size)


def sum_gradient(csr, order, first, rows, low, high, block, gradient, delta, size):
    """The gradient of features low … high − 1, block by block, as a unit of phase 2 sums it.

    gradient : guarded rows of all features.
    """
    entries = np.full((rows * len(csr[1]) + 1, 2), -1)
    ends = np.zeros(-(-(high - low) // block) + 1, np.int64)
    end = sort_entries(csr, order, first, rows, low, high, block, entries, ends)
    for number, start in enumerate(range(low, high, block)):
        begin, end = end, ends[number]
        target = gradient.address + start * gradient.row * size
        sparse_gradient(
            csr, entries, begin, end, target, gradient.row, start, delta.address, delta.row, size
        )


def random_csr(rng, n, features, dtype, density=0.3):
    """Unsorted entries; some twice, some an explicit 0; some rows empty."""
    counts = rng.binomial(features, density, n) * (rng.rand(n) < 0.8)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    indices = rng.randint(0, features, indptr[-1]).astype(np.int32)
    data = rng.randint(-4, 5, indptr[-1]).astype(dtype)
    return data, indices, indptr


def rows_and_order(rng, n, ordered):
    """An order (empty: none), the first position in it and how many rows follow."""
    order = rng.randint(0, n, 2 * n) if ordered else np.empty(0, np.int64)
    length = len(order) if ordered else n
    first = rng.randint(length)
    rows = rng.randint(length - first + 1)
    chosen = (order if ordered else np.arange(n))[first : first + rows]
    return order, first, rows, chosen


def addressed(csr):
    """What kernels take: the numbers by their address; `csr` keeps them alive."""
    data, indices, indptr = csr
    return data.ctypes.data, indices, indptr


any_case = {
    "seed": st.integers(0, 2**32 - 1),
    "n": st.integers(1, 20),
    "features": st.integers(1, 40),
    "ordered": st.booleans(),
}


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(blocks=st.integers(1, 5), **any_case)
def test_first_layer(dtype, blocks, seed, n, features, ordered):
    # Whole numbers: sums are exact in any order.
    rng = np.random.RandomState(seed)
    csr = random_csr(rng, n, features, dtype)
    order, first, rows, chosen = rows_and_order(rng, n, ordered)
    X, width, size = dense(csr, features)[chosen], 16 * blocks, np.dtype(dtype).itemsize
    weights = Guarded(rng.randint(-4, 5, (features, width)).astype(dtype), row=width + 16)
    bias = Guarded(rng.randint(-4, 5, width).astype(dtype), shift=1)
    z = Guarded(np.zeros((max(1, rows), width), dtype), shift=2)
    sparse_forward(
        addressed(csr), order, first, rows, weights.address, weights.row, bias.address, z.address,
        z.row, size,
    )  # fmt: skip
    check_unchanged(weights, bias)
    z.check(rows, width)
    np.testing.assert_array_equal(z.array[:rows], X @ weights.array + bias.array)

    delta = Guarded(rng.randint(-4, 5, (max(1, rows), width)).astype(dtype), shift=3)
    before = rng.randint(-4, 5, (features, width)).astype(dtype)
    gradient = Guarded(before, shift=4)
    low, high = sorted(rng.randint(0, features + 1, 2))
    block = rng.randint(1, features + 1)
    sum_gradient(addressed(csr), order, first, rows, low, high, block, gradient, delta, size)
    check_unchanged(delta)
    gradient.check_all_but_the_array()
    expected = before.copy()
    expected[low:high] += (X.T @ delta.array[:rows])[low:high]
    np.testing.assert_array_equal(gradient.array, expected)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(**any_case)
def test_entries_by_blocks(seed, n, features, ordered):
    rng = np.random.RandomState(seed)
    csr = random_csr(rng, n, features, np.float32)
    _, indices, indptr = csr
    order, first, rows, chosen = rows_and_order(rng, n, ordered)
    cuts = [0, *sorted(rng.randint(0, features + 1, 2)), features]
    total = sum(indptr[row + 1] - indptr[row] for row in chosen)
    entries = np.full((total + 1, 2), -1)
    expected, place = [], 0
    for low, high in pairwise(cuts):
        block = rng.randint(1, features + 1)
        ends = np.zeros(-(-(high - low) // block) + 1, np.int64)
        ends[-1] = -7
        begin = sort_entries(
            addressed(csr), order, first, rows, low, high, block, entries, ends
        )  # fmt: skip
        assert begin == place
        assert ends[-1] == -7
        for number, start in enumerate(range(low, high, block)):
            here = [
                (k, r)
                for r, row in enumerate(chosen)
                for k in range(indptr[row], indptr[row + 1])
                if start <= indices[k] < min(start + block, high)
            ]
            expected += here
            place += len(here)
            assert ends[number] == place
    np.testing.assert_array_equal(entries, [*expected, (-1, -1)])


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(**any_case)
def test_without_a_hidden_layer(dtype, seed, n, features, ordered):
    rng = np.random.RandomState(seed)
    csr = random_csr(rng, n, features, dtype)
    order, first, rows, chosen = rows_and_order(rng, n, ordered)
    X, size = dense(csr, features)[chosen], np.dtype(dtype).itemsize
    weights = Guarded(rng.randint(-4, 5, features).astype(dtype), shift=1)
    bias = Guarded(np.array([2.5], dtype))
    logits = Guarded(np.zeros(max(1, rows), dtype), shift=2)
    sparse_logits(
        addressed(csr), order, first, rows, weights.address, bias.address, logits.address, size
    )  # fmt: skip
    check_unchanged(weights, bias)
    logits.check(1, rows)
    np.testing.assert_array_equal(logits.array[0, :rows], X @ weights.array[0] + dtype(2.5))

    delta = Guarded(rng.randint(-4, 5, max(1, rows)).astype(dtype), shift=1)
    before = rng.randint(-4, 5, features).astype(dtype)
    gradient = Guarded(before, shift=3)
    sparse_output_gradient(
        addressed(csr), order, first, rows, gradient.address, delta.address, size
    )
    check_unchanged(delta)
    gradient.check_all_but_the_array()
    np.testing.assert_array_equal(gradient.array[0], before + X.T @ delta.array[0, :rows])


@pytest.mark.parametrize("dtype", DTYPES)
def test_from_compiled_code_with_rounded_numbers(dtype):
    rng = np.random.RandomState(3)
    data, indices, indptr = random_csr(rng, 30, 50, dtype)
    csr = rng.randn(data.size).astype(dtype), indices, indptr
    X, size = dense(csr, 50), np.dtype(dtype).itemsize
    W, b, D = (rng.randn(*shape).astype(dtype) for shape in ((50, 32), (1, 32), (30, 32)))
    weights, bias, delta = Guarded(W), Guarded(b), Guarded(D)
    z, gradient = Guarded(np.zeros_like(D)), Guarded(np.zeros_like(W))
    first_layer_from_compiled(
        addressed(csr), np.empty(0, np.int64), 30, 50, np.zeros((data.size, 2), np.int64),
        np.zeros(1, np.int64), weights.address, 32, bias.address, z.address, gradient.address,
        delta.address, size,
    )  # fmt: skip
    check_unchanged(weights, bias, delta)
    z.check_all_but_the_array()
    gradient.check_all_but_the_array()
    assert (np.abs(z.array - (X.astype(float) @ W + b)) <= product_error(X, W, b)).all()
    expected = X.T.astype(float) @ D
    assert (np.abs(gradient.array - expected) <= product_error(X.T, D, np.zeros_like(W))).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_of_the_gradient_do_not_depend_on_how_features_are_shared(dtype):
    rng = np.random.RandomState(4)
    data, indices, indptr = random_csr(rng, 40, 20, dtype)
    csr = rng.randn(data.size).astype(dtype), indices, indptr
    delta = Guarded(rng.randn(40, 16).astype(dtype))
    whole, parts = (Guarded(np.zeros((20, 16), dtype)) for _ in range(2))
    order, size = rng.permutation(40), np.dtype(dtype).itemsize
    for gradient, cuts, block in ((whole, (0, 20), 20), (parts, (0, 1, 7, 8, 20), 5)):
        for low, high in pairwise(cuts):
            sum_gradient(addressed(csr), order, 0, 40, low, high, block, gradient, delta, size)
    np.testing.assert_array_equal(whole.array, parts.array)


@pytest.mark.parametrize("dtype", DTYPES)
def test_clear_and_relu(dtype):
    values = np.array([-1.5, -0.0, 0.0, 2.5, np.nan, np.inf, -np.inf, 1], dtype).repeat(4)
    cleared, rectified = Guarded(values, shift=1), Guarded(values, shift=2)
    clear_and_relu(32, values.itemsize, cleared.address, rectified.address)
    cleared.check_all_but_the_array()
    rectified.check_all_but_the_array()
    np.testing.assert_array_equal(cleared.array, 0)
    np.testing.assert_array_equal(rectified.array[0], np.maximum(values, 0))


def read_everything():
    """Run the kernels on CSR arrays that end, or begin, where no memory can be read."""
    x = random_csr(np.random.RandomState(5), 6, 9, np.float64)
    for side in (0, 1):
        csr = []
        for array in x:
            part = fenced(array.nbytes)[side].view(array.dtype)
            part[...] = array
            csr.append(part)
        W, z, D = np.zeros((9, 16)), np.zeros((6, 16)), np.ones((6, 16))
        none = np.empty(0, np.int64)
        sparse_forward(
            addressed(csr), none, 0, 6, W.ctypes.data, 16, D.ctypes.data, z.ctypes.data, 16, 8
        )
        entries, ends = (
            fenced(16 * len(csr[0]))[side].view(np.int64).reshape(-1, 2),
            np.zeros(2, int),
        )
        begin = sort_entries(addressed(csr), none, 0, 6, 0, 9, 5, entries, ends)
        for low, first, last in ((0, begin, ends[0]), (5, *ends)):
            sparse_gradient(
                addressed(csr), entries, first, last, W[low:].ctypes.data, 16, low, D.ctypes.data,
                16, 8,
            )  # fmt: skip


@pytest.mark.skipif(not CAN_FENCE, reason="needs pages that cannot be read")
def test_nothing_beyond_the_arrays_is_read():
    rng = np.random.RandomState(6)
    csr, x = random_csr(rng, 3, 4, np.float64), np.zeros((4, 16))
    none, at = np.empty(0, np.int64), x.ctypes.data
    sparse_forward(
        addressed(csr), none, 0, 3, at, 16, at, at, 16, 8
    )  # compiled here, not in the fork
    entries, ends = np.zeros((len(csr[0]), 2), int), np.zeros(1, int)
    sort_entries(addressed(csr), none, 0, 3, 0, 4, 4, entries, ends)
    sparse_gradient(addressed(csr), entries, 0, 0, at, 16, 0, at, 16, 8)
    assert survives(read_everything)
