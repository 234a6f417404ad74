"""A partition of a table, packed for training, and the shard that several of them make."""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.utils import check_array, column_or_1d

from fastmlp.data.checks import DTYPES_OF_X, check_fits_in
from fastmlp.data.labels import labels_of
from fastmlp.data.parts import Part
from fastmlp.runtime.cpu import VECTOR_BYTES
from fastmlp.version import __version__

Array = NDArray[Any]


class BlockRows(NamedTuple):
    """Rows of a block: features, numbers of the labels among the block's, and weights or None."""

    X: Array
    codes: NDArray[np.uint8]
    weight: NDArray[np.float64] | None


@dataclass(frozen=True)
class Block:
    """A partition, checked.

    Attributes
    ----------
    trained, held_out : BlockRows
        To train on, and to validate on.
    labels : ndarray
        The labels in it, sorted.
    """

    trained: BlockRows
    held_out: BlockRows
    labels: Array

    @property
    def _arrays(self) -> list[Array]:
        return [a for rows in (self.trained, self.held_out) for a in rows if a is not None]

    @property
    def n_bytes(self) -> int:
        """Memory of its arrays."""
        return sum(array.nbytes for array in self._arrays)

    @property
    def digest(self) -> int:
        """A number that other rows, or the same in another order, do not have."""
        arrays = map(np.ascontiguousarray, self._arrays)
        first = zlib.crc32(repr(self.labels.tolist()).encode())
        return reduce(lambda digest, array: zlib.crc32(array.data, digest), arrays, first)

    def __sizeof__(self) -> int:
        # By which Dask decides where tasks are done, and what goes to disk.
        return object.__sizeof__(self) + self.n_bytes


@dataclass(frozen=True)
class Packing:
    """How partitions are packed.

    Attributes
    ----------
    dtype : dtype or None
        What X is stored in; None for its own.
    share : float
        Share of the rows to hold out.
    seed : int
        What they are drawn from, with the number of the partition.
    name : str
        What messages call a partition.
    """

    dtype: np.dtype[Any] | None
    share: float = 0.0
    seed: int = 0
    name: str = "partition"


@dataclass(frozen=True)
class Info:
    """What a client needs to know of a block.

    Attributes
    ----------
    name, number : str, int
        What the partition is called.
    n_rows, n_held_out, n_features : int
        Rows to train on and to validate on, and columns.
    dtype : dtype
        Of X.
    names : tuple of str, or None
        Names of the columns.
    labels : ndarray
        In it, sorted.
    weights, held_out : dict of label to float
        Σ weights of the rows to train on, and to validate on, of each label.
    n_bytes : int
        Memory of the block.
    digest : int
        Of its rows, by which they are known again.
    software : tuple
        Version of the package, and width of its vectors, where it was packed.
    """

    name: str
    number: int
    n_rows: int
    n_held_out: int
    n_features: int
    dtype: np.dtype[Any]
    names: tuple[Any, ...] | None
    labels: Array
    weights: dict[Any, float]
    held_out: dict[Any, float]
    n_bytes: int
    digest: int
    software: tuple[str, int]


def pack(X: Any, y: Any, weight: Any, number: int, packing: Packing) -> tuple[Block, Info]:
    """Check a partition, and pack it.

    Parameters
    ----------
    X : array-like of shape (n, n_features)
        The features; rows that lie one after the other in memory are not copied.
    y : array-like of shape (n,)
        The labels.
    weight : array-like of shape (n,), or None
        The weights.
    number : int
        Of the partition.
    packing : Packing
        How it is packed.

    Raises
    ------
    ValueError, TypeError
        If it is not as `fit` asks; the message begins with the partition's name and number.
    """
    try:
        rows, labels, names = _checked(X, y, weight, packing.dtype)
    except (ValueError, TypeError) as error:
        raise type(error)(f"{packing.name} {number}: {error}") from error
    n, none = len(rows.codes), slice(0, 0)
    if packing.share >= 1:
        block = Block(_some(rows, none), rows, labels)
    elif packing.share > 0:
        # Row by row, so that a partition of few rows gives its share too, on average.
        is_out = np.random.default_rng([packing.seed, number]).random(n) < packing.share
        block = Block(_some(rows, ~is_out), _some(rows, is_out), labels)
    else:
        block = Block(rows, _some(rows, none), labels)
    return block, _info(block, names, packing.name, number)


def _checked(
    X: Any, y: Any, weight: Any, dtype: np.dtype[Any] | None
) -> tuple[BlockRows, Array, tuple[Any, ...] | None]:
    """Check rows, labels and weights; returns the rows, the labels in y, and names of columns."""
    if issparse(X):
        raise TypeError(
            "X is sparse, which a cluster's shards cannot be. Make its partitions dense: "
            "X.map_blocks(lambda block: block.toarray(), dtype=X.dtype); or take "
            "MLPBinaryClassifier."
        )
    names = tuple(X.columns) if hasattr(X, "columns") else None
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    X = check_array(X, dtype=DTYPES_OF_X, ensure_min_samples=0, input_name="X")
    y = column_or_1d(y) if np.ndim(y) != 1 else np.asarray(y)
    if not n == len(X) == len(y):
        raise ValueError(f"X has {n} rows, and y has {len(y)}.")
    if dtype is not None:
        check_fits_in(dtype, X)
        X = X.astype(dtype, copy=False)
    X = np.require(X, None, ("C", "A"))
    if n == 0:
        labels, codes = np.asarray(y)[:0], np.empty(0, np.uint8)
    else:
        y, labels = labels_of(y)
        codes = (y == labels[-1]).astype(np.uint8) if len(labels) == 2 else np.zeros(n, np.uint8)
    if weight is not None:
        weight = np.asarray(weight)
        if weight.shape != (n,):
            raise ValueError(f"X has {n} rows, and sample_weight has shape {weight.shape}.")
        if n:
            weight = check_array(
                weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
            )
            if weight.min() < 0:
                raise ValueError("Negative values in data passed to sample_weight.")
        weight = weight.astype(np.float64, copy=False)
    return BlockRows(X, codes, weight), labels, names


def stored_dtype(X: Any, asked: np.dtype[Any] | None) -> Any:
    """What `pack` stores an array or a frame in; one that is not here yet will do."""
    if asked is not None:
        return asked
    dtypes = list(X.dtypes) if hasattr(X, "dtypes") else [X.dtype]
    # As check_array: extension types of pandas, too, become the first one.
    if dtypes and all(isinstance(dtype, np.dtype) for dtype in dtypes):
        dtype = np.result_type(*dtypes)
        return dtype if dtype in DTYPES_OF_X else DTYPES_OF_X[0]
    return DTYPES_OF_X[0]


def row_bytes(n_features: int, dtype: Any, *, weighted: bool) -> int:
    """Bytes of a row: its features, one of two classes, and its weight."""
    return n_features * int(np.dtype(dtype).itemsize) + (9 if weighted else 1)


def _some(rows: BlockRows, which: Any) -> BlockRows:
    weight = None if rows.weight is None else rows.weight[which]
    return BlockRows(rows.X[which], rows.codes[which], weight)


def _info(block: Block, names: tuple[Any, ...] | None, name: str, number: int) -> Info:
    trained, held_out = block.trained, block.held_out
    labels = block.labels.tolist()
    weights, held_weights = (
        dict(zip(labels, np.bincount(r.codes, r.weight, len(labels)).tolist(), strict=True))
        for r in (trained, held_out)
    )
    return Info(
        name=name,
        number=number,
        n_rows=len(trained.codes),
        n_held_out=len(held_out.codes),
        n_features=trained.X.shape[1],
        dtype=trained.X.dtype,
        names=names,
        labels=block.labels,
        weights=weights,
        held_out=held_weights,
        n_bytes=block.n_bytes,
        digest=block.digest,
        software=(__version__, VECTOR_BYTES),
    )


@dataclass(frozen=True)
class Shard:
    """Blocks that are trained on together, where they lie.

    Attributes
    ----------
    blocks : tuple of Block
        In the order of the partitions.
    classes : ndarray of shape (1,) or (2,)
        The labels of the model.
    dtype : dtype
        Of the rows in a window.
    class_weights : ndarray of shape (n_classes,), or None
        By which weights of rows are multiplied.
    """

    blocks: tuple[Block, ...]
    classes: Array
    dtype: np.dtype[Any]
    class_weights: Array | None

    @property
    def n_rows(self) -> int:
        """Rows to train on."""
        return self._ends[-1] if self._ends else 0

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in a window."""
        n_features = self.blocks[0].trained.X.shape[1] if self.blocks else 0
        return row_bytes(n_features, self.dtype, weighted=self._weighted)

    @property
    def n_bytes(self) -> int:
        """Memory of the blocks."""
        return sum(block.n_bytes for block in self.blocks)

    def __sizeof__(self) -> int:
        return object.__sizeof__(self) + self.n_bytes

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(len(block.trained.codes) for block in self.blocks))

    @cached_property
    def _targets(self) -> list[Array]:
        """For each block, the targets that its codes stand for."""
        known = len(self.classes) > 1  # of one class, nothing tells which of two it is
        return [
            np.array([known and label == self.classes[-1] for label in block.labels.tolist()], bool)
            for block in self.blocks
        ]

    @cached_property
    def _weighted(self) -> bool:
        weights = any(block.trained.weight is not None for block in self.blocks)
        return weights or self.class_weights is not None

    def room(self, n_rows: int) -> Part:
        """Memory for so many rows."""
        n_features = self.blocks[0].trained.X.shape[1]
        return Part.empty(n_rows, n_features, self.dtype, weighted=self._weighted)

    def read(self, first: int, into: Part) -> None:
        """Copy rows to train on, from this one on; see `data.parts.Store`."""
        done, n = 0, into.n_rows
        k = bisect_right(self._ends, first)
        while done < n:
            rows = self.blocks[k].trained
            begin = first + done - (self._ends[k] - len(rows.codes))
            end = min(begin + n - done, len(rows.codes))
            into.put(done, self._part(self._targets[k], rows, begin, end))
            done, k = done + end - begin, k + 1

    def parts(self, n_rows: int, *, held_out: bool) -> Iterator[Part]:
        """Go through all rows to validate on, or to train on, in parts of at most so many."""
        for block, targets in zip(self.blocks, self._targets, strict=True):
            rows = block.held_out if held_out else block.trained
            for begin in range(0, len(rows.codes), n_rows):
                yield self._part(targets, rows, begin, min(begin + n_rows, len(rows.codes)))

    def _part(self, targets_of: Array, rows: BlockRows, first: int, last: int) -> Part:
        targets = targets_of[rows.codes[first:last]]
        weight = None if rows.weight is None else rows.weight[first:last]
        if self._weighted and weight is None:
            weight = np.ones(last - first)
        if self.class_weights is not None and weight is not None:
            weight = weight * self.class_weights[targets.astype(np.intp)]
        return Part(rows.X[first:last], targets, weight)


def make_shard(
    blocks: Sequence[tuple[Block, Info]],
    classes: Array,
    dtype: np.dtype[Any],
    class_weights: Array | None,
) -> Shard:
    """Make a shard of packed partitions; those without rows are left out."""
    kept = tuple(b for b, info in blocks if info.n_rows or info.n_held_out)
    return Shard(kept, classes, dtype, class_weights)
