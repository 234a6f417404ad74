"""A network with an encoder in plain NumPy, written from the formulas, and random tables for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastmlp.kernels import encode
from fastmlp.network.encoder import Columns, Encoder
from fastmlp.network.layout import Network


@dataclass(frozen=True)
class Case:
    """A table, and a network for it."""

    network: Network
    columns: Columns
    X: np.ndarray
    y: np.ndarray


def column(kind, source, **more):
    record = np.zeros(1, encode.COLUMN)
    record["kind"], record["source"], record["scale"] = kind, source, 1
    for name, value in more.items():
        record[name] = value
    return record


def random_case(rng, *, members=3, width=8, n_rows=50, hidden=(6, 5), dtype="float64", plain=True):
    """Two columns of numbers, with gaps and values beyond their edges, two of categories, and two
    plain ones; they lie in X in another order."""
    edges = [np.sort(rng.normal(size=5)), np.array([-0.5, 0.25])]
    levels = np.array([2, 0, 1, 1, 1, 0, 1, 2, 2])  # of three codes, others, gap; and of two
    records = [
        column(encode.NUMBER, 3, start=0, edges=5, center=0.1, scale=0.7),
        column(encode.CATEGORY, 0, level=0, levels=3),
        column(encode.NUMBER, 1, start=5, edges=2, center=-0.2, scale=1.3),
        column(encode.CATEGORY, 5, level=5, levels=2),
    ]
    if plain:
        records += [
            column(encode.PLAIN_NUMBER, 2, low=3.0, high=7.0),
            column(encode.PLAIN_CATEGORY, 4, low=0.0, high=1.0),
        ]
    columns = Columns(np.concatenate(records), np.concatenate(edges), levels)
    X = np.empty((n_rows, 6))
    X[:, 3], X[:, 1] = 2 * rng.normal(size=(2, n_rows))
    X[:, 0], X[:, 5] = rng.integers(0, 5, n_rows), rng.integers(0, 3, n_rows)
    X[:, 2], X[:, 4] = rng.choice([3.0, 7.0, 4.0, 9.0], n_rows), rng.integers(0, 3, n_rows)
    X[rng.random(X.shape) < 0.15] = np.nan
    y = (np.nan_to_num(X[:, 3]) + rng.normal(size=n_rows) > 0).astype(np.int64)
    encoder = Encoder(6, members, width, (5, 3, 2, 3), 2 if plain else 0)
    widths = (encoder.n_out, *hidden, 1)
    network = Network(widths, ("relu",) * len(hidden), np.dtype(dtype), encoder)
    return Case(network, columns, X, y)


def random_parameters(network, rng):
    """Weights and biases near 0; what pads the array of r and V stays 0."""
    weights, biases = network.parameter_shapes()
    coefs = [0.4 * rng.normal(size=shape) for shape in weights]
    intercepts = [0.2 * rng.normal(size=shape) for shape in biases]
    encoder, table = network.encoder, np.zeros(weights[-1])
    for k in range(len(encoder.rows)):
        encoder.steps(table, k)[:] = 0.5 * rng.normal(size=(encoder.rows[k], encoder.width))
    coefs[-1] = table
    return coefs, intercepts


def embedding(case, table, linear):
    """E of all rows: (rows, n_out), from the formulas, with a sum over bins for each number."""
    encoder, columns, X = case.network.encoder, case.columns, case.X
    parts = []
    linear = linear.reshape(len(encoder.rows), 2, encoder.width)
    for k, record in enumerate(columns.columns[: len(encoder.rows)]):
        x, V, (w, b) = X[:, record["source"]], encoder.steps(table, k), linear[k]
        if record["kind"] == encode.NUMBER:
            edges = columns.edges[record["start"] :][: record["edges"]]
            z = (x - record["center"]) / record["scale"]
            scaled = z / np.sqrt(1 + (z / 3) ** 2)
            e = b + scaled[:, None] * w
            for t in range(len(edges) - 1):  # piecewise-linear encoding, bin by bin
                share = np.clip((x - edges[t]) / (edges[t + 1] - edges[t]), 0, 1)
                e = e + share[:, None] * V[t]
            e[np.isnan(x)] = b + V[-1]
        else:
            rows = columns.level_rows[record["level"] :][: record["levels"] + 2]
            code = np.where(np.isnan(x), record["levels"] + 1, np.minimum(x, record["levels"]))
            e = b + V[rows[code.astype(int)]]
        parts.append(e)
    for record in columns.columns[len(encoder.rows) :]:
        x = X[:, record["source"]]
        value = np.clip(2 * (x - record["low"]) / (record["high"] - record["low"]) - 1, -1, 1)
        if record["kind"] == encode.PLAIN_CATEGORY:
            value[~np.isin(x, (record["low"], record["high"]))] = 0
        value[np.isnan(x)] = 0
        parts.append(value[:, None])
    return np.hstack(parts)


def logits(case, parameters):
    """z of all rows and members: (rows, members)."""
    coefs, intercepts = parameters
    e = embedding(case, coefs[-1], intercepts[-2])
    a = e[:, None, :] * intercepts[-1]
    n = case.network.n_layers
    for W, b in zip(coefs[: n - 1], intercepts[: n - 1], strict=True):
        a = np.maximum(a @ W + b, 0)
    return np.einsum("nmk,km->nm", a, coefs[n - 1]) + intercepts[n - 1]


def losses(case, parameters):
    """Mean binary cross-entropy of each row, over the members."""
    z, y = logits(case, parameters), case.y[:, None]
    return np.mean(np.logaddexp(0, z) - z * y, axis=1)
