"""README's table of what scikit-learn's MLP has not: what it says of the others holds.

What it says of this package is what the other tests are about.
"""

import inspect

import numpy as np
import pytest
from data import quietly, two_classes
from sklearn.neural_network import MLPClassifier

from fastmlp import MLPBinaryClassifier
from fastmlp.kernels.activations import ACTIVATIONS

X, Y = two_classes(100)


def test_what_scikit_learns_has_not():
    theirs = inspect.signature(MLPClassifier).parameters
    own = set(inspect.signature(MLPBinaryClassifier).parameters) - set(theirs)
    assert own >= {
        "class_weight", "scoring", "dropout", "input_dropout", "weight_decay", "ema_decay",
        "max_grad_norm", "label_smoothing", "warmup", "n_init", "n_threads", "dtype",
    }  # fmt: skip
    assert list(inspect.signature(MLPClassifier.fit).parameters) == [
        "self", "X", "y", "sample_weight",
    ]  # fmt: skip
    for missing in ("input_gradient", "set_callbacks", "decision_function"):
        assert not hasattr(MLPClassifier, missing)
    constraints = MLPClassifier._parameter_constraints
    assert constraints["activation"][0].options == {"identity", "logistic", "tanh", "relu"}
    assert constraints["learning_rate"][0].options == {"constant", "invscaling", "adaptive"}
    assert len(ACTIVATIONS) == 12


def test_what_skorch_asks_for():
    skorch = pytest.importorskip("skorch")
    torch = pytest.importorskip("torch")

    def fit(X, y, **more):
        network = torch.nn.Sequential(torch.nn.Linear(X.shape[1], 1), torch.nn.Flatten(0))
        quietly(
            skorch.NeuralNetBinaryClassifier(network, verbose=0, max_epochs=1).fit, X, y, **more
        )

    single, targets = X.astype(np.float32), Y.astype(np.float32)
    fit(single, targets)
    with pytest.raises(RuntimeError, match="dtype"):
        fit(X.astype(np.float64), targets)
    with pytest.raises(TypeError):
        fit(single, np.where(Y, "yes", "no"))
    with pytest.raises(TypeError, match="sample_weight"):
        fit(single, targets, sample_weight=np.ones(len(X)))
