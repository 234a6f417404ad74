"""How the columns of a table become the input of a network: what its structure depends on.

The numbers of it, edges and scales, are `Columns`: they come from the rows that a network is
trained on, and networks of one structure share their programs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.kernels import encode
from fastmlp.kernels.simd.vector import PANEL

#: Rows of T beside those of V: see `kernels.encode.sum_steps`.
_MORE_KNOTS = 2


def _panels(n: int) -> int:
    return -(-n // PANEL)


@dataclass(frozen=True)
class Encoder:
    """The structure of an encoding; see `kernels.encode`.

    Parameters
    ----------
    n_columns : int
        Columns of X.
    members : int
        Members of the network.
    width : int
        Numbers that an embedded column becomes: a multiple of `kernels.encode.LANES`.
    rows : tuple of int
        Rows of V of each embedded column.
    n_plain : int
        Columns that are not embedded.
    """

    n_columns: int
    members: int
    width: int
    rows: tuple[int, ...]
    n_plain: int

    def __post_init__(self) -> None:
        if self.width % encode.LANES or self.width < 1:
            raise ValueError(f"width must be a multiple of {encode.LANES}, got {self.width}.")
        if self.members < 1 or min(self.rows, default=1) < 1 or self.n_plain < 0:
            raise ValueError(f"No encoder has these sizes: {self}.")
        if not self.rows and not self.n_plain:
            raise ValueError("An encoder needs a column.")

    @property
    def n_out(self) -> int:
        """Numbers that a row becomes."""
        return len(self.rows) * self.width + self.n_plain

    @cached_property
    def places(self) -> NDArray[np.void]:
        """Where the parameters of each embedded column lie: `kernels.encode.PLACE`."""
        places = np.zeros(len(self.rows), encode.PLACE)
        knots = table = 0
        for place, rows in zip(places, self.rows, strict=True):
            size = _panels(rows * self.width)
            place["knots"], place["table"] = knots, table
            place["stored"], place["rows"] = size, rows
            knots, table = knots + rows + _MORE_KNOTS, table + size
        return places

    @property
    def shape_of_factors(self) -> tuple[int, int]:
        """Of r."""
        return self.members, self.n_out

    @property
    def shape_of_table(self) -> tuple[int, int]:
        """Of the array that V lies in."""
        return int(self.places["stored"].sum()), PANEL

    @property
    def shape_of_linear(self) -> tuple[int, int]:
        """Of the array that w₀ and b₀ lie in."""
        return 2 * len(self.rows) * self.width // PANEL, PANEL

    @property
    def n_knots(self) -> int:
        """Numbers of T."""
        return sum(rows + _MORE_KNOTS for rows in self.rows) * self.width

    def steps(self, table: NDArray[np.floating], k: int) -> NDArray[np.floating]:
        """V of a column, of shape (rows, width), of an array of `shape_of_table`: a view."""
        start = int(self.places[k]["table"]) * PANEL
        flat = table.reshape(-1)[start : start + self.rows[k] * self.width]
        return flat.reshape(self.rows[k], self.width)

    def sum_steps(
        self, table: NDArray[np.floating], columns: Columns, knots: NDArray[np.floating]
    ) -> None:
        """Write T: see `kernels.encode.sum_steps`, which sums in the same order.

        table : of `shape_of_table`; knots : of `n_knots` numbers, which is written
        """
        flat = knots.reshape(-1, self.width)
        for k, place in enumerate(self.places):
            V, first = self.steps(table, k), int(place["knots"])
            T = flat[first : first + len(V) + _MORE_KNOTS]
            T[:] = 0
            if columns.columns[k]["kind"] == encode.NUMBER:
                np.cumsum(V[:-1], axis=0, out=T[1 : len(V)])
                T[len(V)] = V[-1]
            else:
                T[: len(V)] = V


def _part(numbers: NDArray[Any], first: int, count: int) -> NDArray[Any]:
    """Numbers of a list, of which none is if it does not have them all."""
    there = 0 <= first <= len(numbers) and 0 <= count <= len(numbers) - first
    return numbers[first : first + count] if there else numbers[:0]


@dataclass(frozen=True)
class Columns:
    """The numbers of an encoding.

    Attributes
    ----------
    columns : ndarray of `kernels.encode.COLUMN`
        The embedded columns, and then the plain ones.
    edges : ndarray of float64
        Of all columns of numbers, one after another.
    level_rows : ndarray of int64
        Rows of V of all levels of all categories.
    """

    columns: NDArray[np.void]
    edges: NDArray[np.float64]
    level_rows: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.edges.ndim != 1 or self.level_rows.ndim != 1 or self.columns.ndim != 1:
            raise ValueError("Columns, edges and rows of levels are lists.")
        of_columns = (self.columns[name] for name in ("low", "high", "center", "scale"))
        finite = all(np.isfinite(each).all() for each in (self.edges, *of_columns))
        if not finite or (self.columns["scale"] <= 0).any():
            raise ValueError("Edges and scales of columns must be finite, and scales positive.")
        for column in self.columns:
            edges = _part(self.edges, column["start"], column["edges"])
            if column["kind"] == encode.NUMBER and (len(edges) < 2 or np.any(np.diff(edges) <= 0)):
                raise ValueError("A column of numbers needs two edges or more, which rise.")
            rows = _part(self.level_rows, column["level"], column["levels"] + 2)
            if column["kind"] == encode.CATEGORY and len(rows) < 2:
                raise ValueError("A column of categories needs a row for each level.")

    def check(self, encoder: Encoder) -> None:
        """ValueError unless an encoder of this structure can go by these numbers."""
        embedded = self.columns[: len(encoder.rows)]
        if len(self.columns) != len(encoder.rows) + encoder.n_plain:
            raise ValueError("Columns and encoder differ in number.")
        source = self.columns["source"]
        if source.min() < 0 or source.max() >= encoder.n_columns:
            raise ValueError("Columns name columns that X does not have.")
        for column, rows in zip(embedded, encoder.rows, strict=True):
            if column["kind"] == encode.NUMBER:
                # A step between each two edges, and a row for gaps.
                fits = rows == column["edges"]
            else:
                named = self.level_rows[column["level"] :][: column["levels"] + 2]
                fits = column["kind"] == encode.CATEGORY and 0 <= named.min() <= named.max() < rows
            if not fits:
                raise ValueError("A column has other rows than its encoder.")
        plain = self.columns[len(encoder.rows) :]["kind"]
        if not np.isin(plain, (encode.PLAIN_NUMBER, encode.PLAIN_CATEGORY)).all():
            raise ValueError("A plain column is of two values.")

    def memory(self) -> dict[str, np.ndarray]:
        """Arrays, by the names that records have for them."""
        return {"columns": self.columns, "edges": self.edges, "level_rows": self.level_rows}
