"""What ONNX graphs of all estimators are written with: nodes, labels, and the call of skl2onnx."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.version import __version__

Array = NDArray[Any]

#: The newest opset that a graph may ask for: old versions of onnxruntime read it.
OPSET = 17

#: Of a conversion, as skl2onnx has them for its own classifiers.
OPTIONS = {"zipmap": True, "nocl": False}


def modules() -> Any:
    """Import skl2onnx.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import skl2onnx
        import skl2onnx.common.data_types
        import skl2onnx.proto
    except ImportError as error:
        raise ImportError(
            f'ONNX needs packages that are not installed ({error}): pip install "fastmlp[onnx]".'
        ) from error
    return skl2onnx


class Graph:
    """Nodes and constants of one model while they are written into a graph of skl2onnx.

    Parameters
    ----------
    scope, container : Scope, ModelComponentContainer
        Where names come from, and where nodes go to.
    double : bool
        Whether numbers are of float64; else they are of float32.
    """

    def __init__(self, scope: Any, container: Any, double: bool) -> None:
        self._scope, self._container, self.double = scope, container, double
        self._types = modules().proto.onnx_proto.TensorProto
        self.real = self._types.DOUBLE if double else self._types.FLOAT

    def node(
        self, operator: str, *inputs: Any, output: str | None = None, **attributes: Any
    ) -> str:
        """Add a node of one output, and name that.

        Inputs are names, or numbers of the type of the graph; the output may have a name already.
        """
        names = [each if isinstance(each, str) else self.constant(each) for each in inputs]
        place: str = output or self._scope.get_unique_variable_name(operator.lower())
        name = self._scope.get_unique_operator_name(operator)
        self._container.add_node(operator, names, place, name=name, **attributes)
        return place

    def constant(self, values: Any) -> str:
        """Add numbers of the type of the graph, int64 or strings, and name them."""
        array = np.asarray(values)
        name: str = self._scope.get_unique_variable_name("constant")
        kinds = {"i": self._types.INT64, "U": self._types.STRING}
        content = array.ravel()
        flat = [text.encode() for text in content.tolist()] if array.dtype.kind == "U" else content
        kind = kinds.get(array.dtype.kind, self.real)
        self._container.add_initializer(name, kind, list(array.shape), flat)
        return name

    def cast(self, name: str, kind: str) -> str:
        """Convert to another type of numbers: "FLOAT", "INT64" and so on."""
        return self.node("Cast", name, to=getattr(self._types, kind))


def labels_of(classes: Array, options: dict[str, Any]) -> Array:
    """Bring labels to int64 or strings, the two that ONNX has for them; "nocl" asks for numbers.

    Raises
    ------
    ValueError
        If they are neither, nor bools.
    """
    if options["nocl"]:
        return np.arange(len(classes), dtype=np.int64)
    if classes.dtype.kind == "U" or all(isinstance(label, str) for label in classes.tolist()):
        return classes.astype(str)
    if classes.dtype.kind not in "iub" or int(classes.max()) > np.iinfo(np.int64).max:
        raise ValueError(
            f"ONNX has integers and strings for labels, not those of classes_={classes.tolist()!r} "
            f"({classes.dtype}). Fit to labels of either kind."
        )
    return classes.astype(np.int64)


def set_types(operator: Any, labels: Array, n_probabilities: int, *, double: bool) -> None:
    """Tell skl2onnx the types of the two outputs."""
    kinds, n_rows = modules().common.data_types, operator.inputs[0].get_first_dimension()
    label_kind = kinds.StringTensorType if labels.dtype.kind == "U" else kinds.Int64TensorType
    operator.outputs[0].set_type(label_kind([n_rows]))
    kind = kinds.DoubleTensorType if double else kinds.FloatTensorType
    operator.outputs[1].set_type(kind([n_rows, n_probabilities]))


def add_outputs(g: Graph, both: tuple[str, str], labels: Array, outputs: Sequence[Any]) -> None:
    """Add the nodes of the two outputs; both : 1 − ŷ and ŷ, of shape (n, 1)."""
    label, probabilities = outputs
    g.node("Concat", *both, output=probabilities.full_name, axis=1)
    is_last = g.node("Reshape", g.node("Greater", both[1], 0.5), g.constant(np.array([-1])))
    # One label stands for both, as in `predict`.
    pair = labels if len(labels) == 2 else np.repeat(labels, 2)
    g.node("Gather", g.constant(pair), g.cast(is_last, "INT64"), output=label.full_name)


def converted(alone: Any, name: str, inputs: list[tuple[str, Any]]) -> Any:
    """The graph of a model whose class is registered, with the version that has written it."""
    graph = modules().convert_sklearn(
        alone,
        name=name,
        initial_types=inputs,
        target_opset=OPSET,
        options={id(alone): {"zipmap": False}},
    )
    entry = graph.metadata_props.add()
    entry.key, entry.value = "fastmlp", __version__
    return graph
