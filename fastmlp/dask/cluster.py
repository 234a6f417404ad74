"""The cluster: which worker is home to which shard, tasks on it, and waits that all have an end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

import dask
from distributed import Client, Future, KilledWorker, rejoin, secede
from distributed import default_client as the_default_client
from distributed import get_client as client_of_task

from fastmlp.dask.collections import Partition, sources

#: How often a wait looks at the cluster.
_WAIT_SECONDS = 1.0

#: How often it is asked whether one of several results is there, of which this process is told.
_POLL_SECONDS = 0.005

#: The least that a scheduler is given to answer: one that is busy takes some seconds.
_ANSWER_SECONDS = 10.0

#: The most partitions that a message names.
_MOST_NAMES = 10

#: Settings of Dask are those of the process: threads take turns, so that the last restores them.
_settings_lock = threading.Lock()


@contextmanager
def _large_graphs() -> Iterator[None]:
    """Have Dask take large tasks without a warning.

    Rows of a partition may be part of one, where y is an array of this process.
    """
    key = "distributed.admin.large-graph-warning-threshold"
    with _settings_lock, dask.config.set({key: "1 TiB"}):
        yield


@contextmanager
def thread_left() -> Iterator[None]:
    """Leave a worker's thread to the tasks of a training, where a task is what trains.

    They would wait for it, and it for them.
    """
    has_left = True
    try:
        secede()
    # No task, one that has left it already, as by worker_client, or another thread of a task.
    except (ValueError, KeyError, AttributeError):
        has_left = False
    try:
        yield
    finally:
        if has_left:
            rejoin()


def client_for(client: Client | None) -> Client:
    """The client to use: this one, or that of the task, or the one made last.

    Raises
    ------
    ValueError
        If there is none, or if it is an asynchronous one.
    """
    if client is None:
        try:
            client = the_default_client()
        except ValueError:
            try:
                client = client_of_task()
            except ValueError:
                raise ValueError(
                    "There is no Dask client: make one with distributed.Client(), or give `client`."
                ) from None
    if getattr(client, "asynchronous", False):
        raise ValueError("client must not be asynchronous.")
    return client


def workers_of(client: Client, timeout: float) -> dict[str, Any]:
    """What is known of all workers that there are, by address."""
    # Not `client.scheduler_info`: it has no end, and in some versions it tells of five workers.
    return dict(_answer(client, timeout, lambda: client.scheduler.identity())["workers"])


def _answer(client: Client, timeout: float, ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask the scheduler, which may stand still while its connections are open.

    Raises
    ------
    RuntimeError
        If there is no connection to it.
    TimeoutError
        If it does not answer in time.
    """
    seconds = max(timeout, _ANSWER_SECONDS)
    if client.status != "running":
        raise RuntimeError("The connection to the Dask scheduler is lost.")
    try:
        return client.sync(ask, callback_timeout=seconds)
    except TimeoutError:
        raise TimeoutError(f"The Dask scheduler has not answered for {seconds:g} s.") from None
    except OSError as error:
        raise RuntimeError(f"The Dask scheduler cannot be reached: {error}") from error


def homes(workers: Sequence[str], n_shards: int, before: Sequence[str] = ()) -> list[str]:
    """Say which worker is home to each shard.

    Those that have a home keep it while it is there. Where one worker has two more than another,
    because workers have gone or come, one of its shards moves.

    Parameters
    ----------
    workers : sequence of str
        Addresses of those that there are; at least one.
    n_shards : int
        How many shards there are.
    before : sequence of str
        Homes that they had.
    """
    found: list[str | None] = [None] * n_shards
    found[: len(before)] = [home if home in workers else None for home in before]
    count = {worker: found.count(worker) for worker in sorted(workers)}
    for number, home in enumerate(found):
        if home is None:
            found[number] = least = min(count, key=lambda worker: count[worker])
            count[least] += 1
    while max(count.values()) > min(count.values()) + 1:
        most, least = (f(count, key=lambda worker: count[worker]) for f in (max, min))
        found[len(found) - 1 - found[::-1].index(most)] = least
        count[most], count[least] = count[most] - 1, count[least] + 1
    return [home for home in found if home is not None]


class Cluster:
    """Tasks at the homes of shards; as a context, it leaves no future behind.

    Parameters
    ----------
    client : Client
        Of the cluster.
    n_shards : int
        How many there are.
    timeout : float
        Seconds to wait for a worker where there is none, and for what the scheduler has to say.
    """

    def __init__(self, client: Client, n_shards: int, timeout: float) -> None:
        self.client, self.timeout = client, timeout
        self.homes: list[str] = []
        #: What has ended a training that had whole epochs.
        self.failure: Exception | None = None
        #: The partitions, by what they are called.
        self.given: dict[str, Partition] = {}
        self._were_homes: set[str] = set()  # of tasks of all epochs
        self._n_shards = n_shards
        self._futures: set[Future] = set()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        # Released, and not cancelled: where tasks that the client has let go of depend on cancelled
        # ones, an assertion of the scheduler's fails. It drops the client then, and all data that
        # are the user's.
        self.forget(list(self._futures))

    def workers(self) -> dict[str, Any]:
        """What is known of the workers that there are, by address."""
        return workers_of(self.client, self.timeout)

    def plan(self) -> None:
        """Give shards a home, where theirs is gone; waits for a worker if there is none."""
        latest = None
        while not (workers := self.workers()):
            latest = self._latest(latest)
            time.sleep(min(0.1, self.timeout))
        self.homes = homes(list(workers), self._n_shards, self.homes)
        self._were_homes.update(self.homes)

    def compute(self, tasks: Sequence[Any], number: int) -> list[Future]:
        """Have delayed tasks done at the home of a shard."""
        with _large_graphs():
            futures = self.client.compute(
                list(tasks), workers=[self.homes[number]], allow_other_workers=True
            )
        self._futures.update(futures)
        return list(futures)

    def submit(
        self, number: int, function: Callable[..., Any], *arguments: Any, priority: int = 0
    ) -> Future:
        """Have a function called at the home of a shard; a higher priority goes first."""
        with _large_graphs():
            future = self.client.submit(
                function, *arguments, workers=[self.homes[number % len(self.homes)]],
                allow_other_workers=True, pure=False, priority=priority,
            )  # fmt: skip
        self._futures.add(future)
        return future

    def forget(self, futures: Sequence[Future]) -> None:
        """Let go of results."""
        for future in futures:
            self._futures.discard(future)
            future.release()

    def results(self, futures: Sequence[Future]) -> Iterator[tuple[int, Any]]:
        """Wait for results, and go through them with their places in the order they come in.

        Of several that are errors, the first in the order of places is raised.
        """
        waiting, latest, looked = dict(enumerate(futures)), None, time.monotonic()
        while waiting:
            # Until those before it are there, an error waits: which one is told must not depend on
            # who was fast.
            first = next(iter(waiting))
            ready = [
                place
                for place, future in waiting.items()
                if future.done() and (place == first or future.status != "error")
            ]
            for place in ready:
                yield place, self.result(waiting.pop(place))
            if not ready:
                time.sleep(_POLL_SECONDS)
                if time.monotonic() > looked + _WAIT_SECONDS:
                    latest, looked = self._latest(latest), time.monotonic()

    def result(self, future: Future) -> Any:
        """Wait for a result, while there is a cluster that may come to it.

        Raises
        ------
        RuntimeError
            If the cluster is gone, or if one task has ended several workers.
        TimeoutError
            If there has been no worker for too long, or no answer of the scheduler.
        """
        # A wait that is cut short would end transfers that it shares with those of other threads.
        gathered, latest, cut = self._gather(future), None, None
        while True:
            try:
                return gathered.result(timeout=_WAIT_SECONDS)
            except KilledWorker as error:
                raise RuntimeError(
                    f"Workers have ended again and again while they trained ({error}). If it is "
                    "for lack of memory, give each fewer or smaller partitions, or take "
                    "fastmlp.streaming.fit."
                ) from error
            except CancelledError as error:
                if gathered.cancelled() and not future.cancelled():
                    # Another thread has cut its wait short. One that was queueing would have Dask
                    # cut all later ones of this client short, too.
                    cut = cut or time.monotonic()
                    if time.monotonic() > cut + self.timeout:
                        raise RuntimeError(
                            "This Dask client brings no results any more, because a wait for one "
                            "was cut short: make another."
                        ) from error
                    time.sleep(min(0.1, self.timeout))
                    gathered = self._gather(future)
                    continue
                raise RuntimeError(self._why_dropped()) from error
            except TimeoutError as error:
                of_task = gathered.done() and not gathered.cancelled()
                if of_task and gathered.exception() is error:
                    raise
                latest = self._latest(latest)

    def _why_dropped(self) -> str:
        """What Dask does not say where it drops a task."""
        states = list(self.client.futures.items())
        gone = {key for key, state in states if state.status in ("lost", "cancelled")}
        lost = [name for name, keys in sources(self.given).items() if keys & gone]
        if not lost:
            return (
                "Dask has dropped a task of this training: the scheduler is gone, or data that "
                "were sent to a worker were lost with it, which nobody can compute again."
            )
        names = ", ".join(lost[:_MOST_NAMES])
        if len(lost) > _MOST_NAMES:
            names += f", ... ({len(lost)} in all)"
        return (
            f"Data that nobody can compute again were lost with the worker that had them: {names}. "
            "Dask makes anew what it has computed itself, and not what client.scatter has sent."
        )

    def _gather(self, future: Future) -> Any:
        return asyncio.run_coroutine_threadsafe(
            self.client.gather(future, asynchronous=True), self.client.loop.asyncio_loop
        )

    def _wake(self) -> None:
        """Have tasks done that the scheduler has put aside because there was no worker.

        When one comes, it takes up again only those whose home that is, and not those that may be
        done elsewhere too.
        """

        # Within another function, so that it travels whole: a scheduler need not have this package.
        def wake(dask_scheduler: Any) -> None:
            aside = {
                ts.key: "processing" for ts in dask_scheduler.unrunnable if ts.loose_restrictions
            }
            if aside:
                dask_scheduler.transitions(aside, stimulus_id="fastmlp-wake")

        _answer(
            self.client, self.timeout, lambda: self.client.run_on_scheduler(wake, asynchronous=True)
        )

    def _latest(self, latest: float | None) -> float | None:
        """Until when to wait for a worker, if there is none that takes tasks.

        latest : what it was when the last look was taken
        """
        workers = self.workers()
        if any(worker.get("status", "running") == "running" for worker in workers.values()):
            if not workers.keys() >= self._were_homes:
                self._wake()
            return None
        now = time.monotonic()
        if latest is None:
            return now + self.timeout
        if now > latest:
            what = "only workers that are paused, for lack of memory" if workers else "no worker"
            raise TimeoutError(f"The cluster has had {what} for {self.timeout:g} s.")
        return latest
