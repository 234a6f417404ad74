"""exp, expm1, log1p, sigmoid and tanh against long double, in units in the last place."""

import compiled
import numpy as np
import pytest
from guards import Guarded
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmlp.kernels.simd import functions

DTYPES = (np.float32, np.float64)
FUNCTIONS = {
    name: compiled.in_place(getattr(functions, name))
    for name in ("exp", "log1p", "sigmoid", "tanh")
}


def shared_sigmoid(z):
    return functions.sigmoid_and_log1p(z)[0]


def expm1(x):
    return functions.expm1(x)[0]


def sigmoid_beside_complement(z):
    return functions.sigmoid_and_complement(z)[0]


def complement(z):
    return functions.sigmoid_and_complement(z)[1]


def log1p_exp(z):
    return functions.sigmoid_and_log1p(z)[1]


FUNCTIONS["shared_sigmoid"] = compiled.in_place(shared_sigmoid)
FUNCTIONS["log1p_exp"] = compiled.in_place(log1p_exp)
FUNCTIONS["expm1"] = compiled.in_place(expm1)
FUNCTIONS["sigmoid_beside_complement"] = compiled.in_place(sigmoid_beside_complement)
FUNCTIONS["complement"] = compiled.in_place(complement)


def apply(name, x):
    """The compiled function of every number of x."""
    x = np.array(x)
    compiled.call(FUNCTIONS[name], compiled.of(x.dtype, x=x), rows=x.size)
    return x


def exact(name, x):
    """The same in long double."""
    x = x.astype(np.longdouble)
    with np.errstate(all="ignore"):
        if name == "complement":
            x = -x
        if "sigmoid" in name or name == "complement":
            return np.where(x >= 0, 1 / (1 + np.exp(-x)), np.exp(x) / (1 + np.exp(x)))
        if name == "log1p_exp":
            return np.log1p(np.exp(-np.abs(x)))
        return getattr(np, name)(x)


def ulps(values, reference):
    """Distance of each value from the reference in units of the reference's last place."""
    rounded = reference.astype(values.dtype)
    unit = np.spacing(np.abs(rounded)).astype(np.longdouble)
    with np.errstate(invalid="ignore"):
        return np.abs(values.astype(np.longdouble) - reference) / unit


# Where each is used: (least, most) argument.
RANGES = {
    "exp": (-np.inf, 0.0),
    "expm1": (-np.inf, 0.0),
    "log1p": (0.0, 1.0),
    "sigmoid": (-np.inf, np.inf),
    "shared_sigmoid": (-np.inf, np.inf),
    "sigmoid_beside_complement": (-np.inf, np.inf),
    "complement": (-np.inf, np.inf),
    "log1p_exp": (-np.inf, np.inf),
    "tanh": (-np.inf, np.inf),
}


def grid(dtype, least, most):
    """Numbers of every magnitude, subnormal ones included, and evenly spaced ones."""
    integers = np.uint32 if dtype is np.float32 else np.uint64
    n = 200_003  # an odd step through the bit patterns meets every exponent with many mantissas
    top = int(np.array(np.inf, dtype).view(integers))
    patterns = np.arange(n, dtype=np.float64) * (top / n)
    patterns = patterns.astype(integers) + (np.arange(n) % 8).astype(integers)
    every = patterns.view(dtype)
    every = every[every < np.finfo(dtype).max / 2]
    ends = np.finfo(dtype)
    deep = 110.0 if dtype is np.float32 else 760.0
    parts = [
        every,
        np.linspace(0, 1, 100_001),
        np.linspace(0, 25, 200_001),
        np.linspace(0, deep, 200_001),
        np.log(2) / 2 * np.arange(1, 64)[:, None] * (1 + np.linspace(-1e-6, 1e-6, 101)),
        [ends.smallest_subnormal, ends.tiny, ends.eps, 0.0],
    ]
    magnitudes = np.concatenate([np.asarray(part, dtype).ravel() for part in parts])
    x = np.concatenate([magnitudes, -magnitudes])
    return x[(x >= least) & (x <= most)]


wide_enough = pytest.mark.skipif(
    np.finfo(np.longdouble).nmant < 60, reason="long double is no wider than double here"
)

# What was measured on far denser grids (all float32 in the range, 10⁷ float64), rounded up.
BOUNDS = {
    "exp": 1.1,
    "expm1": 1.2,
    "log1p": 2.0,
    "sigmoid": 2.0,
    "shared_sigmoid": 2.0,
    "sigmoid_beside_complement": 2.0,
    "complement": 2.0,
    "log1p_exp": 2.9,
    "tanh": 2.0,
}


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=wide_enough)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_in_units_in_the_last_place(dtype, name):
    x = grid(dtype, *RANGES[name])
    assert x.size > 200_000
    error = ulps(apply(name, x), exact(name, x))
    assert error.max() < BOUNDS[name], x[error.argmax()]


INF, NAN = np.inf, np.nan

# name: pairs of argument and exact result
SPECIAL = {
    "exp": [(0.0, 1.0), (-0.0, 1.0), (-INF, 0.0), (-1e4, 0.0), (NAN, NAN)],
    "expm1": [(0.0, 0.0), (-0.0, 0.0), (-INF, -1.0), (-1e4, -1.0), (NAN, NAN)],
    "log1p": [(0.0, 0.0), (NAN, NAN)],
    "sigmoid": [(0.0, 0.5), (-0.0, 0.5), (INF, 1.0), (-INF, 0.0), (1e4, 1.0), (-1e4, 0.0)],
    "shared_sigmoid": [(0.0, 0.5), (INF, 1.0), (-INF, 0.0), (1e30, 1.0), (NAN, NAN)],
    "log1p_exp": [(INF, 0.0), (-INF, 0.0), (1e30, 0.0), (-1e30, 0.0), (NAN, NAN)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (1e30, 1.0), (NAN, NAN)],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECIAL)
def test_ends_zeros_and_nan(dtype, name):
    x, expected = np.array(SPECIAL[name], dtype).T
    values = apply(name, x)
    np.testing.assert_array_equal(values, expected)
    signed = expected == 0
    if name == "tanh":
        np.testing.assert_array_equal(np.signbit(values[signed]), np.signbit(expected[signed]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_reaches_the_smallest_subnormal_number(dtype):
    smallest = np.finfo(dtype).smallest_subnormal
    ends = {np.float32: (-103.0, -104.0), np.float64: (-745.0, -746.0)}[dtype]
    np.testing.assert_array_equal(apply("exp", np.array(ends, dtype)), [smallest, 0])
    np.testing.assert_array_equal(apply("sigmoid", np.array(ends, dtype)), [smallest, 0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_both_sigmoids_are_the_sigmoid_and_never_0(dtype):
    x = np.append(grid(dtype, -np.inf, np.inf), np.array([np.inf, -np.inf], dtype))
    smallest = np.finfo(dtype).smallest_subnormal
    for name, z in (("sigmoid_beside_complement", x), ("complement", -x)):
        np.testing.assert_array_equal(apply(name, x), np.maximum(apply("sigmoid", z), smallest))
        assert np.isnan(apply(name, np.array([np.nan], dtype))).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_near_zero_the_argument_itself(dtype):
    smallest, tiny = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).tiny
    x = np.array([smallest, 3 * smallest, tiny, 2 * tiny, np.finfo(dtype).eps ** 2], dtype)
    np.testing.assert_array_equal(apply("tanh", x), x)
    np.testing.assert_array_equal(apply("log1p", x[2:]), x[2:])


@pytest.mark.parametrize("dtype", DTYPES)
def test_ranges_and_symmetry(dtype):
    x = grid(dtype, 0.0, np.inf)
    assert (apply("sigmoid", x) <= 1).all()
    assert (apply("sigmoid", x) >= 0.5).all()
    assert (apply("sigmoid", -x) >= 0).all()
    assert (apply("sigmoid", -x) <= 0.5).all()
    assert (apply("tanh", x) <= 1).all()
    np.testing.assert_array_equal(apply("tanh", -x), -apply("tanh", x))
    np.testing.assert_array_equal(apply("shared_sigmoid", x), apply("sigmoid", x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_number_does_not_depend_on_its_neighbours(dtype, name):
    x = np.linspace(0.01, 0.99, 16).astype(dtype)
    x = -x if name in ("exp", "expm1") else x
    alone = np.array([apply(name, np.full(16, number, dtype))[0] for number in x])
    np.testing.assert_array_equal(apply(name, x), alone)
    for lane in range(16):
        broken = x.copy()
        broken[lane] = np.nan
        values = apply(name, broken)
        assert np.isnan(values[lane])
        np.testing.assert_array_equal(np.delete(values, lane), np.delete(alone, lane))


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=100, deadline=None, derandomize=True)
@given(numbers=st.lists(st.floats(width=32), min_size=1, max_size=40))
def test_any_numbers(dtype, numbers):
    x = Guarded(np.array(numbers, dtype), shift=1)
    arguments = x.array[0].copy()
    compiled.call(FUNCTIONS["sigmoid"], compiled.of(dtype, x=x), rows=x.array.size)
    x.check_all_but_the_array()
    expected = exact("sigmoid", arguments)
    expected[arguments == -np.inf] = 0
    difference = np.abs(x.array[0] - expected)
    bound = BOUNDS["sigmoid"] * np.spacing(expected.astype(dtype))
    assert ((difference <= bound) | np.isnan(arguments)).all()
    np.testing.assert_array_equal(np.isnan(x.array[0]), np.isnan(arguments))
