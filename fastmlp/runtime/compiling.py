"""Compiling without holding up an interrupt, and long calls likewise.

Python serves signals in its main thread, and only while that thread runs Python code. So what may
take long, a compilation or a call that cannot be cut into slices, runs in another thread, and the
main thread waits for it in Python.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from fastmlp.runtime.numba_internals import compiling

#: How often a waiting thread looks around; on Windows, a wait without a limit hears no Ctrl-C.
_WAIT_SECONDS = 0.1

#: Name of the threads that do what the main thread waits for.
NAME = "fastmlp"

_compiled: set[Any] = set()


def apart(work: Callable[[], None]) -> None:
    """Have another thread do the work, so that an interrupt is served at once.

    Signals go to the main thread; any other one does the work itself. The work goes on where its
    caller is interrupted, and keeps alive what it needs.
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
        threading.Thread(target=run, name=NAME, daemon=True).start()
    except RuntimeError:  # no more threads
        work()
        return
    while not done.wait(_WAIT_SECONDS):
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
