"""The columns of a raw table in an ONNX graph: inputs become what a network reads.

Numbers are compared with edges and levels in float64, as the kernels do, and all that follows is of
float32. All columns of numbers are one product a network:

    e = x̃ w₀ + Σ_t f_t V_t + b₀,    f_t = min(max((x − edge_t) / (edge_{t+1} − edge_t), 0), 1)

which needs no look-up: f_t is 1 below the bin of x, and 0 above it. A gap is a bin of its own.
Categories become codes, and these rows of V + b₀.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.data.columns import Column
from fastmlp.export.onnx_graph import Graph
from fastmlp.kernels import encode
from fastmlp.training.table import TableModel

Array = NDArray[Any]


def is_text(column: Column) -> bool:
    """Whether the input of a column holds strings; a category without levels counts as text."""
    levels = column.levels or ()
    return column.kind == "category" and all(isinstance(level, str) for level in levels)


# -- columns as codes ------------------------------------------------------------------------------
def _codes(wide: Graph, x: str, column: Column) -> str:
    """Codes of a column: those of levels, then one for what is none, then one for gaps.

    A column of numbers has no levels.
    """
    levels = column.levels or ()
    others, gap = len(levels), len(levels) + 1
    if is_text(column):
        codes = {"": gap, **{level: code for code, level in enumerate(levels)}}
        return wide.node(
            "LabelEncoder", x, op_domain="ai.onnx.ml", op_version=2,
            keys_strings=[*codes], values_int64s=[*codes.values()], default_int64=others,
        )  # fmt: skip
    is_gap = wide.node("IsNaN", x)
    if not levels:
        return wide.cast(is_gap, "INT64")
    code = _code_of_number(wide, x, np.array(levels, np.float64))
    return wide.node("Where", is_gap, wide.constant(np.array(gap)), code)


def _code_of_number(wide: Graph, x: str, levels: Array) -> str:
    """Find numbers among levels by halving; `LabelEncoder` has no float64 yet."""
    order = np.argsort(levels)
    n_steps = int(len(levels) - 1).bit_length()
    beyond = np.full(2**n_steps - len(levels), np.inf)
    in_order = wide.constant(np.concatenate([levels[order], beyond]))
    codes = wide.constant(np.concatenate([order, np.full(len(beyond), len(levels))]))
    place = wide.constant(np.array([[0]]))
    for step in range(n_steps - 1, -1, -1):
        further = wide.node("Add", place, wide.constant(np.array(2**step)))
        is_below = wide.node("LessOrEqual", wide.node("Gather", in_order, further), x)
        place = wide.node("Where", is_below, further, place)
    is_level = wide.node("Equal", wide.node("Gather", in_order, place), x)
    others = wide.constant(np.array(len(levels)))
    return wide.node("Where", is_level, wide.node("Gather", codes, place), others)


def _rows_of_codes(rows: Array, n_levels: int) -> Array:
    """What codes of a column mean to one network, which may know fewer levels than the table has.

    rows : for each code that it knows, then for others and for a gap
    """
    known = rows[: min(n_levels, len(rows) - 2)]
    return np.concatenate([known, np.repeat(rows[-2], n_levels + 1 - len(known)), rows[-1:]])


# -- columns side by side --------------------------------------------------------------------------
class InputColumns:
    """Those inputs of a graph that networks use, side by side.

    Parameters
    ----------
    wide : Graph
        Of float64.
    inputs : sequence of str
        Names of the inputs.
    columns : sequence of Column
        Those of the table.
    models : sequence of TableModel
        The networks.
    """

    _numbers = _codes = ""

    def __init__(
        self,
        wide: Graph,
        inputs: Sequence[str],
        columns: Sequence[Column],
        models: Sequence[TableModel],
    ) -> None:
        records = np.concatenate([model.encoding.columns.columns for model in models])
        is_number = np.isin(records["kind"], (encode.NUMBER, encode.PLAIN_NUMBER))
        self._with_numbers = np.unique(records["source"][is_number])
        self._with_codes = np.unique(records["source"][~is_number])
        self._n_levels = [len(column.levels or ()) for column in columns]
        if len(self._with_numbers):
            self._numbers = wide.node("Concat", *(inputs[j] for j in self._with_numbers), axis=1)
        if len(self._with_codes):
            codes = [_codes(wide, inputs[j], columns[j]) for j in self._with_codes]
            self._codes = wide.node("Concat", *codes, axis=1)

    def numbers_of(self, g: Graph, records: Array) -> str:
        """The numbers of some columns: (n, n_records)."""
        places = np.searchsorted(self._with_numbers, records["source"])
        return g.node("Gather", self._numbers, g.constant(places), axis=1)

    def looked_up(self, g: Graph, records: Array, rows: Sequence[Array]) -> str:
        """Of some columns, what each has for the code of a row: (n, n_records) of int64 or float32.

        rows : of each column, for each code that the network knows, then for others and for a gap
        """
        n_levels = [self._n_levels[record["source"]] for record in records]
        tables = [_rows_of_codes(*each) for each in zip(rows, n_levels, strict=True)]
        starts = np.cumsum([0, *map(len, tables)])[:-1]
        places = np.searchsorted(self._with_codes, records["source"])
        codes = g.node("Gather", self._codes, g.constant(places), axis=1)
        at = g.node("Add", codes, g.constant(starts))
        return g.node("Gather", g.constant(np.concatenate(tables)), at)


def _embedded_numbers(wide: Graph, g: Graph, x: str, model: TableModel, of: Array) -> str:
    """E of the columns of numbers, of : which of the embedded ones they are."""
    encoder, columns = model.encoding.encoder, model.encoding.columns
    records, (w, b), steps = columns.columns[of], _linear(model, of), _steps(model, of)
    most = max(map(len, steps))  # rows of V, of which the last is for gaps
    below, size = np.zeros((len(of), most - 1)), np.full((len(of), most - 1), np.inf)
    weights = np.zeros((len(of), most + 1, encoder.width))
    for k, (record, V) in enumerate(zip(records, steps, strict=True)):
        edges = columns.edges[record["start"] :][: record["edges"]]
        # Where a column has fewer bins than others, x / ∞ is a share of 0.
        below[k, : len(V) - 1], size[k, : len(V) - 1] = edges[:-1], np.diff(edges)
        weights[k, 0], weights[k, 1 : len(V)], weights[k, -1] = w[k], V[:-1], V[-1]
    cell = wide.node("Unsqueeze", x, wide.constant(np.array([2])))
    z = wide.node(
        "Div", wide.node("Sub", cell, records["center"][:, None]), records["scale"][:, None]
    )
    z = wide.node("Min", wide.node("Max", z, -encode.FAR), encode.FAR)
    bent = wide.node("Mul", z, 1 / encode.BEND)
    root = wide.node("Sqrt", wide.node("Add", wide.node("Mul", bent, bent), 1.0))
    shares = wide.node("Div", wide.node("Sub", cell, below), size)
    shares = wide.node("Min", wide.node("Max", shares, 0.0), 1.0)
    is_gap = wide.node("IsNaN", cell)
    known = wide.node("Concat", wide.node("Div", z, root), shares, axis=2)
    known = g.cast(wide.node("Where", is_gap, 0.0, known), "FLOAT")
    by_row = g.node("Concat", known, g.cast(is_gap, "FLOAT"), axis=2)
    by_column = g.node("MatMul", g.node("Transpose", by_row, perm=[1, 0, 2]), weights)
    e = g.node("Add", g.node("Transpose", by_column, perm=[1, 0, 2]), b)
    return g.node("Reshape", e, g.constant(np.array([0, len(of) * encoder.width])))


def _embedded_categories(g: Graph, columns: InputColumns, model: TableModel, of: Array) -> str:
    """E of the categories."""
    width, records = model.encoding.encoder.width, model.encoding.columns.columns[of]
    (_, b), steps = _linear(model, of), _steps(model, of)
    starts = np.cumsum([0, *map(len, steps)])[:-1]
    level_rows = model.encoding.columns.level_rows
    rows = [
        start + level_rows[record["level"] :][: record["levels"] + 2]
        for start, record in zip(starts, records, strict=True)
    ]
    embeddings = np.concatenate([V + each for V, each in zip(steps, b, strict=True)])
    e = g.node("Gather", g.constant(embeddings), columns.looked_up(g, records, rows))
    return g.node("Reshape", e, g.constant(np.array([0, len(of) * width])))


def _plain_numbers(wide: Graph, g: Graph, x: str, records: Array) -> str:
    """Columns of two numbers, which become −1 and 1."""
    share = wide.node("Div", wide.node("Sub", x, records["low"]), records["high"] - records["low"])
    value = wide.node("Sub", wide.node("Mul", share, 2.0), 1.0)
    value = wide.node("Min", wide.node("Max", value, -1.0), 1.0)
    return g.cast(wide.node("Where", wide.node("IsNaN", x), 0.0, value), "FLOAT")


def _plain_categories(g: Graph, columns: InputColumns, records: Array) -> str:
    """Categories of two levels, which become −1 and 1; all else becomes 0."""
    rows = []
    for record in records:
        values = np.zeros(int(record["high"]) + 3)
        values[int(record["low"])], values[int(record["high"])] = -1, 1
        rows.append(values)
    return columns.looked_up(g, records, rows)


def _linear(model: TableModel, of: Array) -> tuple[Array, Array]:
    """w₀ and b₀ of some embedded columns."""
    encoder = model.encoding.encoder
    linear = model.parameters[1][-2].reshape(len(encoder.rows), 2, encoder.width)
    return linear[of, 0], linear[of, 1]


def _steps(model: TableModel, of: Array) -> list[Array]:
    """V of some embedded columns."""
    return [model.encoding.encoder.steps(model.parameters[0][-1], k) for k in of]


def encoded(wide: Graph, g: Graph, columns: InputColumns, model: TableModel) -> tuple[str, Array]:
    """E of all columns, kind by kind, and the places of its numbers in the network's own order."""
    encoder, records = model.encoding.encoder, model.encoding.columns.columns
    numbers, categories, plain, pairs = (
        np.flatnonzero(records["kind"] == kind)
        for kind in (encode.NUMBER, encode.CATEGORY, encode.PLAIN_NUMBER, encode.PLAIN_CATEGORY)
    )
    parts = []
    if len(numbers):
        x = columns.numbers_of(g, records[numbers])
        parts.append(_embedded_numbers(wide, g, x, model, numbers))
    if len(categories):
        parts.append(_embedded_categories(g, columns, model, categories))
    if len(plain):
        x = columns.numbers_of(g, records[plain])
        parts.append(_plain_numbers(wide, g, x, records[plain]))
    if len(pairs):
        parts.append(_plain_categories(g, columns, records[pairs]))
    embedded = np.concatenate([numbers, categories])[:, None] * encoder.width
    n_embedded = len(encoder.rows)
    single = np.concatenate([plain, pairs]) - n_embedded + n_embedded * encoder.width
    order = np.concatenate([(embedded + np.arange(encoder.width)).ravel(), single])
    return g.node("Concat", *parts, axis=1), order
