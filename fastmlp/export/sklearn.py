"""To scikit-learn's MLPClassifier and back."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.neural_network import MLPClassifier
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_is_fitted

from fastmlp.export.fitted import Fitted, fitted
from fastmlp.training.weights import check_parameters

Array = NDArray[Any]

#: What MLPClassifier has for hidden layers, one for all of them.
_ACTIVATIONS = ("identity", "logistic", "tanh", "relu")

#: Fitted attributes that both have, with the same meaning, where training has left them.
_SHARED = (
    "n_iter_",
    "loss_",
    "loss_curve_",
    "best_loss_",
    "validation_scores_",
    "best_validation_score_",
    "t_",
    "n_features_in_",
    "feature_names_in_",
)


def to_sklearn(estimator: Any) -> MLPClassifier:
    """Make an MLPClassifier of an estimator; see `MLPBinaryClassifier.to_sklearn`."""
    model = fitted(estimator)
    parameters = {**_common_parameters(estimator), "activation": _activation(estimator, model)}
    classifier = MLPClassifier(**parameters)
    classifier._validate_params()
    coefs, intercepts = model.weights.coefs, model.weights.intercepts
    optimizer, count = _optimizer(estimator, [*coefs, *intercepts])
    attributes = {
        **_shared_attributes(estimator),
        "coefs_": coefs,
        "intercepts_": intercepts,
        "classes_": model.classes,
        "n_layers_": len(coefs) + 1,
        "n_outputs_": 1,
        "out_activation_": "logistic",
        "_label_binarizer": LabelBinarizer().fit(model.classes),
        "_no_improvement_count": count,
        # Where early stopping finds no better ones in a warm start.
        "_best_coefs": [array.copy() for array in coefs],
        "_best_intercepts": [array.copy() for array in intercepts],
    }
    if optimizer is not None:
        attributes["_optimizer"] = optimizer
    vars(classifier).update(attributes)
    return classifier


def from_sklearn(cls: type[Any], classifier: Any) -> Any:
    """Make an estimator of an MLPClassifier; see `MLPBinaryClassifier.from_sklearn`."""
    if not isinstance(classifier, MLPClassifier):
        raise TypeError(
            f"from_sklearn takes an MLPClassifier, got {type(classifier).__name__}: this is a "
            "model of two classes."
        )
    check_is_fitted(classifier)
    classes, n_outputs = classifier.classes_, classifier.n_outputs_
    if n_outputs > 1 and classifier.out_activation_ == "logistic":
        raise ValueError(f"The MLPClassifier has {n_outputs} targets; only one is supported.")
    if n_outputs > 1 or len(classes) > 2:
        raise ValueError(f"The MLPClassifier has {len(classes)} classes; only two are supported.")
    given = classifier.coefs_, classifier.intercepts_
    weights = check_parameters(*given, classifier.n_features_in_)
    estimator = cls()
    mine = estimator.get_params(deep=False)
    for name, value in _common_parameters(classifier).items():
        if name in mine:
            setattr(estimator, name, value)
    vars(estimator).update(
        {
            **_shared_attributes(classifier),
            "coefs_": [array.copy() for array in weights.coefs],
            "intercepts_": [array.copy() for array in weights.intercepts],
            "classes_": classes.copy(),
            "n_layers_": len(weights.widths),
            "n_outputs_": 1,
            "out_activation_": "logistic",
        }
    )
    return estimator


def _common_parameters(estimator: Any) -> dict[str, Any]:
    """Copies of the parameters that MLPClassifier has.

    A learning rate that it has not becomes the constant one.
    """
    theirs = MLPClassifier().get_params(deep=False)
    mine = estimator.get_params(deep=False)
    if mine["learning_rate"] == "cosine" or callable(mine["learning_rate"]):
        mine["learning_rate"] = "constant"
    return {name: clone(value, safe=False) for name, value in mine.items() if name in theirs}


def _shared_attributes(estimator: Any) -> dict[str, Any]:
    attributes = vars(estimator).copy()
    return {name: copy.copy(attributes[name]) for name in _SHARED if name in attributes}


def _activation(estimator: Any, model: Fitted) -> str:
    """Name the one activation of all hidden layers.

    Raises
    ------
    ValueError
        If MLPClassifier has no such activation, or if they differ.
    """
    # Without a hidden layer it means nothing, and stays what it is if that can be.
    own = estimator.activation
    names = model.activations or ((own,) if own in _ACTIVATIONS else ("relu",))
    for name in names:
        if not isinstance(name, str) or name not in _ACTIVATIONS:
            raise ValueError(
                f"activation={name!r} has no counterpart in scikit-learn's MLPClassifier, which "
                f"has {', '.join(map(repr, _ACTIVATIONS))}."
            )
    if len(set(names)) > 1:
        raise ValueError(
            f"activation={own!r} has no counterpart in scikit-learn's "
            "MLPClassifier, which has the same one in every hidden layer."
        )
    return str(names[0])


def _optimizer(estimator: Any, params: list[Array]) -> tuple[Any, int]:
    """Make the optimizer that partial_fit goes on with, and say how long it has not improved.

    There is none where training has left nothing to go on from: scikit-learn then makes one.
    """
    state, p = vars(estimator).get("_training_state"), estimator
    if (
        state is None
        or state["solver"] != p.solver
        or list(state["shapes"]) != [array.shape for array in params]
    ):
        return None, 0
    moments = [_split(moment, params) for moment in state["moments"]]
    optimizer: Any
    if p.solver == "adam":
        optimizer = AdamOptimizer(params, p.learning_rate_init, p.beta_1, p.beta_2, p.epsilon)
        optimizer.t = state["step"]
        optimizer.ms, optimizer.vs = moments
    else:
        optimizer = SGDOptimizer(
            params,
            p.learning_rate_init,
            p.learning_rate,
            p.momentum,
            p.nesterovs_momentum,
            p.power_t,
        )
        optimizer.velocities = moments[0]
        if state["schedule"] == (p.learning_rate, p.learning_rate_init, p.power_t):
            optimizer.learning_rate = state["learning_rate"]
    return optimizer, state["epochs_without_improvement"]


def _split(moment: Any, params: Iterable[Array]) -> list[Array]:
    """Cut what `Network.flatten` has made into arrays of the shapes of the weights."""
    if isinstance(moment, tuple):  # (coefs, intercepts), early in version 0.1
        return [np.array(array) for arrays in moment for array in arrays]
    arrays, start = [], 0
    for like in params:
        arrays.append(np.array(moment[start : start + like.size]).reshape(like.shape))
        start += like.size
    return arrays
