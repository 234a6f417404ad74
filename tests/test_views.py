"""Views of records against NumPy's strides: shapes, places, and no owner."""

import numba
import numpy as np
import pytest
from compiled import call, caller, column, filled, of, operands
from guards import Guarded, Panels
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmlp.kernels import views
from fastmlp.kernels.simd.vector import PANEL
from fastmlp.kernels.views import matrix, part, whole
from fastmlp.runtime.records import listed, numbers, record_at

DTYPES = (np.float32, np.float64)


@caller()
def describe_part(record, at, first, rows, batch):
    """z ← what is in a part of c; i, j, k, m, n ← its shape and strides."""
    view = part(record.c, at, first, rows)
    record.i, record.j, record.k = view.shape
    record.m, record.n = view.strides[0], view.strides[1]
    out = listed(record.z, 0, view.size)
    k = 0
    for panel in range(view.shape[0]):
        for row in range(view.shape[1]):
            for place in range(view.shape[2]):
                out[k] = view[panel, row, place]
                view[panel, row, place] += 1
                k += 1


@caller()
def describe_whole(record, at, first, rows, batch):
    view = whole(record.c)
    record.i, record.j, record.k = view.shape
    record.m, record.n = view.strides[0], view.strides[1]
    out = listed(record.z, 0, view.size)
    for k, number in enumerate(view.flat):
        out[k] = number


@caller()
def describe_rows_from(record, at, first, rows, batch):
    """z ← rows first … of c, each raised by 1."""
    view = views.rows_from(whole(record.c), first, rows)
    out = listed(record.z, 0, view.size)
    for k, number in enumerate(view.flat):
        out[k] = number
    view[:] += 1


@caller()
def describe_panels_from(record, at, first, rows, batch):
    """z ← panels first … of c, each number raised by 1."""
    view = views.panels_from(whole(record.c), first, rows)
    out = listed(record.z, 0, view.size)
    for k, number in enumerate(view.flat):
        out[k] = number
    view[:] += 1


@caller()
def describe_column(record, at, first, rows, batch):
    view = views.column(record.c, at, first, rows)
    record.i, record.j = view.shape[0], view.strides[0]
    out = listed(record.z, 0, rows)
    for k in range(rows):
        out[k] = view[k]
        view[k] = -7


@caller()
def describe_list(record, at, first, rows, batch):
    view = listed(record.x, first, rows)
    record.i, record.j = view.shape[0], view.strides[0]
    out = listed(record.z, 0, rows)
    for k in range(rows):
        out[k] = view[k]
        view[k] = -7


INNER = np.dtype([("number", np.int64), ("reals", numbers("float64"))])
OUTER = np.dtype([("inner", np.int64), ("result", np.float64)])
inner_at = record_at(INNER)


@caller()
def follow(record, at, first, rows, batch):
    inner = inner_at(record.inner)
    record.result = inner.number + listed(inner.reals, first, 1)[0]


def numbered(shape, dtype):
    return np.arange(np.prod(shape), dtype=dtype).reshape(shape)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    blocks=st.integers(1, 3),
    rows=st.integers(1, 9),
    columns=st.integers(1, 50),
    gap=st.integers(0, 3),
    in_rows=st.booleans(),
    advances=st.booleans(),
    data=st.data(),
)
def test_part(dtype, blocks, rows, columns, gap, in_rows, advances, data):
    values = numbered((blocks, rows, columns), dtype)
    c = Panels(values, gap=gap, shift=1, fill=-1, in_rows=in_rows)
    at = data.draw(st.integers(0, blocks - 1))
    first = data.draw(st.integers(0, rows - 1))
    count = data.draw(st.integers(0, rows - first))
    advance = c.row if advances else 0
    there = first if advances else 0  # in a block or room, `first` moves nothing
    out = np.zeros(c.panels * count * PANEL + 1, dtype)
    record = of(dtype, c=c.fields(advance=advance), z=out)
    before = c.padded.copy()
    call(describe_part, record, at, first, count)
    size = values.itemsize
    assert [record[name][0] for name in "ijkmn"] == [
        c.panels, count, PANEL, c.panel * size, c.row * size
    ]  # fmt: skip
    rows_of_part = slice(there, there + count)
    expected = before[at, rows_of_part].reshape(count, c.panels, PANEL).swapaxes(0, 1)
    np.testing.assert_array_equal(out, [*expected.ravel(), 0])
    c.check(rows_of_part, block=at)
    before[at, rows_of_part] += 1
    np.testing.assert_array_equal(c.padded, before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("in_rows", [False, True])
def test_whole(dtype, in_rows):
    c = Panels(numbered((7, 37), dtype), gap=2, shift=3, in_rows=in_rows)
    out = np.zeros(c.panels * 7 * PANEL, dtype)
    record = of(dtype, c=c, z=out)
    call(describe_whole, record)
    assert [record[name][0] for name in "ijkmn"] == [
        3, 7, PANEL, c.panel * out.itemsize, c.row * out.itemsize
    ]  # fmt: skip
    c.check()
    expected = c.padded[0].reshape(7, 3, PANEL).swapaxes(0, 1)
    np.testing.assert_array_equal(out, expected.ravel())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("describe", [describe_rows_from, describe_panels_from])
@pytest.mark.parametrize(("first", "count"), [(0, 3), (1, 2), (2, 1), (2, 0)])
def test_rows_and_panels_of_a_view(dtype, describe, first, count):
    c = Panels(numbered((7, 37), dtype), gap=2, shift=3)
    before = c.padded[0].reshape(7, 3, PANEL).swapaxes(0, 1).copy()  # panels, rows, columns
    there = np.zeros(before.shape, bool)
    there[(slice(None), slice(first, first + count)) if describe is describe_rows_from
          else slice(first, first + count)] = True  # fmt: skip
    out = np.zeros(there.sum() + 1, dtype)
    call(describe, of(dtype, c=c, z=out), first=first, rows=count)
    np.testing.assert_array_equal(out, [*before[there], 0])
    after = c.padded[0].reshape(7, 3, PANEL).swapaxes(0, 1)
    np.testing.assert_array_equal(after, before + there)
    c.check(slice(None), slice(3 * PANEL))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("advance", "block"), [(1, 0), (0, 5), (1, 5)])
def test_column(dtype, advance, block):
    values = numbered(20, dtype)
    x, out = Guarded(values, shift=1), np.zeros(4, dtype)
    record = of(dtype, c=column(x, advance=advance, block=block), z=out)
    call(describe_column, record, at=2, first=3, rows=4)
    assert (record["i"][0], record["j"][0]) == (4, values.itemsize)
    start = 2 * block + 3 * advance
    np.testing.assert_array_equal(out, values[start : start + 4])
    x.check_all_but_the_array()
    np.testing.assert_array_equal(np.flatnonzero(x.array[0] != values), [*range(start, start + 4)])


@pytest.mark.parametrize("dtype", DTYPES)
def test_listed(dtype):
    values = numbered(20, dtype)
    x, out = Guarded(values, shift=1), np.zeros(5, dtype)
    record = of(dtype, x=x, z=out)
    call(describe_list, record, first=6, rows=5)
    assert (record["i"][0], record["j"][0]) == (5, values.itemsize)
    np.testing.assert_array_equal(out, values[6:11])
    x.check_all_but_the_array()
    np.testing.assert_array_equal(np.flatnonzero(x.array[0] != values), range(6, 11))


def test_a_record_at_an_address():
    reals = np.array([0.25, 0.5])
    inner = filled(INNER, number=3, reals=reals)
    record = filled(OUTER, inner=inner.ctypes.data)
    call(follow, record, first=1)
    assert record["result"][0] == 3.5


@pytest.mark.skipif(bool(numba.config.BOUNDSCHECK), reason="a failed check gives references back")
@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("piece", [describe_part, describe_whole, describe_column, describe_list])
def test_views_own_nothing(kind, piece):
    # No reference is counted: views cost an addition or two.
    assert "NRT" not in piece.code(operands(kind))


def test_fields_of_a_matrix_have_8_bytes_each():
    record = matrix("float32")
    assert record.names[0] == "float32"
    assert record.itemsize == 8 * len(record.names)
    assert {record[name] for name in record.names} == {np.dtype(np.int64)}
