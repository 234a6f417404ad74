"""Parquet files and datasets as sources of rows (needs pyarrow)."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fastmlp.data.arrow import Table, ds, pa, pq
from fastmlp.data.chunks import Chunk, Order, Wanted

#: Bytes that are read ahead of each column. Without a bound, Arrow reads a row group whole.
_LEAST_BUFFER, _MOST_BUFFER = 2**14, 2**19

#: Bytes of a page, as most writers have it: a file does not say.
_PAGE = 2**20 + 2**17


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
