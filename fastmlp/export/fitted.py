"""What leaves with a model: its weights, checked, the activations of its layers and its classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from fastmlp.training.weights import (
    Activations,
    Weights,
    check_activation,
    check_finite,
    check_parameters,
)

Array = NDArray[Any]


@dataclass(frozen=True)
class Fitted:
    """A fitted network.

    Attributes
    ----------
    weights : Weights
        Copies, in the dtype that the network works in.
    activations : tuple of str or Activation
        Of each hidden layer.
    classes : ndarray of shape (2,) or (1,)
        The labels.
    """

    weights: Weights
    activations: Activations
    classes: Array


def fitted(estimator: Any) -> Fitted:
    """Take the network from an estimator.

    Raises
    ------
    NotFittedError
        If the estimator has no weights.
    ValueError
        If the weights make no network, because they were edited, or are not finite, or if
        activation names none for each layer.
    """
    if "coefs_" not in vars(estimator):
        check_is_fitted(estimator)
    # One copy of all attributes, in one step: another thread may be fitting this estimator.
    attributes = vars(estimator).copy()
    given = attributes["coefs_"], attributes["intercepts_"]
    weights = check_parameters(*given, attributes["n_features_in_"])
    check_finite(weights.coefs, weights.intercepts)
    coefs, intercepts = (
        [array.astype(weights.dtype) for array in arrays]
        for arrays in (weights.coefs, weights.intercepts)
    )
    return Fitted(
        Weights(coefs, intercepts, weights.widths),
        check_activation(attributes["activation"], len(coefs) - 1),
        np.array(attributes["classes_"]),
    )
