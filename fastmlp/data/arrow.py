"""Batches of Arrow's as chunks of rows (needs pyarrow)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.data.chunks import Chunk, Wanted, check_finite, check_weight, dtype_of_matrix

try:
    import pyarrow as pa
    import pyarrow.dataset as ds
    import pyarrow.parquet as pq
except ImportError as error:
    raise ImportError("This source needs pyarrow: pip install 'fastmlp[parquet]'.") from error

__all__ = ["Table", "ds", "pa", "pq", "stream_of"]

Array = NDArray[Any]

#: Rows of a batch, whatever they hold.
_FEWEST_ROWS, _MOST_ROWS = 64, 65_536


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
    dtype : dtype or None
        Of the matrix of features; None where they are left as they are.
    takes_all : bool
        Whether the features are all other columns that there are.
    """

    features: list[str]
    target: str
    weight: str | None
    kinds: Mapping[str, Any]
    dtype: np.dtype[Any] | None
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
        numbers = others[1:] if wanted.raw else [*features, *others[1:]]
        for name in numbers:
            if not _is_number(kinds[name]):
                raise ValueError(
                    f"{where}, column {name!r}: holds {kinds[name]}, and numbers are needed. "
                    "Choose others by `columns`, or encode it."
                )
        dtype = None
        if not wanted.raw:
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
        rows = n_bytes // (len(self.names) * (self.dtype or np.dtype(np.float64)).itemsize)
        return int(min(max(rows, _FEWEST_ROWS), _MOST_ROWS))

    def check(self, schema: Any, where: str) -> None:
        """ValueError unless another schema has the same columns, of the same types.

        Features of a raw table may have others: a column of gaps alone has a type of its own.
        """
        kinds = _kinds(schema, self.names, where)
        for name, kind in kinds.items():
            is_free = self.dtype is None and name in self.features
            if kind != self.kinds[name] and not is_free:
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
        if self.dtype is None:
            X = pa.Table.from_batches([batch]).select(self.features)
        else:
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
