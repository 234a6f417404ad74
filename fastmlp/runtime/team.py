"""A call shared among threads by Numba's parallel loop, and where it must not be.

Every iteration of the loop does the same: it claims units of work until none is left. So it does
not matter how iterations are given to threads, and where no parallel region is allowed, one thread
does all the work, with the same result:

- In a process that was forked from one whose threading layer had started: GNU OpenMP would end it.
- Under Numba's workqueue, while there are other Python threads, or where the calling thread is one
  of a parallel region: workqueue aborts the process where two threads enter a region at once, and
  nothing tells whether another one, of the user's own code, is in one.
"""

from __future__ import annotations

import ctypes
import os
import threading
from multiprocessing import process
from typing import Any

import numba
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic

from fastmlp.runtime import driver
from fastmlp.runtime.compiling import compile_apart
from fastmlp.runtime.jit import parallel_entry
from fastmlp.runtime.numba_internals import (
    acquire_compiler,
    layer_is_started,
    most_threads,
    release_compiler,
    set_threads_of_caller,
    threads_of_caller,
)
from fastmlp.runtime.records import I64
from fastmlp.runtime.threads import any_beside, is_apart

_forked_from_parallel = False

#: Held within a region of workqueue. A child that is forked meanwhile has it locked for ever, and
#: never asks for it: the layer has started.
_one_at_a_time = threading.Lock()

_TYPES = (types.int64, types.int64, types.int64)

#: A call through ctypes leaves the GIL to others meanwhile.
_WORK = ctypes.CFUNCTYPE(None, ctypes.c_int64)


@intrinsic
def _work(typingctx, work, call):
    """Call the driver by its address."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [I64])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@parallel_entry
def _share(work, call, n_threads):
    """Have n_threads threads do the work of a call together."""
    before = threads_of_caller()
    set_threads_of_caller(n_threads)
    for _ in prange(n_threads):
        _work(work, call)
    set_threads_of_caller(before)


def _after_fork_in_child() -> None:
    """The child has none of the threads of its parent's layer."""
    global _forked_from_parallel
    _forked_from_parallel = _forked_from_parallel or layer_is_started()


if hasattr(os, "register_at_fork"):
    # A compilation in another thread ends first: the child would inherit its lock, locked.
    os.register_at_fork(
        before=acquire_compiler, after_in_parent=release_compiler, after_in_child=release_compiler
    )
    os.register_at_fork(after_in_child=_after_fork_in_child)


def available_threads(n_threads: int | None) -> int:
    """Threads that a call may use: `n_threads`, or all for None.

    A negative number counts from all of them, as joblib's does: -1 is all, -2 is all but one.
    """
    if n_threads is None:
        return _all_threads()
    return n_threads if n_threads > 0 else max(1, _all_threads() + 1 + n_threads)


def _all_threads() -> int:
    """Numba's setting for the calling thread.

    In a worker of a pool of processes (of multiprocessing, of joblib's backend of that name, of
    Dask) it is one, because the other workers have the other cores. NUMBA_NUM_THREADS, which loky
    sets for its workers, comes before that.
    """
    if process.current_process().daemon and not os.environ.get("NUMBA_NUM_THREADS"):
        return 1
    # Asking numba starts its threading layer. Unless it runs already, the number is still what
    # numba was configured with.
    if layer_is_started() and not _forked_from_parallel:
        return int(numba.get_num_threads())
    return most_threads()


def _nobody_else() -> bool:
    """Whether this is the only Python thread at work: no other one can be in a parallel region.

    One that compiled code has started (of a region itself) counts as another, and so does one of
    this package that works beside its caller: `threading` knows of neither. One that works apart
    stands for the main thread, which waits for it.
    """
    if any_beside():
        return False
    here = threading.main_thread() if is_apart() else threading.current_thread()
    if isinstance(here, threading._DummyThread):
        return False
    return all(thread is here for thread in threading.enumerate())


def get_ready(n_threads: int) -> tuple[int, bool]:
    """Have compiled what a call on so many threads runs.

    Returns
    -------
    work : int
        Address of the driver.
    shared : bool
        Whether threads may share the call.
    """
    work = driver.address()
    shared = min(n_threads, most_threads()) > 1 and not _forked_from_parallel
    if shared:
        compile_apart(_share, _TYPES)
    return work, shared


def run(call: Any, n_threads: int) -> None:
    """Do the work of a call, whose record is at an address, with so many threads at most."""
    work, shared = get_ready(n_threads)
    n_threads = min(n_threads, most_threads())
    if shared:
        if numba.threading_layer() != "workqueue":
            _share(work, call, n_threads)
            return
        if _nobody_else() and not _one_at_a_time.locked():
            # Where another thread has been faster, this one waits for the end of its call. No
            # exception comes between taking a lock of C and the block of `with`.
            with _one_at_a_time:
                _share(work, call, n_threads)
            return
    _WORK(work)(call)
