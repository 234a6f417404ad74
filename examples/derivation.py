"""Backpropagation by hand, for a network of three layers, beside fastmlp's gradients.

    python examples/derivation.py                      # --activation tanh --steps 2000 --seed 1

The walk takes one sample (x, y) through the network and prints every step of the chain rule. It
holds fastmlp's gradients to two oracles: the product of the Jacobian blocks, multiplied out for
every single parameter, and central finite differences of the loss. Then it trains a network of
three layers with plain gradient descent.

Superscripts count layers and vectors are columns, as on paper: W⁽ˡ⁾ has the shape (d_l, d_(l−1)).
scikit-learn and fastmlp keep its transpose, coefs_[l − 1], and one sample a row. N1–N9 are the
steps of the derivation that README.md lists.
"""

import argparse
import sys

import numpy as np
from sklearn.datasets import make_moons
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPBinaryClassifier
from fastmlp.data.rows import as_rows
from fastmlp.network.layout import Network
from fastmlp.network.session import Optimizer, Session

WIDTHS = (3, 4, 3, 1)  # inputs, two hidden layers, one output
LAST = len(WIDTHS) - 1
HIDDEN = range(1, LAST)
LAYERS = range(1, LAST + 1)


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


# N5: g and g′ of the hidden layers. The last one is the sigmoid, because y is 0 or 1.
ACTIVATIONS = {
    "identity": (lambda z: z, np.ones_like),
    "logistic": (sigmoid, lambda z: sigmoid(z) * (1.0 - sigmoid(z))),
    "tanh": (np.tanh, lambda z: 1.0 - np.tanh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: np.where(z > 0.0, 1.0, 0.0)),
}


def random_start(rng):
    """N3: W⁽ˡ⁾ ~ N(0, 2/(n_in + n_out)) and b⁽ˡ⁾ = 0, as dictionaries by layer."""
    W, b = {}, {}
    for layer in LAYERS:
        n_in, n_out = WIDTHS[layer - 1], WIDTHS[layer]
        W[layer] = rng.normal(0.0, np.sqrt(2.0 / (n_in + n_out)), (n_out, n_in))
        b[layer] = np.zeros(n_out)
    return W, b


def forward(W, b, x, g):
    """N1: z⁽ˡ⁾ = W⁽ˡ⁾a⁽ˡ⁻¹⁾ + b⁽ˡ⁾ and a⁽ˡ⁾ = g(z⁽ˡ⁾), from a⁽⁰⁾ = x to ŷ = a⁽ᴸ⁾ = σ(z⁽ᴸ⁾)."""
    z, a = {}, {0: x}
    for layer in LAYERS:
        z[layer] = W[layer] @ a[layer - 1] + b[layer]
        a[layer] = sigmoid(z[layer]) if layer == LAST else g(z[layer])
    return z, a


def loss(y_hat, y):
    """N2: ℒ = −[y log ŷ + (1−y) log(1−ŷ)]."""
    return -(y * np.log(y_hat) + (1 - y) * np.log(1.0 - y_hat)).item()


def recursion(W, z, y_hat, y, g_prime):
    """N6 and N8: δ⁽ᴸ⁾ = ŷ − y, then δ⁽ˡ⁾ = (W⁽ˡ⁺¹⁾ᵀ δ⁽ˡ⁺¹⁾) ⊙ g′(z⁽ˡ⁾) backwards."""
    delta = {LAST: y_hat - y}
    for layer in reversed(HIDDEN):
        delta[layer] = (W[layer + 1].T @ delta[layer + 1]) * g_prime(z[layer])
    return delta


def explicit_chain(W, z, a, y, g_prime):
    """∂ℒ/∂W⁽ˡ⁾ and ∂ℒ/∂b⁽ˡ⁾, the blocks of N7 multiplied out for each entry by itself."""

    def up_to_the_loss(layer, dz):
        """∂ℒ/∂θ of a parameter θ of this layer with ∂z⁽ˡ⁾/∂θ = dz."""
        for below in range(layer, LAST):
            dz = W[below + 1] @ np.diag(g_prime(z[below])) @ dz
        return ((a[LAST] - y) @ dz).item()

    grad_W, grad_b = {}, {}
    for layer in LAYERS:
        basis = np.eye(WIDTHS[layer])
        grad_W[layer] = np.array(
            [[up_to_the_loss(layer, a_j * e_i) for a_j in a[layer - 1]] for e_i in basis]
        )
        grad_b[layer] = np.array([up_to_the_loss(layer, e_i) for e_i in basis])
    return grad_W, grad_b


def finite_differences(W, b, x, y, g, step=1e-6):
    """∂ℒ/∂θ ≈ (ℒ(θ + h) − ℒ(θ − h)) / 2h for every entry of every W⁽ˡ⁾ and b⁽ˡ⁾."""

    def slope(values, index):
        def loss_at(value):
            values[index] = value
            return loss(forward(W, b, x, g)[1][LAST], y)

        start = values[index]
        rise = loss_at(start + step) - loss_at(start - step)
        values[index] = start
        return rise / (2.0 * step)

    def slopes(values):
        return np.array([slope(values, i) for i in np.ndindex(values.shape)]).reshape(values.shape)

    return (
        {layer: slopes(W[layer]) for layer in LAYERS},
        {layer: slopes(b[layer]) for layer in LAYERS},
    )


def fastmlp_gradients(W, b, x, y, activation):
    """The same gradients from fastmlp's compiled δ recursion (N9)."""
    network = Network(WIDTHS, (activation,) * len(HIDDEN), np.dtype(np.float64))
    session = Session(network)
    session.set_parameters([W[layer].T for layer in LAYERS], [b[layer] for layer in LAYERS])
    rows = as_rows(x[np.newaxis, :], network.dtype)
    targets = np.array([y], dtype=network.dtype)
    session.prepare(rows, targets, None, batch_size=1, alpha=0.0, optimizer=Optimizer("sgd"))
    value, (coefs, intercepts) = session.loss_and_gradient()
    return (
        value,
        {layer: coefs[layer - 1].T for layer in LAYERS},
        {layer: intercepts[layer - 1] for layer in LAYERS},
    )


def largest_error(gradients, oracle):
    """The largest difference over all layers, relative to the largest entry of the oracle."""
    pairs = [
        (got[layer], want[layer])
        for got, want in zip(gradients, oracle, strict=True)
        for layer in LAYERS
    ]
    gap = max(np.abs(got - want).max() for got, want in pairs)
    return gap / max(np.abs(want).max() for _, want in pairs)


def title(text):
    print(f"\n{text}\n{'-' * len(text)}")


def show(name, value):
    """Print a named vector or matrix, its rows under one another."""
    value = np.round(value, 4) + 0.0  # no "-0.0000"
    text = np.array2string(value, precision=4, floatmode="fixed", suppress_small=True)
    print(f"  {name} = " + text.replace("\n", "\n" + " " * (len(name) + 5)))


def up(layer):
    """A layer's number as a superscript."""
    return "⁽" + "⁰¹²³"[layer] + "⁾"


def walk(activation, seed):
    """One sample through the derivation, with a check of the gradients at its end."""
    g, g_prime = ACTIVATIONS[activation]
    rng = np.random.default_rng(seed)
    W, b = random_start(rng)
    x, y = rng.normal(size=WIDTHS[0]), 1

    title(f"One sample through {LAST} layers of {WIDTHS[1:]} units, {activation} then sigmoid")
    show("x = a⁽⁰⁾", x)
    print(f"  y = {y}")

    title("N1, N2  The forward pass and the loss")
    z, a = forward(W, b, x, g)
    for layer in LAYERS:
        show(f"z{up(layer)}", z[layer])
        show(f"a{up(layer)}", a[layer])
    print(f"  ŷ = a{up(LAST)}, ℒ = {loss(a[LAST], y):.6f}")

    title("N7  The Jacobian blocks of the chain")
    for layer in HIDDEN:
        show(f"∂z{up(layer + 1)}/∂a{up(layer)} = W{up(layer + 1)}", W[layer + 1])
        show(f"∂a{up(layer)}/∂z{up(layer)} = diag(g′(z{up(layer)}))", np.diag(g_prime(z[layer])))
    for layer in LAYERS:
        e_1 = np.eye(WIDTHS[layer])[0]
        show(f"∂z{up(layer)}/∂W₁₁{up(layer)} = a₁{up(layer - 1)} e₁", a[layer - 1][0] * e_1)

    title("N6, N8  The error at the output and the δ recursion, backwards")
    delta = recursion(W, z, a[LAST], y, g_prime)
    show(f"δ{up(LAST)} = ŷ − y", delta[LAST])
    for layer in reversed(HIDDEN):
        show(
            f"δ{up(layer)} = (W{up(layer + 1)}ᵀ δ{up(layer + 1)}) ⊙ g′(z{up(layer)})", delta[layer]
        )

    title("N9  The gradients in closed form")
    by_hand = (
        {layer: np.outer(delta[layer], a[layer - 1]) for layer in LAYERS},
        delta,
    )
    for layer in LAYERS:
        show(f"∂ℒ/∂W{up(layer)} = δ{up(layer)} a{up(layer - 1)}ᵀ", by_hand[0][layer])
        show(f"∂ℒ/∂b{up(layer)} = δ{up(layer)}", by_hand[1][layer])

    title("fastmlp's gradients against each oracle (largest relative error)")
    value, *compiled = fastmlp_gradients(W, b, x, y, activation)
    print(f"  loss                            {abs(value - loss(a[LAST], y)):.1e}")
    print(f"  the recursion above             {largest_error(compiled, by_hand):.1e}")
    chain = explicit_chain(W, z, a, y, g_prime)
    print(f"  the explicit chain of blocks    {largest_error(compiled, chain):.1e}")
    slopes = finite_differences(W, b, x, y, g)
    print(f"  central finite differences      {largest_error(compiled, slopes):.1e}")


def descend(activation, seed, steps):
    """N3 and N4: a random start, then θ ← θ − α ∂ℒ/∂θ over all rows, and the loss as it falls."""
    X, y = make_moons(400, noise=0.15, random_state=seed)
    X = StandardScaler().fit_transform(X)
    rate = 0.5
    model = MLPBinaryClassifier(
        (16, 16),
        activation=activation,
        weight_init="glorot_normal",
        solver="sgd",
        momentum=0.0,
        batch_size=len(X),
        alpha=0.0,
        learning_rate_init=rate,
        random_state=seed,
    )
    title(f"N3, N4  {steps} steps of plain gradient descent, α = {rate}, on two half moons")
    shown = {round(steps * share) for share in (0.01, 0.03, 0.1, 0.3, 1.0)} | {1}
    for step in range(1, steps + 1):
        model.partial_fit(X, y, classes=[0, 1])  # one minibatch of all rows: one step
        if step in shown:
            print(f"  step {step:>5}   ℒ = {model.loss_:.6f}")
    print(f"  AUC on these rows: {roc_auc_score(y, model.predict_proba(X)[:, 1]):.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--activation", choices=ACTIVATIONS, default="relu", help="hidden layers")
    parser.add_argument("--steps", type=int, default=1000, help="of gradient descent")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    sys.stdout.reconfigure(encoding="utf-8")  # a pipe on Windows is not UTF-8 by itself
    walk(options.activation, options.seed)
    descend(options.activation, options.seed, options.steps)


if __name__ == "__main__":
    main()
