"""Clusters within the process of the tests, and data on them."""

import contextlib
import gc
import warnings

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster


@contextlib.contextmanager
def cluster(n_workers=1, *, processes=False, threads=1, **settings):
    """A cluster on this machine, and its client."""
    with (
        LocalCluster(
            n_workers=n_workers, threads_per_worker=threads, processes=processes,
            dashboard_address=":0", **settings,
        ) as local,
        Client(local) as client,
    ):  # fmt: skip
        yield client
    with warnings.catch_warnings():
        # distributed leaves sockets to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def table(n=2000, n_features=6, seed=0, dtype=np.float32):
    """Rows, and labels that depend on them."""
    rng = np.random.RandomState(seed)
    X = rng.randn(n, n_features).astype(dtype)
    return X, X[:, 0] * X[:, 1] + 0.3 * rng.randn(n) > 0


def on_cluster(X, y, rows=250):
    """The same as Dask arrays."""
    return da.from_array(X, chunks=(rows, X.shape[1])), da.from_array(y, chunks=rows)


def quietly(function, *arguments, **keywords):
    """Call a function whose warnings about small shards or few epochs are no matter here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **keywords)
