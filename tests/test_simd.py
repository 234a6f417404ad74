"""The building blocks in SIMD vectors: loops, dot product, panel, transpose, arithmetic."""

import re
from pathlib import Path

import compiled
import numpy as np
import pytest
from guards import Guarded, bits, check_unchanged, untouched
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_kernels import product, product_error, whole_vectors

from fastmlp.kernels import simd
from fastmlp.kernels.jit import kernel
from fastmlp.kernels.simd import TILE_ROWS, elementwise, row_tiles
from fastmlp.kernels.vectors import BLOCK, TILE_VECTORS, VECTOR_BYTES

DTYPES = (np.float32, np.float64)


def lanes(dtype):
    return VECTOR_BYTES // np.dtype(dtype).itemsize


@pytest.mark.parametrize("dtype", DTYPES)
def test_sizes(dtype):
    assert VECTOR_BYTES in (16, 32, 64)
    assert BLOCK % lanes(dtype) == 0
    assert TILE_VECTORS in (2, 4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_load_and_store_one_number(dtype):
    x = Guarded(np.array([1.5, -0.0, np.nan], dtype), shift=1)
    size = x.array.itemsize
    assert compiled.load(x.address, size) == 1.5
    assert np.signbit(compiled.load(x.address + size, size))
    compiled.store(x.address, 2.5, size)
    x.check(1, 1)
    np.testing.assert_array_equal(x.array, [[2.5, -0.0, np.nan]])


# --- Tiles ----------------------------------------------------------------------------------------


def test_tiles_cover_every_number_of_rows_once():
    for rows in range(2000):
        tiles = row_tiles(rows)
        assert min(tiles) >= 0
        assert np.dot(tiles, TILE_ROWS) == rows
        assert tiles[2] <= (3 if rows < 4 else 1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("vectors", compiled.panels)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    tiles=st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 4)),
    shared=st.integers(0, 70),
    by_columns=st.booleans(),
    one_start=st.booleans(),
    gated=st.booleans(),
    floor=st.sampled_from([-np.inf, 0.0]),
    gap=st.integers(0, 33),
)
def test_panel(dtype, vectors, seed, tiles, shared, by_columns, one_start, gated, floor, gap):
    rng = np.random.RandomState(seed)
    rows, columns = int(np.dot(tiles, TILE_ROWS)), vectors * lanes(dtype)
    A = rng.randn(rows, shared).astype(dtype)
    B = rng.randn(shared, columns).astype(dtype)
    start = rng.randn(1 if one_start else rows, columns).astype(dtype)
    gate = rng.randint(-1, 2, (rows, columns)).astype(dtype)
    a = Guarded(A.T if by_columns else A, row=max(rows, shared) + gap)
    b, s = Guarded(B, row=columns + gap, shift=1), Guarded(start, row=columns + gap, shift=3)
    c, g = (Guarded(x, row=columns + gap, shift=5) for x in (np.zeros_like(gate), gate))
    compiled.panels[vectors](
        tiles, a.address, *((1, a.row) if by_columns else (a.row, 1)), b.address, b.row,
        c.address, c.row, shared, s.address, 0 if one_start else s.row,
        g.address if gated else 0, floor, np.dtype(dtype).itemsize,
    )  # fmt: skip
    check_unchanged(a, b, s, g)
    c.check_all_but_the_array()
    exact = A.astype(np.float64), B.astype(np.float64)
    expected = product(*exact, start, gate if gated else None, floor)
    assert (np.abs(c.array - expected) <= product_error(A, B, start)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_transpose_of_a_block(dtype):
    width = lanes(dtype)
    values = np.arange(width * width, dtype=dtype).reshape(width, width)
    source = Guarded(values, row=width + 3, shift=1)
    target = Guarded(np.zeros_like(values), row=width + 5, shift=2)
    compiled.transpose_block(
        source.address, source.row, target.address, target.row, values.itemsize
    )
    check_unchanged(source)
    target.check_all_but_the_array()
    np.testing.assert_array_equal(target.array, values.T)


@pytest.mark.parametrize("dtype", DTYPES)
def test_interleave(dtype):
    for count in (0, 1, 5, *range(lanes(dtype) - 1, 3 * lanes(dtype) + 2)):
        values = np.arange(2 * count, dtype=dtype).reshape(2, -1)
        a, b = (Guarded(x, shift=k) for k, x in enumerate(values))
        target = Guarded(np.zeros(2 * count, dtype), shift=2)
        compiled.interleave(a.address, b.address, count, target.address, values.itemsize)
        check_unchanged(a, b)
        target.check_all_but_the_array()
        np.testing.assert_array_equal(target.array[0], values.T.ravel())


# --- Dot product ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_dot_of_every_length(dtype):
    rng = np.random.RandomState(0)
    for vectors in range(34):
        n = vectors * lanes(dtype)
        a, b = (Guarded(rng.randint(-9, 10, n).astype(dtype), shift=k) for k in (1, 2))
        assert (
            compiled.dot(a.address, b.address, vectors, a.array.itemsize)
            == (a.array * b.array).sum()
        )
        check_unchanged(a, b)
        x, y = (rng.randn(1, n).astype(dtype) for _ in range(2))
        a, b = Guarded(x), Guarded(y, shift=1)
        value = compiled.dot(a.address, b.address, vectors, x.itemsize)
        exact = (x.astype(np.longdouble) @ y.T.astype(np.longdouble)).item()
        assert abs(value - exact) <= product_error(x, y.T, np.zeros((1, 1)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dot_reports_nan_wherever_it_is(dtype):
    n = 7 * lanes(dtype)
    for place in range(n):
        values = np.ones(n, dtype)
        values[place] = np.nan
        a, b = Guarded(values), Guarded(np.zeros(n, dtype))
        assert np.isnan(compiled.dot(a.address, b.address, 7, values.itemsize))
        assert np.isnan(compiled.dot(b.address, a.address, 7, values.itemsize))


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 40),
    columns=st.integers(0, 100),
    gap=st.integers(0, 20),
    exact=st.booleans(),
)
def test_dots_of_many_rows(dtype, seed, rows, columns, gap, exact):
    rng = np.random.RandomState(seed)
    A, w = rng.randn(rows, columns), rng.randn(columns, 1)
    A, w = ((np.round(4 * x) if exact else x).astype(dtype) for x in (A, w))
    # The padding of A holds anything, NaN here; that of w zeros.
    whole = whole_vectors(columns, lanes(dtype))
    a = Guarded(np.pad(A, ((0, 0), (0, whole - columns)), constant_values=np.nan), whole + gap, 1)
    b = Guarded(np.pad(w[:, 0], (0, whole - columns)), shift=2)
    out = Guarded(np.zeros(rows, dtype), shift=3)
    size = np.dtype(dtype).itemsize
    compiled.row_dots(a.address, a.row, rows, b.address, columns, 0.5, out.address, size)
    check_unchanged(a, b)
    out.check_all_but_the_array()
    expected = (A.astype(np.float64) @ w.astype(np.float64) + 0.5)[:, 0]
    bound = 0 if exact else product_error(A, w, np.full((rows, 1), 0.5))[:, 0]
    assert (np.abs(out.array[0] - expected) <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    shared=st.integers(0, 40),
    vectors=st.integers(0, 11),
    step=st.sampled_from([0, 1, 3]),
    in_place=st.booleans(),
    gap=st.integers(0, 20),
    exact=st.booleans(),
)
def test_weighted_sum_of_rows(dtype, seed, shared, vectors, step, in_place, gap, exact):
    rng = np.random.RandomState(seed)
    n = vectors * lanes(dtype)
    weight, B, start = rng.randn(1, max(1, shared)), rng.randn(shared, n), rng.randn(1, n)
    weight, B, start = ((np.round(4 * x) if exact else x).astype(dtype) for x in (weight, B, start))
    apart = np.zeros((1, weight.size * max(1, step)), dtype)
    apart[:, :: max(1, step)] = weight
    a, b = Guarded(apart, shift=1), Guarded(B, row=n + gap, shift=2)
    s, c = Guarded(start, shift=3), Guarded(np.zeros_like(start), shift=4)
    target = s if in_place else c
    compiled.weighted_row_sum(
        a.address, step, b.address, b.row, shared, s.address, target.address, vectors, B.itemsize
    )
    check_unchanged(a, b, c if in_place else s)
    target.check_all_but_the_array()
    factors = np.repeat(weight[:, :1], shared, axis=1) if step == 0 else weight[:, :shared]
    expected = start + factors.astype(np.float64) @ B
    bound = 0 if exact else product_error(factors, B, start)
    assert (np.abs(target.array - expected) <= bound).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_address_of_an_array(dtype):
    x = np.zeros((4, 6), dtype)
    for part in (x, x[1:, 2:], x[::-1], x[:, 3]):
        assert compiled.address_of(part) == part.ctypes.data


# --- Elementwise loops ----------------------------------------------------------------------------


def several(x, y, z, s, t):
    """Three arrays and two scalars; the results go to the third array and the first."""
    return x * s + y, z - t


apply_several = elementwise(several, arrays=3, scalars=2, writes=(2, 0))


@kernel
def call_several(count, size, x, y, z, s, t):
    apply_several(count, size, (x, y, z), (s, t))


@pytest.mark.parametrize("dtype", DTYPES)
def test_elementwise_loop_writes_what_it_says(dtype):
    rng = np.random.RandomState(1)
    for count in (0, *range(BLOCK, 12 * BLOCK, BLOCK)):
        values = rng.randint(-9, 10, (3, count)).astype(dtype)
        x, y, z = (Guarded(v, shift=k) for k, v in enumerate(values))
        call_several(count, values.itemsize, x.address, y.address, z.address, 3.0, 0.5)
        check_unchanged(y)
        x.check_all_but_the_array()
        z.check_all_but_the_array()
        np.testing.assert_array_equal(z.array[0], values[0] * 3 + values[1])
        np.testing.assert_array_equal(x.array[0], values[2] - dtype(0.5))


def test_no_two_formulas_of_the_package_share_a_name():
    # The name of a formula names its machine code: a second one would run the code of the first.
    folder = Path(simd.__file__).parent
    calls = re.compile(r"(?<!def )elementwise\((\w+),")
    names = [
        name for file in folder.glob("*.py") for name in calls.findall(file.read_text("utf-8"))
    ]
    assert len(names) > 10
    assert len(names) == len(set(names))


def test_elementwise_formula_must_fit_what_it_writes():
    def too_many(x):
        return x, x

    apply = elementwise(too_many, arrays=1, scalars=0, writes=(0,))

    @kernel
    def call(x):
        apply(16, 8, (x,), ())

    x = Guarded(np.zeros(16))
    with pytest.raises(Exception, match="zip"):
        call(x.address)


# --- Arithmetic on a vector -----------------------------------------------------------------------

#: Values that an operation may treat apart.
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 2.0**-100, -(2.0**100), np.inf, -np.inf, np.nan]


def _pairs(dtype):
    x, y = np.meshgrid(SPECIAL, SPECIAL)
    x, y = (np.resize(a.ravel(), 144).astype(dtype) for a in (x, y))
    return x, y


def _two(name, formula):
    def of_two(x, y):
        return formula(x, y)

    of_two.__name__ = f"of_two_{name}"
    apply = elementwise(of_two, arrays=2, scalars=0, writes=(0,))

    @kernel
    def call(count, size, x, y):
        apply(count, size, (x, y), ())

    return call


def _keep_nan(choose):
    return lambda x, y: np.where(np.isnan(x) | np.isnan(y), x, choose(x, y))


def _fma(x, y):
    """x·y + ½: rounded once or twice makes no difference to these values."""
    return (x.astype(np.float64) * y + 0.5).astype(x.dtype)


# name: (formula in vectors, the same in NumPy)
OPERATIONS = {
    "add": (lambda x, y: x + y, np.add),
    "subtract": (lambda x, y: x - y, np.subtract),
    "subtract_from_number": (lambda x, y: 2.0 - x, lambda x, y: 2 - x),
    "multiply": (lambda x, y: x * y, np.multiply),
    "number_times": (lambda x, y: 2.0 * x, lambda x, y: 2 * x),
    "divide": (lambda x, y: x / y, np.divide),
    "number_divided": (lambda x, y: 1.0 / x, lambda x, y: 1 / x),
    "negative": (lambda x, y: -x, lambda x, y: -x),
    "times_plus": (lambda x, y: x.times_plus(y, 0.5), _fma),
    "square_root": (lambda x, y: x.abs().sqrt(), lambda x, y: np.sqrt(np.abs(x))),
    "absolute": (lambda x, y: x.abs(), lambda x, y: np.abs(x)),
    "copysign": (lambda x, y: x.copysign(y), np.copysign),
    "at_least": (lambda x, y: x.at_least(y), _keep_nan(np.maximum)),
    "at_most": (lambda x, y: x.at_most(y), _keep_nan(np.minimum)),
    "where_less": (
        lambda x, y: x.where(x.compare("<", y), 7.0),
        lambda x, y: np.where(x < y, x, x.dtype.type(7)),
    ),
    "where_equal": (
        lambda x, y: x.where(x.compare("==", y), y),
        lambda x, y: np.where(x == y, x, y),
    ),
}
VECTOR_CALLS = {name: _two(name, formula) for name, (formula, _) in OPERATIONS.items()}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_arithmetic(dtype, name):
    x, y = _pairs(dtype)
    a, b = Guarded(x, shift=1), Guarded(y, shift=2)
    VECTOR_CALLS[name](x.size, x.itemsize, a.address, b.address)
    with np.errstate(all="ignore"):
        expected = OPERATIONS[name][1](x, y)
    check_unchanged(b)
    a.check_all_but_the_array()
    # x where a number is NaN, whichever; elsewhere the value, and the sign of a zero. The larger of
    # two equal zeros may be either.
    np.testing.assert_array_equal(a.array[0], expected)
    numbers = ~np.isnan(expected) & ~((x == 0) & (y == 0) & name.startswith("at_"))
    np.testing.assert_array_equal(np.signbit(a.array[0])[numbers], np.signbit(expected)[numbers])


@pytest.mark.parametrize("dtype", DTYPES)
def test_guard_zones_see_a_stray_write(dtype):
    zone = Guarded(np.zeros((3, 16), dtype), row=20)
    size = zone.array.itemsize
    guard = untouched(1, dtype)
    for place in (-1, 16, 19, 3 * 20):
        zone.check_all_but_the_array()
        compiled.store(zone.address + place * size, np.nan, size)
        with pytest.raises(AssertionError):
            zone.check_all_but_the_array()
        compiled.copy_numbers(guard.ctypes.data, zone.address + place * size, 1, size)
        zone.check_all_but_the_array()
    assert bits(zone.memory).min() == 0
