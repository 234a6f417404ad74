"""The hidden layers' activation functions g, and their derivatives g′ (N5, N7).

relu and its derivative ride on the matrix products: a floor of 0, and a gate where the activation
is 0. Any other g is a pass over the block of rows that was just computed, while it is in cache.
Its g′ is either written in terms of a = g(z), and is a pass over δ of its own, or, where it needs
z, it is written by the pass of g to where δ will be, which is idle until then; the product of the δ
recursion ends by multiplying with what it finds there.
"""

from typing import NamedTuple

import numpy as np

from fastmlp.kernels.piece import Piece, piece
from fastmlp.kernels.simd import functions
from fastmlp.kernels.simd.elementwise import elementwise
from fastmlp.kernels.simd.tile import GATED, PLAIN
from fastmlp.kernels.views import part


def logistic_derivative(delta, a):
    """δ ⊙ σ′ = δ ⊙ a ⊙ (1 − a)."""
    return delta * (a * (1.0 - a))


def tanh_derivative(delta, a):
    """δ ⊙ tanh′ = δ ⊙ (1 − a²)."""
    return delta * (1.0 - a * a)


_logistic = elementwise(functions.sigmoid, views=1, scalars=0, writes=(0,))
_tanh = elementwise(functions.tanh, views=1, scalars=0, writes=(0,))
_logistic_derivative = elementwise(logistic_derivative, views=2, scalars=0, writes=(0,))
_tanh_derivative = elementwise(tanh_derivative, views=2, scalars=0, writes=(0,))


@piece()
def apply_logistic(layer, at, first, rows, batch):
    """a ← σ(a) for a block of rows that holds z (N1)."""
    _logistic((part(layer.a, at, 0, rows),), ())


@piece()
def apply_tanh(layer, at, first, rows, batch):
    """a ← tanh(a) for a block of rows that holds z (N1)."""
    _tanh((part(layer.a, at, 0, rows),), ())


@piece()
def multiply_logistic_derivative(layer, at, first, rows, batch):
    """δ ← δ ⊙ σ′(z) (N8)."""
    _logistic_derivative((part(layer.delta, at, 0, rows), part(layer.a, at, 0, rows)), ())


@piece()
def multiply_tanh_derivative(layer, at, first, rows, batch):
    """δ ← δ ⊙ tanh′(z) (N8)."""
    _tanh_derivative((part(layer.delta, at, 0, rows), part(layer.a, at, 0, rows)), ())


class Activation(NamedTuple):
    """How a network computes g and g′.

    Attributes
    ----------
    floor : float
        Lower bound of z that the product keeps: 0 is relu.
    apply : Piece or None
        a ← g(a), for what the product has not done.
    ending : int
        How the product of the δ recursion ends (see `simd.tile`): `GATED` by a, `TIMES` what
        `apply` has written to where δ will be, or `PLAIN`.
    multiply_derivative : Piece or None
        δ ← δ ⊙ g′, for what the product has not done.
    """

    floor: float = -np.inf
    apply: Piece | None = None
    ending: int = PLAIN
    multiply_derivative: Piece | None = None


#: scikit-learn's activations by name.
ACTIVATIONS = {
    "identity": Activation(),
    "logistic": Activation(apply=apply_logistic, multiply_derivative=multiply_logistic_derivative),
    "tanh": Activation(apply=apply_tanh, multiply_derivative=multiply_tanh_derivative),
    "relu": Activation(floor=0.0, ending=GATED),
}
