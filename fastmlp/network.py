"""The network: its widths, and where each of its numbers lies in the flat buffers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fastmlp.kernels import fields as Field
from fastmlp.kernels.activations import ACTIVATIONS
from fastmlp.kernels.vectors import BLOCK

Parameters = tuple[list[np.ndarray], list[np.ndarray]]

#: A stride of this many bytes, or a multiple, maps the rows of an array onto few cache sets.
_COLLIDING_STRIDE = 1024


def padded(n: int) -> int:
    """n rounded up to whole blocks."""
    return -(-n // BLOCK) * BLOCK


def row_stride(n: int, dtype: np.dtype) -> int:
    """Distance of rows of n numbers: whole blocks, and one more where cache sets would collide."""
    stride = padded(n)
    if stride * dtype.itemsize % _COLLIDING_STRIDE == 0:
        stride += BLOCK
    return stride


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron with one output (N1), and the layout of its buffers.

    Superscripts of the formulas count layers from 1; here the matrix W⁽ˡ⁾ is layer l − 1. As in
    scikit-learn, ``coefs_[l - 1]`` is W⁽ˡ⁾ᵀ, of shape (n_in, n_out), and samples are rows.

    All weights and biases lie in one flat array, layer by layer: the rows of the matrix, each
    padded to `row_stride`, then the bias as one more row. The last matrix, a column, is stored as
    a row. Padding holds zeros and stays zero. Moments have the same layout, and so have gradients
    where a call ends with them.

    Parameters
    ----------
    widths : tuple of int
        (n_features, *hidden, 1).
    activations : tuple of str
        One a hidden layer.
    dtype : numpy.dtype
        float32 or float64: the type of all numbers.
    """

    widths: tuple[int, ...]
    activations: tuple[str, ...]
    dtype: np.dtype

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.activations) + 2 or self.widths[-1] != 1:
            raise ValueError(
                f"No network has widths {self.widths}, activations {self.activations}."
            )
        if min(self.widths) < 1:
            raise ValueError(f"Widths must be positive, got {self.widths}.")
        object.__setattr__(self, "dtype", np.dtype(self.dtype))

    @property
    def n_layers(self) -> int:
        """Number of weight matrices, L."""
        return len(self.widths) - 1

    def shapes(self) -> list[tuple[int, int]]:
        """(n_in, n_out) of each layer."""
        return list(zip(self.widths[:-1], self.widths[1:], strict=True))

    @cached_property
    def multiply_adds(self) -> int:
        """What the matrix products of one row's forward pass cost."""
        return sum(n_in * n_out for n_in, n_out in self.shapes())

    @cached_property
    def strides(self) -> list[int]:
        """Distance between rows of the activations of each layer's input."""
        return [row_stride(width, self.dtype) for width in self.widths[:-1]]

    @cached_property
    def table(self) -> np.ndarray:
        """What kernels know of each layer: (n_layers, Field.COUNT) int64, offsets in elements."""
        table = np.zeros((self.n_layers, Field.COUNT), np.int64)
        at = transposed = row = 0
        for layer, (n_in, n_out) in enumerate(self.shapes()):
            last = layer == self.n_layers - 1
            rows = 1 if last else n_in
            stride = self.strides[layer] if last else self.strides[layer + 1]
            entry = table[layer]
            entry[Field.N_IN], entry[Field.N_OUT] = n_in, n_out
            entry[Field.INPUT_STRIDE] = self.strides[layer]
            entry[Field.WEIGHTS], entry[Field.STRIDE], entry[Field.ROWS] = at, stride, rows
            # A transpose in whole blocks reads rows up to the next block: they exist, and hold 0.
            at += stride * (1 if last else padded(n_in))
            entry[Field.BIAS] = at
            at += BLOCK if last else stride
            entry[Field.FIRST_ROW] = row
            row += rows
            if not last:
                entry[Field.ACTIVATION] = ACTIVATIONS[self.activations[layer]]
            if 0 < layer < self.n_layers - 1:
                entry[Field.TRANSPOSED], entry[Field.TRANSPOSED_STRIDE] = (
                    transposed,
                    self.strides[layer],
                )
                transposed += padded(n_out) * self.strides[layer]
            elif last:
                entry[Field.TRANSPOSED], entry[Field.TRANSPOSED_STRIDE] = -1, stride
        table.flags.writeable = False
        return table

    @cached_property
    def size(self) -> int:
        """Numbers in the flat array of all parameters, padding included."""
        last = self.table[-1]
        return int(last[Field.BIAS]) + BLOCK

    @cached_property
    def transposed_size(self) -> int:
        """Numbers in the transposed copies that the δ recursion reads."""
        hidden = range(1, self.n_layers - 1)
        return sum(padded(self.widths[k + 1]) * self.strides[k] for k in hidden)

    @cached_property
    def n_rows(self) -> int:
        """Rows of all weight matrices, as stored."""
        return int(self.table[:, Field.ROWS].sum())

    def views(self, flat: np.ndarray) -> Parameters:
        """(coefs, intercepts) where they lie within a flat array."""
        coefs, intercepts = [], []
        for (n_in, n_out), entry in zip(self.shapes(), self.table, strict=True):
            start, stride, bias = (int(entry[k]) for k in (Field.WEIGHTS, Field.STRIDE, Field.BIAS))
            rows = int(entry[Field.ROWS])
            matrix = flat[start : start + rows * stride].reshape(rows, stride)
            matrix = matrix[:, :n_in].T if n_out == 1 and rows == 1 else matrix[:, :n_out]
            coefs.append(matrix[:n_in])
            intercepts.append(flat[bias : bias + n_out])
        return coefs, intercepts

    def pack(self, parameters: Parameters, out: np.ndarray) -> None:
        """Write (coefs, intercepts) into a flat array of this network's layout.

        Raises
        ------
        ValueError
            Where a shape is not the network's.
        """
        coefs, intercepts = parameters
        if len(coefs) != self.n_layers or len(intercepts) != self.n_layers:
            raise ValueError(
                f"The network has {self.n_layers} layers; coefs_ has {len(coefs)} arrays and "
                f"intercepts_ {len(intercepts)}."
            )
        for k, (matrix, bias) in enumerate(zip(*self.views(out), strict=True)):
            if np.shape(coefs[k]) != matrix.shape:
                raise ValueError(
                    f"coefs_[{k}] must have shape {matrix.shape}, got {np.shape(coefs[k])}."
                )
            if np.shape(intercepts[k]) != bias.shape:
                raise ValueError(
                    f"intercepts_[{k}] must have shape {bias.shape}, got {np.shape(intercepts[k])}."
                )
            matrix[...] = coefs[k]
            bias[...] = intercepts[k]

    def unpack(self, flat: np.ndarray) -> Parameters:
        """(coefs, intercepts) of a flat array, as fresh C-contiguous arrays."""
        coefs, intercepts = self.views(flat)
        return [np.array(matrix, order="C") for matrix in coefs], [b.copy() for b in intercepts]
