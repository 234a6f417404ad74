"""Networks for a table, trained side by side or, where someone watches, one after another."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from fastmlp.data.split import Parameters
from fastmlp.estimators import starts
from fastmlp.estimators.callbacks import Epochs, Told, has_callbacks
from fastmlp.estimators.starts import Trained
from fastmlp.runtime.team import available_threads
from fastmlp.training.loop import FitResult, Watcher
from fastmlp.training.report import Lines
from fastmlp.training.table import Deadline, Member

#: The share of a time limit after which no epoch is to end: the rest is for what follows.
_USED_OF_LIMIT = 0.95


def networks_at_once(estimator: Any, n_networks: int) -> int:
    """Networks that are trained at once: printed lines and callbacks come one after another."""
    if estimator.verbose or callable(estimator.scoring) or has_callbacks(estimator):
        return 1
    return min(n_networks, available_threads(estimator.n_threads))


def threads_of_networks(estimator: Any, n_networks: int, at_once: int) -> list[int]:
    """Threads of each network: the last ones share those that no other network needs."""
    n_threads, last = available_threads(estimator.n_threads), n_networks % at_once
    threads = [n_threads // at_once] * n_networks
    if last:
        threads[-last:] = [n_threads // last] * last
    return threads


def train_networks(
    estimator: Any,
    members: Sequence[Member],
    at_once: int,
    started: float,
    told: Told | None,
    known: dict[str, Any],
) -> list[FitResult]:
    """Train all networks; an interrupt or a callback leaves out those that have not begun.

    Parameters
    ----------
    estimator : estimator
        Whose parameters to go by.
    members : sequence of Member
        The networks.
    at_once : int
        Networks that are trained at once.
    started : float
        When fit began.
    told : Told or None
        Who is told of networks and their epochs.
    known : dict
        Attributes that an estimator needs to predict, beside its networks.
    """

    def train(number: int, member: Member) -> Trained:
        watchers: list[Watcher] = []
        if estimator.verbose:
            watchers.append(Lines(member.recipe.most_epochs))
        if estimator.time_limit is not None:
            now, end = time.perf_counter(), started + _USED_OF_LIMIT * estimator.time_limit
            # Those at once have what is left, over the rounds that are left.
            rounds = math.ceil((len(members) - number) / at_once)
            watchers.append(Deadline(now + max(0.0, end - now) / rounds))
        if told is None:
            return Trained(member.train(watchers), {}, is_kept=True)

        def attributes(parameters: Parameters) -> dict[str, Any]:
            return {**known, "_models": [member.model(parameters)]}

        task = told.subtask("network", member.recipe.most_epochs)
        watchers.append(Epochs(task, "epoch", member.session.get_parameters, attributes))
        result = member.train(watchers)
        stop = task.end(lambda: attributes(result.parameters))
        return Trained(result, {}, is_kept=True, is_last=stop)

    jobs = [partial(train, number, member) for number, member in enumerate(members)]
    if at_once == 1:
        trained = starts.one_after_another(jobs)
    else:
        sessions = {number: member.session for number, member in enumerate(members)}
        trained = starts.side_by_side(jobs, sessions, at_once, members[0].compile)
    return [each.result for each in trained]
