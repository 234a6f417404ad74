"""∂logit/∂x: the δ recursion down to layer 0, against differences and the chain of Jacobians."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from data import quietly, two_classes
from naive import forward_row, slope
from sklearn.exceptions import NotFittedError

from fastmlp import MLPBinaryClassifier
from fastmlp.network import plan

ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
HIDDEN = [(), (7,), (33, 16), (5, 20, 3)]
X, Y = two_classes(250, 21)


def fitted(hidden=(7,), activation="tanh", X=X, **settings):
    model = MLPBinaryClassifier(
        hidden, activation=activation, max_iter=3, random_state=0, **settings
    )
    return quietly(model.fit, X, Y)


def chain(model, x):
    """W⁽ᴸ⁾ diag(g′) … diag(g′) W⁽¹⁾ of one row (N7, N10)."""
    activations = (model.activation,) * (len(model.coefs_) - 1)
    _, layers = forward_row(x, model.coefs_, model.intercepts_, activations)
    product = np.eye(1)
    for layer in range(len(model.coefs_) - 1, -1, -1):
        product = product @ model.coefs_[layer].T
        if layer > 0:
            product = product @ np.diag(slope(activations[layer - 1], layers[layer]))
    return product[0]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_against_the_chain_of_jacobians(hidden, activation):
    model = fitted(hidden, activation)
    expected = np.array([chain(model, x) for x in X])
    error = np.abs(model.input_gradient(X) - expected).max()
    assert error < 1e-12 * np.abs(expected).max()


@pytest.mark.parametrize("hidden", HIDDEN)
def test_against_central_differences(hidden):
    model, h = fitted(hidden), 1e-5
    steps = h * np.eye(X.shape[1])
    differences = np.transpose(
        [model.decision_function(X + s) - model.decision_function(X - s) for s in steps]
    ) / (2 * h)
    np.testing.assert_allclose(model.input_gradient(X), differences, rtol=1e-6, atol=1e-8)


def test_without_hidden_layers_it_is_the_weights():
    model = fitted(())
    np.testing.assert_array_equal(model.input_gradient(X), np.tile(model.coefs_[0].T, (250, 1)))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i1", "i8", "u2", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_kind_of_x(dtype, order):
    model = fitted((33, 16), "relu")
    rows = np.asarray(10 * X, order=order).astype(dtype, order=order)
    expected = model.input_gradient(np.ascontiguousarray(rows.astype(float)))
    np.testing.assert_array_equal(model.input_gradient(rows), expected)
    for kind in (scipy.sparse.csr_array, scipy.sparse.csc_matrix):
        ours = model.input_gradient(kind(rows.astype(float)))
        np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_float32(activation):
    model = fitted((33, 16), activation, X.astype(np.float32))
    ours = model.input_gradient(X)
    assert ours.dtype == np.float32
    expected = np.array([chain(model, x) for x in X.astype(np.float32).astype(float)])
    assert np.abs(ours - expected).max() < 1e-5 * np.abs(expected).max()


def test_threads_change_no_bit(monkeypatch):
    monkeypatch.setattr(plan, "PREDICTION_WORK_PER_THREAD", 1)
    monkeypatch.setattr(plan, "PREDICTION_ROWS", 24)
    model = fitted((33, 16))
    results = [model.set_params(n_threads=n).input_gradient(X) for n in (1, 2, 5)]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_rows_stand_alone():
    model = fitted((9,), "logistic")
    everything = model.input_gradient(X)
    for part in (slice(0, 1), slice(100, 207)):
        np.testing.assert_array_equal(model.input_gradient(X[part]), everything[part])


def test_it_is_checked_as_a_prediction_is():
    with pytest.raises(NotFittedError):
        MLPBinaryClassifier().input_gradient(X)
    model = fitted()
    with pytest.raises(ValueError, match="X has 3 features"):
        model.input_gradient(X[:, :3])
    with pytest.raises(ValueError, match="contains NaN"):
        model.input_gradient(np.full_like(X, np.nan))
    frame = pd.DataFrame(X).rename(columns=str)
    named = fitted(X=frame)
    with pytest.raises(ValueError, match="feature names"):
        named.input_gradient(frame.rename(columns={"0": "other"}))
    np.testing.assert_array_equal(named.input_gradient(frame), model.input_gradient(X))


def test_weights_that_are_not_finite():
    model = fitted()
    model.coefs_[1][:] = np.nan
    with pytest.raises(ValueError, match=r"coefs_\[1\] contains NaN"):
        model.input_gradient(X)
