"""A raw table, read once into one matrix of floats: numbers as they are, categories as codes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastmlp.data.columns import (
    Column,
    Levels,
    Raw,
    coded,
    codes_of,
    kind_of,
    levels_of,
    numbers_of,
)
from fastmlp.data.sources import ArraySource, Source, source_of

Array = NDArray[Any]

# Rows that are written at a time: columns are written into rows of the matrix, and so few rows of
# it stay in the cache until all columns have come.
_ROWS_OF_A_BLOCK = 1024

#: The largest number of a table: of larger ones, a difference may be infinite.
LARGEST = 8e307

TEXT_IN_FIT = "{} holds {} in row {}: name it in categorical_features, or turn it into numbers."
_AFTER_FIT = "{} held numbers in fit, now {} in row {}."


@dataclass(frozen=True)
class TableReader:
    """How a table of the columns that fit has seen becomes a matrix.

    Attributes
    ----------
    columns : tuple of Column
        The columns in their order in fit.
    """

    columns: tuple[Column, ...]

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return len(self.columns)

    @cached_property
    def feature_names(self) -> tuple[str, ...] | None:
        """Names of the columns, or None where the table in fit had none."""
        names = tuple(column.name for column in self.columns if column.name is not None)
        return names or None

    @cached_property
    def categories(self) -> tuple[int, ...]:
        """Positions of the columns that are categories."""
        return tuple(j for j, column in enumerate(self.columns) if column.kind == "category")

    @cached_property
    def _labels(self) -> tuple[str, ...]:
        return tuple(label_of(j, column.name) for j, column in enumerate(self.columns))

    @cached_property
    def _levels(self) -> tuple[Levels | None, ...]:
        return tuple(None if c.levels is None else Levels(c.levels) for c in self.columns)

    def __reduce__(self) -> tuple[Any, ...]:
        return TableReader, (self.columns,)  # what is derived of the columns is not kept

    def read(self, X: Any) -> Array:
        """Read a table with the columns of the one in fit.

        Parameters
        ----------
        X : array-like, sparse or frame of shape (n_rows, n_columns)
            The table. Columns are found by name where both tables have names, else by position.

        Returns
        -------
        ndarray of shape (n_rows, n_columns)
            C-contiguous, of float32 if X is an array of float32, else of float64. Numbers as they
            are; codes of categories, and for what is no level, the number of levels; NaN where a
            value is missing. It is X itself where X is such an array.

        Raises
        ------
        ValueError
            If columns are missing or not known, hold another kind of values than in fit, or hold
            infinity, or if X has no rows.
        TypeError
            If a column holds what is neither numbers nor text.
        """
        source = source_of(X, few_as_objects=True)
        positions = self.positions(source)
        if isinstance(source, ArraySource) and not self.categories:
            matrix = _whole(source)
            _check_finite(matrix, self._labels)
            return matrix
        columns = []
        for j, levels, label in zip(positions, self._levels, self._labels, strict=True):
            raw = source.column(j, label)
            if levels is None:
                columns.append(numbers_of(raw, label, _AFTER_FIT))
            else:
                columns.append(codes_of(raw, levels, label))
        return assembled(columns, source, self._labels)

    def positions(self, source: Source) -> Sequence[int]:
        """Where the columns are in a table."""
        known, found = self.feature_names, source.names
        if known is not None and found is not None and tuple(found) != known:
            missing = sorted(set(known) - set(found))
            more = sorted(set(found) - set(known))
            if missing or more:
                raise ValueError(
                    "X must have the columns of fit"
                    + (f"; missing: {', '.join(missing)}" if missing else "")
                    + (f"; not known: {', '.join(more)}" if more else "")
                    + "."
                )
            place = {name: j for j, name in enumerate(found)}
            return [place[name] for name in known]
        if source.shape[1] != self.n_columns:
            raise ValueError(
                f"X has {source.shape[1]} features, but TableReader is expecting "
                f"{self.n_columns} features as input."
            )
        return range(self.n_columns)


def read_table(
    X: Any, categorical_features: ArrayLike | str | None = "from_dtype"
) -> tuple[TableReader, Array]:
    """Find the columns of a table, and read it.

    Parameters
    ----------
    X : array-like, sparse or frame of shape (n_rows, n_columns)
        The table: a NumPy array or nested lists of numbers, text and None; a frame of pandas,
        polars, pyarrow or another library that narwhals reads; a SciPy matrix, made dense.
    categorical_features : "from_dtype", None, or array-like of bool, int or str
        Which columns are categories. "from_dtype": of a frame those of text, objects, and of
        categorical types; of an array or lists those with values that are not numbers. None: no
        column. Else a mask of all columns, or positions or names of the categories.

    Returns
    -------
    reader : TableReader
        Reads other tables of these columns.
    matrix : ndarray of shape (n_rows, n_columns)
        As `TableReader.read` gives it.

    Raises
    ------
    ValueError
        As `TableReader.read`; also if a column of text is said to hold numbers, if
        `categorical_features` names columns that X has not, or if two columns have one name.
    TypeError
        If a column holds what is neither numbers nor text.
    """
    source = source_of(X)
    names: Sequence[str | None] = source.names or [None] * source.shape[1]
    labels = [label_of(j, name) for j, name in enumerate(names)]
    given = categories_given(categorical_features, source)
    whole = _whole(source) if isinstance(source, ArraySource) else None
    dtypes = source.dtypes
    columns, arrays = [], []
    for j, label in enumerate(labels):
        if whole is not None and not (given is not None and given[j]):
            columns.append(Column(names[j], "number", None, dtypes[j]))
            arrays.append(whole[:, j])
            continue
        raw = source.column(j, label)
        is_category = kind_of(raw, label) == "category" if given is None else given[j]
        levels, array = _learned(raw, label) if is_category else (None, None)
        if array is None:
            array = numbers_of(raw, label, TEXT_IN_FIT)
        kind: Any = "category" if is_category else "number"
        columns.append(Column(names[j], kind, levels, dtypes[j]))
        arrays.append(array)
    reader = TableReader(tuple(columns))
    if whole is not None and not reader.categories:
        _check_finite(whole, labels)
        return reader, whole
    return reader, assembled(arrays, source, labels)


def label_of(j: int, name: str | None) -> str:
    """What errors call a column."""
    return f"column {j}" if name is None else f"column {name!r}"


def _learned(raw: Raw, label: str) -> tuple[tuple[Any, ...], Array]:
    """The levels of a column, and its codes."""
    column = coded(raw, label)
    levels = levels_of(column, label)
    return levels, codes_of(column, Levels(levels), label)


def categories_given(categorical_features: Any, source: Source) -> Array | None:
    """A mask of the columns that are named as categories; None if their types decide."""
    n_columns = source.shape[1]
    if isinstance(categorical_features, str):
        if categorical_features == "from_dtype":
            return None
        raise ValueError(
            f"categorical_features={categorical_features!r} must be 'from_dtype', None, a mask, or "
            "a list of positions or names of columns."
        )
    mask = np.zeros(n_columns, dtype=bool)
    chosen = np.asarray([] if categorical_features is None else categorical_features)
    if chosen.ndim != 1:
        raise ValueError("categorical_features must have one dimension.")
    if chosen.dtype.kind in "OUT":
        if source.names is None:
            raise ValueError("categorical_features has names of columns, and X has not.")
        unknown = [name for name in chosen.tolist() if name not in source.names]
        if unknown:
            raise ValueError(f"categorical_features names columns that X has not: {unknown}.")
        chosen = np.array([source.names.index(name) for name in chosen.tolist()])
    if chosen.dtype.kind == "b":
        if len(chosen) != n_columns:
            raise ValueError(
                f"categorical_features is a mask of {len(chosen)} columns, and X has {n_columns}."
            )
        return chosen
    if chosen.size == 0:
        return mask
    if chosen.dtype.kind not in "iu":
        raise ValueError(
            f"categorical_features must hold booleans, positions or names, not {chosen.dtype.name}."
        )
    if chosen.min() < 0 or chosen.max() >= n_columns:
        raise ValueError(f"Positions in categorical_features must be from 0 to {n_columns - 1}.")
    mask[chosen] = True
    return mask


def _dtype_of(source: Source) -> type:
    single = isinstance(source, ArraySource) and source.matrix.dtype == np.float32
    return np.float32 if single else np.float64


def _whole(source: ArraySource) -> Array:
    """The matrix of a table of numbers, which is not copied if it is a contiguous one of floats."""
    return np.ascontiguousarray(source.matrix, dtype=_dtype_of(source))


def assembled(columns: Sequence[Array], source: Source, labels: Sequence[str]) -> Array:
    """The matrix of these columns, checked for infinity."""
    n_rows = source.shape[0]
    matrix: Array = np.empty((n_rows, len(columns)), dtype=_dtype_of(source))
    for start in range(0, n_rows, _ROWS_OF_A_BLOCK):
        block = matrix[start : start + _ROWS_OF_A_BLOCK]
        for j, column in enumerate(columns):
            block[:, j] = column[start : start + _ROWS_OF_A_BLOCK]
        _check_finite(block, labels, start)
    return matrix


def _check_finite(matrix: Array, labels: Sequence[str], first_row: int = 0) -> None:
    """Check that numbers are NaN, or not so large that their differences are infinite."""
    # Most tables have neither infinity nor NaN, and a sum says so in one reading. Where it does
    # not, blocks keep the memory small that the answer takes.
    with np.errstate(over="ignore", invalid="ignore"):
        if (
            math.isfinite(matrix.sum())
            and max(float(matrix.max()), -float(matrix.min())) <= LARGEST
        ):
            return
    for start in range(0, len(matrix), _ROWS_OF_A_BLOCK):
        too_large = np.abs(matrix[start : start + _ROWS_OF_A_BLOCK]) > np.float64(LARGEST)
        if too_large.any():
            row, j = np.argwhere(too_large)[0].tolist()
            where = f"{labels[j]} has it in row {first_row + start + row}"
            if np.isinf(matrix[start + row, j]):
                raise ValueError(
                    f"Input X contains infinity: {where}. NaN stands for missing values."
                )
            raise ValueError(
                f"Input X contains a number beyond ±{LARGEST:.0e}: {where}. Scale that column."
            )
