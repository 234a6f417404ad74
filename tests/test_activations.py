"""g and g′ in place, for every activation, against the twin."""

import numpy as np
import pytest
from compiled import call, filled
from guards import Panels, check_unchanged
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import activate as naive_activate
from naive import slope

from fastmlp.kernels.activations import ACTIVATIONS
from fastmlp.kernels.layer import layer_record
from fastmlp.kernels.simd.tile import GATED, PLAIN, TIMES

DTYPES = (np.float32, np.float64)
# identity needs no pass, and relu rides on the product.
PASSES = ("logistic", "tanh")


def block_of(numbers, dtype, **more):
    """Two blocks in panels: the numbers twice, in rows of 5."""
    rows = np.resize(np.array(numbers, dtype), (-(-len(numbers) // 5), 5))
    return Panels(np.stack([rows, rows]), gap=1, **more)


def record_of(dtype, **matrices):
    return filled(layer_record(np.dtype(dtype).name), **matrices)


numbers = st.lists(st.floats(-200, 200, width=32), min_size=1, max_size=100)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", PASSES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(numbers=numbers, data=st.data())
def test_apply(dtype, activation, numbers, data):
    a = block_of(numbers, dtype, shift=1)
    rows = data.draw(st.integers(0, a.rows))
    z = a.padded[1, :rows].copy()
    # `first` counts rows of the minibatch, and moves nothing in a block.
    call(ACTIVATIONS[activation].apply, record_of(dtype, a=a), at=1, first=7, rows=rows)
    a.check(slice(rows), block=1)
    expected = naive_activate(activation, z.astype(np.float64))
    eps = np.finfo(dtype).eps  # how exact they are is measured in test_functions
    np.testing.assert_allclose(a.padded[1, :rows], expected, rtol=4 * eps, atol=eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", PASSES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(numbers=numbers, seed=st.integers(0, 2**32 - 1), data=st.data())
def test_multiply_derivative(dtype, activation, numbers, seed, data):
    a = block_of(naive_activate(activation, np.array(numbers, dtype)), dtype, shift=1)
    delta = np.random.RandomState(seed).randn(2, a.rows, 5).astype(dtype)
    d = Panels(delta, gap=2, shift=2)
    rows = data.draw(st.integers(0, a.rows))
    before = d.padded[1, :rows].copy()
    piece = ACTIVATIONS[activation].multiply_derivative
    call(piece, record_of(dtype, a=a, delta=d), at=1, first=7, rows=rows)
    check_unchanged(a)
    d.check(slice(rows), block=1)
    expected = before * slope(activation, a.padded[1, :rows].astype(np.float64))
    error = np.abs(d.padded[1, :rows] - expected)
    assert (error <= 4 * np.finfo(dtype).eps * np.abs(before)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", PASSES)
def test_nan_is_passed_on(dtype, activation):
    values = np.linspace(-3, 3, 32).astype(dtype)
    values[[0, 7, 31]] = np.nan
    missing = np.isnan(values)
    z, a, delta = (Panels(x[None]) for x in (values, values, np.ones(32, dtype)))
    _, apply, _, multiply_derivative = ACTIVATIONS[activation]
    call(apply, record_of(dtype, a=z), rows=1)
    np.testing.assert_array_equal(np.isnan(z.values[0]), missing)
    call(multiply_derivative, record_of(dtype, a=a, delta=delta), rows=1)
    np.testing.assert_array_equal(np.isnan(delta.values[0]), missing)


def test_what_the_product_does():
    # relu is the product's floor and gate; identity is nothing; the others are passes.
    assert ACTIVATIONS["relu"] == (0.0, None, GATED, None)
    assert ACTIVATIONS["identity"] == (-np.inf, None, PLAIN, None)
    for name in PASSES:
        floor, apply, ending, multiply_derivative = ACTIVATIONS[name]
        assert (floor, ending) == (-np.inf, PLAIN)
        assert apply.__name__ == f"apply_{name}"
        assert multiply_derivative.__name__ == f"multiply_{name}_derivative"
    for name in set(ACTIVATIONS) - {"identity", "relu", *PASSES}:
        floor, apply, ending, multiply_derivative = ACTIVATIONS[name]
        assert (floor, ending, multiply_derivative) == (-np.inf, TIMES, None)
        assert apply.__name__ == f"apply_{name}"
