"""Where the bins of a column begin and end: at quantiles, or where a decision tree cuts."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# Of more rows, about so many are looked at, the same ones each time: edges hardly move with more.
MOST_ROWS = 100_000

_TINY = np.finfo(np.float64).tiny


def column_edges(
    x: Array,
    y: Array | None,
    n_bins: int,
    min_samples_leaf: int,
    sample_weight: Array | None = None,
    dtype: Any = np.float64,
    ends: tuple[float, float] | None = None,
) -> NDArray[np.float64]:
    """Find the edges of the bins of a column.

    Parameters
    ----------
    x : ndarray of shape (n,)
        The column. Rows with NaN are left out.
    y : ndarray of bool or int of shape (n,), or None
        Codes of classes, from 0 on: the edges are the cuts of a classification tree of `n_bins`
        leaves, grown best first by Gini impurity. None: they are quantiles, which are values of the
        column.
    n_bins : int
        Number of bins at most.
    min_samples_leaf : int
        The rows that a leaf of the tree has at least.
    sample_weight : ndarray of shape (n,), or None
        Weights of the rows; those of weight 0 are left out.
    dtype : dtype, default=float64
        The type of the numbers that the bins are for, in which edges must differ.
    ends : tuple of two float, default=None
        The least and the greatest value of the column, where `x` has some of its rows only.

    Returns
    -------
    ndarray of float64
        Strictly increasing, from the least value to the greatest, each a number of `dtype`; two
        edges at least. Empty where the column has not two values.
    """
    x = np.ascontiguousarray(x)  # a column of a large table is slow to reach, and is read often
    present = ~np.isnan(x)
    if sample_weight is not None:
        present &= sample_weight > 0
    if not present.all():
        x, y = x[present], None if y is None else y[present]
        sample_weight = None if sample_weight is None else sample_weight[present]
    if len(x) == 0:
        return np.empty(0)
    if ends is None:
        ends = x.min(), x.max()
    if len(x) > MOST_ROWS:
        rows = _some_rows(len(x))
        x, y = x[rows], None if y is None else y[rows]
        sample_weight = None if sample_weight is None else sample_weight[rows]
    order = np.argsort(x, kind="stable")
    x = x[order].astype(np.float64)
    weight = np.ones(len(x)) if sample_weight is None else sample_weight[order].astype(np.float64)
    if y is None:
        cuts = _quantiles(x, weight, n_bins).tolist()
    else:
        cuts = _tree_cuts(x, y[order].astype(np.intp), weight, n_bins, min_samples_leaf)
    edges = np.unique(np.array([*ends, *cuts], dtype=dtype)).astype(np.float64)
    return edges if len(edges) > 1 else np.empty(0)


def _some_rows(n: int) -> Array:
    """About MOST_ROWS of n rows: one at random out of each of as many stretches of equal length."""
    uniform = np.random.RandomState(0).random_sample(MOST_ROWS)  # the same in all versions of NumPy
    return np.unique(((np.arange(MOST_ROWS) + uniform) * (n / MOST_ROWS)).astype(np.intp))


def _quantiles(x: Array, weight: Array, n_bins: int) -> Array:
    """Values of a sorted column up to which there is each multiple of 1 / n_bins of the weight."""
    up_to = np.cumsum(weight)
    shares = np.arange(1, n_bins) / n_bins * up_to[-1]
    found: Array = x[np.minimum(np.searchsorted(up_to, shares), len(x) - 1)]
    return found


def _tree_cuts(
    x: Array, y: Array, weight: Array, n_leaves: int, min_samples_leaf: int
) -> list[float]:
    """Cuts of a sorted column by a tree with one feature.

    scikit-learn's DecisionTreeClassifier makes the same ones, and sorts the rows of each node anew,
    which takes several times as long.
    """
    is_first = np.concatenate([[True], x[1:] > x[:-1]])
    starts = np.flatnonzero(is_first)
    values = x[starts]
    # Up to each value: the number of rows, their weight, and of it the parts of the classes. Of two
    # classes the second says it all.
    n_classes = int(y.max()) + 1
    counted = range(1, 2) if n_classes == 2 else range(n_classes)
    count = np.append(starts, len(x))
    all_up_to = _up_to(weight, count)
    class_up_to = [_up_to(weight * (y == k), count) for k in counted]
    nodes: list[tuple[float, int, int, int]] = []  # minus gain, first value, cut, end

    def add(first: int, end: int) -> None:
        """Put a node with its best cut on the heap, if it can be cut."""
        low = max(int(np.searchsorted(count, count[first] + min_samples_leaf)), first + 1)
        high = int(np.searchsorted(count, count[end] - min_samples_leaf, side="right"))
        high = min(high, end)
        if low >= high:
            return
        total = all_up_to[end] - all_up_to[first]
        parts = [(each[end] - each[first]) / total for each in class_up_to]
        if all(part < 1e-12 or part > 1 - 1e-12 for part in parts):
            return
        # The impurity that a cut takes away is, but for a factor, Σ d² / (left * right) over the
        # classes, where d is what the left leaf has of a class beyond its share.
        left = all_up_to[low:high] - all_up_to[first]
        gains = np.zeros(high - low)
        for each, part in zip(class_up_to, parts, strict=True):
            d = each[low:high] - each[first]
            d -= left * part
            d *= d
            gains += d
        gains /= np.maximum(left * (total - left), _TINY)
        best = int(np.argmax(gains))
        heapq.heappush(nodes, (-total * float(gains[best]), first, low + best, end))

    add(0, len(values))
    cuts: list[float] = []
    while nodes and len(cuts) < n_leaves - 1:
        _, first, cut, end = heapq.heappop(nodes)
        # Halves first: the sum of two large values may overflow.
        cuts.append(float(values[cut - 1] / 2 + values[cut] / 2))
        add(first, cut)
        add(cut, end)
    return cuts


def _up_to(weight: Array, count: Array) -> Array:
    """Sums of weights over the first `count` rows."""
    sums: Array = np.concatenate([[0.0], np.cumsum(weight)])[count]
    return sums
