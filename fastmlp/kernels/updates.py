"""Gradient descent's update of the parameters, in place (N4): SGD, momentum, Nesterov, Adam.

The gradient of the mean loss with its L2 term is g = (∂ℒ + alpha·w) · scale, with scale =
1 / Σ weights; ∂ℒ is the sum over the minibatch that a room for gradients holds. The learning rate,
α in N4, is called rate; alpha is the strength of the L2 term. Without momentum, v = −rate·g, and
w + v is N4. Every update is one pass over its arrays.
"""

from functools import lru_cache

import numpy as np

from fastmlp.kernels.epoch import epoch_at, rows_of
from fastmlp.kernels.piece import piece
from fastmlp.kernels.simd.elementwise import elementwise
from fastmlp.kernels.views import matrix, part
from fastmlp.runtime.records import number

#: Constants of an update, as fields of its record, and where they come from (`Optimizer`).
CONSTANTS = ("momentum", "beta_1", "rest_1", "beta_2", "rest_2", "epsilon")


@lru_cache
def update_record(kind):
    """Record of the update of one matrix, or of one bias, whose numbers are of `kind`.

    Fields
    ------
    w : parameters; m : velocity (SGD) or first moment (Adam); v : second moment (Adam)
    dw : ∂ℒ, in the room of the unit
    parts : ∂ℒ of each block of rows, where the gradient is summed block by block
    alpha : strength of the L2 term; 0 for a bias
    momentum … epsilon : see `CONSTANTS`
    epoch : address of the `EPOCH`
    """
    one = matrix(kind)
    return np.dtype(
        [
            *((name, one) for name in ("w", "m", "v", "dw", "parts")),
            ("alpha", np.float64),
            *((name, np.float64) for name in CONSTANTS),
            ("epoch", np.int64),
        ]
    )


def sgd_formula(w, v, total, alpha, scale, rate, momentum):
    """v ← momentum·v − rate·g; w ← w + v."""
    g = w.times_plus(alpha, total) * scale
    v = v * momentum - g * rate
    return w + v, v


def nesterov_formula(w, v, total, alpha, scale, rate, momentum):
    """v ← momentum·v − rate·g; w ← w + momentum·v − rate·g with the new v."""
    g = w.times_plus(alpha, total) * scale
    v = v * momentum - g * rate
    return w + (v * momentum - g * rate), v


def adam_formula(w, m, v, total, alpha, scale, rate, beta_1, rest_1, beta_2, rest_2, epsilon):
    """m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; w ← w − rate·m / (√v + epsilon).

    rate = lr·√(1−β₂ᵗ)/(1−β₁ᵗ): epsilon is not corrected for the bias (Kingma and Ba 2014, the
    last paragraph of section 2). rest_1 = 1−β₁ and rest_2 = 1−β₂ come rounded once: in float32,
    1 − 0.999 would be 5e-5 off.
    """
    g = w.times_plus(alpha, total) * scale
    m = m * beta_1 + g * rest_1
    v = v * beta_2 + g * g * rest_2
    return w - rate * m / (v.sqrt() + epsilon), m, v


def add_formula(total, x):
    """total ← total + x."""
    return total + x


def copy_formula(target, x):
    """target ← x."""
    return x


_sgd = elementwise(sgd_formula, views=3, scalars=4, writes=(0, 1))
_nesterov = elementwise(nesterov_formula, views=3, scalars=4, writes=(0, 1))
_adam = elementwise(adam_formula, views=4, scalars=8, writes=(0, 1, 2))
_add = elementwise(add_formula, views=2, scalars=0, writes=(0,))
_copy = elementwise(copy_formula, views=2, scalars=0, writes=(0,))


@piece()
def sgd(update, at, first, rows, batch):
    """One step of `sgd_formula` for rows first … of the parameters (N4)."""
    epoch = epoch_at(update.epoch)
    scale, rate = number(epoch.scales, batch), number(epoch.rates, batch)
    w, v = part(update.w, 0, first, rows), part(update.m, 0, first, rows)
    _sgd((w, v, part(update.dw, at, 0, rows)), (update.alpha, scale, rate, update.momentum))


@piece()
def nesterov(update, at, first, rows, batch):
    """One step of `nesterov_formula` for rows first … of the parameters (N4)."""
    epoch = epoch_at(update.epoch)
    scale, rate = number(epoch.scales, batch), number(epoch.rates, batch)
    w, v = part(update.w, 0, first, rows), part(update.m, 0, first, rows)
    _nesterov((w, v, part(update.dw, at, 0, rows)), (update.alpha, scale, rate, update.momentum))


@piece()
def adam(update, at, first, rows, batch):
    """One step of `adam_formula` for rows first … of the parameters (N4)."""
    epoch = epoch_at(update.epoch)
    scale, rate = number(epoch.scales, batch), number(epoch.rates, batch)
    w, dw = part(update.w, 0, first, rows), part(update.dw, at, 0, rows)
    m, v = part(update.m, 0, first, rows), part(update.v, 0, first, rows)
    betas = (update.beta_1, update.rest_1, update.beta_2, update.rest_2)
    _adam((w, m, v, dw), (update.alpha, scale, rate, *betas, update.epsilon))


@piece()
def sum_of_blocks(update, at, first, rows, batch):
    """∂ℒ for rows first …: the gradients of the blocks of the minibatch, added in their order."""
    epoch = epoch_at(update.epoch)
    total = part(update.dw, at, 0, rows)
    _copy((total, part(update.parts, 0, first, rows)), ())
    n_blocks = (rows_of(epoch, batch) + epoch.block_rows - 1) // epoch.block_rows
    for block in range(1, n_blocks):
        _add((total, part(update.parts, block, first, rows)), ())
