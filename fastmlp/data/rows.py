"""How kernels reach the rows of X: where it lies, its type and strides, or its CSR arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from fastmlp.kernels.take_rows import SOURCES

Csr = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Rows:
    """The rows of X for the kernels; it keeps what they point to alive.

    Attributes
    ----------
    n_samples, n_features : int
        Shape of X.
    array : ndarray or None
        X where it is dense.
    csr : tuple of ndarray
        indices (int32), indptr (int64) where X is sparse, else two empty arrays.
    values : ndarray
        The numbers of a sparse X, of the network's dtype; else empty.
    """

    n_samples: int
    n_features: int
    array: np.ndarray | None
    csr: Csr
    values: np.ndarray

    @property
    def source(self) -> np.dtype[Any] | None:
        """Type of the numbers of a dense X, which kernels read; None where it is sparse."""
        return None if self.array is None else self.array.dtype

    def values_of_refs(self) -> dict[str, int]:
        """Addresses and distances, by the names that the records of kernels have for them."""
        if self.array is None:
            indices, indptr = self.csr
            arrays = {"values": self.values, "indices": indices, "indptr": indptr}
            return {name: array.ctypes.data for name, array in arrays.items()}
        x_row, x_column = self.array.strides
        return {"x": self.array.ctypes.data, "x_row": x_row, "x_column": x_column}

    def memory(self) -> tuple[np.ndarray | None, Csr, np.ndarray]:
        """What the addresses point to."""
        return self.array, self.csr, self.values


def _no_csr() -> Csr:
    return np.empty(0, np.int32), np.empty(0, np.int64)


class _Address:
    """Memory as NumPy takes it over, by its array interface."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array  # keeps the memory alive
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}


def _plain(array: np.ndarray, dtype: type | np.dtype) -> np.ndarray:
    """The numbers of an array in a contiguous, aligned array of `dtype`, shared if it is one.

    To numba a read-only array (what joblib hands to its workers) is another type, for which it
    would compile everything anew. Kernels only read here, so they may see it as any other array.
    """
    array = np.require(array, dtype, ("C", "A", "E"))
    return array if array.flags.writeable else np.asarray(_Address(array))


def as_rows(X: Any, dtype: np.dtype) -> Rows:
    """Rows of a validated X, read in place where kernels can.

    Parameters
    ----------
    X : ndarray or CSR/CSC matrix or array of shape (n_samples, n_features)
        Dense X of a native bool, integer, float32 or float64 type is not copied, but for
        column-major X: reading its rows would touch a cache line a number, so it is copied once
        into rows of `dtype`. Other types are converted. CSR arrays are shared where their types
        allow it (data of `dtype`); CSC is converted.
    dtype : numpy.dtype
        float32 or float64.

    Raises
    ------
    ValueError
        If a sparse X has more features than 32 bits can count.
    """
    n_samples, n_features = X.shape
    if sparse.issparse(X):
        if n_features > np.iinfo(np.int32).max:
            raise ValueError(f"A sparse X can have {np.iinfo(np.int32).max} features at most.")
        matrix = X.tocsr()
        csr = _plain(matrix.indices, np.int32), _plain(matrix.indptr, np.int64)
        values = np.require(matrix.data, dtype, ("C", "A", "E"))
        return Rows(n_samples, n_features, None, csr, values)
    if X.dtype not in SOURCES:
        X = X.astype(dtype, order="C")
    if n_features > 1 and n_samples > 1 and abs(X.strides[0]) < abs(X.strides[1]):
        X = X.astype(dtype, order="C")
    return Rows(n_samples, n_features, X, _no_csr(), np.empty(0, dtype))
