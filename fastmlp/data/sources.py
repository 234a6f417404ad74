"""Where the columns of a raw table come from: arrays, lists, pandas, and what narwhals reads."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from fastmlp.data.checks import check_sparse_structure
from fastmlp.data.columns import Coded, Numbers, Objects, Raw, family_of, refusal

Array = NDArray[Any]

# The largest matrix that a sparse X is made dense for.
MOST_BYTES = 2 << 30

# Up to so many rows of a frame are read as Python objects, which takes less time than the calls
# that read column by column.
FEW_ROWS = 100


class Source(Protocol):
    """The columns of a table.

    Attributes
    ----------
    names : list of str, or None
        None where the table has no names, or names that are not all text.
    shape : tuple of int
        Numbers of rows and columns.
    """

    names: list[str] | None
    shape: tuple[int, int]

    @property
    def dtypes(self) -> Sequence[str]:
        """Types of the columns, as Column has them."""
        ...

    def column(self, j: int, label: str) -> Raw:
        """One column; a TypeError if its type is of what cannot be read."""
        ...


class ArraySource:
    """Columns of an array of numbers, which may become the matrix as it is."""

    names: list[str] | None = None

    def __init__(self, matrix: Array) -> None:
        self.matrix = matrix
        self.shape = matrix.shape

    @property
    def dtypes(self) -> Sequence[str]:
        """The type of the array, for each column."""
        return [str(self.matrix.dtype)] * self.shape[1]

    def column(self, j: int, label: str) -> Raw:
        """Numbers."""
        return Numbers(self.matrix[:, j])


class ObjectSource:
    """Columns of an array of Python objects, or of a few rows of a frame."""

    def __init__(
        self, columns: list[list[Any]], shape: tuple[int, int], names: list[str] | None = None
    ) -> None:
        self._columns = columns
        self.names = names
        self.shape = shape

    @property
    def dtypes(self) -> Sequence[str]:
        """The type of the array, for each column."""
        return ["object"] * len(self._columns)

    def column(self, j: int, label: str) -> Raw:
        """Objects."""
        return Objects(self._columns[j])


def beyond_floats(least: Any, most: Any) -> bool:
    """Whether integers from `least` to `most`, which may be missing, are not all exact floats."""
    return isinstance(most, int | np.integer) and bool(most > 2**53 or least < -(2**53))


class PandasSource:
    """Columns of a pandas DataFrame."""

    def __init__(self, X: Any, names: list[str] | None) -> None:
        self._X = X
        self.names = names
        self.shape = X.shape

    @property
    def dtypes(self) -> Sequence[str]:
        """Types of the columns."""
        return [str(dtype) for dtype in self._X.dtypes]

    def column(self, j: int, label: str) -> Raw:
        """Numbers, the codes of a Categorical or of text, or objects."""
        import pandas as pd

        series = self._X.iloc[:, j]
        dtype = series.dtype
        if isinstance(dtype, pd.CategoricalDtype):
            return Coded(series.cat.codes.to_numpy(), dtype.categories.tolist(), in_order=True)
        if dtype.type in (np.object_, pd.CategoricalDtype.type):  # the second: Arrow's dictionary
            return Objects(series.tolist(), is_category=True)
        family = family_of(dtype.type)
        if family == "text":
            codes, values = pd.factorize(series)
            return Coded(codes, values.tolist(), in_order=False)
        if family != "number" and str(dtype) != "null[pyarrow]":
            raise refusal(label, family)
        if isinstance(dtype, np.dtype):
            return Numbers(series.to_numpy())
        if isinstance(dtype, pd.SparseDtype):
            series = series.sparse.to_dense()
        if series.dtype.kind in "iu" and beyond_floats(series.min(), series.max()):
            return Objects(series.tolist())
        return Numbers(series.to_numpy(dtype=np.float64, na_value=np.nan))


def _plain_array(X: Any) -> Source:
    """The columns of an array, or of what NumPy makes an array of."""
    if isinstance(X, np.ma.MaskedArray):
        numeric = X.dtype.kind in "biuf"
        mask, X = np.ma.getmaskarray(X), X.data.astype(np.float64 if numeric else object)
        X[mask] = np.nan if numeric else None
    if not hasattr(X, "dtype"):
        array = np.asarray(X)
        # Where lists have text somewhere, NumPy has made text of all their numbers.
        X = array if array.dtype.kind in "biuf" else np.asarray(X, dtype=object)
    X = np.asarray(X)
    if X.ndim != 2:
        raise ValueError(
            f"X must have two dimensions, rows and columns, and has {X.ndim}. Reshape your data: "
            "X.reshape(-1, 1) makes a table of one column, X.reshape(1, -1) one of one row."
        )
    if X.dtype.kind in "biuf":
        return ArraySource(X)
    if X.dtype.kind in "OUT":
        return ObjectSource(X.astype(object, copy=False).T.tolist(), X.shape)
    raise refusal("Input X", family_of(X.dtype.type))


def _dense(X: Any) -> Source:
    """A sparse X as an array of floats, if there is room for it."""
    dtype = np.dtype(np.float32 if X.dtype == np.float32 else np.float64)
    n_bytes = X.shape[0] * X.shape[1] * dtype.itemsize
    if n_bytes > MOST_BYTES:
        raise ValueError(
            f"The sparse X of {X.shape[0]:,} rows and {X.shape[1]:,} columns would take "
            f"{n_bytes / 2**30:.1f} GiB as a dense matrix, more than the {MOST_BYTES / 2**30:.0f} "
            "that are allowed: select fewer columns, or use MLPBinaryClassifier, which reads it "
            "as it is."
        )
    check_sparse_structure(X)
    if X.dtype.kind == "c":
        raise refusal("Input X", "complex numbers")
    return ArraySource(X.astype(dtype).toarray())


def _names_of(names: list[Any]) -> list[str] | None:
    """Names of columns where all are text; a ValueError if one is there twice."""
    if not all(isinstance(name, str) for name in names):
        return None
    if len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"X has more than one column {twice!r}.")
    return names


def _is_frame(X: Any) -> bool:
    """Whether X, which is no frame of pandas, is one of another library, or a stream of Arrow's."""
    if isinstance(X, np.ndarray | list | tuple) or getattr(X, "ndim", 2) != 2:
        return False
    of = type(X).__module__.partition(".")[0]
    return of in ("cudf", "dask", "modin", "narwhals", "polars", "pyarrow") or any(
        hasattr(X, f"__{name}__")
        for name in ("narwhals_dataframe", "narwhals_lazyframe", "arrow_c_stream")
    )


def source_of(X: Any, *, few_as_objects: bool = False) -> Source:
    """The columns of a table.

    Parameters
    ----------
    X : array-like, sparse or frame of shape (n_rows, n_columns)
        The table.
    few_as_objects : bool
        Whether the types of columns do not matter, so that a few rows can be read faster.

    Raises
    ------
    ValueError
        If X is not two-dimensional, has no rows, no columns or two columns of one name, or if it is
        sparse and too large to be made dense.
    TypeError
        If it is of a type that cannot be read.
    ImportError
        If narwhals is missing, and X is a frame of another library than pandas.
    """
    pandas = sys.modules.get("pandas")
    source: Source
    if pandas is not None and isinstance(X, pandas.DataFrame):
        names = _names_of(X.columns.tolist())
        if few_as_objects and len(X) <= FEW_ROWS:
            source = ObjectSource(X.to_numpy(dtype=object).T.tolist(), X.shape, names)
        else:
            source = PandasSource(X, names)
    elif scipy.sparse.issparse(X):
        source = _dense(X)
    elif _is_frame(X):
        from fastmlp.data.frames import source_of_frame

        source = source_of_frame(X, few_as_objects=few_as_objects)
    else:
        source = _plain_array(X)
    for count, what in zip(source.shape, ("sample(s)", "feature(s)"), strict=True):
        if count == 0:
            raise ValueError(
                f"Found array with 0 {what} (shape={source.shape}) while a minimum of 1 is "
                "required."
            )
    return source
