"""The same seed gives the same bits, whatever the circumstances (point 8)."""

import hashlib
import pickle
import warnings

import numpy as np
import pytest
from data import LAYOUTS, laid_out, quietly, two_classes
from fresh import LAYERS, run

from fastmlp import MLPBinaryClassifier

#: Two hidden layers and minibatches that are large enough to be shared by many threads.
SETTINGS = {
    "hidden_layer_sizes": (90, 70), "batch_size": 700, "max_iter": 4, "random_state": 0,
}  # fmt: skip
VARIANTS = [
    {"activation": activation, "solver": solver, "dtype": dtype}
    for activation in ("identity", "logistic", "tanh", "relu")
    for solver in ("sgd", "adam", "lbfgs")
    for dtype in ("float32", "float64")
]
X, Y = two_classes(3000, 40)


def digest(model, X=X):
    arrays = (*model.coefs_, *model.intercepts_, model.predict_proba(X))
    return hashlib.sha256(b"".join(map(np.ndarray.tobytes, arrays))).hexdigest()


def digests(n_threads):
    """One digest for each variant."""
    return [
        digest(quietly(MLPBinaryClassifier(**SETTINGS, **variant, n_threads=n_threads).fit, X, Y))
        for variant in VARIANTS
    ]


@pytest.fixture(scope="module")
def expected():
    return digests(1)


@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
def test_any_number_of_threads(expected, n_threads):
    assert digests(n_threads) == expected


def print_digests(n_threads):
    warnings.simplefilter("ignore")
    print(*digests(n_threads))


@pytest.mark.parametrize("layer", LAYERS)
def test_another_process_under_each_layer(expected, layer):
    environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}
    assert run(print_digests, None, environment=environment, timeout=300).split() == expected


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout(layout, dtype):
    """Dense layouts among themselves; sparse rows are summed in an order of their own."""
    dense = "csr" if layout in ("csr", "csc") else "C"
    models = [
        quietly(MLPBinaryClassifier(**SETTINGS, dtype=dtype).fit, laid_out(X, kind), Y)
        for kind in (dense, layout)
    ]
    assert digest(models[0]) == digest(models[1])


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_after_pickling_midway(solver, n_threads):
    def trained(save):
        rng = np.random.RandomState(1)
        model = MLPBinaryClassifier(
            (30,), solver=solver, learning_rate="invscaling", random_state=rng, n_threads=n_threads
        )
        for _ in range(5):
            model.partial_fit(X, Y, classes=[0, 1])
            if save:
                model = pickle.loads(pickle.dumps(model))
        return digest(model)

    assert trained(save=True) == trained(save=False)


def test_warm_starts_after_pickling():
    def trained(save):
        model = MLPBinaryClassifier((30,), warm_start=True, max_iter=2, random_state=1)
        for _ in range(3):
            quietly(model.fit, X, Y)
            if save:
                model = pickle.loads(pickle.dumps(model))
        return digest(model)

    assert trained(save=True) == trained(save=False)


@pytest.mark.parametrize("n_threads", [1, 2, 8])
def test_predictions_of_parts(n_threads):
    """A row has the same logit alone, among others, and with any number of threads."""
    model = quietly(MLPBinaryClassifier(**SETTINGS, n_threads=n_threads).fit, X, Y)
    whole = model.decision_function(X)
    for size in (1, 2, 47, 191, 192, 193, 1000):
        np.testing.assert_array_equal(model.decision_function(X[:size]), whole[:size])
    np.testing.assert_array_equal(model.decision_function(X[::-1]), whole[::-1])
