"""Numbers at the ends of what a dtype holds (point 7)."""

import numpy as np
import pytest
from data import quietly, two_classes
from sklearn.neural_network import MLPClassifier

from fastmlp import MLPBinaryClassifier

DTYPES = [np.float32, np.float64]
X, Y = two_classes(200, 5)


def refused(call, reason):
    """Whether the call ends in a ValueError for the given reason; any other error is raised."""
    try:
        quietly(call)
    except ValueError as error:
        if reason not in str(error):
            raise
        return True
    return False


def set_weights(model, *coefs, intercepts=None):
    """A fitted estimator with other weights."""
    dtype = model.coefs_[0].dtype
    model.coefs_ = [np.array(weights, dtype) for weights in coefs]
    model.intercepts_ = [np.zeros(weights.shape[1], dtype) for weights in model.coefs_]
    return model


def line(dtype, slope=1.0, hidden=(), **settings):
    """A model whose logit is `slope` times its only feature."""
    model = MLPBinaryClassifier(hidden, max_iter=1, **settings)
    quietly(model.fit, np.array([[0.0], [1.0]], dtype), [0, 1])
    return set_weights(model, [[slope]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_saturated_logits(dtype):
    logits = np.array([0, 1e-30, 1, 17, 40, 90, 104, 700, 745, 1e4, 1e30], dtype)
    X = np.concatenate([logits, -logits[1:]])[:, np.newaxis]
    model = line(dtype)
    np.testing.assert_array_equal(model.decision_function(X), X[:, 0])
    p, log_p = model.predict_proba(X), model.predict_log_proba(X)
    assert p.dtype == log_p.dtype == dtype
    assert ((p > 0) & (p <= 1)).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-6)
    assert np.isfinite(log_p).all()
    np.testing.assert_array_equal(model.predict(X), p[:, 1] > 0.5)
    certain = abs(X[:, 0]) >= 1
    np.testing.assert_array_equal(model.predict(X)[certain], X[certain, 0] > 0)
    z = X[:, 0].astype(np.longdouble)
    exact = -np.logaddexp(0, -z)
    inside = exact > -700
    np.testing.assert_allclose(log_p[inside, 1], exact[inside], rtol=1e-6, atol=1e-7)
    assert (log_p[~inside, 1] <= -700).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize(
    "X",
    [
        np.zeros((50, 3)),
        np.ones((50, 3)),
        np.full((50, 3), 1e6),
        np.tile([1.0, -2.0, 3.0], (50, 1)),
        np.column_stack([np.full(50, 7.0), np.arange(50) % 2, np.zeros(50)]),
        np.full((50, 3), 1e-320),
    ],
    ids=["zeros", "ones", "large", "equal rows", "constant columns", "subnormal"],
)
def test_features_that_tell_nothing(dtype, solver, X):
    y = np.arange(50) % 2
    model = MLPBinaryClassifier((6,), solver=solver, max_iter=20, random_state=0)
    X = X.astype(dtype)
    if X.max() > 1e3:  # may diverge, but says so
        if refused(lambda: model.fit(X, y), "non-finite"):
            return
    else:
        quietly(model.fit, X, y)
    assert np.isfinite(model.predict_proba(X)).all()
    other = MLPClassifier((6,), solver=solver, max_iter=20, random_state=0)
    expected = quietly(other.fit, X, y).predict_proba(X)
    np.testing.assert_allclose(model.predict_proba(X), expected, atol=2e-3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_of_very_different_size(dtype):
    """Along a chain of 1e±30, whose product is 1; in float32 1e±15."""
    size = 1e30 if dtype == np.float64 else 1e15
    model = MLPBinaryClassifier((1, 1), activation="identity", max_iter=1)
    quietly(model.fit, np.array([[0.0], [1.0]], dtype), [0, 1])
    set_weights(model, [[size]], [[1 / size]], [[1.0]])
    X = np.array([[-3.0], [-1e-5], [1e-5], [3.0]], dtype)
    np.testing.assert_allclose(model.decision_function(X), X[:, 0], rtol=1e-6)
    np.testing.assert_array_equal(model.predict(X), [0, 0, 1, 1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_overflow_to_infinity_keeps_the_label(dtype):
    huge = np.finfo(dtype).max / 4
    model = line(dtype, slope=1e10)
    X = np.array([[-huge], [huge]], dtype)
    np.testing.assert_array_equal(model.predict(X), [0, 1])
    assert np.isfinite(model.predict_log_proba(X)).all()
    assert np.isfinite(model.predict_proba(X)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_logit_that_cannot_be_told_is_an_error(dtype):
    huge = np.finfo(dtype).max / 4
    model = MLPBinaryClassifier((), max_iter=1)
    quietly(model.fit, np.array([[0.0, 0.0], [1.0, 1.0]], dtype), [0, 1])
    set_weights(model, [[1e10], [-1e10]])
    X = np.array([[1.0, 2.0], [huge, huge]], dtype)
    for method in (
        model.predict, model.predict_proba, model.predict_log_proba, model.decision_function,
    ):  # fmt: skip
        with pytest.raises(ValueError, match="Input X and the weights overflow"):
            method(X)
    assert model.predict(X[:1]) == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("alpha", [0.0, 1e10, 1e300])
def test_alpha(dtype, solver, alpha):
    """A result that is all finite, or scikit-learn's error."""
    model = MLPBinaryClassifier((5,), solver=solver, alpha=alpha, dtype=dtype, max_iter=30)
    model.set_params(random_state=0)
    if refused(lambda: model.fit(X, Y), "non-finite"):
        assert alpha > 0
        assert not hasattr(model, "coefs_")
        return
    assert np.isfinite(model.predict_proba(X)).all()
    if alpha == 0:
        assert np.isfinite(model.loss_)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("rate", [1e3, 1e10, 1e30, 1e300])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_rates_that_diverge(dtype, solver, rate, activation):
    model = MLPBinaryClassifier(
        (5, 4), activation, solver=solver, learning_rate_init=rate, dtype=dtype, max_iter=50,
        random_state=0,
    )  # fmt: skip
    if refused(lambda: model.fit(X, Y), "non-finite"):
        assert not hasattr(model, "coefs_")
        return
    assert all(np.isfinite(array).all() for array in (*model.coefs_, *model.intercepts_))
    if not refused(lambda: model.predict_proba(X), "overflow"):
        assert np.isfinite(model.predict_proba(X)).all()


@pytest.mark.parametrize("size", [1e-320, 1e-300, 1e-30, 1e30, 1e300])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_of_rows_of_any_size(size, dtype):
    """Only their proportions count, where the penalty is 0."""
    model = MLPBinaryClassifier((5,), alpha=0, dtype=dtype, max_iter=5, random_state=0)
    weight = np.linspace(1, 2, len(Y))
    expected = quietly(model.fit, X, Y, weight).predict_proba(X)
    if refused(lambda: model.fit(X, Y, weight * size), "sample_weight"):
        return
    found = model.predict_proba(X)
    np.testing.assert_allclose(found, expected, atol=2e-3 if size > 1e-310 else 0.05)


def test_targets_of_one_class():
    model = quietly(MLPBinaryClassifier(max_iter=3).fit, X, np.ones(len(X)))
    assert (model.predict(X) == 1).all()
    assert np.isfinite(model.predict_log_proba(X)).all()
