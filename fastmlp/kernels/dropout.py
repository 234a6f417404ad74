"""Dropout: units of a layer are left out of a minibatch at random, and the others weigh more.

Whether a unit stays depends on the seed, the update, the row of X and the unit alone, not on how
rows fall into blocks or which thread works on them: a counter of row, update and unit, and a key of
seed and layer, become a random number (`simd.philox`).

With m = 1 / (1 − p) where a unit stays and 0 where it does not, a ← a ⊙ m, and so
δ ← (δ Wᵀ) ⊙ (g′ ⊙ m): g′ of a layer that drops units waits, times m, where δ will be.
"""

from functools import lru_cache

import numpy as np

from fastmlp.kernels.epoch import epoch_at, row_number
from fastmlp.kernels.piece import piece
from fastmlp.kernels.simd.elementwise import elementwise
from fastmlp.kernels.simd.philox import drop_row
from fastmlp.kernels.views import matrix, part
from fastmlp.runtime.records import number


@lru_cache
def dropout_record(kind):
    """Record of what a layer drops, whose numbers are of `kind`.

    Fields
    ------
    a, delta : a⁽ˡ⁾, and δ⁽ˡ⁾ whose place holds g′; without panels where there is no δ
    layer : the number l
    threshold : a unit is dropped where its random number of 32 bits is below
    scale : what those that stay are multiplied by
    members : of the network: each has a mask of its own
    epoch : address of the `EPOCH`
    """
    return np.dtype(
        [
            *((name, matrix(kind)) for name in ("a", "delta")),
            *((name, np.int64) for name in ("layer", "threshold", "members")),
            ("scale", np.float64),
            ("epoch", np.int64),
        ]
    )


def one_formula(target):
    """target ← 1."""
    return target._of(1.0)


def gate_formula(target, a):
    """target ← 1 where a ≠ 0, else 0: relu′."""
    return target.zeros().where(a.compare("==", 0.0), target._of(1.0))


_ones = elementwise(one_formula, views=1, scalars=0, writes=(0,))
_gates = elementwise(gate_formula, views=2, scalars=0, writes=(0,))


@piece()
def begin_derivative(layer, at, first, rows, batch):
    """δ's place ← 1, to be multiplied by g′."""
    _ones((part(layer.delta, at, 0, rows),), ())


@piece()
def write_relu_derivative(layer, at, first, rows, batch):
    """δ's place ← relu′."""
    _gates((part(layer.delta, at, 0, rows), part(layer.a, at, 0, rows)), ())


@piece()
def drop(dropout, at, first, rows, batch):
    """a ← a ⊙ m, and g′ ← g′ ⊙ m where a layer has it in δ's place, for a block of rows."""
    epoch = epoch_at(dropout.epoch)
    a, delta = part(dropout.a, at, 0, rows), part(dropout.delta, at, 0, rows)
    update, key = number(epoch.updates, batch), (epoch.seed, dropout.layer)
    start = batch * epoch.batch_size + first
    for r in range(rows):
        row = row_number(epoch, start + r) * dropout.members + (start + r) % dropout.members
        # The upper halves of both numbers share a word: rows are fewer than 2⁴⁸.
        counter = (row, (row >> 32) ^ (update >> 32 << 16), update)
        drop_row(a, delta, r, counter, key, dropout.threshold, dropout.scale)
