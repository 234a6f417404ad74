"""Gradient descent's update of the parameters, in place (N4): SGD, momentum, Nesterov, Adam.

The gradient of the mean loss with its L2 term is g = (∂ℒ + alpha·w) · scale, with scale =
1 / Σ weights; ∂ℒ is the sum over the minibatch that a room for gradients holds. The learning rate,
α in N4, is called rate; alpha is the strength of the L2 term. Without momentum, v = −rate·g, and
w + v is N4. Every update is one pass over its arrays.

What regularisation adds are steps of their own: a decay of the weights ahead of the update, an
average of them after it, and, where gradients are clipped, the norm of all of them in between.
"""

from functools import lru_cache

import numpy as np

from fastmlp.kernels.epoch import epoch_at, rows_of
from fastmlp.kernels.piece import piece
from fastmlp.kernels.simd.elementwise import elementwise
from fastmlp.kernels.views import matrix, part
from fastmlp.runtime.records import listed, number, numbers

#: Constants of an update, as fields of its record, and where they come from (`Optimizer`).
CONSTANTS = ("momentum", "beta_1", "rest_1", "beta_2", "rest_2", "epsilon")


@lru_cache
def update_record(kind):
    """Record of the update of one matrix, or of one bias, whose numbers are of `kind`.

    Fields
    ------
    w : parameters; m : velocity (SGD) or first moment (Adam); v : second moment (Adam)
    dw : ∂ℒ, in the room of the unit, or in the buffer of all gradients
    parts : ∂ℒ of each block of rows, where the gradient is summed block by block
    alpha : strength of the L2 term; 0 for a bias
    speed : what the learning rate is multiplied by
    momentum … epsilon : see `CONSTANTS`
    average : the average of w over the updates
    gradient_squares : ‖row‖² of the gradient
    epoch : address of the `EPOCH`
    """
    one = matrix(kind)
    return np.dtype(
        [
            *((name, one) for name in ("w", "m", "v", "dw", "parts", "average")),
            ("gradient_squares", numbers("float64")),
            ("alpha", np.float64),
            ("speed", np.float64),
            *((name, np.float64) for name in CONSTANTS),
            ("epoch", np.int64),
        ]
    )


def sgd_formula(w, v, total, alpha, scale, rate, momentum):
    """v ← momentum·v − rate·g; w ← w + v: without momentum, w ← w − rate·g (N4)."""
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


def decay_formula(w, keep):
    """w ← keep·w, with keep = 1 − rate·weight_decay (Loshchilov and Hutter 2019, algorithm 2)."""
    return w * keep


def average_formula(average, w, share):
    """average ← average + share·(w − average).

    With share = (1−d) / (1−dᵗ) at update t it is Σ dᵗ⁻ⁱ wᵢ / Σ dᵗ⁻ⁱ: an average over the updates
    that is corrected for its start (Kingma and Ba 2014, section 7.2).
    """
    return average + (w - average) * share


def penalty_formula(total, w, alpha):
    """total ← total + alpha·w: ∂ℒ with its L2 term."""
    return w.times_plus(alpha, total)


_sgd = elementwise(sgd_formula, views=3, scalars=4, writes=(0, 1))
_nesterov = elementwise(nesterov_formula, views=3, scalars=4, writes=(0, 1))
_adam = elementwise(adam_formula, views=4, scalars=8, writes=(0, 1, 2))
_add = elementwise(add_formula, views=2, scalars=0, writes=(0,))
_copy = elementwise(copy_formula, views=2, scalars=0, writes=(0,))
_decay = elementwise(decay_formula, views=1, scalars=1, writes=(0,))
_average = elementwise(average_formula, views=2, scalars=1, writes=(0,))
_penalty = elementwise(penalty_formula, views=2, scalars=1, writes=(0,))


@piece()
def sgd(update, at, first, rows, batch):
    """One step of `sgd_formula` for rows first … of the parameters (N4)."""
    epoch = epoch_at(update.epoch)
    scale, rate = number(epoch.scales, batch), number(epoch.rates, batch) * update.speed
    w, v = part(update.w, 0, first, rows), part(update.m, 0, first, rows)
    _sgd((w, v, part(update.dw, at, first, rows)), (update.alpha, scale, rate, update.momentum))


@piece()
def nesterov(update, at, first, rows, batch):
    """One step of `nesterov_formula` for rows first … of the parameters (N4)."""
    epoch = epoch_at(update.epoch)
    scale, rate = number(epoch.scales, batch), number(epoch.rates, batch) * update.speed
    w, v = part(update.w, 0, first, rows), part(update.m, 0, first, rows)
    _nesterov(
        (w, v, part(update.dw, at, first, rows)), (update.alpha, scale, rate, update.momentum)
    )


@piece()
def adam(update, at, first, rows, batch):
    """One step of `adam_formula` for rows first … of the parameters (N4)."""
    epoch = epoch_at(update.epoch)
    scale, rate = number(epoch.scales, batch), number(epoch.rates, batch) * update.speed
    w, dw = part(update.w, 0, first, rows), part(update.dw, at, first, rows)
    m, v = part(update.m, 0, first, rows), part(update.v, 0, first, rows)
    betas = (update.beta_1, update.rest_1, update.beta_2, update.rest_2)
    _adam((w, m, v, dw), (update.alpha, scale, rate, *betas, update.epsilon))


@piece()
def sum_of_blocks(update, at, first, rows, batch):
    """∂ℒ for rows first …: the gradients of the blocks of the minibatch, added in their order."""
    epoch = epoch_at(update.epoch)
    total = part(update.dw, at, first, rows)
    _copy((total, part(update.parts, 0, first, rows)), ())
    n_blocks = (rows_of(epoch, batch) + epoch.block_rows - 1) // epoch.block_rows
    for block in range(1, n_blocks):
        _add((total, part(update.parts, block, first, rows)), ())


@piece()
def decay(update, at, first, rows, batch):
    """One step of `decay_formula` for rows first … of the weights."""
    keep = number(epoch_at(update.epoch).keeps, batch)
    _decay((part(update.w, 0, first, rows),), (keep,))


@piece()
def average(update, at, first, rows, batch):
    """One step of `average_formula` for rows first … of the parameters."""
    share = number(epoch_at(update.epoch).shares, batch)
    _average((part(update.average, 0, first, rows), part(update.w, 0, first, rows)), (share,))


@piece()
def add_penalty(update, at, first, rows, batch):
    """∂ℒ with its L2 term for rows first …, where the norm of all gradients is wanted."""
    dw, w = part(update.dw, at, first, rows), part(update.w, 0, first, rows)
    _penalty((dw, w), (update.alpha,))


@piece()
def gradient_squares(update, at, first, rows, batch):
    """‖row‖² of ∂ℒ for rows first …; in float64, where a square overflows float32."""
    dw, squares = part(update.dw, at, first, rows), listed(update.gradient_squares, first, rows)
    columns = dw.shape[2]
    for r in range(rows):
        even = odd = 0.0
        for panel in range(dw.shape[0]):
            for j in range(0, columns, 2):
                x, y = np.float64(dw[panel, r, j]), np.float64(dw[panel, r, j + 1])
                even += x * x
                odd += y * y
        squares[r] = even + odd


@lru_cache
def clip_record(kind):
    """Record of the norm of all gradients; `kind` names the type of numbers alone.

    Fields
    ------
    gradient_squares, n_squares : ‖row‖² of all gradients, and how many rows there are
    most : the largest norm
    epoch : address of the `EPOCH`
    """
    return np.dtype(
        [
            ("gradient_squares", numbers("float64")),
            ("n_squares", np.int64),
            ("most", np.float64),
            ("epoch", np.int64),
        ]
    )


@piece()
def clip(record, at, first, rows, batch):
    """scale ← scale · min(1, most / (‖g‖ + 1e-6)), with g the gradient of the mean loss.

    Pascanu, Mikolov and Bengio 2013, algorithm 1; the 1e-6 is torch's.
    """
    squares, total = listed(record.gradient_squares, 0, record.n_squares), 0.0
    for row in range(record.n_squares):
        total += squares[row]
    scale = listed(epoch_at(record.epoch).scales, batch, 1)
    factor = record.most / (scale[0] * np.sqrt(total) + 1e-6)
    if factor < 1.0:
        scale[0] *= factor
