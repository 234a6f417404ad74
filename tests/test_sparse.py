"""CSR rows in the first layer: forward and gradient, with and without a hidden layer."""

from itertools import pairwise

import numpy as np
import pytest
from compiled import address, call, column, filled
from guards import CAN_FENCE, Guarded, Panels, check_unchanged, fenced, survives
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_kernels import dense, product_error

from fastmlp.kernels.epoch import EPOCH
from fastmlp.kernels.simd.vector import PANEL
from fastmlp.kernels.sparse import (
    sort_entries,
    sparse_forward,
    sparse_gradient,
    sparse_output,
    sparse_output_gradient,
    sparse_record,
)

DTYPES = (np.float32, np.float64)


def random_csr(rng, n, features, dtype, density=0.3):
    """Unsorted entries; some twice, some an explicit 0; some rows empty."""
    counts = rng.binomial(features, density, n) * (rng.rand(n) < 0.8)
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    indices = rng.randint(0, features, indptr[-1]).astype(np.int32)
    data = rng.randint(-4, 5, indptr[-1]).astype(dtype)
    return data, indices, indptr


class Minibatch:
    """A minibatch of CSR rows: the third, of `length` rows; the last one if it is short.

    Everything that the kernels read is within guard zones.
    """

    def __init__(self, csr, order, batch_size, length, block_rows=8):
        n_rows = 2 * batch_size + length
        self.batch, self.length = 2, length
        self.chosen = (np.arange(n_rows) if order is None else order)[2 * batch_size :][:length]
        self.csr = [Guarded(x, shift=k) for k, x in enumerate(csr)]
        self.order = order
        self.epoch = filled(
            EPOCH, n_rows=n_rows, batch_size=batch_size, block_rows=block_rows,
            **({} if order is None else {"order": order}),
        )  # fmt: skip

    def record(self, layer, **more):
        """Of the layer that reads the rows; layer : fields of its own record."""
        data, indices, indptr = self.csr
        return filled(
            sparse_record(data.array.dtype.name), values=data, indices=indices, indptr=indptr,
            layer={"epoch": address(self.epoch), **layer}, epoch=address(self.epoch), **more,
        )  # fmt: skip

    def check(self):
        check_unchanged(*self.csr)


def minibatch(rng, n, features, dtype, ordered, csr=None, **more):
    """A minibatch of rows of a random matrix, and its rows as they are in the dense one."""
    length = rng.randint(1, n + 1)
    size = rng.randint(length, n + 1)
    n_rows = 2 * size + length
    csr = random_csr(rng, n_rows, features, dtype) if csr is None else csr
    order = rng.randint(0, n_rows, n_rows) if ordered else None
    batch = Minibatch(csr, order, size, length, **more)
    return batch, dense(csr, features)[batch.chosen]


def blocks(values, block_rows):
    """Rows in blocks, the last one padded with NaN."""
    n_blocks = -(-len(values) // block_rows)
    padded = np.full((n_blocks * block_rows, values.shape[1]), np.nan, values.dtype)
    padded[: len(values)] = values
    return padded.reshape(n_blocks, block_rows, -1)


def sum_gradient(batch, delta, target, cuts, block, adds=False):
    """The gradient of the features between neighbouring cuts, block by block, as units sum it.

    target : panels of the gradient of all features
    """
    features = target.rows
    total = int(sum(np.diff(batch.csr[2].array[0])[batch.chosen]))
    slots = features // PANEL + block // PANEL + 1
    entries = Guarded(np.full(2 * total, -1))
    begins, ends = Guarded(np.full(slots, -1)), Guarded(np.full(slots, -1))
    dW = target.fields(advance=target.row)
    record = batch.record(
        {"dW": dW, "delta": delta, "adds": adds}, entries=entries, begins=begins, ends=ends,
        block_features=block,
    )  # fmt: skip
    for low, high in pairwise(cuts):
        call(sort_entries, record, first=low, rows=high - low, batch=batch.batch)
        for first in range(low, high, block):
            rows = min(block, high - first)
            call(sparse_gradient, record, first=first, rows=rows, batch=batch.batch)
    for written in (entries, begins, ends):
        written.check_all_but_the_array()
    batch.check()
    delta.check()
    return entries.array[0].reshape(-1, 2), begins.array[0], ends.array[0]


def random_cuts(rng, features):
    """Where units begin and end: at whole panels."""
    panels = -(-features // PANEL)
    inner = sorted({*rng.randint(1, panels + 1, 2)} - {panels})
    return [0, *(PANEL * x for x in inner), features]


any_case = {
    "seed": st.integers(0, 2**32 - 1),
    "n": st.integers(1, 20),
    "features": st.integers(1, 100),
    "ordered": st.booleans(),
}


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(width=st.integers(1, 50), gap=st.integers(0, 2), relu=st.booleans(), **any_case)
def test_forward(dtype, width, gap, relu, seed, n, features, ordered):
    # Whole numbers: sums are exact in any order.
    rng = np.random.RandomState(seed)
    batch, X = minibatch(rng, n, features, dtype, ordered)
    W = Panels(rng.randint(-4, 5, (features, width)).astype(dtype), gap=gap, in_rows=True)
    b = Panels(rng.randint(-4, 5, (1, width)).astype(dtype), shift=1)
    first = rng.randint(batch.length)
    rows = batch.length - first
    a = Panels(np.full((3, n, width), 7, dtype), gap=gap, shift=2)
    floor = 0.0 if relu else -np.inf
    record = batch.record({"W": W.fields(advance=W.row), "b": b, "a": a, "floor": floor})
    call(sparse_forward, record, at=1, first=first, rows=rows, batch=batch.batch)
    batch.check()
    check_unchanged(W, b)
    a.check(slice(rows), block=1)
    expected = np.maximum(X[first:] @ W.values + b.values, dtype(floor))
    np.testing.assert_array_equal(a.values[1, :rows], expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_of_special_numbers(dtype):
    # Rows without entries are the bias.
    values = np.array([-1.5, -0.0, 0.0, 2.5, np.nan, np.inf, -np.inf, 1], dtype).repeat(4)
    csr = np.zeros(0, dtype), np.zeros(0, np.int32), np.zeros(6, np.int64)
    batch = Minibatch(csr, None, 1, 3)
    W, b = Panels(np.ones((1, 32), dtype), in_rows=True), Panels(values[None])
    a = Panels(np.zeros((3, 32), dtype))
    record = batch.record({"W": W, "b": b, "a": a, "floor": 0.0})
    call(sparse_forward, record, rows=3, batch=2)
    np.testing.assert_array_equal(a.values, np.tile(np.maximum(values, 0), (3, 1)))


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    width=st.integers(1, 50), block_rows=st.integers(1, 9), panels=st.integers(1, 3),
    adds=st.booleans(), **any_case,
)  # fmt: skip
def test_gradient(dtype, width, block_rows, panels, adds, seed, n, features, ordered):
    rng = np.random.RandomState(seed)
    batch, X = minibatch(rng, n, features, dtype, ordered, block_rows=block_rows)
    D = rng.randint(-4, 5, (batch.length, width)).astype(dtype)
    delta = Panels(blocks(D, block_rows), gap=1, shift=1)
    before = rng.randint(-4, 5, (features, width)).astype(dtype)
    target = Panels(before, gap=1, shift=2, in_rows=True)
    sum_gradient(batch, delta, target, random_cuts(rng, features), PANEL * panels, adds)
    target.check(slice(None))
    np.testing.assert_array_equal(target.values, (before if adds else 0) + X.T @ D)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_first_minibatch_starts_anew(dtype):
    # Where gradients of all minibatches are added up.
    csr = random_csr(np.random.RandomState(1), 6, 20, dtype)
    D = np.ones((6, 5), dtype)
    for number, start in ((0, 0), (1, 7)):
        batch = Minibatch(csr, None, 6, 6)
        order = np.tile(np.arange(6), 3)
        batch.epoch["n_rows"], batch.epoch["order"]["int64"] = 18, order.ctypes.data
        batch.batch, batch.chosen = number, np.arange(6)
        target = Panels(np.full((20, 5), 7, dtype), in_rows=True)
        sum_gradient(batch, Panels(blocks(D, 8)), target, (0, 20), 32, adds=True)
        np.testing.assert_array_equal(target.values, start + dense(csr, 20).T @ D)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_of_a_unit_goes_to_its_room(dtype):
    rng = np.random.RandomState(2)
    batch, X = minibatch(rng, 12, 40, dtype, True)
    D = rng.randint(-4, 5, (batch.length, 20)).astype(dtype)
    delta = Panels(blocks(D, 8))
    rooms = Panels(np.full((3, PANEL, 20), 7, dtype), gap=1, in_rows=True)
    total = int(batch.csr[2].array[0, -1])
    begins, ends = np.zeros((2, 4), np.int64)
    record = batch.record(
        {"dW": rooms, "delta": delta}, entries=np.zeros(2 * total, np.int64), begins=begins,
        ends=ends, block_features=PANEL,
    )  # fmt: skip
    call(sort_entries, record, at=1, first=PANEL, rows=24, batch=batch.batch)
    for first, rows in ((16, 16), (32, 8)):
        call(sparse_gradient, record, at=1, first=first, rows=rows, batch=batch.batch)
        expected = (X.T @ D)[first : first + rows]
        np.testing.assert_array_equal(rooms.values[1, :rows], expected)
    rooms.check(slice(None), block=1)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(panels=st.integers(1, 3), **any_case)
def test_entries_by_blocks(panels, seed, n, features, ordered):
    rng = np.random.RandomState(seed)
    batch, _ = minibatch(rng, n, features, np.float32, ordered)
    _, indices, indptr = (x.array[0] for x in batch.csr)
    block, cuts = PANEL * panels, random_cuts(rng, features)
    target = Panels(np.zeros((features, 1), np.float32), in_rows=True)
    delta = Panels(blocks(np.zeros((batch.length, 1), np.float32), 8))
    entries, begins, ends = sum_gradient(batch, delta, target, cuts, block)
    expected, begun = [], np.full(len(begins), -1)
    ended = begun.copy()
    for low, high in pairwise(cuts):
        for start in range(low, high, block):
            begun[start // PANEL] = len(expected)
            expected += [
                (k, r)
                for r, row in enumerate(batch.chosen)
                for k in range(indptr[row], indptr[row + 1])
                if start <= indices[k] < min(start + block, high)
            ]
            ended[start // PANEL] = len(expected)
    np.testing.assert_array_equal(entries, np.reshape(expected, (-1, 2)))
    np.testing.assert_array_equal(begins, begun)
    np.testing.assert_array_equal(ends, ended)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(adds=st.booleans(), **any_case)
def test_without_a_hidden_layer(dtype, adds, seed, n, features, ordered):
    rng = np.random.RandomState(seed)
    batch, X = minibatch(rng, n, features, dtype, ordered)
    w = Panels(rng.randint(-4, 5, (1, features)).astype(dtype), shift=1)
    b = Panels(np.array([[2.5]], dtype))
    first = rng.randint(batch.length)
    rows, logits = batch.length - first, Guarded(np.full(n, 7, dtype), shift=2)
    record = batch.record({"W": w, "b": b, "logits": column(logits, advance=1)})
    call(sparse_output, record, at=3, first=first, rows=rows, batch=batch.batch)
    batch.check()
    check_unchanged(w, b)
    logits.check_all_but_the_array()
    expected = np.full(n, 7, dtype)
    expected[first : batch.length] = X[first:] @ w.values[0] + dtype(2.5)
    np.testing.assert_array_equal(logits.array[0], expected)

    delta = Guarded(rng.randint(-4, 5, batch.length).astype(dtype), shift=1)
    dw = Panels(rng.randint(-4, 5, (3, 1, features)).astype(dtype), gap=1)
    db = Panels(rng.randint(-4, 5, (3, 1, 1)).astype(dtype), gap=1)
    before = [(x.values[1, 0] if adds else 0) for x in (dw, db)]
    record = batch.record({"dW": dw, "db": db, "output_delta": delta, "adds": adds})
    call(sparse_output_gradient, record, at=1, rows=1, batch=batch.batch)
    batch.check()
    check_unchanged(delta)
    for x, start, gradient in zip(
        (dw, db), before, (X.T @ delta.array[0], delta.array[0].sum()), strict=True
    ):
        x.check(slice(None), block=1)
        np.testing.assert_array_equal(x.values[1, 0], start + gradient)
        assert not x.padded[1, :, x.columns :].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounded_numbers(dtype):
    rng = np.random.RandomState(3)
    data, indices, indptr = random_csr(rng, 30, 50, dtype)
    csr = rng.randn(data.size).astype(dtype), indices, indptr
    X, batch = dense(csr, 50), Minibatch(csr, np.tile(np.arange(30), 3), 30, 30)
    W, b, D = (rng.randn(*shape).astype(dtype) for shape in ((50, 32), (1, 32), (30, 32)))
    a, weights, bias = Panels(np.zeros_like(D)), Panels(W, in_rows=True), Panels(b)
    record = batch.record({"W": weights, "b": bias, "a": a, "floor": -np.inf})
    call(sparse_forward, record, rows=30, batch=2)
    assert (np.abs(a.values - (X.astype(float) @ W + b)) <= product_error(X, W, b)).all()
    gradient = Panels(np.zeros_like(W), in_rows=True)
    sum_gradient(batch, Panels(blocks(D, 8)), gradient, (0, 50), 64)
    expected = X.T.astype(float) @ D
    assert (np.abs(gradient.values - expected) <= product_error(X.T, D, np.zeros_like(W))).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_of_the_gradient_do_not_depend_on_how_features_are_shared(dtype):
    rng = np.random.RandomState(4)
    data, indices, indptr = random_csr(rng, 120, 100, dtype)
    csr = rng.randn(data.size).astype(dtype), indices, indptr
    order = rng.permutation(120)
    D = rng.randn(40, 16).astype(dtype)
    results = []
    for cuts, block in (((0, 100), 112), ((0, 16, 32, 80, 100), 16), ((0, 48, 100), 32)):
        gradient = Panels(np.zeros((100, 16), dtype), in_rows=True)
        batch = Minibatch(csr, order, 40, 40, block_rows=7)
        sum_gradient(batch, Panels(blocks(D, 7)), gradient, cuts, block)
        results.append(gradient.values)
    for result in results:
        np.testing.assert_array_equal(result, results[0])


def run_everything(csr, dtype=np.float64):
    """Run the kernels on CSR arrays as they are."""
    data, indices, indptr = csr
    epoch = filled(EPOCH, n_rows=6, batch_size=6, block_rows=6)
    W, b = Panels(np.zeros((9, 16)), in_rows=True), Panels(np.zeros((1, 16)))
    w, db, z = Panels(np.zeros((1, 9))), Panels(np.zeros((1, 1))), np.zeros(6)
    a, delta = Panels(np.zeros((6, 16))), np.ones(6)
    entries, slots = fenced(16 * len(data))[0].view(np.int64), np.zeros((2, 2), np.int64)
    hidden = {"W": W, "b": b, "a": a, "delta": a, "dW": W}
    output = {
        "W": w, "b": db, "dW": w, "db": db, "output_delta": delta,
        "logits": {"float64": z.ctypes.data, "advance": 1},
    }  # fmt: skip
    for layer, pieces in (
        (hidden, (sparse_forward, sort_entries, sparse_gradient)),
        (output, (sparse_output, sparse_output_gradient)),
    ):
        record = filled(
            sparse_record("float64"), layer={**layer, "epoch": address(epoch)}, values=data,
            indices=indices, indptr=indptr, entries=entries, begins=slots[0], ends=slots[1],
            block_features=PANEL, epoch=address(epoch),
        )  # fmt: skip
        for piece in pieces:
            rows = 9 if piece in (sort_entries, sparse_gradient) else 6
            call(piece, record, rows=rows)


def read_everything():
    """Run the kernels on CSR arrays that end, or begin, where no memory can be read."""
    x = random_csr(np.random.RandomState(5), 6, 9, np.float64)
    for side in (0, 1):
        csr = []
        for array in x:
            part = fenced(array.nbytes)[side].view(array.dtype)
            part[...] = array
            csr.append(part)
        run_everything(csr)


@pytest.mark.skipif(not CAN_FENCE, reason="needs pages that cannot be read")
def test_nothing_beyond_the_arrays_is_read():
    # Compiled here, not in the fork.
    run_everything(random_csr(np.random.RandomState(5), 6, 9, np.float64))
    assert survives(read_everything)
