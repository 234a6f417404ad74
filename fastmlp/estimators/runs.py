"""From weights to start with to a fitted estimator: what every way to train one has in common.

Rows may lie in one array, pass by in windows, or lie on other machines: a solver says how an epoch
goes through them. Here is what comes before and after it: where weights come from, the starts of
which the best is kept, and what an estimator takes on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse

from fastmlp.data.checks import check_fits_in
from fastmlp.data.labels import check_classes
from fastmlp.estimators import starts
from fastmlp.estimators.attributes import take_on
from fastmlp.estimators.callbacks import Told, tell, with_callbacks
from fastmlp.estimators.divergence import why_diverged
from fastmlp.estimators.given import Given, network_attributes
from fastmlp.estimators.settings import Settings
from fastmlp.estimators.solvers import Solver
from fastmlp.estimators.starts import Trained
from fastmlp.network.session import Session
from fastmlp.training.initialization import initial_parameters
from fastmlp.training.loop import FitResult, all_finite
from fastmlp.training.weights import FLOAT64, Weights, check_finite, check_parameters

Array = NDArray[Any]


Train = Callable[..., Warning | None]


def fit(train: Train, estimator: Any, given: Given) -> None:
    """Train an estimator; with warm_start, from the weights that it has.

    train : from the estimator, what is given, attributes to go on from and known classes
    """
    earlier = fitted_attributes(estimator) if estimator.warm_start else {}
    _say(with_callbacks(train)(estimator, given, earlier, earlier.get("classes_")))


def partial_fit(train: Train, estimator: Any, given: Given, classes: ArrayLike | None) -> None:
    """Train an estimator for one epoch, from where the last call left it; train : as above."""
    known = check_classes(vars(estimator).get("classes_"), classes)
    _say(train(estimator, given, fitted_attributes(estimator), known, one_epoch=True))


def _say(warning: Warning | None) -> None:
    if warning is not None:
        warnings.warn(warning, stacklevel=4)


def draft_of(estimator: Any) -> Any:
    """Make a stand-in with the same attributes, which the checks may write to."""
    draft = object.__new__(type(estimator))
    draft.__dict__.update(vars(estimator))
    return draft


def fitted_attributes(estimator: Any) -> dict[str, Any]:
    """Return the attributes of an estimator; none if it has no weights to go on from."""
    return dict(vars(estimator)) if "coefs_" in vars(estimator) else {}


def start(
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


def train(
    solver: Solver,
    sessions: dict[int, Session],
    generators: Sequence[np.random.RandomState],
    dtype: np.dtype[Any],
    *,
    at_once: int = 1,
    one_epoch: bool = False,
) -> Warning | None:
    """Train from each start, have the estimator take on the best, and return what there is to say.

    Parameters
    ----------
    solver : Solver
        How, and what for.
    sessions : dict of int to Session
        One for each start. They go when they are trained: the buffers of many would fill memory.
    generators : sequence of RandomState
        Of each start.
    dtype : dtype
        Of the model.
    at_once : int, default=1
        Starts that are trained side by side.
    one_epoch : bool, default=False
        Whether this is partial_fit.

    Raises
    ------
    ValueError
        If training ends in weights that are not finite.
    """
    problem, settings, earlier = solver.problem, solver.settings, solver.earlier
    n_starts, told = len(sessions), None
    try:
        if not one_epoch:
            n_subtasks = settings.max_iter if n_starts == 1 else n_starts
            told = tell(problem.estimator, problem.given, problem.checked.y, n_subtasks)
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
    if not settings.by_epochs and settings.dtype is None:
        dtype = FLOAT64
    model = _model(best.result, dtype)
    if not all_finite((model["coefs_"], model["intercepts_"])):
        begun = earlier.get("coefs_", []), earlier.get("intercepts_", [])
        check_finite(*begun)
        raise ValueError(
            "Solver produced non-finite parameter weights: training diverged. "
            + why_diverged(settings, problem.data, [*begun[0], *begun[1]])
        )
    if told is not None:
        told.end(lambda: problem.attributes(best.result.parameters))
    if not one_epoch:
        model["init_scores_"] = starts.reached(trained)
    learned = {"classes_": problem.data.classes, **model, **best.learned}
    take_on(problem.estimator, problem.draft, learned, earlier)
    return best.result.warning


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
