"""Rows of X into the input buffer: every type, stride, order and dtype, and nothing beside them."""

import numpy as np
import pytest
from compiled import address, call, filled
from guards import CAN_FENCE, Guarded, Panels, check_unchanged, fenced, survives
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_kernels import take_rows as naive_take_rows

from fastmlp.kernels.epoch import EPOCH
from fastmlp.kernels.take_rows import SOURCES, rows_record, take_rows

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


def record_of(X, target, epoch):
    """What `take_rows` reads; target : fields of the buffer."""
    kind = next(iter(target))
    place = X.__array_interface__["data"][0]
    x = {X.dtype.name: place, "row": X.strides[0], "column": X.strides[1]}
    dtype = rows_record(X.dtype, kind)
    return filled(dtype, x=x, n_features=X.shape[1], a=target, epoch=address(epoch))


def epoch_of(order, **fields):
    """An epoch; without an order, the rows are taken as they are."""
    return filled(EPOCH, **fields, **({} if order is None else {"order": order}))


def run(X, dtype, order, first, rows, gap=0):
    """Take rows into the second block of a guarded buffer; X and the order are left as they were.

    Where they begin is said half by the minibatch.
    """
    target = Panels(np.full((3, max(1, rows), X.shape[1]), 7, dtype), gap=gap, shift=1)
    kept = X.tobytes()
    epoch = epoch_of(order, batch_size=first // 2)
    record = record_of(X, target.fields(), epoch)
    call(take_rows, record, at=1, first=first - first // 2, rows=rows, batch=1)
    target.check(slice(rows), slice(X.shape[1]), block=1)
    assert X.tobytes() == kept
    return target.values[1, :rows]


def check(X, dtype, order, first, rows, gap=0):
    result = run(X, dtype, order, first, rows, gap)
    chosen = np.arange(len(X)) if order is None else order
    expected = naive_take_rows(X, chosen[first : first + rows], dtype)
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(np.signbit(result), np.signbit(expected))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", SOURCES)
def test_every_layout_width_and_order(dtype, kind):
    rng = np.random.RandomState(0)
    for layout in LAYOUTS:
        for columns in (*range(1, 20), 33, 70):
            X = laid_out(values(rng, (9, columns), kind), layout)
            order = rng.permutation(np.repeat(np.arange(9), 2))
            check(X, dtype, None, 0, 9)
            check(X, dtype, None, 2, 5, gap=1)
            check(X, dtype, order, 0, 18, gap=2)
            check(X, dtype, order, 4, 7)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(SOURCES),
    layout=st.sampled_from(LAYOUTS),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 100)),
    ordered=st.booleans(),
    gap=st.integers(0, 3),
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
def test_minibatches_and_blocks(dtype):
    X = np.arange(60.0).reshape(20, 3)
    order = np.random.RandomState(1).permutation(20)
    for batch, first, at in ((0, 0, 0), (1, 3, 2), (2, 4, 1)):
        target = Panels(np.zeros((3, 2, 3), dtype))
        epoch = epoch_of(order, batch_size=7)
        call(take_rows, record_of(X, target.fields(), epoch), at, first, rows=2, batch=batch)
        target.check(columns=slice(3), rows=slice(2), block=at)
        start = 7 * batch + first
        np.testing.assert_array_equal(target.values[at], X[order[start : start + 2]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_order_is_left_alone(dtype):
    X = np.arange(12.0).reshape(4, 3)
    order = Guarded(np.array([3, 1, 1, 0]))
    target = Panels(np.zeros((4, 3), dtype))
    epoch = epoch_of(order)
    call(take_rows, record_of(X, target.fields(), epoch), rows=4)
    check_unchanged(order)
    np.testing.assert_array_equal(target.values, X[[3, 1, 1, 0]])


def test_types_that_are_not_read_in_place():
    for name in ("f2", "g", "c8", "O", "U3", "M8[s]"):
        assert np.dtype(name) not in SOURCES
    assert np.dtype("f8").newbyteorder() not in SOURCES
    assert len({rows_record(source, "float32") for source in SOURCES}) == len(SOURCES)


def read_everything(dtype):
    """Take rows of X that ends, or begins, where no memory can be read."""
    epoch = epoch_of(order := np.array([3, 0, 2, 1]))
    target = Panels(np.zeros((4, 112), dtype))
    for kind in SOURCES:
        for columns in (1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 100):
            for part in fenced(4 * columns * np.dtype(kind).itemsize):
                numbers = part.view(kind)
                for X in (numbers.reshape(4, -1), numbers.reshape(-1, 4).T):
                    for flipped in (X, X[::-1, ::-1]):
                        call(take_rows, record_of(flipped, target.fields(), epoch), rows=4)
    assert order.size == 4


def read_beyond(dtype):
    """What the test below would see if a number more were read."""
    part = fenced(64)[0].view(np.float64)
    target = Panels(np.zeros((1, 16), dtype))
    epoch = epoch_of(None)
    record = record_of(part.reshape(1, 8), target.fields(), epoch)
    record["n_features"] = 9
    call(take_rows, record, rows=1)


@pytest.mark.skipif(not CAN_FENCE, reason="needs pages that cannot be read")
@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_beyond_x_is_read(dtype):
    for kind in SOURCES:  # compiled here, not in the fork
        check(np.zeros((4, 3), kind), dtype, None, 0, 4)
    assert survives(lambda: read_everything(dtype))
    assert not survives(lambda: read_beyond(dtype))
