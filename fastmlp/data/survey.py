"""The columns of a table that comes in chunks: what they hold is known when all have come.

Categories get codes in the order in which their levels come up. In the end these are exchanged for
those that `read_table` would have given: the levels are sorted then.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.data.columns import (
    Coded,
    Column,
    Raw,
    coded,
    kind_of,
    levels_of,
    numbers_of,
)
from fastmlp.data.facts import ColumnFacts
from fastmlp.data.sources import Source, source_of
from fastmlp.data.table import TEXT_IN_FIT, TableReader, assembled, categories_given, label_of

Array = NDArray[Any]


class _Numbers:
    """A column of numbers."""

    levels = None
    final = None

    def __init__(self, label: str) -> None:
        self._label = label
        self._n_known = self._n_gaps = 0
        self._low, self._high = np.inf, -np.inf
        self._values: set[float] = set()  # the first three that came up

    def read(self, raw: Raw) -> Array:
        """Numbers of more rows."""
        x = numbers_of(raw, self._label, TEXT_IN_FIT)
        gaps = np.isnan(x)
        known = x[~gaps]
        self._n_known, self._n_gaps = self._n_known + len(known), self._n_gaps + int(gaps.sum())
        if len(known):
            self._low = min(self._low, float(known.min()))
            self._high = max(self._high, float(known.max()))
            if len(self._values) <= 2:
                self._values |= set(np.unique(known)[:3].tolist())
        return x

    def facts(self) -> ColumnFacts:
        """What all rows have together."""
        low, high = (self._low, self._high) if self._n_known else (0.0, 0.0)
        is_pair = len(self._values) <= 2
        return ColumnFacts(self._n_known, self._n_gaps, low, high, is_pair, None)


class _Category:
    """A column of categories."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._codes: dict[Hashable, int] = {}
        self._counts = np.zeros(0, np.int64)
        self._n_gaps = 0
        self._order: list[Any] | None = None  # of levels, where all chunks have the same
        self.levels: tuple[Any, ...] = ()
        self.final = np.full(1, np.nan)

    def read(self, raw: Raw) -> Array:
        """Codes of more rows."""
        order = raw.values if isinstance(raw, Coded) and raw.in_order else None
        if not self._codes:
            self._order = order
        elif order != self._order:
            self._order = None
        column = coded(raw, self._label)
        codes = self._codes
        places = [codes.setdefault(value, len(codes)) for value in column.values]
        counts = np.bincount(column.codes + 1, minlength=len(places) + 1)
        self._counts = np.concatenate(
            [self._counts, np.zeros(len(codes) - len(self._counts), np.int64)]
        )
        self._counts[places] += counts[1:]
        self._n_gaps += int(counts[0])
        return np.array([*places, np.nan])[column.codes]  # the last one is for the code -1

    def finish(self) -> None:
        """Sort the levels, when all rows have come."""
        values: list[Any] = list(self._codes)
        if self._order is not None:
            values = [value for value in self._order if value in self._codes]
        in_order = self._order is not None
        self.levels = levels_of(Coded(np.empty(0, np.intp), values, in_order), self._label)
        rank = {level: float(code) for code, level in enumerate(self.levels)}
        self.final = np.array([*map(rank.__getitem__, self._codes), np.nan])
        self._counts = self._counts[[self._codes[level] for level in self.levels]]

    def facts(self) -> ColumnFacts:
        """What all rows have together."""
        return ColumnFacts.of_codes(self._counts, self._n_gaps)


class Survey:
    """Reads a table chunk by chunk, and learns what columns it has.

    The first chunk says which columns there are, and which of them are categories.

    Parameters
    ----------
    categorical_features : "from_dtype", None, or array-like of bool, int or str
        As `read_table` takes it.
    """

    def __init__(self, categorical_features: Any) -> None:
        self._categorical = categorical_features
        self._columns: list[_Numbers | _Category] = []
        self._heads: list[tuple[str | None, str]] = []  # name and type of each column
        self._finished: TableReader | None = None
        self._dtype: np.dtype[Any] | None = None
        self.labels: list[str] = []

    @property
    def names(self) -> list[str] | None:
        """Names of the columns, where they have any."""
        return [name for name, _ in self._heads if name is not None] or None

    def read(self, X: Any) -> Array:
        """Read more rows.

        Parameters
        ----------
        X : array-like, sparse or frame of shape (n_rows, n_columns)
            With the columns of the first chunk, which are found by name where they have names.

        Returns
        -------
        ndarray of shape (n_rows, n_columns)
            As `read_table` gives it, but for the codes of categories: see `finish`.

        Raises
        ------
        ValueError, TypeError
            As `read_table`.
        """
        source = source_of(X)
        if not self._columns:
            self._begin(source)
        places = self._reader().positions(source)
        arrays = [
            column.read(source.column(j, label))
            for j, column, label in zip(places, self._columns, self.labels, strict=True)
        ]
        matrix = assembled(arrays, source, self.labels)
        self._dtype = self._dtype or matrix.dtype
        if not np.can_cast(matrix.dtype, self._dtype):
            raise ValueError(
                f"X holds {matrix.dtype}, and the first chunk {self._dtype}, which does not hold "
                "all of its numbers: give all chunks the same dtype."
            )
        return matrix

    def _begin(self, source: Source) -> None:
        names: Sequence[str | None] = source.names or [None] * source.shape[1]
        self.labels = [label_of(j, name) for j, name in enumerate(names)]
        given = categories_given(self._categorical, source)
        for j, label in enumerate(self.labels):
            is_category = (
                kind_of(source.column(j, label), label) == "category" if given is None else given[j]
            )
            self._columns.append(_Category(label) if is_category else _Numbers(label))
        self._heads = list(zip(names, source.dtypes, strict=True))

    def _reader(self) -> TableReader:
        return TableReader(
            tuple(
                Column(
                    name, "number" if isinstance(column, _Numbers) else "category", column.levels,
                    dtype,
                )
                for column, (name, dtype) in zip(self._columns, self._heads, strict=True)
            )
        )  # fmt: skip

    def reader(self) -> TableReader:
        """Reads other tables of these columns; all rows have come."""
        if self._finished is None:
            for column in self._columns:
                if isinstance(column, _Category):
                    column.finish()
            self._finished = self._reader()
        return self._finished

    def finish(self, matrix: Array) -> None:
        """Exchange the codes of a matrix that `read` gave for those of the reader, in place."""
        for j, column in enumerate(self._columns):
            if column.final is not None:
                x = matrix[:, j]
                # Code −1 is that of the last, which is NaN.
                matrix[:, j] = column.final[np.where(np.isnan(x), -1, x).astype(np.intp)]

    def table(self, matrix: Array) -> Any:
        """Undo `finish`: a table with the levels in it, a frame of pandas where that is there.

        matrix : of some rows; of a table without categories, it is the table
        """
        reader = self.reader()
        if not reader.categories:
            return matrix
        table: Any = matrix.astype(object)
        for j in reader.categories:
            levels = np.array([*(reader.columns[j].levels or ()), None], object)
            x = matrix[:, j]
            table[:, j] = levels[np.where(np.isnan(x), -1, x).astype(np.intp)]
        if reader.feature_names is None:
            return table
        try:
            import pandas as pd
        except ImportError:
            return table
        return pd.DataFrame(table, columns=list(reader.feature_names)).infer_objects()

    def facts(self) -> list[ColumnFacts]:
        """What all rows of each column have together; there is a reader."""
        return [column.facts() for column in self._columns]
