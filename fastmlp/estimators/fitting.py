"""A call to fit or partial_fit: from what the user gives to the attributes of a fitted estimator.

It goes through four steps: check the input, find the weights to start with, train, and take on what
came of it. The estimator's attributes change in the last step alone, and all at once: wherever a
call fails or is interrupted, the estimator is as it was. A warning about the model, for one that
training has not converged, comes after it: a filter may make an error of it, and the estimator is
fitted even so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.utils import check_random_state

from fastmlp.data.checks import TrainingData, check_training_data
from fastmlp.data.class_weights import class_weights, weighted
from fastmlp.data.labels import check_labels, encode
from fastmlp.data.rows import as_rows
from fastmlp.estimators import runs, starts
from fastmlp.estimators.callbacks import has_callbacks
from fastmlp.estimators.given import Given, Problem
from fastmlp.estimators.settings import Settings
from fastmlp.estimators.solvers import ByEpochs, ByLBFGS, Solver, warn_of_batch_size
from fastmlp.estimators.validation import check_arguments, validation_of
from fastmlp.network.session import Session
from fastmlp.runtime.team import available_threads

Array = NDArray[Any]


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
    draft = runs.draft_of(estimator)
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
    start = partial(runs.start, replace(settings, n_threads=threads), earlier, checked.X)
    sessions: dict[int, Session] = {}
    sessions[0], dtype = start(generators[0])
    rows, targets = as_rows(checked.X, sessions[0].network.dtype), encode(checked.y, classes)
    weight = weighted(checked.sample_weight, targets, by_class)
    data = TrainingData(rows, targets, weight, classes)
    problem = Problem(estimator, draft, given, checked, data, by_class)
    solver: Solver
    if settings.by_epochs:
        order, validation = validation_of(problem, settings, generators[0])
        warn_of_batch_size(settings, len(order))
        solver = ByEpochs(problem, settings, earlier, order, validation, one_epoch)
    else:
        solver = ByLBFGS(problem, settings, earlier)
    for number, rng in enumerate(generators[1:], 1):
        sessions[number], _ = start(rng)
    return runs.train(solver, sessions, generators, dtype, at_once=at_once, one_epoch=one_epoch)


#: From an estimator and what is given, and for the second the classes too.
fit = partial(runs.fit, _train)
partial_fit = partial(runs.partial_fit, _train)


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
