"""Thousands of fits in one process: memory and speed stay as they are (point 11)."""

import gc
import time
import warnings

import numpy as np
import pytest
from data import two_classes
from fresh import run

from fastmlp import MLPBinaryClassifier


def soak(n_fits):
    """Print the growth of memory after the first fits, in KiB, and how much slower the last are."""
    import psutil

    warnings.simplefilter("ignore")
    X, y = two_classes(100, 8)
    process, warm, seconds, memory = psutil.Process(), 200, [], 0
    for k in range(n_fits):
        started = time.perf_counter()
        # Widths differ, so that no buffer of an earlier fit is of use; one in ten takes helpers.
        model = MLPBinaryClassifier(
            (3 + k % 50, 4), max_iter=3, n_threads=2 if k % 10 == 0 else 1, batch_size=100
        )
        model.fit(X, y).predict(X)
        seconds.append(time.perf_counter() - started)
        if k == warm:
            gc.collect()
            memory = process.memory_info().rss
    gc.collect()
    part = (n_fits - warm) // 4
    slower = np.median(seconds[-part:]) / np.median(seconds[warm : warm + part])
    print((process.memory_info().rss - memory) // 1024, slower)


def test_some_hundred_fits():
    pytest.importorskip("psutil")
    grown, _ = map(float, run(soak, 800, timeout=1800).split())
    assert grown < 1536


@pytest.mark.long
def test_ten_thousand_fits():
    pytest.importorskip("psutil")
    grown, slower = map(float, run(soak, 10_000, timeout=1800).split())
    assert grown < 4096
    assert slower < 1.5
