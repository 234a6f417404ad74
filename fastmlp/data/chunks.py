"""Sources of rows that need not fit into memory, read in chunks whose every row is checked.

What is wrong is said with its place, because nobody can look through such a source by eye.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from fastmlp.data.checks import DTYPES_OF_X

Array = NDArray[Any]
#: Numbers of units, in the order to read them in; None for the order in which they lie.
Order = Sequence[int] | NDArray[np.int64] | None


class Chunk(NamedTuple):
    """Some rows of a source, checked.

    Attributes
    ----------
    X : ndarray of shape (n, n_features)
        Finite numbers, row by row; where a raw table is wanted, that, of any kind.
    y : ndarray of shape (n,)
        The labels.
    weight : ndarray of float64 of shape (n,), or None
        Finite, not negative.
    where : str
        Which part of the source this is of.
    first : int
        The number of the first row in that part.
    """

    X: Any
    y: Array
    weight: NDArray[np.float64] | None
    where: str
    first: int

    def place(self, row: int) -> str:
        """Say where one of the rows is."""
        return f"{self.where}, row {self.first + row}"


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a table.

    Attributes
    ----------
    target : str or None
        The column of labels; None where chunks are (X, y).
    weight : str or None
        The column of weights, if there is one.
    columns : list of str, or None
        The features, in their order; None for all other columns.
    raw : bool
        Whether features may be of all kinds, and with gaps.
    """

    target: str | None
    weight: str | None = None
    columns: list[str] | None = None
    raw: bool = False


class Source(Protocol):
    """Rows that can be read again and again.

    Attributes
    ----------
    n_rows : int or None
        How many, where that is known without reading them.
    n_units : int
        In how many units they can be read in any order; 0 where they come in their own.
    reading : int
        Bytes that reading takes, beside those of a chunk, where that is known.
    names : list of str, or None
        Of the features; known once there has been a chunk.
    """

    n_rows: int | None
    n_units: int
    reading: int

    @property
    def names(self) -> list[str] | None:
        """Names of the features."""

    def chunks(self, order: Order = None) -> Iterator[Chunk]:
        """Read all rows, in units of an order."""


def check_finite(X: Array, names: Sequence[str] | None, where: str, first: int) -> None:
    """ValueError with the place if a number is NaN or infinite."""
    if X.dtype.kind != "f" or math.isfinite(X.sum()):  # a sum that overflows is looked at closer
        return
    finite = np.isfinite(X)
    if not finite.all():
        row, column = (int(k) for k in np.argwhere(~finite)[0])
        name = repr(names[column]) if names is not None else column
        raise ValueError(
            f"{where}, row {first + row}, column {name}: {X[row, column]} is not a finite number."
        )


def check_weight(weight: Any, what: str, where: str, first: int) -> NDArray[np.float64]:
    """Weights as float64; ValueError with the place if one is negative or not finite."""
    try:
        numbers = np.asarray(weight, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}, {what}: weights must be numbers ({error}).") from error
    right = np.isfinite(numbers) & (numbers >= 0)
    if not right.all():
        row = int(np.argmin(right))
        raise ValueError(
            f"{where}, row {first + row}, {what}: a weight must be finite and not negative, got "
            f"{numbers[row]}."
        )
    return numbers


def dtype_of_matrix(dtypes: Iterable[Any]) -> np.dtype[Any]:
    """Say which dtype scikit-learn gives a table with columns of these."""
    dtype = np.result_type(*dtypes)
    return dtype if dtype in DTYPES_OF_X else np.dtype(np.float64)


class Pairs:
    """Chunks (X, y) or (X, y, weight), checked against the first of them.

    Parameters
    ----------
    raw : bool, default=False
        Whether X is a raw table, which is left as it is.
    """

    def __init__(self, *, raw: bool = False) -> None:
        self._raw = raw
        self.names: list[str] | None = None
        self._weighted: bool | None = None
        self._first: tuple[int, np.dtype[Any]] | None = None

    def chunk(self, given: Any, number: int) -> Chunk:
        """Check one; number : its place among them, for errors."""
        where = f"chunk {number}"
        if not isinstance(given, tuple | list) or len(given) not in (2, 3):
            raise TypeError(
                f"{where}: a chunk must be (X, y) or (X, y, sample_weight), got {type(given)}."
            )
        X, y = given[:2]
        weight = given[2] if len(given) == 3 else None
        try:
            names = names_of(X)
            if not self._raw:
                X = check_array(
                    X, dtype=DTYPES_OF_X, order="C", ensure_all_finite=False, ensure_min_samples=0
                )
            y = column_or_1d(y)
            check_consistent_length(X, y, weight)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{where}: {error}") from error
        self._check_weighted(weight is not None, where)
        if not self._raw:
            self._check_alike(X, names, where)
            check_finite(X, names, where, 0)
        if weight is not None:
            weight = check_weight(weight, "sample_weight", where, 0)
        return Chunk(X, y, weight, where, 0)

    def _check_weighted(self, weighted: bool, where: str) -> None:
        if self._weighted is None:
            self._weighted = weighted
        if weighted != self._weighted:
            raise ValueError(f"sample_weight must come with all chunks or none; see {where}.")

    def _check_alike(self, X: Array, names: list[str] | None, where: str) -> None:
        if self._first is None:
            self._first, self.names = (X.shape[1], X.dtype), names
        width, dtype = self._first
        if X.shape[1] != width:
            raise ValueError(f"{where} has {X.shape[1]} features, and the first one has {width}.")
        if names != self.names:
            raise ValueError(f"{where} has columns {names}, and the first one has {self.names}.")
        if not np.can_cast(X.dtype, dtype):
            raise ValueError(
                f"{where} holds {X.dtype}, and the first one {dtype}, which does not hold all of "
                "its numbers: give all chunks the same dtype."
            )


def names_of(X: Any) -> list[str] | None:
    """Names of columns, where all are strings."""
    columns = getattr(X, "columns", None)
    if columns is None or callable(columns):
        return None
    names = list(columns)
    return names if names and all(isinstance(name, str) for name in names) else None


class Called:
    """What a function returns, each time anew: a stream of Arrow's, or an iterator of chunks.

    Parameters
    ----------
    function : callable
        The user's.
    wanted : Wanted
        Of tables.
    batch_bytes : int
        About how many bytes of a table to convert at once.
    """

    n_rows: int | None = None
    n_units = reading = 0

    def __init__(self, function: Callable[[], Any], wanted: Wanted, batch_bytes: int) -> None:
        self._function, self._wanted, self._batch_bytes = function, wanted, batch_bytes
        self._pairs = Pairs(raw=wanted.raw)
        self._table: Any = None

    @property
    def names(self) -> list[str] | None:
        """Names of the features."""
        return self._pairs.names if self._table is None else list(self._table.features)

    def chunks(self, order: Order = None) -> Iterator[Chunk]:
        """Read all rows in their own order; see `Source`."""
        given = self._function()
        if hasattr(given, "__arrow_c_stream__"):
            yield from self._of_stream(given, "the stream", 0)
            return
        try:
            parts = iter(given)
        except TypeError as error:
            raise TypeError(
                "The function must return an object with __arrow_c_stream__ or an iterator of "
                f"chunks, and returned {type(given)}."
            ) from error
        if parts is given and given is getattr(self, "_earlier", None):
            raise ValueError("The function must return a new iterator each time, not the same one.")
        self._earlier = parts if parts is given else None
        number = 0
        for number, part in enumerate(parts):
            if hasattr(part, "__arrow_c_stream__") and not isinstance(part, tuple | list):
                yield from self._of_stream(part, f"chunk {number}", 0)
                continue
            if replace(self._wanted, raw=False) != Wanted(None):
                raise ValueError(
                    "target, sample_weight and columns name columns of tables, and the source "
                    "gives chunks (X, y): pass target=None."
                )
            chunk = self._pairs.chunk(part, number)
            if len(chunk.y):
                yield chunk

    def _of_stream(self, stream: Any, where: str, first: int) -> Iterator[Chunk]:
        from fastmlp.data import arrow

        reader = arrow.stream_of(stream)
        if self._table is None:
            self._table = arrow.Table.of(reader.schema, self._wanted, where)
        else:
            self._table.check(reader.schema, where)
        rows = self._table.rows_of(self._batch_bytes)
        for batch in reader:
            for start in range(0, batch.num_rows, rows):
                yield self._table.chunk(batch.slice(start, rows), where, first + start)
            first += batch.num_rows


def source_of(given: Any, wanted: Wanted, batch_bytes: int) -> Source:
    """Make a source of what the user gives.

    Parameters
    ----------
    given : path, list of paths, pyarrow.dataset.Dataset or callable
        Parquet files, a folder of them or a pattern; or what returns chunks.
    wanted : Wanted
        Of tables.
    batch_bytes : int
        About how many bytes to convert at once.

    Raises
    ------
    TypeError
        If it is something else, or a target is missing.
    ValueError, FileNotFoundError
        If files are not there, not whole, or not alike.
    ImportError
        If pyarrow is missing.
    """
    is_path = isinstance(given, str) or hasattr(given, "__fspath__")
    if not is_path and callable(given):
        return Called(given, wanted, batch_bytes)
    is_list = isinstance(given, list | tuple) and all(
        isinstance(each, str) or hasattr(each, "__fspath__") for each in given
    )
    if not (is_path or is_list or hasattr(given, "get_fragments")):
        advice = ""
        if hasattr(given, "__arrow_c_stream__") or hasattr(given, "__next__"):
            advice = " Each pass needs a new one: give a function that returns it."
        elif hasattr(given, "shape"):
            advice = " What is in memory is for the estimator's own fit."
        raise TypeError(
            "source must be a path of Parquet files, a list of them, a pyarrow Dataset or a "
            f"function that returns chunks, got {type(given)}.{advice}"
        )
    if wanted.target is None:
        raise TypeError("target must name the column of labels.")
    from fastmlp.data import parquet

    if is_path or is_list:
        paths = [given] if is_path else list(given)
        return parquet.ParquetSource(parquet.files_of(paths), wanted, batch_bytes)
    return parquet.DatasetSource(given, wanted, batch_bytes)
