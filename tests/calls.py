"""Calls of the driver whose steps are tests' own pieces, and what tests of threads share."""

import _thread
import threading
import time
from functools import cache

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastmlp.kernels.piece import piece
from fastmlp.runtime.call import Call
from fastmlp.runtime.driver import PHASE, SEGMENT, STEP, UNIT
from fastmlp.runtime.records import I64, listed, numbers
from fastmlp.runtime.tasks import INSIDE

MARKS = numbers("int64")


@intrinsic
def volatile(typingctx, array):
    """The first number of an array, which another thread may change."""

    def codegen(context, builder, signature, args):
        view = context.make_array(array)(context, builder, args[0])
        pointer = builder.bitcast(view.data, I64.as_pointer())
        return builder.atomic_rmw("add", pointer, ir.Constant(I64, 0), "acq_rel")

    return types.int64(array), codegen


@piece()
def mark(record, at, first, rows, batch):
    """Add 1 to the marks of the rows of a minibatch of 10."""
    marks = listed(record, 10 * batch + first, rows)
    for k in range(rows):
        marks[k] += 1


@piece()
def hold(record, at, first, rows, batch):
    """Count this thread at number 0, and wait until number 1 is not 0."""
    listed(record, 0, 1)[0] += 1
    while volatile(listed(record, 1, 1)) == 0:
        pass
    listed(record, 2, 1)[0] += 1


def call_of(a_piece, marks, *, n_threads=1, n_batches=1, n_units=5, memory=None):
    """A call in which each minibatch has ten rows, shared by so many units, two rows a block."""
    record = np.zeros(1, MARKS)
    record["int64"] = marks.ctypes.data
    steps, units, segments = np.zeros(1, STEP), np.zeros(n_units, UNIT), np.zeros(n_units, SEGMENT)
    steps["piece"], steps["record"] = a_piece.address(MARKS), record.ctypes.data
    for k in range(n_units):
        units[k] = (k, k + 1)
        segments[k] = (0, 1, 10 * k // n_units, 10 * (k + 1) // n_units, 2, 0, 0, 1)
    phases = np.array([(0, n_units)], PHASE)
    everything = [marks, record, steps, phases, units, segments, memory]
    tables = {"phases": phases, "units": units, "segments": segments, "steps": steps}
    return Call(
        everything, n_threads, np.arange(n_batches), n_phases=1, n_units=n_units, waits=1,
        n_rows=10 * n_batches, batch_size=10,
        **{name: table.ctypes.data for name, table in tables.items()},
    )  # fmt: skip


def mark_all(n_threads, n_batches=10, *, stoppable=False):
    """Run a call; returns how often each row was done."""
    marks = np.zeros(10 * n_batches, np.int64)
    call_of(mark, marks, n_threads=n_threads, n_batches=n_batches).run(stoppable=stoppable)
    return marks


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def interrupt_main_soon(condition):
    """Interrupt the main thread once the condition holds."""

    def wait():
        wait_until(condition)
        _thread.interrupt_main()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@cache
def compile_all():
    """Compile before a test counts time, interrupts or forks."""
    mark_all(3)
    marks = np.ones(3, np.int64)
    call_of(hold, marks).run()
    numba.get_num_threads()


def is_inside(call):
    return call.control[INSIDE] > 0
