"""Threads that help with a compiled call, and how many of them are worth their start."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba

_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def _forget_pool() -> None:
    """After a fork the child has none of its parent's threads."""
    global _pool, _pool_size
    _pool, _pool_size = None, 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def available_threads(n_threads: int | None) -> int:
    """Threads that a call may use: `n_threads`, or numba's setting for the calling thread."""
    return int(numba.get_num_threads()) if n_threads is None else n_threads


def _call_helpers(function: Callable[..., Any], n_helpers: int, arguments: tuple[Any, ...]) -> None:
    global _pool, _pool_size
    try:
        if _pool is None or _pool_size < n_helpers:
            _pool = ThreadPoolExecutor(n_helpers, thread_name_prefix="fastmlp")
            _pool_size = n_helpers
        for _ in range(n_helpers):
            _pool.submit(function, *arguments)
    except RuntimeError:  # no more threads, or the interpreter is shutting down
        pass


def run_together(function: Callable[..., Any], n_threads: int, *arguments: Any) -> None:
    """Call a GIL-free compiled function that shares its work (see `kernels.tasks`) n_threads times.

    The calling thread takes part and does not depend on the others: where no helper can be started
    or none comes in time, it does all the work. If an exception (an interrupt) arrives before its
    own call, the work is still finished before the exception goes on, so that no helper is left
    writing to the buffers and the weights are whole.
    """
    try:
        if n_threads > 1:
            _call_helpers(function, n_threads - 1, arguments)
        function(*arguments)
    except BaseException:
        function(*arguments)
        raise
