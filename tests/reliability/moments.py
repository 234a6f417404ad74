"""Signals at chosen moments: those at which Python may serve a signal, and as it serves it.

Python serves signals in its main thread between two instructions: after a call of C code, where a
function of Python begins, and at the end of a loop's body. A trace function counts these moments
and makes a signal pending just before one of them; then Python serves it there by itself, as if it
had come from outside. (An exception that a trace function raises would land at other places too, at
which none can.)
"""

import contextlib
import ctypes
import dis
import sys
import threading
from collections import Counter
from functools import cache
from pathlib import Path

import fastmlp

#: The code in which moments are counted: fastmlp's, and what of the standard library has states
#: that an exception could leave half changed.
_FOLDER = str(Path(fastmlp.__file__).parent)
_FILES = {contextlib.__file__, threading.__file__}

#: How often a place in the code is counted: a loop that goes round once more is nothing new.
_TIMES = 3

_SERVING = ("CALL", "RESUME", "JUMP_BACKWARD")


class _Pending:
    """Reading `signal` makes SIGINT pending; it is no call, after which it would be served."""

    signal = property(
        ctypes.PYFUNCTYPE(None, ctypes.py_object)(("PyErr_SetInterrupt", ctypes.pythonapi))
    )


@cache
def _places(code):
    """Offsets of the instructions of some code after which signals are served."""
    found = dis.get_instructions(code)
    return {each.offset for each in found if each.opname.startswith(_SERVING)}


def signals_at(moments, work):
    """Call work() with a SIGINT at moments of these numbers; returns how many moments there were.

    Those that come after the last signal are not counted.
    """
    wanted, last = set(moments), max(moments)
    pending, times, count = _Pending(), Counter(), -1

    def trace(frame, event, arg):
        nonlocal count
        code, place = frame.f_code, frame.f_lasti
        if event == "call":
            if not (code.co_filename.startswith(_FOLDER) or code.co_filename in _FILES):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "return" or (event == "opcode" and place in _places(code)):
            times[code, place] += 1
            if times[code, place] <= _TIMES:
                count += 1
                if count >= last:
                    sys.settrace(None)
                if count in wanted:
                    pending.signal  # noqa: B018
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count + 1
