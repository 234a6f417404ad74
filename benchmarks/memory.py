"""How much memory a call needs while it runs, beyond what was there before."""

import gc
import tracemalloc
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def traced_peak(function):
    """Bytes that Python and NumPy held at most during the call, beyond those at its start."""
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        result = function()
        peak = tracemalloc.get_traced_memory()[1] - before
        del result
    finally:
        tracemalloc.stop()
    return peak


def _kilobytes(field):
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    raise OSError(f"{_STATUS} has no {field}")


def resident_peak(function):
    """Bytes by which the process's resident memory rose at most; None where Linux does not tell."""
    gc.collect()
    try:
        _CLEAR.write_text("5")  # the peak so far is forgotten
        before = _kilobytes("VmRSS")
        result = function()
        peak = _kilobytes("VmHWM") - before
        del result
    except OSError:
        return None
    return 1024 * peak


def extra_peak(function):
    """Bytes that a call needs at most while it runs, its result included.

    `tracemalloc` knows all arrays but nothing that compiled code allocates; the resident memory has
    both but misses what fits in pages that were freed earlier. The larger one counts.
    """
    return max(traced_peak(function), resident_peak(function) or 0)
