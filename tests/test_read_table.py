"""A raw table becomes one matrix, whatever holds it; and what cannot be read says where it is."""

import datetime
import pickle
import sys
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from fastmlp.data import sources
from fastmlp.data.table import Column, read_table

NAN = np.nan
DAY = datetime.date(2020, 1, 2)


@pytest.fixture(params=[0, 100], ids=["by column", "as objects"])
def _few_rows(request, monkeypatch):
    """Frames are read in both ways, whatever number of rows they have."""
    monkeypatch.setattr(sources, "FEW_ROWS", request.param)


both_ways = pytest.mark.usefixtures("_few_rows")


def same(reader, X, expected):
    np.testing.assert_array_equal(reader.read(X), expected)


def levels_of(reader):
    return [column.levels for column in reader.columns]


# What a table holds: for each name, values, which of them are text, and what the matrix has.
VALUES = {
    "number": ([1.5, None, -2.0], [1.5, NAN, -2.0]),
    "whole": ([3, 1, 2], [3, 1, 2]),
    "flag": ([True, False, True], [1, 0, 1]),
    "town": (["b", None, ""], [1, NAN, 0]),
}
MATRIX = np.array([column for _, column in VALUES.values()], dtype=float).T
RECORD = {name: values for name, (values, _) in VALUES.items()}


def rows():
    return [list(row) for row in zip(*RECORD.values(), strict=True)]


class Stream:
    """What has no more than a stream of Arrow's."""

    def __init__(self, table):
        self._table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


HOLDERS = {
    "lists": rows,
    "array of objects": lambda: np.array(rows(), dtype=object),
    "pandas": lambda: pd.DataFrame(RECORD),
    "pandas, nullable": lambda: pd.DataFrame(RECORD).convert_dtypes(),
    "pandas, of arrow": lambda: pd.DataFrame(RECORD).convert_dtypes(dtype_backend="pyarrow"),
    "pandas, names that are no text": lambda: pd.DataFrame(np.array(rows(), dtype=object))
    .infer_objects(),
    "polars": lambda: pl.DataFrame(RECORD),
    "arrow": lambda: pa.table(RECORD),
    "batch": lambda: pa.record_batch(RECORD),
    "stream": lambda: Stream(pa.table(RECORD)),
}  # fmt: skip


@both_ways
@pytest.mark.parametrize("holder", HOLDERS)
def test_a_table_is_the_same_matrix_whatever_holds_it(holder):
    X = HOLDERS[holder]()
    reader, matrix = read_table(X)
    np.testing.assert_array_equal(matrix, MATRIX)
    assert matrix.dtype == np.float64
    assert matrix.flags.c_contiguous
    assert [column.kind for column in reader.columns] == ["number"] * 3 + ["category"]
    assert levels_of(reader) == [None, None, None, ("", "b")]
    assert reader.n_columns == 4
    for other in HOLDERS.values():
        same(reader, other(), MATRIX)


@pytest.mark.parametrize("holder", HOLDERS)
def test_names(holder):
    reader, _ = read_table(HOLDERS[holder]())
    nameless = holder in ("lists", "array of objects", "pandas, names that are no text")
    assert reader.feature_names == (None if nameless else tuple(VALUES))


def test_a_reader_is_a_value():
    X = pd.DataFrame(RECORD)
    reader, matrix = read_table(X)
    same(reader, X, matrix)  # which keeps more in it than its columns
    copy = pickle.loads(pickle.dumps(reader))
    assert copy == reader
    assert hash(copy) == hash(reader)
    assert vars(copy).keys() == {"columns"}
    same(copy, X, matrix)
    assert copy != read_table(X.iloc[:, ::-1])[0]
    assert reader.columns[3] == Column("town", "category", ("", "b"), str(X.dtypes["town"]))
    with pytest.raises(AttributeError):
        reader.columns = ()


COLUMNS_OF_PANDAS = {
    "categorical": (pd.Categorical(["lo", None, "hi"], ["none", "lo", "hi"]), [0, NAN, 1], "lo hi"),
    "of whole numbers": (pd.Categorical([7, 5, None]), [1, 0, NAN], (5, 7)),
    "arrow's dictionary": (
        pd.array(["b", None, "a"], dtype=pd.ArrowDtype(pa.dictionary(pa.int8(), pa.string()))),
        [1, NAN, 0],
        "a b",
    ),
    "large text": (
        pd.array(["b", None, "a"], dtype=pd.ArrowDtype(pa.large_string())),
        [1, NAN, 0],
        "a b",
    ),
    "objects": (pd.Series(["b", NAN, pd.NA], dtype=object), [0, NAN, NAN], "b"),
    "object flags": (pd.Series([True, None, False], dtype=object), [1, NAN, 0], (False, True)),
    "nothing": (pd.Series([None, NAN, pd.NA], dtype=object), [NAN] * 3, ()),
    "null": (pd.array([None] * 3, dtype=pd.ArrowDtype(pa.null())), [NAN] * 3, None),
    "decimals": (
        pd.array([Decimal("1.5"), None, Decimal(2)], dtype=pd.ArrowDtype(pa.decimal128(5, 2))),
        [1.5, NAN, 2],
        None,
    ),
    "sparse": (pd.arrays.SparseArray([0, 3, 0]), [0, 3, 0], None),
    "sparse floats": (pd.arrays.SparseArray([NAN, 3, 0]), [NAN, 3, 0], None),
    "boolean": (pd.array([True, None, False], dtype="boolean"), [1, NAN, 0], None),
    "bytes of integers": (np.array([1, 2, 255], dtype=np.uint8), [1, 2, 255], None),
    "float32": (np.array([1, NAN, 0.5], dtype=np.float32), [1, NAN, 0.5], None),
}


@both_ways
@pytest.mark.parametrize("name", COLUMNS_OF_PANDAS)
def test_types_of_pandas(name):
    values, expected, levels = COLUMNS_OF_PANDAS[name]
    X = pd.DataFrame({"first": values, "second": [0.0, 1.0, 2.0]})
    reader, matrix = read_table(X)
    np.testing.assert_array_equal(matrix, np.column_stack([expected, [0.0, 1, 2]]))
    assert reader.columns[0].levels == (
        tuple(levels.split()) if isinstance(levels, str) else levels
    )
    same(reader, X, matrix)
    assert matrix.dtype == np.float64


COLUMNS_OF_POLARS = {
    "enum": (pl.Series(["b", None, "a"], dtype=pl.Enum(["z", "b", "a"])), [0, NAN, 1], ("b", "a")),
    "categorical": (pl.Series(["b", None, "a"], dtype=pl.Categorical), [1, NAN, 0], ("a", "b")),
    "null": (pl.Series([None] * 3), [NAN] * 3, None),
    "nan": (pl.Series([1.5, NAN, None]), [1.5, NAN, NAN], None),
    "flags": (pl.Series([True, None, False]), [1, NAN, 0], None),
    "decimals": (pl.Series([Decimal("1.5"), None, Decimal(2)]), [1.5, NAN, 2], None),
    "integers": (pl.Series([1, None, 2], dtype=pl.UInt8), [1, NAN, 2], None),
}


@both_ways
@pytest.mark.parametrize("as_arrow", [False, True])
@pytest.mark.parametrize("name", COLUMNS_OF_POLARS)
def test_types_of_polars_and_arrow(name, as_arrow):
    values, expected, levels = COLUMNS_OF_POLARS[name]
    X = pl.DataFrame({"first": values, "second": [0.0, 1.0, 2.0]})
    if as_arrow:
        X = X.to_arrow()
        if name == "enum":  # a dictionary there, without an order
            expected, levels = [1, NAN, 0], ("a", "b")
    reader, matrix = read_table(X)
    np.testing.assert_array_equal(matrix, np.column_stack([expected, [0.0, 1, 2]]))
    assert reader.columns[0].levels == levels
    same(reader, X, matrix)


def test_a_table_of_arrow_in_pieces():
    X = pa.chunked_array([["b", "a"], ["c", "a"]])
    for column in (X, X.dictionary_encode()):
        reader, matrix = read_table(pa.table({"town": column}))
        assert levels_of(reader) == [("a", "b", "c")]
        np.testing.assert_array_equal(matrix[:, 0], [1, 0, 2, 0])


@both_ways
@pytest.mark.parametrize("new", ["c", "B", " a"])
def test_a_level_that_fit_has_not_seen(new):
    reader, _ = read_table(pd.DataFrame({"town": ["a", "b"]}))
    X = pd.DataFrame({"town": [new, "b", None]})
    for other in (X, X.astype(object), X.astype("category"), pl.from_pandas(X), X.to_numpy()):
        same(reader, other, [[2], [1], [NAN]])


@both_ways
def test_a_column_that_is_all_missing():
    reader, _ = read_table(pd.DataFrame({"n": [1.0, 2], "t": ["a", None]}))
    empty = pd.DataFrame({"n": [None, None], "t": [NAN, NAN]})
    same(reader, empty, [[NAN, NAN]] * 2)
    same(reader, empty.astype(object), [[NAN, NAN]] * 2)
    reader, _ = read_table(pd.DataFrame({"t": pd.Series([None, None], dtype=object)}))
    same(reader, pd.DataFrame({"t": ["a", None]}), [[0], [NAN]])


def test_numbers_come_ahead_of_text_among_the_levels():
    X = np.array([["1"], [1], ["z"], [0.5], [None], [1.0], [True]], dtype=object)
    reader, matrix = read_table(X)
    assert levels_of(reader) == [(0.5, 1, "1", "z")]
    np.testing.assert_array_equal(matrix[:, 0], [2, 1, 3, 0, NAN, 1, 1])
    same(reader, X, matrix)
    same(reader, [[2], ["2"]], [[4], [4]])


# --- arrays of numbers


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_array_of_floats_is_not_copied(dtype):
    X = np.array([[1.5, NAN], [2, 3]], dtype=dtype)
    reader, matrix = read_table(X)
    assert matrix is X
    assert reader.read(X) is X
    assert reader.columns == tuple(Column(None, "number", None, np.dtype(dtype).name) for _ in "ab")
    assert reader.feature_names is None


@pytest.mark.parametrize(
    "X",
    [
        np.asfortranarray(np.arange(6.0).reshape(3, 2)),
        np.arange(12.0).reshape(3, 4)[:, ::2],
        np.arange(6, dtype=">f8").reshape(3, 2),
        np.arange(6, dtype=np.float16).reshape(3, 2),
        np.arange(6, dtype=np.int8).reshape(3, 2),
        np.arange(6).reshape(3, 2) % 2 == 0,
        np.arange(6).reshape(3, 2).tolist(),
        np.arange(6).reshape(3, 2).astype(object),
    ],
    ids=["columns", "strided", "swapped", "half", "int8", "bool", "lists", "objects"],
)
def test_other_arrays_of_numbers(X):
    reader, matrix = read_table(X)
    np.testing.assert_array_equal(matrix, np.asarray(X).astype(float))
    assert matrix.dtype == np.dtype(np.float64)
    assert matrix.dtype.isnative
    assert matrix.flags.c_contiguous
    assert {column.kind for column in reader.columns} == {"number"}
    same(reader, X, matrix)


def test_single_precision_stays_with_categories():
    X = np.array([[3, 0.5], [7, 1.5], [3, NAN]], dtype=np.float32)
    reader, matrix = read_table(X, [0])
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(matrix, np.float32([[0, 0.5], [1, 1.5], [0, NAN]]))
    same(reader, X.astype(float), matrix)


def test_masked_values_are_missing():
    X = np.ma.masked_array([[1, 2], [3, 4]], [[0, 1], [0, 0]])
    np.testing.assert_array_equal(read_table(X)[1], [[1, NAN], [3, 4]])
    X = np.ma.masked_array([["a", "b"], ["c", "d"]], [[0, 1], [0, 0]])
    np.testing.assert_array_equal(read_table(X)[1], [[0, NAN], [1, 0]])


def test_arrays_of_text():
    X = np.array([["1", "b"], ["2", "a"]])
    for each in (X, X.astype(np.dtypes.StringDType()), X.astype(object), X.tolist()):
        reader, matrix = read_table(each)
        assert levels_of(reader) == [("1", "2"), ("a", "b")]
        assert all(type(level) is str for column in reader.columns for level in column.levels)
        np.testing.assert_array_equal(matrix, [[0, 1], [1, 0]])


@pytest.mark.parametrize("format_", ["csr", "csc", "coo", "lil"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, bool])
def test_sparse_matrices_become_dense(format_, dtype):
    X = scipy.sparse.coo_matrix(np.random.default_rng(0).random((5, 4)) < 0.4).astype(dtype)
    reader, matrix = read_table(X.asformat(format_))
    np.testing.assert_array_equal(matrix, X.toarray())
    assert matrix.dtype == (np.float32 if dtype == np.float32 else np.float64)
    same(reader, X.asformat(format_), matrix)


def test_sparse_matrices_that_are_too_large():
    X = scipy.sparse.csr_array((1_000_000, 1_000))
    with pytest.raises(ValueError, match=r"1,000,000 rows and 1,000 columns would take 7\.5 GiB"):
        read_table(X)


# --- which columns are categories

NUMBERS = pd.DataFrame({"a": [3, 1, 3], "b": [0.5, NAN, 0.5], "c": [1, 2, 3]})


@pytest.mark.parametrize("chosen", [[True, True, False], [0, 1], ["b", "a"], [1, 0, 0]])
@pytest.mark.parametrize("as_array", [list, tuple, np.array])
def test_columns_of_numbers_as_categories(chosen, as_array):
    chosen = as_array(chosen)
    reader, matrix = read_table(NUMBERS, chosen)
    assert levels_of(reader) == [(1, 3), (0.5,), None]
    assert reader.categories == (0, 1)
    np.testing.assert_array_equal(matrix, [[1, 0, 1], [0, NAN, 2], [1, 0, 3]])
    same(reader, NUMBERS, matrix)
    same(reader, NUMBERS.to_numpy(), matrix)
    same(reader, NUMBERS.astype("Float64"), matrix)
    same(reader, [[9, 9, 9]], [[2, 1, 9]])


@pytest.mark.parametrize("nothing", [None, [], np.array([], dtype=int), [False] * 3])
def test_no_categories(nothing):
    reader, matrix = read_table(NUMBERS, nothing)
    assert reader.categories == ()
    np.testing.assert_array_equal(matrix, NUMBERS.to_numpy())


def test_a_categorical_of_numbers_may_be_numbers():
    X = pd.DataFrame(
        {"a": pd.Categorical([30, None, 10]), "b": pd.Series([1, None, 2.5], dtype=object)}
    )
    reader, matrix = read_table(X, None)
    np.testing.assert_array_equal(matrix, [[30, 1], [NAN, NAN], [10, 2.5]])
    same(reader, X, matrix)
    assert read_table(X)[0].categories == (0, 1)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("a", "must be 'from_dtype'"),
        ([True], "a mask of 1 columns, and X has 3"),
        ([3], "from 0 to 2"),
        ([-1], "from 0 to 2"),
        ([0.0], "not float64"),
        (["d", "a"], r"columns that X has not: \['d'\]"),
        ([[0]], "one dimension"),
    ],
)
def test_categorical_features_that_are_not_there(chosen, message):
    with pytest.raises(ValueError, match=message):
        read_table(NUMBERS, chosen)


def test_names_of_an_array():
    with pytest.raises(ValueError, match="has names of columns, and X has not"):
        read_table(NUMBERS.to_numpy(), ["a"])


@both_ways
@pytest.mark.parametrize("chosen", [None, [False, True], ["b"], [1]])
@pytest.mark.parametrize("dtype", ["str", "category", object])
def test_text_that_is_said_to_be_numbers(chosen, dtype):
    X = pd.DataFrame({"a": pd.Series([None, "x"], dtype=dtype), "b": [1, 2]})
    with pytest.raises(ValueError, match="column 'a' holds text 'x' in row 1: name it in"):
        read_table(X, chosen)


# --- names


@both_ways
def test_columns_are_found_by_name():
    X = pd.DataFrame(RECORD)
    reader, matrix = read_table(X)
    for other in (X.iloc[:, ::-1], pl.from_pandas(X)[:, ::-1], pl.from_pandas(X[::-1]).to_arrow()):
        expected = matrix[::-1] if isinstance(other, pa.Table) else matrix
        same(reader, other, expected)
    same(reader, X.to_numpy(), matrix)
    nameless, _ = read_table(X.to_numpy())
    same(nameless, X, matrix)


def test_columns_that_are_not_those_of_fit():
    X = pd.DataFrame(RECORD)
    reader, _ = read_table(X)
    with pytest.raises(ValueError, match=r"missing: flag, town\.$"):
        reader.read(X[["number", "whole"]])
    with pytest.raises(ValueError, match=r"not known: more\.$"):
        reader.read(X.assign(more=1))
    with pytest.raises(ValueError, match=r"missing: town; not known: Town\.$"):
        reader.read(X.rename(columns={"town": "Town"}))
    with pytest.raises(ValueError, match="X has 2 features, but TableReader is expecting 4"):
        reader.read([[1, 2]])


def test_two_columns_of_one_name():
    X = pd.DataFrame(np.zeros((2, 3)), columns=["a", "b", "a"])
    with pytest.raises(ValueError, match="more than one column 'a'"):
        read_table(X)
    with pytest.raises(ValueError):  # noqa: PT011 -- narwhals' own
        read_table(pa.table([[1], [2]], names=["a", "a"]))


# --- what cannot be read

UNREADABLE = {
    "datetimes": pd.Series([pd.NaT, pd.Timestamp(DAY)]),
    "datetimes of a zone": pd.Series([pd.Timestamp(DAY, tz="UTC")] * 2),
    "datetimes as objects": pd.Series([None, DAY], dtype=object),
    "datetimes, periods": pd.Series(pd.period_range("2020", periods=2, freq="Y")),
    "datetimes as levels": pd.Series(pd.Categorical([pd.Timestamp(DAY), None])),
    "datetimes of arrow": pd.Series(pd.array([DAY, None], dtype=pd.ArrowDtype(pa.date32()))),
    "durations": pd.Series(pd.to_timedelta([1, 2], "s")),
    "durations as objects": pd.Series([np.timedelta64(1, "s"), None], dtype=object),
    "nested values": pd.Series([[1], [2]]),
    "nested values, arrays": pd.Series([np.zeros(1), None]),
    "nested values, tuples": pd.Series([(1, 2), None]),
    "nested values, dicts": pd.Series([{"a": 1}, None]),
    "bytes": pd.Series([b"a", None]),
    "values of type Interval": pd.Series(pd.interval_range(0, 2)),
    "values of type object": pd.Series([object(), None]),
}


@both_ways
@pytest.mark.parametrize("held", UNREADABLE)
def test_values_that_are_neither_numbers_nor_text(held):
    family = held.partition(",")[0].partition(" as ")[0].partition(" of a")[0]
    X = pd.DataFrame({"x": [1, 2], "when": UNREADABLE[held]})
    fitted = [read_table(X.assign(when=values))[0] for values in (["a", "b"], [1.0, 2.0])]
    with pytest.raises(TypeError, match=f"^column 'when' holds {family}: "):
        read_table(X)
    for reader in fitted:
        with pytest.raises(TypeError, match=f"^column 'when' holds {family}: "):
            reader.read(X)


@both_ways
@pytest.mark.parametrize("value", [DAY, datetime.timedelta(1), [1], b"a", {"a": 1}])
def test_values_of_polars_that_are_neither_numbers_nor_text(value):
    X = pl.DataFrame({"when": [value]})
    reader, _ = read_table(pl.DataFrame({"when": ["a"]}))
    for read in (read_table, reader.read):
        with pytest.raises(TypeError, match=r"^column 'when' holds "):
            read(X)


@pytest.mark.parametrize("value", [DAY, datetime.timedelta(1), [1], b"a", {"a": 1}, object()])
def test_objects_that_are_neither_numbers_nor_text(value):
    X = np.empty((1, 2), dtype=object)
    X[0] = 1, value
    with pytest.raises(TypeError, match=r"^column 1 holds "):
        read_table(X)


@pytest.mark.parametrize("dtype", ["M8[s]", "m8[s]", "S1", "V1"])
def test_arrays_of_neither_numbers_nor_text(dtype):
    with pytest.raises(TypeError, match="Input X holds "):
        read_table(np.zeros((2, 2), dtype=dtype))


@pytest.mark.parametrize(
    "X",
    [np.ones((1, 1), complex), [[1j]], pd.DataFrame({"a": [1j]}), scipy.sparse.eye_array(1) * 1j],
)
def test_complex_numbers(X):
    with pytest.raises(ValueError, match="Complex data not supported"):
        read_table(X)


@both_ways
@pytest.mark.parametrize("infinity", [np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 1_500])
def test_infinity(infinity, row):
    good = np.zeros((1_501, 3))
    good[3, 0] = NAN
    bad = good.copy()
    bad[row, 1] = infinity
    for make in (np.array, np.float32, lambda X: pd.DataFrame(X, columns=list("abc"))):
        reader, _ = read_table(make(good))
        for read in (read_table, reader.read):
            with pytest.raises(
                ValueError, match=rf"contains infinity: column ('b'|1) .*row {row}\."
            ):
                read(make(bad))
    with pytest.raises(ValueError, match="contains infinity: column 1 has it as a level"):
        read_table(bad, [1])


def test_sums_that_overflow_are_not_infinity():
    X = np.full((3, 2), 7e307)
    assert read_table(X)[1] is X


def test_integers_that_are_too_large():
    with pytest.raises(ValueError, match="column 0 holds a number too large for float64 in row 1"):
        read_table([[1], [10**400]])
    with pytest.raises(ValueError, match="column 0 holds a number too large for float64 in row 1"):
        read_table([[None], [10**400]])
    reader, matrix = read_table([[10**400], [None], [0.5]], [0])
    assert levels_of(reader) == [(0.5, 10**400)]
    np.testing.assert_array_equal(matrix, [[1], [NAN], [0]])


@both_ways
def test_a_column_of_another_kind_than_in_fit():
    reader, _ = read_table(pd.DataFrame({"age": [1, 2], "town": ["a", "b"]}))
    for dtype in (object, "str", "category"):
        X = pd.DataFrame({"age": pd.Series([None, "abc"], dtype=dtype), "town": ["a", "b"]})
        with pytest.raises(ValueError, match="'age' held numbers in fit, now text 'abc' in row 1"):
            reader.read(X)
    for dtype in (float, object, "category", "Int64"):
        X = pd.DataFrame({"age": [1, 2], "town": pd.Series([None, 3], dtype=dtype)})
        with pytest.raises(ValueError, match=r"'town' held text in fit, now the number 3.* row 1"):
            reader.read(X)
    X = pd.DataFrame({"age": [1, 2]})
    reader, _ = read_table(X, ["age"])
    with pytest.raises(ValueError, match="'age' held numbers in fit, now text '2' in row 0"):
        reader.read(pd.DataFrame({"age": ["2"]}))


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([1, 2], "two dimensions.*has 1. Reshape your data"),
        (np.zeros(3), "has 1. Reshape your data"),
        (np.zeros((2, 2, 2)), "has 3. Reshape your data"),
        (np.float64(1), "has 0. Reshape your data"),
        (pd.Series([1, 2]), "has 1. Reshape your data"),
        ("text", "has 0. Reshape your data"),
        (np.zeros((0, 3)), r"0 sample\(s\) \(shape=\(0, 3\)\)"),
        (np.zeros((3, 0)), r"0 feature\(s\) \(shape=\(3, 0\)\) while a minimum of 1 is required"),
        (pd.DataFrame({"a": []}), r"0 sample\(s\)"),
        (pd.DataFrame(index=[1, 2]), r"0 feature\(s\)"),
        (pl.DataFrame({"a": []}), r"0 sample\(s\)"),
        ([[]], r"0 feature\(s\)"),
        ([], "two dimensions"),
    ],
)
def test_what_is_no_table(X, message):
    with pytest.raises(ValueError, match=message):
        read_table(X)
    reader, _ = read_table([[1.0]])
    with pytest.raises(ValueError, match=message):
        reader.read(X)


def test_rows_of_different_lengths():
    with pytest.raises(ValueError):  # noqa: PT011 -- NumPy's own
        read_table([[1, 2], [3]])


@pytest.mark.parametrize("X", [pl.Series([1]), pa.array([1]), pa.chunked_array([[1]])])
def test_a_single_column_of_a_frame(X):
    with pytest.raises(TypeError, match="X is not a table that narwhals reads"):
        read_table(X)


def test_lazy_frames():
    with pytest.raises(TypeError, match=r"X\.collect\(\)"):
        read_table(pl.LazyFrame({"a": [1]}))


def test_without_narwhals(monkeypatch):
    monkeypatch.setitem(sys.modules, "narwhals.stable.v2", None)
    reader, matrix = read_table(pd.DataFrame(RECORD))
    same(reader, rows(), matrix)
    with pytest.raises(ImportError, match=r"fastmlp\[tables\]"):
        reader.read(pl.DataFrame(RECORD))


# --- any table

numbers = st.one_of(
    st.none(), st.floats(-1e300, 1e300), st.integers(-(2**70), 2**70), st.booleans()
)
texts = st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=3))


@st.composite
def tables(draw):
    """Columns of numbers and of text, of one length."""
    n = draw(st.integers(1, 8))
    kinds = draw(st.lists(st.sampled_from([numbers, texts]), min_size=1, max_size=4))
    return [draw(st.lists(kind, min_size=n, max_size=n)) for kind in kinds]


def naive(column):
    """A column of the matrix, in plain Python."""
    present = [value for value in column if value is not None]
    if all(not isinstance(value, str) for value in present):
        return [NAN if value is None else float(value) for value in column]
    levels = sorted(set(present))
    return [NAN if value is None else levels.index(value) for value in column]


@given(tables())
def test_any_table_is_read_as_plain_python_reads_it(columns):
    X = np.empty((len(columns[0]), len(columns)), dtype=object)
    for j, column in enumerate(columns):
        X[:, j] = column
    expected = np.array([naive(column) for column in columns], dtype=float).T
    reader, matrix = read_table(X)
    np.testing.assert_array_equal(matrix, expected)
    same(reader, X.tolist(), expected)
    for i, row in enumerate(X):
        same(reader, row[None], expected[i : i + 1])
    frame = pd.DataFrame({f"x{j}": naive(c) if reader.columns[j].kind == "number" else
                          pd.Series(c, dtype="str") for j, c in enumerate(columns)})  # fmt: skip
    # convert_dtypes would do, but older versions of pandas let NumPy warn of large integers in it.
    nullable = frame.astype(dict.fromkeys(frame.select_dtypes("number"), "Float64"))
    for other in (frame, pl.from_pandas(frame), nullable):
        again, matrix = read_table(other)
        np.testing.assert_array_equal(matrix, expected)
        for column, first in zip(again.columns, reader.columns, strict=True):
            # What is all missing may be text by its type here, and is numbers without one.
            assert column.levels == first.levels or column.levels == ()
        for i in range(len(X)):
            same(again, other[i : i + 1], expected[i : i + 1])


@pytest.mark.parametrize("n", [6, 300])
@pytest.mark.parametrize(
    "convert",
    [
        lambda X: X,
        lambda X: X.astype({"k": "int64[pyarrow]"}),
        pl.from_pandas,
        lambda X: pa.Table.from_pandas(X, preserve_index=False),
    ],
    ids=["pandas", "pandas on arrow", "polars", "pyarrow"],
)
def test_large_integers_with_gaps_stay_apart(convert, n):
    """A float has no room for them, and two levels must not become one."""
    keys = [2**53, 2**53 + 1, 2**53 + 2, None, -(2**60) - 1, 5] * (n // 6)
    X = pd.DataFrame({"k": pd.array(keys, dtype="Int64")})
    reader, matrix = read_table(convert(X), ["k"])
    assert len(reader.columns[0].levels) == 5
    for few in (6, n):
        np.testing.assert_array_equal(reader.read(convert(X[:few])), matrix[:few])
    np.testing.assert_array_equal(read_table(convert(X))[1][:2, 0], [2.0**53, 2.0**53])
