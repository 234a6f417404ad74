"""What holds for every way in which a model leaves."""

import copy
import math
import pickle
import subprocess
import sys

import numba
import numpy as np
import pytest
from data import laid_out, quietly, two_classes

from fastmlp import Activation, MLPBinaryClassifier
from fastmlp.kernels.activations import ACTIVATIONS

X, Y = two_classes(200)


def to_onnx(model):
    pytest.importorskip("skl2onnx")
    return model.to_onnx().SerializeToString()


#: Each way, and what comes of it in a form that can be compared.
WAYS = {
    "to_sklearn": lambda model: model.to_sklearn().predict_proba(X),
    "from_sklearn": lambda model: model.from_sklearn(model.to_sklearn()).predict_proba(X),
    "to_onnx": to_onnx,
    "as_numba": lambda model: [model.as_numba()(x) for x in X[:20]],
}


def trained(X=X, **kwargs):
    return quietly(MLPBinaryClassifier((8, 5), max_iter=4, random_state=0, **kwargs).fit, X, Y)


@pytest.fixture(params=WAYS)
def way(request):
    return WAYS[request.param]


@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}, {"solver": "lbfgs"}], ids=str)
def test_it_leaves_the_model_as_it_was(way, settings):
    model = trained(**settings)
    before, objects = copy.deepcopy(model), dict(vars(model))
    way(model)
    assert vars(model).keys() == objects.keys()
    for name, value in vars(model).items():
        assert value is objects[name]
        np.testing.assert_equal(value, vars(before)[name], err_msg=name)


def test_a_saved_model_leaves_alike(way):
    model = trained()
    np.testing.assert_equal(way(pickle.loads(pickle.dumps(model))), way(model))


def test_a_model_of_partial_fit_leaves(way):
    model = trained().partial_fit(X, Y)
    np.testing.assert_equal(way(copy.deepcopy(model)), way(model))
    np.testing.assert_allclose(
        WAYS["as_numba"](model), model.predict_proba(X[:20])[:, 1], rtol=0, atol=0
    )


def test_a_model_of_sparse_rows_leaves(way):
    np.testing.assert_equal(way(trained(laid_out(X, "csr"))), way(trained(laid_out(X, "csc"))))


def test_edited_weights_leave(way):
    """In any order of bytes and type, as they predict."""
    model = trained()
    model.coefs_ = [np.rint(8 * array) + 0.0 for array in model.coefs_]  # no −0.0
    expected = way(model)
    model.coefs_ = [array.astype(">f8") for array in model.coefs_]
    np.testing.assert_equal(way(model), expected)
    model.coefs_ = [array.astype(int) for array in model.coefs_]
    np.testing.assert_equal(way(model), expected)


def test_who_uses_none_of_it_waits_for_none_of_it():
    code = "import sys, fastmlp; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    ).stdout.split()
    assert "fastmlp.estimators.leaving" in loaded
    for name in (
        "fastmlp.export.compiled",
        "fastmlp.runtime.row",
        "sklearn.neural_network",
        "onnx",
    ):
        assert name not in loaded


@numba.njit
def wave(z):
    return z + 0.5 * math.sin(z)


@numba.njit
def wave_slope(z):
    return 1.0 + 0.5 * math.cos(z)


WAVE = Activation(wave, wave_slope)
REGULARISED = {
    "dropout": 0.2, "weight_decay": 0.1, "ema_decay": 0.9, "max_grad_norm": 1.0,
    "label_smoothing": 0.1, "learning_rate": "cosine", "n_init": 2, "class_weight": {1: 2.0},
}  # fmt: skip


def test_training_features_stay_behind(way):
    model = trained(**REGULARISED)
    way(model)
    np.testing.assert_allclose(WAYS["as_numba"](model), model.predict_proba(X[:20])[:, 1], atol=0)
    classifier = model.to_sklearn()
    np.testing.assert_allclose(classifier.predict_proba(X), model.predict_proba(X), rtol=1e-12)
    assert classifier.learning_rate == "constant"
    quietly(classifier.partial_fit, X, Y)


@pytest.mark.parametrize("activation", [*ACTIVATIONS, ("gelu", "relu"), [WAVE, "mish"]], ids=str)
def test_every_activation_in_compiled_code(activation):
    model = trained(activation=activation)
    probabilities = [model.as_numba()(x) for x in X[:20]]
    np.testing.assert_array_equal(probabilities, model.predict_proba(X[:20])[:, 1])


@pytest.mark.parametrize("activation", [*ACTIVATIONS, ("gelu", "selu")], ids=str)
def test_every_activation_in_onnx(activation):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("skl2onnx")
    model = trained(X.astype(np.float32), activation=activation)
    session = onnxruntime.InferenceSession(
        model.to_onnx().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    label, probabilities = session.run(["label", "probabilities"], {"X": X.astype(np.float32)})
    np.testing.assert_array_equal(label, model.predict(X))
    np.testing.assert_allclose(probabilities, model.predict_proba(X), atol=1e-6)


def test_what_has_no_counterpart_is_named():
    model = trained(activation=[WAVE, "tanh"])
    with pytest.raises(ValueError, match=r"activation=.*wave"):
        model.to_sklearn()
    pytest.importorskip("skl2onnx")
    with pytest.raises(ValueError, match=r"Activation\(wave, wave_slope\) has no ONNX graph"):
        model.to_onnx()
    with pytest.raises(ValueError, match="'gelu' has no counterpart"):
        trained(activation="gelu").to_sklearn()
    with pytest.raises(ValueError, match="has no counterpart"):
        trained(activation=["relu", "tanh"]).to_sklearn()
