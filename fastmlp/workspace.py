"""The buffers of a minibatch, and how its work is cut into tasks."""

from __future__ import annotations

import numpy as np

from fastmlp.kernels import fields as at
from fastmlp.kernels.backprop import GRADIENT_ROWS
from fastmlp.kernels.vectors import BLOCK
from fastmlp.network import Network, padded

_CACHE_LINE = 64

#: Rows of a task that go through forward and backward pass together, so that their activations are
#: still in cache on the way back. Where the weights of a layer do not stay in a core's cache, all
#: rows of a task go together instead, and share each reading of the weights.
_BLOCK_ROWS = 96
_WEIGHTS_IN_CACHE = 2**19

#: Multiply-adds of a forward pass that a block has at most, unless `_BLOCK_ROWS` rows are more: an
#: interrupt is served between blocks.
_BLOCK_WORK = 500_000_000


def aligned_zeros(shape: int | tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros that begin on a cache line: a vector of 64 bytes then never crosses one.

    Without it, the forward pass of two layers of 256 takes 1.4 times as long.
    """
    size = int(np.prod(shape)) * dtype.itemsize
    room = np.zeros(size + _CACHE_LINE, np.uint8)
    start = -room.ctypes.data % _CACHE_LINE
    return room[start : start + size].view(dtype).reshape(shape)


def weights_in_cache(network: Network) -> bool:
    """Whether the weights of each layer stay in a core's cache."""
    largest = max(int(entry[at.ROWS]) * int(entry[at.STRIDE]) for entry in network.table)
    return largest * network.dtype.itemsize <= _WEIGHTS_IN_CACHE


class Workspace:
    """Activations and deltas of a minibatch, and the tasks of its two phases.

    Parameters
    ----------
    network : Network
        Gives widths and strides.
    n_rows : int
        Rows that the buffers hold.
    n_units : int
        Tasks of each phase; also the scratch places of the output layer.
    unit_rows : int
        Rows of a task.
    dense : bool
        Whether rows of X are gathered into a buffer; sparse rows never are.
    backward : bool
        Whether deltas are needed.

    Attributes
    ----------
    block_rows : int
        Rows of a task that go through both passes together.
    table : ndarray of shape (n_layers, fields.COUNT)
        The network's, with the offsets of these buffers.
    gradient_size : int
        Numbers that a task of phase 2 has for the gradients of one block of each layer.
    buffers : dict of int to ndarray
        The buffers of the places that `fields` names: activations and scratch; with `backward`,
        also gradients, deltas, δ⁽ᴸ⁾ and loss of each row.
    scratch : ndarray of shape (n_units, N_SCRATCH, rows of a task)
        One of the buffers.
    """

    def __init__(
        self,
        network: Network,
        n_rows: int,
        n_units: int,
        unit_rows: int,
        *,
        dense: bool,
        backward: bool,
    ) -> None:
        dtype = network.dtype
        self.n_units, self.unit_rows = n_units, unit_rows
        most_rows = max(_BLOCK_ROWS, _BLOCK_WORK // network.multiply_adds)
        self.block_rows = _BLOCK_ROWS if weights_in_cache(network) else min(unit_rows, most_rows)
        self.table = network.table.copy()
        # X, which has no δ, comes last.
        hidden = gradients = 0
        for layer, stride in enumerate(network.strides[1:], 1):
            self.table[layer, at.INPUT] = hidden
            hidden += n_rows * stride
        if dense:
            self.table[0, at.INPUT] = hidden
        rows_of_x = n_rows * network.strides[0] if dense else 0
        # Layers with the same columns share a place: what pads its rows is 0, and stays so. The
        # last matrix is stored as one row.
        places: dict[tuple[int, int], int] = {}
        for layer, entry in enumerate(self.table):
            rows = GRADIENT_ROWS if layer < network.n_layers - 1 else 1
            stride, columns = int(entry[at.STRIDE]), int(entry[at.N_OUT] if rows > 1 else 0)
            if (stride, columns) not in places:
                places[stride, columns] = gradients
                gradients += (rows + 1) * stride  # and the bias
            entry[at.BLOCK_GRADIENT] = places[stride, columns]
        self.gradient_size = gradients
        self.scratch = aligned_zeros((n_units, at.N_SCRATCH, padded(unit_rows)), dtype)
        self.buffers = {
            at.ACTIVATIONS: aligned_zeros(hidden + rows_of_x, dtype),
            at.SCRATCH: self.scratch,
        }
        if backward:
            self.scratch[:, at.WEIGHT] = 1  # stays, unless rows have weights
            self.buffers[at.BLOCK_GRADIENTS] = aligned_zeros((n_units, gradients), dtype)
            self.buffers[at.DELTAS] = aligned_zeros(hidden, dtype)
            self.buffers[at.OUTPUT_DELTA] = aligned_zeros(n_rows, dtype)
            self.buffers[at.ROW_LOSS] = aligned_zeros(n_rows, dtype)

    def write_places(self, places: np.ndarray) -> None:
        """Fill in the addresses of the buffers."""
        for place, buffer in self.buffers.items():
            places[place] = buffer.ctypes.data


def weight_segments(network: Network, n_units: int) -> np.ndarray:
    """Phase 2 in n_units units of equal work.

    Returns
    -------
    ndarray of shape (n, 4)
        (unit, layer, first stored row, last + 1), sorted by unit. A unit may hold parts of several
        layers. A part of a layer that has a transposed copy begins on a whole block, because the
        transpose that follows the update goes block by block.
    """
    pieces = []  # (work, layer, first, end), as fine as they can be cut
    for layer, entry in enumerate(network.table):
        rows = int(entry[at.ROWS])
        last = layer == network.n_layers - 1
        columns = int(entry[at.N_IN] if last else entry[at.N_OUT])
        step = BLOCK if layer > 0 and not last else 2
        for first in range(0, rows, step):
            end = min(first + step, rows)
            pieces.append(((end - first) * padded(columns), layer, first, end))
    total = sum(work for work, *_ in pieces)
    segments: list[list[int]] = []
    done = 0
    for work, layer, first, end in pieces:
        unit = min(n_units - 1, (2 * done + work) * n_units // (2 * total))
        done += work
        if segments and segments[-1][:2] == [unit, layer]:
            segments[-1][3] = end
        else:
            segments.append([unit, layer, first, end])
    return np.array(segments, np.int64)
