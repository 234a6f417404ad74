"""The derivation, part by part: N1 to N11 of the notes, each held to its formula.

    N1   forward pass          z⁽ˡ⁾ = W⁽ˡ⁾a⁽ˡ⁻¹⁾ + b⁽ˡ⁾, a⁽ˡ⁾ = g(z⁽ˡ⁾), ŷ = a⁽ᴸ⁾
    N2   loss                  ℒ = −[y log ŷ + (1−y) log(1−ŷ)]
    N3   random start          W⁽ˡ⁾ ~ N(0, 2/(n_in + n_out)), b⁽ˡ⁾ = 0
    N4   gradient descent      θ ← θ − α ∂ℒ/∂θ, for every θ at once
    N5   non-linearities       identity, σ, tanh, max(0, z); σ at the output
    N6   error at the output   δ⁽ᴸ⁾ = ŷ − y
    N7   Jacobian blocks       W⁽ˡ⁺¹⁾, diag(g′(z⁽ˡ⁾)), a_j⁽ˡ⁻¹⁾ e_i
    N8   δ recursion           δ⁽ˡ⁾ = (W⁽ˡ⁺¹⁾ᵀ δ⁽ˡ⁺¹⁾) ⊙ g′(z⁽ˡ⁾)
    N9   gradients             ∂ℒ/∂W_ij⁽ˡ⁾ = δ_i⁽ˡ⁾ a_j⁽ˡ⁻¹⁾, ∂ℒ/∂b⁽ˡ⁾ = δ⁽ˡ⁾
    N10  dimensions            they agree at every step of the chain
    N11  cost                  the recursion costs far less than the chain for each parameter

What is judged is the compiled session. The judges are two oracles that share no code with it, nor
with each other: central finite differences of N2 by every parameter (relative error below 1e-6),
and the product of the blocks of N7, multiplied out for every parameter (below 1e-12). An error is
relative to the largest entry of the same array of weights or biases.
"""

import importlib.util
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import (
    activate,
    cross_entropy_row,
    deltas_row,
    finite_differences,
    forward_row,
    jacobian_chain_row,
    loss_row,
    sigmoid,
    slope,
)

from fastmlp.data.rows import as_rows
from fastmlp.network import plan as plans
from fastmlp.network.layout import Network
from fastmlp.network.session import Optimizer, Session
from fastmlp.training.initialization import initial_parameters

DOUBLE = np.dtype(np.float64)
ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
MIXED = ("tanh", "relu", "logistic", "identity")
GRADIENT_DESCENT = Optimizer("sgd", momentum=0.0, nesterov=False)

#: Step of the finite differences, and how far |z| of a relu is kept from its kink at least.
STEP, FAR_FROM_KINK = 1e-5, 1e-3


@dataclass(frozen=True)
class Notes:
    """A random network, rows for it that keep off the kinks, and their weights."""

    widths: tuple
    activations: tuple
    coefs: list
    intercepts: list
    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray

    @property
    def n_layers(self):
        return len(self.coefs)

    def session(
        self, rows=slice(None), weight=None, alpha=0.0, n_threads=1, optimizer=GRADIENT_DESCENT
    ):
        """The compiled session, ready to train on some of the rows."""
        session = Session(Network(self.widths, self.activations, DOUBLE), n_threads)
        session.set_parameters(self.coefs, self.intercepts)
        X, y = self.X[rows], self.y[rows]
        session.prepare(
            as_rows(X, DOUBLE), y, weight, len(X), alpha=alpha, optimizer=optimizer
        )  # fmt: skip
        return session

    def of_row(self, k):
        """The arguments of the oracles for one row."""
        return self.X[k], self.y[k], self.coefs, self.intercepts, self.activations


def random_notes(n_layers, activation, seed, n_rows=4):
    """n_layers weight matrices; "mixed" is another activation in each layer."""
    rng = np.random.RandomState(100 * seed + n_layers)
    widths = (*rng.randint(1, 7, n_layers), 1)
    n_hidden = n_layers - 1
    activations = (MIXED * 2)[seed : seed + n_hidden] if activation == "mixed" else None
    activations = activations or (activation,) * n_hidden
    coefs = [rng.randn(a, b) * 1.3 / np.sqrt(a) for a, b in pairwise(widths)]
    intercepts = [rng.randn(b) / 2 for b in widths[1:]]
    rows = []
    while len(rows) < n_rows:
        x = rng.randn(widths[0])
        zs, _ = forward_row(x, coefs, intercepts, activations)
        kinks = [z for z, g in zip(zs, activations, strict=False) if g == "relu"]
        if abs(zs[-1][0]) < 4 and all(np.abs(z).min() > FAR_FROM_KINK for z in kinks):
            rows.append(x)
    return Notes(
        tuple(map(int, widths)), tuple(activations), coefs, intercepts, np.array(rows),
        rng.randint(0, 2, n_rows).astype(float), rng.rand(n_rows) + 0.1,
    )  # fmt: skip


every_network = pytest.mark.parametrize(
    "notes",
    [
        pytest.param(random_notes(n_layers, activation, seed), id=f"{n_layers}-{activation}-{seed}")
        for n_layers in range(1, 6)
        for activation in (*ACTIVATIONS, "mixed")
        for seed in range(3)
        if n_layers > 1 or activation == "identity"
    ],
)


def assert_agree(gradients, oracle, tolerance):
    """Each array, relative to its largest entry. An array of zeros (dead relu) must be one."""
    for array, other in zip((*gradients[0], *gradients[1]), (*oracle[0], *oracle[1]), strict=True):
        assert array.shape == other.shape
        assert np.abs(array - other).max() <= tolerance * np.abs(other).max()


def longdouble(arrays):
    return [array.astype(np.longdouble) for array in arrays]


def differences(loss, notes):
    """Central differences by every parameter of `loss(coefs, intercepts)`, taken in long double."""
    return finite_differences(
        lambda coefs, intercepts: loss(longdouble(coefs), longdouble(intercepts)),
        notes.coefs,
        notes.intercepts,
        STEP,
    )


def mean_of_chains(notes, weight, alpha):
    """The oracle of N7 for a minibatch: the weighted mean of its rows, and the L2 term."""
    chains = [jacobian_chain_row(*notes.of_row(k)) for k in range(len(notes.X))]
    means = [
        [
            sum(w * part for w, part in zip(weight, parts, strict=True))
            for parts in zip(*kind, strict=True)
        ]
        for kind in zip(*chains, strict=True)
    ]
    coefs = [g + alpha * W for g, W in zip(means[0], notes.coefs, strict=True)]
    return [g / weight.sum() for g in coefs], [g / weight.sum() for g in means[1]]


def mean_loss(notes, weight, alpha):
    """N2 for a minibatch as a function of the parameters."""

    def loss(coefs, intercepts):
        of_rows = [
            w * loss_row(x, y, coefs, intercepts, notes.activations)
            for x, y, w in zip(notes.X, notes.y, weight, strict=True)
        ]
        return (sum(of_rows) + alpha / 2 * sum((W**2).sum() for W in coefs)) / weight.sum()

    return loss


# --- N1 to N6 -------------------------------------------------------------------------------------


@every_network
def test_n1_forward_pass(notes):
    session = notes.session()
    zs, layers = zip(
        *(forward_row(x, notes.coefs, notes.intercepts, notes.activations) for x in notes.X),
        strict=True,
    )
    rows = as_rows(notes.X, DOUBLE)
    logits = np.array([z[-1][0] for z in zs])
    np.testing.assert_allclose(session.logits(rows), logits, rtol=1e-12, atol=1e-13)
    predicted = np.array([a[-1][0] for a in layers])
    np.testing.assert_allclose(session.probabilities(rows)[:, 1], predicted, rtol=1e-12)
    # Each hidden a_k⁽ˡ⁾ as the logit of the network that ends there and passes it on.
    for layer in range(1, notes.n_layers):
        width = notes.widths[layer]
        network = Network((*notes.widths[: layer + 1], 1), notes.activations[:layer], DOUBLE)
        for k in range(width):
            first = Session(network, 1)
            pick = np.eye(width)[:, [k]]
            first.set_parameters(
                [*notes.coefs[:layer], pick], [*notes.intercepts[:layer], np.zeros(1)]
            )
            expected = [a[layer][k] for a in layers]
            np.testing.assert_allclose(first.logits(rows), expected, rtol=1e-12, atol=1e-13)


@every_network
def test_n2_negative_log_likelihood(notes):
    for k in range(len(notes.X)):
        loss, _ = notes.session([k]).loss_and_gradient()
        p = forward_row(*(notes.of_row(k)[j] for j in (0, 2, 3, 4)))[1][-1][0]
        assert loss == pytest.approx(cross_entropy_row(notes.y[k], p), rel=1e-12)
        assert loss == pytest.approx(-np.log(p if notes.y[k] else 1 - p), rel=1e-12)


def test_n3_random_start():
    widths = (300, 200, 100, 1)
    coefs, intercepts = initial_parameters(
        "glorot_normal", widths, ("relu",) * 3, DOUBLE, np.random.RandomState(0)
    )
    for W, b, (n_in, n_out) in zip(coefs, intercepts, pairwise(widths), strict=True):
        sigma = np.sqrt(2 / (n_in + n_out))
        assert W.shape == (n_in, n_out)
        assert W.std() == pytest.approx(sigma, rel=3 / np.sqrt(2 * W.size))
        assert abs(W.mean()) < 3 * sigma / np.sqrt(W.size)
        np.testing.assert_array_equal(b, 0)
    # Normal, not uniform: 31.7 and 4.55 percent lie beyond one and two σ.
    beyond = [(np.abs(coefs[0]) > k * np.sqrt(2 / 500)).mean() for k in (1, 2)]
    assert beyond == pytest.approx([0.3173, 0.0455], abs=0.006)


@every_network
@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("nesterov", [False, True])  # of a momentum of 0, the same
def test_n4_gradient_descent_moves_all_parameters_at_once(notes, n_threads, nesterov):
    rate, weight = 0.5, np.ones(len(notes.X))
    oracle = mean_of_chains(notes, weight, 0.0)
    with mock.patch.object(plans, "WORK_PER_THREAD", 1):
        optimizer = replace(GRADIENT_DESCENT, nesterov=nesterov)
        session = notes.session(n_threads=n_threads, optimizer=optimizer)
        session.train_epoch(np.arange(len(notes.X)), rate)
    # Every θ − α ∂ℒ/∂θ, with ∂ℒ/∂θ at the parameters before any of them moved.
    for new, old, gradient in zip(
        (*session.get_parameters()[0], *session.get_parameters()[1]),
        (*notes.coefs, *notes.intercepts),
        (*oracle[0], *oracle[1]),
        strict=True,
    ):
        np.testing.assert_allclose(new, old - rate * gradient, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_n5_non_linearities(activation):
    z = np.concatenate([np.linspace(-8, 8, 401), [-700.0, -30.0, 30.0, 700.0]])
    g = {
        "identity": z,
        "logistic": 1 / (1 + np.exp(-z)),
        "tanh": np.tanh(z),
        "relu": np.where(z > 0, z, 0),
    }[activation]
    # One unit that passes z on: the logit is g(z), and the output the sigmoid of it.
    one, zero = np.ones((1, 1)), np.zeros(1)
    session = Session(Network((1, 1, 1), (activation,), DOUBLE), 1)
    session.set_parameters([one, one], [zero, zero])
    rows = as_rows(z[:, None], DOUBLE)
    np.testing.assert_allclose(session.logits(rows), g, rtol=1e-15, atol=3e-16)
    np.testing.assert_allclose(
        session.probabilities(rows)[:, 1], sigmoid(g), rtol=1e-15, atol=3e-16
    )


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_n5_derivatives(activation):
    # With W⁽²⁾ = 1 and y = 0, ∂ℒ/∂b⁽¹⁾ = ŷ g′(z), so the session's gradient over ŷ is g′(z).
    one, zero = np.ones((1, 1)), np.zeros(1)
    session = Session(Network((1, 1, 1), (activation,), DOUBLE), 1)
    for z in np.linspace(-3, 3, 24):
        session.set_parameters([one, one], [zero, zero])
        row = as_rows(np.array([[z]]), DOUBLE)
        session.prepare(row, np.zeros(1), None, 1, alpha=0.0, optimizer=GRADIENT_DESCENT)
        _, (_, (bias, _)) = session.loss_and_gradient()
        derivative = bias[0] / session.probabilities(row)[0, 1]
        up, down = (activate(activation, np.longdouble(z + h)) for h in (STEP, -STEP))
        assert derivative == pytest.approx(float((up - down) / (2 * STEP)), rel=1e-8, abs=1e-10)


@every_network
def test_n6_error_at_the_output(notes):
    for k in range(len(notes.X)):
        session = notes.session([k])
        delta = session.loss_and_gradient()[1][1][-1]
        p = session.probabilities(as_rows(notes.X[[k]], DOUBLE))[:, 1]
        np.testing.assert_allclose(delta, p - notes.y[k], rtol=1e-13)
        # The same from the loss and the sigmoid apart: ∂ℒ/∂ŷ · σ′(z⁽ᴸ⁾).
        y, z = notes.y[k], forward_row(*(notes.of_row(k)[j] for j in (0, 2, 3, 4)))[0][-1]
        p = sigmoid(z)
        np.testing.assert_allclose(delta, (-y / p + (1 - y) / (1 - p)) * p * (1 - p), rtol=1e-12)
        # And from N2 by finite differences: z⁽ᴸ⁾ moves as b⁽ᴸ⁾ does.
        z = z.astype(np.longdouble)
        up, down = (cross_entropy_row(y, sigmoid(z + h)) for h in (STEP, -STEP))
        np.testing.assert_allclose(delta, ((up - down) / (2 * STEP)).astype(float), rtol=1e-6)


# --- N7 to N9: both oracles -----------------------------------------------------------------------


@every_network
def test_n7_blocks_are_the_derivatives_of_n1(notes):
    coefs, intercepts, activations = notes.coefs, notes.intercepts, notes.activations
    zs, layers = forward_row(notes.X[0], coefs, intercepts, activations)
    for layer in range(notes.n_layers):
        W, b, a = coefs[layer].T, intercepts[layer], layers[layer]
        n_out, n_in = W.shape
        # ∂z/∂a = W
        for j in range(n_in):
            step = STEP * np.eye(n_in)[j]
            column = ((W @ (a + step) + b) - (W @ (a - step) + b)) / (2 * STEP)
            np.testing.assert_allclose(column, W[:, j], rtol=1e-8, atol=1e-9)
        # ∂a/∂z = diag(g′(z))
        if layer < notes.n_layers - 1:
            g, z = activations[layer], zs[layer]
            for i in range(n_out):
                step = STEP * np.eye(n_out)[i]
                column = (activate(g, z + step) - activate(g, z - step)) / (2 * STEP)
                block = np.diag(slope(g, activate(g, z)))
                np.testing.assert_allclose(column, block[:, i], rtol=1e-6, atol=1e-9)
        # ∂z/∂W_ij = a_j e_i
        for i, j in np.ndindex(n_out, n_in):
            step = np.zeros_like(W)
            step[i, j] = STEP
            column = (((W + step) @ a + b) - ((W - step) @ a + b)) / (2 * STEP)
            np.testing.assert_allclose(column, a[j] * np.eye(n_out)[i], rtol=1e-8, atol=1e-9)


@every_network
def test_n7_the_product_of_the_blocks_is_the_gradient(notes):
    for k in range(len(notes.X)):
        _, gradients = notes.session([k]).loss_and_gradient()
        assert_agree(gradients, jacobian_chain_row(*notes.of_row(k)), 1e-12)


@every_network
def test_n9_finite_differences_of_n2_are_the_gradient(notes):
    for k in range(2):
        _, gradients = notes.session([k]).loss_and_gradient()
        loss = mean_loss(
            Notes(**(vars(notes) | {"X": notes.X[[k]], "y": notes.y[[k]]})), np.ones(1), 0.0
        )
        assert_agree(gradients, differences(loss, notes), 1e-6)


@every_network
def test_n8_delta_recursion(notes):
    for k in range(len(notes.X)):
        x, y, coefs, intercepts, activations = notes.of_row(k)
        zs, layers = forward_row(x, coefs, intercepts, activations)
        # The gradient by b⁽ˡ⁾ of one row is δ⁽ˡ⁾ (N9): the session's own, layer by layer.
        deltas = notes.session([k]).loss_and_gradient()[1][1]
        for layer in range(notes.n_layers - 1):
            g = activations[layer]
            expected = (coefs[layer + 1] @ deltas[layer + 1]) * slope(g, activate(g, zs[layer]))
            np.testing.assert_allclose(deltas[layer], expected, rtol=1e-12, atol=1e-15)
        for delta, expected in zip(deltas, deltas_row(y, coefs, activations, layers), strict=True):
            np.testing.assert_allclose(delta, expected, rtol=1e-11, atol=1e-14)


@every_network
def test_n9_gradients_in_closed_form(notes):
    for k in range(len(notes.X)):
        x, _, coefs, intercepts, activations = notes.of_row(k)
        _, layers = forward_row(x, coefs, intercepts, activations)
        _, (weights, deltas) = notes.session([k]).loss_and_gradient()
        for gradient, delta, a in zip(weights, deltas, layers, strict=False):
            for j, i in np.ndindex(gradient.shape):
                assert gradient[j, i] == pytest.approx(delta[i] * a[j], rel=1e-12, abs=1e-15)


# --- A minibatch: the same formulas summed --------------------------------------------------------


@every_network
@pytest.mark.parametrize("alpha", [0.0, 0.7], ids=["no penalty", "L2"])
@pytest.mark.parametrize("weighted", [False, True], ids=["mean", "weighted mean"])
def test_a_minibatch_against_both_oracles(notes, weighted, alpha):
    weight = notes.weight if weighted else np.ones(len(notes.X))
    session = notes.session(weight=notes.weight if weighted else None, alpha=alpha)
    loss, gradients = session.loss_and_gradient()
    naive_loss = mean_loss(notes, weight, alpha)
    assert loss == pytest.approx(float(naive_loss(notes.coefs, notes.intercepts)), rel=1e-12)
    assert_agree(gradients, mean_of_chains(notes, weight, alpha), 1e-12)
    if alpha or weighted:
        assert_agree(gradients, differences(naive_loss, notes), 1e-6)


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("activation", [*ACTIVATIONS, "mixed"])
@pytest.mark.parametrize("n_layers", [2, 4])
def test_a_gradient_summed_by_blocks_of_rows_against_the_chain(n_layers, activation, n_threads):
    notes, rate = random_notes(n_layers, activation, seed=0, n_rows=150), 100.0
    weight = notes.weight
    with mock.patch.object(plans, "WORK_PER_THREAD", 1):
        session = notes.session(weight=weight, n_threads=n_threads)
        assert plans.sums_by_block(session.network, len(notes.X))
        session.train_epoch(np.arange(len(notes.X)), rate)
    oracle = mean_of_chains(notes, weight, 0.0)
    moved = [
        [old - rate * gradient for old, gradient in zip(*arrays, strict=True)]
        for arrays in zip((notes.coefs, notes.intercepts), oracle, strict=True)
    ]
    assert_agree(session.get_parameters(), moved, 1e-12)


# --- N10 and N11 ----------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    widths=st.lists(st.integers(1, 40), min_size=1, max_size=7),
    data=st.data(),
    n_rows=st.integers(1, 9),
)
def test_n10_dimensions(widths, data, n_rows):
    widths = (*widths, 1)
    activations = [data.draw(st.sampled_from(ACTIVATIONS)) for _ in widths[1:-1]]
    rng = np.random.RandomState(len(widths))
    network = Network(widths, tuple(activations), DOUBLE)
    coefs = [rng.randn(a, b) / np.sqrt(a) for a, b in pairwise(widths)]
    intercepts = [rng.randn(b) for b in widths[1:]]
    session = Session(network, 1)
    session.set_parameters(coefs, intercepts)
    X, y = rng.randn(n_rows, widths[0]), np.ones(n_rows)
    rows = as_rows(X, DOUBLE)
    session.prepare(rows, y, None, n_rows, alpha=0.0, optimizer=GRADIENT_DESCENT)
    gradients = session.loss_and_gradient()[1]
    for part, of_part in zip(gradients, (coefs, intercepts), strict=True):
        assert [array.shape for array in part] == [array.shape for array in of_part]
    assert session.logits(rows).shape == (n_rows,)
    assert session.probabilities(rows).shape == (n_rows, 2)
    # The chain of blocks, from the output down, with the shapes of the notes.
    zs, layers = forward_row(X[0], coefs, intercepts, activations)
    chain = np.ones((1, 1))  # ∂ℒ/∂z⁽ᴸ⁾
    for layer in range(network.n_layers, 0, -1):
        d_out, d_in = widths[layer], widths[layer - 1]
        assert zs[layer - 1].shape == layers[layer].shape == intercepts[layer - 1].shape == (d_out,)
        assert chain.shape == (1, d_out)  # δ⁽ˡ⁾ as a row
        block = coefs[layer - 1].T  # ∂z⁽ˡ⁾/∂a⁽ˡ⁻¹⁾ = W⁽ˡ⁾
        assert block.shape == (d_out, d_in)
        chain = chain @ block
        if layer > 1:
            chain = chain @ np.diag(slope(activations[layer - 2], layers[layer - 1]))


def benchmark():
    """benchmarks/jacobian_chain.py as a module."""
    path = Path(__file__).resolve().parent.parent / "benchmarks" / "jacobian_chain.py"
    spec = importlib.util.spec_from_file_location("jacobian_chain", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("widths", [(3, 1), (4, 4, 1), (5, 3, 6, 2, 1)])
def test_n11_both_ways_give_the_same_gradient(activation, widths):
    chain = benchmark()
    layers, x = chain.random_network(widths)
    a = chain.forward(layers, x, activation)
    gradients = chain.by_recursion(layers, a, 1, activation)
    names = list(chain.parameters(widths))
    assert len(names) == len(set(names)) == chain.n_parameters(widths)
    for layer, i, j in names:
        W, b = gradients[layer - 1]
        value = chain.by_chain(layers, a, 1, activation, (layer, i, j))
        assert value == pytest.approx(W[i, j] if j >= 0 else b[i], rel=1e-12, abs=1e-15)
    assert chain.largest_error(layers, a, 1, activation, widths) < 1e-12


class Counted(np.ndarray):
    """An array that counts the multiply-adds of products that it takes part in."""

    work = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        inputs = [np.asarray(x) for x in inputs]
        result = getattr(ufunc, method)(*inputs, **kwargs)
        if ufunc is np.matmul:
            Counted.work += result.size * inputs[0].shape[-1]
        elif ufunc is np.multiply and method in ("__call__", "outer"):
            Counted.work += result.size
        return np.asarray(result).view(Counted)


def test_n11_the_recursion_costs_far_less_than_the_chain():
    chain = benchmark()
    ratios = {}
    for depth in (2, 3, 5):
        for width in (4, 8, 16):
            widths = [width] * depth + [1]
            layers, x = chain.random_network(widths)
            a = chain.forward(layers, x, "identity")
            # Count what the two really do, where g′ = 1 costs nothing to find.
            layers = [(W.view(Counted), b) for W, b in layers]
            a = [part.view(Counted) for part in a]
            Counted.work = 0
            with mock.patch.object(chain.np, "outer", np.multiply.outer):
                chain.by_recursion(layers, a, 1, "identity")
            assert Counted.work == chain.recursion_work(widths)
            Counted.work = 0
            for parameter in chain.parameters(widths):
                chain.by_chain(layers, a, 1, "identity", parameter)
            assert Counted.work == chain.chain_work(widths)
            # O(Σ d_l d_(l−1)) for the recursion; the chain repeats it for every parameter.
            products = sum(n_in * n_out for n_in, n_out in pairwise(widths))
            assert products <= chain.recursion_work(widths) <= 3 * products
            ratios[depth, width] = chain.chain_work(widths) / chain.recursion_work(widths)
    for (depth, width), ratio in ratios.items():
        assert ratio > 2 * width
        if width > 4:
            assert ratio > 1.5 * ratios[depth, width // 2]
        if depth > 2:
            assert ratio > ratios[2, width]


def test_n11_the_benchmark_prints_its_table(capsys):
    benchmark().main(["--widths", "4", "--depths", "2", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert "recursion" in lines[1]
    numbers = np.array([line.replace(",", "").split() for line in lines[2:]], dtype=float)
    np.testing.assert_array_equal(numbers[:, :2], [[2, 4], [3, 4]])
    assert (numbers > 0).all()
    assert (numbers[:, 8] > numbers[:, 7]).all()  # the chain takes longer than the recursion
