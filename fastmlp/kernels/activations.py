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


def logistic_derivative(delta, a):
    """δ ⊙ σ′ = δ ⊙ a ⊙ (1 − a)."""
    return delta * (a * (1.0 - a))


def tanh_derivative(delta, a):
    """δ ⊙ tanh′ = δ ⊙ (1 − a²)."""
    return delta * (1.0 - a * a)


_logistic = elementwise(functions.sigmoid, arrays=1, scalars=0, writes=(0,))
_tanh = elementwise(functions.tanh, arrays=1, scalars=0, writes=(0,))
_logistic_derivative = elementwise(logistic_derivative, arrays=2, scalars=0, writes=(0,))
_tanh_derivative = elementwise(tanh_derivative, arrays=2, scalars=0, writes=(0,))


@kernel
def activate(code, z, count, size):
    """z ← g(z) in place for what the product has not done already (N1).

    code : activation; z : int64 address of count numbers, a multiple of `BLOCK`; size : bytes of
    one.
    """
    if code == LOGISTIC:
        _logistic(count, size, (z,), ())
    elif code == TANH:
        _tanh(count, size, (z,), ())


@kernel
def multiply_derivative(code, delta, a, count, size):
    """δ ← δ ⊙ g′(z) in place, given a = g(z), for what the product has not done already (N8).

    delta, a : int64 addresses of count numbers, a multiple of `BLOCK`; size : bytes of one.
    """
    if code == LOGISTIC:
        _logistic_derivative(count, size, (delta, a), ())
    elif code == TANH:
        _tanh_derivative(count, size, (delta, a), ())
