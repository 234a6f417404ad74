"""Training from several random starts, of which the best is kept: the loss is not convex (N12)."""

from __future__ import annotations

import contextvars
import copy
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastmlp.network.session import Session
from fastmlp.training.loop import FitResult

#: How often a waiting thread looks around: where a signal is another thread's, or on Windows, a
#: wait without a limit hears no Ctrl-C.
_WAIT_SECONDS = 0.1

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
    is_last : bool, default=False
        Whether a callback has asked that no other begins.
    """

    result: FitResult
    learned: dict[str, Any]
    is_last: bool = False

    @property
    def reached(self) -> float:
        """The best validation score, or without one the last loss."""
        scores = self.result.validation_scores
        return max(scores) if scores else self.result.loss


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
        if trained[-1].result.interrupted or trained[-1].is_last:
            break
    return trained


def side_by_side(jobs: Sequence[Job], sessions: Sequence[Session], n_threads: int) -> list[Trained]:
    """Train from the starts in so many threads at once.

    An interrupt ends all of them with the weights that they have, and those that have not begun are
    left out. Where another exception comes, they end before it goes on.

    Parameters
    ----------
    jobs : sequence of callable
        Each trains from one start.
    sessions : sequence of Session
        In which they do.
    n_threads : int
        Starts that are trained at once.
    """
    futures: list[Future[Trained]] = []
    pool = ThreadPoolExecutor(n_threads)
    interrupted = failed = False
    try:
        # Each in a copy of the context, which has NumPy's settings for overflows.
        futures += [pool.submit(contextvars.copy_context().run, job) for job in jobs]
        pending = set(futures)
        while pending and not failed:
            done, pending = wait(pending, _WAIT_SECONDS, FIRST_EXCEPTION)
            failed = any(future.exception() for future in done)
    except KeyboardInterrupt:
        interrupted = True
    except BaseException:
        _end(pool, sessions)
        raise
    if interrupted or failed:
        _end(pool, sessions)
    pool.shutdown()
    trained = [future.result() for future in futures if not future.cancelled()] or [jobs[0]()]
    if interrupted:
        # All of them may have come to their end, while others had not begun.
        trained[0].result.interrupt()
    return trained


def _end(pool: ThreadPoolExecutor, sessions: Sequence[Session]) -> None:
    """End what is under way."""
    for session in sessions:
        session.cancel()
    pool.shutdown(cancel_futures=True)


def best_of(trained: Sequence[Trained]) -> Trained:
    """Find the start with the best score, or the lowest loss; the first of equals.

    Where an interrupt has ended any of them, its result says so.
    """
    scored = bool(trained[0].result.validation_scores)
    reached = np.array([each.reached for each in trained])
    worst = -np.inf if scored else np.inf
    reached = np.where(np.isnan(reached), worst, reached)
    best = trained[int(np.argmax(reached) if scored else np.argmin(reached))]
    if any(each.result.interrupted for each in trained):
        best.result.interrupt()
    return best
