"""The network: its widths, and where each of its numbers lies in the flat buffers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastmlp.kernels.activations import ACTIVATIONS
from fastmlp.kernels.own_activation import Activation
from fastmlp.kernels.simd.vector import PANEL
from fastmlp.network.encoder import Encoder
from fastmlp.network.program import Ref
from fastmlp.runtime.cpu import CACHE_LINE

Parameters = tuple[list[np.ndarray], list[np.ndarray]]

#: Panels whose distance in bytes is a multiple of the first number share a few sets of the cache.
#: Such weights lie some rows further apart from the second number of rows on.
_COLLIDING, _COLLIDING_ROWS = 4096, 256


def padded(n: int) -> int:
    """n rounded up to whole panels."""
    return -(-n // PANEL) * PANEL


def aligned_zeros(shape: int | tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """Zeros that begin on a cache line: a vector of 64 bytes then never crosses one.

    Without it, the forward pass of two layers of 256 takes 1.4 times as long.
    """
    size = math.prod(shape if isinstance(shape, tuple) else (shape,)) * dtype.itemsize
    room = np.zeros(size + CACHE_LINE, np.uint8)
    start = -room.ctypes.data % CACHE_LINE
    return room[start : start + size].view(dtype).reshape(shape)


def address_of(array: np.ndarray) -> int:
    """Where the numbers of an array lie: as ``array.ctypes.data``, in half of the time."""
    if array.dtype.names is not None:  # whose interface describes all fields
        return array.ctypes.data
    address: int = array.__array_interface__["data"][0]
    return address


def aligned_parts(sizes: dict[str, int], dtype: np.dtype[Any]) -> dict[str, np.ndarray]:
    """Zeros in one piece of memory, as arrays that begin on a cache line each.

    A call for one row spends most of its time on what surrounds it: nine arrays of their own take
    40 µs, and the parts of one 10 µs.
    """
    line = CACHE_LINE // dtype.itemsize
    starts, end = [], 0
    for size in sizes.values():
        starts.append(end)
        end += -(-size // line) * line
    memory = aligned_zeros(end, dtype)
    return {
        name: memory[start : start + size]
        for (name, size), start in zip(sizes.items(), starts, strict=True)
    }


class Place(NamedTuple):
    """Where a matrix lies in a buffer; see `kernels.views`. Distances in numbers.

    Attributes
    ----------
    start : int
        Of the first number.
    panels, rows : int
        How many.
    panel, row : int
        Distance of panels, and of rows.
    size : int
        Numbers that it takes.
    """

    start: int
    panels: int
    rows: int
    panel: int
    row: int
    size: int

    def fields(self, buffer: str, dtype: np.dtype[Any], **more: int) -> dict[str, Any]:
        """Of the record of the matrix in a buffer."""
        return {
            dtype.name: Ref(buffer, self.start * dtype.itemsize),
            "panel": self.panel,
            "row": self.row,
            "panels": self.panels,
            "rows": self.rows,
            "columns": PANEL,
            **more,
        }

    def view(self, flat: np.ndarray) -> np.ndarray:
        """The matrix where it lies: (rows, panels, PANEL)."""
        size = flat.itemsize
        strides = (self.row * size, self.panel * size, size)
        shape = (self.rows, self.panels, PANEL)
        return np.ndarray(shape, flat.dtype, flat, self.start * size, strides)


def apart(rows: int, dtype: np.dtype[Any], least: int = 0) -> int:
    """Rows that a panel takes, so that panels of that many rows or more don't collide in cache."""
    collides = rows >= least and rows * PANEL * dtype.itemsize % _COLLIDING == 0
    return rows + PANEL if collides else rows


def in_panels(start: int, rows: int, columns: int, dtype: np.dtype[Any]) -> Place:
    """Place of a matrix whose panels follow one another; its rows are padded to whole panels too.

    So a transpose, which goes by whole panels, finds all numbers that it reads and writes.
    """
    stored = apart(padded(rows), dtype, _COLLIDING_ROWS)
    panels = padded(columns) // PANEL
    panel = stored * PANEL
    return Place(start, panels, rows, panel, PANEL, panels * panel)


def in_rows(start: int, rows: int, columns: int) -> Place:
    """Place of a matrix whose rows follow one another, or of a single row."""
    row = padded(columns)
    return Place(start, row // PANEL, rows, PANEL, row, rows * row)


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron with one output (N1), or with one for each of its members.

    Superscripts of the formulas count layers from 1; here the matrix W⁽ˡ⁾ is layer l − 1. As in
    scikit-learn, ``coefs_[l - 1]`` is W⁽ˡ⁾ᵀ, of shape (n_in, n_out), and samples are rows.

    Parameters
    ----------
    widths : tuple of int
        (n_features, *hidden, 1).
    activations : tuple of str or Activation
        One a hidden layer.
    dtype : numpy.dtype
        float32 or float64: the type of all numbers.
    encoder : Encoder, optional
        What makes the first of the widths of a table. Its parameters are one array more of weights,
        V, and two more of biases, w₀ and b₀, and r. Its members have an output each, and share all
        layers but the last.
    """

    widths: tuple[int, ...]
    activations: tuple[str | Activation, ...]
    dtype: np.dtype[Any]
    encoder: Encoder | None = None

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.activations) + 2 or self.widths[-1] != 1:
            raise ValueError(
                f"No network has widths {self.widths}, activations {self.activations}."
            )
        if min(self.widths) < 1:
            raise ValueError(f"Widths must be positive, got {self.widths}.")
        if self.encoder is not None and self.encoder.n_out != self.widths[0]:
            raise ValueError(f"The encoder makes {self.encoder.n_out} numbers, not {self.widths}.")
        if not all(isinstance(g, Activation) or g in ACTIVATIONS for g in self.activations):
            raise ValueError(f"Activations must be of {list(ACTIVATIONS)}, got {self.activations}.")
        object.__setattr__(self, "dtype", np.dtype(self.dtype))

    @property
    def n_layers(self) -> int:
        """Number of weight matrices, L."""
        return len(self.widths) - 1

    @property
    def n_features(self) -> int:
        """Columns of X."""
        return self.widths[0] if self.encoder is None else self.encoder.n_columns

    @property
    def members(self) -> int:
        """Members, each of which every row of X goes through."""
        return 1 if self.encoder is None else self.encoder.members

    def shapes(self) -> list[tuple[int, int]]:
        """(n_in, n_out) of each layer."""
        return list(zip(self.widths[:-1], self.widths[1:], strict=True))

    def parameter_shapes(self) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        """Shapes of all weights and of all biases."""
        weights: list[tuple[int, ...]] = list(self.shapes())
        biases: list[tuple[int, ...]] = [(n_out,) for _, n_out in self.shapes()]
        weights[-1], biases[-1] = (self.widths[-2], self.members), (self.members,)
        if self.encoder is not None:
            weights.append(self.encoder.shape_of_table)
            biases += [self.encoder.shape_of_linear, self.encoder.shape_of_factors]
        return weights, biases

    @cached_property
    def multiply_adds(self) -> int:
        """What the matrix products of one row's forward pass cost, of one member."""
        return sum(n_in * n_out for n_in, n_out in self.shapes())

    @cached_property
    def n_parameters(self) -> int:
        """Weights and biases."""
        return sum(math.prod(shape) for shapes in self.parameter_shapes() for shape in shapes)

    def flatten(self, parameters: Parameters) -> np.ndarray:
        """One vector of all weights, matrix by matrix and row by row, and then all biases."""
        coefs, intercepts = parameters
        return np.concatenate([np.ravel(array) for array in (*coefs, *intercepts)])

    def unflatten(self, flat: np.ndarray) -> Parameters:
        """Undo `flatten`; the arrays are views of `flat`."""
        weights, biases = self.parameter_shapes()
        shapes = [*weights, *biases]
        ends = np.cumsum([math.prod(shape) for shape in shapes])
        arrays = [
            part.reshape(shape)
            for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)
        ]
        return arrays[: len(weights)], arrays[len(weights) :]


@dataclass(frozen=True)
class Layout:
    """Where the numbers of a network lie in a flat array; see `layout_of`.

    Weights and biases follow one another layer by layer, and behind them those of an encoder. The
    last matrix, a column a member, is stored as a row a member. Padding holds zeros and stays zero.
    Moments have the same layout, and so have gradients.

    Attributes
    ----------
    network : Network
    sparse : bool
        Whether the first matrix is for rows of a sparse X, which take single rows of it.
    weights, biases, copies : tuple of Place
        Of each layer, and of an encoder; `copies` are Wᵀ, in a buffer of their own, for layers
        between the first and the last, and for the first where an encoder is before it.
    size, size_of_copies : int
        Numbers of the two buffers.
    """

    network: Network
    sparse: bool
    weights: tuple[Place, ...]
    biases: tuple[Place, ...]
    copies: tuple[Place | None, ...]
    size: int
    size_of_copies: int

    @property
    def stored_rows(self) -> list[int]:
        """Rows of each matrix, as stored."""
        return [place.rows for place in self.weights]

    def views(self, flat: np.ndarray) -> Parameters:
        """Views (rows, panels, PANEL) of weights and biases within a flat array."""
        return [p.view(flat) for p in self.weights], [p.view(flat) for p in self.biases]

    def pack(self, parameters: Parameters, out: np.ndarray) -> None:
        """Write (coefs, intercepts) into a flat array of this layout.

        Raises
        ------
        ValueError
            Where a shape is not the network's.
        """
        network, (coefs, intercepts) = self.network, parameters
        shapes = network.parameter_shapes()
        if (len(coefs), len(intercepts)) != (len(shapes[0]), len(shapes[1])):
            raise ValueError(
                f"The network has {network.n_layers} layers; coefs_ has {len(coefs)} arrays and "
                f"intercepts_ {len(intercepts)}."
            )
        for name, arrays, expected in (
            ("coefs_", coefs, shapes[0]), ("intercepts_", intercepts, shapes[1])
        ):  # fmt: skip
            for k, (array, shape) in enumerate(zip(arrays, expected, strict=True)):
                if np.shape(array) != shape:
                    raise ValueError(f"{name}[{k}] must have shape {shape}, got {np.shape(array)}.")
        for k, array in enumerate(coefs):
            last = k + 1 == network.n_layers
            _copy_in(np.transpose(array) if last else array, self.weights[k], out)
        for k, array in enumerate(intercepts):
            _copy_in(np.atleast_2d(array), self.biases[k], out)

    def unpack(self, flat: np.ndarray) -> Parameters:
        """(coefs, intercepts) of a flat array, as fresh C-contiguous arrays."""
        coefs, intercepts = (
            [np.empty(shape, flat.dtype) for shape in shapes]
            for shapes in self.network.parameter_shapes()
        )
        self._copy_out(flat, (coefs, intercepts))
        return coefs, intercepts

    def flatten(self, flat: np.ndarray) -> np.ndarray:
        """`Network.flatten` of what `unpack` gives, in one pass over the numbers."""
        vector = np.empty(self.network.n_parameters, flat.dtype)
        self._copy_out(flat, self.network.unflatten(vector))
        return vector

    def _copy_out(self, flat: np.ndarray, parameters: Parameters) -> None:
        coefs, intercepts = parameters
        for k, array in enumerate(coefs):
            last = k + 1 == self.network.n_layers
            _copy_out(self.weights[k], flat, np.transpose(array) if last else array)
        for k, array in enumerate(intercepts):
            _copy_out(self.biases[k], flat, np.atleast_2d(array))


def copy_transposed(matrix: np.ndarray, copy: Place, flat: np.ndarray) -> None:
    """Write Wᵀ to its place, from a view (rows, panels, PANEL) of W.

    A panel at a time is in cache: a sixth of the time of one transpose for 1024 × 1024.
    """
    view = copy.view(flat)
    for panel in range(copy.panels):
        rows = matrix[panel * PANEL : (panel + 1) * PANEL]
        rows = rows.reshape(len(rows), -1)[:, : copy.rows]
        view[:, panel, : len(rows)] = rows.T
        view[:, panel, len(rows) :] = 0


def _copy_in(matrix: Any, place: Place, flat: np.ndarray) -> None:
    """Write a matrix to its place, panel by panel."""
    view = place.view(flat)
    matrix = np.asarray(matrix)
    whole, rest = divmod(matrix.shape[1], PANEL)
    if whole:
        view[:, :whole] = matrix[:, : whole * PANEL].reshape(len(matrix), whole, PANEL)
    if rest:
        view[:, whole, :rest] = matrix[:, whole * PANEL :]


def _copy_out(place: Place, flat: np.ndarray, matrix: np.ndarray) -> None:
    """Write a matrix from its place, panel by panel."""
    view = place.view(flat)
    whole, rest = divmod(matrix.shape[1], PANEL)
    if whole:
        matrix[:, : whole * PANEL].reshape(len(matrix), whole, PANEL)[...] = view[:, :whole]
    if rest:
        matrix[:, whole * PANEL :] = view[:, whole, :rest]


@lru_cache(maxsize=64)
def layout_of(network: Network, sparse: bool) -> Layout:
    """The layout of a network for rows of a dense X, or of a sparse one."""
    weights, biases, copies = [], [], []
    at = at_copy = 0
    for k, (n_in, n_out) in enumerate(network.shapes()):
        last = k + 1 == network.n_layers
        if last:
            place = in_rows(at, network.members, n_in)
            n_out = network.members
        elif sparse and k == 0:
            place = in_rows(at, n_in, n_out)
        else:
            place = in_panels(at, n_in, n_out, network.dtype)
        at += place.size
        weights.append(place)
        biases.append(in_rows(at, 1, n_out))
        at += biases[-1].size
        goes_on = k > 0 or network.encoder is not None  # the δ recursion
        copy = in_panels(at_copy, n_out, n_in, network.dtype) if goes_on and not last else None
        at_copy += copy.size if copy is not None else 0
        copies.append(copy)
    if network.encoder is not None:
        encoder = network.encoder
        for places, shape in (
            (weights, encoder.shape_of_table), (biases, encoder.shape_of_linear)
        ):  # fmt: skip
            places.append(in_rows(at, *shape))
            at += places[-1].size
        biases.append(in_panels(at, *encoder.shape_of_factors, network.dtype))
        at += biases[-1].size
    return Layout(network, sparse, tuple(weights), tuple(biases), tuple(copies), at, at_copy)
