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
    """Run the kernel between guards. Returns (delta, weighted loss) in the dtype of the logits."""
    dtype = logit.dtype
    count = -(-logit.size // 16) * 16
    z, y, w = (Guarded(np.resize(x.astype(dtype), count), shift=1) for x in (logit, target, weight))
    delta, loss = (Guarded(np.zeros(count, dtype), shift=k) for k in (2, 3))
    compiled.cross_entropy(
        count, dtype.itemsize, z.address, y.address, w.address, delta.address, loss.address,
        *limits(dtype.type),
    )  # fmt: skip
    check_unchanged(z, y, w)
    delta.check_all_but_the_array()
    loss.check_all_but_the_array()
    return delta.array[0, : logit.size], loss.array[0, : logit.size]


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
