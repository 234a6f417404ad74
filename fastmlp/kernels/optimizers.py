"""Gradient descent's update of the parameters, in place (N4): SGD, momentum, Nesterov, Adam.

The gradient of the mean loss with its L2 term is g = (∂ℒ + α w) / Σ weights; ∂ℒ is the sum over
the minibatch that the gradient buffer holds. Every update is one pass over its arrays.
"""

from fastmlp.kernels.jit import kernel
from fastmlp.kernels.simd import elementwise

NONE, SGD, NESTEROV, ADAM = range(4)

#: Positions in the vector of an optimizer's constants (`Optimizer.constants`).
MOMENTUM, BETA_1, REST_1, BETA_2, REST_2, EPSILON = range(6)
N_CONSTANTS = 6


def sgd(w, v, g, alpha, scale, rate, momentum):
    """v ← momentum·v − rate·g; w ← w + v."""
    gradient = w.times_plus(alpha, g) * scale
    v = v * momentum - gradient * rate
    return w + v, v


def nesterov(w, v, g, alpha, scale, rate, momentum):
    """v ← momentum·v − rate·g; w ← w + momentum·v − rate·g with the new v."""
    gradient = w.times_plus(alpha, g) * scale
    v = v * momentum - gradient * rate
    return w + (v * momentum - gradient * rate), v


def adam(w, m, v, g, alpha, scale, rate, beta_1, rest_1, beta_2, rest_2, epsilon):
    """m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; w ← w − rate·m / (√v + epsilon).

    rate = lr·√(1−β₂ᵗ)/(1−β₁ᵗ): epsilon is not corrected for the bias (Kingma and Ba 2014, the
    last paragraph of section 2). rest_1 = 1−β₁ and rest_2 = 1−β₂ come rounded once: in float32,
    1 − 0.999 would be 5e-5 off.
    """
    gradient = w.times_plus(alpha, g) * scale
    m = m * beta_1 + gradient * rest_1
    v = v * beta_2 + gradient * gradient * rest_2
    return w - rate * m / (v.sqrt() + epsilon), m, v


_sgd = elementwise(sgd, arrays=3, scalars=4, writes=(0, 1))
_nesterov = elementwise(nesterov, arrays=3, scalars=4, writes=(0, 1))
_adam = elementwise(adam, arrays=4, scalars=8, writes=(0, 1, 2))


@kernel
def update(code, count, w, m, v, g, alpha, scale, rate, constants, size):
    """Update count parameters (a multiple of `BLOCK`) at the addresses w, m, v with gradient g.

    code : NONE, SGD, NESTEROV or ADAM; m : velocity, or Adam's first moment; v : its second;
    alpha, scale, rate : L2 strength, 1 / Σ weights, learning rate; constants : (N_CONSTANTS,)
    float64 array; size : bytes of one parameter.
    """
    if code == ADAM:
        betas = (constants[BETA_1], constants[REST_1], constants[BETA_2], constants[REST_2])
        _adam(count, size, (w, m, v, g), (alpha, scale, rate, *betas, constants[EPSILON]))
    elif code == NESTEROV:
        _nesterov(count, size, (w, m, g), (alpha, scale, rate, constants[MOMENTUM]))
    elif code == SGD:
        _sgd(count, size, (w, m, g), (alpha, scale, rate, constants[MOMENTUM]))
