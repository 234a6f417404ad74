"""A call to fit or partial_fit on a cluster: from collections to the attributes of an estimator.

Partitions are packed at the home of the shard that they belong to, which goes by their numbers: so
the model does not depend on which workers there are. The client sees what is small: how many rows
a partition has, its labels, the sums of its weights.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from fastmlp.dask.cluster import Cluster, client_for, thread_left, workers_of
from fastmlp.dask.collections import partitions
from fastmlp.dask.loading import Loading
from fastmlp.dask.rounds import Fleet, Rounds, ShardedLoss
from fastmlp.data.split import Validation
from fastmlp.estimators import runs, starts
from fastmlp.estimators.given import Given, Problem
from fastmlp.estimators.predicted import by_scorer, check_named
from fastmlp.estimators.settings import Settings
from fastmlp.estimators.solvers import ByEpochs, ByLBFGS, Solver, warn_of_batch_size
from fastmlp.estimators.validation import check_arguments, plain_metric
from fastmlp.network.session import Session
from fastmlp.training.shards import Score, Task

Array = NDArray[Any]

#: A shard that makes fewer updates an epoch than this falls behind one process. Held-out log losses
#: over those of one process at equal epochs, on adult, bank, covtype and a made-up table: 0.98 to
#: 1.01 with 17 to 43 minibatches, up to 1.03 with 9 to 11.
LEAST_MINIBATCHES = 20

_NAMES = ("X", "y", "sample_weight")
_NAMES_VAL = ("X_val", "y_val", "sample_weight_val")


def _train(
    estimator: Any,
    given: Given,
    earlier: Mapping[str, Any],
    known_classes: Array | None,
    *,
    one_epoch: bool = False,
) -> Warning | None:
    """Train an estimator, and return what there is to say about the model."""
    settings = Settings.of(estimator)
    _check_arguments(given, settings)
    check_named(settings.scoring)
    client = client_for(estimator.client)
    parts = partitions(given.X, given.y, given.sample_weight, _NAMES)
    validation_parts = []
    if given.X_val is not None:
        validation_parts = partitions(given.X_val, given.y_val, given.sample_weight_val, _NAMES_VAL)
    generators = starts.generators(
        check_random_state(settings.random_state), 1 if earlier else settings.n_init
    )
    n_workers = len(workers_of(client, estimator.worker_timeout))
    n_shards = min(estimator.n_shards or max(1, n_workers), len(parts))
    with thread_left(), Cluster(client, n_shards, estimator.worker_timeout) as cluster:
        cluster.plan()
        # Of a copy: so the first weights are those of a fit in one process.
        seed = int(copy.deepcopy(generators[0]).randint(2**31))
        loading = Loading(cluster, settings, earlier, seed)
        loading.pack(parts, validation_parts)
        problem, fleet = loading.finish(estimator, given, known_classes, one_epoch)
        start = partial(runs.start, settings, earlier, problem.checked.X)
        sessions: dict[int, Any] = {}
        dtype = None
        for number, rng in enumerate(generators):
            sessions[number], dtype = start(rng)
        solver: Solver
        task = partial(_task, settings, sessions[0], estimator.rounds_per_epoch, sum(fleet.sizes))
        if settings.by_epochs:
            n_rows = sum(fleet.sizes)
            warn_of_batch_size(settings, n_rows)
            _warn_of_small_shards(fleet, settings)
            score_of = None
            if _goes_by_sums(settings):
                score_of = partial(_score, settings, len(problem.data.classes))
            solver = ByEpochs(
                problem, settings, earlier, np.empty(0, np.int64),
                _validation(settings, problem, fleet), one_epoch, n_rows,
                partial(
                    _new_rounds, fleet, task, estimator.learning_rate_scale, score_of=score_of
                ),
            )  # fmt: skip
        else:
            solver = ByLBFGS(problem, settings, earlier)
            sessions = {
                k: ShardedLoss(fleet, task(0), session.get_parameters())
                for k, session in sessions.items()
            }
        assert dtype is not None
        warning = runs.train(solver, sessions, generators, dtype, one_epoch=one_epoch)
        if cluster.failure is not None:
            raise cluster.failure
        return warning


#: From an estimator and what is given, and for the second the classes too.
fit = partial(runs.fit, _train)
partial_fit = partial(runs.partial_fit, _train)


def _check_arguments(given: Given, settings: Settings) -> None:
    """Check that arguments go together; a list of partitions has the labels in it."""
    if isinstance(given.X_val, list | tuple) and given.y_val is None:
        given = replace(given, y_val=())
    check_arguments(given, settings)


def _task(settings: Settings, session: Session, n_rounds: int, n_rows: int, seed: int) -> Task:
    return Task(
        session.network, settings.optimizer, settings.regularisation, settings.alpha,
        settings.minibatch_rows(n_rows), settings.shuffle, seed, n_rounds,
    )  # fmt: skip


def _new_rounds(
    fleet: Fleet, task: Any, scale: Any, session: Session, order: Any, rng: Any, *more: Any,
    **others: Any,
) -> Rounds:  # fmt: skip
    """Make a training in rounds, of what `Training` takes."""
    if scale == "auto":
        scale = sum(n > 0 for n in fleet.sizes)
    return Rounds(
        session, order, rng, *more, **others, fleet=fleet, task=task(int(rng.randint(2**31))),
        rate_scale=float(scale),
    )  # fmt: skip


def _validation(settings: Settings, problem: Problem, fleet: Fleet) -> Validation | None:
    """Tell that there are rows to validate on; a scorer needs their targets and weights here."""
    if not settings.early_stopping:
        return None
    rows, classes = problem.data.rows, problem.data.classes
    if _goes_by_sums(settings):
        metric = plain_metric(settings, len(classes))
        return Validation(rows, None, np.empty(0, np.bool_), None, metric)
    targets, weight = fleet.held_out()
    metric = by_scorer(settings.scoring, classes, classes[targets.astype(np.intp)])
    return Validation(rows, None, targets, weight, metric)


def _goes_by_sums(settings: Settings) -> bool:
    return settings.scoring in (None, "loss")


def _score(settings: Settings, n_classes: int, total: Score) -> float:
    """Take the score of an epoch, of sums over the validation rows."""
    if settings.scoring == "loss":
        return -total.loss / total.weight
    return 1.0 if n_classes == 1 else total.right / total.weight


def _warn_of_small_shards(fleet: Fleet, settings: Settings) -> None:
    n_rows, filled = sum(fleet.sizes), [n for n in fleet.sizes if n]
    batch_size = settings.minibatch_rows(n_rows)
    least = min(filled) / batch_size
    if len(filled) > 1 and least < LEAST_MINIBATCHES:
        fits = max(1, n_rows // (LEAST_MINIBATCHES * batch_size))
        warnings.warn(
            f"A shard has {least:.0f} minibatches of {batch_size} rows an epoch: below "
            f"{LEAST_MINIBATCHES}, training may fall behind that of one process. For {n_rows} rows "
            f"take n_shards={fits}, or batch_size="
            f"{max(1, min(filled) // LEAST_MINIBATCHES)}.",
            UserWarning,
            stacklevel=2,
        )
