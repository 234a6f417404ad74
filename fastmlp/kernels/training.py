"""The compiled call: minibatches of training, a gradient over all rows, or predictions.

One function serves them all, for any number of threads: every thread that enters it claims tasks
(see `tasks`). A minibatch is `ROW_UNITS` tasks of phase 1, then `WEIGHT_UNITS` tasks of phase 2.
"""

import numpy as np

from fastmlp.kernels import fields as at
from fastmlp.kernels.backprop import backward, descend, forward
from fastmlp.kernels.gather import BOOL, FLOAT64, copy_numbers, gather
from fastmlp.kernels.jit import entry, phase
from fastmlp.kernels.loss import apply_cross_entropy, apply_probabilities
from fastmlp.kernels.simd import address_of, interleave, load
from fastmlp.kernels.tasks import PATIENCE, claim, enter, finish, give_way, leave, stopped, wait_for
from fastmlp.kernels.vectors import BLOCK


@phase
def _rows_task(
    network, places, csr, order, first, rows, buffer_row, scratch, scratch_row, limits, size
):  # fmt: skip
    """Phase 1 for one block of rows: a⁽⁰⁾ … ŷ, ℒ, δ⁽ᴸ⁾ … δ⁽¹⁾.

    first : of the order; buffer_row : of the minibatch; scratch : address of five arrays,
    scratch_row numbers apart (see `fields`), written.
    """
    distance = scratch_row * size
    logit, target = scratch + at.LOGIT * distance, scratch + at.TARGET * distance
    weight, delta = scratch + at.WEIGHT * distance, scratch + at.DELTA * distance
    loss = scratch + at.LOSS * distance
    forward(network, places, csr, order, first, rows, buffer_row, logit, size)
    numbers = address_of(order)
    gather(BOOL, places[at.TARGETS], 1, 1, numbers, first, rows, 1, target, 1, size)
    if places[at.SAMPLE_WEIGHT] != 0:
        gather(FLOAT64, places[at.SAMPLE_WEIGHT], 8, 8, numbers, first, rows, 1, weight, 1, size)
    count = (rows + BLOCK - 1) // BLOCK * BLOCK
    apply_cross_entropy(
        count, size, (logit, target, weight, delta, loss), (limits[0], limits[1])
    )  # fmt: skip
    copy_numbers(delta, places[at.OUTPUT_DELTA] + buffer_row * size, rows, size)
    copy_numbers(loss, places[at.ROW_LOSS] + buffer_row * size, rows, size)
    backward(network, places, rows, buffer_row, size)


@entry
def run(
    control, settings, places, network, segments, csr, entries, block_ends, order, row_squares,
    losses, rates, scales, limits, constants,
):  # fmt: skip
    """Do the work of one call together with every other thread that is in it.

    Parameters
    ----------
    control : (CONTROL_SIZE,) int64
        Shared counters, 0 before the call.
    settings, places : int64 arrays
        See `fields`.
    network : (n_layers, COUNT) int64
        `Network.table` with the buffers' offsets.
    segments : (n, 4) int64
        Phase 2: unit, layer, first and last + 1 stored row of the layer; sorted by unit.
    csr : tuple of arrays
        indices (int32), indptr (int64); empty for dense X.
    entries, block_ends : (entries of a minibatch, 2) and (units of phase 2, blocks) int64
        See `sort_entries`; written. Empty for dense X.
    order : (n_rows,) int64
        Rows of X in the order of training; empty: as they are.
    row_squares : (rows of all matrices,) float64
        ‖row‖² of the weights; written where they change.
    losses : (n_batches, 2) float64
        Sum of the weighted losses, and ‖W‖², at the weights before the update; written.
    rates, scales : (n_batches,) float64
        Learning rate, and 1 / Σ weights; a minibatch of scale 0 is skipped.
    limits : (2,) float64
        Least and largest loss of a row.
    constants : (1 + N_CONSTANTS,) float64
        alpha, then the optimizer's constants.

    Notes
    -----
    The types of the arguments are the same for every network, so the function is compiled once.
    Buffers of numbers of either type are known by address (`places`) and by `SIZE`.
    """
    mode, batch_size, n_rows = settings[at.MODE], settings[at.BATCH_SIZE], settings[at.N_ROWS]
    row_units, weight_units = settings[at.ROW_UNITS], settings[at.WEIGHT_UNITS]
    unit_rows, optimizer = settings[at.UNIT_ROWS], settings[at.OPTIMIZER]
    block_rows = settings[at.BLOCK_ROWS]
    units = row_units + weight_units
    n_tasks = settings[at.N_BATCHES] * units
    size, scratch_row = settings[at.SIZE], settings[at.SCRATCH_ROW]
    scratch_size = at.N_SCRATCH * scratch_row * size
    rows_csr = (places[at.VALUES], csr[0], csr[1])
    alpha = constants[0]
    predicting = mode == at.LOGITS or mode == at.PROBABILITIES
    thread = enter(control)
    if predicting and thread >= settings[at.SCRATCH_UNITS]:
        leave(control)
        return
    began = on_core = np.int64(0)
    while True:
        if control[PATIENCE] > 0:
            began, on_core = give_way(began, on_core)
        task = claim(control)
        if task >= n_tasks:
            break
        batch, unit = task // units, task % units
        start = batch * batch_size
        rows_here = min(batch_size, n_rows - start)
        if predicting:
            result = places[at.RESULT] + start * size
            logit = result if mode == at.LOGITS else places[at.SCRATCH] + thread * scratch_size
            forward(
                network, places, rows_csr, order, start, rows_here, thread * unit_rows, logit, size
            )
            if mode == at.PROBABILITIES:
                count = (rows_here + BLOCK - 1) // BLOCK * BLOCK
                complement = logit + scratch_row * size
                apply_probabilities(count, size, (logit, complement), ())
                interleave(complement, logit, rows_here, result + start * size, size)
        elif scales[batch] == 0.0:
            if unit == 0:
                losses[batch, 0] = 0.0
                losses[batch, 1] = 0.0
        elif unit < row_units:
            wait_for(control, batch * units)
            low = unit * unit_rows
            high = min(low + unit_rows, rows_here)
            for first in range(low, high, block_rows):
                if stopped(control):
                    break
                _rows_task(
                    network, places, rows_csr, order, start + first,
                    min(block_rows, high - first), first,
                    places[at.SCRATCH] + unit * scratch_size, scratch_row, limits, size,
                )  # fmt: skip
            if unit == 0:
                squares = 0.0
                for row in range(row_squares.size):
                    squares += row_squares[row]
                losses[batch, 1] = squares
        else:
            wait_for(control, batch * units + row_units)
            if unit == row_units:
                total = 0.0
                for r in range(rows_here):
                    total += load(places[at.ROW_LOSS] + r * size, size)
                losses[batch, 0] = total
            for k in range(segments.shape[0]):
                if segments[k, 0] != unit - row_units:
                    continue
                layer, low, high = segments[k, 1], segments[k, 2], segments[k, 3]
                descend(
                    control, network, places, rows_csr, entries, block_ends[segments[k, 0]],
                    places[at.BLOCK_GRADIENTS] + segments[k, 0] * settings[at.GRADIENT_SIZE] * size,
                    row_squares, order, start, rows_here, layer, low, high,
                    mode == at.GRADIENT and batch > 0, optimizer, alpha, scales[batch],
                    rates[batch], constants[1:], size,
                )  # fmt: skip
        finish(control)
    wait_for(control, n_tasks)
    leave(control)
