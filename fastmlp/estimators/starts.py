"""Training from several random starts, of which the best is kept: the loss is not convex (N12)."""

from __future__ import annotations

import contextvars
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.network.session import Session
from fastmlp.runtime.threads import Work
from fastmlp.training.loop import FitResult

Array = NDArray[Any]
Job = Callable[[], "Trained"]


@dataclass(frozen=True)
class Trained:
    """What came of one start.

    Attributes
    ----------
    result : FitResult
        The model.
    learned : dict
        Further attributes of an estimator.
    is_kept : bool
        Whether it is wanted whatever the others reach.
    is_last : bool, default=False
        Whether a callback has asked that no other begins.
    """

    result: FitResult
    learned: dict[str, Any]
    is_kept: bool = False
    is_last: bool = False

    def forget(self) -> None:
        """Drop the model, and leave how good it was."""
        self.result.parameters, self.result.state = ([], []), None
        self.learned.clear()


def generators(rng: np.random.RandomState, n_init: int) -> list[np.random.RandomState]:
    """Give each start a generator of random numbers: the first one has `rng` itself.

    The seeds of the others come from a copy of it, so that the first start is that of ``n_init=1``.
    """
    if n_init == 1:
        return [rng]
    seeds = copy.deepcopy(rng).randint(2**31 - 1, size=n_init - 1)
    return [rng, *map(np.random.RandomState, seeds.tolist())]


def one_after_another(jobs: Sequence[Job]) -> list[Trained]:
    """Train from each start in turn; an interrupt ends all, and so does a callback."""
    trained: list[Trained] = []
    for job in jobs:
        trained.append(job())
        _keep_best(trained)
        if trained[-1].result.interrupted or trained[-1].is_last:
            break
    return trained


def side_by_side(
    jobs: Sequence[Job],
    sessions: dict[int, Session],
    n_threads: int,
    compile_all: Callable[[], None] = lambda: None,
) -> list[Trained]:
    """Train from the starts in so many threads at once.

    An interrupt ends all of them with the weights that they have, and those that have not begun are
    left out. Where another exception comes, they end before it goes on.

    Parameters
    ----------
    jobs : sequence of callable
        Each trains from one start.
    sessions : dict of int to Session
        In which they do, until each is trained.
    n_threads : int
        Starts that are trained at once.
    compile_all : callable, optional
        Compiles what the jobs run. They would do it themselves, and could not be ended meanwhile.
    """
    trained: dict[int, Trained] = {}
    errors: list[BaseException] = []
    stopped: list[bool] = []
    numbers = iter(range(len(jobs)))  # each thread takes the next

    def train() -> None:
        try:
            for number in numbers:
                if stopped:
                    break
                trained[number] = jobs[number]()
        except BaseException as error:
            errors.append(error)

    # Each in a copy of the context, which has NumPy's settings for overflows.
    contexts = [contextvars.copy_context() for _ in range(min(n_threads, len(jobs)))]
    works = [Work(partial(context.run, train)) for context in contexts]
    interrupted = False
    try:
        compile_all()
        for work in works:
            work.begin()
        _watch(works, trained, errors)
    except KeyboardInterrupt:
        interrupted = True
    finally:
        stopped.append(True)
        if not all(work.ended for work in works):
            for session in sessions.copy().values():  # from which threads take theirs meanwhile
                session.cancel()
        for work in works:
            work.leave()
    if errors:
        raise errors.pop(0)
    found = _in_order(trained) or [jobs[0]()]
    if interrupted:
        # All of them may have come to their end, while others had not begun.
        found[0].result.interrupt()
    return found


def _watch(
    works: Sequence[Work[None]], trained: dict[int, Trained], errors: Sequence[BaseException]
) -> None:
    """Wait for the end of all, or for an error."""
    while not errors:
        at_work = [work for work in works if not work.ended]
        if not at_work:
            break
        at_work[0].wait()
        _keep_best(_in_order(trained))


def _in_order(trained: dict[int, Trained]) -> list[Trained]:
    return [trained[number] for number in sorted(trained)]


def reached(trained: Sequence[Trained]) -> Array:
    """Find the best validation score of each start, or without validation its last loss.

    NaN stands for none: an interrupt may come before the first.
    """
    if any(each.result.validation_scores for each in trained):
        return np.array([max(each.result.validation_scores, default=np.nan) for each in trained])
    return np.array([each.result.loss for each in trained])


def best_of(trained: Sequence[Trained]) -> Trained:
    """Find the start with the best score, or the lowest loss; the first of equals.

    Where an interrupt has ended any of them, its result says so.
    """
    best = _best(trained)
    if any(each.result.interrupted for each in trained):
        best.result.interrupt()
    return best


def _best(trained: Sequence[Trained]) -> Trained:
    scored = any(each.result.validation_scores for each in trained)
    numbers = reached(trained)
    numbers = np.where(np.isnan(numbers), -np.inf if scored else np.inf, numbers)
    return trained[int(np.argmax(numbers) if scored else np.argmin(numbers))]


def _keep_best(trained: Sequence[Trained]) -> None:
    """Have all but the best of those that have ended forget their models: many would fill memory.

    It is the best in the order of the starts, so it does not matter which of them end first.
    """
    if trained:
        best = _best(trained)
        for each in trained:
            if each is not best and not each.is_kept:
                each.forget()
