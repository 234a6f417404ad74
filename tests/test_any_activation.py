"""An activation whose g′ needs z: it waits where δ will be, and the product multiplies by it.

SiLU, g(z) = z σ(z), stands for all of these; the gradients of whole steps are checked against
finite differences.
"""

from itertools import pairwise

import numpy as np
import pytest
from compiled import address, call, column, filled
from guards import Guarded, Panels, check_unchanged
from naive import finite_differences
from scipy.special import expit

from fastmlp.kernels import layer as kernels
from fastmlp.kernels.activations import ACTIVATIONS
from fastmlp.kernels.epoch import EPOCH
from fastmlp.kernels.layer import layer_record
from fastmlp.kernels.loss import loss_record, output_delta
from fastmlp.kernels.simd.tile import TIMES
from fastmlp.kernels.simd.vector import PANEL
from fastmlp.network.plan import limits

DTYPES = (np.float32, np.float64)
ROWS, BLOCK = 21, 8
WIDTHS = (5, 19, 17, 1)


apply_silu = ACTIVATIONS["silu"].apply


def slope(z):
    s = expit(z)
    return s + z * s * (1 - s)


def loss_of(X, y):
    """Σ ℒ over the rows (N2), as a function of the parameters."""

    def loss(coefs, intercepts):
        a = X
        for k, (W, b) in enumerate(zip(coefs, intercepts, strict=True)):
            z = a @ W + b
            a = z * expit(z) if k < len(coefs) - 1 else z
        z = a[:, 0]
        return (np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))).sum()

    return loss


def problem(seed=0):
    rng = np.random.RandomState(seed)
    X, y = rng.randn(ROWS, WIDTHS[0]), rng.rand(ROWS) < 0.4
    shapes = list(pairwise(WIDTHS))
    coefs = [rng.randn(*shape) / np.sqrt(shape[0]) for shape in shapes]
    return X, y, coefs, [rng.randn(n_out) for _, n_out in shapes]


def in_blocks(values, dtype=np.float64):
    n_blocks = -(-len(values) // BLOCK)
    padded = np.zeros((n_blocks * BLOCK, values.shape[1]), dtype)
    padded[: len(values)] = values
    return Panels(padded.reshape(n_blocks, BLOCK, -1), gap=1, shift=1)


def on_whole_panels(W):
    return Panels(np.pad(W, ((0, -len(W) % PANEL), (0, 0))))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_formula_writes_both(dtype):
    z = np.random.RandomState(1).uniform(-30, 30, (2, 9, 40)).astype(dtype)
    a, delta = Panels(z, gap=1), Panels(np.full_like(z, np.nan), gap=2, shift=1)
    record = filled(layer_record(a.memory.dtype.name), a=a, delta=delta)
    call(apply_silu, record, at=1, first=9, rows=7)
    a.check(slice(7), block=1)
    delta.check(slice(7), block=1)
    z, eps = z[1, :7].astype(np.float64), np.finfo(dtype).eps
    np.testing.assert_allclose(a.values[1, :7], z * expit(z), rtol=4 * eps)
    np.testing.assert_allclose(delta.values[1, :7], slope(z), rtol=4 * eps, atol=60 * eps)


def step_of_pieces(X, y, coefs, intercepts):
    """Gradients of one minibatch, piece by piece and block by block."""
    n_layers = len(coefs)
    acts = [in_blocks(X), *(in_blocks(np.zeros((ROWS, n))) for n in WIDTHS[1:-1])]
    deltas = [None, *(in_blocks(np.zeros((ROWS, n))) for n in WIDTHS[1:-1])]
    z, target, weight, error, loss = (Guarded(x) for x in np.zeros((5, ROWS)))
    weight.array[...] = 1
    zeros, one = Panels(np.zeros((1, max(WIDTHS)))), np.ones(1)
    epoch = filled(EPOCH, n_rows=ROWS, batch_size=ROWS, block_rows=BLOCK)
    records, gradients = [], []
    for k, (W, b) in enumerate(zip(coefs, intercepts, strict=True)):
        last = k == n_layers - 1
        stored = Panels(W.T) if last else on_whole_panels(W)
        dW, db = Panels(np.zeros_like(W.T if last else W)), Panels(np.zeros((1, len(b))))
        fields = {
            "n_in": W.shape[0], "n_out": W.shape[1], "W": stored, "b": Panels(b[None]), "dW": dW,
            "db": db, "a_in": acts[k], "zeros": zeros, "one": one, "floor": -np.inf,
            "ending": TIMES, "epoch": address(epoch), "output_delta": error,
            "logits": column(z, advance=1),
        }  # fmt: skip
        if k > 0:
            fields |= {"delta_in": deltas[k], "gate": deltas[k]}
        if not last:
            fields |= {"a": acts[k + 1], "delta": deltas[k + 1], "copies": k > 0}
        records.append(filled(layer_record("float64"), members=1, **fields))
        gradients.append((dW, db))
    least, most = limits(np.dtype(np.float64))
    output = filled(
        loss_record("float64"), targets=y, logits=column(z, advance=1), target=target,
        weight=weight, delta=error, loss=loss, low=0.0, high=1.0, least=least, most=most,
        epoch=address(epoch),
    )  # fmt: skip
    for record in records[1:-1]:
        # The copy's rows are padded to whole panels, as the layout has them.
        n_in, n_out = int(record["n_in"][0]), int(record["n_out"][0])
        copy = Panels(np.zeros((n_out + -n_out % PANEL, n_in)))
        record.kept["Wt"] = copy
        for name, value in copy.fields().items():
            record["Wt"][name] = value
        record["W"]["advance"] = PANEL
        call(kernels.refresh, record, rows=n_in)
    for block, first in enumerate(range(0, ROWS, BLOCK)):
        where = {"at": block, "first": first, "rows": min(BLOCK, ROWS - first)}
        for record in records[:-1]:
            call(kernels.forward, record, **where)
            call(apply_silu, record, **where)
        call(kernels.output, records[-1], **where)
        call(output_delta, output, **where)
        call(kernels.backward_from_output, records[-1], **where)
        for record in records[-2:0:-1]:
            call(kernels.backward, record, **where)
    for record in records[:-1]:
        record["dW"]["advance"] = PANEL
        call(kernels.gradient, record, rows=int(record["n_in"][0]))
        call(kernels.bias_gradient, record, rows=1)
    call(kernels.output_gradient, records[-1], rows=ROWS)
    check_unchanged(zeros)
    for x in (*acts[1:], *deltas[1:]):
        x.check(slice(None))
    return loss.array.sum(), [
        [(dW.values.T if k == n_layers - 1 else dW.values) for k, (dW, _) in enumerate(gradients)],
        [db.values[0] for _, db in gradients],
    ]


def check_gradients(gradients, exact):
    for ours, theirs in zip(gradients, exact, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_a_step_of_pieces_against_finite_differences():
    X, y, coefs, intercepts = problem()
    loss = loss_of(X, y)
    value, gradients = step_of_pieces(X, y, coefs, intercepts)
    np.testing.assert_allclose(value, loss(coefs, intercepts), rtol=1e-12)
    check_gradients(gradients, finite_differences(loss, coefs, intercepts))
