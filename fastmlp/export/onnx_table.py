"""Networks for a raw table as one ONNX graph, from its columns to labels and probabilities.

Each column is an input of its own; see `onnx_columns` for what becomes of it. Behind it,

    a_m = e ⊙ r_m, layer by layer, ŷ = mean of σ(z_m)      of each network
    ŷ = mean, label = classes[ŷ > ½]                        of all
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from fastmlp.data.columns import Column
from fastmlp.export.onnx_columns import InputColumns, encoded, is_text
from fastmlp.export.onnx_graph import (
    OPTIONS,
    Graph,
    add_outputs,
    converted,
    labels_of,
    modules,
    set_types,
)
from fastmlp.training.table import TableModel

Array = NDArray[Any]

_OUTPUTS = ("label", "probabilities")


# -- inputs ----------------------------------------------------------------------------------------
def _input_names(columns: Sequence[Column]) -> list[str]:
    """A name for each column: its own, or its place.

    Raises
    ------
    ValueError
        If a name cannot be that of an input.
    """
    names = [f"x{j}" if c.name is None else c.name for j, c in enumerate(columns)]
    for name in names:
        if name in _OUTPUTS or not name:
            raise ValueError(
                f"A column is named {name!r}, and no input of the graph can be: its outputs are "
                f"named {' and '.join(_OUTPUTS)}. Fit to a table with another name for it."
            )
    return names


def _check_levels(column: Column, name: str) -> None:
    """ValueError for a category with levels that no type of ONNX tells apart."""
    levels = column.levels or ()
    if any(isinstance(level, str) for level in levels) and not is_text(column):
        raise ValueError(
            f"Column {name!r} has levels of text and levels that are numbers, and an input of "
            "an ONNX graph has one type. Turn all of them into text."
        )
    for level in levels:
        if not _is_exact(level):
            raise ValueError(
                f"Column {name!r} has the level {level!r}, which an ONNX graph cannot have: text "
                "must be valid Unicode, and a number one of float64. Fit to text in its place."
            )


def _is_exact(level: Any) -> bool:
    """Whether a level stays what it is as UTF-8, or as float64."""
    try:
        return bool(level == (level.encode().decode() if isinstance(level, str) else float(level)))
    except (UnicodeEncodeError, OverflowError):
        return False


# -- networks --------------------------------------------------------------------------------------
def _both(wide: Graph, g: Graph, columns: InputColumns, model: TableModel) -> tuple[str, str]:
    """1 − ŷ and ŷ of a network, each the mean of its members: (n, 1)."""
    e, order = encoded(wide, g, columns, model)
    coefs, intercepts, n = *model.parameters, len(model.hidden)
    a = g.node("Mul", g.node("Unsqueeze", e, g.constant(np.array([1]))), intercepts[-1][:, order])
    for layer in range(n):
        W = coefs[layer] if layer else coefs[layer][order]
        a = g.node("Relu", g.node("Add", g.node("MatMul", a, W), intercepts[layer]))
    head = g.node("Mul", a, coefs[n].T if n else coefs[n][order].T)
    z = g.node("ReduceSum", head, g.constant(np.array([2])), keepdims=0)
    z = g.node("Add", z, intercepts[n])
    complement, p = g.node("Sigmoid", g.node("Neg", z)), g.node("Sigmoid", z)
    return _mean(g, complement), _mean(g, p)


def _mean(g: Graph, a: str) -> str:
    return g.node("ReduceMean", a, axes=[1], keepdims=1)


# -- the model -------------------------------------------------------------------------------------
class _Given(ClassifierMixin, BaseEstimator):
    """A model that leaves; skl2onnx goes by classes, and knows this one.

    Attributes
    ----------
    names : list of str
        Of the inputs.
    columns : tuple of Column
        Those of the table.
    models : list of TableModel
        The networks.
    shares : ndarray of shape (n_classes,)
        The probabilities of any row, where there is no network; else empty.
    labels : ndarray of shape (n_classes,)
        Those of the graph.
    """

    def __init__(self, source: Any) -> None:
        attributes = vars(source).copy()  # in one step: another thread may be fitting it
        self.classes_ = attributes["classes_"]
        self.columns, self.models = attributes["_reader"].columns, attributes["_models"]
        self.names = _input_names(self.columns)
        for column, name in zip(self.columns, self.names, strict=True):
            _check_levels(column, name)
        self.labels = labels_of(self.classes_, OPTIONS)
        self.shares = np.array(attributes.get("_shares", ()))


def _types(operator: Any) -> None:
    """Tell skl2onnx the types of the two outputs."""
    labels = operator.raw_operator.labels
    set_types(operator, labels, len(labels), double=False)


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Write the nodes of a model."""
    given = operator.raw_operator
    scope.onnx_variable_names.update(given.names)  # which nodes must not have
    wide, g = Graph(scope, container, double=True), Graph(scope, container, double=False)
    inputs = [each.full_name for each in operator.inputs]
    if not given.models:
        _convert_shares(g, inputs[0], given, operator.outputs)
        return
    columns = InputColumns(wide, inputs, given.columns, given.models)
    both = [_both(wide, g, columns, model) for model in given.models]
    complement, p = (_mean(g, g.node("Concat", *each, axis=1)) for each in zip(*both, strict=True))
    add_outputs(g, (complement, p), given.labels, operator.outputs)


def _convert_shares(g: Graph, x: str, given: _Given, outputs: Sequence[Any]) -> None:
    """Write what a model without networks says: the same of every row."""
    label, probabilities = outputs
    shape, n_rows = g.node("Shape", x), g.node("Shape", x, end=1)
    g.node("Expand", g.constant(given.shares[None]), shape, output=probabilities.full_name)
    likelier = given.labels[[int(given.shares[-1] > 0.5) if len(given.labels) == 2 else 0]]
    place = g.node("Expand", g.constant(np.array([0])), n_rows)
    g.node("Gather", g.constant(likelier), place, output=label.full_name)


def to_onnx(estimator: Any) -> Any:
    """Make an ONNX graph of an estimator; see `TabularMLPBinaryClassifier.to_onnx`."""
    skl2onnx = modules()
    check_is_fitted(estimator)
    skl2onnx.update_registered_converter(
        _Given, "FastmlpTable", _types, _convert, options={"zipmap": [False], "nocl": [False]}
    )
    kinds, given = skl2onnx.common.data_types, _Given(estimator)
    types = [
        kinds.StringTensorType if is_text(column) else kinds.DoubleTensorType
        for column in given.columns
    ]
    inputs = [(f"x{j}", kind([None, 1])) for j, kind in enumerate(types)]
    graph = converted(given, "TabularMLPBinaryClassifier", inputs)
    _name_inputs(graph.graph, given.names)
    return graph


def _name_inputs(graph: Any, names: Sequence[str]) -> None:
    """Name the inputs; skl2onnx would make other names of those with spaces, say."""
    name_of = {each.name: name for each, name in zip(graph.input, names, strict=True)}
    for each in graph.input:
        each.name = name_of[each.name]
    for node in graph.node:
        node.input[:] = [name_of.get(name, name) for name in node.input]
