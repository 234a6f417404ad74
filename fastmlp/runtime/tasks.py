"""How threads share a call: units that each claims for itself, and a barrier of counts.

A call goes through minibatches, a minibatch through phases, a phase has units of work. Every thread
that is in the call goes the same way, and does what no other one has claimed:

    minibatch 0                            minibatch 1
    | rows 0 | rows 1 | weights 0 | weights 1 | rows 0 | …
      phase 0            phase 1

A phase begins when all units before it are done. A thread waits only for units that running threads
have claimed. So any number of threads, one included, finishes the work, however the iterations of a
parallel loop are given to threads. Each thread tries units of its own first: what they work on is
then still in the cache of its core.

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
DONE, INSIDE, LEFT, ON_CORE = 0, 16, 32, 33
#: From here on, minibatches that have been claimed of each unit, each in a cache line of its own.
CLAIMED, CLAIM_SIZE = 48, 8
#: More units than any call has: a count that is set to it ends the call.
STOPPED = 1 << 62
#: How often a waiting thread looks before it yields its time slice: about 25 µs.
_SPINS = 2000


@intrinsic
def _add(typingctx, address, amount):
    """Atomic fetch-and-add on an int64."""

    def codegen(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], I64.as_pointer())
        return builder.atomic_rmw("add", pointer, args[1], "acq_rel")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def _exchange(typingctx, address, expected, new):
    """Atomic compare-and-swap on an int64; whether it was as expected."""

    def codegen(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], I64.as_pointer())
        result = builder.cmpxchg(pointer, args[1], args[2], "acq_rel", "acquire")
        return builder.extract_value(result, 1)

    return types.boolean(types.int64, types.int64, types.int64), codegen


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


@intrinsic
def time_on_core(typingctx):
    """Nanoseconds that this thread has been on a core; 0 where the system does not say."""
    clock = getattr(time, "CLOCK_THREAD_CPUTIME_ID", None)

    def codegen(context, builder, signature, args):
        if clock is None:
            return I64(0)
        timespec = cgutils.alloca_once(builder, ir.ArrayType(I64, 2))
        get_time = _declare(builder.module, "clock_gettime", I32, [I32, timespec.type])
        builder.call(get_time, [I32(clock), timespec])
        seconds, nanoseconds = (builder.extract_value(builder.load(timespec), k) for k in range(2))
        return builder.add(builder.mul(seconds, I64(1_000_000_000)), nanoseconds)

    return types.int64(), codegen


def new_control(n_units: int) -> np.ndarray:
    """Counters of a call that has not begun, with so many units a minibatch."""
    return np.zeros(CLAIMED + n_units * CLAIM_SIZE, np.int64)


def stop(control: np.ndarray) -> None:
    """Have every thread leave the call soon, whatever is left to do; called from Python.

    No unit is begun and none waited for from here on. What the call writes is then of no use.
    """
    control[DONE] = STOPPED


@kernel
def stopped(control):
    """Whether the call is to be left; control : address of the counters, as in all below."""
    return _load(control + 8 * DONE) >= STOPPED


@kernel
def claim(control, unit, number):
    """Whether a unit of the minibatch of this number is the caller's to do."""
    address = control + 8 * (CLAIMED + unit * CLAIM_SIZE)
    return _load(address) == number and _exchange(address, number, number + 1)


@kernel
def finish(control):
    """Count one claimed unit as done."""
    _add(control + 8 * DONE, 1)


@kernel
def done(control):
    """Units that are done."""
    return _load(control + 8 * DONE)


@kernel
def enter(control):
    """Number of this thread among those that entered the call, from 0."""
    return _add(control + 8 * INSIDE, 1)


@kernel
def leave(control, came):
    """Count one thread as out of the call; came : its `time_on_core` when it entered."""
    _add(control + 8 * ON_CORE, time_on_core() - came)
    _add(control + 8 * LEFT, 1)


@kernel
def wait_for(control, units):
    """Return when `units` units are done."""
    address = control + 8 * DONE
    spins = 0
    while _load(address) < units:
        if spins < _SPINS:
            _pause()
            spins += 1
        else:
            _yield_slice()
