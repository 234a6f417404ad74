"""Clusters of real processes, and what goes wrong on them."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
from data import two_classes
from distributed import Client, LocalCluster, WorkerPlugin

import fastmlp
from fastmlp.dask import DaskMLPBinaryClassifier, work
from fastmlp.dask.rounds import Rounds

_HERE = Path(__file__).parent
_PATH = [str(Path(fastmlp.__file__).parents[1]), str(_HERE), str(_HERE.parent)]

#: What a busy machine may take longer; FASTMLP_TEST_SLACK=0.1 measures an idle one.
SLACK = float(os.environ.get("FASTMLP_TEST_SLACK") or "3")

#: Of the training that all tests disturb: shards, epochs, rounds of an epoch.
N_SHARDS, N_EPOCHS, N_ROUNDS = 4, 4, 2

#: Warnings that are beside the point here.
FILTERS = [
    "ignore:A shard has",  # minibatches are few, so that epochs are short
    "ignore:Stochastic Optimizer",
    "ignore:lbfgs failed to converge",
    # Connections to processes that were killed are left to the garbage collector.
    "ignore:unclosed <socket.socket:ResourceWarning",
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning",
    # Of distributed, whose loop ends while a lost worker is still being asked.
    "ignore:coroutine 'PooledRPCCall.*send_recv_from_rpc' was never awaited:RuntimeWarning",
]


def estimator(**parameters):
    """A small network for four shards."""
    return DaskMLPBinaryClassifier(
        **{
            "hidden_layer_sizes": (16,), "batch_size": 50, "n_shards": N_SHARDS, "tol": 0.0,
            "max_iter": N_EPOCHS, "rounds_per_epoch": N_ROUNDS, "random_state": 0, **parameters,
        }
    )  # fmt: skip


def arrays(n_rows=4000, n_parts=8):
    """X and y as collections that Dask can make again."""
    X, y = two_classes(n_rows, 10)
    n = n_rows // n_parts
    return da.from_array(X, chunks=(n, 10)), da.from_array(y, chunks=n)


def bits(model):
    """Weights, losses and number of epochs of a model."""
    digest = hashlib.sha256()
    losses = getattr(model, "loss_curve_", model.loss_)  # L-BFGS has no curve
    for array in (*model.coefs_, *model.intercepts_, np.array(losses)):
        digest.update(array.tobytes())
    return model.n_iter_, digest.hexdigest()


@contextmanager
def local_cluster(n_workers=2, **options):
    """A cluster on this machine, of workers with one thread each."""
    with (
        # A killed worker may take longer to come back on a busy machine than it is waited for.
        dask.config.set({"distributed.deploy.lost-worker-timeout": "120s"}),
        LocalCluster(
            n_workers=n_workers, threads_per_worker=1, dashboard_address=":0", **options
        ) as cluster,
    ):
        yield cluster


@contextmanager
def client_of(n_workers=2, **options):
    """The client of a new cluster."""
    with local_cluster(n_workers, **options) as cluster, Client(cluster) as client:
        yield client


@contextmanager
def limit(seconds):
    """Fail the test if it takes longer than this on an idle machine, wherever it waits."""

    def ring(*_):
        pytest.fail(f"hangs: not done after {seconds} s and some")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds * (1 + SLACK))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def until(condition, seconds=10):
    """Wait for a condition; what it was at last."""
    latest = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < latest:
        time.sleep(0.05)
    return found


class Disturb(WorkerPlugin):
    """Makes trouble when workers call a function of `fastmlp.dask.work`, and counts the calls.

    Parameters
    ----------
    function : str
        Which one.
    folder : path
        Where calls are counted.
    kill_at : sequence of int
        Calls of all workers together in which a worker kills itself; each does once.
    sleep : float
        Most seconds of a random delay of each call.
    error : str
        What the call to fail fails with; empty for none.
    """

    def __init__(self, function, folder, kill_at=(), sleep=0.0, error=""):
        self.function, self.folder = function, str(folder)
        self.kill_at, self.sleep, self.error = kill_at, sleep, error
        self.name = f"disturb-{function}"

    def setup(self, worker):
        if not hasattr(work, "undisturbed"):
            work.undisturbed = {}
        original = work.undisturbed.setdefault(self.function, getattr(work, self.function))

        def disturbed(*arguments):
            count = self._count()
            for number in self.kill_at:
                if count >= number and self._first(number):
                    os.kill(os.getpid(), signal.SIGKILL)
            if self.error:
                raise ArithmeticError(self.error)
            time.sleep(random.uniform(0, self.sleep))
            return original(*arguments)

        setattr(work, self.function, disturbed)

    def teardown(self, worker):
        setattr(work, self.function, work.undisturbed[self.function])

    def _count(self):
        with open(Path(self.folder, self.function), "ab") as calls:
            calls.write(b".")
            calls.flush()
            return os.fstat(calls.fileno()).st_size

    def _first(self, number):
        try:
            Path(self.folder, f"{self.function}-{number}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


@contextmanager
def disturbed(client, function, folder, **trouble):
    """Make trouble on all workers, those that come included; gives a function that counts calls."""
    plugin = Disturb(function, folder, **trouble)
    client.register_plugin(plugin)
    try:
        yield lambda: Path(folder, function).stat().st_size
    finally:
        client.unregister_worker_plugin(plugin.name)


def kills(folder):
    """How often workers have killed themselves."""
    return len(list(Path(folder).glob("*-*")))


def pids(client):
    """Processes of the workers."""
    return list(client.run(os.getpid).values())


@contextmanager
def after_epoch(monkeypatch, number, action):
    """Do something in the client between two epochs, or after so many of them."""
    train_epoch, done = Rounds.train_epoch, []

    def and_then(self, rates):
        found = train_epoch(self, rates)
        done.append(found)
        if len(done) == number:
            action()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "train_epoch", and_then)
        yield done


@contextmanager
def in_epoch(monkeypatch, number, action, delay=0.1):
    """Do something in another thread, while the workers train."""
    train_epoch, begun = Rounds.train_epoch, []
    timer = threading.Timer(delay, action)

    def meanwhile(self, rates):
        begun.append(None)
        if len(begun) == number:
            timer.start()
        return train_epoch(self, rates)

    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "train_epoch", meanwhile)
        yield
    timer.join()


def _module(name, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{name}", *arguments, "--no-dashboard"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(_PATH)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@contextmanager
def ended(processes):
    """End processes at the end."""
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def lone_worker(address):
    """A worker that nobody starts again."""
    return _module("dask_worker", address, "--no-nanny", "--nthreads", "1")


def lone_scheduler(folder):
    """A scheduler in a process of its own, and its address."""
    file = Path(folder, "scheduler.json")
    process = _module("dask_scheduler", "--port", "0", "--scheduler-file", str(file))
    assert until(file.exists, 60)
    return process, str(file)


def nothing_left(client):
    """Whether the cluster has no task and no data."""
    return client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)) == 0


def run_program(function, *arguments):
    """Start a function of a test module in a new process."""
    module = Path(function.__code__.co_filename).stem
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"import sys; sys.path[:0] = {_PATH!r}; import {module}\n"
        f"if __name__ == '__main__': {module}.{function.__name__}(*{arguments!r})"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
