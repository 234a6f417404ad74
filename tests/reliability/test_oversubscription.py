"""Threads within the workers of a search (point 3)."""

import time
import warnings

import numpy as np
import pytest
from data import two_classes
from fresh import LAYERS, run
from joblib import Parallel, delayed

from fastmlp import MLPBinaryClassifier
from fastmlp.runtime.team import available_threads


def threads(_=None):
    return available_threads(None)


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_workers_take_the_threads_that_joblib_allows(backend):
    """Two processes on two cores: one thread each."""
    from joblib import cpu_count

    allowed = max(1, cpu_count() // 2) if backend == "loky" else 1
    found = Parallel(n_jobs=2, backend=backend)(delayed(threads)() for _ in range(4))
    assert set(found) == {allowed}


def test_inner_threads_can_be_set_through_joblib():
    from joblib import parallel_config

    with parallel_config(backend="loky", inner_max_num_threads=3, n_jobs=2):
        assert set(Parallel()(delayed(threads)() for _ in range(2))) == {3}


def threads_as_workers():
    """However many threads fit at once: each ends what it began, and none is left behind."""
    import threading

    X, y = two_classes(3000, 40)
    warnings.simplefilter("ignore")

    def fit():
        model = MLPBinaryClassifier(
            (200,), batch_size=1000, max_iter=3, n_threads=2, random_state=0
        )
        return model.fit(X, y).predict_proba(X).tobytes()

    expected = fit()
    before = threading.active_count()
    with Parallel(n_jobs=4, backend="threading") as workers:
        assert set(workers(delayed(fit)() for _ in range(8))) == {expected}
    deadline = time.monotonic() + 10  # joblib's own may take a moment to end
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before, threading.enumerate()
    print("all the same")


@pytest.mark.parametrize("layer", LAYERS)
def test_threads_as_workers(layer):
    environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}
    assert "all the same" in run(threads_as_workers, environment=environment, timeout=300)


def search(n_jobs):
    from sklearn.model_selection import GridSearchCV

    warnings.simplefilter("ignore")
    X, y = two_classes(20_000, 50, dtype=np.float32)
    model = MLPBinaryClassifier((200, 200), max_iter=8, random_state=0)
    grid = {"alpha": [1e-5, 1e-4, 1e-3, 1e-2]}
    GridSearchCV(model, grid, cv=2, n_jobs=n_jobs, refit=False).fit(X, y)  # starts the workers
    started = time.perf_counter()
    GridSearchCV(model, grid, cv=2, n_jobs=n_jobs, refit=False).fit(X, y)
    print(time.perf_counter() - started)


@pytest.mark.long
def test_a_search_in_two_processes_is_no_slower():
    """One process with two threads, against two with one each: the same cores, the same work."""
    environment = {"NUMBA_NUM_THREADS": None}
    one, two = (
        min(float(run(search, n, environment=environment, timeout=900)) for _ in range(3))
        for n in (1, 2)
    )
    assert two < 1.1 * one
