"""Rows of X into the input buffer: every type, stride, order and dtype, and nothing beside them."""

import numpy as np
import pytest
from compiled import copy_numbers, gather
from guards import CAN_FENCE, Guarded, check_unchanged, fenced, survives
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_kernels import gather as naive_gather

from fastmlp.kernels.gather import SOURCE_TYPES, source_code

DTYPES = (np.float32, np.float64)
LAYOUTS = (
    "C", "F", "rows_apart", "columns_apart", "rows_reversed", "columns_reversed", "one_row",
    "one_column", "misaligned", "read_only",
)  # fmt: skip


def values(rng, shape, kind):
    """Numbers of a type, its extremes among them."""
    dtype = np.dtype(kind)
    if dtype.kind == "b":
        return rng.rand(*shape) < 0.5
    if dtype.kind == "f":
        info, X = np.finfo(dtype), rng.randn(*shape).astype(dtype)
        ends = [0.0, -0.0, np.inf, -np.inf, np.nan, info.max, info.tiny, info.smallest_subnormal]
    else:
        info = np.iinfo(dtype)
        X = np.frombuffer(rng.bytes(dtype.itemsize * int(np.prod(shape))), dtype).reshape(shape)
        X, ends = X.copy(), [0, 1, info.min, info.max]
    X.ravel()[: len(ends)] = np.array(ends, dtype)[: X.size]
    return X


def laid_out(X, layout):
    """The same numbers as X where the layout allows it, else numbers of the same shape."""
    n, m = X.shape
    if layout == "F":
        return np.asfortranarray(X)
    if layout == "rows_apart":
        wide = np.zeros((3 * n, m), X.dtype)
        wide[1::3] = X
        return wide[1::3]
    if layout == "columns_apart":
        wide = np.zeros((n, 3 * m), X.dtype)
        wide[:, ::3] = X
        return wide[:, ::3]
    if layout == "rows_reversed":
        return X[::-1].copy()[::-1]
    if layout == "columns_reversed":
        return X[:, ::-1].copy()[:, ::-1]
    if layout == "one_row":
        return np.broadcast_to(X[0].copy(), X.shape)
    if layout == "one_column":
        return np.broadcast_to(X[:, :1].copy(), X.shape)
    if layout == "misaligned":
        room = np.zeros(X.nbytes + 1, np.uint8)
        view = room[1:].view(X.dtype).reshape(X.shape)
        view[...] = X
        return view
    X = X.copy()
    X.flags.writeable = layout != "read_only"
    return X


def run(X, dtype, order, first, rows, gap=0):
    """Gather into a guarded buffer; X and the order are left as they were."""
    target = Guarded(np.full((rows, X.shape[1]), 7, dtype), row=X.shape[1] + gap, shift=1)
    kept = X.tobytes()
    gather(
        source_code(X.dtype), X.__array_interface__["data"][0], *X.strides,
        0 if order is None else order.ctypes.data, first, rows, X.shape[1],
        target.address, target.row, target.array.itemsize,
    )  # fmt: skip
    target.check_all_but_the_array()
    assert X.tobytes() == kept
    return target.array


def check(X, dtype, order, first, rows, gap=0):
    result = run(X, dtype, order, first, rows, gap)
    chosen = np.arange(len(X)) if order is None else order
    expected = naive_gather(X, chosen[first : first + rows], dtype)
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(np.signbit(result), np.signbit(expected))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", SOURCE_TYPES)
def test_every_layout_width_and_order(dtype, kind):
    rng = np.random.RandomState(0)
    for layout in LAYOUTS:
        for columns in (*range(1, 20), 33, 70):
            X = laid_out(values(rng, (9, columns), kind), layout)
            order = rng.permutation(np.repeat(np.arange(9), 2))
            check(X, dtype, None, 0, 9)
            check(X, dtype, None, 2, 5, gap=3)
            check(X, dtype, order, 0, 18, gap=5)
            check(X, dtype, order, 4, 7)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(SOURCE_TYPES),
    layout=st.sampled_from(LAYOUTS),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 100)),
    ordered=st.booleans(),
    gap=st.integers(0, 20),
    data=st.data(),
)
def test_against_the_twin(dtype, seed, kind, layout, shape, ordered, gap, data):
    rng = np.random.RandomState(seed)
    X = laid_out(values(rng, shape, kind), layout)
    order = rng.randint(0, shape[0], 2 * shape[0]) if ordered else None
    n = len(order) if ordered else shape[0]
    first = data.draw(st.integers(0, n - 1))
    rows = data.draw(st.integers(0, n - first))
    check(X, dtype, order, first, rows, gap)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_order_is_left_alone(dtype):
    X = np.arange(12.0).reshape(4, 3)
    order = Guarded(np.array([3, 1, 1, 0]))
    target = Guarded(np.zeros((4, 3), dtype))
    gather(
        source_code(X.dtype), X.ctypes.data, *X.strides, order.address, 0, 4, 3,
        target.address, 3, target.array.itemsize,
    )  # fmt: skip
    check_unchanged(order)
    np.testing.assert_array_equal(target.array, X[[3, 1, 1, 0]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_copy_of_numbers(dtype):
    for count in range(70):
        source = Guarded(values(np.random.RandomState(count), (1, count), dtype), shift=1)
        target = Guarded(np.zeros((1, count), dtype), shift=2)
        copy_numbers(source.address, target.address, count, np.dtype(dtype).itemsize)
        check_unchanged(source)
        target.check_all_but_the_array()
        np.testing.assert_array_equal(target.array, source.array)


def test_types_that_are_not_read_in_place():
    for name in ("f2", "g", "c8", "O", "U3", "M8[s]"):
        with pytest.raises(KeyError):
            source_code(np.dtype(name))
    with pytest.raises(KeyError):
        source_code(np.dtype("f8").newbyteorder())
    assert [source_code(np.dtype(name)) for name in SOURCE_TYPES] == list(range(len(SOURCE_TYPES)))


def read_everything(dtype):
    """Gather from X that ends, or begins, where no memory can be read."""
    order = np.array([3, 0, 2, 1])
    target = np.zeros((4, 128), dtype)
    for kind in SOURCE_TYPES:
        for columns in (1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 100):
            for part in fenced(4 * columns * np.dtype(kind).itemsize):
                numbers = part.view(kind)
                for X in (numbers.reshape(4, -1), numbers.reshape(-1, 4).T):
                    for flipped in (X, X[::-1, ::-1]):
                        gather(
                            source_code(X.dtype), flipped.ctypes.data, *flipped.strides,
                            order.ctypes.data, 0, 4, columns, target.ctypes.data, 128,
                            target.itemsize,
                        )  # fmt: skip


@pytest.mark.skipif(not CAN_FENCE, reason="needs pages that cannot be read")
@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_beyond_x_is_read(dtype):
    check(np.zeros((4, 3)), dtype, None, 0, 4)  # compiled here, not in the fork
    assert survives(lambda: read_everything(dtype))
    assert not survives(lambda: read_beyond(dtype))


def read_beyond(dtype):
    """What the test above would see if a number more were read."""
    part = fenced(64)[0].view(np.float64)
    target = np.zeros((1, 128), dtype)
    code = source_code(part.dtype)
    gather(code, part.ctypes.data, 64, 8, 0, 0, 1, 9, target.ctypes.data, 128, target.itemsize)
