"""Threads within the workers of a search (point 3)."""

import time
import warnings

import numpy as np
import pytest
from data import two_classes
from fresh import run
from joblib import Parallel, delayed

from fastmlp import MLPBinaryClassifier
from fastmlp.threads import available_threads


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


def test_threads_as_workers_share_their_helpers():
    """However many threads fit at once, the helpers are those of one fit."""
    import threading

    X, y = two_classes(3000, 40)

    def fit():
        with warnings.catch_warnings():
            MLPBinaryClassifier((200,), batch_size=1000, max_iter=3, n_threads=2).fit(X, y)
        return sum(t.name.startswith("fastmlp_") for t in threading.enumerate())

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = fit()
        counts = Parallel(n_jobs=4, backend="threading")(delayed(fit)() for _ in range(8))
    assert max(counts) <= max(before, 1)


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
