"""Multilayer perceptrons for binary classification, in compiled kernels."""

from fastmlp.estimators.classifier import MLPBinaryClassifier
from fastmlp.version import __version__

__all__ = ["MLPBinaryClassifier", "__version__"]
