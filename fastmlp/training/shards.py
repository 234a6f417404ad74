"""Training on rows that lie in several processes, each of which has a shard of them.

The functions are pure: they know of no cluster, and any number of processes that call them in any
order come to the same numbers. An epoch has rounds. In a round each shard goes on from the common
state over its next share of its rows, by itself; then the states are averaged. (Local SGD, or
federated averaging: B. McMahan et al., "Communication-efficient learning of deep networks from
decentralized data", AISTATS 2017.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.data.parts import Part, piece_rows
from fastmlp.data.rows import as_rows
from fastmlp.network.layout import Network
from fastmlp.network.optimizer import Optimizer
from fastmlp.network.regularisation import Regularisation
from fastmlp.network.session import Session, State
from fastmlp.training.blocks import Shard
from fastmlp.training.windows import Pieces, read, train_on, window_rows

Array = NDArray[Any]

#: Most bytes of the window in which a shard's rows are mixed. More mix no better: a window of this
#: size holds a hundred pieces.
WINDOW_BYTES = 2**26

#: Rows that a shard evaluates or sums gradients over at once.
_ROWS_AT_ONCE = 2**16


@dataclass(frozen=True)
class Task:
    """What every shard does in a training.

    Attributes
    ----------
    network : Network
        Widths, activations and dtype.
    optimizer : Optimizer
        Update and constants.
    regularisation : Regularisation
        What else is done; its seed is that of shard 0.
    alpha : float
        Strength of the L2 term.
    batch_size : int
        Rows of a minibatch.
    shuffle : bool
        Whether rows are taken in a new order in each epoch.
    seed : int
        What orders are drawn from, with the numbers of epoch and shard.
    n_rounds : int
        Rounds of an epoch.
    """

    network: Network
    optimizer: Optimizer
    regularisation: Regularisation
    alpha: float
    batch_size: int
    shuffle: bool
    seed: int
    n_rounds: int


@dataclass(frozen=True)
class Progress:
    """A state, and what the epoch came to on the way there.

    Attributes
    ----------
    state : State
        Weights, moments and step.
    losses : float
        Σ loss · rows of the epoch's minibatches so far.
    counted : int
        Their rows.
    """

    state: State
    losses: float = 0.0
    counted: int = 0


def session_for(task: Task, state: State, n_threads: int) -> Session:
    """A session in this state, which has no rows yet."""
    session = Session(task.network, n_threads)
    none = as_rows(np.empty((0, task.network.widths[0]), task.network.dtype), task.network.dtype)
    session.prepare(
        none, np.empty(0, np.bool_), None, task.batch_size, alpha=task.alpha,
        optimizer=task.optimizer, regularisation=task.regularisation,
    )  # fmt: skip
    session.load(state)
    return session


def train_round(
    shard: Shard, progress: Progress, task: Task, place: tuple[int, int, int],
    rates: float | Array, n_threads: int,
) -> Progress:  # fmt: skip
    """Train on a shard's share of a round, from the common state on.

    Parameters
    ----------
    shard : Shard
        The rows.
    progress : Progress
        Where all shards stand.
    task : Task
        How to train.
    place : tuple of (epoch, round, number of the shard)
        Which share it is.
    rates : float or ndarray
        Learning rate of the epoch, or rates at equal distances over the epoch.
    n_threads : int
        Threads to use.

    Returns
    -------
    Progress
        Where this shard stands. Its sums are those of this round alone.
    """
    epoch, n_round, number = place
    first, last = (share_of(shard.n_rows, k, task) for k in (n_round, n_round + 1))
    if first == last:
        return Progress(progress.state)
    own = replace(task.regularisation, seed=_seed(task.regularisation.seed, number))
    session = session_for(replace(task, regularisation=own), progress.state, n_threads)
    most = max(1, WINDOW_BYTES // shard.row_bytes // task.batch_size) * task.batch_size
    size = window_rows(last - first, most, task.batch_size)
    pieces = Pieces(
        shard.n_rows, piece_rows(shard.row_bytes, min(most, -(-shard.n_rows // task.n_rounds)))
    )
    order = np.arange(pieces.n_pieces, dtype=np.int64)
    if task.shuffle:
        np.random.default_rng([task.seed, epoch, number]).shuffle(order)
    room = shard.room(min(size, last - first))

    def windows() -> Iterator[Part]:
        for begin in range(first, last, room.n_rows):
            end = min(begin + room.n_rows, last)
            yield read(shard, pieces.ranges(order, begin, end), room)

    bits = np.random.MT19937(np.random.SeedSequence([task.seed, epoch, number, n_round]))
    if not isinstance(rates, float):
        batches = np.arange(first, last, task.batch_size)
        # At the same share of the epoch, however many minibatches a shard has.
        rates = rates[batches * len(rates) // shard.n_rows]
    rng = np.random.RandomState(bits)
    sums = train_on(session, windows(), rates, task.batch_size, rng, task.shuffle)
    state = session.state()
    session.end_training()
    return Progress(state, sums.losses, sums.counted)


def share_of(n_rows: int, n_round: int, task: Task) -> int:
    """The place among a shard's rows where a round begins: between two minibatches."""
    if n_round == task.n_rounds:
        return n_rows
    return n_rows * n_round // task.n_rounds // task.batch_size * task.batch_size


def _seed(seed: int, number: int) -> int:
    """A seed for dropout in a shard."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0]) if number else seed


def average(before: Progress | None, shards: Sequence[Progress]) -> Progress:
    """Average the states of shards by the rows that they trained on, in float64 and in this order.

    Steps are Adam's count of updates: that of the shard with the most.

    before : where all shards stood; None for a group of shards, which is to be averaged with others
    """
    total = sum(each.counted for each in shards)
    if before is None:
        before = Progress(shards[0].state)
    if total == 0:
        return before
    trained = [each for each in shards if each.counted]

    def mean(arrays: list[Array]) -> Array:
        result = np.zeros(len(arrays[0]))
        for each, array in zip(trained, arrays, strict=True):
            result += (each.counted / total) * array.astype(np.float64)
        return result.astype(arrays[0].dtype)

    states = [each.state for each in trained]
    n_moments = len(states[0].moments)
    averages = [state.average for state in states if state.average is not None]
    state = State(
        max(each.step for each in states),
        mean([each.parameters for each in states]),
        [mean([each.moments[k] for each in states]) for k in range(n_moments)],
        mean(averages) if averages else None,
    )
    losses = before.losses + sum(each.losses for each in shards)
    return Progress(state, losses, before.counted + total)


@dataclass(frozen=True)
class Score:
    """Sums over the validation rows of shards.

    Attributes
    ----------
    weight, loss, right : float
        Σ weights; Σ weight · loss; Σ weight of the rows whose class is predicted right.
    probabilities : tuple of ndarray of shape (n, 2)
        Of the rows, one after the other; none where they were not asked for.
    """

    weight: float = 0.0
    loss: float = 0.0
    right: float = 0.0
    probabilities: tuple[Array, ...] = ()

    def __add__(self, other: Score) -> Score:
        return Score(
            self.weight + other.weight, self.loss + other.loss, self.right + other.right,
            self.probabilities + other.probabilities,
        )  # fmt: skip


def evaluate(
    shard: Shard, parameters: Array, task: Task, with_probabilities: bool, n_threads: int
) -> Score:
    """Sum up loss and right predictions on a shard's validation rows, with flat weights.

    with_probabilities : whether to return those of each row too
    """
    score, session = Score(), _session_with(parameters, task.network, n_threads)
    for part in shard.parts(_ROWS_AT_ONCE, held_out=True):
        p = session.probabilities(as_rows(part.X, task.network.dtype))
        own = np.where(part.targets, p[:, 1], p[:, 0]).astype(np.float64)
        weight = np.ones(part.n_rows) if part.weight is None else part.weight
        right = (p[:, 1] > 0.5) == part.targets
        score += Score(
            float(weight.sum()), -float(weight @ np.log(own)), float(weight[right].sum()),
            (p,) if with_probabilities else (),
        )  # fmt: skip
    return score


def held_out(shard: Shard) -> tuple[Array, Array | None]:
    """Targets and weights of a shard's validation rows, in the order in which it has them."""
    parts = list(shard.parts(_ROWS_AT_ONCE, held_out=True))
    targets = [part.targets for part in parts]
    weights = [part.weight for part in parts if part.weight is not None]
    return (
        np.concatenate(targets) if targets else np.empty(0, np.bool_),
        np.concatenate(weights) if weights else None,
    )


def sum_gradient(
    shard: Shard, parameters: Array, task: Task, n_threads: int
) -> tuple[float, Array, float]:
    """Σ weight · loss over a shard, its gradient, and Σ weights; without an L2 term.

    parameters : flat weights and biases
    """
    network = task.network
    loss, gradient, total = 0.0, np.zeros(network.n_parameters), 0.0
    session = session_for(
        replace(task, alpha=0.0), State(0, parameters, _zeros(task, parameters)), n_threads
    )
    for part in shard.parts(_ROWS_AT_ONCE, held_out=False):
        weight = float(part.n_rows if part.weight is None else part.weight.sum())
        if weight == 0:
            continue
        session.feed(as_rows(part.X, network.dtype), part.targets, part.weight)
        mean, slope = session.loss_and_gradient()
        loss, total = loss + mean * weight, total + weight
        gradient += network.flatten(slope).astype(np.float64) * weight
    session.end_training()
    return loss, gradient, total


def _session_with(parameters: Array, network: Network, n_threads: int) -> Session:
    session = Session(network, n_threads)
    session.set_parameters(*network.unflatten(parameters))
    return session


def _zeros(task: Task, parameters: Array) -> list[Array]:
    return [np.zeros_like(parameters) for _ in range(task.optimizer.n_moments)]
