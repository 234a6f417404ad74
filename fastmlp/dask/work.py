"""What workers are given to do: functions of shards, with the threads that a worker has."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from distributed import get_worker
from scipy.sparse import issparse

from fastmlp.data.parts import Part
from fastmlp.training import blocks
from fastmlp.training.blocks import Packing, Shard, pack, row_bytes, stored_dtype
from fastmlp.training.shards import Progress, average, evaluate, sum_gradient, train_round

#: One for each worker of this process: a shard trains with all threads of its worker.
_one_at_a_time: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


def _alone(function: Callable[..., Any], *arguments: Any, n_threads: int | None) -> Any:
    """Call a function with all threads of this worker, while no other such call runs in it."""
    worker = get_worker()
    with _one_at_a_time[worker.address]:
        return function(*arguments, n_threads or worker.state.nthreads)


def train(
    shard: Any, progress: Progress, task: Any, place: Any, rates: Any, n_threads: int | None
) -> Any:
    """`train_round` at a worker."""
    return _alone(train_round, shard, progress, task, place, rates, n_threads=n_threads)


def mean(before: Progress, *shards: Progress) -> Progress:
    """`average` at a worker."""
    return average(before, shards)


def mean_of_group(*shards: Progress) -> Progress:
    """`average` of some shards, which is to be averaged with those of others."""
    return average(None, shards)


def score(
    shard: Any, parameters: Any, task: Any, with_probabilities: bool, n_threads: int | None
) -> Any:
    """`evaluate` at a worker."""
    return _alone(evaluate, shard, parameters, task, with_probabilities, n_threads=n_threads)


def gradient(shard: Any, parameters: Any, task: Any, n_threads: int | None) -> Any:
    """`sum_gradient` at a worker."""
    return _alone(sum_gradient, shard, parameters, task, n_threads=n_threads)


def add(*sums: tuple[float, Any, float]) -> tuple[float, Any, float]:
    """Add up losses, gradients and weights, in this order."""
    loss, slope, weight = sums[0]
    for each in sums[1:]:
        loss, slope, weight = loss + each[0], slope + each[1], weight + each[2]
    return loss, slope, weight


def value(it: Any) -> Any:
    """Return it: a task whose result Dask can compute again, as data that were sent it cannot."""
    return it


def info_of(packed: tuple[Any, Any]) -> Any:
    """What a client needs to know of a packed partition."""
    return packed[1]


def check_room(what: str, worker: str, n_bytes: int, limit: int | None, share: float) -> None:
    """ValueError if blocks of so many bytes are more than a share of a worker's memory."""
    if limit and n_bytes > share * limit:
        raise ValueError(
            f"For {what}, worker {worker} needs {n_bytes / 2**20:.0f} MiB, more than half of its "
            f"memory of {limit / 2**20:.0f} MiB. Take more workers, float32, or "
            "fastmlp.streaming.fit, which keeps rows on disk."
        )


def pack_partition(X: Any, y: Any, weight: Any, number: int, packing: Packing, share: float) -> Any:
    """`pack` at a worker; X may be a pair with y, or a triple with weights too."""
    if isinstance(X, tuple | list):
        if len(X) not in (2, 3):
            raise ValueError(f"{packing.name} {number} must be (X, y) or (X, y, weight).")
        X, y, weight = (*X, None)[:3]
    if getattr(X, "ndim", 0) == 2 and not issparse(X):  # `pack` says what is wrong with others
        # Before the copy is made, of which there may be no warning but the worker's end.
        size = row_bytes(X.shape[1], stored_dtype(X, packing.dtype), weighted=weight is not None)
        worker = get_worker()
        check_room(
            f"{packing.name} {number}", worker.address, X.shape[0] * size,
            worker.memory_manager.memory_limit, share,
        )  # fmt: skip
    return pack(X, y, weight, number, packing)


def make_shard(packed: Sequence[Any], digests: Sequence[int], *more: Any) -> Shard:
    """`make_shard` at a worker, of partitions with the rows that the client was told of.

    Raises
    ------
    RuntimeError
        If they are others, because they had to be computed again.
    """
    for (_, info), digest in zip(packed, digests, strict=True):
        if info.digest != digest:
            raise RuntimeError(
                f"{info.name} {info.number} has been computed again, because a worker was lost, "
                "and has other rows now. Give what is random in it a seed, and what is read an "
                "order."
            )
    return blocks.make_shard(packed, *more)


def first_rows(shard: Shard) -> Part:
    """Some rows of a shard, by which a client says what is wrong with others."""
    room = shard.room(min(shard.n_rows, 1000))
    shard.read(0, room)
    return room
