"""The hidden layers' activation functions g, and their derivatives g′ (N5, N7).

g′ is written in terms of the activation a = g(z), so that z need not be kept. relu and its
derivative ride on the matrix products (a floor of 0, and a gate where the activation is 0); the
others are a pass over the block of rows that was just computed, while it is in cache.
"""

from fastmlp.kernels import functions
from fastmlp.kernels.jit import kernel
from fastmlp.kernels.simd import elementwise

IDENTITY, LOGISTIC, TANH, RELU = range(4)

#: Names of scikit-learn's activations and the codes that kernels know them by.
ACTIVATIONS = {"identity": IDENTITY, "logistic": LOGISTIC, "tanh": TANH, "relu": RELU}


def logistic(z, one):
    """σ(z)."""
    return functions.sigmoid(z)


def tanh(z, one):
    """tanh(z)."""
    return functions.tanh(z)


def logistic_derivative(delta, a, one):
    """δ ⊙ σ′ = δ ⊙ a ⊙ (1 − a)."""
    return delta * (a * (one - a))


def tanh_derivative(delta, a, one):
    """δ ⊙ tanh′ = δ ⊙ (1 − a²)."""
    return delta * (one - a * a)


_logistic = elementwise(logistic, arrays=1, scalars=1, writes=(0,))
_tanh = elementwise(tanh, arrays=1, scalars=1, writes=(0,))
_logistic_derivative = elementwise(logistic_derivative, arrays=2, scalars=1, writes=(0,))
_tanh_derivative = elementwise(tanh_derivative, arrays=2, scalars=1, writes=(0,))


@kernel
def activate(code, z, count, one):
    """z ← g(z) in place for what the product has not done already (N1).

    code : activation; z : int64 address of count numbers, a multiple of `BLOCK`; one : 1 of their
    type.
    """
    if code == LOGISTIC:
        _logistic(count, (z,), (one,))
    elif code == TANH:
        _tanh(count, (z,), (one,))


@kernel
def multiply_derivative(code, delta, a, count, one):
    """δ ← δ ⊙ g′(z) in place, given a = g(z), for what the product has not done already (N8).

    delta, a : int64 addresses of count numbers, a multiple of `BLOCK`; one : 1 of their type.
    """
    if code == LOGISTIC:
        _logistic_derivative(count, (delta, a), (one,))
    elif code == TANH:
        _tanh_derivative(count, (delta, a), (one,))
