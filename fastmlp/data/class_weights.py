"""Weights of the classes, as weights of the rows."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight

Array = NDArray[Any]


def class_weights(
    class_weight: dict[Any, float] | str | None,
    classes: Array,
    y: Array,
    sample_weight: NDArray[np.float64] | None,
) -> NDArray[np.float64] | None:
    """Find the weight of each class.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
        The parameter. A class that a dict leaves out has weight 1.
    classes : ndarray of shape (1,) or (2,)
        The classes of the model.
    y : ndarray of shape (n_samples,)
        The labels of the rows, which "balanced" counts.
    sample_weight : ndarray of shape (n_samples,), or None
        What each row counts for there.

    Returns
    -------
    ndarray of shape (n_classes,), or None
        None where all are 1.

    Raises
    ------
    ValueError
        If a dict names a class that the model does not have, or a weight is negative or not finite.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, str):
        if sample_weight is not None:
            y, sample_weight = y[sample_weight > 0], sample_weight[sample_weight > 0]
        # A class that no row counts for needs no weight.
        present, weights = np.unique(y), np.ones(len(classes))
        found = compute_class_weight(
            class_weight, classes=present, y=y, sample_weight=sample_weight
        )
        weights[np.isin(classes, present)] = found
        return weights
    known = classes.tolist()
    class_weight = {_plain(label): _plain(weight) for label, weight in class_weight.items()}
    unknown = [label for label in class_weight if label not in known]
    if unknown:
        raise ValueError(f"class_weight names {unknown}, and the classes are {known}.")
    of_labels = [class_weight.get(label, 1.0) for label in known]
    if not all(isinstance(weight, Real) and 0 <= float(weight) < np.inf for weight in of_labels):
        raise ValueError(f"class_weight must hold finite numbers, not negative: {class_weight}.")
    return np.array(of_labels, np.float64)


def _plain(value: Any) -> Any:
    """Take a number or a string of NumPy as Python's own, which a message shows as such."""
    return value.item() if isinstance(value, np.generic) else value


def weighted(
    sample_weight: NDArray[np.float64] | None,
    targets: NDArray[np.bool_],
    weights: NDArray[np.float64] | None,
) -> NDArray[np.float64] | None:
    """Multiply the weights of rows with those of their classes; None where all are 1.

    Raises
    ------
    ValueError
        If all products are 0, or if one is too large for a number.
    """
    if weights is None:
        return sample_weight
    of_rows = weights[targets.astype(np.intp)]
    product = of_rows if sample_weight is None else of_rows * sample_weight
    if not product.any():
        raise ValueError(
            "class_weight is 0 for every class that rows with a weight have, or its product with "
            "sample_weight is."
        )
    if not np.isfinite(product).all():
        raise ValueError("class_weight times sample_weight is too large for float64.")
    return product
