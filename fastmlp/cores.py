"""Which core a thread runs on, and how it leaves one, where the operating system lets it choose."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from typing import Any

_current: Callable[[], int] | None = None
_set_allowed: Callable[..., Any] | None = None
if sys.platform == "linux":
    # Of the two ways to call C, the first holds on to the GIL, which is sooner than to get it back.
    # The second releases it: a thread may wait for its new core, and nobody else should.
    _current = getattr(ctypes.PyDLL(None), "sched_getcpu", None)
    _set_allowed = getattr(ctypes.CDLL(None), "sched_setaffinity", None)


def current() -> int | None:
    """Return the number of the core that the calling thread runs on; None where it is not known."""
    core = -1 if _current is None else _current()
    return None if core < 0 else core


def leave(cores: set[int]) -> None:
    """Have the calling thread run on another core than these, if there is one that it may use.

    Only the place of the moment changes: the operating system may move the thread to any core that
    was allowed before. From then on, though, it takes those for the thread's own choice, so this is
    for threads that live for nothing else, not for a thread of the user's.
    """
    if sys.platform != "linux" or _set_allowed is None:
        return
    try:
        allowed = os.sched_getaffinity(0)
    except OSError:
        return
    others = allowed - cores
    if others and others != allowed:
        # A refusal leaves everything as it is.
        for choice in (others, allowed):
            bits = sum(1 << core for core in choice)
            size = max(128, 8 * (bits.bit_length() // 64 + 1))
            _set_allowed(0, ctypes.c_size_t(size), bits.to_bytes(size, sys.byteorder))
