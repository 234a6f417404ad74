"""What a cluster would do with more data than a machine has: an estimate from measured constants.

Two constants are measured here: the rows a second that one core trains on, and what a round of an
epoch costs beside its training, by workers (processes of this machine) and by the size of the
state. From these, the time of an epoch on a cluster is estimated::

    seconds = rows / (workers · cores · rows a second · efficiency) + rounds · cost of a round

    python -m benchmarks.scale                      # 10⁹ rows x 100, up to 200 workers
    python -m benchmarks.scale --rows 1e8 --cores 8
    python -m benchmarks.scale --speedup            # rows a second of one worker and of two

The cost of a round grows with the number of tasks, which pass through one scheduler, and with the
bytes of the state, which each worker receives and sends. Both slopes are fitted to rounds of shards
that have next to nothing to train on.
"""

import argparse
import itertools
import time
import warnings
from contextlib import contextmanager

import numpy as np

from .machine import describe

#: Share of the speed of its cores that a machine of many is taken to reach. Not measured here.
EFFICIENCY = 0.7

#: Bytes a second between two machines: 10 Gbit/s as Dask's communication in Python makes of it.
#: Not measured here: between processes of one machine there is no wire.
WIRE = 0.5e9

HIDDEN = (256, 256)


@contextmanager
def cluster(n_workers):
    """A cluster of so many processes of one thread, and its client."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=n_workers, threads_per_worker=1, dashboard_address=":0") as local,
        Client(local) as client,
    ):
        yield client


def rows_a_second(n_features, hidden=HIDDEN, batch_size=256, seconds=3.0):
    """Rows that one core trains on a second: the best of several epochs."""
    from fastmlp import MLPBinaryClassifier

    rng = np.random.default_rng(0)
    X = rng.standard_normal((20_000, n_features), dtype=np.float32)
    y = X[:, 0] * X[:, 1] > 0
    model = MLPBinaryClassifier(hidden, batch_size=batch_size, n_threads=1, random_state=0)
    model.partial_fit(X, y, classes=[False, True])
    best, ends = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < ends:
        started = time.perf_counter()
        model.partial_fit(X, y)
        best = min(best, time.perf_counter() - started)
    return len(X) / best


def seconds_of_a_round(client, hidden, n_features=100, n_shards=None):
    """What a round takes that has one minibatch a shard: the least of several epochs."""
    import dask.array as da

    from fastmlp.dask import DaskMLPBinaryClassifier

    n_shards = n_shards or len(client.scheduler_info()["workers"])
    X = da.random.default_rng(0).normal(size=(16 * n_shards, n_features), chunks=(16, n_features))
    X, times, rounds = X.astype(np.float32), [], 8

    def rate(share):
        times.append(time.perf_counter())
        return 1.0

    model = DaskMLPBinaryClassifier(
        hidden, n_shards=n_shards, rounds_per_epoch=rounds, batch_size=1, max_iter=6,
        learning_rate=rate, tol=0, client=client,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, X[:, 0] > 0)
    # The function is asked for each minibatch, all of an epoch at once.
    begins = [t for t, before in zip(times[1:], times, strict=False) if t - before > 0.01]
    return float(np.min(np.diff(begins))) / rounds


def state_bytes(hidden, n_features=100):
    """Bytes of weights and two moments in float32."""
    widths = (n_features, *hidden, 1)
    return 12 * sum((a + 1) * b for a, b in itertools.pairwise(widths))


def fit_costs(most_workers):
    """Seconds of a round by workers and size of the state, and (latency, a task, a byte)."""
    found = []
    for n_workers in range(1, most_workers + 1):
        with cluster(n_workers) as client:
            for n_shards in (n_workers, 4 * n_workers):
                for hidden in ((16,), HIDDEN, (1024, 1024)):
                    seconds = seconds_of_a_round(client, hidden, n_shards=n_shards)
                    found.append((n_workers, n_shards, state_bytes(hidden), seconds))
    table = np.array(found)
    # The cores of one machine are shared: bytes are copied one shard after the other.
    terms = np.stack([np.ones(len(table)), table[:, 1], table[:, 1] * table[:, 2]], axis=1)
    costs, *_ = np.linalg.lstsq(terms, table[:, 3], rcond=None)
    return found, np.maximum(costs, 0)


def estimate(rows, workers, cores, speed, costs, size, rounds):
    """Seconds of an epoch, and the share of them that is training."""
    latency, task, _ = costs
    training = rows / (workers * cores * speed * EFFICIENCY)
    # States are averaged in groups of 16, and travel there and back.
    levels = max(1, int(np.ceil(np.log(max(workers, 2)) / np.log(16))))
    one_round = levels * latency + workers * task + 2 * min(workers, 16) * levels * size / WIRE
    return training + rounds * one_round, training / (training + rounds * one_round)


def speedup(seconds, n_features, hidden, times=3):
    """Rows a second of two workers over those of one, at rounds of about so many seconds."""
    import dask.array as da

    from fastmlp.dask import DaskMLPBinaryClassifier

    speed = rows_a_second(n_features, hidden)
    rows = int(speed * seconds) // 1000 * 1000
    result = {}
    for n_workers in (1, 2) * times:
        with cluster(n_workers) as client:
            chunk = (rows // 4, n_features)
            X = da.random.default_rng(0).normal(size=(2 * rows, n_features), chunks=chunk)
            X, begins = X.astype(np.float32), []

            class Times:
                def __call__(self, share, begins=begins):
                    if not begins or time.perf_counter() - begins[-1] > 0.05:
                        begins.append(time.perf_counter())
                    return 1.0

            model = DaskMLPBinaryClassifier(
                hidden, n_shards=n_workers, rounds_per_epoch=1, batch_size=256, max_iter=5,
                learning_rate=Times(), tol=0, client=client,
            )  # fmt: skip
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.fit(X, X[:, 0] * X[:, 1] > 0)
            epoch = float(np.min(np.diff(begins[-5:])))
            result[n_workers] = max(result.get(n_workers, 0), 2 * rows / epoch)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=float, default=1e9)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--cores", type=int, default=16, help="of a worker")
    parser.add_argument("--measured-workers", type=int, default=2, help="processes to measure with")
    parser.add_argument("--speedup", action="store_true", help="one worker against two")
    options = parser.parse_args()
    about = describe()
    print(f"{about['machine']}\n{about['versions']}\n")
    if options.speedup:
        result = speedup(1.0, options.features, HIDDEN)
        print("workers  rows a second")
        for workers, rows in result.items():
            print(f"{workers:>7}  {rows:>13,.0f}")
        print(f"two over one: {result[2] / result[1]:.2f}")
        return
    speed = rows_a_second(options.features)
    print(f"One core trains on {speed:,.0f} rows a second ({options.features} features, {HIDDEN}).")
    found, costs = fit_costs(options.measured_workers)
    print("\nworkers  shards  state MiB  ms a round")
    for workers, shards, size, seconds in found:
        print(f"{workers:>7}  {shards:>6}  {size / 2**20:>9.2f}  {1000 * seconds:>10.0f}")
    latency, task, byte = costs
    print(
        f"\nA round costs {1000 * latency:.1f} ms, and {1000 * task:.2f} ms and "
        f"{1e9 * byte:.2f} ms a MB for each shard."
    )
    size = state_bytes(HIDDEN, options.features)
    print(
        f"\n{options.rows:.0e} rows x {options.features}, {options.cores} cores a worker, of which "
        f"{EFFICIENCY:.0%} is reached; {WIRE / 1e9:g} GB/s on the wire. Seconds of an epoch, and "
        "the share that is training:\n"
    )
    rounds = (1, 4, 16)
    print("workers" + "".join(f"  {f'{r} rounds':>16}" for r in rounds))
    for workers in (1, 10, 50, 100, 200):
        cells = []
        for r in rounds:
            seconds, share = estimate(options.rows, workers, options.cores, speed, costs, size, r)
            cells.append(f"{seconds:>10.1f} ({share:>3.0%})")
        print(f"{workers:>7}" + "".join(f"  {cell:>16}" for cell in cells))


if __name__ == "__main__":
    main()
