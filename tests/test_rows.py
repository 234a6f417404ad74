"""How kernels reach the rows of X: what is shared, what is copied, and that both say the same."""

import ctypes
import gc
import weakref

import numpy as np
import pytest
import scipy.sparse

from fastmlp.data.rows import as_rows
from fastmlp.kernels.epoch import EPOCH
from fastmlp.kernels.take_rows import SOURCES, rows_record, take_rows
from fastmlp.network.layout import in_panels
from fastmlp.network.program import Record, Ref, Writer

DTYPES = (np.float32, np.float64)


def read(rows, dtype):
    """All rows, as the kernels see them."""
    dtype = np.dtype(dtype)
    place = in_panels(0, rows.n_samples, rows.n_features, dtype)
    target = np.zeros(place.size, dtype)
    writer = Writer()
    x = {rows.source.name: Ref("x"), "row": Ref("x_row"), "column": Ref("x_column")}
    fields = {
        "x": x,
        "n_features": rows.n_features,
        "a": place.fields("target", dtype),
        "epoch": writer.record(Record(EPOCH, {"n_rows": rows.n_samples})),
    }
    kind = rows_record(rows.source.name, dtype.name)
    writer.record(Record(kind, fields), "rows")
    bound = writer.finish([], waits=False).bind(
        {**rows.values_of_refs(), "target": target.ctypes.data}
    )
    piece = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 5)(take_rows.address(kind))
    piece(bound.words.ctypes.data + bound._starts["rows"], 0, 0, rows.n_samples, 0)
    return place.view(target).reshape(place.rows, -1)[: rows.n_samples, : rows.n_features]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", SOURCES)
def test_types_that_are_read_in_place(dtype, kind):
    base = np.random.RandomState(0).randint(0, 2, (12, 15)).astype(kind)
    for X in (base, base[::2], base[:, ::3], base[::-1], base[:, ::-1], base[3:9, 2:9]):
        rows = as_rows(X, np.dtype(dtype))
        assert np.shares_memory(rows.array, X)
        assert (rows.n_samples, rows.n_features) == X.shape
        assert all(part.size == 0 for part in rows.csr)
        np.testing.assert_array_equal(read(rows, dtype), X)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["f2", "g", ">f4", ">f8", ">i4", "O"])
def test_types_that_are_converted(dtype, kind):
    X = np.random.RandomState(1).randint(-5, 5, (6, 5)).astype(kind)
    rows = as_rows(X, np.dtype(dtype))
    assert rows.array.dtype == dtype
    np.testing.assert_array_equal(read(rows, dtype), X.astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["f4", "f8", "i8"])
def test_column_major_rows_are_copied_once(dtype, kind):
    X = np.asfortranarray(np.random.RandomState(2).randint(-5, 5, (6, 5)).astype(kind))
    rows = as_rows(X, np.dtype(dtype))
    assert rows.array.dtype == dtype
    assert rows.array.flags.c_contiguous
    np.testing.assert_array_equal(read(rows, dtype), X)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (1, 1)])
def test_one_row_or_one_column_is_never_copied(shape):
    for X in (
        np.zeros(shape),
        np.zeros(shape, order="F"),
        np.zeros((9, 9))[: shape[0], : shape[1]],
    ):
        assert np.shares_memory(as_rows(X, np.dtype(np.float64)).array, X)


def test_read_only_rows_are_shared():
    X = np.random.RandomState(3).randn(4, 3)
    X.flags.writeable = False
    rows = as_rows(X, np.dtype(np.float32))
    assert np.shares_memory(rows.array, X)
    np.testing.assert_array_equal(read(rows, np.float32), X.astype(np.float32))


def test_rows_keep_what_they_point_to():
    X = np.random.RandomState(4).randn(4, 3)
    expected, alive = X.copy(), weakref.ref(X)
    rows = as_rows(X, np.dtype(np.float64))
    del X
    gc.collect()
    assert alive() is not None
    np.testing.assert_array_equal(read(rows, np.float64), expected)
    del rows
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("maker", ["csr_array", "csr_matrix", "csc_array", "csc_matrix"])
def test_sparse_rows(dtype, maker):
    X = scipy.sparse.random(7, 9, density=0.4, random_state=0, dtype=dtype)
    X = getattr(scipy.sparse, maker)(X)
    kept = X.copy()
    rows = as_rows(X, np.dtype(dtype))
    data, (indices, indptr) = rows.values, rows.csr
    assert rows.array is None
    assert (rows.n_samples, rows.n_features) == (7, 9)
    assert (data.dtype, indices.dtype, indptr.dtype) == (dtype, np.int32, np.int64)
    again = scipy.sparse.csr_array((data, indices, indptr), shape=(7, 9))
    np.testing.assert_array_equal(again.toarray(), X.toarray())
    np.testing.assert_array_equal(kept.toarray(), X.toarray())
    if "csr" in maker:
        assert np.shares_memory(data, X.data)
        assert np.shares_memory(indices, X.indices)


def test_sparse_rows_of_other_types_are_converted():
    X = scipy.sparse.csr_array(np.array([[0, 2, 0], [1, 0, 3]], np.int8))
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    rows = as_rows(X, np.dtype(np.float32))
    data, (indices, indptr) = rows.values, rows.csr
    assert (data.dtype, indices.dtype, indptr.dtype) == (np.float32, np.int32, np.int64)
    assert (data.tolist(), indices.tolist(), indptr.tolist()) == ([2, 1, 3], [1, 0, 2], [0, 1, 3])


def test_places_of_sparse_rows():
    rows = as_rows(scipy.sparse.csr_array(np.eye(3)), np.dtype(np.float64))
    indices, indptr = rows.csr
    assert rows.source is None
    assert rows.values_of_refs() == {
        "values": rows.values.ctypes.data,
        "indices": indices.ctypes.data,
        "indptr": indptr.ctypes.data,
    }
    assert rows.memory() == (None, rows.csr, rows.values)


def test_places_of_dense_rows():
    X = np.zeros((5, 4), np.int16)[::-1]
    rows = as_rows(X, np.dtype(np.float64))
    assert rows.source == np.int16
    assert rows.values_of_refs() == {"x": X.ctypes.data, "x_row": -8, "x_column": 2}
    assert rows.memory()[0] is rows.array


def test_sparse_rows_may_have_room_to_spare():
    X = scipy.sparse.csr_array(np.eye(3))
    X.indices, X.data = np.append(X.indices, 99), np.append(X.data, np.nan)
    rows = as_rows(X, np.dtype(np.float64))
    data, (indices, indptr) = rows.values, rows.csr
    assert indptr[-1] == 3
    assert (data[:3].tolist(), indices[:3].tolist()) == ([1, 1, 1], [0, 1, 2])


def test_more_features_than_32_bits_count():
    X = scipy.sparse.csr_array((2, 2**31), dtype=np.float64)
    with pytest.raises(ValueError, match="2147483647 features at most"):
        as_rows(X, np.dtype(np.float64))


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)])
def test_sparse_rows_without_entries(shape):
    rows = as_rows(scipy.sparse.csr_array(shape, dtype=np.float64), np.dtype(np.float64))
    assert (rows.n_samples, rows.n_features) == shape
