"""Tables of Arrow's as sources of rows: Parquet files, datasets and streams (needs pyarrow)."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.data.chunks import Chunk, Order, Wanted, check_finite, check_weight, dtype_of_matrix

try:
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq
except ImportError as error:
    raise ImportError("This source needs pyarrow: pip install 'fastmlp[parquet]'.") from error

Array = NDArray[Any]

#: Rows of a batch, whatever they hold.
_FEWEST_ROWS, _MOST_ROWS = 64, 65_536

#: Bytes that are read ahead of each column. Without a bound, Arrow reads a row group whole.
_LEAST_BUFFER, _MOST_BUFFER = 2**14, 2**19

#: Bytes of a page, as most writers have it: a file does not say.
_PAGE = 2**20 + 2**17


def stream_of(given: Any) -> Any:
    """A reader of batches, of an object with a stream."""
    return pa.RecordBatchReader.from_stream(given)


def _plain(kind: Any) -> Any:
    """The type of values, however a file encodes them."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.string() if _is_text(kind) else kind


def _is_text(kind: Any) -> bool:
    types = pa.types
    is_view = getattr(types, "is_string_view", lambda _: False)
    return bool(types.is_string(kind) or types.is_large_string(kind) or is_view(kind))


def _is_number(kind: Any) -> bool:
    types = pa.types
    return bool(
        types.is_integer(kind)
        or types.is_floating(kind)
        or types.is_boolean(kind)
        or types.is_decimal(kind)
    )


@dataclass(frozen=True)
class Table:
    """Which columns of a table are used, and as what.

    Attributes
    ----------
    features : list of str
        In their order.
    target, weight : str, str or None
        The others.
    kinds : mapping of str to DataType
        Arrow's types of all of them.
    dtype : dtype
        Of the matrix of features.
    takes_all : bool
        Whether the features are all other columns that there are.
    """

    features: list[str]
    target: str
    weight: str | None
    kinds: Mapping[str, Any]
    dtype: np.dtype[Any]
    takes_all: bool

    @classmethod
    def of(cls, schema: Any, wanted: Wanted, where: str) -> Table:
        """Choose the columns.

        Raises
        ------
        ValueError
            If a column is not there, stands there twice, or if a feature holds no numbers.
        """
        if wanted.target is None:
            raise TypeError("target must name the column of labels.")
        others = [name for name in (wanted.target, wanted.weight) if name is not None]
        features = _features(schema, others) if wanted.columns is None else list(wanted.columns)
        if not features:
            raise ValueError(f"{where}: there are no columns beside {others}.")
        twice = {name for name in features if features.count(name) > 1 or name in others}
        if twice or len(set(others)) < len(others):
            raise ValueError(f"columns, target and sample_weight name {sorted(twice)} twice.")
        kinds = _kinds(schema, [*features, *others], where)
        for name in [*features, *others[1:]]:
            if not _is_number(kinds[name]):
                raise ValueError(
                    f"{where}, column {name!r}: holds {kinds[name]}, and numbers are needed. "
                    "Choose others by `columns`, or encode it."
                )
        dtype = dtype_of_matrix(
            np.float64 if pa.types.is_decimal(kinds[name]) else kinds[name].to_pandas_dtype()
            for name in features
        )
        return cls(features, wanted.target, wanted.weight, kinds, dtype, wanted.columns is None)

    @property
    def names(self) -> list[str]:
        """All columns that are used."""
        others = [self.target] if self.weight is None else [self.target, self.weight]
        return [*self.features, *others]

    def rows_of(self, n_bytes: int) -> int:
        """Say how many rows have about so many bytes."""
        rows = n_bytes // (len(self.names) * self.dtype.itemsize)
        return int(min(max(rows, _FEWEST_ROWS), _MOST_ROWS))

    def check(self, schema: Any, where: str) -> None:
        """ValueError unless another schema has the same columns, of the same types."""
        kinds = _kinds(schema, self.names, where)
        for name, kind in kinds.items():
            if kind != self.kinds[name]:
                raise ValueError(
                    f"{where}, column {name!r}: holds {kind}, and {self.kinds[name]} before."
                )
        if self.takes_all:
            new = set(_features(schema, self.names))
            if new:
                raise ValueError(f"{where} has columns that were not there before: {sorted(new)}.")

    def chunk(self, batch: Any, where: str, first: int) -> Chunk:
        """Convert a batch into arrays.

        Raises
        ------
        ValueError
            With the place, if a value is missing or not finite, or a weight is negative.
        """
        X = np.empty((batch.num_rows, len(self.features)), self.dtype)
        for k, name in enumerate(self.features):
            X[:, k] = self._numbers(batch, name, where, first)
        check_finite(X, self.features, where, first)
        weight = None
        if self.weight is not None:
            numbers = self._numbers(batch, self.weight, where, first)
            weight = check_weight(numbers, f"column {self.weight!r}", where, first)
        return Chunk(X, self._labels(batch, where, first), weight, where, first)

    def _column(self, batch: Any, name: str, where: str, first: int) -> Any:
        column = batch.column(batch.schema.get_field_index(name))
        if column.null_count:
            row = column.is_null().index(True).as_py()
            raise ValueError(f"{where}, row {first + row}, column {name!r}: a value is missing.")
        return column

    def _numbers(self, batch: Any, name: str, where: str, first: int) -> Array:
        column = self._column(batch, name, where, first)
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.float64())
        numbers: Array = column.to_numpy(zero_copy_only=False)
        return numbers

    def _labels(self, batch: Any, where: str, first: int) -> Array:
        column = self._column(batch, self.target, where, first)
        kind = column.type
        if _is_number(kind):
            numbers: Array = column.to_numpy(zero_copy_only=False)
            return numbers
        if not pa.types.is_dictionary(kind):
            column = (column.cast(pa.string()) if _is_text(kind) else column).dictionary_encode()
        values = column.dictionary.to_pylist()
        labels = np.empty(len(values), object)
        labels[:] = values
        chosen: Array = labels[column.indices.to_numpy(zero_copy_only=False)]
        if _is_number(self.kinds[self.target]):
            return np.asarray(chosen.tolist())
        return chosen


def _features(schema: Any, others: Sequence[str]) -> list[str]:
    """Find the other columns; what pandas has written down as its index is none."""
    index = (schema.pandas_metadata or {}).get("index_columns", [])
    return [name for name in schema.names if name not in others and name not in index]


def _kinds(schema: Any, names: Sequence[str], where: str) -> dict[str, Any]:
    """Find the types of columns by their names."""
    kinds = {}
    for name in names:
        found = schema.get_all_field_indices(name)
        if len(found) != 1:
            what = "there is no such column" if not found else "there are several of that name"
            raise ValueError(f"{where}, column {name!r}: {what}.")
        kinds[name] = _plain(schema.field(found[0]).type)
    return kinds


def files_of(paths: Sequence[Any]) -> list[str]:
    """Find the files that paths, folders and patterns stand for.

    Raises
    ------
    FileNotFoundError
        If there are none.
    ValueError
        If names of folders are values of a column.
    """
    files: list[str] = []
    for path in map(os.fspath, paths):
        if os.path.isdir(path):
            found = [file.relative_to(path) for file in Path(path).rglob("*.parquet")]
            found = [file for file in found if not any(p[0] in "._" for p in file.parts)]
            if any("=" in part for file in found for part in file.parts[:-1]):
                raise ValueError(
                    f"{path}: its folders are named by values of columns. Give "
                    f"pyarrow.dataset.dataset({path!r}, partitioning='hive')."
                )
            more = [os.path.join(path, file) for file in sorted(found)]
        elif not os.path.exists(path) and glob.has_magic(path):
            more = sorted(glob.glob(path, recursive=True))
        else:
            more = [path] if os.path.exists(path) else []
        if not more:
            raise FileNotFoundError(f"{path}: there are no Parquet files.")
        files += more
    if not files:
        raise FileNotFoundError("source is an empty list of files.")
    return files


def _largest_pages(metadata: Any, names: Sequence[str], pages: dict[str, int]) -> None:
    """Note how large a page of each column may be: the reader holds one of each."""
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            name = column.path_in_schema
            if name in names:
                size = min(column.total_uncompressed_size, _PAGE)
                pages[name] = max(pages.get(name, 0), size)


class ParquetSource:
    """Rows of Parquet files; their row groups are the units.

    Parameters
    ----------
    files : sequence of str
        Their paths.
    wanted : Wanted
        What of them.
    batch_bytes : int
        About how many bytes to convert at once.
    """

    def __init__(self, files: Sequence[str], wanted: Wanted, batch_bytes: int) -> None:
        self._batch_bytes, self._buffer = batch_bytes, _MOST_BUFFER
        self._units: list[tuple[str, int]] = []
        self._table: Table | None = None
        self.n_rows: int | None = 0
        pages: dict[str, int] = {}
        for path in files:
            with self._opened(path) as file:
                schema = file.schema_arrow
                if self._table is None:
                    self._table = Table.of(schema, wanted, path)
                else:
                    self._table.check(schema, path)
                self.n_rows += file.metadata.num_rows
                self._units += [(path, group) for group in range(file.num_row_groups)]
                _largest_pages(file.metadata, self._table.names, pages)
        assert self._table is not None
        self._rows = self._table.rows_of(batch_bytes)
        buffer = batch_bytes // len(self._table.names)
        self._buffer = min(max(buffer, _LEAST_BUFFER), _MOST_BUFFER)
        self.names: list[str] | None = self._table.features
        self.n_units = len(self._units)
        self.reading = sum(pages.values()) + self._buffer * len(pages)

    def _opened(self, path: str) -> Any:
        try:
            return pq.ParquetFile(path, pre_buffer=False, buffer_size=self._buffer)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{path}: could not be read as a Parquet file: {error}") from error

    def chunks(self, order: Order = None) -> Iterator[Chunk]:
        """Read all rows; see `Source`."""
        opened, file = None, None
        try:
            for number in range(self.n_units) if order is None else order:
                path, group = self._units[number]
                if path != opened:
                    if file is not None:
                        file.close()
                    opened, file = path, self._opened(path)
                yield from self._of_group(file, path, group)
        finally:
            if file is not None:
                file.close()
            pa.default_memory_pool().release_unused()

    def _of_group(self, file: Any, path: str, group: int) -> Iterator[Chunk]:
        where, table = f"{path}, row group {group}", self._table
        assert table is not None
        # In one thread: Arrow's threads keep memory that others have freed.
        batches = file.iter_batches(
            self._rows, row_groups=[group], columns=table.names, use_threads=False
        )
        yield from _chunks(batches, table, where)


def _chunks(batches: Iterator[Any], table: Any, where: str) -> Iterator[Chunk]:
    """Make chunks of the batches of a file, or of a part of it; an error says from which row on."""
    first = 0
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{where}, from row {first} on: {error}") from error
        if batch is None:
            return
        if batch.num_rows:
            yield table.chunk(batch, where, first)
        first += batch.num_rows


class DatasetSource:
    """Rows of a pyarrow Dataset; its fragments are the units.

    Parameters
    ----------
    dataset : pyarrow.dataset.Dataset
        The rows. Memory may depend on its row groups.
    wanted : Wanted
        What of it.
    batch_bytes : int
        About how many bytes to convert at once.
    """

    n_rows: int | None = None
    reading = 0

    def __init__(self, dataset: Any, wanted: Wanted, batch_bytes: int) -> None:
        self._dataset = dataset
        self._table = Table.of(dataset.schema, wanted, "the dataset")
        self._rows = self._table.rows_of(batch_bytes)
        self.names: list[str] | None = self._table.features
        try:
            self._fragments = list(dataset.get_fragments())
        except ValueError:  # one that filters rows does not show them
            self._fragments = []
        self.n_units = len(self._fragments)

    def chunks(self, order: Order = None) -> Iterator[Chunk]:
        """Read all rows; see `Source`."""
        how = {
            "columns": self._table.names,
            "batch_size": self._rows,
            "batch_readahead": 1,
            "fragment_readahead": 1,
            "use_threads": False,
        }
        if isinstance(getattr(self._dataset, "format", None), ds.ParquetFileFormat):
            how["fragment_scan_options"] = ds.ParquetFragmentScanOptions(
                use_buffered_stream=True, buffer_size=_MOST_BUFFER, pre_buffer=False
            )
        if not self._fragments:
            yield from self._of(self._dataset, "the dataset", how)
            return
        for number in range(self.n_units) if order is None else order:
            fragment = self._fragments[number]
            where = getattr(fragment, "path", None) or f"fragment {number}"
            yield from self._of(fragment, where, {**how, "schema": self._dataset.schema})

    def _of(self, rows: Any, where: str, how: dict[str, Any]) -> Iterator[Chunk]:
        try:
            batches = rows.to_batches(**how)
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{where}: {error}") from error
        yield from _chunks(batches, self._table, where)
