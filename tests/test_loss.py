"""Cross-entropy and the error at the output, from the logit."""

import compiled
import numpy as np
import pytest
from compiled import address, call, column, filled, of
from guards import Guarded, check_unchanged
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import clipped_cross_entropy, cross_entropy_row, sigmoid

from fastmlp.kernels import loss as kernels
from fastmlp.kernels.epoch import EPOCH

DTYPES = (np.float32, np.float64)


def limits(dtype):
    """−log of the largest and of the smallest probability that scikit-learn's clip leaves."""
    eps = np.finfo(dtype).eps
    return -np.log(float(dtype(1) - eps)), -np.log(float(eps))


def exact_loss(z, y):
    """N2 without a logarithm of what is near 0, in long double."""
    z = z.astype(np.longdouble)
    return np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))


def evaluate(logit, target, weight):
    """Run the kernel between guards. Returns (delta, weighted loss) in the dtype of the logits."""
    dtype, count = logit.dtype, logit.size
    z, y, w = (Guarded(x.astype(dtype), shift=1) for x in (logit, target, weight))
    delta, loss = (Guarded(np.zeros(count, dtype), shift=k) for k in (2, 3))
    least, most = limits(dtype.type)
    record = of(dtype, x=z, y=y, z=w, v=delta, w=loss, s=least, t=most)
    call(compiled.cross_entropy, record, rows=count)
    check_unchanged(z, y, w)
    delta.check_all_but_the_array()
    loss.check_all_but_the_array()
    return delta.array[0], loss.array[0]


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    rows=st.lists(
        st.tuples(st.floats(-20, 20, width=32), st.integers(0, 1), st.floats(0, 8, width=32)),
        min_size=1,
        max_size=50,
    )
)
def test_against_the_formula(dtype, rows):
    z, y, weight = (np.array(column) for column in zip(*rows, strict=True))
    z = z.astype(dtype)
    delta, loss = evaluate(z, y, weight)
    p, eps = sigmoid(z.astype(np.longdouble)), np.finfo(dtype).eps
    smallest = np.finfo(dtype).smallest_subnormal
    assert (np.abs(delta - (p - y) * weight) <= 3 * eps * weight + smallest).all()
    expected = cross_entropy_row(y, p)
    # Near 1, even a long double p has lost what 1 − p needs.
    np.testing.assert_allclose(exact_loss(z, y), expected.astype(np.float64), rtol=1e-9)
    expected = np.clip(exact_loss(z, y), *limits(dtype)) * weight
    np.testing.assert_allclose(loss, expected, rtol=4 * eps, atol=smallest)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_loss_is_clipped_as_scikit_learn_clips_it(dtype):
    z = np.array([-1e4, -800, -100, -40, 40, 100, 800, 1e4], dtype)
    for y in (np.zeros(8), np.ones(8)):
        _, loss = evaluate(z, y, np.ones(8))
        expected = clipped_cross_entropy(y, sigmoid(z).astype(dtype))
        np.testing.assert_allclose(loss, expected, rtol=1e-6, atol=0)
        assert set(loss) <= {dtype(x) for x in limits(dtype)}


@pytest.mark.parametrize("dtype", DTYPES)
def test_error_of_saturated_rows(dtype):
    z = np.array([-1e4, 1e4, -1e4, 1e4, -np.inf, np.inf], dtype)
    y = np.array([0, 0, 1, 1, 0, 1])
    delta, _ = evaluate(z, y, np.full(6, 2.0))
    np.testing.assert_array_equal(delta, [0, 2, -2, 0, 0, 0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("y", [0, 1])
def test_small_losses_keep_their_precision(dtype, y):
    # 1 − ŷ alone, or max(z, 0) + log(1 + e^(−|z|)) − z y in this order, would lose it.
    z = np.linspace(5, -np.log(np.finfo(dtype).eps) - 2, 100).astype(dtype)
    z = z if y else -z
    _, loss = evaluate(z, np.full(100, y), np.ones(100))
    expected = exact_loss(z, y).astype(np.float64)
    np.testing.assert_allclose(loss, expected, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinite_logits_are_the_ends(dtype):
    z = np.array([np.inf, np.inf, -np.inf, -np.inf], dtype)
    delta, loss = evaluate(z, np.array([0, 1, 0, 1]), np.ones(4))
    least, most = map(dtype, limits(dtype))
    np.testing.assert_array_equal(loss, [most, least, least, most])
    np.testing.assert_array_equal(delta, [1, 0, 0, -1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_weight_of_zero_leaves_no_error(dtype):
    delta, loss = evaluate(np.array([3.0, -3.0], dtype), np.array([0, 1]), np.zeros(2))
    np.testing.assert_array_equal(delta, 0)
    assert np.isfinite(loss).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_is_reported_in_its_row_alone(dtype):
    z = np.linspace(-2, 2, 16).astype(dtype)
    z[5] = np.nan
    delta, loss = evaluate(z, np.zeros(16), np.ones(16))
    np.testing.assert_array_equal(np.isnan(delta), np.arange(16) == 5)
    np.testing.assert_array_equal(np.isnan(loss), np.arange(16) == 5)


# --- The pieces -----------------------------------------------------------------------------------


def record_of(dtype, **values):
    return filled(kernels.loss_record(np.dtype(dtype).name), **values)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    batch=st.integers(0, 3),
    first=st.integers(0, 20),
    rows=st.integers(0, 40),
    ordered=st.booleans(),
    weighted=st.booleans(),
)
def test_output_delta(dtype, seed, batch, first, rows, ordered, weighted):
    rng = np.random.RandomState(seed)
    n = 4 * 60
    order = Guarded(rng.permutation(n))
    targets, sample_weight = Guarded(rng.rand(n) < 0.4, shift=1), Guarded(rng.rand(n), shift=1)
    # All by row of the minibatch.
    z = Guarded(rng.randn(60).astype(dtype), shift=2)
    y, delta, loss = (Guarded(np.full(60, 7, dtype), shift=k) for k in (1, 2, 3))
    weight = Guarded(np.ones(60, dtype), shift=4)
    least, most = limits(dtype)
    epoch = filled(EPOCH, batch_size=60, **({"order": order} if ordered else {}))
    record = record_of(
        dtype, targets=targets, logits=column(z, advance=1), target=y, weight=weight, delta=delta,
        loss=loss, low=0.0, high=1.0, least=least, most=most, epoch=address(epoch),
        **({"sample_weight": sample_weight} if weighted else {}),
    )  # fmt: skip
    call(kernels.output_delta, record, at=3, first=first, rows=rows, batch=batch)
    check_unchanged(targets, sample_weight, order, z)
    there = slice(first, first + rows)
    chosen = (order.array[0] if ordered else np.arange(n))[batch * 60 :][there]
    for written in (y, weight, delta, loss):
        written.check_all_but_the_array()
        outside = np.delete(written.array[0], there)
        np.testing.assert_array_equal(outside, 1 if written is weight else 7)
    w = sample_weight.array[0, chosen].astype(dtype) if weighted else np.ones(rows, dtype)
    np.testing.assert_array_equal(y.array[0, there], targets.array[0, chosen])
    np.testing.assert_array_equal(weight.array[0, there], w)
    expected = evaluate(z.array[0, there], targets.array[0, chosen], w)
    np.testing.assert_array_equal(delta.array[0, there], expected[0])
    np.testing.assert_array_equal(loss.array[0, there], expected[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("batch", "length"), [(0, 30), (2, 30), (3, 11)])
def test_sums_of_a_minibatch(dtype, batch, length):
    rng = np.random.RandomState(2)
    loss, squares = Guarded(rng.rand(30).astype(dtype), shift=1), Guarded(rng.rand(17), shift=1)
    losses = Guarded(np.zeros(8), shift=2)
    epoch = filled(EPOCH, n_rows=101, batch_size=30, losses=losses)
    record = record_of(dtype, loss=loss, squares=squares, n_squares=17, epoch=address(epoch))
    call(kernels.sum_losses, record, batch=batch)
    call(kernels.sum_squares, record, batch=batch)
    check_unchanged(loss, squares)
    losses.check_all_but_the_array()
    expected = np.zeros(8)
    expected[2 * batch] = loss.array[0, :length].astype(np.float64).sum()
    expected[2 * batch + 1] = squares.array.sum()
    np.testing.assert_allclose(losses.array[0], expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [0, 1, 7, 16, 33])
def test_results_of_a_prediction(dtype, rows):
    # Logits lie in the block of a thread, and results by row of X.
    z = np.random.RandomState(3).randn(3, 40).astype(dtype)
    batch, first, at = 2, 5, 1
    start = batch * 40 + first
    epoch = filled(EPOCH, batch_size=40)
    logits, complement = Guarded(z, row=48, shift=1), Guarded(np.full_like(z, 7), row=48)
    for piece, n_columns in ((kernels.write_logits, 1), (kernels.write_probabilities, 2)):
        result = Guarded(np.full(130 * n_columns, 7, dtype), shift=2)
        record = record_of(
            dtype, logits=column(logits, block=48), complement=column(complement, block=48),
            result=result, epoch=address(epoch),
        )  # fmt: skip
        before = z[at, :rows].copy()
        expected = before[:, None] if n_columns == 1 else compiled.both_probabilities(before)
        call(piece, record, at, first, rows, batch)
        result.check_all_but_the_array()
        logits.check_all_but_the_array()
        complement.check_all_but_the_array()
        table = result.array[0].reshape(130, n_columns)
        np.testing.assert_array_equal(table[start : start + rows], expected)
        np.testing.assert_array_equal(np.delete(table, slice(start, start + rows), axis=0), 7)
        for other in (0, 2):
            np.testing.assert_array_equal(logits.array[other], z[other])
            np.testing.assert_array_equal(complement.array[other], 7)
        np.testing.assert_array_equal(logits.array[at, rows:], z[at, rows:])
