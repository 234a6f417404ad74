"""How threads share a call: tasks claimed by an atomic counter, and a barrier of counts.

Every thread that enters a call claims the next task until none is left. Tasks are numbered in the
order of the phases, and a phase begins when all earlier tasks are done:

    next ──►  | rows 0 | rows 1 | weights 0 | weights 1 | rows 0 | …
                 phase 0            phase 2               phase 3

A thread waits only for tasks that running threads have claimed. So any number of threads, one
included, finishes the work, however the iterations of a parallel loop are given to threads.

A wait spins for a moment (a phase of a small minibatch lasts microseconds) and then yields its
time slice, so that oversubscribed machines make progress.
"""

import platform
import sys
import time

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastmlp.runtime.jit import kernel
from fastmlp.runtime.records import I64

I32 = ir.IntType(32)

#: Positions in the control array, each in a cache line of its own.
NEXT, DONE, INSIDE, LEFT = 0, 16, 32, 48
#: Nanoseconds that a waiting thread spins before it yields, or 0: it yields soon, and gives no way.
#: Set before the call; in the cache line of NEXT, which each thread has just fetched.
PATIENCE = 1
CONTROL_SIZE = 64
#: More tasks than any call has: counters that are set to it end the call.
STOPPED = 1 << 62
_SPINS, _SPINS_BETWEEN_CLOCKS = 2000, 50

#: A thread gives way when it has run for so long, in nanoseconds: Linux takes a core away after 2.8
#: to 4 ms. If it was off its core for longer than the second number, its slice began later.
_TURN, _OFF = 2_500_000, 500_000


@intrinsic
def _add(typingctx, address, amount):
    """Atomic fetch-and-add on an int64."""

    def codegen(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], I64.as_pointer())
        return builder.atomic_rmw("add", pointer, args[1], "acq_rel")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def _load(typingctx, address):
    """Atomic load of an int64."""

    def codegen(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], I64.as_pointer())
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(types.int64), codegen


def _declare(module, name, result, arguments):
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, arguments), name)


@intrinsic
def _pause(typingctx):
    """Tell the core that this is a spinning wait."""

    def codegen(context, builder, signature, args):
        machine, void = platform.machine().lower(), ir.VoidType()
        if machine in ("x86_64", "amd64"):
            builder.call(_declare(builder.module, "llvm.x86.sse2.pause", void, []), [])
        elif machine in ("arm64", "aarch64"):
            builder.call(_declare(builder.module, "llvm.aarch64.hint", void, [I32]), [I32(1)])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _yield_slice(typingctx):
    """Let another thread run on this core."""

    def codegen(context, builder, signature, args):
        if sys.platform != "win32":
            builder.call(_declare(builder.module, "sched_yield", I32, []), [])
        return context.get_dummy_value()

    return types.void(), codegen


def _clock(name):
    """An intrinsic that reads a clock of the operating system in nanoseconds; 0 without it."""
    clock = getattr(time, name, None)

    @intrinsic
    def read(typingctx):
        def codegen(context, builder, signature, args):
            if clock is None:
                return I64(0)
            timespec = cgutils.alloca_once(builder, ir.ArrayType(I64, 2))
            get_time = _declare(builder.module, "clock_gettime", I32, [I32, timespec.type])
            builder.call(get_time, [I32(clock), timespec])
            seconds, nanoseconds = (
                builder.extract_value(builder.load(timespec), k) for k in range(2)
            )
            return builder.add(builder.mul(seconds, I64(1_000_000_000)), nanoseconds)

        return types.int64(), codegen

    return read


_now, _time_on_core = _clock("CLOCK_MONOTONIC"), _clock("CLOCK_THREAD_CPUTIME_ID")


def new_control() -> np.ndarray:
    """Counters of a call that has not begun."""
    return np.zeros(CONTROL_SIZE, np.int64)


def stop(control: np.ndarray) -> None:
    """Have every thread leave the call soon, whatever is left to do; called from Python.

    No task is claimed and none waited for from here on. What the call writes is then of no use.
    """
    control[NEXT] = control[DONE] = STOPPED


@kernel
def stopped(control):
    """Whether the call is to be left; control : address of the counters, as in all below."""
    return _load(control + 8 * DONE) >= STOPPED


@kernel
def claim(control):
    """Number of the next task (int64)."""
    return _add(control + 8 * NEXT, 1)


@kernel
def finish(control):
    """Count one claimed task as done."""
    _add(control + 8 * DONE, 1)


@kernel
def enter(control):
    """Number of this thread among those that entered the call, from 0."""
    return _add(control + 8 * INSIDE, 1)


@kernel
def leave(control):
    """Count one thread as out of the call."""
    _add(control + 8 * LEFT, 1)


@kernel
def give_way(began, on_core):
    """Yield where the time slice of this thread is nearly over; called without a task.

    began, on_core : int64, when the slice began, and this thread's time on its core then; 0 at
    first. Returns both for the next call.
    """
    now = _now()
    if now - began < _TURN:
        return began, on_core
    used = _time_on_core()
    if (now - began) - (used - on_core) < _OFF:
        _yield_slice()
        now, used = _now(), _time_on_core()
    return now, used


@kernel
def wait_for(control, tasks):
    """Return when `tasks` tasks are done."""
    address = control + 8 * DONE
    spins = 0
    while spins < _SPINS:
        if _load(address) >= tasks:
            return
        _pause()
        spins += 1
    patience = _load(control + 8 * PATIENCE)
    began = _now()
    while _load(address) < tasks:
        if patience > 0 and _now() - began < patience:
            for _ in range(_SPINS_BETWEEN_CLOCKS):
                _pause()
        else:
            _yield_slice()


@kernel
def patience(control):
    """Nanoseconds that a thread of this call waits before it yields."""
    return _load(control + 8 * PATIENCE)
