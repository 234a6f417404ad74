"""Work that another thread does, for a caller whom a signal's handler may interrupt at any moment.

Threads, events, futures and pools of the standard library are written in Python. An exception that
a handler raises within them leaves a thread that never begins, a lock that nobody will release, or
a thread that nobody waits for. Here is none of them: threads are those of `_thread`, flags are
attributes, and a lock only shortens a wait.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")

#: How often a waiting thread looks around; on Windows, a wait without a limit hears no Ctrl-C.
_WAIT_SECONDS = 0.1

_here = threading.local()

#: What threads do beside their callers, or are about to do.
_beside: set[Work[Any]] = set()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_beside.clear)  # which has none of these threads


def is_apart() -> bool:
    """Whether this thread does what the main thread has it do, and waits for."""
    work = getattr(_here, "work", None)
    return work is not None and not work.is_beside


def any_beside() -> bool:
    """Whether any thread works while its caller does something else."""
    return bool(_beside)


def _forget_dummy() -> None:
    """Drop the `threading.Thread` that this thread may have asked for: it would never go by itself.

    As long as it is there, it seems to be at work. Python does this itself from 3.13 on.
    """
    if sys.version_info < (3, 13):
        active: dict[int, threading.Thread] = threading._active  # type: ignore[attr-defined]
        if isinstance(active.get(_thread.get_ident()), threading._DummyThread):
            del active[_thread.get_ident()]


class Work(Generic[Result]):
    """Something that another thread does once.

    Parameters
    ----------
    do : callable
        Does it. It keeps alive what it needs.
    is_beside : bool, default=True
        Whether the caller does something else meanwhile.

    Attributes
    ----------
    ended : bool
        Whether it is done, or has failed.
    """

    def __init__(self, do: Callable[[], Result], *, is_beside: bool = True) -> None:
        self.ended = False
        self.is_beside = is_beside
        self._do = do
        self._begun = self._called_off = False
        self._results: list[Result] = []
        self._error: BaseException | None = None
        self._at_work = threading.Lock()
        self._at_work.acquire()

    def begin(self) -> None:
        """Have a thread begin with it; where there can be no more threads, this one does it."""
        if self.is_beside:
            _beside.add(self)
        try:
            _thread.start_new_thread(self._run, ())
        except RuntimeError as error:
            if "new thread" not in str(error):
                raise  # what a signal's handler has raised
            try:
                self._run()
            finally:
                self.ended = True  # in this thread, a handler may raise ahead of its last line

    def _run(self) -> None:
        before = getattr(_here, "work", None)
        _here.work = self
        # In this order, and `leave` in the other one: one of the two sees what the other has set.
        self._begun = True
        try:
            if not self._called_off:
                self._results.append(self._do())
        except BaseException as error:
            self._error = error
        finally:
            _here.work = before
            _forget_dummy()
            _beside.discard(self)
            self.ended = True
            self._at_work.release()

    def wait(self) -> None:
        """Wait for its end, but not for long."""
        if not self.ended:
            self._at_work.acquire(timeout=_WAIT_SECONDS)

    def result(self) -> Result:
        """Wait for its end; returns what came of it, or raises its error."""
        while not self.ended:
            self.wait()
        if self._error is not None:
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error  # which would keep alive this call, and so itself
        return self._results[0]

    def leave(self) -> None:
        """Wait for its end, and where it has not begun, see to it that it never does."""
        self._called_off = True
        while self._begun and not self.ended:
            self.wait()
        _beside.discard(self)
