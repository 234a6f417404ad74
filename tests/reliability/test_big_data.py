"""More rows than memory holds, and tens of millions of rows (point 10)."""

import time
import warnings

import numpy as np
import pytest
from data import two_classes
from fresh import run

from fastmlp import MLPBinaryClassifier

resource = pytest.importorskip("resource")  # not on Windows

GIB = 2**30


def fit_a_memory_map(path, n_rows, n_features, limit):
    """One epoch with `limit` bytes of anonymous memory, files that are mapped not counted."""
    warnings.simplefilter("ignore")
    X = np.memmap(path, np.float32, "r", shape=(n_rows, n_features))
    MLPBinaryClassifier((2,), max_iter=1).fit(X[:50], [0, 1] * 25)  # compiles
    y = np.arange(n_rows) % 2 == 0
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with pytest.raises(MemoryError):
        np.ones(limit // 8)
    started = time.perf_counter()
    model = MLPBinaryClassifier((16,), max_iter=1, batch_size=1000, random_state=0).fit(X, y)
    assert model.t_ == n_rows
    assert len(model.predict(X[: n_rows // 8])) == n_rows // 8
    print(time.perf_counter() - started)


def memory_map(tmp_path, n_rows, n_features, limit):
    """A file whose numbers are zeros but for some: it takes no room on the disk."""
    path = tmp_path / "X"
    X = np.memmap(path, np.float32, "w+", shape=(n_rows, n_features))
    X[:: n_rows // 50, 0] = 1
    X.flush()
    del X
    return float(run(fit_a_memory_map, str(path), n_rows, n_features, limit, timeout=1800))


linux = pytest.mark.skipif(
    not hasattr(resource, "RLIMIT_DATA"), reason="only Linux counts all anonymous memory"
)


@linux
def test_more_data_than_memory(tmp_path):
    """2 GiB of data, with a quarter of that for all else: the libraries, two buffers a thread."""
    memory_map(tmp_path, 2**19, 2**10, GIB // 2)


@linux
@pytest.mark.long
def test_eight_gib_of_data_in_one_gib_of_memory(tmp_path):
    memory_map(tmp_path, 2**23, 2**8, GIB)


def print_seconds_per_row(*numbers):
    """Of an epoch of ten, checking X, finding the labels and the shuffle included.

    For tables of all these numbers of rows, in turns: a machine that is shared is not as fast from
    one minute to the next.
    """
    warnings.simplefilter("ignore")
    rng = np.random.RandomState(0)
    X = rng.randn(max(numbers), 28).astype(np.float32)
    # With noise: where classes fall apart, errors become subnormal after some thousand updates, and
    # subnormal numbers are slow on many CPUs, however many rows there are.
    y = X[:, 0] + rng.randn(len(X)) > 0
    model = MLPBinaryClassifier((100, 100), batch_size=1000, random_state=0, tol=0.0)
    model.set_params(max_iter=1).fit(X[:1000], y[:1000])
    best = dict.fromkeys(numbers, np.inf)
    for _ in range(3):
        for n_rows in numbers:
            n_epochs = max(10, 1_000_000 // n_rows)
            model.set_params(max_iter=n_epochs, n_iter_no_change=n_epochs)
            started = time.perf_counter()
            model.fit(X[:n_rows], y[:n_rows])
            seconds = (time.perf_counter() - started) / (n_rows * n_epochs)
            best[n_rows] = min(best[n_rows], seconds)
    print(*best.values())


@pytest.mark.long
def test_time_per_row_is_flat_to_ten_million_rows():
    numbers = [10**4, 10**5, 10**6, 10**7]
    seconds = [float(s) for s in run(print_seconds_per_row, *numbers, timeout=1800).split()]
    assert max(seconds) < 1.15 * min(seconds), dict(zip(numbers, seconds, strict=True))


def test_read_only_and_mapped_input_compiles_nothing_anew(tmp_path, monkeypatch):
    """What joblib hands to its workers is another type to numba, but not another kernel."""
    import scipy.sparse

    from fastmlp.kernels import piece

    X, y = two_classes(100, 8)
    weight = np.linspace(1, 2, 100)
    warnings.simplefilter("ignore")
    model = MLPBinaryClassifier((3,), max_iter=2, random_state=0)
    expected = model.fit(X, y, weight).predict_proba(X)
    sparse = scipy.sparse.csr_array(X)
    of_sparse = model.fit(sparse, y, weight).predict_proba(sparse)
    monkeypatch.setattr(piece, "by_address", None)  # nothing is compiled from here on
    mapped = np.memmap(tmp_path / "X", np.float64, "w+", shape=X.shape)
    mapped[...] = X
    for array in (X, mapped, weight, sparse.data, sparse.indices, sparse.indptr):
        array.flags.writeable = False
    np.testing.assert_array_equal(model.fit(X, y, weight).predict_proba(X), expected)
    np.testing.assert_array_equal(model.fit(mapped, y, weight).predict_proba(mapped), expected)
    found = model.fit(sparse, y, weight).predict_proba(sparse)
    np.testing.assert_array_equal(found, of_sparse)
