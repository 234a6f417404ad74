"""Where the numbers of a minibatch lie that are not parameters, as fields of records.

Activations and deltas lie in blocks of rows, and a block is contiguous. Gradients of a block of
weights lie in a room that each unit has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastmlp.kernels.simd.vector import PANEL
from fastmlp.network.layout import Layout, Place, padded
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


class Activations:
    """Activations a⁽⁰⁾ … a⁽ᴸ⁻¹⁾ of blocks of rows, and deltas of the same shapes.

    with_input : whether there is room for δ⁽⁰⁾ too, where X is sparse
    """

    def __init__(
        self, layout: Layout, block_rows: int, n_blocks: int, *, with_input: bool = False
    ) -> None:
        self._dtype = layout.network.dtype
        self._block_rows = block_rows
        self._starts, self.size = {}, 0
        # X, which has no δ in training, comes last. Rows of a sparse X are never gathered.
        inner = list(enumerate(layout.network.widths[1:-1], 1))
        has_input = with_input or not layout.sparse
        first = [(0, layout.network.widths[0])] if has_input else []
        for layer, width in inner + first:
            if layer == 0:
                self.hidden = self.size
            self._starts[layer] = (self.size, width)
            self.size += n_blocks * block_rows * padded(width)
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


def _row_in_room(start: int, columns: int, size: int, room: str, dtype: Any) -> dict[str, Any]:
    """Fields of the record of a row in each room."""
    row = padded(columns)
    return Place(start, row // PANEL, 1, PANEL, row, row).fields(room, dtype, block=size)


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
        n_in, n_out = self._layout.network.shapes()[layer]
        last = layer == self._layout.network.n_layers - 1
        if bias or last:
            columns = n_out if bias else n_in
            # The two gradients of the last layer are there at once, and may be as wide.
            return ("row", columns, bias and last), padded(columns)
        in_rows = self._layout.sparse and layer == 0
        return (in_rows, n_out), GRADIENT_ROWS * padded(n_out)

    def matrix(self, layer: int, *, bias: bool = False) -> dict[str, Any]:
        """Fields of the record of ∂W⁽ˡ⁾ or ∂b⁽ˡ⁾ in a unit's room."""
        key, _ = self._key(layer, bias)
        start = self._starts[key]
        if key[0] == "row":
            return _row_in_room(start, key[1], self.size, "rooms", self._dtype)
        columns = padded(key[1])
        panel, row = (PANEL, columns) if key[0] else (GRADIENT_ROWS * PANEL, PANEL)
        place = Place(start, columns // PANEL, GRADIENT_ROWS, panel, row, 0)
        return place.fields("rooms", self._dtype, block=self.size)
