"""What holds for every way in which a model leaves."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from data import laid_out, quietly, two_classes

from fastmlp import MLPBinaryClassifier

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
