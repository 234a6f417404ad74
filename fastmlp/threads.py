"""Threads that share a compiled call: how many, and what an interrupt or a fork means to them.

Python serves signals in its main thread, and only while that thread runs Python code. So what may
take long, a compilation or a call that cannot be cut into slices, runs in another thread, and the
main thread waits for it in Python.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import partial
from multiprocessing import process
from typing import Any

import numba
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import WarningsFixer  # type: ignore[attr-defined]
from numba.np.ufunc import parallel

from fastmlp import cores
from fastmlp.kernels.tasks import INSIDE, LEFT, PATIENCE, stop

#: How often a waiting thread looks around; on Windows, a wait without a limit hears no Ctrl-C.
_WAIT_SECONDS = 0.1

#: Nanoseconds that a thread of a shared call waits before it yields, unless cores are too few.
_PATIENCE = 100_000


class _Call:
    """A call of a compiled function that any number of threads may make together."""

    def __init__(self, function: Callable[..., Any], control: Any, *arguments: Any) -> None:
        self.work = partial(function, control, *arguments)
        self._cores: set[int] = set()

    def __call__(self) -> None:
        """Make the call in the thread that it is made for."""
        core = cores.current()
        if core is not None:
            self._cores.add(core)
        self.work()

    def help(self) -> None:
        """Make the call in another thread as well, on a core of its own.

        On a busy machine the operating system may wake a helper on the core of the thread that
        called it, and leave both there.
        """
        if cores.current() in self._cores:
            cores.leave(self._cores)
        self()


class _Helpers:
    """Threads that are started once and take part in the newest calls when they are free."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="fastmlp")
        self._calls: deque[Callable[[], None]] = deque()
        self._tokens = threading.Semaphore(size)

    def invite(self, call: Callable[[], None], count: int) -> None:
        """Have up to `count` helpers make the call too, until it is withdrawn."""
        for _ in range(count):
            self._calls.append(call)
            # No more wake-ups wait than there are helpers, and each takes the newest call.
            if self._tokens.acquire(blocking=False):
                try:
                    self._threads.submit(self._help)
                except RuntimeError:  # no more threads, or the interpreter is shutting down
                    self._tokens.release()
                    return

    def withdraw(self, call: Callable[[], None]) -> None:
        """Forget a call that has ended, and with it the buffers that it works in."""
        # To remove what is not there is an error that prints the call, all its arrays included:
        # milliseconds. It is left to the rare case that a helper takes the call in between.
        while call in self._calls:
            with suppress(ValueError):
                self._calls.remove(call)

    def _help(self) -> None:
        self._tokens.release()
        with suppress(IndexError):
            self._calls.pop()()


_helpers: _Helpers | None = None
_threads_of_calls: dict[int, int] = {}  # threads of the calls under way
_compiled: set[Any] = set()
_holds_compiler = False


def _before_fork() -> None:
    """Let a compilation in another thread end: the child would inherit its lock, locked."""
    global _holds_compiler
    global_compiler_lock.acquire()
    _holds_compiler = True


def _after_fork() -> None:
    global _holds_compiler
    if _holds_compiler:
        _holds_compiler = False
        global_compiler_lock.release()


def _after_fork_in_child() -> None:
    """The child has none of its parent's threads."""
    global _helpers
    _helpers = None
    _threads_of_calls.clear()
    _after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
    )


def available_threads(n_threads: int | None) -> int:
    """Threads that a call may use: `n_threads`, or numba's setting for the calling thread.

    In a worker of a pool of processes (of multiprocessing, of joblib's backend of that name, of
    Dask) it is one, because the other workers have the other cores. NUMBA_NUM_THREADS, which loky
    sets for its workers, comes before that.
    """
    if n_threads is not None:
        return n_threads
    if process.current_process().daemon and "NUMBA_NUM_THREADS" not in os.environ:
        return 1
    # Asking numba starts its threading layer, of which this package needs none. Unless somebody
    # else has started it, the number is still what numba was configured with.
    if getattr(parallel, "_is_initialized", True):
        return int(numba.get_num_threads())
    return int(numba.config.NUMBA_NUM_THREADS)


def _apart(work: Callable[[], None]) -> None:
    """Have another thread do the work, so that an interrupt is served at once.

    Signals go to the main thread; any other one does the work itself. The work goes on where its
    caller is interrupted.
    """
    if threading.current_thread() is not threading.main_thread():
        work()
        return
    done = threading.Event()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    try:
        threading.Thread(target=run, name="fastmlp", daemon=True).start()
    except RuntimeError:  # no more threads
        work()
        return
    while not done.wait(_WAIT_SECONDS):
        pass
    if errors:
        raise errors[0]


def _compile(function: Any, signature: tuple[Any, ...]) -> None:
    with global_compiler_lock:
        # Where it infers types, numba has the warnings of the whole process go to a list of its
        # own. Not here: that of an interrupted fit would get lost.
        catch_warnings = WarningsFixer.catch_warnings
        WarningsFixer.catch_warnings = lambda *_, **__: nullcontext()
        try:
            function.compile(signature)
        finally:
            WarningsFixer.catch_warnings = catch_warnings


def compile_for(function: Any, arguments: tuple[Any, ...]) -> None:
    """Compile a function, which takes arguments of the same types in every call, for its first one.

    An interrupt does not wait for the compiler. What it has begun is there for a later call.
    """
    if function in _compiled:
        return
    signature = tuple(map(numba.typeof, arguments))
    _apart(partial(_compile, function, signature))
    _compiled.add(function)


def run_together(
    function: Callable[..., Any],
    n_threads: int,
    control: Any,
    *arguments: Any,
    stoppable: bool = False,
) -> None:
    """Call a GIL-free compiled function that shares its work (see `kernels.tasks`) n_threads times.

    The calling thread takes part and does not depend on the others: where no helper can be started
    or none comes in time, it does all the work.

    If an exception (an interrupt) arrives, no thread writes to the buffers when it goes on. The
    work has then been finished, or, where it is `stoppable`, given up at any point of it.
    """
    call = _Call(function, control, *arguments)
    helpers = None
    try:
        if n_threads > 1:
            _threads_of_calls[id(call)] = n_threads
            if sum(list(_threads_of_calls.values())) <= numba.config.NUMBA_DEFAULT_NUM_THREADS:
                control[PATIENCE] = _PATIENCE
            helpers = _helpers_for(n_threads)
            helpers.invite(call.help, n_threads - 1)
        if stoppable:
            _apart(call)
        else:
            call()
    except BaseException:
        _insist(partial(_give_up, control) if stoppable else call.work)
        raise
    finally:
        try:
            if helpers is not None:
                helpers.withdraw(call.help)
        finally:
            _threads_of_calls.pop(id(call), None)


def _helpers_for(n_threads: int) -> _Helpers:
    global _helpers
    helpers = _helpers
    if helpers is None or helpers.size < n_threads - 1:
        helpers = _helpers = _Helpers(n_threads - 1)
    return helpers


def _give_up(control: Any) -> None:
    """Stop a call, and wait until every thread has left it."""
    stop(control)
    while control[LEFT] < control[INSIDE]:
        time.sleep(0.001)


def _insist(work: Callable[[], None]) -> None:
    """Do the work to its end, however often it is interrupted."""
    while True:
        try:
            return work()
        except KeyboardInterrupt:
            continue
