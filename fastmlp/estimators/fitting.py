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
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from sklearn.utils import check_random_state

from fastmlp.data.checks import TrainingData, check_fits_in, check_training_data
from fastmlp.data.class_weights import class_weights, weighted
from fastmlp.data.labels import check_classes, check_labels, encode
from fastmlp.data.rows import as_rows
from fastmlp.estimators import starts
from fastmlp.estimators.attributes import take_on
from fastmlp.estimators.callbacks import Told, has_callbacks, tell, with_callbacks
from fastmlp.estimators.divergence import why_diverged
from fastmlp.estimators.given import Given, Problem, network_attributes
from fastmlp.estimators.settings import Settings
from fastmlp.estimators.solvers import ByEpochs, ByLBFGS, Solver, warn_of_batch_size
from fastmlp.estimators.starts import Trained
from fastmlp.estimators.validation import check_arguments, validation_of
from fastmlp.network.session import Session
from fastmlp.runtime.team import available_threads
from fastmlp.training.initialization import initial_parameters
from fastmlp.training.loop import FitResult, all_finite
from fastmlp.training.weights import FLOAT64, Weights, check_finite, check_parameters

Array = NDArray[Any]


def fit(estimator: Any, given: Given) -> None:
    """Train an estimator; with warm_start, from the weights that it has."""
    earlier = _fitted(estimator) if estimator.warm_start else {}
    _say(with_callbacks(_train)(estimator, given, earlier, earlier.get("classes_")))


def partial_fit(estimator: Any, given: Given, classes: ArrayLike | None) -> None:
    """Train an estimator for one epoch, from where the last call left it."""
    known = check_classes(vars(estimator).get("classes_"), classes)
    _say(_train(estimator, given, _fitted(estimator), known, one_epoch=True))


def _say(warning: Warning | None) -> None:
    if warning is not None:
        warnings.warn(warning, stacklevel=4)


def _fitted(estimator: Any) -> dict[str, Any]:
    """Return the attributes of an estimator; none if it has no weights to go on from."""
    return dict(vars(estimator)) if "coefs_" in vars(estimator) else {}


def _train(
    estimator: Any,
    given: Given,
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
    given : Given
        As the user gave it.
    earlier : mapping
        The attributes of earlier calls to go on from; empty to start anew.
    known_classes : ndarray or None
        The classes that y may hold; None for those that it holds.
    one_epoch : bool, default=False
        Whether this is partial_fit.
    """
    settings = Settings.of(estimator)
    check_arguments(given, settings)
    draft = _draft_of(estimator)
    checked = check_training_data(draft, given.X, given.y, given.sample_weight, reset=not earlier)
    if settings.regularisation.input_dropout > 0 and issparse(checked.X):
        # Also where X was a table of sparse columns.
        raise ValueError("input_dropout needs a dense X, because a sparse one is never copied.")
    classes = checked.labels if known_classes is None else known_classes
    if known_classes is not None:
        check_labels(checked.labels, known_classes, warm_start=not one_epoch)
    by_class = class_weights(settings.class_weight, classes, checked.y, checked.sample_weight)

    # A start for each of these; training that goes on has one.
    generators = starts.generators(
        check_random_state(settings.random_state), 1 if earlier else settings.n_init
    )
    at_once, threads = _side_by_side(estimator, settings, len(generators))
    start = partial(_start, replace(settings, n_threads=threads), earlier, checked.X)
    # Those in use: each goes when it is trained, because the buffers of many would fill memory.
    sessions: dict[int, Session] = {}
    sessions[0], dtype = start(generators[0])
    rows, targets = as_rows(checked.X, sessions[0].network.dtype), encode(checked.y, classes)
    weight = weighted(checked.sample_weight, targets, by_class)
    data = TrainingData(rows, targets, weight, classes)
    problem = Problem(estimator, draft, given, checked, data, by_class)
    try:
        solver: Solver
        if settings.by_epochs:
            order, validation = validation_of(problem, settings, generators[0])
            warn_of_batch_size(settings, len(order))
            solver = ByEpochs(problem, settings, earlier, order, validation, one_epoch)
        else:
            solver = ByLBFGS(problem, settings, earlier)
            if settings.dtype is None:
                dtype = FLOAT64
        for number, rng in enumerate(generators[1:], 1):
            sessions[number], _ = start(rng)
        n_starts = len(sessions)
        told = None
        if not one_epoch:
            n_subtasks = settings.max_iter if n_starts == 1 else n_starts
            told = tell(estimator, given, checked.y, n_subtasks)
        jobs = [
            partial(_train_start, solver, sessions, number, rng, told, n_starts)
            for number, rng in enumerate(generators)
        ]
        if at_once == 1:
            trained = starts.one_after_another(jobs)
        else:
            trained = starts.side_by_side(
                jobs, sessions, at_once, lambda: solver.compile(sessions[0])
            )
    finally:
        # X is the user's, who may do anything with its memory from here on. Where an exception cuts
        # this wait short, too, threads hold all that they read and write.
        for session in sessions.copy().values():
            session.end_training()
    best = starts.best_of(trained)
    model = _model(best.result, dtype)
    if not all_finite((model["coefs_"], model["intercepts_"])):
        begun = earlier.get("coefs_", []), earlier.get("intercepts_", [])
        check_finite(*begun)
        raise ValueError(
            "Solver produced non-finite parameter weights: training diverged. "
            + why_diverged(settings, data, [*begun[0], *begun[1]])
        )
    if told is not None:
        told.end(lambda: problem.attributes(best.result.parameters))
    if not one_epoch:
        model["init_scores_"] = starts.reached(trained)
    take_on(estimator, draft, {"classes_": classes, **model, **best.learned}, earlier)
    return best.result.warning


def _draft_of(estimator: Any) -> Any:
    """Make a stand-in with the same attributes, which the checks may write to."""
    draft = object.__new__(type(estimator))
    draft.__dict__.update(vars(estimator))
    return draft


def _start(
    settings: Settings, earlier: Mapping[str, Any], X: Any, rng: np.random.RandomState
) -> tuple[Session, np.dtype[Any]]:
    """Make a session that holds the weights to start with.

    Returns
    -------
    session : Session
        Has copies of the weights: the drawn ones are as large as its own, and are gone on return.
    dtype : dtype
        The dtype of the weights; L-BFGS's sessions work in float64 all the same.
    """
    weights = _present_weights(settings, earlier) if earlier else _new_weights(settings, X, rng)
    dtype = weights.dtype
    check_fits_in(dtype, X)
    working_dtype = dtype if settings.by_epochs else FLOAT64
    session = weights.session(
        settings.activations, settings.n_threads, working_dtype, sparse=issparse(X)
    )
    return session, dtype


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
    dtype = settings.first_dtype(X.dtype)
    activations = (*settings.activations, settings.last_activation)
    drawn = initial_parameters(settings.weight_init, widths, activations, dtype, rng)
    return Weights(*drawn, widths)


def _side_by_side(estimator: Any, settings: Settings, n_starts: int) -> tuple[int, int | None]:
    """Say how many starts are trained at once, and how many threads each has.

    Callbacks, printed lines and a user's own functions expect one at a time, in their thread.
    """
    watched = settings.verbose or has_callbacks(estimator)
    if n_starts == 1 or not settings.by_epochs or watched or settings.calls_the_user:
        return 1, settings.n_threads
    n_threads = available_threads(settings.n_threads)
    at_once = min(n_starts, n_threads)
    return at_once, n_threads // at_once


def _train_start(
    solver: Solver,
    sessions: dict[int, Session],
    number: int,
    rng: np.random.RandomState,
    told: Told | None,
    n_starts: int,
) -> Trained:
    """Train from one start of so many, and tell callbacks of it where it is not the only one."""
    if told is None or n_starts == 1:
        trained = solver.train(sessions[number], rng, told)
    else:
        task = told.subtask("start", solver.settings.max_iter)
        trained = solver.train(sessions[number], rng, task)
        parameters = trained.result.parameters  # which the next start may have it forget
        stop = task.end(lambda: solver.problem.attributes(parameters))
        trained = replace(trained, is_last=stop)
    del sessions[number]
    return trained


def _model(result: FitResult, dtype: np.dtype[Any]) -> dict[str, Any]:
    """Gather the attributes that training by any solver leaves."""
    coefs, intercepts = (
        [array.astype(dtype, copy=False) for array in arrays] for arrays in result.parameters
    )
    return {
        **network_attributes((coefs, intercepts)),
        "n_iter_": result.n_iter,
        "loss_": result.loss,
    }
