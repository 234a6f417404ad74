"""Compiling without holding up an interrupt, and long calls likewise.

Python serves signals in its main thread, and only while that thread runs Python code. So what may
take long, a compilation or a call that cannot be cut into slices, runs in another thread, and the
main thread waits for it in Python.
"""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from typing import Any

from fastmlp.runtime.numba_internals import compiling

#: How often a waiting thread looks around; on Windows, a wait without a limit hears no Ctrl-C.
_WAIT_SECONDS = 0.1

_compiled: set[Any] = set()

_here = threading.local()


def is_apart() -> bool:
    """Whether this thread does what the main thread has it do, and waits for."""
    return getattr(_here, "apart", False)


def apart(work: Callable[[], None]) -> None:
    """Have another thread do the work, so that an interrupt is served at once.

    Signals go to the main thread; any other one does the work itself. The work goes on where its
    caller is interrupted, and keeps alive what it needs.

    The thread is one of `_thread`, and a lock tells its end. `threading.Thread` and its events are
    written in Python: an exception that a signal's handler raises within them leaves a thread that
    never begins, or a lock that nobody will release.
    """
    if threading.get_ident() != threading.main_thread().ident:
        work()
        return
    at_work = threading.Lock()
    errors: list[BaseException] = []

    def run() -> None:
        _here.apart = True
        try:
            work()
        except BaseException as error:
            errors.append(error)
        finally:
            at_work.release()

    at_work.acquire()
    try:
        _thread.start_new_thread(run, ())
    except RuntimeError as error:
        if "new thread" not in str(error):
            raise  # what a signal's handler has raised
        work()
        return
    while not at_work.acquire(timeout=_WAIT_SECONDS):
        pass
    if errors:
        raise errors[0]


def compile_now(work: Callable[[], Any]) -> None:
    """Have something compiled; what an interrupt has left half done is there for a later call."""

    def hold_compiler() -> None:
        with compiling():
            work()

    apart(hold_compiler)


def compile_apart(function: Any, signature: tuple[Any, ...]) -> None:
    """Compile a function of one signature, once."""
    if function in _compiled:
        return
    compile_now(lambda: function.compile(signature))
    _compiled.add(function)
