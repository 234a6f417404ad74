"""What fit is given, and what the checks make of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike, NDArray

from fastmlp.data.checks import CheckedData, TrainingData
from fastmlp.data.split import Parameters
from fastmlp.estimators.attributes import FITTED, SET_BY_CHECKS


@dataclass(frozen=True)
class Given:
    """The arguments of fit or partial_fit, as the user gave them."""

    X: Any
    y: ArrayLike
    sample_weight: ArrayLike | None = None
    X_val: Any = None
    y_val: ArrayLike | None = None
    sample_weight_val: ArrayLike | None = None


@dataclass(frozen=True)
class Problem:
    """What a network is to be trained on, and who asks.

    Attributes
    ----------
    estimator : estimator
        Whose call this is.
    draft : estimator
        A stand-in with the same attributes, on which the checks have left theirs.
    given : Given
        As the user gave it.
    checked : CheckedData
        The same in arrays.
    data : TrainingData
        The same as kernels read it, with the weights of the classes in those of the rows.
    class_weights : ndarray of shape (n_classes,), or None
        Weights of the classes.
    """

    estimator: Any
    draft: Any
    given: Given
    checked: CheckedData
    data: TrainingData
    class_weights: NDArray[Any] | None

    def attributes(self, parameters: Parameters) -> dict[str, Any]:
        """Attributes by which an estimator predicts with these weights and biases."""
        left = {name: vars(self.draft)[name] for name in SET_BY_CHECKS if name in vars(self.draft)}
        return {**left, "classes_": self.data.classes, **network_attributes(parameters)}

    def fitted(self, parameters: Parameters) -> Any:
        """Make an estimator that predicts with these weights and biases, for a look at it.

        It has nothing of an earlier call, whose histories it would add to if it were trained.
        """
        model = object.__new__(type(self.draft))
        kept = {name: value for name, value in vars(self.draft).items() if name not in FITTED}
        model.__dict__.update(kept, **self.attributes(parameters))
        return model


def network_attributes(parameters: Parameters) -> dict[str, Any]:
    """Attributes of an estimator that say which network it has."""
    coefs, intercepts = parameters
    return {
        "coefs_": coefs,
        "intercepts_": intercepts,
        "n_layers_": len(coefs) + 1,
        "n_outputs_": 1,
        "out_activation_": "logistic",
    }
