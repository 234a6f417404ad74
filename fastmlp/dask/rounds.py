"""Training in rounds on a cluster: epochs for the loop that every training has, and L-BFGS's sums.

The client has the state between epochs, and decides alone: schedules, plateaus and callbacks are
those of a training in one process. An epoch's rounds are submitted at once, and the client waits
for the last one. It begins with the state as a value, so Dask need not remember earlier epochs to
compute again what a lost worker had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from distributed import Future
from numpy.typing import NDArray

from fastmlp.dask import work
from fastmlp.dask.cluster import Cluster
from fastmlp.data.split import Validation
from fastmlp.network.layout import Network, Parameters
from fastmlp.training.loop import Training
from fastmlp.training.shards import Progress, Score, Task, held_out

Array = NDArray[Any]

#: Most states that one task averages: a worker serves ten others at once.
_FAN_IN = 16


@dataclass(frozen=True)
class Fleet:
    """Shards on a cluster.

    Attributes
    ----------
    cluster : Cluster
        Where they are.
    shards : list of Future
        Of each `Shard`.
    sizes : list of int
        Rows to train on of each.
    n_threads : int or None
        Threads of a task; None for all of its worker.
    """

    cluster: Cluster
    shards: list[Future]
    sizes: list[int]
    n_threads: int | None

    def of_each(self, function: Callable[..., Any], *arguments: Any) -> list[Future]:
        """Have a function of each shard called at its home."""
        return [
            self.cluster.submit(number, function, shard, *arguments, self.n_threads)
            for number, shard in enumerate(self.shards)
        ]

    def held_out(self) -> tuple[Array, Array | None]:
        """Targets and weights of the validation rows of all shards, in their order."""
        futures = [self.cluster.submit(k, held_out, shard) for k, shard in enumerate(self.shards)]
        found = [self.cluster.result(future) for future in futures]
        self.cluster.forget(futures)
        targets = np.concatenate([targets for targets, _ in found])
        if all(weight is None for _, weight in found):
            return targets, None
        return targets, np.concatenate(
            [np.ones(len(t)) if weight is None else weight for t, weight in found]
        )

    def grouped(
        self, function: Callable[..., Any], futures: list[Future]
    ) -> tuple[list[Future], list[Future]]:
        """Have results put together in groups, until few are left; always in the same order.

        Returns
        -------
        left : list of Future
            So few that one task can put them together.
        made : list of Future
            All that have been made on the way.
        """
        made: list[Future] = []
        while len(futures) > _FAN_IN:
            futures = [
                self.cluster.submit(first, function, *futures[first : first + _FAN_IN])
                for first in range(0, len(futures), _FAN_IN)
            ]
            made += futures
        return futures, made


@dataclass
class Rounds(Training):
    """Training whose epochs are rounds of all shards.

    Attributes
    ----------
    fleet : Fleet
        The shards.
    task : Task
        What each does.
    rate_scale : float
        By which learning rates are multiplied in a shard.
    score_of : callable or None
        What early stopping goes by, of sums over the validation rows; None where it goes by the
        metric of the `Validation`, which is given the probabilities of all of them.
    """

    fleet: Fleet = field(kw_only=True)
    task: Task = field(kw_only=True)
    rate_scale: float = field(kw_only=True)
    score_of: Callable[[Score], float] | None = field(kw_only=True)
    _epoch: int = field(default=0, init=False)

    def train_epoch(self, rates: float | Array) -> tuple[float, int]:
        """Train for an epoch: the mean loss of its minibatches, and how many rows they had."""
        with self._keeping_epochs(self._epoch):
            return self._train_epoch(rates)

    @contextmanager
    def _keeping_epochs(self, n_whole: int) -> Iterator[None]:
        """Have an error end training as an interrupt does, if so many epochs are any.

        The estimator takes on the newest whole epoch, and `fit` raises the error then.
        """
        try:
            yield
        except Exception as error:
            if n_whole == 0:
                raise
            self.fleet.cluster.failure = error
            raise KeyboardInterrupt from error

    def _train_epoch(self, rates: float | Array) -> tuple[float, int]:
        fleet, task = self.fleet, replace(self.task, regularisation=self.session.regularisation)
        cluster = fleet.cluster
        cluster.plan()
        scaled = rates * self.rate_scale
        newest = cluster.submit(0, work.value, Progress(self.session.state()))
        passed = [newest]
        for k in range(task.n_rounds):
            parts = [
                cluster.submit(
                    number, work.train, shard, newest, task, (self._epoch, k, number), scaled,
                    fleet.n_threads,
                )
                for number, shard in enumerate(fleet.shards)
            ]  # fmt: skip
            left, made = fleet.grouped(work.mean_of_group, parts)
            newest = cluster.submit(0, work.mean, newest, *left)
            passed += [*parts, *made, newest]
        cluster.forget(passed[:-1])  # Dask keeps those that others need
        progress = cluster.result(newest)
        cluster.forget([newest])
        self.session.load(progress.state)
        self._epoch += 1
        return progress.losses / max(1, progress.counted), sum(fleet.sizes)

    def measure(self, validation: Validation) -> tuple[float, float]:
        """Loss and score on the validation rows of all shards."""
        with self._keeping_epochs(self._epoch - 1):  # the newest has no score yet
            return self._measure(validation)

    def _measure(self, validation: Validation) -> tuple[float, float]:
        cluster, network = self.fleet.cluster, self.session.network
        flat = network.flatten(self.session.get_parameters())
        parameters = cluster.submit(0, work.value, flat)
        futures = self.fleet.of_each(work.score, parameters, self.task, self.score_of is None)
        total: Score = reduce(add, [cluster.result(future) for future in futures], Score())
        cluster.forget([parameters, *futures])
        if self.score_of is None:
            probabilities = np.concatenate(total.probabilities)
            score = validation.score(probabilities, self.session.get_parameters)
        else:
            score = self.score_of(total)
        return total.loss / total.weight, score


class ShardedLoss:
    """The loss over all shards, in the place of the session that L-BFGS asks for it.

    Parameters
    ----------
    fleet : Fleet
        The shards.
    task : Task
        Of a float64 network, with the strength of the L2 term.
    parameters : tuple of (coefs, intercepts)
        To start from.
    """

    def __init__(self, fleet: Fleet, task: Task, parameters: Parameters) -> None:
        self.fleet, self.task = fleet, task
        self.set_parameters(*parameters)

    @property
    def network(self) -> Network:
        """The structure."""
        return self.task.network

    def prepare(self, *_: Any, regularisation: Any, **__: Any) -> None:
        """Take note of what is part of the loss."""
        self.task = replace(self.task, regularisation=regularisation)

    def end_training(self) -> None:
        """Do nothing: no rows lie here."""

    def set_parameters(self, coefs: list[Array], intercepts: list[Array]) -> None:
        """Take weights and biases."""
        self._flat = self.network.flatten((coefs, intercepts)).astype(np.float64)

    def get_parameters(self) -> Parameters:
        """Weights and biases."""
        return self.network.unflatten(self._flat.copy())

    def loss_and_gradient(self) -> tuple[float, Parameters]:
        """Mean loss over all rows with its L2 term, and its gradient."""
        cluster, network, alpha = self.fleet.cluster, self.network, self.task.alpha
        cluster.plan()
        parameters = cluster.submit(0, work.value, self._flat)
        futures = self.fleet.of_each(work.gradient, parameters, self.task)
        left, made = self.fleet.grouped(work.add, futures)
        whole = cluster.submit(0, work.add, *left)
        cluster.forget([parameters, *futures, *made])
        loss, slope, total = cluster.result(whole)
        cluster.forget([whole])
        weights, biases = network.unflatten(self._flat)
        penalty = network.flatten((weights, [np.zeros_like(b) for b in biases]))
        loss = (loss + 0.5 * alpha * float(penalty @ penalty)) / total
        return loss, network.unflatten((slope + alpha * penalty) / total)
