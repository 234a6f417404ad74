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
from fastmlp.export.onnx_graph import (
    OPTIONS,
    Graph,
    add_outputs,
    converted,
    labels_of,
    modules,
    set_types,
)
from fastmlp.kernels.activations import CUBIC, LEAK, SELU_ALPHA, SELU_SCALE

Array = NDArray[Any]

#: Nodes of Gauss and Legendre's quadrature for erf in float64: its error is then 2e-15.
_NODES = 24
#: Beyond it, erf is 1 in float64.
_ERF_IS_ONE = 6.0


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


def _shapes(operator: Any) -> None:
    """Tell skl2onnx the types of the two outputs; an error for a model that has no graph."""
    kinds, model = modules().common.data_types, fitted(operator.raw_operator)
    for activation in model.activations:
        _nodes_of(activation)
    options = operator.scope_inst.get_options(operator.raw_operator, dict(OPTIONS))
    double = isinstance(operator.inputs[0].type, kinds.DoubleTensorType)
    set_types(operator, labels_of(model.classes, options), 2, double=double)


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Write the nodes of a network."""
    kinds, model = modules().common.data_types, fitted(operator.raw_operator)
    (x,) = operator.inputs
    options = container.get_options(operator.raw_operator, dict(OPTIONS))
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
    add_outputs(g, (complement, p), labels_of(model.classes, options), operator.outputs)


class _Alone(ClassifierMixin, BaseEstimator):
    """A network that leaves on its own; skl2onnx goes by classes, and knows this one."""

    def __init__(self, source: Any) -> None:
        names = ("coefs_", "intercepts_", "n_features_in_", "activation", "classes_")
        attributes = vars(source).copy()
        self.__dict__.update({name: attributes[name] for name in names})


def to_onnx(estimator: Any) -> Any:
    """Make an ONNX graph of an estimator; see `MLPBinaryClassifier.to_onnx`."""
    skl2onnx, model = modules(), fitted(estimator)
    register_converter(_Alone)
    kinds, alone = skl2onnx.common.data_types, _Alone(estimator)
    double = model.weights.dtype == np.float64
    kind = kinds.DoubleTensorType if double else kinds.FloatTensorType
    inputs = [("X", kind([None, model.weights.widths[0]]))]
    return converted(alone, "MLPBinaryClassifier", inputs)


def register_converter(cls: type) -> None:
    """Tell skl2onnx how to convert a class of estimators; see `fastmlp.onnx`."""
    modules().update_registered_converter(
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
