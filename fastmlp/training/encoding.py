"""What each column of a table becomes, from the rows that a network is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeClassifier

from fastmlp.kernels import encode
from fastmlp.network.encoder import Columns, Encoder


def tree_edges(x, y, n_bins, leaf, weight=None):
    tree = DecisionTreeClassifier(max_leaf_nodes=n_bins, min_samples_leaf=leaf, random_state=0)
    tree.fit(x[:, None], y, weight)
    inner = tree.tree_.threshold[tree.tree_.feature >= 0]
    return np.unique(np.r_[x.min(), inner, x.max()])


def quantile_edges(x, n_bins):
    return np.unique(np.quantile(x, np.linspace(0, 1, n_bins + 1)))


def robust(x):
    q1, center, q3 = np.quantile(x, [0.25, 0.5, 0.75])
    scale = q3 - q1
    if scale == 0:
        scale = (x.max() - x.min()) / 2
    return center, scale if scale > 0 else 1.0


def learn_columns(X, is_category, y, opt):
    """(Encoder args, Columns, what) from training rows X (n, columns)."""
    embedded, plain, rows, edges_list, levels_list = [], [], [], [], []
    n_edges = n_levels = 0
    for j in range(X.shape[1]):
        x = X[:, j]
        gaps = np.isnan(x)
        known = x[~gaps]
        record = np.zeros(1, encode.COLUMN)
        record["source"], record["scale"] = j, 1
        values, counts = np.unique(known, return_counts=True)
        if len(values) + gaps.any() < 2:
            continue
        if is_category[j]:
            L = int(values[-1]) + 1 if len(values) else 0
            kept = values[counts >= opt.min_frequency].astype(int)
            if len(values) == 2 and not gaps.any():
                record["kind"], record["low"], record["high"] = encode.PLAIN_CATEGORY, *values
                plain.append(record)
                continue
            table = np.zeros(L + 2, np.int64)  # row 0: all others
            table[kept] = 1 + np.arange(len(kept))
            n_rows = 1 + len(kept)
            if gaps.sum() >= opt.min_frequency:
                table[-1] = n_rows
                n_rows += 1
            record["kind"], record["level"], record["levels"] = encode.CATEGORY, n_levels, L
            n_levels += L + 2
            levels_list.append(table)
            embedded.append(record)
            rows.append(n_rows)
            continue
        if len(values) == 1:
            record["kind"], record["level"], record["levels"] = encode.CATEGORY, n_levels, 0
            n_levels += 2
            levels_list.append(np.array([0, 1]))
            embedded.append(record)
            rows.append(2)
            continue
        if len(values) == 2 and not gaps.any():
            record["kind"], record["low"], record["high"] = encode.PLAIN_NUMBER, *values
            plain.append(record)
            continue
        if opt.bins == "tree":
            edges = tree_edges(known, y[~gaps], opt.n_bins, opt.leaf)
        else:
            edges = quantile_edges(known, opt.n_bins)
        record["kind"], record["start"], record["edges"] = encode.NUMBER, n_edges, len(edges)
        record["center"], record["scale"] = robust(known)
        n_edges += len(edges)
        edges_list.append(edges)
        embedded.append(record)
        rows.append(len(edges))
    columns = Columns(
        np.concatenate([*embedded, *plain]),
        np.concatenate(edges_list) if edges_list else np.zeros(0),
        np.concatenate(levels_list) if levels_list else np.zeros(0, np.int64),
    )
    return Encoder(X.shape[1], opt.members, opt.width, tuple(rows), len(plain)), columns


def start(network, columns, rng, opt):
    """Random parameters."""

    def uniform(fan_in, *shape):
        return rng.uniform(-(fan_in**-0.5), fan_in**-0.5, shape)

    encoder = network.encoder
    coefs, intercepts = [], []
    for n_in, n_out in network.shapes():
        last = n_out == 1
        coefs.append(uniform(n_in, n_in, encoder.members if last else n_out))
        intercepts.append(uniform(n_in, encoder.members if last else n_out))
    table = np.zeros(encoder.shape_of_table)
    for k, rows in enumerate(encoder.rows):
        if columns.columns[k]["kind"] == encode.CATEGORY:
            encoder.steps(table, k)[:] = opt.category_scale * uniform(encoder.width, rows, encoder.width)
    n = len(encoder.rows)
    factors = np.ones((encoder.members, encoder.n_out))
    if encoder.members > 1:
        factors = np.hstack([
            np.repeat(rng.normal(size=(encoder.members, n)), encoder.width, 1),
            rng.choice([-1.0, 1.0], size=(encoder.members, encoder.n_plain)),
        ])
    coefs.append(table)
    intercepts += [uniform(encoder.width, *encoder.shape_of_linear), factors]
    return coefs, intercepts
