"""Sources of streaming.fit: Parquet files, datasets, streams, chunks, and what may be wrong."""

import errno
import os
import re

import numpy as np
import pytest

from fastmlp import MLPBinaryClassifier, streaming
from fastmlp.data.parts import Part
from fastmlp.data.scratch import Scratch

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")
ds = pytest.importorskip("pyarrow.dataset")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, F = 3000, 5
X2 = np.ones((2, 2))
SMALL = 100_000


def new(**parameters):
    defaults = {"random_state": 0, "max_iter": 2, "batch_size": 50}
    return MLPBinaryClassifier((6,), **{**defaults, **parameters})


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, F)).astype(np.float32)
    y = np.where(X[:, 0] > 0.3, "up", "down")
    columns = {f"x{k}": X[:, k] for k in range(F)}
    return pa.table({**columns, "y": y, "w": rng.random(N)})


def matrix(table, features=None):
    features = features or [name for name in table.column_names if name[0] == "x"]
    return np.column_stack([table[name].to_numpy() for name in features])


def write(folder, table, *, files=1, rows=400):
    each = -(-table.num_rows // files)
    for k in range(files):
        part = table.slice(k * each, each)
        pq.write_table(part, folder / f"part-{k:02}.parquet", row_group_size=rows)
    return folder


def assert_same(a, b):
    for one, other in zip(a.coefs_, b.coefs_, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(a.classes_, b.classes_)


@pytest.mark.parametrize("memory", [SMALL, 2**26])
def test_all_sources_of_the_same_rows_give_the_same(table, tmp_path, memory):
    pd = pytest.importorskip("pandas")
    folder = write(tmp_path, table, files=3)
    (tmp_path / "_SUCCESS").touch()
    paths = sorted(tmp_path.glob("*.parquet"))
    (tmp_path / "one").mkdir()
    one = write(tmp_path / "one", table, rows=N) / "part-00.parquet"
    frame = table.to_pandas()
    chunks = [frame.iloc[first : first + 77] for first in range(0, N, 77)]
    names = [f"x{k}" for k in range(F)]
    arguments = {"target": "y", "sample_weight": "w", "memory": memory}
    sources = [
        folder if memory else None,
        str(tmp_path / "*.parquet"),
        paths,
        str(one),
        ds.dataset([str(path) for path in paths]),
        lambda: table,
        lambda: pa.RecordBatchReader.from_batches(table.schema, table.to_batches(123)),
        lambda: (pa.table(chunk) for chunk in chunks),
    ]
    os.rename(tmp_path / "one", tmp_path / "_one")  # a folder of such a name is passed over
    sources[3] = str(tmp_path / "_one" / "part-00.parquet")
    models = [streaming.fit(new(), source, **arguments) for source in sources]
    pairs = lambda: ((c[names], c["y"], c["w"]) for c in chunks)  # noqa: E731
    models.append(streaming.fit(new(), pairs, target=None, memory=memory))
    for model in models[1:]:
        assert_same(model, models[0])
        assert model.feature_names_in_.tolist() == names
    if memory > SMALL:
        assert_same(
            models[0], new().fit(matrix(table), table["y"].to_numpy(), table["w"].to_numpy())
        )
    models[0].predict(frame[names])
    with pytest.raises(ValueError, match="feature names"):
        models[0].predict(pd.DataFrame(frame[names[::-1]]))


def test_polars(table):
    pl = pytest.importorskip("polars")
    frame = pl.from_arrow(table)
    a = streaming.fit(new(), lambda: frame, target="y", columns=["x0", "x1"])
    b = streaming.fit(new(), lambda: frame.iter_slices(500), target="y", columns=["x0", "x1"])
    c = streaming.fit(new(), lambda: table, target="y", columns=["x0", "x1"])
    assert_same(a, b)
    assert_same(a, c)


def test_the_size_of_row_groups_does_not_matter(table, tmp_path):
    models = []
    for rows in (100, 1000, N):
        write(tmp_path, table, rows=rows)
        path = tmp_path / "part-00.parquet"
        model = new(early_stopping=True, class_weight="balanced")
        arguments = {"target": "y", "sample_weight": "w", "memory": SMALL}
        models.append(streaming.fit(model, path, **arguments))
    assert_same(models[0], models[1])
    assert_same(models[0], models[2])


def test_row_groups_are_read_in_a_new_order_without_a_scratch_file(table, tmp_path):
    table = pa.concat_tables([table] * 10)
    write(tmp_path, table, files=2, rows=1000)
    arguments = {"target": "y", "memory": 500_000, "scratch": False}
    model = streaming.fit(new(), tmp_path, **arguments)
    assert model.t_ == 2 * len(table)
    assert_same(streaming.fit(new(), tmp_path, **arguments), model)
    other = streaming.fit(new(), lambda: table, **arguments)  # which comes in its own order
    assert not np.array_equal(other.coefs_[0], model.coefs_[0])
    dataset = streaming.fit(new(), ds.dataset(tmp_path), **arguments)
    assert dataset.t_ == model.t_
    with pytest.raises(ValueError, match=r"which need \d+, \d+ of them for pages of files"):
        streaming.fit(new(), tmp_path, **{**arguments, "memory": SMALL})


def test_a_dataset_that_filters_or_is_partitioned(table, tmp_path):
    ds.write_dataset(
        table.append_column("year", pa.array(np.arange(N) // 1000)), tmp_path / "hive",
        format="parquet", partitioning=["year"], partitioning_flavor="hive",
    )  # fmt: skip
    dataset = ds.dataset(tmp_path / "hive", partitioning="hive")
    columns = ["x0", "x1", "year"]
    for memory in (SMALL, 2**26):
        found = streaming.fit(new(), dataset, target="y", columns=columns, memory=memory)
        assert found.t_ == 2 * N
    X = np.column_stack([matrix(table, columns[:2]), np.arange(N) // 1000])
    expected = new().fit(X.astype(np.float64), table["y"].to_numpy())
    assert_same(found, expected)
    few = dataset.filter(ds.field("year") == 1)
    found = streaming.fit(new(), few, target="y", columns=columns[:2])
    assert_same(
        found, new().fit(matrix(table, columns[:2])[1000:2000], table["y"].to_numpy()[1000:2000])
    )
    with pytest.raises(ValueError, match="partitioning='hive'"):
        streaming.fit(new(), tmp_path / "hive", target="y")


def test_validation_rows_that_would_have_room_in_memory(table, tmp_path):
    write(tmp_path, table.slice(0, 200))
    path = tmp_path / "part-00.parquet"
    arguments = {"target": "y", "sample_weight": "w", "memory": SMALL}
    a, b = (
        streaming.fit(new(early_stopping=True), lambda: table, validation=each, **arguments)
        for each in (path, lambda: table.slice(0, 200))
    )
    assert_same(a, b)
    assert a.validation_scores_ == b.validation_scores_
    frame = table.slice(0, 200)
    y, weight = frame["y"].to_numpy(), frame["w"].to_numpy()
    named = frame.select(a.feature_names_in_.tolist()).to_pandas()
    assert a.best_validation_score_ == pytest.approx(a.score(named, y, weight))


def test_warm_start_wants_the_same_columns(table):
    model = streaming.fit(new(warm_start=True), lambda: table, target="y", columns=["x0", "x1"])
    with pytest.raises(ValueError, match="are not those of before, in their order: "):
        streaming.fit(model, lambda: table, target="y", columns=["x1", "x0"])
    streaming.fit(model, lambda: table, target="y", columns=["x0", "x1"])
    assert model.t_ == 4 * N


def test_columns_and_their_order(table, tmp_path):
    path = write(tmp_path, table) / "part-00.parquet"
    model = streaming.fit(new(), path, target="y", columns=("x3", "x1"))
    assert model.feature_names_in_.tolist() == ["x3", "x1"]
    assert_same(model, new().fit(matrix(table, ["x3", "x1"]), table["y"].to_numpy()))
    assert model.coefs_[0].dtype == np.float32


@pytest.mark.parametrize(
    ("kinds", "dtype"),
    [
        (["float32", "float32"], np.float32),
        (["float32", "int8"], np.float32),
        (["float32", "int32"], np.float64),
        (["bool", "int8"], np.float64),
        (["float16", "float16"], np.float64),
        (["decimal", "float32"], np.float64),
    ],
)
def test_types_of_columns(kinds, dtype):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, (200, 2))
    arrays = []
    for k, kind in enumerate(kinds):
        if kind == "decimal":
            arrays.append(pa.array(values[:, k]).cast(pa.decimal128(30, 2)))
        else:
            arrays.append(pa.array(values[:, k].astype(kind)))
    table = pa.table({"a": arrays[0], "b": arrays[1], "y": values[:, 0]})
    model = streaming.fit(new(), lambda: table, target="y")
    assert model.coefs_[0].dtype == dtype
    assert_same(model, new().fit(values.astype(dtype), values[:, 0]))


@pytest.mark.parametrize(
    "kind", ["bool", "int8", "float64", "string", "large_string", "dictionary"]
)
def test_types_of_the_target(table, kind):
    is_up = table["x0"].to_numpy() > 0.3
    y = {"bool": is_up, "int8": is_up.astype(np.int8), "float64": is_up * 2.5}.get(kind)
    column = table["y"] if y is None else pa.array(y)
    if kind == "float64":
        column = pa.array(is_up * 2.0)
    elif kind == "large_string":
        column = column.cast(pa.large_string())
    elif kind == "dictionary":
        column = column.dictionary_encode()
    source = table.select(["x0", "x1"]).append_column("y", column)
    found = streaming.fit(new(), lambda: source, target="y")
    labels = np.asarray(column.to_pylist()) if y is None else column.to_numpy(zero_copy_only=False)
    expected = new().fit(matrix(table, ["x0", "x1"]), labels)
    assert_same(found, expected)
    assert found.classes_.dtype == expected.classes_.dtype


def test_what_pandas_calls_its_index_is_no_feature(table, tmp_path):
    pytest.importorskip("pandas")
    frame = table.to_pandas().drop(columns="w")
    frame.index = np.arange(N)[::-1]
    frame.to_parquet(tmp_path / "a.parquet")
    assert len(pq.read_schema(tmp_path / "a.parquet").names) == F + 2
    model = streaming.fit(new(), tmp_path / "a.parquet", target="y")
    assert model.n_features_in_ == F


def test_empty_row_groups_files_and_chunks_are_fine(table, tmp_path):
    write(tmp_path, table, files=2)
    with pq.ParquetWriter(tmp_path / "part-01a.parquet", table.schema) as writer:
        writer.write_table(table.slice(0, 0))
        writer.write_table(table.slice(0, 10))
        writer.write_table(table.slice(0, 0))
    pq.write_table(table.slice(0, 0), tmp_path / "part-02.parquet")
    assert streaming.fit(new(), tmp_path, target="y").t_ == 2 * (N + 10)
    X, y = matrix(table), table["y"].to_numpy()
    chunks = [(X[:0], y[:0]), (X, y), (X[:0], y[:0])]
    assert_same(streaming.fit(new(), lambda: iter(chunks), target=None), new().fit(X, y))


def changed(table, name, row, value):
    """The table with one value changed."""
    values = table[name].to_pylist()
    values[row] = value
    k = table.column_names.index(name)
    return table.set_column(k, name, pa.array(values, table.schema.field(k).type))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x2", np.nan, "row 15, column 'x2': nan is not a finite number"),
        ("x2", -np.inf, "row 15, column 'x2': -inf is not a finite number"),
        ("x4", None, "row 15, column 'x4': a value is missing"),
        ("y", None, "row 15, column 'y': a value is missing"),
        ("y", "side", r"row 15, label 'side' \(beside \['(up|down)', '(up|down)'\]\): Only binary"),
        ("w", -0.5, "row 15, column 'w': a weight must be finite and not negative, got -0.5"),
        ("w", np.nan, "row 15, column 'w': a weight must be finite and not negative, got nan"),
        ("w", None, "row 15, column 'w': a value is missing"),
    ],
)
@pytest.mark.parametrize("memory", [SMALL, 2**26])
def test_a_bad_value_is_named_with_its_place(table, tmp_path, name, value, message, memory):
    write(tmp_path, changed(table, name, 2815, value), files=2, rows=100)
    model = new()
    place = re.escape(f"{tmp_path}{os.sep}part-01.parquet, row group 13, ")
    with pytest.raises(ValueError, match=place + message):
        streaming.fit(model, tmp_path, target="y", sample_weight="w", memory=memory)
    assert not hasattr(model, "n_features_in_")


def test_what_is_wrong_with_validation_says_so(table):
    bad = changed(table, "x2", 15, np.nan)
    arguments = {"target": "y", "validation": lambda: bad}
    with pytest.raises(ValueError, match="validation: the stream, row 15, column 'x2': nan"):
        streaming.fit(new(early_stopping=True), lambda: table, **arguments)
    other = changed(table, "y", 15, "side")
    arguments["validation"] = lambda: other
    with pytest.raises(ValueError, match="validation: the stream, row 15: the label 'side' is not"):
        streaming.fit(new(early_stopping=True), lambda: table, **arguments)


def alter(table, how):
    if how == "type":
        return table.set_column(
            1, "x1", table["x1"].cast(pa.float64())
        ), "column 'x1': holds double"
    if how == "less":
        return table.drop_columns(["x1"]), "column 'x1': there is no such column"
    if how == "more":
        return table.append_column("z", table["x1"]), r"not there before: \['z'\]"
    return table.rename_columns(
        [*table.column_names[:-1], "weight"]
    ), "column 'w': there is no such"


@pytest.mark.parametrize("how", ["type", "less", "more", "name"])
def test_files_that_differ(table, tmp_path, how):
    write(tmp_path, table, files=2)
    other, message = alter(table, how)
    pq.write_table(other, tmp_path / "part-02.parquet")
    with pytest.raises(ValueError, match="part-02.parquet.*" + message):
        streaming.fit(new(), tmp_path, target="y", sample_weight="w")
    tables = [table, other]
    with pytest.raises(ValueError, match="chunk 1.*" + message):
        streaming.fit(new(), lambda: iter(tables), target="y", sample_weight="w")


def test_columns_in_another_order_are_the_same_columns(table, tmp_path):
    pq.write_table(table, tmp_path / "a.parquet")
    pq.write_table(table.select(table.column_names[::-1]), tmp_path / "b.parquet")
    found = streaming.fit(new(), tmp_path, target="y", sample_weight="w")
    expected = streaming.fit(new(), [tmp_path / "a.parquet"] * 2, target="y", sample_weight="w")
    assert_same(found, expected)


def test_files_that_are_damaged(table, tmp_path):
    write(tmp_path, table, files=2, rows=300)
    path = tmp_path / "part-01.parquet"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"part-01.parquet: could not be read as a Parquet file"):
        streaming.fit(new(), tmp_path, target="y")
    middle = len(data) // 2  # a page in the middle is overwritten
    path.write_bytes(data[:middle] + bytes(2000) + data[middle + 2000 :])
    with pytest.raises(ValueError, match=r"part-01.parquet, row group \d, "):
        streaming.fit(new(), tmp_path, target="y")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"target": "z"}, ValueError, "column 'z': there is no such column"),
        ({"target": "y", "sample_weight": "v"}, ValueError, "column 'v': there is no such column"),
        (
            {"target": "y", "columns": ["x0", "v"]},
            ValueError,
            "column 'v': there is no such column",
        ),
        ({"target": "y", "columns": ["x0", "x0"]}, ValueError, r"\['x0'\] twice"),
        ({"target": "y", "columns": ["x0", "y"]}, ValueError, r"\['y'\] twice"),
        ({"target": "x0", "columns": ["y"]}, ValueError, "column 'y': holds string"),
        ({"target": "x0"}, ValueError, "column 'y': holds string, and numbers are needed"),
        ({"target": "y", "columns": "x0"}, TypeError, "columns must be a list"),
        ({"target": "y", "columns": []}, ValueError, "no columns beside"),
        ({"target": None}, TypeError, "target must name"),
        ({"target": "x1", "columns": ["x0"]}, ValueError, "continuous"),
    ],
)
def test_columns_that_are_not_there(table, tmp_path, arguments, error, message):
    path = write(tmp_path, table) / "part-00.parquet"
    for source in (path, lambda: table):
        with pytest.raises(error, match=message):
            streaming.fit(new(), source, **arguments)


@pytest.mark.parametrize(
    ("chunks", "error", "message"),
    [
        ([], ValueError, "The source has no rows"),
        ([X2], TypeError, r"chunk 0: a chunk must be \(X, y\)"),
        ([(X2, [0])], ValueError, "chunk 0: Found input variables with inconsistent"),
        ([(np.ones(2), [0, 1])], ValueError, "chunk 0: Expected 2D array"),
        ([(X2, [0, 1]), (np.ones((2, 3)), [0, 1])], ValueError, "chunk 1 has 3 features"),
        (
            [(X2.astype(np.int8), [0, 1]), (X2, [0, 1])],
            ValueError,
            "chunk 1 holds float64, and the first one int8",
        ),
        (
            [(X2, [0, 1]), (X2, [0, 1], [1, 1])],
            ValueError,
            "sample_weight must come with all chunks or none; see chunk 1",
        ),
        ([(X2, [0, 1]), (X2, [0, 2])], ValueError, "chunk 1, row 1, label 2"),
        ([(X2, [0, 1]), (X2, ["0", "1"])], TypeError, "chunk 1, row 0, label '0'"),
        ([(X2, [0.0, np.nan])], ValueError, "chunk 0, row 1, label nan"),
        ([(X2, [0, 1], [0, 0])], ValueError, "at least one non-zero"),
        ([(X2, [0, 1], [1, -1])], ValueError, "chunk 0, row 1, sample_weight: a weight"),
        ([(np.full((2, 2), np.nan), [0, 1])], ValueError, "chunk 0, row 0, column 0: nan"),
        ([(X2, [0, 1], ["a", "b"])], ValueError, "chunk 0, sample_weight: weights must be numbers"),
    ],
)
def test_chunks_that_are_not_as_they_should_be(chunks, error, message):
    with pytest.raises(error, match=message):
        streaming.fit(new(batch_size=1), lambda: iter(chunks), target=None)


def test_numbers_that_float32_cannot_hold():
    X = np.ones((300, 2))
    X[250, 1] = 1e300
    source = lambda: ((X[k : k + 100], np.arange(100) % 2) for k in (0, 100, 200))  # noqa: E731
    with pytest.raises(ValueError, match=r"chunk 2, from row 0 on: .* too large for dtype"):
        streaming.fit(new(dtype="float32"), source, target=None)


def test_sources_that_are_none(table, tmp_path):
    X, y = matrix(table), table["y"].to_numpy()
    for source, message in (
        (X, "own fit"),
        (table, "a function that returns it"),
        (iter([(X, y)]), "a function that returns it"),
        (5, "must be a path"),
    ):
        with pytest.raises(TypeError, match=message):
            streaming.fit(new(), source, target="y")
    for source in (tmp_path / "none.parquet", tmp_path, str(tmp_path / "*.parquet"), []):
        with pytest.raises(FileNotFoundError):
            streaming.fit(new(), source, target="y")
    with pytest.raises(TypeError, match="must return an object with"):
        streaming.fit(new(), lambda: 5, target="y")
    with pytest.raises(ValueError, match="pass target=None"):
        streaming.fit(new(), lambda: iter([(X, y)]), target="y")
    once = iter([(X, y)] * 3)
    with pytest.raises(ValueError, match="a new iterator each time"):
        streaming.fit(new(), lambda: once, target=None, memory=SMALL, scratch=False)


@pytest.mark.parametrize(("more", "found"), [(-500, "2500"), (500, "more")])
def test_a_source_that_changes_between_passes(table, more, found):
    X, y = (np.concatenate([each] * 2) for each in (matrix(table), table["y"].to_numpy()))
    passes = []

    def changing():
        passes.append(0)
        for k in range(0, N + more * (len(passes) > 2), 500):
            yield X[k : k + 500], y[k : k + 500]

    with pytest.raises(ValueError, match=f"gives {found} rows now, and gave 3000 in the first"):
        streaming.fit(new(), changing, target=None, memory=SMALL, scratch=False)
    assert len(passes) == 3


def test_without_pyarrow(monkeypatch, tmp_path):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for module in ("fastmlp.data.arrow", "fastmlp.data.parquet"):
        monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.delattr(module, raising=False)
    with pytest.raises(ImportError, match=r"pip install 'fastmlp\[parquet\]'"):
        streaming.fit(new(), tmp_path, target="y")
    X = np.random.default_rng(0).standard_normal((100, 2))
    assert streaming.fit(new(), lambda: iter([(X, X[:, 0] > 0)]), target=None).t_ == 200


def rows_of(n, first=0):
    X = (np.arange(first, first + n)[:, None] + np.zeros(3)).astype(np.float32)
    return Part(X, np.arange(first, first + n) % 3 == 0, np.arange(first, first + n) / 7)


@pytest.mark.parametrize("block", [1, 7, 64])
def test_a_scratch_file_returns_what_was_written(tmp_path, block):
    with Scratch(str(tmp_path), Part.empty(block, 3, np.float32, weighted=True)) as scratch:
        for first, last in ((0, 5), (5, 5), (5, 100), (100, 131)):
            scratch.append(rows_of(last - first, first))
        scratch.flush()
        assert scratch.n_rows == 131
        for first, n in ((0, 131), (3, 1), (6, 3), (63, 2), (130, 1), (20, 90)):
            into = Part.empty(n, 3, np.float32, weighted=True)
            scratch.read(first, into)
            for found, expected in zip(into, rows_of(n, first), strict=True):
                np.testing.assert_array_equal(found, expected)
        if os.name == "posix":
            assert not list(tmp_path.iterdir())


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    class Full:
        def __init__(self, file, room):
            self.file, self.room = file, room

        def write(self, data):
            self.room -= len(data)
            if self.room < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return len(data)

        def close(self):
            pass

    import tempfile

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: Full(None, 40_000))
    X = np.random.default_rng(0).standard_normal((4000, 4))
    chunks = lambda: ((X[k : k + 100], X[k : k + 100, 0] > 0) for k in range(0, 4000, 100))  # noqa: E731
    model = new()
    with pytest.raises(OSError, match=r"it needs at least [\d,]+ bytes, and .* written") as error:
        streaming.fit(model, chunks, target=None, memory=SMALL, scratch=tmp_path)
    assert error.value.errno == errno.ENOSPC
    assert error.value.filename == str(tmp_path)
    assert not hasattr(model, "coefs_")


def test_too_little_room_is_seen_at_once(table, tmp_path, monkeypatch):
    import shutil

    path = write(tmp_path, table) / "part-00.parquet"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(OSError, match=r"it needs [\d,]+ bytes, and 10 are free"):
        streaming.fit(new(), path, target="y", memory=SMALL)
