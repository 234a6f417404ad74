"""Predictions of Dask's collections: lazy, partition by partition, with index and chunks kept."""

from __future__ import annotations

from typing import Any

import dask
import dask.array
import numpy as np
from numpy.typing import NDArray

from fastmlp.estimators.classifier import MLPBinaryClassifier

Array = NDArray[Any]


def _apply(X: Any, model: MLPBinaryClassifier, method: str, n_columns: int, dtype: Any) -> Array:
    """Call a method on the rows of a partition, of which there may be none."""
    if X.shape[0] == 0:  # sparse ones have no len()
        shape = (0,) if n_columns == 0 else (0, n_columns)
        return np.empty(shape, dtype)
    result: Array = getattr(model, method)(X)
    return result


def _apply_to_frame(X: Any, model: MLPBinaryClassifier, method: str, meta: Any) -> Any:
    """The same of a dataframe, with its index."""
    n_columns = meta.shape[1] if meta.ndim == 2 else 0
    dtype = meta.iloc[:, 0].dtype if n_columns else meta.dtype
    result = _apply(X, model, method, n_columns, dtype)
    if n_columns:
        return type(meta)(result, index=X.index, columns=meta.columns)
    return type(meta)(result, index=X.index, name=meta.name)


def lazily(model: MLPBinaryClassifier, method: str, X: Any, n_columns: int, dtype: Any) -> Any:
    """Have a method of a model called on each partition.

    Parameters
    ----------
    model : MLPBinaryClassifier
        Fitted.
    method : str
        Of the model.
    X : dask array or dataframe
        The rows.
    n_columns : int
        Columns of the result; 0 for one dimension.
    dtype : dtype
        Of the result.

    Returns
    -------
    dask array, or dask series or dataframe with the index of X
    """
    # One task has the model, of which those of partitions have the name only.
    constant = dask.delayed(model, pure=True)
    if hasattr(X, "map_blocks"):
        if X.numblocks[1] != 1:
            X = X.rechunk({1: -1})
        kwargs = {"method": method, "n_columns": n_columns, "dtype": np.dtype(dtype)}
        columns: dict[str, Any] = (
            {"chunks": (X.chunks[0], (n_columns,))} if n_columns else {"drop_axis": 1}
        )
        return dask.array.map_blocks(
            _apply_to_block, X, constant, **columns, dtype=dtype, meta=_meta(n_columns, dtype),
            asked=kwargs,
        )  # fmt: skip
    import pandas as pd  # which its partitions are of

    if n_columns:
        columns_of = list(model.classes_) if len(model.classes_) == n_columns else [0, 1]
        meta = pd.DataFrame(np.empty((0, n_columns), dtype), columns=columns_of)
    else:
        meta = pd.Series(np.empty(0, dtype))
    return X.map_partitions(_apply_to_frame, constant, method, meta, meta=meta)


def _apply_to_block(X: Array, model: MLPBinaryClassifier, asked: dict[str, Any]) -> Array:
    return _apply(X, model, **asked)


def _meta(n_columns: int, dtype: Any) -> Array:
    return np.empty((0,) if n_columns == 0 else (0, 0), dtype)
