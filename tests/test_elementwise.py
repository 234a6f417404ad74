"""Formulas over whole vectors of views: what is written, tails, panels, and the arithmetic."""

import re
from pathlib import Path

import numpy as np
import pytest
from compiled import call, caller, of
from guards import Guarded, Panels, check_unchanged
from hypothesis import given, settings
from hypothesis import strategies as st

import fastmlp
from fastmlp.kernels.simd.elementwise import elementwise
from fastmlp.kernels.simd.vector import PANEL
from fastmlp.kernels.views import part
from fastmlp.runtime.cpu import VECTOR_BYTES
from fastmlp.runtime.records import listed

DTYPES = (np.float32, np.float64)


def lanes(dtype):
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def several(x, y, z, s, t):
    """Three arrays and two scalars; the results go to the third array and the first."""
    return x * s + y, z - t


def several_ragged(x, y, z, s, t):
    """The same under another name, which names its code."""
    return several(x, y, z, s, t)


apply_several = elementwise(several, views=3, scalars=2, writes=(2, 0))
apply_ragged = elementwise(several_ragged, views=3, scalars=2, writes=(2, 0), ragged=True)


@caller()
def whole_vectors(record, at, first, rows, batch):
    x, y, z = listed(record.x, 0, rows), listed(record.y, 0, rows), listed(record.z, 0, rows)
    apply_several((x, y, z), (record.s, record.t))


@caller()
def ragged(record, at, first, rows, batch):
    x, y, z = listed(record.x, 0, rows), listed(record.y, 0, rows), listed(record.z, 0, rows)
    apply_ragged((x, y, z), (record.s, record.t))


@caller()
def of_matrices(record, at, first, rows, batch):
    x, y, z = (
        part(record.a, at, first, rows), part(record.b, at, first, rows),
        part(record.c, at, first, rows),
    )  # fmt: skip
    apply_several((x, y, z), (record.s, record.t))


def check_lists(kernel, dtype, count):
    # Numbers follow, and not guards alone: arithmetic leaves the bits of a NaN as they are.
    values = np.random.RandomState(1).randint(-9, 10, (3, count + PANEL)).astype(dtype)
    x, y, z = (Guarded(v, shift=k) for k, v in enumerate(values))
    call(kernel, of(dtype, x=x, y=y, z=z, s=3.0, t=0.5), rows=count)
    check_unchanged(y)
    x.check(1, count)
    z.check(1, count)
    first, second, third = values[:, :count]
    np.testing.assert_array_equal(z.array[0, :count], first * 3 + second)
    np.testing.assert_array_equal(x.array[0, :count], third - dtype(0.5))


@pytest.mark.parametrize("dtype", DTYPES)
def test_it_writes_what_it_says(dtype):
    for count in (0, *range(lanes(dtype), 12 * PANEL, lanes(dtype))):
        check_lists(whole_vectors, dtype, count)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_view_may_end_within_a_vector(dtype):
    for count in range(5 * PANEL):
        check_lists(ragged, dtype, count)


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_that_are_not_in_whole_vectors_are_left_alone(dtype):
    # Without `ragged`, what follows the last whole vector is nobody's.
    count = 3 * lanes(dtype) - 1
    x = Guarded(np.ones(count + PANEL, dtype))
    call(whole_vectors, of(dtype, x=x, y=x, z=x, s=3.0, t=0.5), rows=count)
    x.check(1, 2 * lanes(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 12), st.integers(1, 60)),
    gaps=st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)),
    steps=st.booleans(),
    data=st.data(),
)
def test_matrices(dtype, shape, gaps, steps, data):
    values = np.random.RandomState(2).randint(-9, 10, (3, *shape)).astype(dtype)
    x, y, z = (Panels(v, gap=g, shift=k) for k, (v, g) in enumerate(zip(values, gaps, strict=True)))
    at = data.draw(st.integers(0, shape[0] - 1))
    first = data.draw(st.integers(0, shape[1] - 1)) if steps else 0
    rows = data.draw(st.integers(0, shape[1] - first))
    a, b, c = (p.fields(advance=p.row if steps else 0) for p in (x, y, z))
    before = [p.padded.copy() for p in (x, y, z)]
    call(of_matrices, of(dtype, a=a, b=b, c=c, s=3.0, t=0.5), at, first, rows)
    check_unchanged(y)
    part_of = at, slice(first, first + rows)
    expected = before[0][part_of] * 3 + before[1][part_of], before[2][part_of] - dtype(0.5)
    for matrix, result in ((z, expected[0]), (x, expected[1])):
        matrix.check(part_of[1], block=at)
        np.testing.assert_array_equal(matrix.padded[part_of], result)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_beside_each_other_are_one_panel(dtype):
    # How updates go along matrices whose panels lie within their rows.
    x = Panels(np.arange(5 * 37, dtype=dtype).reshape(5, 37), shift=1, in_rows=True)
    before = x.padded[0].copy()
    fields = x.fields(panels=1, columns=x.row, advance=x.row)
    call(of_matrices, of(dtype, a=fields, b=fields, c=fields, s=0.0, t=1.0), first=1, rows=3)
    x.check(slice(1, 4))
    # All three are one matrix: the second result is written last.
    np.testing.assert_array_equal(x.padded[0][1:4], before[1:4] - 1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_scalars_are_rounded_once(dtype):
    x = Guarded(np.ones(PANEL, dtype))
    y, z = Guarded(np.zeros(PANEL, dtype), shift=1), Guarded(np.zeros(PANEL, dtype))
    call(whole_vectors, of(dtype, x=x, y=y, z=z, s=0.1, t=-0.7), rows=PANEL)
    np.testing.assert_array_equal(z.array, dtype(0.1))
    np.testing.assert_array_equal(x.array, dtype(0.7))


def test_no_two_formulas_of_the_package_share_a_name():
    # The name of a formula names its machine code: a second one would run the code of the first.
    calls = re.compile(r"(?<!def )elementwise\(([\w.]+),")
    names = [
        (file.name if "." not in name else "", name)
        for file in Path(fastmlp.__file__).parent.rglob("*.py")
        for name in calls.findall(file.read_text("utf-8"))
    ]
    assert len(names) > 10
    assert len(names) == len(set(names))


def test_a_formula_must_fit_what_it_writes():
    def too_many(x):
        return x, x

    apply = elementwise(too_many, views=1, scalars=0, writes=(0,))

    @caller()
    def apply_it(record, at, first, rows, batch):
        apply((listed(record.x, 0, rows),), ())

    with pytest.raises(Exception, match="zip"):
        call(apply_it, of(np.float64, x=np.zeros(16)), rows=16)


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
    apply = elementwise(of_two, views=2, scalars=0, writes=(0,))

    @caller()
    def apply_two(record, at, first, rows, batch):
        apply((listed(record.x, 0, rows), listed(record.y, 0, rows)), ())

    return apply_two


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
    call(VECTOR_CALLS[name], of(dtype, x=a, y=b), rows=x.size)
    with np.errstate(all="ignore"):
        expected = OPERATIONS[name][1](x, y)
    check_unchanged(b)
    a.check_all_but_the_array()
    # x where a number is NaN, whichever; elsewhere the value, and the sign of a zero. The larger of
    # two equal zeros may be either.
    np.testing.assert_array_equal(a.array[0], expected)
    numbers = ~np.isnan(expected) & ~((x == 0) & (y == 0) & name.startswith("at_"))
    np.testing.assert_array_equal(np.signbit(a.array[0])[numbers], np.signbit(expected)[numbers])
