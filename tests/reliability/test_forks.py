"""Processes that fork, and pools of processes of every kind (point 2)."""

import multiprocessing
import os
import threading
import time
import warnings

import numba
import numpy as np
import pytest
from data import two_classes
from fresh import LAYERS, run

from fastmlp import MLPBinaryClassifier

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")

X, Y = two_classes(2000, 30, dtype=np.float32)


def fitted(_=None):
    """The bits of a model that takes two threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MLPBinaryClassifier((150,), batch_size=500, max_iter=3, random_state=0, n_threads=2)
        return model.fit(X, Y).predict_proba(X).tobytes()


def in_a_fork(function, timeout=60):
    """Whether function() comes true in a forked process, in time."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = int(not function())
        finally:
            os._exit(status)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


def forks(n_forks):
    """Fork in every situation; the parent's threads and numba's are running."""
    from joblib import Parallel, delayed

    @numba.njit(parallel=True)
    def parallel_sum(x):
        total = 0.0
        for i in numba.prange(x.size):
            total += x[i]
        return total

    expected = fitted()
    assert parallel_sum(np.ones(100)) == 100
    for _ in range(n_forks):
        assert in_a_fork(lambda: fitted() == expected)
    # A server that forks before it works, and whose workers work in threads.
    assert in_a_fork(lambda: in_a_fork(lambda: fitted() == expected) and fitted() == expected)
    # While other threads of the parent are within a fit.
    stop = threading.Event()

    def keep_fitting():
        while not stop.is_set():
            assert fitted() == expected

    users = [threading.Thread(target=keep_fitting) for _ in range(2)]
    for user in users:
        user.start()
    for _ in range(n_forks):
        assert in_a_fork(lambda: fitted() == expected)
    stop.set()
    for user in users:
        user.join()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert set(pool.map(fitted, range(4))) == {expected}
    models = Parallel(n_jobs=2, backend="multiprocessing")(delayed(fitted)() for _ in range(4))
    assert set(models) == {expected}
    assert fitted() == expected
    print("all forks came back")


@pytest.mark.parametrize("layer", LAYERS)
def test_forks(layer):
    environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}
    assert "all forks" in run(forks, 5, environment=environment, timeout=300)


@pytest.mark.long
@pytest.mark.parametrize("layer", LAYERS)
def test_many_forks(layer):
    environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}
    assert "all forks" in run(forks, 500, environment=environment, timeout=3600)


def fork_while_compiling():
    """A child must not inherit the compiler's lock from a thread that it does not have."""
    from fastmlp.runtime.jit import entry as kernel

    def slow(x):
        total = x
        for k in range(3):
            total += (
                np.linspace(0, x, 7).sum() + np.arange(k)[::2].mean() + np.sort(np.ones(k)).sum()
            )
        return total

    begun = threading.Event()

    def compile_it():
        begun.set()
        kernel(slow)(2.0)

    thread = threading.Thread(target=compile_it)
    thread.start()
    begun.wait()
    time.sleep(0.2)
    assert thread.is_alive(), "compiled too fast to be of use"
    came_back = in_a_fork(lambda: kernel(lambda x: x + 1)(1) == 2, timeout=60)
    thread.join()
    assert came_back
    print("compiled")


def test_a_fork_while_another_thread_compiles():
    assert "compiled" in run(fork_while_compiling, environment={"FASTMLP_CACHE": "0"}, timeout=300)


def test_joblib_loky():
    from joblib import Parallel, delayed

    expected = fitted()
    assert set(Parallel(n_jobs=2, backend="loky")(delayed(fitted)() for _ in range(4))) == {
        expected
    }


def test_spawned_processes():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(fitted, [0, 1]) == [fitted()] * 2


def on_dask():
    from dask.distributed import Client, LocalCluster
    from joblib import Parallel, delayed, parallel_config

    cluster = LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None)
    with cluster, Client(cluster), parallel_config(backend="dask"):
        models = Parallel()(delayed(fitted)() for _ in range(4))
    print(set(models) == {fitted()})


@pytest.mark.long  # a grid search on a cluster is what tests/scale does always
def test_dask():
    pytest.importorskip("distributed")
    assert "True" in run(on_dask, timeout=300)
