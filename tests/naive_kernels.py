"""NumPy twins of the kernels that `naive` has no name for: products, rows of X, sparse rows."""

import numpy as np


def product(A, B, start, gate=None, floor=-np.inf, *, times=False):
    """C = max(floor, start + A·B), and 0 where the gate is 0, or times the gate; NaN stays NaN."""
    C = np.asarray(start) + A @ B
    C = np.maximum(C, C.dtype.type(floor))
    if gate is None:
        return C
    return C * gate if times else np.where(gate == 0, np.zeros((), C.dtype), C)


def product_error(A, B, start):
    """A bound on the rounding errors of `product`, for sums in any order."""
    terms = A.shape[1] + 1
    size = np.abs(start) + np.abs(A).astype(np.float64) @ np.abs(B).astype(np.float64)
    return terms * np.finfo(A.dtype).eps * size


def whole_vectors(columns, lanes):
    """Columns rounded up to whole vectors."""
    return -(-columns // lanes) * lanes


def take_rows(X, order, dtype):
    """The rows of X that the order names, in another dtype."""
    rows = X if order is None else X[order]
    with np.errstate(over="ignore"):
        return rows.astype(dtype)


def dense(csr, n_features):
    """The rows of (data, indices, indptr); entries of one place add up."""
    data, indices, indptr = csr
    X = np.zeros((len(indptr) - 1, n_features), data.dtype)
    for row in range(len(indptr) - 1):
        for k in range(indptr[row], indptr[row + 1]):
            X[row, indices[k]] += data[k]
    return X
