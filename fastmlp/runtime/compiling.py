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
from fastmlp.runtime.threads import Work

_compiled: set[Any] = set()


def apart(work: Callable[[], None]) -> None:
    """Have another thread do the work, so that an interrupt is served at once.

    Signals go to the main thread; any other one does the work itself. The work goes on where its
    caller is interrupted.
    """
    if threading.get_ident() != threading.main_thread().ident:
        work()
        return
    another = Work(work, is_beside=False)
    another.begin()
    another.result()


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
