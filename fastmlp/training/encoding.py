"""What each column of a table becomes, learned from the rows that a network is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.data.edges import column_edges
from fastmlp.data.facts import ColumnFacts
from fastmlp.data.scaling import center_and_scale
from fastmlp.kernels import encode
from fastmlp.network.encoder import Columns, Encoder
from fastmlp.network.layout import Network, Parameters

Array = NDArray[Any]


@dataclass(frozen=True)
class Embeddings:
    """How columns are to be embedded.

    Attributes
    ----------
    members : int
        Members of the network.
    width : int
        Numbers that a column becomes.
    n_bins : int
        Bins of a column of numbers at most.
    rows_of_bin : int
        Rows that a bin has at least.
    rows_of_level : int
        Rows that a level of a category has at least; those of fewer share an embedding, which is
        also that of levels never seen.
    """

    members: int
    width: int
    n_bins: int
    rows_of_bin: int
    rows_of_level: int


@dataclass(frozen=True)
class Encoding:
    """What the columns of a table become.

    Attributes
    ----------
    encoder : Encoder
        The structure.
    columns : Columns
        The numbers.
    """

    encoder: Encoder
    columns: Columns

    def fill_unseen(self, table: Array, facts: Sequence[ColumnFacts]) -> None:
        """Give the rows of V that no training row has used the mean of those that have been.

        table : of `Encoder.shape_of_table`, which is written; facts : of the columns
        """
        for k, rows in enumerate(self.encoder.rows):
            record = self.columns.columns[k]
            if record["kind"] != encode.CATEGORY:
                continue
            of_column, n = facts[record["source"]], int(record["levels"])
            # Of codes, then of all others, and of gaps.
            of_codes = np.zeros(n) if of_column.counts is None else of_column.counts
            others = of_column.n_known - of_codes.sum()
            of_levels = self.columns.level_rows[record["level"] :][: n + 2]
            counts = np.bincount(of_levels, [*of_codes, others, of_column.n_gaps], rows)
            V = self.encoder.steps(table, k)
            V[counts == 0] = counts @ V / counts.sum()

    def becomes(self) -> list[str]:
        """Say what each column of the table becomes."""
        words = ["nothing: it says nothing about rows"] * self.encoder.n_columns
        width = self.encoder.width
        for record in self.columns.columns:
            kind, source = record["kind"], int(record["source"])
            if kind == encode.NUMBER:
                words[source] = f"number: {int(record['edges']) - 1} bins, {width} outputs"
            elif kind == encode.CATEGORY:
                rows = self.columns.level_rows[record["level"] :][: record["levels"] + 2]
                kept = len(np.unique(rows[rows > 0]))
                words[source] = f"category: {kept} levels and all others, {width} outputs"
            else:
                words[source] = "two values: 1 output"
        return words


class _Lists:
    """Columns while they are collected."""

    def __init__(self) -> None:
        self.embedded: list[Array] = []
        self.plain: list[Array] = []
        self.rows: list[int] = []
        self.edges: list[Array] = []
        self.levels: list[Array] = []
        self.n_edges = self.n_levels = 0

    def add_number(self, source: int, edges: Array, center: float, scale: float) -> None:
        """Add a column of numbers, which has a row for gaps."""
        self.embedded.append(
            _record(
                source, encode.NUMBER, start=self.n_edges, edges=len(edges), center=center,
                scale=scale,
            )
        )  # fmt: skip
        self.edges.append(edges)
        self.n_edges += len(edges)
        self.rows.append(len(edges))

    def add_category(self, source: int, rows: Array) -> None:
        """Add a category; rows : of V, for each code, then for other codes and for gaps."""
        n_codes = len(rows) - 2
        self.embedded.append(
            _record(source, encode.CATEGORY, level=self.n_levels, levels=n_codes)
        )  # fmt: skip
        self.levels.append(rows)
        self.n_levels += len(rows)
        self.rows.append(int(rows.max()) + 1)

    def add_plain(self, source: int, kind: int, low: float, high: float) -> None:
        """Add a column of two values."""
        self.plain.append(_record(source, kind, low=low, high=high))


def _record(source: int, kind: int, **fields: float) -> Array:
    record = np.zeros(1, encode.COLUMN)
    record["source"], record["kind"], record["scale"] = source, kind, 1
    for name, value in fields.items():
        record[name] = value
    return record


def learn_encoding(
    X: Array,
    facts: Sequence[ColumnFacts],
    targets: Array,
    weight: Array | None,
    how: Embeddings,
) -> Encoding | None:
    """Find what each column of a table becomes.

    Parameters
    ----------
    X : ndarray of shape (n, n_columns)
        The rows to learn from, or some drawn of them: numbers, codes of categories, and NaN.
    facts : sequence of ColumnFacts of length n_columns
        Of all rows to learn from.
    targets : ndarray of bool of shape (n,)
        The targets of the rows of X: edges lie where they change.
    weight : ndarray of shape (n,), or None
        Weights of the rows of X.
    how : Embeddings
        Sizes.

    Returns
    -------
    Encoding or None
        None where no column has two values.
    """
    lists = _Lists()
    for j, column in enumerate(facts):
        if column.counts is not None:
            _learn_category(lists, j, column, how)
        elif column.low == column.high:
            if column.n_gaps and column.n_known:
                # A value and gaps: any number is an "other" of a category without codes.
                lists.add_category(j, np.array([0, 1]))
        elif not column.n_gaps and column.is_pair:
            lists.add_plain(j, encode.PLAIN_NUMBER, column.low, column.high)
        else:
            x, ends = np.ascontiguousarray(X[:, j]), (column.low, column.high)
            edges = column_edges(x, targets, how.n_bins, how.rows_of_bin, weight, ends=ends)
            if len(edges):
                lists.add_number(j, edges, *center_and_scale(x))
    records = [*lists.embedded, *lists.plain]
    if not records:
        return None
    columns = Columns(
        np.concatenate(records),
        np.concatenate([np.empty(0), *lists.edges]),
        np.concatenate([np.empty(0, np.int64), *lists.levels]),
    )
    encoder = Encoder(X.shape[1], how.members, how.width, tuple(lists.rows), len(lists.plain))
    return Encoding(encoder, columns)


def _learn_category(lists: _Lists, source: int, column: ColumnFacts, how: Embeddings) -> None:
    """Give levels of enough rows a row of V each; row 0 is that of all others."""
    counts = column.counts
    assert counts is not None
    n_codes = int(np.count_nonzero(counts))
    if n_codes + (column.n_gaps > 0) < 2:
        return
    if n_codes == 2 and column.n_gaps == 0:
        lists.add_plain(source, encode.PLAIN_CATEGORY, column.low, column.high)
        return
    kept = np.flatnonzero(counts >= how.rows_of_level)
    rows = np.zeros(len(counts) + 2, np.int64)
    rows[kept] = 1 + np.arange(len(kept))
    if column.n_gaps >= how.rows_of_level:
        rows[-1] = 1 + len(kept)
    if rows.max() > 0:
        lists.add_category(source, rows)


def initial_parameters(
    network: Network, encoding: Encoding, rng: np.random.RandomState
) -> Parameters:
    """Draw the weights that training starts from.

    Weights and biases are uniform within ±1/√fan_in, as torch's are, and w₀, b₀ and the rows of
    categories within ±1/√width. V of numbers is 0: a column is linear at first. r is one number a
    member and column, from N(0, 1), or ±1 for a column of two values (Gorishniy, Kotelnikov and
    Babenko 2024).
    """
    encoder = encoding.encoder

    def uniform(fan_in: int, *shape: int) -> Array:
        bound = fan_in**-0.5
        return rng.uniform(-bound, bound, shape).astype(network.dtype)

    weights, biases = network.parameter_shapes()
    n_in = [*network.widths[:-1]]
    coefs = [uniform(fan_in, *shape) for fan_in, shape in zip(n_in, weights, strict=False)]
    intercepts = [uniform(fan_in, *shape) for fan_in, shape in zip(n_in, biases, strict=False)]
    table = np.zeros(encoder.shape_of_table, network.dtype)
    for k, rows in enumerate(encoder.rows):
        if encoding.columns.columns[k]["kind"] == encode.CATEGORY:
            encoder.steps(table, k)[:] = uniform(encoder.width, rows, encoder.width)
    factors = np.ones(encoder.shape_of_factors, network.dtype)
    if encoder.members > 1:
        of_columns = rng.normal(size=(encoder.members, len(encoder.rows)))
        signs = rng.randint(2, size=(encoder.members, encoder.n_plain)) * 2.0 - 1.0
        factors[:] = np.hstack([np.repeat(of_columns, encoder.width, axis=1), signs])
    linear = uniform(encoder.width, *encoder.shape_of_linear)
    return [*coefs, table], [*intercepts, linear, factors]
