"""The pieces of a dense layer, each beside its formula in NumPy."""

from itertools import pairwise

import numpy as np
import pytest
from compiled import address, call, column, filled
from guards import Guarded, Panels, check_unchanged
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_kernels import product, product_error, whole_vectors

from fastmlp.kernels import layer as kernels
from fastmlp.kernels.epoch import EPOCH
from fastmlp.kernels.simd.tile import GATED, PLAIN, TIMES
from fastmlp.kernels.simd.vector import PANEL
from fastmlp.runtime.cpu import VECTOR_BYTES

DTYPES = (np.float32, np.float64)
NAN = np.nan


def lanes(dtype):
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def record_of(dtype, **values):
    return filled(kernels.layer_record(np.dtype(dtype).name), **{"members": 1, **values})


def numbers(rng, shape, dtype):
    return rng.randn(*shape).astype(dtype)


def whole_numbers(rng, shape, dtype):
    """Sums of their products are exact in any order."""
    return rng.randint(-4, 5, shape).astype(dtype)


def zeros_for(dtype, columns):
    return Panels(np.zeros((1, columns), dtype))


def in_blocks(values, block_rows, dtype, **more):
    """Rows of a minibatch in blocks; what follows the last row is NaN, as is padding."""
    n_blocks = -(-len(values) // block_rows)
    padded = np.full((n_blocks * block_rows, values.shape[1]), NAN, dtype)
    padded[: len(values)] = values
    return Panels(padded.reshape(n_blocks, block_rows, -1), **more)


any_layer = {
    "seed": st.integers(0, 2**32 - 1),
    "rows": st.integers(1, 30),
    "n_in": st.integers(1, 60),
    "n_out": st.integers(1, 60),
    "gap": st.integers(0, 2),
}


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(floor=st.sampled_from([0.0, -np.inf]), **any_layer)
def test_forward(dtype, floor, seed, rows, n_in, n_out, gap):
    rng = np.random.RandomState(seed)
    A, W, b = (numbers(rng, shape, dtype) for shape in ((3, rows, n_in), (n_in, n_out), (1, n_out)))
    a_in, weights, bias = Panels(A, gap=gap, fill=NAN), Panels(W, gap=gap, shift=1), Panels(b)
    a = Panels(np.full((3, rows, n_out), 7, dtype), gap=gap, shift=2)
    record = record_of(
        dtype, n_in=n_in, n_out=n_out, a_in=a_in, a=a, W=weights, b=bias, floor=floor
    )
    here = rng.randint(1, rows + 1)
    # Blocks are numbered by `at`; `first` counts rows of the minibatch.
    call(kernels.forward, record, at=1, first=5, rows=here)
    check_unchanged(a_in, weights, bias)
    a.check(slice(here), slice(whole_vectors(n_out, lanes(dtype))), block=1)
    expected = product(A[1, :here].astype(np.float64), W, b, floor=floor)
    error = np.abs(a.values[1, :here] - expected)
    assert (error <= product_error(A[1, :here], W, b)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("training", [True, False])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(**any_layer)
def test_output(dtype, training, seed, rows, n_in, n_out, gap):
    rng = np.random.RandomState(seed)
    A, w, b = (numbers(rng, shape, dtype) for shape in ((3, rows, n_in), (1, n_in), (1, 1)))
    a_in, weights, bias = Panels(A, gap=gap, fill=NAN), Panels(w, shift=1), Panels(b, fill=NAN)
    logits = Guarded(np.full(3 * 32 + n_out, 7, dtype), shift=2)
    # By row of the minibatch in training, by block of a thread in a prediction.
    logits_fields = column(logits, advance=1) if training else column(logits, block=32)
    record = record_of(
        dtype, n_in=n_in, n_out=1, a_in=a_in, W=weights, b=bias, logits=logits_fields
    )
    here = rng.randint(1, rows + 1)
    call(kernels.output, record, at=1, first=5, rows=here)
    check_unchanged(a_in, weights, bias)
    logits.check_all_but_the_array()
    start = 5 if training else 32
    z = logits.array[0]
    assert (np.delete(z, slice(start, start + here)) == 7).all()
    expected = A[1, :here].astype(np.float64) @ w[0] + b[0]
    bound = product_error(A[1, :here], w.T, b)[:, 0]
    assert (np.abs(z[start : start + here] - expected) <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ending", [PLAIN, GATED, TIMES])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(**any_layer)
def test_backward(dtype, ending, seed, rows, n_in, n_out, gap):
    rng = np.random.RandomState(seed)
    D, W = numbers(rng, (3, rows, n_out), dtype), numbers(rng, (n_in, n_out), dtype)
    gate = numbers(rng, (3, rows, n_in), dtype)
    gate = np.maximum(gate, 0) if ending == GATED else gate
    delta, copy = Panels(D, gap=gap, fill=NAN), Panels(W.T, gap=gap, shift=1)
    a, zeros = Panels(gate, gap=gap, shift=3), zeros_for(dtype, n_in)
    # TIMES finds g′ where δ is written.
    before = gate if ending == TIMES else np.full_like(gate, NAN)
    delta_in = Panels(before, gap=gap, shift=2)
    record = record_of(
        dtype, n_in=n_in, n_out=n_out, delta=delta, delta_in=delta_in, Wt=copy, zeros=zeros,
        gate=a if ending == GATED else delta_in, ending=ending,
    )  # fmt: skip
    here = rng.randint(1, rows + 1)
    call(kernels.backward, record, at=1, first=5, rows=here)
    check_unchanged(delta, copy, zeros, a)
    delta_in.check(slice(here), slice(whole_vectors(n_in, lanes(dtype))), block=1)
    D, gate = D[1, :here], gate[1, :here]
    expected = product(
        D.astype(np.float64), W.T, 0.0, None if ending == PLAIN else gate, times=ending == TIMES
    )
    bound = product_error(D, W.T, 0.0) * np.maximum(1, np.abs(gate))
    bound += np.finfo(dtype).eps * np.abs(expected)
    assert (np.abs(delta_in.values[1, :here] - expected) <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ending", [PLAIN, GATED])
def test_backward_from_the_last_layer(dtype, ending):
    # Its δ is one number a row, and its weights are one row.
    rng = np.random.RandomState(0)
    D, w = whole_numbers(rng, (32,), dtype), whole_numbers(rng, (1, 37), dtype)
    gate = whole_numbers(rng, (4, 8, 37), dtype)
    output_delta, weights, a = Guarded(D, shift=1), Panels(w), Panels(gate)
    delta_in, zeros = Panels(np.full((4, 8, 37), NAN, dtype), shift=1), zeros_for(dtype, 37)
    record = record_of(
        dtype, n_in=37, n_out=1, output_delta=output_delta, delta_in=delta_in, W=weights,
        gate=a, ending=ending,
    )  # fmt: skip
    for block, rows in ((0, 8), (2, 8), (3, 3)):
        call(kernels.backward_from_output, record, at=block, first=8 * block, rows=rows)
        expected = D[8 * block : 8 * block + rows, None] * w
        if ending == GATED:
            expected = np.where(gate[block, :rows] == 0, 0, expected)
        np.testing.assert_array_equal(delta_in.values[block, :rows], expected)
    check_unchanged(output_delta, weights, a, zeros)
    assert np.isnan(delta_in.values[1]).all()
    assert np.isnan(delta_in.values[3, 3:]).all()


any_minibatch = {
    "seed": st.integers(0, 2**32 - 1),
    "batch": st.integers(0, 2),
    "length": st.integers(1, 60),
    "block_rows": st.sampled_from([4, 8, 12, 64]),
    "n_in": st.integers(1, 60),
    "n_out": st.integers(1, 60),
    "adds": st.booleans(),
    "gap": st.integers(0, 2),
}


def epoch_of(batch, length, block_rows):
    """A minibatch of `length` rows: the last one, and maybe a ragged one."""
    return filled(EPOCH, n_rows=batch * 60 + length, batch_size=60, block_rows=block_rows)


def kept(start, adds, batch):
    """What a gradient is added to."""
    return start if adds and batch > 0 else np.zeros_like(start)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("room", [True, False])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(**any_minibatch)
def test_gradient(dtype, room, seed, batch, length, block_rows, n_in, n_out, adds, gap):
    rng = np.random.RandomState(seed)
    A, D = numbers(rng, (length, n_in), dtype), numbers(rng, (length, n_out), dtype)
    a_in, delta = (in_blocks(x, block_rows, dtype, gap=gap, fill=NAN) for x in (A, D))
    first = PANEL * rng.randint(-(-n_in // PANEL))
    rows = rng.randint(1, n_in - first + 1)
    zeros, epoch = zeros_for(dtype, n_out), epoch_of(batch, length, block_rows)
    # In the buffer of all gradients, or in a unit's room, which begins with row `first`.
    shape = (3, rows, n_out) if room else (1, n_in, n_out)
    dW = Panels(numbers(rng, shape, dtype), gap=gap, shift=1)
    start = dW.values[1] if room else dW.values[0, first : first + rows]
    record = record_of(
        dtype, n_in=n_in, n_out=n_out, a_in=a_in, delta=delta, zeros=zeros,
        dW=dW if room else dW.fields(advance=PANEL), adds=adds, epoch=address(epoch),
    )  # fmt: skip
    call(kernels.gradient, record, at=int(room), first=first, rows=rows, batch=batch)
    check_unchanged(a_in, delta, zeros)
    there = slice(rows) if room else slice(first, first + rows)
    dW.check(there, slice(whole_vectors(n_out, lanes(dtype))), block=int(room))
    A = A[:, first : first + rows]
    start = kept(start, adds, batch)
    expected = start + A.T.astype(np.float64) @ D
    error = np.abs(dW.values[int(room), there] - expected)
    assert (error <= product_error(A.T, D, start)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gradient_has_the_same_bits_in_any_blocks_and_units(dtype):
    rng = np.random.RandomState(1)
    A, D = numbers(rng, (50, 70), dtype), numbers(rng, (50, 37), dtype)
    results = []
    for block_rows, cuts in ((4, (0, 70)), (12, (0, 16, 48, 70)), (64, (0, 32, 70))):
        a_in, delta = in_blocks(A, block_rows, dtype), in_blocks(D, block_rows, dtype)
        epoch, zeros = epoch_of(0, 50, block_rows), zeros_for(dtype, 37)
        dW = Panels(np.zeros((70, 37), dtype))
        db, one = Panels(np.zeros((1, 37), dtype)), np.ones(1, dtype)
        record = record_of(
            dtype, n_in=70, n_out=37, a_in=a_in, delta=delta, zeros=zeros, db=db, one=one,
            dW=dW.fields(advance=PANEL), epoch=address(epoch),
        )  # fmt: skip
        for low, high in pairwise(cuts):
            call(kernels.gradient, record, first=low, rows=high - low)
        call(kernels.bias_gradient, record)
        results.append((dW.values, db.values))
    for gradient, bias in results:
        np.testing.assert_array_equal(gradient, results[0][0])
        np.testing.assert_array_equal(bias, results[0][1])


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(**any_layer)
def test_gradient_of_a_block(dtype, seed, rows, n_in, n_out, gap):
    rng = np.random.RandomState(seed)
    A, D = whole_numbers(rng, (3, rows, n_in), dtype), whole_numbers(rng, (3, rows, n_out), dtype)
    # δ ends with zeros, as the product leaves it where rows are padded.
    a_in, delta = Panels(A, gap=gap, fill=NAN), Panels(D, gap=gap, shift=1)
    dW = Panels(np.full((3, n_in, n_out), 7, dtype), gap=gap, shift=2)
    db = Panels(np.full((3, 1, n_out), 7, dtype), gap=gap, shift=3)
    zeros, one = zeros_for(dtype, n_out), Guarded(np.ones(1, dtype))
    record = record_of(
        dtype, n_in=n_in, n_out=n_out, a_in=a_in, delta=delta, dW=dW, db=db, zeros=zeros, one=one
    )
    here = rng.randint(1, rows + 1)
    call(kernels.gradient_of_block, record, at=1, first=rows, rows=here)
    check_unchanged(a_in, delta, zeros, one)
    dW.check(slice(None), slice(whole_vectors(n_out, lanes(dtype))), block=1)
    db.check(slice(None), block=1)
    np.testing.assert_array_equal(dW.values[1], A[1, :here].T @ D[1, :here])
    np.testing.assert_array_equal(db.values[1, 0], D[1, :here].sum(axis=0))
    assert not db.padded[1, :, n_out:].any()


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(**any_minibatch)
def test_bias_gradient(dtype, seed, batch, length, block_rows, n_in, n_out, adds, gap):
    rng = np.random.RandomState(seed)
    D = whole_numbers(rng, (length, n_out), dtype)
    delta = in_blocks(D, block_rows, dtype, gap=gap)
    db = Panels(whole_numbers(rng, (3, 1, n_out), dtype), shift=1)
    zeros, one = zeros_for(dtype, n_out), Guarded(np.ones(1, dtype))
    epoch = epoch_of(batch, length, block_rows)
    before = kept(db.values[1, 0], adds, batch)
    record = record_of(
        dtype, n_out=n_out, delta=delta, db=db, zeros=zeros, one=one, adds=adds,
        epoch=address(epoch),
    )  # fmt: skip
    call(kernels.bias_gradient, record, at=1, rows=1, batch=batch)
    check_unchanged(delta, zeros, one)
    db.check(slice(None), block=1)
    np.testing.assert_array_equal(db.values[1, 0], before + D.sum(axis=0))


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(**any_minibatch)
def test_output_gradient(dtype, seed, batch, length, block_rows, n_in, n_out, adds, gap):
    rng = np.random.RandomState(seed)
    A, D = whole_numbers(rng, (length, n_in), dtype), whole_numbers(rng, (length,), dtype)
    # What pads activations need not be 0, and what pads weights is.
    a_in, delta = in_blocks(A, block_rows, dtype, gap=gap, fill=0.5), Guarded(D, shift=1)
    dW = Panels(whole_numbers(rng, (3, 1, n_in), dtype), gap=gap, shift=2)
    db = Panels(whole_numbers(rng, (3, 1, 1), dtype), gap=gap, shift=3)
    zeros, epoch = zeros_for(dtype, n_in), epoch_of(batch, length, block_rows)
    before = [kept(x.values[1, 0], adds, batch) for x in (dW, db)]
    record = record_of(
        dtype, n_in=n_in, n_out=1, a_in=a_in, output_delta=delta, dW=dW, db=db, zeros=zeros,
        adds=adds, epoch=address(epoch),
    )  # fmt: skip
    call(kernels.output_gradient, record, at=1, rows=length, batch=batch)
    check_unchanged(a_in, delta, zeros)
    dW.check(slice(None), block=1)
    db.check(slice(None), slice(1), block=1)
    np.testing.assert_array_equal(dW.values[1, 0], before[0] + A.T @ D)
    np.testing.assert_array_equal(db.values[1, 0], before[1] + D.sum())
    assert not dW.padded[1, :, n_in:].any()


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(**any_layer)
def test_output_gradient_of_a_block(dtype, seed, rows, n_in, n_out, gap):
    rng = np.random.RandomState(seed)
    A, D = whole_numbers(rng, (3, rows, n_in), dtype), whole_numbers(rng, (3 * rows,), dtype)
    a_in, delta = Panels(A, gap=gap, fill=0.5), Guarded(D, shift=1)
    dW = Panels(np.full((3, 1, n_in), 7, dtype), gap=gap, shift=2)
    db, zeros = Panels(np.full((3, 1, 1), 7, dtype), shift=3), zeros_for(dtype, n_in)
    epoch = epoch_of(0, 3 * rows, rows)
    record = record_of(
        dtype, n_in=n_in, n_out=1, a_in=a_in, output_delta=delta, dW=dW, db=db, zeros=zeros,
        epoch=address(epoch),
    )  # fmt: skip
    here = rng.randint(1, rows + 1)
    call(kernels.output_gradient, record, at=1, first=rows, rows=here)
    check_unchanged(a_in, delta, zeros)
    dW.check(slice(None), block=1)
    db.check(slice(None), slice(1), block=1)
    D = D[rows : rows + here]
    np.testing.assert_array_equal(dW.values[1, 0], A[1, :here].T @ D)
    np.testing.assert_array_equal(db.values[1, 0], D.sum())
    assert not dW.padded[1, :, n_in:].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("members", [2, 3, 18])
@pytest.mark.parametrize("by_block", [False, True])
def test_output_gradient_of_members(dtype, members, by_block):
    rng = np.random.RandomState(members)
    length, block_rows, n_in = 19 * members, 8 * members, 37  # three blocks, the last one ragged
    A, D = whole_numbers(rng, (length, n_in), dtype), whole_numbers(rng, (length,), dtype)
    a_in, delta = in_blocks(A, block_rows, dtype, gap=1, fill=0.5), Guarded(D, shift=1)
    dW = Panels(np.full((3, members, n_in), 7, dtype), gap=2, shift=2)
    db = Panels(np.full((3, 1, members), 7, dtype), gap=1, shift=3)
    zeros = zeros_for(dtype, n_in)
    epoch = filled(EPOCH, n_rows=length, batch_size=length, block_rows=block_rows)
    record = record_of(
        dtype, n_in=n_in, n_out=1, a_in=a_in, output_delta=delta, dW=dW.fields(advance=PANEL),
        db=db, zeros=zeros, members=members, epoch=address(epoch),
    )  # fmt: skip
    ends = [0, block_rows, 2 * block_rows, length] if by_block else [0, length]
    for at, (low, high) in enumerate(pairwise(ends)):
        call(kernels.output_gradient, record, at=at, first=low, rows=high - low)
        dW.check(slice(None), block=slice(at + 1))
        db.check(slice(None), slice(members), block=slice(at + 1))
        for m in range(members):
            of_member = slice(low + m, high, members)
            np.testing.assert_array_equal(dW.values[at, m], A[of_member].T @ D[of_member])
            np.testing.assert_array_equal(db.values[at, 0, m], D[of_member].sum())
        assert not dW.padded[at, :, n_in:].any()
    check_unchanged(a_in, delta, zeros)


def on_whole_panels(W):
    """Rows padded to whole panels with zeros, as weights lie: a transpose goes by whole panels."""
    return np.pad(W, ((0, -len(W) % PANEL), (0, 0)))


def units(rng, n_in):
    """First and last rows of the units of a matrix: they begin on whole panels."""
    cuts = [0, *(PANEL * k for k in range(1, -(-n_in // PANEL)) if rng.rand() < 0.5), n_in]
    return list(pairwise(cuts))


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(copies=st.booleans(), with_squares=st.booleans(), **any_layer)
def test_refresh(dtype, copies, with_squares, seed, rows, n_in, n_out, gap):
    rng = np.random.RandomState(seed)
    W = numbers(rng, (n_in, n_out), dtype)
    weights = Panels(on_whole_panels(W), gap=gap, shift=1)
    before = np.full((n_out + -n_out % PANEL, n_in), 7, dtype)
    copy, squares = Panels(before, gap=gap, shift=2), Guarded(np.full(n_in, -1.0), shift=1)
    record = record_of(
        dtype, n_in=n_in, n_out=n_out, W=weights.fields(advance=PANEL), Wt=copy, copies=copies,
        squares=squares, with_squares=with_squares,
    )  # fmt: skip
    expected, square = copy.padded[0].copy(), np.full(n_in, -1.0)
    for low, high in units(rng, n_in)[::2]:  # half of them: the rest stays as it is
        call(kernels.refresh, record, at=3, first=low, rows=high - low, batch=1)
        end = high + -high % PANEL
        if copies:
            expected[:, low:end] = 0
            expected[:n_out, low:high] = W[low:high].T
        if with_squares:
            square[low:high] = (W[low:high].astype(np.float64) ** 2).sum(axis=1)
    check_unchanged(weights)
    copy.check(slice(None))
    squares.check_all_but_the_array()
    np.testing.assert_array_equal(copy.padded[0], expected)
    bound = np.diag(product_error(W, W.T, 0.0))
    assert (np.abs(squares.array[0] - square) <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_refresh_of_the_last_layer_and_of_a_sparse_first_one(dtype):
    # One row, or rows that hold their panels; no copy.
    for shape in ((1, 37), (7, 37)):
        W = whole_numbers(np.random.RandomState(2), shape, dtype)
        weights, squares = Panels(W, gap=1, in_rows=True), Guarded(np.zeros(shape[0]), shift=1)
        fields = weights.fields(advance=weights.row)
        record = record_of(dtype, W=fields, squares=squares, with_squares=1)
        call(kernels.refresh, record, rows=shape[0])
        check_unchanged(weights)
        squares.check_all_but_the_array()
        np.testing.assert_array_equal(squares.array[0], (W * W).sum(axis=1))
