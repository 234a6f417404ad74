"""How threads share a compiled call: tasks claimed by an atomic counter, and a barrier of counts.

Every thread that enters a compiled function claims the next task until none is left. Tasks are
numbered in the order of the phases, and a phase begins when all earlier tasks are done:

    next ──►  | rows 0 | rows 1 | weights 0 | weights 1 | rows 0 | …
                 phase 0            phase 1               phase 2

A thread waits only for tasks that running threads have claimed. So any number of threads, one
included, finishes the work; a thread that comes late takes what is left, and one that never comes
is not missed. That is why no threading layer is needed, and why nothing hangs after a fork.

A wait spins for a moment (a phase of a small minibatch lasts microseconds) and then yields its
time slice, so that oversubscribed machines make progress. Sharing costs below 0.1 µs a phase.
"""

import platform
import sys

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastmlp.kernels.jit import kernel
from fastmlp.kernels.vectors import I32, I64, declare

#: Positions in the control array, each in a cache line of its own.
NEXT, DONE, INSIDE, LEFT = 0, 16, 32, 48
CONTROL_SIZE = 64
#: More tasks than any call has: counters that are set to it end the call.
_STOPPED = 1 << 62
_SPINS = 2000


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


@intrinsic
def _pause(typingctx):
    """Tell the core that this is a spinning wait."""

    def codegen(context, builder, signature, args):
        machine, void = platform.machine().lower(), ir.VoidType()
        if machine in ("x86_64", "amd64"):
            builder.call(declare(builder.module, "llvm.x86.sse2.pause", void, []), [])
        elif machine in ("arm64", "aarch64"):
            builder.call(declare(builder.module, "llvm.aarch64.hint", void, [I32]), [I32(1)])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def _yield_slice(typingctx):
    """Let another thread run on this core."""

    def codegen(context, builder, signature, args):
        if sys.platform != "win32":
            builder.call(declare(builder.module, "sched_yield", I32, []), [])
        return context.get_dummy_value()

    return types.void(), codegen


def stop(control):
    """Have every thread leave the call soon, whatever is left to do; called from Python.

    No task is claimed and none waited for from here on. What the call writes is then of no use.
    """
    control[NEXT] = control[DONE] = _STOPPED


@kernel
def stopped(control):
    """Whether the call is to be left."""
    return _load(control.ctypes.data + 8 * DONE) >= _STOPPED


@kernel
def claim(control):
    """Number of the next task (int64); control : (CONTROL_SIZE,) int64, zero before the first."""
    return _add(control.ctypes.data + 8 * NEXT, 1)


@kernel
def finish(control):
    """Count one claimed task as done."""
    _add(control.ctypes.data + 8 * DONE, 1)


@kernel
def enter(control):
    """Number of this thread among those that entered the call, from 0."""
    return _add(control.ctypes.data + 8 * INSIDE, 1)


@kernel
def leave(control):
    """Count one thread as out of the call."""
    _add(control.ctypes.data + 8 * LEFT, 1)


@kernel
def wait_for(control, tasks):
    """Return when `tasks` tasks are done."""
    address = control.ctypes.data + 8 * DONE
    spins = 0
    while _load(address) < tasks:
        spins += 1
        if spins < _SPINS:
            _pause()
        else:
            _yield_slice()
