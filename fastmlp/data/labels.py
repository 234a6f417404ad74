"""The labels in y: which there are, which a model knows, and how they are encoded."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import type_of_target, unique_labels

Array = NDArray[Any]


def labels_of(y: Array) -> tuple[Array, Array]:
    """Find the labels in y.

    Parameters
    ----------
    y : ndarray
        A label for each row, if it is as it should be; a single column warns.

    Returns
    -------
    y : ndarray of shape (n_samples,)
        The labels of the rows.
    labels : ndarray of shape (1,) or (2,)
        The distinct ones, sorted.

    Raises
    ------
    ValueError
        If y does not hold one or two classes.
    TypeError
        If its labels have no order, as strings and None, or are bytes.
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    try:
        # The distinct labels tell their type as well as all rows do, and are found only once.
        labels = np.unique(y) if y.ndim == 1 else y
    except TypeError as error:
        raise TypeError("y must hold labels that compare with one another.") from error
    y_type = type_of_target(labels, input_name="y", raise_unknown=True)
    if y_type != "binary":
        raise ValueError(
            f"Only binary classification is supported. The type of the target is {y_type}."
        )
    if labels.dtype.kind in "OU":
        labels = np.array(labels.tolist())  # of the shortest type for strings, as scikit-learn's
    return y, _native(labels)


def _native(labels: Array) -> Array:
    """Labels in the machine's order of bytes, to which joblib turns them too when it loads them."""
    return labels.astype(labels.dtype.newbyteorder("="), copy=False)


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
    return _native(np.asarray(given))


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
