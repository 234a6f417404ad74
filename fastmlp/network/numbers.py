"""The numbers of one network: weights, moments of the optimizer, and what weights give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastmlp.data.rows import Rows
from fastmlp.network.encoder import Columns
from fastmlp.network.layout import (
    Network,
    Parameters,
    aligned_zeros,
    copy_transposed,
    layout_of,
)
from fastmlp.network.prediction import check_columns


@dataclass
class State:
    """Where a training stands, as plain numbers.

    Attributes
    ----------
    step : int
        Number of updates made (Adam's t).
    parameters : ndarray of shape (n_parameters,)
        All weights, matrix by matrix and row by row, and then all biases (`Network.flatten`).
    moments : list of ndarray of shape (n_parameters,)
        Velocity, or Adam's first and second moment, in the same order.
    average : ndarray of shape (n_parameters,), or None
        The average of the parameters, where training keeps one.
    """

    step: int
    parameters: np.ndarray
    moments: list[np.ndarray]
    average: np.ndarray | None = None


class Numbers:
    """Flat buffers of one layout.

    Parameters
    ----------
    network : Network
        Whose numbers these are.
    sparse : bool
        Whether they are laid out for a sparse X.
    columns : Columns, optional
        What the encoder of the network goes by, if it has one.

    Attributes
    ----------
    layout : Layout
        Of each array in `arrays`.
    arrays : list of ndarray
        Weights and biases, then the moments, and then the average of the first, if there is one.
    averaged : bool
        Whether there is.
    copies, squares : ndarray
        Transposed copies and squared row norms of the weights; empty where nothing is trained.
    stale : bool
        Whether weights have been set since these two were derived.
    """

    def __init__(self, network: Network, sparse: bool, columns: Columns | None = None) -> None:
        if (columns is None) != (network.encoder is None):
            raise ValueError("An encoder needs columns, and columns an encoder.")
        if columns is not None and network.encoder is not None:
            columns.check(network.encoder)
        self.network, self.columns = network, columns
        self.layout = layout_of(network, sparse)
        self.arrays = [aligned_zeros(self.layout.size, network.dtype)]
        self.averaged = False
        self.drop_derived()

    @property
    def parameters(self) -> np.ndarray:
        """Weights and biases, flat."""
        return self.arrays[0]

    @property
    def model(self) -> np.ndarray:
        """The weights and biases that predict: the average, where there is one."""
        return self.arrays[-1] if self.averaged else self.arrays[0]

    def set_parameters(self, parameters: Parameters) -> None:
        """Copy weights and biases in; ValueError where a shape is not the network's."""
        self.layout.pack(parameters, self.parameters)
        if self.averaged:
            self.model[:] = self.parameters
        self.stale = True

    def state(self, step: int) -> State:
        """Where training stands after so many updates: a copy."""
        parameters, *moments = (self.layout.flatten(array) for array in self.arrays)
        average = moments.pop() if self.averaged else None
        return State(step, parameters, moments, average)

    def load(self, state: State) -> None:
        """Take the numbers of a state; ValueError where it is another network's or optimizer's."""
        arrays = [state.parameters, *state.moments]
        if self.averaged:
            arrays.append(state.parameters if state.average is None else state.average)
        if len(arrays) != len(self.arrays):
            raise ValueError("The optimizer's state is another optimizer's.")
        if any(np.shape(array) != (self.network.n_parameters,) for array in arrays):
            raise ValueError(
                f"The state must have {self.network.n_parameters} numbers of each kind, as the "
                "network has parameters."
            )
        for array, buffer in zip(arrays, self.arrays, strict=True):
            self.layout.pack(self.network.unflatten(np.asarray(array)), buffer)
        self.stale = True

    def begin(self, n_moments: int, *, averaged: bool = False) -> None:
        """Begin a training: so many moments, of 0, and perhaps an average of the weights."""
        arrays = [aligned_zeros(self.layout.size, self.network.dtype) for _ in range(n_moments)]
        if averaged:
            arrays.append(aligned_zeros(self.layout.size, self.network.dtype))
            arrays[-1][:] = self.parameters
        self.arrays, self.averaged = [self.parameters, *arrays], averaged
        self._make_room_for_derived()

    def lay_out(self, rows: Rows) -> bool:
        """Have all laid out for X of this kind, and say whether that has moved them.

        Raises
        ------
        ValueError
            If X has other features.
        """
        check_columns(self.network, rows)
        sparse = rows.array is None
        if sparse == self.layout.sparse:
            return False
        layout = layout_of(self.network, sparse)
        arrays = [aligned_zeros(layout.size, self.network.dtype) for _ in self.arrays]
        for array, earlier in zip(arrays, self.arrays, strict=True):
            layout.pack(self.layout.unpack(earlier), array)
        self.arrays, self.layout = arrays, layout
        self._make_room_for_derived()
        return True

    def _make_room_for_derived(self) -> None:
        self.copies = aligned_zeros(self.layout.size_of_copies, self.network.dtype)
        self._knots = self.new_knots()
        self.squares = np.zeros(sum(self.layout.stored_rows))
        self.stale = True

    def drop_derived(self) -> None:
        """Free what only training needs."""
        self.copies = self.squares = self._knots = np.empty(0)
        self.stale = True

    def refresh(self) -> None:
        """Derive copies and norms anew, where weights have been set from outside."""
        if not self.stale:
            return
        coefs, _ = self.layout.views(self.parameters)
        if self.network.encoder is not None:
            self._knots[:] = self.new_knots(self.parameters)
        first = 0
        for matrix, copy in zip(coefs, self.layout.copies, strict=False):
            flat = matrix.reshape(len(matrix), -1)
            squares = np.einsum("ij,ij->i", flat, flat, dtype=np.float64)
            self.squares[first : first + len(flat)] = squares
            first += len(flat)
            if copy is not None:
                copy_transposed(matrix, copy, self.copies)
        self.stale = False

    def new_knots(self, flat: np.ndarray | None = None) -> np.ndarray:
        """T of an encoder (`kernels.encode`), from its V in a flat array, or of 0."""
        encoder, columns = self.network.encoder, self.columns
        if encoder is None or columns is None:
            return np.empty(0, self.network.dtype)
        knots = aligned_zeros(encoder.n_knots, self.network.dtype)
        if flat is not None:
            table = self.layout.weights[-1].view(flat).reshape(encoder.shape_of_table)
            encoder.sum_steps(table, columns, knots)
        return knots

    def encoding(self, knots: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Arrays that an encoder goes by, by name.

        knots : T; None for that of the model that predicts
        """
        if self.columns is None or self.network.encoder is None:
            return {}
        return {
            **self.columns.memory(),
            "places": self.network.encoder.places,
            "knots": self.new_knots(self.model) if knots is None else knots,
        }

    def by_name(self) -> dict[str, np.ndarray]:
        """All of them, by the names that records have for them."""
        moments = self.arrays[1:-1] if self.averaged else self.arrays[1:]
        return {
            "parameters": self.parameters,
            "copies": self.copies,
            "squares": self.squares,
            "moment_1": moments[0],
            "moment_2": moments[-1],
            "average": self.model,
            **self.encoding(self._knots),
        }
