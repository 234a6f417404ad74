"""The driver: claims tasks and runs the steps of each. It knows neither layers nor dtypes nor modes.

A call goes through its minibatches. Each has the same units of work, in phases:

    unit      what one thread takes at a time: some segments; it begins when `before` are done
    segment   rows begin … end of the minibatch, or of a matrix, in blocks that stay in cache
    step      a compiled piece and the record that it works on

Both phases of training have one form, and so has a prediction:

    for block in segment: for step in program: piece(record, at, first, rows, batch)
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import from_dtype, types
from numba.extending import intrinsic

from fastmlp.runtime import tasks
from fastmlp.runtime.jit import by_address
from fastmlp.runtime.records import I64, record_at

STEP = np.dtype([("piece", np.int64), ("record", np.int64)])

#: before : tasks of the minibatch that come first; −1: nothing needs to be done before
#: segment, end_segment : its segments
UNIT = np.dtype([("before", np.int64), ("segment", np.int64), ("end_segment", np.int64)])

#: step, end_step : what is done with each block
#: begin, end, block : rows, and how many of them a block has
#: at, at_step : block of the buffers or room of the first block, and distance of the next one's
#: of_rows : whether these are rows of the minibatch, of which the last may have fewer
SEGMENT = np.dtype(
    [
        (name, np.int64)
        for name in ("step", "end_step", "begin", "end", "block", "at", "at_step", "of_rows")
    ]
)

#: control : address of the counters, see `tasks`
#: units, segments, steps, batches : addresses of arrays of the records above, and of the numbers
#:     (int64) of the minibatches to go through
#: n_units, n_batches : how many
#: n_rows, batch_size : of the data
#: slots : 0, or threads that have a block of buffers each, which steps then work in
CALL = np.dtype(
    [
        (name, np.int64)
        for name in (
            "control", "units", "segments", "steps", "batches", "n_units", "n_batches", "n_rows",
            "batch_size", "slots",
        )
    ]
)  # fmt: skip

_unit_at, _segment_at, _step_at = record_at(UNIT), record_at(SEGMENT), record_at(STEP)
_UNIT_SIZE, _SEGMENT_SIZE, _STEP_SIZE = UNIT.itemsize, SEGMENT.itemsize, STEP.itemsize


@intrinsic
def _number_at(typingctx, address):
    """The int64 at an address."""

    def codegen(context, builder, signature, args):
        return builder.load(builder.inttoptr(args[0], I64.as_pointer()), align=8)

    return types.int64(types.int64), codegen


@intrinsic
def _run(typingctx, piece, record, at, first, rows, batch):
    """Call a piece by its address."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [I64] * 5)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), codegen


def work(call):
    """Do the work of a call together with every other thread that is in it."""
    control, n_units = call.control, call.n_units
    n_tasks = n_units * call.n_batches
    thread = tasks.enter(control)
    if call.slots > 0 and thread >= call.slots:
        tasks.leave(control)
        return
    began = on_core = np.int64(0)
    while True:
        if tasks.patience(control) > 0:
            began, on_core = tasks.give_way(began, on_core)
        task = tasks.claim(control)
        if task >= n_tasks:
            break
        unit = _unit_at(call.units + task % n_units * _UNIT_SIZE)
        batch = _number_at(call.batches + task // n_units * 8)
        if unit.before >= 0:
            tasks.wait_for(control, task // n_units * n_units + unit.before)
        for number in range(unit.segment, unit.end_segment):
            segment = _segment_at(call.segments + number * _SEGMENT_SIZE)
            end = segment.end
            if segment.of_rows:
                end = min(end, call.n_rows - batch * call.batch_size)
            at = thread if call.slots > 0 else segment.at
            for first in range(segment.begin, end, segment.block):
                if tasks.stopped(control):
                    break
                rows = min(segment.block, end - first)
                for k in range(segment.step, segment.end_step):
                    step = _step_at(call.steps + k * _STEP_SIZE)
                    _run(step.piece, step.record, at, first, rows, batch)
                at += segment.at_step
        tasks.finish(control)
    tasks.wait_for(control, n_tasks)
    tasks.leave(control)


_compiled = None


def address() -> int:
    """Address of the compiled `work`, which takes the address of a `CALL`."""
    global _compiled
    if _compiled is None:
        _compiled = by_address(work, types.void(from_dtype(CALL)))
    return int(_compiled.address)
