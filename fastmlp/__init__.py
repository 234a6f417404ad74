"""Multilayer perceptrons for binary classification, in compiled kernels."""

from fastmlp.estimators.classifier import MLPBinaryClassifier

__version__ = "0.1.0"

__all__ = ["MLPBinaryClassifier", "__version__"]
