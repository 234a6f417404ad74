"""The compiled call: minibatches of training, a gradient over all rows, or predictions.

One function serves them all, for any number of threads: every thread that enters it claims tasks
(see `tasks`). A minibatch is `ROW_UNITS` tasks of phase 1, then `WEIGHT_UNITS` tasks of phase 2.
"""

import numpy as np

from fastmlp.kernels import fields as at
from fastmlp.kernels.backprop import backward, descend, forward
from fastmlp.kernels.jit import entry, phase
from fastmlp.kernels.loss import apply_cross_entropy, apply_probabilities
from fastmlp.kernels.simd import address_of
from fastmlp.kernels.tasks import claim, enter, finish, leave, stopped, wait_for
from fastmlp.kernels.vectors import BLOCK


@phase
def _rows_task(
    network, places, csr, order, targets, sample_weight, scratch, output_delta, row_loss,
    first, rows, buffer_row, limits, one,
):  # fmt: skip
    """Phase 1 for one block of rows: a⁽⁰⁾ … ŷ, ℒ, δ⁽ᴸ⁾ … δ⁽¹⁾.

    first : of the order; buffer_row : of the minibatch; scratch : (5, rows or more) T, written.
    """
    logit, target, weight, delta, loss = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    forward(network, places, csr, order, first, rows, buffer_row, logit, one)
    for r in range(rows):
        row = order[first + r]
        target[r] = targets[row]
        weight[r] = sample_weight[row] if sample_weight.size > 0 else one
    count = (rows + BLOCK - 1) // BLOCK * BLOCK
    apply_cross_entropy(
        count,
        (
            address_of(logit), address_of(target), address_of(weight),
            address_of(delta), address_of(loss),
        ),
        (limits[0], limits[1]),
    )  # fmt: skip
    for r in range(rows):
        output_delta[buffer_row + r] = delta[r]
        row_loss[buffer_row + r] = loss[r] * weight[r]
    backward(network, places, output_delta, rows, buffer_row, one)


@entry
def run(
    control, settings, places, network, segments, csr, order, targets, sample_weight, scratch,
    output_delta, row_loss, row_squares, losses, rates, scales, limits, constants, result,
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
        data (T), indices (int32), indptr (int64); empty for dense X.
    order : (n_rows,) int64
        Rows of X in the order of training; empty: as they are.
    targets : (n,) T
        0 or 1.
    sample_weight : (n,) T
        Or empty: all 1.
    scratch : (units or threads, 5, rows of a unit) T
        Written.
    output_delta, row_loss : (batch,) T
        δ⁽ᴸ⁾ and weighted loss of the minibatch's rows; written.
    row_squares : (rows of all matrices,) float64
        ‖row‖² of the weights; written where they change.
    losses : (n_batches, 2) float64
        Sum of the weighted losses, and ‖W‖², at the weights before the update; written.
    rates, scales : (n_batches,) float64
        Learning rate, and 1 / Σ weights; a minibatch of scale 0 is skipped.
    limits : (2,) T
        Least and largest loss of a row.
    constants : (1 + N_CONSTANTS,) T
        alpha, then the optimizer's constants.
    result : (n_rows, 1 or 2) T
        Logits, or the probabilities of 0 and of 1; written.
    """
    mode, batch_size, n_rows = settings[at.MODE], settings[at.BATCH_SIZE], settings[at.N_ROWS]
    row_units, weight_units = settings[at.ROW_UNITS], settings[at.WEIGHT_UNITS]
    unit_rows, optimizer = settings[at.UNIT_ROWS], settings[at.OPTIMIZER]
    block_rows = settings[at.BLOCK_ROWS]
    units = row_units + weight_units
    n_tasks = settings[at.N_BATCHES] * units
    real = limits.dtype.type
    one = real(1)
    alpha = constants[0]
    predicting = mode == at.LOGITS or mode == at.PROBABILITIES
    thread = enter(control)
    if predicting and thread >= scratch.shape[0]:
        leave(control)
        return
    while True:
        task = claim(control)
        if task >= n_tasks:
            break
        batch, unit = task // units, task % units
        start = batch * batch_size
        rows_here = min(batch_size, n_rows - start)
        if predicting:
            slot = thread * unit_rows
            logit, complement = scratch[thread, 0], scratch[thread, 1]
            forward(network, places, csr, order, start, rows_here, slot, logit, one)
            if mode == at.PROBABILITIES:
                count = (rows_here + BLOCK - 1) // BLOCK * BLOCK
                apply_probabilities(count, (address_of(logit), address_of(complement)), (one,))
                for r in range(rows_here):
                    result[start + r, 0] = complement[r]
                    result[start + r, 1] = logit[r]
            else:
                for r in range(rows_here):
                    result[start + r, 0] = logit[r]
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
                    network, places, csr, order, targets, sample_weight, scratch[unit],
                    output_delta, row_loss, start + first, min(block_rows, high - first), first,
                    limits, one,
                )  # fmt: skip
            if unit == 0:
                losses[batch, 1] = row_squares.sum()
        else:
            wait_for(control, batch * units + row_units)
            if unit == row_units:
                total = 0.0
                for r in range(rows_here):
                    total += np.float64(row_loss[r])
                losses[batch, 0] = total
            rate, scale = real(rates[batch]), real(scales[batch])
            for k in range(segments.shape[0]):
                if segments[k, 0] != unit - row_units:
                    continue
                layer, low, high = segments[k, 1], segments[k, 2], segments[k, 3]
                descend(
                    control, network, places, csr, output_delta, row_squares, order, start,
                    rows_here, layer, low, high, mode == at.GRADIENT and batch > 0, optimizer,
                    alpha, scale, rate, constants[1:], one,
                )  # fmt: skip
        finish(control)
    wait_for(control, n_tasks)
    leave(control)
