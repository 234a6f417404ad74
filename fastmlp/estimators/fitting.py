"""A call to fit or partial_fit: from what the user gives to the attributes of a fitted estimator.

It goes through four steps: check the input, find the weights to start with, train, and take on what
came of it. The estimator's attributes change in the last step alone, and all at once: wherever a
call fails or is interrupted, the estimator is as it was. A warning about the model, for one that
training has not converged, comes after it: a filter may make an error of it, and the estimator is
fitted even so.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.utils import check_random_state

from fastmlp.data.checks import TrainingData, check_fits_in, check_training_data
from fastmlp.data.labels import check_classes, check_labels, encode
from fastmlp.data.rows import as_rows
from fastmlp.estimators.divergence import why_diverged
from fastmlp.estimators.settings import Settings
from fastmlp.estimators.solvers import Attributes, train_by_epochs, train_by_lbfgs
from fastmlp.network.session import Session
from fastmlp.training.initialization import initial_parameters
from fastmlp.training.loop import FitResult, all_finite
from fastmlp.training.weights import FLOAT64, Weights, check_finite, check_parameters

Array = NDArray[Any]

#: Lists that each call adds to, in place as scikit-learn does: a new list for every partial_fit
#: would make the cost of a long stream quadratic.
HISTORIES = ("loss_curve_", "validation_scores_")
# What the checks of X leave.
_SET_BY_CHECKS = ("n_features_in_", "feature_names_in_")

# What training by epochs leaves and L-BFGS does not.
_SET_BY_EPOCHS = (*HISTORIES, "best_loss_", "best_validation_score_", "_training_state")

#: Every attribute that training leaves.
FITTED = (
    "classes_",
    "coefs_",
    "intercepts_",
    "n_iter_",
    "loss_",
    "n_layers_",
    "n_outputs_",
    "out_activation_",
    "t_",
    "n_features_in_",
    "feature_names_in_",
    *_SET_BY_EPOCHS,
)


def fit(estimator: Any, X: Any, y: ArrayLike, sample_weight: ArrayLike | None) -> None:
    """Train an estimator; with warm_start, from the weights that it has."""
    earlier = _fitted(estimator) if estimator.warm_start else {}
    _say(_train(estimator, (X, y, sample_weight), earlier, earlier.get("classes_")))


def partial_fit(
    estimator: Any,
    X: Any,
    y: ArrayLike,
    sample_weight: ArrayLike | None,
    classes: ArrayLike | None,
) -> None:
    """Train an estimator for one epoch, from where the last call left it."""
    known = check_classes(vars(estimator).get("classes_"), classes)
    given, earlier = (X, y, sample_weight), _fitted(estimator)
    _say(_train(estimator, given, earlier, known, one_epoch=True))


def _say(warning: Warning | None) -> None:
    if warning is not None:
        warnings.warn(warning, stacklevel=4)


def _fitted(estimator: Any) -> dict[str, Any]:
    """Return the attributes of an estimator; none if it has no weights to go on from."""
    return dict(vars(estimator)) if "coefs_" in vars(estimator) else {}


def _train(
    estimator: Any,
    given: tuple[Any, ArrayLike, ArrayLike | None],
    earlier: Mapping[str, Any],
    known_classes: Array | None,
    *,
    one_epoch: bool = False,
) -> Warning | None:
    """Go through the four steps, and return what there is to say about the model.

    Parameters
    ----------
    estimator : estimator
        Whose parameters to train by, and who takes on the result.
    given : tuple of (X, y, sample_weight)
        As the user gave them.
    earlier : mapping
        The attributes of earlier calls to go on from; empty to start anew.
    known_classes : ndarray or None
        The classes that y may hold; None for those that it holds.
    one_epoch : bool, default=False
        Whether this is partial_fit.
    """
    settings = Settings.of(estimator)
    draft = _draft_of(estimator)
    checked = check_training_data(draft, *given, reset=not earlier)
    classes = checked.labels if known_classes is None else known_classes
    if known_classes is not None:
        check_labels(checked.labels, known_classes, warm_start=not one_epoch)

    rng = check_random_state(settings.random_state)
    session, dtype, working_dtype = _start(settings, earlier, checked.X, rng)
    rows, targets = as_rows(checked.X, working_dtype), encode(checked.y, classes)
    data = TrainingData(rows, targets, checked.sample_weight, classes)

    try:
        if settings.by_epochs:
            trained = train_by_epochs(session, data, settings, rng, earlier, one_epoch=one_epoch)
        else:
            trained = train_by_lbfgs(session, data, settings, earlier)
            if settings.dtype is None:
                dtype = FLOAT64
    finally:
        # X is the user's, who may do anything with its memory from here on. Where an exception cuts
        # this wait short, too, threads hold all that they read and write.
        session.end_training()
    result, learned = trained
    model = _model(result, dtype)
    if not all_finite((model["coefs_"], model["intercepts_"])):
        start = earlier.get("coefs_", []), earlier.get("intercepts_", [])
        check_finite(*start)
        raise ValueError(
            "Solver produced non-finite parameter weights: training diverged. "
            + why_diverged(settings, data, [*start[0], *start[1]])
        )
    _take_on(estimator, draft, {"classes_": classes, **model, **learned}, earlier)
    return result.warning


def _draft_of(estimator: Any) -> Any:
    """Make a stand-in with the same attributes, which the checks may write to."""
    draft = object.__new__(type(estimator))
    draft.__dict__.update(vars(estimator))
    return draft


def _start(
    settings: Settings, earlier: Mapping[str, Any], X: Any, rng: np.random.RandomState
) -> tuple[Session, np.dtype[Any], np.dtype[Any]]:
    """Make a session that holds the weights to start with.

    Returns
    -------
    session : Session
        Has copies of the weights: the drawn ones are as large as its own, and are gone on return.
    dtype : dtype
        The dtype of the weights.
    working_dtype : dtype
        The dtype of the session.
    """
    weights = _present_weights(settings, earlier) if earlier else _new_weights(settings, X, rng)
    dtype = weights.dtype
    check_fits_in(dtype, X)
    working_dtype = dtype if settings.by_epochs else FLOAT64
    session = weights.session(
        settings.activation, settings.n_threads, working_dtype, sparse=issparse(X)
    )
    return session, dtype, working_dtype


def _present_weights(settings: Settings, earlier: Mapping[str, Any]) -> Weights:
    """Take the weights that there are, in the dtype to work in."""
    weights = check_parameters(earlier["coefs_"], earlier["intercepts_"], earlier["n_features_in_"])
    if weights.widths[1:-1] != settings.hidden:
        raise ValueError(
            f"hidden_layer_sizes={settings.hidden} differs from the trained network's "
            f"{weights.widths[1:-1]}, with which warm_start and partial_fit go on."
        )
    if settings.dtype is None:
        return weights
    coefs = [array.astype(settings.dtype, copy=False) for array in weights.coefs]
    return Weights(coefs, weights.intercepts, weights.widths)


def _new_weights(settings: Settings, X: Any, rng: np.random.RandomState) -> Weights:
    """Draw weights to start with, in the dtype to work in."""
    widths = (X.shape[1], *settings.hidden, 1)
    activations = (settings.activation,) * (len(widths) - 1)
    dtype = settings.first_dtype(X.dtype)
    drawn = initial_parameters(settings.weight_init, widths, activations, dtype, rng)
    return Weights(*drawn, widths)


def _model(result: FitResult, dtype: np.dtype[Any]) -> dict[str, Any]:
    """Gather the attributes that training by any solver leaves."""
    coefs, intercepts = (
        [array.astype(dtype, copy=False) for array in arrays] for arrays in result.parameters
    )
    return {
        "coefs_": coefs,
        "intercepts_": intercepts,
        "n_iter_": result.n_iter,
        "loss_": result.loss,
        "n_layers_": len(coefs) + 1,
        "n_outputs_": 1,
        "out_activation_": "logistic",
    }


def _take_on(
    estimator: Any, draft: Any, attributes: Attributes, earlier: Mapping[str, Any]
) -> None:
    """Give an estimator its fitted attributes, and take those of an earlier call from it.

    In one step, and an exception that comes before it has histories cut to what they were.
    """
    added = []
    for name in HISTORIES:
        history, new = earlier.get(name), attributes.get(name)
        if history is not None and new is not None:
            attributes[name] = history if isinstance(history, list) else list(history)
            added.append((attributes[name], len(history), new))
    taken_on = dict(vars(estimator))
    for name in (*_SET_BY_CHECKS, *_SET_BY_EPOCHS):
        taken_on.pop(name, None)
    taken_on |= {name: vars(draft)[name] for name in _SET_BY_CHECKS if name in vars(draft)}
    taken_on |= attributes
    try:
        for history, _, new in added:
            history += new
        estimator.__dict__ = taken_on
    except BaseException:
        if vars(estimator) is not taken_on:
            for history, length, _ in added:
                del history[length:]
        raise
