"""A fitted network as an ONNX graph.

skl2onnx writes it, from the converter below: alone, or as a step of a pipeline. The graph is of
basic operators alone. onnxruntime has few others in float64, and none of them more precise:

    z = a W + b, a = g(z), layer by layer      N1
    ŷ = σ(z), 1 − ŷ = σ(−z)                    N5
    label = classes[ŷ > ½]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin

from fastmlp.export.fitted import fitted
from fastmlp.kernels.activations import CUBIC, LEAK, SELU_ALPHA, SELU_SCALE
from fastmlp.version import __version__

Array = NDArray[Any]

#: The newest opset that a graph may ask for: old versions of onnxruntime read it.
OPSET = 17

#: Nodes of Gauss and Legendre's quadrature for erf in float64: its error is then 2e-15.
_NODES = 24
#: Beyond it, erf is 1 in float64.
_ERF_IS_ONE = 6.0


#: Of a conversion, as skl2onnx has them for its own classifiers.
_OPTIONS = {"zipmap": True, "nocl": False}


def _modules() -> Any:
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
    """Nodes and constants of one network while they are written into a graph of skl2onnx.

    Parameters
    ----------
    scope, container : Scope, ModelComponentContainer
        Where names come from, and where nodes go to.
    double : bool
        Whether numbers are of float64; else they are of float32.
    """

    def __init__(self, scope: Any, container: Any, double: bool) -> None:
        self._scope, self._container, self.double = scope, container, double
        self._types = _modules().proto.onnx_proto.TensorProto
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


def _leaky_relu(g: Graph, z: str) -> str:
    return g.node("Max", z, g.node("Mul", z, LEAK))


def _elu(g: Graph, z: str) -> str:
    """z above 0, and eᶻ − 1 below."""
    below = g.node("Sub", g.node("Exp", g.node("Min", z, 0.0)), 1.0)
    return g.node("Add", g.node("Relu", z), below)


def _selu(g: Graph, z: str) -> str:
    below = g.node("Sub", g.node("Exp", g.node("Min", z, 0.0)), 1.0)
    above = g.node("Mul", g.node("Relu", z), SELU_SCALE)
    return g.node("Add", above, g.node("Mul", below, SELU_SCALE * SELU_ALPHA))


def _softplus(g: Graph, z: str) -> str:
    """log(1 + eᶻ) = max(z, 0) + log(1 + e^(−|z|)), which does not overflow."""
    ratio = g.node("Exp", g.node("Neg", g.node("Abs", z)))
    return g.node("Add", g.node("Relu", z), g.node("Log", g.node("Add", ratio, 1.0)))


def _mish(g: Graph, z: str) -> str:
    return g.node("Mul", z, g.node("Tanh", _softplus(g, z)))


def _times_half_of_one_plus(g: Graph, z: str, x: str) -> str:
    """½ z (1 + x)."""
    return g.node("Mul", g.node("Mul", z, 0.5), g.node("Add", x, 1.0))


def _silu(g: Graph, z: str) -> str:
    """z σ(z) = ½ z (1 + tanh(½ z)).

    Of z σ(z), onnxruntime makes one operator, which old versions have in float32 alone.
    """
    return _times_half_of_one_plus(g, z, g.node("Tanh", g.node("Mul", z, 0.5)))


def _gelu_tanh(g: Graph, z: str) -> str:
    """½ z (1 + tanh(√(2/π) (z + 0.044715 z³)))."""
    cube = g.node("Mul", g.node("Mul", z, z), z)
    inner = g.node("Add", z, g.node("Mul", cube, CUBIC))
    return _times_half_of_one_plus(
        g, z, g.node("Tanh", g.node("Mul", inner, math.sqrt(2 / math.pi)))
    )


def _gelu(g: Graph, z: str) -> str:
    """½ z (1 + erf(z / √2))."""
    return _times_half_of_one_plus(g, z, _erf(g, g.node("Mul", z, math.sqrt(0.5))))


def _erf(g: Graph, x: str) -> str:
    """erf; onnxruntime has it in float32 alone.

    In float64 it is 2/√π x ∫₀¹ e^(−x²u²) du, by a quadrature.
    """
    if not g.double:
        return g.node("Erf", x)
    u, weights = np.polynomial.legendre.leggauss(_NODES)
    x = g.node("Max", g.node("Min", x, _ERF_IS_ONE), -_ERF_IS_ONE)
    xu = g.node("Mul", g.node("Unsqueeze", x, g.constant(np.array([2]))), (u + 1) / 2)
    height = g.node("Exp", g.node("Neg", g.node("Mul", xu, xu)))
    integral = g.node("MatMul", height, weights / math.sqrt(math.pi))
    return g.node("Mul", x, integral)


#: g by name: the nodes that compute it.
ACTIVATIONS: dict[str, Callable[[Graph, str], str]] = {
    "identity": lambda g, z: z,
    "logistic": lambda g, z: g.node("Sigmoid", z),
    "tanh": lambda g, z: g.node("Tanh", z),
    "relu": lambda g, z: g.node("Relu", z),
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "selu": _selu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": _silu,
    "mish": _mish,
    "softplus": _softplus,
}


def _nodes_of(activation: Any) -> Callable[[Graph, str], str]:
    """Look up an activation; a ValueError names one that is not there."""
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ValueError(
            f"activation={activation!r} has no ONNX graph. Those of {', '.join(ACTIVATIONS)} have."
        )
    return ACTIVATIONS[activation]


def _labels(classes: Array, options: dict[str, Any]) -> Array:
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


def _shapes(operator: Any) -> None:
    """Tell skl2onnx the types of the two outputs; an error for a model that has no graph."""
    kinds, model = _modules().common.data_types, fitted(operator.raw_operator)
    for activation in model.activations:
        _nodes_of(activation)
    options = operator.scope_inst.get_options(operator.raw_operator, dict(_OPTIONS))
    labels, n_rows = _labels(model.classes, options), operator.inputs[0].get_first_dimension()
    label_kind = kinds.StringTensorType if labels.dtype.kind == "U" else kinds.Int64TensorType
    operator.outputs[0].set_type(label_kind([n_rows]))
    double = isinstance(operator.inputs[0].type, kinds.DoubleTensorType)
    kind = kinds.DoubleTensorType if double else kinds.FloatTensorType
    operator.outputs[1].set_type(kind([n_rows, 2]))


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Write the nodes of a network."""
    kinds, model = _modules().common.data_types, fitted(operator.raw_operator)
    (x,), (label, both) = operator.inputs, operator.outputs
    options = container.get_options(operator.raw_operator, dict(_OPTIONS))
    if len(model.classes) == 1 and options["zipmap"]:
        raise ValueError(
            "The model has one class and probabilities of two, which a ZipMap cannot name: convert "
            "it with options={'zipmap': False}."
        )
    double = isinstance(x.type, kinds.DoubleTensorType)
    g, a = Graph(scope, container, double), x.full_name
    if not isinstance(x.type, kinds.DoubleTensorType | kinds.FloatTensorType):
        a = g.cast(a, "FLOAT")
    weights = model.weights
    for layer, (coef, intercept) in enumerate(zip(weights.coefs, weights.intercepts, strict=True)):
        z = g.node("Add", g.node("MatMul", a, coef), intercept)
        if layer < len(model.activations):
            a = _nodes_of(model.activations[layer])(g, z)
    p = g.node("Sigmoid", z)
    complement = g.node("Sigmoid", g.node("Neg", z))
    g.node("Concat", complement, p, output=both.full_name, axis=1)
    is_last = g.node("Reshape", g.node("Greater", p, 0.5), g.constant(np.array([-1])))
    labels = _labels(model.classes, options)
    # One label stands for both, as in `predict`.
    pair = labels if len(labels) == 2 else np.repeat(labels, 2)
    g.node("Gather", g.constant(pair), g.cast(is_last, "INT64"), output=label.full_name)


class _Alone(ClassifierMixin, BaseEstimator):
    """A network that leaves on its own; skl2onnx goes by classes, and knows this one."""

    def __init__(self, source: Any) -> None:
        names = ("coefs_", "intercepts_", "n_features_in_", "activation", "classes_")
        attributes = vars(source).copy()
        self.__dict__.update({name: attributes[name] for name in names})


def to_onnx(estimator: Any) -> Any:
    """Make an ONNX graph of an estimator; see `MLPBinaryClassifier.to_onnx`."""
    skl2onnx, model = _modules(), fitted(estimator)
    register_converter(_Alone)
    kinds, alone = skl2onnx.common.data_types, _Alone(estimator)
    double = model.weights.dtype == np.float64
    kind = kinds.DoubleTensorType if double else kinds.FloatTensorType
    graph = skl2onnx.convert_sklearn(
        alone,
        name="MLPBinaryClassifier",
        initial_types=[("X", kind([None, model.weights.widths[0]]))],
        target_opset=OPSET,
        options={id(alone): {"zipmap": False}},
    )
    entry = graph.metadata_props.add()
    entry.key, entry.value = "fastmlp", __version__
    return graph


def register_converter(cls: type) -> None:
    """Tell skl2onnx how to convert a class of estimators; see `fastmlp.onnx`."""
    _modules().update_registered_converter(
        cls,
        f"Fastmlp{cls.__name__}",
        _shapes,
        _convert,
        options={
            "zipmap": [True, False, "columns"],
            "nocl": [True, False],
            "output_class_labels": [False, True],
        },
    )
