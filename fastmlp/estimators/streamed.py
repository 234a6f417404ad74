"""From a source of rows to a fitted estimator: a first pass over the source, then training.

Rows that have room in memory are trained on as `fit` does. Others go through windows.
"""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from fastmlp.data.sink import Storing
from fastmlp.estimators import runs, starts
from fastmlp.estimators.callbacks import with_callbacks
from fastmlp.estimators.first_pass import FirstPass, Streams, take_in_all
from fastmlp.estimators.predicted import check_named
from fastmlp.estimators.settings import Settings
from fastmlp.estimators.taken import TakenRows
from fastmlp.network.session import Session


def fit(estimator: Any, streams: Streams, then: Callable[[], None] = lambda: None) -> None:
    """Train an estimator; with warm_start, from the weights that it has.

    then : called once it is trained, ahead of a warning, of which a filter may make an error
    """
    with np.errstate(all="ignore"):
        warning = with_callbacks(_train)(estimator, streams)
    then()
    if warning is not None:
        warnings.warn(warning, stacklevel=3)


def check_settings(settings: Settings, streams: Streams) -> None:
    """Check that parameters and arguments go together.

    Raises
    ------
    ValueError
        If they do not.
    """
    if not settings.by_epochs:
        raise ValueError(
            "solver='lbfgs' needs all rows at once: use 'adam' or 'sgd', or spread the rows over "
            "machines with fastmlp.dask.DaskMLPBinaryClassifier."
        )
    check_named(settings.scoring)
    if streams.validation is not None and not settings.early_stopping:
        raise ValueError("validation needs early_stopping=True, which goes by it.")
    if settings.early_stopping and streams.validation is None and streams.folder is False:
        raise ValueError(
            "early_stopping=True without a scratch file has no rows to go by: give validation, or "
            "a folder as scratch."
        )


def _train(estimator: Any, streams: Streams) -> Warning | None:
    """Read, train, and return what there is to say about the model."""
    settings = Settings.of(estimator)
    check_settings(settings, streams)
    earlier = runs.fitted_attributes(estimator) if estimator.warm_start else {}
    generators = starts.generators(
        check_random_state(settings.random_state), 1 if earlier else settings.n_init
    )
    sessions: dict[int, Session] = {}
    working = settings.dtype
    if earlier:  # first of all, for what is wrong with the weights
        X = np.empty((0, earlier["n_features_in_"]), np.float32)
        sessions[0], working = runs.start(settings, earlier, X, generators[0])
    draft = runs.draft_of(estimator)
    storing = Storing(streams.room(settings.minibatch_rows(sys.maxsize)), streams.folder, working)
    how = FirstPass(storing, settings.class_weight, earlier.get("classes_"))
    if settings.early_stopping and streams.validation is None:
        # Of a copy: rows that have room in memory are held out as in fit.
        seed = int(copy.deepcopy(generators[0]).randint(2**31 - 1))
        how = replace(how, held_out=(seed, settings.validation_fraction))
    with ExitStack() as stack:
        taken = TakenRows(**vars(take_in_all(draft, streams, how, stack)), settings=settings)
        dtype = working
        for number, rng in enumerate(generators):
            if number not in sessions:
                X = np.empty((0, draft.n_features_in_), taken.sinks[0].storing.dtype)
                sessions[number], dtype = runs.start(settings, {}, X, rng)
            if number == 0:
                solver = taken.solver(estimator, draft, earlier, rng, sessions[0])
        assert dtype is not None
        return runs.train(solver, sessions, generators, dtype)
