"""What an estimator is given, checked before any compiled code sees it."""

from __future__ import annotations

import math
from itertools import pairwise
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import type_of_target, unique_labels
from sklearn.utils.validation import _check_sample_weight, validate_data

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


def check_hidden_layer_sizes(sizes: Any) -> tuple[int, ...]:
    """Bring the parameter hidden_layer_sizes to a tuple of positive ints.

    Raises
    ------
    ValueError
        If an entry is not a positive integer.
    """
    entries = [sizes] if np.ndim(sizes) == 0 else list(sizes)
    entries = [
        entry.item() if isinstance(entry, np.ndarray) and entry.ndim == 0 else entry
        for entry in entries
    ]
    if not all(isinstance(n, Integral) and not isinstance(n, bool) for n in entries):
        raise ValueError(f"hidden_layer_sizes must be an int or a sequence of ints, got {sizes!r}.")
    if any(n <= 0 for n in entries):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {entries}.")
    return tuple(int(n) for n in entries)


def check_training_data(
    estimator: Any, X: Any, y: Any, sample_weight: ArrayLike | None, *, reset: bool
) -> tuple[Any, Array, Array, NDArray[np.float64] | None]:
    """Check X, y and the weights of the rows.

    Parameters
    ----------
    estimator : MLPBinaryClassifier
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
    X : ndarray, CSR or CSC of one of `DTYPES_OF_X`
    y : ndarray of shape (n_samples,)
    classes : ndarray of shape (1,) or (2,)
        The labels in y, sorted.
    sample_weight : ndarray of float64 of shape (n_samples,), or None

    Raises
    ------
    ValueError
        If X is not a finite table of numbers, if y does not hold one or two classes, if the weights
        are negative, not finite or all 0, or if the lengths differ.
    TypeError
        If y mixes labels that have no order, as strings and None.
    """
    check_sparse_structure(X)
    X, y = validate_data(estimator, X, y, multi_output=True, reset=reset, **CHECKS_OF_X)
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    try:
        # The distinct labels tell their type as well as all rows do, and are found only once.
        labels = np.unique(y) if y.ndim == 1 else y
        y_type = type_of_target(labels, input_name="y", raise_unknown=True)
    except TypeError as error:
        raise TypeError("y must hold labels that compare with one another.") from error
    if y_type != "binary":
        raise ValueError(
            f"Only binary classification is supported. The type of the target is {y_type}."
        )
    weight = None
    if sample_weight is not None:
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        # Older versions of scikit-learn let weights pass that are all 0.
        if not weight.any():
            raise ValueError("sample_weight must contain at least one non-zero number.")
    if labels.dtype.kind in "OU":
        labels = np.array(labels.tolist())  # of the shortest type for strings, as scikit-learn's
    return X, y, labels, weight


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
    estimator : MLPBinaryClassifier
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
    ):
        with np.errstate(over="ignore", invalid="ignore"):
            total = X.sum()
        if math.isfinite(total):
            return X
    check_sparse_structure(X)
    return validate_data(estimator, X, reset=False, **CHECKS_OF_X)


def check_classes(known: Array | None, classes: ArrayLike | None) -> Array:
    """Say which classes partial_fit is about.

    Parameters
    ----------
    known : ndarray or None
        The classes that the model was trained on before.
    classes : array-like or None
        The classes that the caller names.

    Returns
    -------
    ndarray of shape (1,) or (2,)
        The classes, sorted.

    Raises
    ------
    ValueError
        If there are none, if both are given and differ, or if they are more than two.
    """
    if classes is None:
        if known is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return known
    given = unique_labels(classes)
    if known is not None and not np.array_equal(known, given):
        raise ValueError(f"classes={classes!r} differ from those of earlier calls: {known}.")
    if len(given) > 2:
        raise ValueError(
            f"Only binary classification is supported. classes holds {len(given)} labels: {given}."
        )
    return np.asarray(given)


def check_labels(labels: Array, classes: Array, *, warm_start: bool) -> None:
    """Check the labels in y, where training goes on, against the classes of the model.

    Raises
    ------
    ValueError
        If y holds a label that is not in `classes`, or with `warm_start`, which repeats fit, if y
        lacks one of them.
    """
    # Sets, because numpy's set operations would turn the number 1 into the string "1".
    found, known = set(labels.tolist()), set(classes.tolist())
    if warm_start and found != known:
        raise ValueError(
            "warm_start can only be used where `y` has the same classes as in the previous call "
            f"to fit: {classes}. `y` has {labels}."
        )
    if not found <= known:
        raise ValueError(
            f"`y` has classes not in `self.classes_`: these are {classes}, and `y` has {labels}."
        )


def encode(y: Array, classes: Array) -> NDArray[np.bool_]:
    """Encode labels as 0 and 1, in bytes. A class that is alone is 0."""
    if len(classes) == 1:
        return np.zeros(len(y), dtype=np.bool_)
    return np.asarray(y == classes[1], dtype=np.bool_)


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


def check_parameters(
    coefs: Any, intercepts: Any, n_features: int
) -> tuple[list[Array], list[Array], tuple[int, ...]]:
    """Check that ``coefs_`` and ``intercepts_`` make a network, because users may edit them.

    Parameters
    ----------
    coefs : sequence of array-like of shape (fan_in, fan_out)
        The weights.
    intercepts : sequence of array-like of shape (fan_out,)
        The biases.
    n_features : int
        The width of the input.

    Returns
    -------
    coefs : list of ndarray
    intercepts : list of ndarray
    widths : tuple of int
        Units of every layer, from the input to the output.

    Raises
    ------
    ValueError
        If the shapes do not follow from one another, or do not end in one unit.
    """
    coefs = [np.asarray(weights) for weights in coefs]
    intercepts = [np.asarray(bias) for bias in intercepts]
    if not coefs or len(coefs) != len(intercepts):
        raise ValueError(
            f"coefs_ and intercepts_ must hold an array for each layer, but hold {len(coefs)} and "
            f"{len(intercepts)}."
        )
    for layer, (weights, bias) in enumerate(zip(coefs, intercepts, strict=True)):
        if weights.dtype.kind not in "fiub" or bias.dtype.kind not in "fiub":
            raise ValueError(f"coefs_[{layer}] and intercepts_[{layer}] must hold real numbers.")
        if weights.ndim != 2 or bias.shape != weights.shape[1:]:
            raise ValueError(
                f"coefs_[{layer}] has shape {weights.shape} and intercepts_[{layer}] has shape "
                f"{bias.shape}, but they must be (fan_in, fan_out) and (fan_out,)."
            )
    widths = (n_features, *(weights.shape[1] for weights in coefs))
    for layer, (weights, shape) in enumerate(zip(coefs, pairwise(widths), strict=True)):
        if weights.shape != shape:
            raise ValueError(f"coefs_[{layer}] has shape {weights.shape} in place of {shape}.")
    if widths[-1] != 1:
        raise ValueError(f"The last of coefs_ must have one column, but has {widths[-1]}.")
    return coefs, intercepts, widths
