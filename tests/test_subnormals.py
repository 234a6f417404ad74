"""Subnormal numbers are taken for 0 while a network is trained, and by nobody else."""

import threading

import numba
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPBinaryClassifier
from fastmlp.data.rows import as_rows
from fastmlp.network.layout import Network
from fastmlp.network.session import Optimizer, Session
from fastmlp.runtime.subnormals import IS_X86

pytestmark = pytest.mark.skipif(not IS_X86, reason="others are left as they are")

ROWS = 64


def trained(dtype, n_threads, epochs):
    """A session after a minibatch with a gradient, and `epochs` in which features say nothing."""
    rng = np.random.default_rng(0)
    dtype = np.dtype(dtype)
    network = Network((20, 40, 1), ("tanh",), dtype)
    session = Session(network, n_threads)
    session.set_parameters(
        [rng.standard_normal(shape) for shape in ((20, 40), (40, 1))], [np.zeros(40), np.zeros(1)]
    )
    targets = rng.random(ROWS) < 0.5
    rows = as_rows(rng.standard_normal((ROWS, 20)).astype(dtype), dtype)
    # Moments of the first weights are β^k of their first value from here on.
    session.prepare(rows, targets, None, ROWS, alpha=0.0, optimizer=Optimizer())
    session.train_epoch(np.arange(ROWS), 1e-3)
    session.feed(as_rows(np.zeros((ROWS, 20), dtype), dtype), targets)
    for _ in range(epochs):
        session.train_epoch(np.arange(ROWS), 1e-3)
    return session


def is_subnormal(x):
    return (x != 0) & (np.abs(x) < np.finfo(x.dtype).tiny)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize(("dtype", "epochs"), [("float32", 1000), ("float64", 7000)])
def test_moments_end_in_0(dtype, epochs, n_threads):
    first, *_ = trained(dtype, n_threads, 0).state().moments
    moments = trained(dtype, n_threads, epochs).state().moments
    assert is_subnormal(first).sum() == 0
    assert sum(int(is_subnormal(moment).sum()) for moment in moments) == 0
    # 0.9^k of a gradient would be a number that never gets to 0: half of the least is rounded up.
    assert (moments[0] == 0).sum() >= 20 * 40


@numba.njit(parallel=True)
def tenths(x):
    """A tenth of each, by all threads of Numba's."""
    result = np.empty_like(x)
    for i in numba.prange(len(x)):
        result[i] = x[i] * np.float32(0.1)
    return result


def test_threads_know_subnormal_numbers_afterwards():
    trained("float32", 2, 50)
    tiny = np.full(10_000, np.finfo(np.float32).tiny)
    assert is_subnormal(tiny * np.float32(0.1)).all()
    assert is_subnormal(tenths(tiny)).all()


def test_threads_know_subnormal_numbers_after_an_interrupted_training():
    session = trained("float32", 2, 1)
    threading.Timer(0.3, session.cancel).start()
    order = np.tile(np.arange(ROWS), 20_000)

    def train():
        while True:
            session.train_epoch(order, 1e-3)

    with pytest.raises(KeyboardInterrupt):
        train()
    tiny = np.full(10_000, np.finfo(np.float32).tiny)
    assert is_subnormal(tiny * np.float32(0.1)).all()
    assert is_subnormal(tenths(tiny)).all()


def test_probabilities_are_not_taken_for_0():
    X = np.array([[-95.0], [95.0]] * 10, np.float32)
    clf = MLPBinaryClassifier((2,), activation="identity", max_iter=1, batch_size=20)
    with pytest.warns(ConvergenceWarning):
        clf.fit(X, [0, 1] * 10)
    clf.coefs_ = [np.ones((1, 2), np.float32), np.full((2, 1), 0.5, np.float32)]
    clf.intercepts_ = [np.zeros(2, np.float32), np.zeros(1, np.float32)]
    p = clf.predict_proba(X[:1])[0, 1]
    assert 0 < p < np.finfo(np.float32).tiny
