"""Columns of frames of other libraries than pandas, as narwhals reads them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastmlp.data.columns import Coded, Numbers, Objects, Raw, refusal
from fastmlp.data.sources import FEW_ROWS, ObjectSource, Source, beyond_floats, source_of


def _narwhals() -> Any:
    try:
        import narwhals.stable.v2 as nw
    except ImportError as error:
        raise ImportError(
            "Frames of other libraries than pandas are read with narwhals: pip install "
            "'fastmlp[tables]', or hand over X.to_pandas()."
        ) from error
    return nw


def source_of_frame(X: Any, *, few_as_objects: bool) -> Source:
    """The columns of a frame of polars, pyarrow or another library.

    Parameters
    ----------
    X : frame, or object with a stream of Arrow's
        The table.
    few_as_objects : bool
        Whether a few rows may be read as Python objects.

    Raises
    ------
    TypeError
        If X is lazy, a single column, or of a library that narwhals does not know.
    ImportError
        If narwhals is missing, or pyarrow where X is a stream.
    """
    nw = _narwhals()
    try:
        frame = nw.from_native(X, eager_only=True)
    except TypeError as error:
        if hasattr(X, "collect"):
            raise TypeError("X is a lazy frame: pass X.collect().") from error
        if hasattr(X, "compute"):
            raise TypeError("X is a lazy frame: pass X.compute().") from error
        is_column = hasattr(X, "to_list") or hasattr(X, "type")
        if is_column or not hasattr(X, "__arrow_c_stream__"):
            raise TypeError(f"X is not a table that narwhals reads: {type(X)}.") from error
        only_polars = "polars" in sys.modules and "pyarrow" not in sys.modules
        frame = nw.from_arrow(X, backend="polars" if only_polars else "pyarrow")
    implementation = frame.implementation
    if not (implementation.is_polars() or implementation.is_pyarrow()):
        return source_of(frame.to_pandas(), few_as_objects=few_as_objects)
    if few_as_objects and 0 < len(frame) <= FEW_ROWS:
        columns = [list(each) for each in zip(*frame.rows(), strict=True)]
        return ObjectSource(columns, frame.shape, frame.columns)
    return FrameSource(frame)


class FrameSource:
    """Columns of a frame of polars or pyarrow, in narwhals' wrapper."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self.names: list[str] | None = list(frame.columns)
        self.shape = frame.shape

    @property
    def dtypes(self) -> Sequence[str]:
        """Types of the columns, in narwhals' words."""
        return [str(dtype) for dtype in self._frame.schema.dtypes()]

    def column(self, j: int, label: str) -> Raw:
        """Numbers, the codes of text, or objects."""
        nw = _narwhals()
        series = self._frame[:, j]
        dtype = series.dtype
        if dtype.is_numeric() or dtype == nw.Boolean:
            if dtype.is_integer() and series.null_count():
                if beyond_floats(series.min(), series.max()):
                    return Objects(series.to_list())
                series = series.cast(nw.Float64)
            elif not dtype.is_integer() and (not dtype.is_float() or series.null_count()):
                series = series.cast(nw.Float64)
            return Numbers(series.to_numpy())
        if dtype in (nw.Categorical, nw.Enum, nw.String):
            return _codes(series, dtype.categories if dtype == nw.Enum else None)
        if dtype == nw.Object:
            return Objects(series.to_list(), is_category=True)
        if dtype == nw.Unknown and series.null_count() == len(series):  # polars' Null
            return Numbers(np.full(len(series), np.nan))
        raise refusal(label, _words(dtype))


def _words(dtype: Any) -> str:
    nw = _narwhals()
    if dtype in (nw.Date, nw.Datetime, nw.Time):
        return "datetimes"
    if dtype == nw.Duration:
        return "durations"
    if dtype in (nw.List, nw.Array, nw.Struct):
        return "nested values"
    return "bytes" if dtype == nw.Binary else f"values of type {dtype}"


def _codes(series: Any, order: Sequence[str] | None) -> Coded:
    """The codes of text, with levels in an order that is given, or in none."""
    native = series.to_native()
    if series.implementation.is_polars():
        import polars as pl

        text = native.cast(pl.String)
        values = list(order) if order is not None else text.unique().drop_nulls().to_list()
        places = range(len(values))
        codes = text.replace_strict(values, places, default=-1, return_dtype=pl.Int32).to_numpy()
        return Coded(codes, values, order is not None)
    import pyarrow as pa

    if pa.types.is_dictionary(native.type):
        native = native.cast(native.type.value_type)
    array = native.dictionary_encode().combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.unify_dictionaries().chunk(0)
    codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return Coded(codes, array.dictionary.to_pylist(), False)
