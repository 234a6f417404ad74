"""Train on a Dask cluster, lose a worker on the way, and come to the same model.

    python examples/dask_cluster.py
    python examples/dask_cluster.py --rows 2000000 --shards 4

Needs Dask, the extra `dask`. Two processes on this machine stand for a cluster of many; with
an address in place of it, ``Client("tcp://...")``, nothing else changes. The rows are made where
they are used: what each worker has could as well be read from a folder of Parquet files.

The second fit is that of the first, but for a worker that is killed in its second epoch. Dask reads
the lost rows again, and what the worker was doing is done again: the same bits come out.
"""

import argparse
import os
import signal
import time
import warnings

import numpy as np

try:
    import dask.array as da
    from distributed import Client, LocalCluster
except ImportError as error:
    message = "This example needs Dask: python -m pip install 'fastmlp[dask]'"
    raise SystemExit(message) from error

from fastmlp.dask import DaskMLPBinaryClassifier


def rows_on(n_rows, n_features=20, n_partitions=16):
    """Random rows, and labels that depend on the first columns."""
    chunks = (-(-n_rows // n_partitions), n_features)
    X = da.random.default_rng(0).normal(size=(n_rows, n_features), chunks=chunks)
    X = X.astype(np.float32)
    noise = da.random.default_rng(1).normal(size=n_rows, chunks=chunks[0])
    return X, X[:, 0] + X[:, 1] * X[:, 2] + 0.5 * noise > 0


class KillsOnce:
    """Rates of a constant schedule; when they are asked for the second time, a worker dies."""

    def __init__(self, client):
        pids = client.run(os.getpid)
        self.pid, self.epochs = next(iter(pids.values())), 0

    def __call__(self, share):
        """Be asked for the factor of a minibatch, of all in an epoch one after the other."""
        if share >= 0.4 and self.pid is not None:
            print(f"  killing the worker of process {self.pid}")
            os.kill(self.pid, signal.SIGKILL)
            self.pid = None
        return 1.0


def fit(client, X, y, shards, rate):
    """A model, and the seconds that it took."""
    model = DaskMLPBinaryClassifier(
        (64,), n_shards=shards, max_iter=5, batch_size=200, random_state=0, learning_rate=rate,
        client=client,
    )  # fmt: skip
    started = time.perf_counter()
    model.fit(X, y)
    return model, time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--shards", type=int, default=2)
    options = parser.parse_args()
    # Fewer rows than a cluster is for: the advice to take fewer shards is right, and no matter.
    warnings.filterwarnings("ignore", message="A shard has")
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        X, y = rows_on(options.rows)
        print(f"{options.rows:,} rows in {X.numblocks[0]} partitions, on two workers")
        model, seconds = fit(client, X, y, options.shards, lambda share: 1.0)
        print(f"Undisturbed: {seconds:.1f} s, loss {model.loss_:.6f}")
        again, seconds = fit(client, X, y, options.shards, KillsOnce(client))
        print(f"With a worker killed: {seconds:.1f} s, loss {again.loss_:.6f}")
        pairs = zip(model.coefs_, again.coefs_, strict=True)
        print(f"The same bits: {all(np.array_equal(a, b) for a, b in pairs)}")
        print(f"Accuracy, computed on the workers: {model.score(X, y):.3f}")
        local = model.to_local()
        print(f"A row in this process: {local.predict_proba(X[:1].compute())[0].round(3)}")


if __name__ == "__main__":
    main()
