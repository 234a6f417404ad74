"""Dask's collections as partitions: rows, labels and weights that belong together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import dask
import dask.array
import numpy as np
from dask.core import flatten, get_dependencies
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from distributed import Future, futures_of

from fastmlp.training.blocks import row_bytes, stored_dtype


class Partition(NamedTuple):
    """Parts of X, y and the weights, as tasks or as what they give.

    Attributes
    ----------
    X, y, weight : object
        The parts. y and weight are None where X is all of them, and weight where there are none.
    n_rows : int or None
        How many rows it has, where that is known ahead.
    of : dask array, dataframe or None
        The collection that X is a part of.
    """

    X: Any
    y: Any
    weight: Any
    n_rows: int | None = None
    of: Any = None

    def n_bytes(self, dtype: np.dtype[Any] | None) -> int:
        """Memory that it will need when it is packed, as far as that is known ahead.

        dtype : what rows are stored in; None for their own
        """
        if self.n_rows is None:
            return 0
        stored, weighted = stored_dtype(self.of, dtype), self.weight is not None
        return self.n_rows * row_bytes(self.of.shape[1], stored, weighted=weighted)


def partitions(X: Any, y: Any, weight: Any, names: tuple[str, str, str]) -> list[Partition]:
    """Take collections apart.

    Parameters
    ----------
    X : dask array or dataframe, or list of delayed values or futures
        The features. In a list, each is a pair of X and y, or a triple with weights.
    y, weight : dask array or series, array-like, or None
        Labels, and weights. None for y where X is a list.
    names : tuple of str
        What messages call them.

    Returns
    -------
    list of Partition

    Raises
    ------
    TypeError
        If one is another thing.
    ValueError
        If X is chunked by columns, or if their partitions do not belong together.
    """
    name_x, name_y, _ = names
    if isinstance(X, list | tuple) and X and all(isinstance(p, Delayed | Future) for p in X):
        if y is not None or weight is not None:
            raise ValueError(
                f"{name_x} is a list of partitions, each of which has its labels and weights: "
                f"leave out {name_y} and weights."
            )
        return [Partition(part, None, None) for part in X]
    if not _is_array(X) and not _is_frame(X):
        raise TypeError(
            f"{name_x} must be a Dask array, a Dask dataframe or a list of delayed partitions, "
            f"got {type(X).__name__}. For data in this process take MLPBinaryClassifier."
        )
    if y is None:
        raise ValueError(f"{name_x} is given without {name_y}.")
    if _is_array(X):
        if X.ndim != 2:
            raise ValueError(f"{name_x} must have two dimensions, and has {X.ndim}.")
        if X.numblocks[1] != 1:
            raise ValueError(
                f"{name_x} is chunked by columns: {name_x}.rechunk({{1: -1}}) makes whole rows."
            )
    y, weight = _alongside(y, X, name_y), _alongside(weight, X, names[2])
    parts, labels, weights = _taken_apart(X, y, weight)
    for values, name in ((labels, name_y), (weights, names[2])):
        if values is not None and len(values) != len(parts):
            raise ValueError(f"X has {len(parts)} partitions, and {name} has {len(values)}.")
    none = [None] * len(parts)
    rows = _known_rows(X, len(parts))
    return [
        Partition(*each, X)
        for each in zip(parts, labels or none, weights or none, rows, strict=True)
    ]


def sources(partitions: Mapping[Any, Partition]) -> dict[Any, set[Any]]:
    """Keys of the tasks and of the data that partitions are made from, their own included."""
    graphs: dict[int, dict[Any, Any]] = {}  # parts of a collection have one for all of them

    def behind(part: Any) -> set[Any]:
        if isinstance(part, Future):
            return {part.key}
        if not isinstance(part, Delayed):
            return set()
        graph = part.__dask_graph__()
        if id(graph) not in graphs:
            graphs[id(graph)] = dict(graph)
        tasks, found, todo = graphs[id(graph)], set(), [part.key]
        while todo:
            key = todo.pop()
            if key not in found and key in tasks:
                task = tasks[key]
                # Before Dask had classes for tasks, data were part of them.
                more = getattr(task, "dependencies", None)
                todo += get_dependencies(tasks, key) if more is None else more
                todo += [future.key for future in futures_of([task])]
            found.add(key)
        return found

    return {
        name: set().union(*(behind(part) for part in (own.X, own.y, own.weight)))
        for name, own in partitions.items()
    }


def _alongside(values: Any, X: Any, name: str) -> Any:
    """Divide labels or weights as X is; those of a dataframe are divided as they are."""
    if values is None or _is_frame(values):
        return values
    if not _is_array(values):
        values = np.asarray(values)
        if values.ndim == 0:
            raise ValueError(f"{name} must have a value for each row, got {values!r}.")
        if not _is_array(X) or np.isnan(X.shape[0]):
            raise TypeError(f"{name} must be a Dask collection with the partitions of X.")
        if len(values) != X.shape[0]:
            raise ValueError(f"X has {X.shape[0]} rows, and {name} has {len(values)}.")
        return np.split(values, np.cumsum(X.chunks[0])[:-1])
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ValueError(f"{name} must have one dimension, and has {values.ndim}.")
    if _is_array(X) and not np.isnan([*X.chunks[0], *values.chunks[0]]).any():
        if values.shape[0] != X.shape[0]:
            raise ValueError(f"X has {X.shape[0]} rows, and {name} has {values.shape[0]}.")
        values = values.rechunk((X.chunks[0],))
    return values


def _taken_apart(*collections: Any) -> list[Any]:
    """Tasks of the partitions of each; what is None or divided already is left as it is.

    Collections share the tasks that they have in common. Optimised each by itself, they would have
    fused them, and read a partition for X and again for y: in vain, and where it is random, X and y
    would be of different rows.
    """
    arrays = iter(_of_arrays([each for each in collections if _is_array(each)]))
    return [
        next(arrays) if _is_array(each) else _of_frame(each) if _is_frame(each) else each
        for each in collections
    ]


def _of_arrays(arrays: list[Any]) -> list[list[Delayed]]:
    if not arrays:
        return []
    keys = [array.__dask_keys__() for array in arrays]
    graph: Any = HighLevelGraph.merge(*(array.__dask_graph__() for array in arrays))
    graph = arrays[0].__dask_optimize__(graph, keys)
    return [_tasks(f"parts-{arrays[0].name}", graph, own) for own in keys]


def _of_frame(frame: Any) -> list[Delayed]:
    # Columns that nobody asks for are left out. More of its optimisations would put partitions of
    # files together, the more of them the fewer columns are read.
    if hasattr(frame, "simplify"):
        frame = frame.simplify()
    keys = frame.__dask_keys__()
    return _tasks(f"parts-{keys[0][0]}", frame.__dask_graph__(), keys)


def _tasks(name: str, graph: Any, keys: Any) -> list[Delayed]:
    graph = HighLevelGraph.from_collections(name, graph, dependencies=())
    return [Delayed(key, graph, layer=name) for key in flatten(keys)]


def _is_array(value: Any) -> bool:
    return isinstance(value, dask.array.Array)


def _is_frame(value: Any) -> bool:
    """Whether it is a dataframe or a series: of a module that need not be installed."""
    return dask.is_dask_collection(value) and hasattr(value, "map_partitions")


def is_collection(value: Any) -> bool:
    """Whether predictions of it are lazy."""
    return _is_array(value) or _is_frame(value)


def _known_rows(X: Any, n: int) -> list[int | None]:
    """Rows of the n partitions of X, where they are known ahead."""
    if not _is_array(X) or np.isnan(X.chunks[0]).any():
        return [None] * n
    return [int(rows) for rows in X.chunks[0]]
