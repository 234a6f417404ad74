"""How the work of a call is cut into units; every tuning number, and what chose it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fastmlp.kernels.simd.vector import PANEL
from fastmlp.network.layout import Layout, Network, padded
from fastmlp.runtime.cpu import VECTOR_BYTES

#: Rows that go through forward and backward pass together, so that their activations are still in
#: cache on the way back.
BLOCK_ROWS = 112

#: The same where gradients are not summed by block: there, weights are more than the activations of
#: a block, and each block reads all of them again. With vectors of 64 bytes that costs more: two
#: layers of 1024 take 1.06 times as long in blocks of 64 rows, which is what 128 rows of a thread
#: became, as in one of 128; with 256, as long as with 128.
ROWS_BESIDE_WEIGHTS = 128 if VECTOR_BYTES == 64 else BLOCK_ROWS

#: Rows of weights whose gradient is summed, applied and transposed together, while it is in cache:
#: whole panels, because a gradient is a product by panels.
GRADIENT_ROWS = 48

#: Rows of a prediction's block: its activations stay in cache, and its buffers stay small.
PREDICTION_ROWS = 192

#: A thread more must have this many multiply-adds of a minibatch to do, or the handing over of
#: cache lines costs more than it gains.
WORK_PER_THREAD = 200_000

#: The same for a prediction, where a thread more costs its start.
PREDICTION_WORK_PER_THREAD = 1_000_000

#: Multiply-adds of a unit that is long beside a time slice of the operating system: a thread that
#: loses its core within it holds up the others. And how many units a thread has at most in a phase.
UNIT_WORK, MOST_UNITS_PER_THREAD = 40_000_000, 2

#: Products of a minibatch in training: forward pass, δ recursion and gradient, each with
#: `Network.multiply_adds` a row.
TRAINING_PRODUCTS = 3

#: Fewer rows than this are not worth a thread.
LEAST_ROWS_OF_THREAD = 8

#: A call that may take longer than this is left at an interrupt, instead of being finished; and
#: multiply-adds a second of a slow core: what a call takes at most, before one has been timed.
LONG_SECONDS, SLOW = 0.25, 1e10

#: Rows that one pass of the full gradient takes at a time: memory stays that of a minibatch.
FULL_GRADIENT_ROWS = 2048

#: Gradients of small networks are summed block by block, where the rows are. A minibatch aims at so
#: many blocks of so many rows or more; and at an even number, so that two threads have the same to
#: do (200 rows in 3 blocks on two threads: 1.25 times as fast as on one; in 2 blocks 1.37, in 4
#: 1.32).
BLOCKS_OF_GRADIENT, LEAST_ROWS_OF_GRADIENT = 4, 64


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


@dataclass(frozen=True)
class Plan:
    """How a minibatch is shared.

    Attributes
    ----------
    batch_size : int
        Rows of a minibatch.
    n_threads : int
        Threads that it has work for.
    block_rows, n_blocks : int
        Rows of a block of the buffers, and how many blocks a minibatch has.
    by_block : bool
        Whether gradients are summed in each block of rows, and then over the blocks. It depends on
        the network and the size of the minibatch alone: the order of sums must not depend on
        threads.
    n_units : int
        Units of each phase.
    """

    batch_size: int
    n_threads: int
    block_rows: int
    n_blocks: int
    by_block: bool
    n_units: int

    def row_units(self) -> list[tuple[int, int]]:
        """First and last + 1 block of each unit of the first phase."""
        ends = [self.n_blocks * k // self.n_units for k in range(self.n_units + 1)]
        return [(low, high) for low, high in pairwise(ends) if low < high]


def _blocks_of_gradient(batch_size: int) -> int:
    wanted = min(BLOCKS_OF_GRADIENT, batch_size // LEAST_ROWS_OF_GRADIENT)
    n_blocks = max(1, wanted, -(-batch_size // BLOCK_ROWS))
    if n_blocks == 1:
        return 1
    even = n_blocks - n_blocks % 2
    return even if even * BLOCK_ROWS >= batch_size else n_blocks + 1


def sums_by_block(network: Network, batch_size: int) -> bool:
    """Whether less is moved where each block of rows sums its own gradient.

    Threads then hand over the gradients of the blocks, and else the activations and deltas of half
    of the rows.
    """
    gradients = sum(padded(n_in) * padded(n_out) for n_in, n_out in network.shapes()[:-1])
    moved = batch_size * (2 * sum(map(padded, network.widths[1:-1])) + padded(network.widths[0]))
    n_blocks = _blocks_of_gradient(batch_size)
    return network.n_layers > 1 and n_blocks > 1 and 2 * gradients * n_blocks <= moved


def plan_training(
    layout: Layout, batch_size: int, most_threads: int, *, whole_gradient: bool = False
) -> Plan:
    """Plan a minibatch.

    batch_size : rows of a minibatch, each counted once for every member of the network
    whole_gradient : whether gradients of all minibatches are added up, and nothing is updated
    """
    network = layout.network
    # Of each member, a block has a multiple of four rows: see `kernels.simd.reductions`.
    step = 4 * network.members
    # Of two products: that is what the numbers above were tuned by.
    work = 2 * batch_size * network.multiply_adds
    n_threads = max(
        1, min(most_threads, work // WORK_PER_THREAD, batch_size // LEAST_ROWS_OF_THREAD)
    )
    by_block = not layout.sparse and not whole_gradient and sums_by_block(network, batch_size)
    if by_block or network.encoder is not None:  # whose factors have gradients by block, too
        n_blocks = _blocks_of_gradient(batch_size)
        block_rows = _up(-(-batch_size // n_blocks), step)
        n_units = min(n_threads, n_blocks)
    else:
        n_units = n_threads
        if n_units > 1:
            n_units *= max(1, min(work // n_units // UNIT_WORK, MOST_UNITS_PER_THREAD))
        unit_rows = -(-batch_size // n_units)
        block_rows = _up(-(-unit_rows // -(-unit_rows // ROWS_BESIDE_WEIGHTS)), step)
    n_blocks = -(-batch_size // block_rows)
    return Plan(batch_size, n_threads, block_rows, n_blocks, by_block, min(n_units, n_blocks))


#: What a part of phase 2 works on: rows of a matrix, a bias, columns of a table, or the factors of
#: members.
MATRIX, BIAS, COLUMNS, FACTORS = "matrix", "bias", "columns", "factors"


def weight_units(layout: Layout, plan: Plan) -> list[list[tuple[str, int, int, int]]]:
    """Phase 2 in units of equal work.

    Returns
    -------
    list of lists of (what, layer, first, last + 1)
        Stored rows, or columns of an encoder, which stands behind the last layer. A unit may hold
        parts of several layers. A part of a matrix begins on a whole panel of a⁽ˡ⁻¹⁾, because
        gradients are products by panels, and so is the transpose that follows. Where gradients are
        summed by block and no transpose follows, the first matrix has neither in phase 2, and is
        cut finer.
    """
    last = layout.network.n_layers - 1
    parts = []  # (work, what, layer, first, end), as fine as they can be cut
    for layer, (n_in, n_out) in enumerate(layout.network.shapes()):
        rows = layout.weights[layer].rows
        columns = padded(n_in if layer == last else n_out)
        step = 2 if plan.by_block and layer == 0 and layout.copies[0] is None else PANEL
        if layer == last:
            step = rows
        for first in range(0, rows, step):
            end = min(first + step, rows)
            parts.append(((end - first) * columns, MATRIX, layer, first, end))
        if layer < last:
            parts.append((columns, BIAS, layer, 0, 1))
    encoder = layout.network.encoder
    if encoder is not None:
        for k in range(len(encoder.rows)):
            parts.append((encoder.width, COLUMNS, last + 1, k, k + 1))
        parts.append((encoder.n_out, FACTORS, last + 1, 0, encoder.members))
    total = sum(work for work, *_ in parts)
    units: list[list[tuple[str, int, int, int]]] = [[] for _ in range(plan.n_units)]
    done = 0
    for work, what, layer, first, end in parts:
        unit = units[min(plan.n_units - 1, (2 * done + work) * plan.n_units // (2 * total))]
        done += work
        if unit and unit[-1][:2] == (what, layer):
            unit[-1] = (what, layer, unit[-1][2], end)
        else:
            unit.append((what, layer, first, end))
    return [unit for unit in units if unit]


def plan_prediction(network: Network, n_rows: int, most_threads: int) -> tuple[int, int, int]:
    """Rows of a block, each counted for every member; number of blocks; and threads."""
    n_rows *= network.members
    block = min(n_rows, _up(PREDICTION_ROWS, network.members))
    n_blocks = -(-n_rows // block)
    work = n_rows * network.multiply_adds
    return block, n_blocks, max(
        1, min(most_threads, work // PREDICTION_WORK_PER_THREAD, n_blocks)
    )  # fmt: skip


def limits(dtype: np.dtype) -> tuple[float, float]:
    """Least and largest loss of a row: ŷ counts as clipped to [eps, 1 − eps] in its own type."""
    eps = float(np.finfo(dtype).eps)
    largest = float(dtype.type(1) - dtype.type(eps))
    ends = np.array([-np.log(largest), -np.log(eps)], dtype)
    return float(ends[0]), float(ends[1])
