"""X, y and the weights of the rows, checked before any compiled code sees them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import _check_sample_weight, validate_data

from fastmlp.data.labels import labels_of
from fastmlp.data.rows import Rows

Array = NDArray[Any]

# X keeps these dtypes: rows are converted one block at a time while they are read, so that a table
# of bytes never grows to a table of float64. Everything else becomes float64, the first one.
DTYPES_OF_X = (
    np.float64,
    np.float32,
    np.bool_,
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
)
CHECKS_OF_X: dict[str, Any] = {"accept_sparse": ("csr", "csc"), "dtype": DTYPES_OF_X}


@dataclass(frozen=True)
class CheckedData:
    """What fit was given, checked.

    Attributes
    ----------
    X : ndarray, CSR or CSC of one of `DTYPES_OF_X`
        The features.
    y : ndarray of shape (n_samples,)
        The labels of the rows.
    labels : ndarray of shape (1,) or (2,)
        The labels in y, sorted.
    sample_weight : ndarray of float64 of shape (n_samples,), or None
        The weights of the rows.
    """

    X: Any
    y: Array
    labels: Array
    sample_weight: NDArray[np.float64] | None


@dataclass(frozen=True)
class TrainingData:
    """What a network is trained on.

    Attributes
    ----------
    rows : Rows
        The features, as kernels read them.
    targets : ndarray of bool of shape (n_samples,)
        1 for the last of `classes`.
    sample_weight : ndarray of float64 of shape (n_samples,), or None
        The weights of the rows.
    classes : ndarray of shape (1,) or (2,)
        The labels that the model knows, sorted.
    """

    rows: Rows
    targets: NDArray[np.bool_]
    sample_weight: NDArray[np.float64] | None
    classes: Array


def check_training_data(
    estimator: Any, X: Any, y: Any, sample_weight: ArrayLike | None, *, reset: bool
) -> CheckedData:
    """Check X, y and the weights of the rows.

    Parameters
    ----------
    estimator : estimator
        Takes on the number and names of the features if `reset`, else they must be the ones it has.
    X : array-like or sparse of shape (n_samples, n_features)
        The features.
    y : array-like of shape (n_samples,)
        The labels.
    sample_weight : array-like of shape (n_samples,), float or None
        The weights of the rows.
    reset : bool
        Whether training starts anew.

    Returns
    -------
    CheckedData
        The same in arrays.

    Raises
    ------
    ValueError
        If X is not a finite table of numbers, if y does not hold one or two classes, if the weights
        are negative, not finite or all 0, or if the lengths differ.
    TypeError
        If y mixes labels that have no order, as strings and None, or holds bytes.
    """
    check_sparse_structure(X)
    X, y = validate_data(estimator, X, y, multi_output=True, reset=reset, **CHECKS_OF_X)
    y, labels = labels_of(y)
    return CheckedData(X, y, labels, check_weights(sample_weight, X))


def check_weights(sample_weight: ArrayLike | None, X: Any) -> NDArray[np.float64] | None:
    """Check the weights of the rows of X, if there are any.

    Raises
    ------
    ValueError
        If they are negative, not finite or all 0, or not as many as X has rows.
    """
    if sample_weight is None:
        return None
    weight: NDArray[np.float64] = _check_sample_weight(
        sample_weight, X, dtype=np.float64, ensure_non_negative=True
    )
    # Older versions of scikit-learn let weights pass that are all 0.
    if not weight.any():
        raise ValueError("sample_weight must contain at least one non-zero number.")
    return weight


def check_validation_data(
    estimator: Any, X_val: Any, y_val: Any, sample_weight_val: ArrayLike | None, classes: Array
) -> CheckedData:
    """Check rows that are given for validation, as `check_training_data` does.

    Parameters
    ----------
    estimator : estimator
        Has the number and names of the features.
    X_val, y_val, sample_weight_val
        Rows, labels, and weights or None.
    classes : ndarray
        The labels that the model knows.

    Raises
    ------
    ValueError, TypeError
        As there, with a message that begins with the names of these arguments; and if y_val holds a
        label that is not in `classes`.
    """
    try:
        checked = check_training_data(estimator, X_val, y_val, sample_weight_val, reset=False)
    except (ValueError, TypeError) as error:
        raise type(error)(f"X_val, y_val or sample_weight_val: {error}") from error
    check_validation_labels(checked.labels, classes)
    return checked


def check_validation_labels(labels: Array, classes: Array) -> None:
    """ValueError if y_val holds a label that y has not."""
    if not set(labels.tolist()) <= set(classes.tolist()):
        raise ValueError(
            f"y_val has labels that y has not: y has {classes}, and y_val has {labels}."
        )


def check_sparse_structure(X: Any) -> None:
    """Check that a CSR or CSC X names only entries and features that it has.

    SciPy takes over the three arrays unread, and compiled code, its own included, would write
    outside of its buffers where an index is too large.

    Raises
    ------
    ValueError
        If an index or a pointer to the indices is out of range.
    """
    if not scipy.sparse.issparse(X) or X.format not in ("csr", "csc"):
        return
    n_major, n_minor = X.shape if X.format == "csr" else X.shape[::-1]
    pointers, indices = X.indptr, X.indices
    if not (
        pointers.shape == (n_major + 1,)
        and indices.ndim == X.data.ndim == 1
        and pointers.dtype.kind == indices.dtype.kind == "i"
        and pointers[0] == 0
        and pointers[-1] <= min(len(indices), len(X.data))
        and np.all(pointers[1:] >= pointers[:-1])
        and (len(indices) == 0 or (indices.min() >= 0 and indices.max() < n_minor))
    ):
        raise ValueError(
            "Input X is a damaged sparse matrix: its indices or indptr are out of range "
            "(X.check_format() tells more)."
        )


def check_prediction_data(estimator: Any, X: Any) -> Any:
    """Check the X of a prediction against the estimator's features.

    A plain array of floats that leaves nothing to check passes in microseconds; a server that
    predicts row by row spends most of its time here.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    X : array-like or sparse of shape (n_samples, n_features)
        The features.

    Returns
    -------
    ndarray, CSR or CSC of one of `DTYPES_OF_X`

    Raises
    ------
    ValueError
        If X is not a finite table of numbers, with the features that the estimator was fitted with.
    """
    if (
        type(X) is np.ndarray
        and X.dtype in (np.float32, np.float64)
        and X.ndim == 2
        and len(X) > 0
        and X.shape[1] == estimator.n_features_in_
        and not hasattr(estimator, "feature_names_in_")
        and math.isfinite(X.sum())  # where the sum overflows, the slow way decides
    ):
        return X
    check_sparse_structure(X)
    return validate_data(estimator, X, reset=False, **CHECKS_OF_X)


def check_fits_in(dtype: np.dtype[Any], X: Any) -> None:
    """Check that the numbers in X are finite in the dtype that a network works in.

    Parameters
    ----------
    dtype : dtype
        float32 or float64.
    X : ndarray, CSR or CSC
        Finite numbers.

    Raises
    ------
    ValueError
        If `dtype` is float32, and cannot hold one of the numbers.
    """
    if dtype != np.float32 or X.dtype != np.float64:
        return
    values = X.data if scipy.sparse.issparse(X) else X
    limit = float(np.finfo(np.float32).max)
    # Two reductions read the values twice but write nothing; abs() would copy them.
    if values.size and (values.max() > limit or values.min() < -limit):
        raise ValueError(
            "Input X contains a value too large for dtype('float32'), in which this network "
            "works. Scale X, or fit with dtype='float64'."
        )
