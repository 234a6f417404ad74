"""The driver: claims units of work and runs their steps. It knows neither layers nor dtypes.

A call goes through its minibatches. Each has the same units of work, in phases:

    phase     units that may be done side by side
    unit      what one thread takes at a time: some segments
    segment   rows begin … end of the minibatch, or of a matrix, in blocks that stay in cache
    step      a compiled piece and the record that it works on

Both phases of training have one form, and so has a prediction:

    for block in segment: for step in segment: piece(record, at, first, rows, batch)
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import from_dtype, types
from numba.extending import intrinsic

from fastmlp.runtime import subnormals, tasks
from fastmlp.runtime.compiling import compile_now
from fastmlp.runtime.jit import by_address, kernel
from fastmlp.runtime.records import I64, record_at

STEP = np.dtype([("piece", np.int64), ("record", np.int64)])

#: unit, end_unit : its units, which begin when all units before them are done
PHASE = np.dtype([("unit", np.int64), ("end_unit", np.int64)])

#: segment, end_segment : its segments
UNIT = np.dtype([("segment", np.int64), ("end_segment", np.int64)])

#: step, end_step : what is done with each block
#: begin, end, block : rows, and how many of them a block has
#: at, at_advance : block of the buffers or room of the first block, and what the next one adds
#: of_rows : whether these are rows of the minibatch, of which the last may have fewer
SEGMENT = np.dtype(
    [
        (name, np.int64)
        for name in ("step", "end_step", "begin", "end", "block", "at", "at_advance", "of_rows")
    ]
)

#: control : address of the counters, see `tasks`
#: phases, units, segments, steps, batches : addresses of arrays of the records above, and of the
#:     numbers (int64) of the minibatches to go through
#: n_phases, n_units, n_batches, n_threads : how many
#: waits : whether a phase waits for the one before; those of a prediction need not
#: n_rows, batch_size : of the data
#: slots : 0, or threads that have a block of buffers each, which steps then work in
#: flushes : whether subnormal numbers are taken for 0
CALL = np.dtype(
    [
        (name, np.int64)
        for name in (
            "control", "phases", "units", "segments", "steps", "batches", "n_phases", "n_units",
            "n_batches", "n_threads", "waits", "n_rows", "batch_size", "slots", "flushes",
        )
    ]
)  # fmt: skip

_phase_at, _unit_at = record_at(PHASE), record_at(UNIT)
_segment_at, _step_at = record_at(SEGMENT), record_at(STEP)
_PHASE_SIZE, _UNIT_SIZE = PHASE.itemsize, UNIT.itemsize
_SEGMENT_SIZE, _STEP_SIZE = SEGMENT.itemsize, STEP.itemsize


@intrinsic
def _number_at(typingctx, address):
    """The int64 at an address."""

    def codegen(context, builder, signature, args):
        return builder.load(builder.inttoptr(args[0], I64.as_pointer()), align=8)

    return types.int64(types.int64), codegen


@intrinsic
def run_piece(typingctx, piece, record, at, first, rows, batch):
    """Call a piece by its address."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [I64] * 5)
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), codegen


@kernel
def _do(call, thread, unit, batch):
    """All steps of a unit for one minibatch."""
    for number in range(unit.segment, unit.end_segment):
        segment = _segment_at(call.segments + number * _SEGMENT_SIZE)
        end = segment.end
        if segment.of_rows:
            end = min(end, call.n_rows - batch * call.batch_size)
        at = thread if call.slots > 0 else segment.at
        for first in range(segment.begin, end, segment.block):
            if tasks.stopped(call.control):
                return
            rows = min(segment.block, end - first)
            for k in range(segment.step, segment.end_step):
                step = _step_at(call.steps + k * _STEP_SIZE)
                run_piece(step.piece, step.record, at, first, rows, batch)
            at += segment.at_advance


def work(call):
    """Do the work of a call together with every other thread that is in it."""
    control = call.control
    came = tasks.time_on_core()
    thread = tasks.enter(control)
    if call.slots > 0 and thread >= call.slots:
        tasks.leave(control, came)
        return
    before = subnormals.flush(call.flushes)
    number = np.int64(0)
    while number < call.n_batches:
        if tasks.stopped(control):
            break
        batch = _number_at(call.batches + number * 8)
        for k in range(call.n_phases):
            phase = _phase_at(call.phases + k * _PHASE_SIZE)
            n_units = phase.end_unit - phase.unit
            for shift in range(n_units):
                unit = phase.unit + (thread * n_units // call.n_threads + shift) % n_units
                if tasks.claim(control, unit, number):
                    if call.waits:
                        tasks.wait_for(control, number * call.n_units + phase.unit)
                    _do(call, thread, _unit_at(call.units + unit * _UNIT_SIZE), batch)
                    tasks.finish(control)
        # Who comes late goes on where the others are.
        number = max(number + 1, tasks.done(control) // call.n_units)
    tasks.wait_for(control, call.n_units * call.n_batches)
    subnormals.restore(before)
    tasks.leave(control, came)


_compiled: Any = None


def _compile() -> None:
    global _compiled
    if _compiled is None:
        _compiled = by_address(work, types.void(from_dtype(CALL)))


def address() -> int:
    """Address of the compiled `work`, which takes the address of a `CALL`."""
    if _compiled is None:
        compile_now(_compile)
    return int(_compiled.address)
