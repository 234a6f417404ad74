"""g and g′ in place, for every activation, against the twin."""

import numpy as np
import pytest
from guards import Guarded, check_unchanged
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import activate as naive_activate
from naive import slope

from fastmlp.kernels.activations import ACTIVATIONS, activate, multiply_derivative
from fastmlp.kernels.jit import kernel

DTYPES = (np.float32, np.float64)
# identity needs no pass, and relu rides on the product.
PASSES = ("logistic", "tanh")


@kernel
def activate_from_compiled(code, z, count, size):
    activate(code, z, count, size)


@kernel
def derivative_from_compiled(code, delta, a, count, size):
    multiply_derivative(code, delta, a, count, size)


def rows_of_16(numbers, dtype):
    return np.resize(np.array(numbers, dtype), -(-len(numbers) // 16) * 16)


numbers = st.lists(st.floats(-200, 200, width=32), min_size=1, max_size=100)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kernel", [activate, activate_from_compiled])
@settings(max_examples=25, deadline=None, derandomize=True)
@given(numbers=numbers)
def test_activate(dtype, activation, kernel, numbers):
    z = rows_of_16(numbers, dtype)
    x = Guarded(z, shift=1)
    kernel(ACTIVATIONS[activation], x.address, z.size, np.dtype(dtype).itemsize)
    x.check_all_but_the_array()
    if activation not in PASSES:
        check_unchanged(x)
        return
    expected = naive_activate(activation, z.astype(np.float64))
    eps = np.finfo(dtype).eps  # how exact they are is measured in test_functions
    np.testing.assert_allclose(x.array[0], expected, rtol=4 * eps, atol=eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kernel", [multiply_derivative, derivative_from_compiled])
@settings(max_examples=25, deadline=None, derandomize=True)
@given(numbers=numbers, seed=st.integers(0, 2**32 - 1))
def test_multiply_derivative(dtype, activation, kernel, numbers, seed):
    activations = naive_activate(activation, rows_of_16(numbers, dtype))
    delta = np.random.RandomState(seed).randn(activations.size).astype(dtype)
    a, d = Guarded(activations, shift=1), Guarded(delta, shift=2)
    kernel(ACTIVATIONS[activation], d.address, a.address, delta.size, np.dtype(dtype).itemsize)
    check_unchanged(a)
    d.check_all_but_the_array()
    if activation not in PASSES:
        check_unchanged(d)
        return
    expected = delta * slope(activation, activations.astype(np.float64))
    error = np.abs(d.array[0] - expected)
    assert (error <= 4 * np.finfo(dtype).eps * np.abs(delta)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", PASSES)
def test_nan_is_passed_on(dtype, activation):
    values = np.linspace(-3, 3, 32).astype(dtype)
    values[[0, 7, 31]] = np.nan
    missing = np.isnan(values)
    z, a, delta = Guarded(values), Guarded(values), Guarded(np.ones(32, dtype))
    activate(ACTIVATIONS[activation], z.address, 32, np.dtype(dtype).itemsize)
    np.testing.assert_array_equal(np.isnan(z.array[0]), missing)
    multiply_derivative(
        ACTIVATIONS[activation], delta.address, a.address, 32, np.dtype(dtype).itemsize
    )
    np.testing.assert_array_equal(np.isnan(delta.array[0]), missing)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nothing_to_do(activation):
    x = Guarded(np.ones(16))
    activate(ACTIVATIONS[activation], x.address, 0, 8)
    multiply_derivative(ACTIVATIONS[activation], x.address, x.address, 0, 8)
    check_unchanged(x)
