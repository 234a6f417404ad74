"""The hidden layers' activation functions g, and their derivatives g′ (N5, N7).

relu and its derivative ride on the matrix products: a floor of 0, and a gate where the activation
is 0. Any other g is a pass over the block of rows that was just computed, while it is in cache.
Its g′ is either written in terms of a = g(z), and is a pass over δ of its own, or, where it needs
z, it is written by the pass of g to where δ will be, which is idle until then; the product of the δ
recursion ends by multiplying with what it finds there.
"""

import math
from typing import NamedTuple

import numpy as np

from fastmlp.kernels.piece import Piece, piece
from fastmlp.kernels.simd import functions, normal
from fastmlp.kernels.simd.elementwise import elementwise
from fastmlp.kernels.simd.tile import GATED, PLAIN, TIMES
from fastmlp.kernels.views import part

#: Slope of leaky_relu below 0.
LEAK = 0.01

#: α and λ of selu, which make a mean of 0 and a variance of 1 stay so.
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805

#: The cubic term of gelu_tanh.
CUBIC = 0.044715

#: Beyond it, no g′ changes any more.
_FAR = 40.0


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


# What follows writes g(z) and g′(z) together, because g′ needs z or what g has computed.


def leaky_relu(z, delta):
    """z where z > 0, else z / 100; Maas, Hannun and Ng 2013."""
    one, positive = z._of(1.0), z.compare(">", 0.0)
    return z.where(positive, z * LEAK), one.where(positive, z._of(LEAK))


def elu(z, delta):
    """z where z > 0, else e^z − 1; Clevert, Unterthiner and Hochreiter 2016, with α = 1."""
    below, positive = functions.expm1(z.at_most(0.0))[0], z.compare(">", 0.0)
    return z.where(positive, below), z._of(1.0).where(positive, below + 1.0)


def selu(z, delta):
    """λz where z > 0, else λα(e^z − 1); Klambauer et al. 2017, whose α and λ these are."""
    below, positive = functions.expm1(z.at_most(0.0))[0], z.compare(">", 0.0)
    a = (z * SELU_SCALE).where(positive, below * (SELU_SCALE * SELU_ALPHA))
    slope = z._of(SELU_SCALE).where(positive, (below + 1.0) * (SELU_SCALE * SELU_ALPHA))
    return a, slope


def softplus(z, delta):
    """log(1 + e^z), and σ(z); Dugas et al. 2001."""
    s, log_term = functions.sigmoid_and_log1p(z)
    return z.at_least(0.0) + log_term, s


def silu(z, delta):
    """z σ(z), and σ + zσ (1 − σ); Elfwing, Uchibe and Doya 2018."""
    s = functions.sigmoid(z)
    a = z * s
    return a, a.times_plus(1.0 - s, s)


def gelu(z, delta):
    """z Φ(z), and Φ + z φ; Hendrycks and Gimpel 2016."""
    cdf, density = normal.cdf_and_density(z)
    # Far out, z φ is 0, and an infinite z would make it NaN.
    near = z.at_most(_FAR).at_least(-_FAR)
    return z * cdf, near.times_plus(density, cdf)


def gelu_tanh(z, delta):
    """z σ(2u) with u = √(2/π) (z + 0.044715 z³), and its derivative; as gelu, by its section 2."""
    near = z.at_most(_FAR).at_least(-_FAR)
    square = near * near
    u = near * (square.times_plus(CUBIC, 1.0) * math.sqrt(2.0 / math.pi))
    s, rest = functions.sigmoid_and_complement(u + u)
    slope = square.times_plus(3.0 * CUBIC, 1.0) * (2.0 * math.sqrt(2.0 / math.pi))
    return z * s, (near * s * rest).times_plus(slope, s)


def mish(z, delta):
    """z tanh(softplus(z)), and its derivative; Misra 2020.

    With u = e^(−|z|), tanh(softplus(z)) is a quotient in which nothing cancels:
    (1 + 2u) / (1 + 2u + 2u²) where z ≥ 0, and (u² + 2u) / (u² + 2u + 2) below.
    """
    u, one, positive = functions.exp(-z.abs()), z._of(1.0), z.compare(">=", 0.0)
    square, twice = u * u, u + u
    top = (one + twice).where(positive, square + twice)
    rest = (square + square).where(positive, z._of(2.0))
    whole = top + rest
    t = top / whole
    s = one.where(positive, u) / (one + u)
    # 1 − t² = (1 − t)(1 + t), with 1 − t = rest / whole. Far out it is 0, and z may be infinite.
    near = z.at_most(_FAR).at_least(-_FAR)
    return z * t, (near * s * (rest / whole)).times_plus(t + 1.0, t)


def _both(formula):
    """The step that writes g of a block of rows in place, and g′ to where δ will be."""
    apply_formula = elementwise(formula, views=2, scalars=0, writes=(0, 1))

    def apply(layer, at, first, rows, batch):
        apply_formula((part(layer.a, at, 0, rows), part(layer.delta, at, 0, rows)), ())

    apply.__qualname__ = apply.__name__ = f"apply_{formula.__name__}"
    apply.__doc__ = f"a ← {formula.__name__}(a), and its g′ to where δ will be."
    return piece()(apply)


class Kernels(NamedTuple):
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


#: Activations by name: scikit-learn's, and further ones.
ACTIVATIONS = {
    "identity": Kernels(),
    "logistic": Kernels(apply=apply_logistic, multiply_derivative=multiply_logistic_derivative),
    "tanh": Kernels(apply=apply_tanh, multiply_derivative=multiply_tanh_derivative),
    "relu": Kernels(floor=0.0, ending=GATED),
    **{
        formula.__name__: Kernels(apply=_both(formula), ending=TIMES)
        for formula in (leaky_relu, elu, selu, gelu, gelu_tanh, silu, mish, softplus)
    },
}
