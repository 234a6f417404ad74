"""Multilayer perceptrons for binary classification, in compiled kernels."""

from fastmlp.estimators.classifier import MLPBinaryClassifier
from fastmlp.estimators.tabular import TabularMLPBinaryClassifier
from fastmlp.inspection.display import TrainingCurveDisplay
from fastmlp.kernels.own_activation import Activation
from fastmlp.version import __version__

__all__ = [
    "Activation",
    "MLPBinaryClassifier",
    "TabularMLPBinaryClassifier",
    "TrainingCurveDisplay",
    "__version__",
]

# Saved models name the class by where it is public: files outlive the modules of this package. As
# with NumPy's and pandas' classes, inspect.getsource finds that of methods, but not of the class.
Activation.__module__ = __name__
MLPBinaryClassifier.__module__ = __name__
TabularMLPBinaryClassifier.__module__ = __name__
TrainingCurveDisplay.__module__ = __name__
