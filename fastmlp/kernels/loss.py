"""Probabilities, binary cross-entropy and the error at the output, from the logit (N2, N5, N6)."""

from functools import lru_cache

import numpy as np

from fastmlp.kernels.epoch import epoch_at, row_number, rows_of
from fastmlp.kernels.piece import piece
from fastmlp.kernels.simd import functions
from fastmlp.kernels.simd.elementwise import elementwise
from fastmlp.kernels.simd.panels import interleave
from fastmlp.kernels.views import column, matrix
from fastmlp.runtime.records import listed, number, numbers

#: A logit beyond ±this has reached an end of the loss, in float32 and in float64.
_SATURATED = 1000.0


def cross_entropy(z, y, weight, delta, loss, least, most):
    """δ⁽ᴸ⁾ = (ŷ − y)·weight and ℒ·weight, with ŷ = σ(z), ℒ = −[y log ŷ + (1−y) log(1−ŷ)].

    From the logit, ℒ = max(z, 0) − z y + log(1 + e^(−|z|)): no logarithm of 0. The difference comes
    first: where y is 0 or 1 it is exact, and a small loss keeps its precision. ℒ is held between
    `least` and `most`, where scikit-learn's loss ends because it clips ŷ to [eps, 1 − eps]. An
    infinite z would make NaN of ∞ − ∞; a large one in its place has the same loss.

    delta and loss are the places of the results; what they hold is not read.
    """
    y_hat, log_term = functions.sigmoid_and_log1p(z)
    z = z.at_most(_SATURATED).at_least(-_SATURATED)
    linear_term = z.at_least(0.0) - z * y
    return (y_hat - y) * weight, (linear_term + log_term).at_least(least).at_most(most) * weight


def probabilities(z, complement):
    """P(y = 1) = σ(z) and P(y = 0) = σ(−z)."""
    return functions.sigmoid_and_complement(z)


_cross_entropy = elementwise(cross_entropy, views=5, scalars=2, writes=(3, 4), ragged=True)
_probabilities = elementwise(probabilities, views=2, scalars=0, writes=(0, 1), ragged=True)


@lru_cache
def loss_record(kind):
    """Record of the output of a network whose numbers are of `kind`.

    Fields
    ------
    targets, sample_weight : y (bool) and the weights of all rows; address 0: all weights are 1
    logits, complement : z⁽ᴸ⁾ and 1 − ŷ, by row of the minibatch, or of a thread's block
    target, weight, delta, loss : y, weight, δ⁽ᴸ⁾ and ℒ by row of the minibatch
    result : of a prediction
    low, high : what targets count as: 0 and 1, or nearer to ½ with label smoothing
    least, most : where the loss of a row ends
    squares, n_squares : ‖row‖² of all weights, and how many there are
    members : rows of the minibatch that a row of X is, of which a prediction is the mean
    epoch : address of the `EPOCH`
    """
    of_rows = ("target", "weight", "delta", "loss", "result")
    return np.dtype(
        [
            ("targets", numbers("bool")),
            ("sample_weight", numbers("float64")),
            *((name, matrix(kind)) for name in ("logits", "complement")),
            *((name, numbers(kind)) for name in of_rows),
            ("low", np.float64),
            ("high", np.float64),
            ("least", np.float64),
            ("most", np.float64),
            ("squares", numbers("float64")),
            ("n_squares", np.int64),
            ("members", np.int64),
            ("epoch", np.int64),
        ]
    )


@piece()
def output_delta(record, at, first, rows, batch):
    """δ⁽ᴸ⁾ = ŷ − y (N6) and ℒ (N2) of a block of rows, both times the weights of the rows."""
    epoch = epoch_at(record.epoch)
    target, weight = listed(record.target, first, rows), listed(record.weight, first, rows)
    start = batch * epoch.batch_size + first
    for r in range(rows):
        row = row_number(epoch, start + r)
        target[r] = record.high if number(record.targets, row) else record.low
        if record.sample_weight.float64 != 0:
            weight[r] = number(record.sample_weight, row)
    z, delta, loss = (
        column(record.logits, at, first, rows),
        listed(record.delta, first, rows),
        listed(record.loss, first, rows),
    )
    _cross_entropy((z, target, weight, delta, loss), (record.least, record.most))


@piece()
def sum_losses(record, at, first, rows, batch):
    """Σ ℒ over the minibatch, for its mean."""
    length = rows_of(epoch_at(record.epoch), batch)
    loss, total = listed(record.loss, 0, length), 0.0
    for r in range(length):
        total += loss[r]
    listed(epoch_at(record.epoch).losses, 2 * batch, 1)[0] = total


@piece()
def sum_squares(record, at, first, rows, batch):
    """Σ ‖W‖² of all weights, before their update."""
    squares, total = listed(record.squares, 0, record.n_squares), 0.0
    for row in range(record.n_squares):
        total += squares[row]
    listed(epoch_at(record.epoch).losses, 2 * batch + 1, 1)[0] = total


@piece()
def write_logits(record, at, first, rows, batch):
    """z⁽ᴸ⁾ of a block of rows, into the result of a prediction."""
    result = listed(record.result, batch * epoch_at(record.epoch).batch_size + first, rows)
    z = column(record.logits, at, first, rows)
    for r in range(rows):
        result[r] = z[r]


@piece()
def write_probabilities(record, at, first, rows, batch):
    """1 − ŷ and ŷ = σ(z⁽ᴸ⁾) of a block of rows, into the result of a prediction (N5)."""
    z, complement = (
        column(record.logits, at, first, rows),
        column(record.complement, at, first, rows),
    )
    _probabilities((z, complement), ())  # z holds ŷ from here on
    start = batch * epoch_at(record.epoch).batch_size + first
    interleave(complement, z, listed(record.result, 2 * start, 2 * rows))


@piece()
def write_mean_probabilities(record, at, first, rows, batch):
    """Σ (1 − ŷ) / n and Σ ŷ / n of the n members of each row of X, into the result."""
    z, complement = (
        column(record.logits, at, first, rows),
        column(record.complement, at, first, rows),
    )
    _probabilities((z, complement), ())  # z holds ŷ from here on
    n = record.members
    start = (batch * epoch_at(record.epoch).batch_size + first) // n
    result = listed(record.result, 2 * start, 2 * (rows // n))
    for i in range(rows // n):
        negative = positive = 0.0
        for m in range(n):
            negative += np.float64(complement[i * n + m])
            positive += np.float64(z[i * n + m])
        result[2 * i], result[2 * i + 1] = negative / n, positive / n
