import numpy as np
import pytest
from scipy.special import expit, log_expit

from fastmlp import MLPBinaryClassifier
from fastmlp.data.rows import as_rows
from fastmlp.estimators.probabilities import log_probabilities
from fastmlp.network.layout import Network
from fastmlp.network.session import Session


def probabilities(z):
    """Both columns, as a network writes them that hands z on."""
    session = Session(Network((1, 1), (), z.dtype), 1)
    session.set_parameters([np.ones((1, 1))], [np.zeros(1)])
    return session.probabilities(as_rows(z[:, None], z.dtype))


LOGITS = np.r_[0.0, np.geomspace(1e-20, 800, 400), -np.geomspace(1e-20, 800, 400)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_both_columns_to_full_precision(dtype):
    z = LOGITS.astype(dtype)
    p = probabilities(z)
    exact = np.c_[expit(-z.astype(np.float64)), expit(z.astype(np.float64))]
    normal = exact > np.finfo(dtype).tiny
    assert p.dtype == dtype
    np.testing.assert_allclose(p[normal], exact[normal], rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=2 * np.finfo(dtype).eps)
    assert (p > 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logarithms_are_finite(dtype):
    z = LOGITS.astype(dtype)
    log_p = log_probabilities(z)
    exact = np.c_[log_expit(-z.astype(np.float64)), log_expit(z.astype(np.float64))]
    assert log_p.dtype == dtype
    assert (log_p <= 0).all()
    within = exact > -744
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(log_p[within], exact[within], rtol=4 * eps, atol=eps / 2)
    assert log_p.min() == pytest.approx(-744.44, abs=0.01)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logarithms_agree_with_the_probabilities(dtype):
    z = LOGITS.astype(dtype)
    p, log_p = probabilities(z), log_probabilities(z)
    normal = p > np.finfo(dtype).tiny
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(log_p[normal], np.log(p[normal]), rtol=4 * eps, atol=eps)
    # Where a probability is 1 its logarithm is 0.
    assert not log_p[p == 1].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_blocks_of_predictions_do_not_show(n_threads, dtype):
    rng = np.random.RandomState(0)
    network = Network((30, 200, 1), ("relu",), np.dtype(dtype))
    session = Session(network, n_threads)
    session.set_parameters(
        [rng.randn(*shape) for shape in network.shapes()],
        [rng.randn(200), rng.randn(1)],
    )
    X = rng.randn(1000, 30).astype(dtype)
    for n in (1, 191, 192, 193, 400, 1000):
        rows = as_rows(X[:n], np.dtype(dtype))
        np.testing.assert_array_equal(
            session.probabilities(rows), probabilities(session.logits(rows))
        )


def test_blocks_do_not_show():
    z = np.random.RandomState(0).randn(40_000)
    rows = [0, 16_383, 16_384, 39_999]
    np.testing.assert_array_equal(log_probabilities(z)[rows], log_probabilities(z[rows]))


def test_nan_stays_nan():
    assert np.isnan(probabilities(np.array([np.nan]))).all()
    assert np.isnan(log_probabilities(np.array([np.nan]))).all()


def test_underflow_is_no_error_where_errors_are_raised():
    model = MLPBinaryClassifier(())
    model.coefs_, model.intercepts_, model.n_features_in_ = [np.ones((1, 1))], [np.zeros(1)], 1
    with np.errstate(all="raise"):
        found = model.predict_log_proba(LOGITS[:, np.newaxis])
    np.testing.assert_array_equal(found, log_probabilities(LOGITS))
