"""What the δ recursion saves: its cost beside that of the explicit chain of Jacobian blocks (N11).

    python -m benchmarks.jacobian_chain
    python -m benchmarks.jacobian_chain --widths 4 16 64 --depths 2 3 4 --activation relu

All give the gradient of one sample's loss with respect to every parameter, of networks of equal
layers. By hand, the chain rule multiplies the blocks from the output down to the parameter's layer
and ends with ∂z⁽ˡ⁾/∂W_ij = a_j e_i, once for each parameter (N7). The recursion keeps the product
down to each layer, δ⁽ˡ⁾, and shares it among all parameters of the layer (N8, N9).

Two costs are printed, each a parameter: multiply-adds, which no implementation changes, and the
time, best of several runs. The recursion is timed in NumPy, as the chain is, and in fastmlp's
session, forward pass included, whose minibatch of 256 rows is shared out among its rows.
"""

import argparse
import time
from itertools import pairwise

import numpy as np

from fastmlp.data.rows import as_rows
from fastmlp.network.layout import Network
from fastmlp.network.session import Optimizer, Session

#: Rows of the session's minibatch.
BATCH = 256

#: Parameters that the chain is timed for; the rest cost the same as those of their layer.
SAMPLE = 60

ACTIVATIONS = {
    "identity": (lambda z: z, np.ones_like),
    "logistic": (lambda z: 1 / (1 + np.exp(-z)), lambda a: a * (1 - a)),
    "tanh": (np.tanh, lambda a: 1 - a * a),
    "relu": (lambda z: np.maximum(z, 0), lambda a: (a > 0).astype(float)),
}


def random_network(widths, seed=0):
    """(W, b) of every layer as on paper, W of shape (d_l, d_(l−1)), and a sample x."""
    rng = np.random.RandomState(seed)
    layers = [
        (rng.randn(n_out, n_in) / np.sqrt(n_in), rng.randn(n_out) / 2)
        for n_in, n_out in pairwise(widths)
    ]
    return layers, rng.randn(widths[0])


def forward(layers, x, activation):
    """N1: a⁽⁰⁾ = x, a⁽¹⁾, …, a⁽ᴸ⁾ = ŷ."""
    g = ACTIVATIONS[activation][0]
    a = [x]
    for k, (W, b) in enumerate(layers):
        z = W @ a[-1] + b
        a.append(1 / (1 + np.exp(-z)) if k == len(layers) - 1 else g(z))
    return a


def by_recursion(layers, a, y, activation):
    """N6, N8, N9: (∂ℒ/∂W, ∂ℒ/∂b) of every layer."""
    slope = ACTIVATIONS[activation][1]
    delta, gradients = a[-1] - y, []
    for k in range(len(layers) - 1, -1, -1):
        gradients.insert(0, (np.outer(delta, a[k]), delta))
        if k > 0:
            delta = (layers[k][0].T @ delta) * slope(a[k])
    return gradients


def by_chain(layers, a, y, activation, parameter):
    """N7: ∂ℒ/∂W_ij⁽ˡ⁾ for the parameter (l, i, j), l from 1; j = −1 stands for b_i⁽ˡ⁾."""
    slope = ACTIVATIONS[activation][1]
    layer, i, j = parameter
    row = a[-1] - y  # ∂ℒ/∂z⁽ᴸ⁾
    for k in range(len(layers), layer, -1):
        row = row @ layers[k - 1][0]  # ∂z⁽ᵏ⁾/∂a⁽ᵏ⁻¹⁾ = W⁽ᵏ⁾
        row = row * slope(a[k - 1])  # ∂a⁽ᵏ⁻¹⁾/∂z⁽ᵏ⁻¹⁾ = diag(g′)
    column = np.zeros(len(row))
    column[i] = a[layer - 1][j] if j >= 0 else 1.0  # ∂z⁽ˡ⁾/∂W_ij = a_j e_i
    return row @ column


def parameters(widths):
    """(l, i, j) of every parameter."""
    for layer, (n_in, n_out) in enumerate(pairwise(widths), 1):
        for i in range(n_out):
            for j in range(-1, n_in):
                yield layer, i, j


def n_parameters(widths):
    """How many there are."""
    return sum((n_in + 1) * n_out for n_in, n_out in pairwise(widths))


def recursion_work(widths):
    """Multiply-adds of N8 and N9 for all parameters: O(Σ d_l d_(l−1))."""
    products = [n_in * n_out for n_in, n_out in pairwise(widths)]
    return sum(products) + sum(products[1:]) + sum(widths[1:-1])


def chain_work(widths):
    """Multiply-adds of the chain for all parameters: the way down to its layer for each."""
    total, down = 0, 0
    for layer in range(len(widths) - 1, 0, -1):
        n_in, n_out = widths[layer - 1], widths[layer]
        total += (n_in + 1) * n_out * (down + n_out)
        down += n_out * n_in + n_in
    return total


def seconds(function, repetitions=5):
    """Best time of a call."""
    best, calls = np.inf, 1
    while repetitions:
        started = time.perf_counter()
        for _ in range(calls):
            function()
        took = time.perf_counter() - started
        if took < 0.002:
            calls *= 4
            continue
        best, repetitions = min(best, took / calls), repetitions - 1
    return best


def session_for(widths, layers, activation, X, y):
    """fastmlp's session, ready to give the gradient of the rows of X."""
    network = Network(tuple(widths), (activation,) * (len(widths) - 2), np.dtype(np.float64))
    session = Session(network, 1)
    session.set_parameters([W.T for W, _ in layers], [b for _, b in layers])
    rows = as_rows(X, network.dtype)
    session.prepare(rows, y, None, len(X), alpha=0.0, optimizer=Optimizer())
    return session


def chosen(widths):
    """Some parameters of each layer, and what share of the layer each of them stands for."""
    everything = list(parameters(widths))
    picks = []
    for layer in range(1, len(widths)):
        of_layer = [p for p in everything if p[0] == layer]
        some = of_layer[:: max(1, len(of_layer) * (len(widths) - 1) // SAMPLE)]
        picks += [(p, len(of_layer) / len(some)) for p in some]
    return picks


def largest_error(layers, a, y, activation, widths):
    """Chain and session against the recursion, relative to the largest entry."""
    gradients = by_recursion(layers, a, y, activation)
    largest = max(np.abs(part).max() for pair in gradients for part in pair)
    session = session_for(widths, layers, activation, a[0][None], np.array([float(y)]))
    coefs, intercepts = session.loss_and_gradient()[1]
    errors = [
        np.abs(new - old).max()
        for pair, *ours in zip(gradients, [c.T for c in coefs], intercepts, strict=True)
        for old, new in zip(pair, ours, strict=True)
    ]
    for (layer, i, j), _ in chosen(widths):
        W, b = gradients[layer - 1]
        chain = by_chain(layers, a, y, activation, (layer, i, j))
        errors.append(abs(chain - (W[i, j] if j >= 0 else b[i])))
    return max(errors) / largest


def measure(width, depth, activation):
    """One row of the table: depth weight matrices, all layers but the last `width` wide."""
    widths = [width] * depth + [1]
    layers, x = random_network(widths)
    a, y, n = forward(layers, x, activation), 1, n_parameters(widths)
    assert largest_error(layers, a, y, activation, widths) < 1e-12
    session = session_for(
        widths, layers, activation, np.random.RandomState(1).randn(BATCH, width), np.ones(BATCH)
    )
    chain = sum(
        share * seconds(lambda p=parameter: by_chain(layers, a, y, activation, p), 3)
        for parameter, share in chosen(widths)
    )
    return {
        "layers": depth,
        "width": width,
        "parameters": n,
        "recursion_work": recursion_work(widths) / n,
        "chain_work": chain_work(widths) / n,
        "session_ns": seconds(session.loss_and_gradient) / BATCH / n * 1e9,
        "numpy_ns": seconds(lambda: by_recursion(layers, a, y, activation)) / n * 1e9,
        "chain_ns": chain / n * 1e9,
    }


def table(depths, widths, activation):
    """Measure and print, row by row."""
    print("                        multiply-adds a parameter     ns a parameter and sample")
    print("layers  width  parameters  recursion    chain   ratio    session    NumPy     chain")
    for depth in depths:
        for width in widths:
            row = measure(width, depth, activation)
            ratio = row["chain_work"] / row["recursion_work"]
            print(
                f"{row['layers']:6d} {row['width']:6d} {row['parameters']:11,d}"
                f" {row['recursion_work']:10.2f} {row['chain_work']:8.0f} {ratio:7.0f}"
                f" {row['session_ns']:10.3f} {row['numpy_ns']:8.1f} {row['chain_ns']:9.0f}",
                flush=True,
            )


def main(arguments=None):
    """Read the command line and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[4, 16, 64, 256])
    parser.add_argument("--depths", type=int, nargs="+", default=[2, 3, 4, 5])
    parser.add_argument("--activation", choices=ACTIVATIONS, default="tanh")
    options = parser.parse_args(arguments)
    table(options.depths, options.widths, options.activation)


if __name__ == "__main__":
    main()
