"""Where the numbers of a minibatch lie that are not parameters, as fields of records.

Activations and deltas lie in blocks of rows, and a block is contiguous. Gradients of a block of
weights lie in a room that each unit has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastmlp.kernels.simd.vector import PANEL
from fastmlp.network.layout import Layout, Place, aligned_parts, apart, in_rows, padded
from fastmlp.network.plan import GRADIENT_ROWS
from fastmlp.network.program import Ref


@dataclass(frozen=True)
class Buffers:
    """Sizes of the buffers of a program, in numbers of the network's type."""

    activations: int
    deltas: int
    rooms: int
    blocks: int  # gradients of all blocks of rows
    rows: int  # of each array of the output layer
    table: dict[str, int]  # of an encoding


class Table:
    """What an encoder makes of blocks of rows of a table: e, and the cells it comes from.

    Parameters
    ----------
    layout : Layout
        Of a network with an encoder.
    block_rows, n_blocks : int
        Rows of a block, each of which goes through all members, and how many blocks there are.
    """

    def __init__(self, layout: Layout, block_rows: int, n_blocks: int) -> None:
        encoder = layout.network.encoder
        self.block_rows = block_rows // layout.network.members
        columns = 0 if encoder is None else padded(encoder.n_out)
        panel = self.block_rows * PANEL
        place = Place(0, columns // PANEL, self.block_rows, panel, PANEL, 0)
        size = self.block_rows * columns
        #: Fields of the record of e.
        self.embedded = place.fields("embedded", layout.network.dtype, block=size)
        #: Sizes of the buffers.
        self.sizes: dict[str, int] = {}
        if encoder is not None:
            cells = n_blocks * self.block_rows * len(encoder.rows)
            self.sizes = {
                "embedded": n_blocks * size,
                "cell_knots": cells,
                "cell_shares": cells,
                "cell_values": cells,
                "d_factors": n_blocks * layout.biases[-1].size,
            }

    @staticmethod
    def buffers(sizes: dict[str, int], dtype: np.dtype[Any]) -> dict[str, np.ndarray]:
        """Buffers of these sizes."""
        if not sizes:
            return {}
        sizes = sizes.copy()
        cells = sizes.pop("cell_knots")
        return {"cell_knots": np.zeros(cells, np.int64), **aligned_parts(sizes, dtype)}


class Activations:
    """Activations a⁽⁰⁾ … a⁽ᴸ⁻¹⁾ of blocks of rows, and deltas of the same shapes.

    with_input : whether there is room for δ⁽⁰⁾ too, where X is sparse, or an encoder follows
    """

    def __init__(
        self, layout: Layout, block_rows: int, n_blocks: int, *, with_input: bool = False
    ) -> None:
        self._dtype = layout.network.dtype
        self._block_rows = apart(block_rows, self._dtype)
        self._starts, self.size = {}, 0
        # X, which has no δ in training, comes last. Rows of a sparse X are never gathered.
        inner = list(enumerate(layout.network.widths[1:-1], 1))
        has_input = with_input or not layout.sparse
        first = [(0, layout.network.widths[0])] if has_input else []
        for layer, width in inner + first:
            if layer == 0:
                self.hidden = self.size
            self._starts[layer] = (self.size, width)
            self.size += n_blocks * self._block_rows * padded(width)
        if not first:
            self.hidden = self.size

    def matrix(self, buffer: str, layer: int) -> dict[str, Any]:
        """Fields of the record of a⁽ˡ⁾, or δ⁽ˡ⁾."""
        if layer not in self._starts:
            return {}
        start, width = self._starts[layer]
        panel, columns = self._block_rows * PANEL, padded(width)
        place = Place(start, columns // PANEL, self._block_rows, panel, PANEL, 0)
        return place.fields(buffer, self._dtype, block=self._block_rows * columns)


def column(buffer: str, dtype: np.dtype[Any], **more: int) -> dict[str, Any]:
    """Fields of the record of one number a row."""
    one = {"panel": 0, "row": 1, "panels": 1, "rows": 0, "columns": 1}
    return {dtype.name: Ref(buffer), **one, **more}


def _rows_in_room(start: int, shape: tuple[int, int], size: int, dtype: Any) -> dict[str, Any]:
    """Fields of the record of some rows in each room."""
    return in_rows(start, *shape).fields("rooms", dtype, block=size, advance=padded(shape[1]))


def contiguous(matrix: dict[str, Any]) -> dict[str, Any]:
    """The same numbers in one panel, where rows follow one another: updates go along them."""
    if matrix["row"] == PANEL:
        return matrix
    return {**matrix, "panels": 1, "columns": matrix["row"]}


class Rooms:
    """Where the gradients of a block of weights go, for each unit: layers share the place."""

    def __init__(self, layout: Layout) -> None:
        self._layout, self._dtype = layout, layout.network.dtype
        # What pads the rows is 0 and stays so, if all layers there have the same columns.
        self._starts: dict[Any, int] = {}
        self.size = 0
        for layer in range(layout.network.n_layers):
            for bias in (False, True):
                key, size = self._key(layer, bias)
                if key not in self._starts:
                    self._starts[key] = self.size
                    self.size += size

    def _key(self, layer: int, bias: bool) -> tuple[Any, int]:
        network = self._layout.network
        n_in, n_out = network.shapes()[layer]
        last = layer == network.n_layers - 1
        if last:
            # The two gradients of the last layer are there at once, and may be as wide.
            rows, columns = (1, network.members) if bias else (network.members, n_in)
            return ("rows", (rows, columns), bias), rows * padded(columns)
        if bias:
            return ("rows", (1, n_out), False), padded(n_out)
        in_rows = self._layout.sparse and layer == 0
        return (in_rows, n_out), GRADIENT_ROWS * padded(n_out)

    def matrix(self, layer: int, *, bias: bool = False) -> dict[str, Any]:
        """Fields of the record of ∂W⁽ˡ⁾ or ∂b⁽ˡ⁾ in a unit's room."""
        key, _ = self._key(layer, bias)
        start = self._starts[key]
        if key[0] == "rows":
            return _rows_in_room(start, key[1], self.size, self._dtype)
        columns = padded(key[1])
        panel, row = (PANEL, columns) if key[0] else (GRADIENT_ROWS * PANEL, PANEL)
        place = Place(start, columns // PANEL, GRADIENT_ROWS, panel, row, 0)
        return place.fields("rooms", self._dtype, block=self.size)
