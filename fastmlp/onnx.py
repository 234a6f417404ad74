"""ONNX graphs of whole pipelines, by skl2onnx (``pip install "fastmlp[onnx]"``).

    fastmlp.onnx.register_converter()
    graph = skl2onnx.to_onnx(pipeline, X[:1], options={"zipmap": False})

A model that is no part of a pipeline has ``to_onnx()`` for this, and needs no registration.
"""

from __future__ import annotations

from fastmlp.estimators.classifier import MLPBinaryClassifier
from fastmlp.export import onnx as _export

__all__ = ["register_converter"]


def register_converter(cls: type[MLPBinaryClassifier] = MLPBinaryClassifier) -> None:
    """Tell skl2onnx how to convert an estimator, for this process.

    Parameters
    ----------
    cls : type, default=MLPBinaryClassifier
        The estimator, or a subclass of it: skl2onnx knows none by its bases. What a subclass does
        to the network's probabilities is no part of the graph.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.
    TypeError
        If it is another class.
    """
    if not (isinstance(cls, type) and issubclass(cls, MLPBinaryClassifier)):
        raise TypeError(f"cls must be MLPBinaryClassifier or a subclass of it, got {cls!r}.")
    _export.register_converter(cls)
