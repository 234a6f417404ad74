"""Cross-entropy and the error at the output, from the logit."""

import compiled
import numpy as np
import pytest
from guards import Guarded, check_unchanged
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import clipped_cross_entropy, cross_entropy_row, sigmoid

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
    """Run the kernel between guards. Returns (delta, loss), each in the dtype of the logits."""
    dtype = logit.dtype
    count = -(-logit.size // 16) * 16
    z, y, w = (Guarded(np.resize(x.astype(dtype), count), shift=1) for x in (logit, target, weight))
    delta, loss = (Guarded(np.zeros(count, dtype), shift=k) for k in (2, 3))
    compiled.cross_entropy(
        count, z.address, y.address, w.address, delta.address, loss.address,
        *map(dtype.type, limits(dtype.type)),
    )  # fmt: skip
    check_unchanged(z, y, w)
    delta.check_all_but_the_array()
    loss.check_all_but_the_array()
    return delta.array[0, : logit.size], loss.array[0, : logit.size]


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=150, deadline=None, derandomize=True)
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
    inside = (loss > dtype(limits(dtype)[0])) & (loss < dtype(limits(dtype)[1]))
    # z·y is taken from log(1 + e^z): a small loss keeps the rounding of the larger number.
    error = np.abs(loss - exact_loss(z, y)) / (np.maximum(np.abs(z), 1) * eps)
    assert (error[inside] < 3).all()


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
def test_small_losses_keep_their_precision(dtype):
    # −log(1 − σ(z)) is about e^z for z far below 0; 1 − ŷ alone would have lost it.
    z = np.array([-5, -8, -10, -12], dtype)
    _, loss = evaluate(z, np.zeros(4), np.ones(4))
    np.testing.assert_allclose(loss, exact_loss(z, 0).astype(dtype), rtol=4 * np.finfo(dtype).eps)


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
