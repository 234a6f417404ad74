"""Training on a cluster whose workers are slow, stop, are killed, go and come."""

import gc
import os
import signal
import sys
import threading
import time
import warnings

import numpy as np
import pytest

pytest.importorskip("distributed")
if sys.platform == "win32":
    pytest.skip("Windows has no such signals", allow_module_level=True)

import dask
import dask.array as da
from clusters import (
    FILTERS,
    N_EPOCHS,
    N_ROUNDS,
    N_SHARDS,
    SLACK,
    after_epoch,
    arrays,
    bits,
    client_of,
    disturbed,
    ended,
    estimator,
    in_epoch,
    kills,
    limit,
    local_cluster,
    lone_scheduler,
    lone_worker,
    nothing_left,
    pids,
    run_program,
    until,
)
from data import two_classes
from distributed import Client, wait, worker_client

from fastmlp.dask import loading

pytestmark = [pytest.mark.filterwarnings(text) for text in FILTERS]

#: Of the training that ends early, and of one that evaluates.
STOPPING = {"early_stopping": True, "max_iter": 12, "n_iter_no_change": 2, "tol": 0.01}

#: A function that workers call, and a call of it in the middle of training.
MOMENTS = {
    "pack": 5,
    "train_round": N_SHARDS * N_ROUNDS + 3,
    "average": N_ROUNDS + 2,
    "evaluate": N_SHARDS + 2,
}


@pytest.fixture(scope="module")
def undisturbed():
    """The bits of an undisturbed training in one thread, without and with early stopping."""
    with client_of(1, processes=False) as client, limit(150):  # may have to compile
        X, y = arrays()
        yield tuple(bits(estimator(client=client, **more).fit(X, y)) for more in ({}, STOPPING))


@pytest.fixture(scope="module")
def shared(undisturbed):
    """The client of two processes; who kills one waits until it is back."""
    with client_of(2) as client:
        yield client


@pytest.fixture
def client(shared):
    """As `shared`, with all workers there and nothing left of earlier tests."""
    cluster = shared.cluster

    def all_run():
        states = [nanny.status.name for nanny in cluster.workers.values()]
        return states == ["running"] * 2

    if not until(all_run, 20):
        # A nanny whose worker is killed before it has told of its start makes no other, and a
        # cluster whose worker does not come back in time forgets it.
        for n in (0, 2):
            cluster.scale(n)
            assert until(lambda n=n: len(cluster.workers) == n, 60)
    shared.wait_for_workers(2, timeout=60)
    assert until(lambda: nothing_left(shared))
    yield shared
    assert until(lambda: nothing_left(shared)), "tasks are left on the cluster"


def fitted(client, seconds=30, **parameters):
    """The bits of a model that was trained in time."""
    with limit(seconds):
        return bits(estimator(client=client, **parameters).fit(*arrays()))


def assert_newest_epoch(model):
    """What training came to before it failed is there, and can be used."""
    X, _ = two_classes(9, 10)
    assert 1 <= model.n_iter_ < model.max_iter
    assert len(model.loss_curve_) == model.n_iter_
    assert np.isfinite(model.predict_proba(X)).all()


def test_processes_twice_and_slow_rounds(client, undisturbed, tmp_path):
    assert [fitted(client), fitted(client)] == [undisturbed[0]] * 2
    with disturbed(client, "train_round", tmp_path, sleep=0.1) as calls:
        assert fitted(client) == undisturbed[0]
        assert calls() == N_EPOCHS * N_ROUNDS * N_SHARDS


@pytest.mark.long
@pytest.mark.parametrize("n_workers", [1, 2, 3])
@pytest.mark.parametrize("processes", [False, True])
def test_any_number_of_workers(undisturbed, n_workers, processes):
    with client_of(n_workers, processes=processes) as client:
        assert fitted(client) == undisturbed[0]
        assert fitted(client, **STOPPING) == undisturbed[1]


def test_early_stopping_stops_at_the_same_epoch(client, undisturbed):
    n_iter, _ = undisturbed[1]
    assert 2 < n_iter < STOPPING["max_iter"]
    assert fitted(client, **STOPPING) == undisturbed[1]


@pytest.mark.parametrize(
    "function",
    [
        "train_round",
        "evaluate",
        *(pytest.param(f, marks=pytest.mark.long) for f in ("pack", "average")),
    ],
)
def test_a_worker_is_killed(client, undisturbed, tmp_path, function):
    """Its process kills itself; a nanny starts another, with a new address."""
    more, expected = ({}, undisturbed[0]) if function != "evaluate" else (STOPPING, undisturbed[1])
    with disturbed(client, function, tmp_path, kill_at=[MOMENTS[function]]):
        assert fitted(client, **more) == expected
    assert kills(tmp_path) == 1


def test_a_kill_costs_an_epoch_at_most(client, undisturbed, tmp_path):
    last = N_EPOCHS * N_ROUNDS
    with (
        disturbed(client, "train_round", tmp_path) as rounds,
        disturbed(client, "average", tmp_path, kill_at=[last]),
    ):
        assert fitted(client) == undisturbed[0]
        undone = rounds() - N_EPOCHS * N_ROUNDS * N_SHARDS
    assert kills(tmp_path) == 1
    assert 0 <= undone <= N_ROUNDS * N_SHARDS


@pytest.mark.long
def test_workers_are_killed_again_and_again(client, undisturbed, tmp_path):
    n = N_ROUNDS * N_SHARDS
    with disturbed(client, "train_round", tmp_path, kill_at=[3, n + 4, 3 * n]) as rounds:
        assert fitted(client, 60) == undisturbed[0]
        assert rounds() <= (N_EPOCHS + 3) * n + 3
    assert kills(tmp_path) == 3


@pytest.mark.long
def test_a_task_that_ends_every_worker(client, tmp_path):
    model = estimator(client=client)
    with (
        disturbed(client, "evaluate", tmp_path, kill_at=range(1, 40)),
        limit(90),
        pytest.raises(RuntimeError, match="Workers have ended again and again"),
    ):
        model.set_params(early_stopping=True).fit(*arrays())
    assert not hasattr(model, "coefs_")


@pytest.mark.long
def test_a_worker_is_killed_between_epochs(client, undisturbed, monkeypatch):
    with after_epoch(monkeypatch, 2, lambda: os.kill(pids(client)[0], signal.SIGKILL)):
        assert fitted(client) == undisturbed[0]


@pytest.mark.long
@pytest.mark.parametrize("moment", [after_epoch, in_epoch])
def test_all_workers_are_killed(client, undisturbed, monkeypatch, moment):
    def kill():
        for pid in pids(client):
            os.kill(pid, signal.SIGKILL)

    with moment(monkeypatch, 2, kill):
        assert fitted(client, 60) == undisturbed[0]


@pytest.mark.long
@pytest.mark.parametrize("function", MOMENTS)
def test_the_cluster_shrinks(undisturbed, tmp_path, function):
    """Nobody starts the killed worker again."""
    more, expected = ({}, undisturbed[0]) if function != "evaluate" else (STOPPING, undisturbed[1])
    with client_of(0) as client, ended([lone_worker(client.scheduler.address) for _ in "ab"]):
        client.wait_for_workers(2, timeout=60)
        with disturbed(client, function, tmp_path, kill_at=[MOMENTS[function]]):
            assert fitted(client, **more) == expected
        assert kills(tmp_path) == 1
        assert len(client.scheduler_info()["workers"]) == 1


@pytest.mark.long
@pytest.mark.parametrize("others_come", [True, False])
@pytest.mark.parametrize("moment", [after_epoch, in_epoch])
def test_the_last_worker_is_killed(undisturbed, monkeypatch, moment, others_come):
    """Another takes its place, or none does."""
    X, y = arrays()
    with client_of(0) as client, ended([lone_worker(client.scheduler.address)]) as workers:
        client.wait_for_workers(1, timeout=60)
        model = estimator(client=client, worker_timeout=60 if others_come else 2)

        def kill():
            workers[0].kill()
            if others_come:
                workers.append(lone_worker(client.scheduler.address))

        with moment(monkeypatch, 2, kill), limit(60):
            if others_come:
                assert bits(model.fit(X, y)) == undisturbed[0]
            else:
                with pytest.raises(TimeoutError, match="no worker for 2 s"):
                    model.fit(X, y)
                assert_newest_epoch(model)
        assert until(lambda: nothing_left(client))


def test_no_worker_ever_comes():
    with client_of(0, processes=False) as client, limit(10):
        with pytest.raises(TimeoutError, match="no worker for"):
            estimator(client=client, worker_timeout=0.5).fit(*arrays())
        assert nothing_left(client)


@pytest.mark.long
def test_a_worker_stands_still_for_a_while(client, undisturbed, monkeypatch):
    pid = pids(client)[0]
    thaw = threading.Timer(3.0, os.kill, (pid, signal.SIGCONT))

    def freeze():
        os.kill(pid, signal.SIGSTOP)
        thaw.start()

    try:
        with in_epoch(monkeypatch, 2, freeze):
            assert fitted(client, 60) == undisturbed[0]
    finally:
        os.kill(pid, signal.SIGCONT)
    thaw.join()


@pytest.mark.long
@pytest.mark.parametrize("moment", [after_epoch, in_epoch])
def test_workers_go_and_come(undisturbed, monkeypatch, moment):
    """They are retired and scaled down and up while shards are trained."""
    with local_cluster(2) as cluster, Client(cluster) as client:

        def retire():
            client.retire_workers([next(iter(client.scheduler_info()["workers"]))])

        for action in (lambda: cluster.scale(3), retire, lambda: cluster.scale(1)):
            with moment(monkeypatch, 2, action):
                assert fitted(client, 60) == undisturbed[0]


@pytest.mark.parametrize("function", ["pack", "train_round"])
def test_an_error_surfaces_once(client, undisturbed, tmp_path, function):
    model = estimator(client=client)
    with (
        disturbed(client, function, tmp_path, error="out of luck"),
        limit(30),
        pytest.raises(ArithmeticError, match="out of luck"),
    ):
        model.fit(*arrays())
    assert not hasattr(model, "coefs_")
    assert fitted(client) == undisturbed[0]


def test_a_bad_partition_is_named(client, undisturbed):
    X, y = arrays()
    X = da.concatenate([X[:3500], X[3500:] * np.nan])
    with limit(30), pytest.raises(ValueError, match=r"partition 7: .*NaN"):
        estimator(client=client).fit(X, y)
    assert fitted(client) == undisturbed[0]


def test_lost_data_that_were_sent(client, monkeypatch):
    X, y = two_classes(4000, 10)
    parts = [(X[k : k + 500], y[k : k + 500]) for k in range(0, 4000, 500)]
    futures = client.scatter(parts, hash=False)
    model = estimator(client=client)
    with (
        after_epoch(monkeypatch, 2, lambda: os.kill(pids(client)[0], signal.SIGKILL)),
        limit(30),
        pytest.raises(RuntimeError, match="nobody can compute again"),
    ):
        model.fit(futures)
    assert_newest_epoch(model)
    client.cancel(futures)


def draw():
    """Rows that nobody can draw again."""
    return np.random.default_rng().normal(size=(500, 10))


def drawn():
    """Partitions of such rows."""
    return da.map_blocks(draw, chunks=((500,) * 8, (10,)), meta=np.empty((0, 0)))


def test_lost_rows_that_come_out_otherwise(client, monkeypatch):
    X = drawn()
    model = estimator(client=client)
    with (
        after_epoch(monkeypatch, 2, lambda: os.kill(pids(client)[0], signal.SIGKILL)),
        limit(30),
        pytest.raises(RuntimeError, match=r"partition \d has been computed again.* other rows"),
    ):
        model.fit(X, X[:, 0] > 0)
    assert_newest_epoch(model)


def test_lost_rows_of_dask_without_a_seed(client, monkeypatch):
    """Dask draws seeds ahead: they come out as they were."""
    X = da.random.normal(size=(4000, 10), chunks=(500, 10))
    models = [estimator(client=client) for _ in range(2)]
    with limit(60):
        models[0].fit(X, X[:, 0] > 0)
        with after_epoch(monkeypatch, 2, lambda: os.kill(pids(client)[0], signal.SIGKILL)):
            models[1].fit(X, X[:, 0] > 0)
    assert bits(models[0]) == bits(models[1])


def test_fits_at_once(client, undisturbed):
    X, y = arrays()
    models = [estimator(client=client) for _ in range(4)]
    threads = [threading.Thread(target=m.fit, args=(X, y), daemon=True) for m in models]
    key = "distributed.admin.large-graph-warning-threshold"
    before = dask.config.get(key)
    with limit(60):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [bits(model) for model in models] == [undisturbed[0]] * 4
    assert dask.config.get(key) == before


def fit_in_task():
    """Train where the task runs, on its cluster."""
    with worker_client(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return bits(estimator().fit(*arrays()))


def test_fit_in_a_task(client, undisturbed):
    with limit(60):
        assert client.submit(fit_in_task, pure=False).result() == undisturbed[0]


def be_interrupted(processes):
    """Train until an interrupt, and print what came of it."""
    gc.disable()  # see `no_collections`: distributed too has the collector call a function
    with client_of(2, processes=processes) as client:
        X, y = arrays()
        model = estimator(client=client, max_iter=10**6, n_iter_no_change=10**6)
        model.set_params(max_iter=2).fit(X, y)
        first = model.loss_curve_
        model.set_params(max_iter=10**6)
        pid, moments = os.getpid(), []
        with (
            warnings.catch_warnings(record=True) as said,
            after_epoch(pytest.MonkeyPatch(), 0, None) as epochs,
        ):

            def interrupt():
                assert until(lambda: len(epochs) > 2, 60)
                time.sleep(0.05)  # so as to meet an epoch
                moments.append(time.monotonic())
                os.kill(pid, signal.SIGINT)

            thread = threading.Thread(target=interrupt)
            thread.start()
            warnings.simplefilter("always")
            model.fit(X, y)
        seconds = time.monotonic() - moments[0]
        thread.join()
        assert "Training interrupted by user." in [str(w.message) for w in said]
        # The newest one, but for an epoch that ends in the moment of the interrupt.
        assert len(epochs) - model.n_iter_ in (0, 1)
        assert model.loss_curve_ == [loss for loss, _ in epochs[: model.n_iter_]]
        assert model.loss_curve_[:2] == first
        assert until(lambda: nothing_left(client))
        print("seconds", seconds)


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=pytest.mark.long)])
def test_interrupt(undisturbed, processes):
    process = run_program(be_interrupted, processes)
    with limit(60):
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    assert float(output.split()[-1]) < 2 * (1 + SLACK)


@pytest.mark.long
def test_the_scheduler_is_killed(undisturbed, tmp_path, monkeypatch):
    scheduler, file = lone_scheduler(tmp_path)
    with (
        ended([scheduler]) as processes,
        Client(scheduler_file=file, timeout=5) as client,
    ):
        processes += [lone_worker(client.scheduler.address) for _ in "ab"]
        client.wait_for_workers(2, timeout=60)
        model = estimator(client=client)
        with (
            in_epoch(monkeypatch, 2, scheduler.kill),
            limit(30),
            pytest.raises(RuntimeError, match="scheduler"),
        ):
            model.fit(*arrays())
        assert_newest_epoch(model)


def test_memory(client, monkeypatch):
    """While it trains, workers hold each row once; then only what they had before."""
    found = []
    X, y = (collection.persist() for collection in arrays())
    wait([X, y])
    mine = set(client.who_has())

    def look():
        found.append(client.who_has())

    with after_epoch(monkeypatch, 2, look), limit(30):
        estimator(client=client).fit(X, y)
    holders = [workers for key, workers in found[0].items() if "make_shard" in str(key)]
    assert [len(workers) for workers in holders] == [1] * N_SHARDS
    assert not any("pack" in str(key) for key, workers in found[0].items() if workers)
    assert until(lambda: set(client.who_has()) == mine)


@pytest.mark.long
def test_the_scheduler_forgets_epochs(client, monkeypatch):
    counts = []

    def count(dask_scheduler):
        return len(dask_scheduler.tasks)

    for number in (3, 30):
        with (
            after_epoch(monkeypatch, number, lambda: counts.append(client.run_on_scheduler(count))),
            limit(60),
        ):
            estimator(client=client, max_iter=30, n_iter_no_change=100).fit(*arrays())
    assert counts[1] <= counts[0] + N_SHARDS * (N_ROUNDS + 1)


def test_shards_that_are_too_large_are_refused(client, undisturbed, monkeypatch):
    monkeypatch.setattr(loading, "_SHARE_OF_MEMORY", 1e-5)
    with limit(30), pytest.raises(ValueError, match="more than half of its memory of"):
        estimator(client=client).fit(*arrays())
    monkeypatch.undo()
    assert fitted(client) == undisturbed[0]


@pytest.mark.long
def test_shards_that_need_more_than_half(undisturbed):
    X = da.random.default_rng(0).normal(size=(1_000_000, 60), chunks=(50_000, 60))
    with client_of(1, memory_limit="800 MiB") as client, limit(60):
        with pytest.raises(ValueError, match="459 MiB, more than half of its memory of 800 MiB"):
            estimator(client=client).fit(X, X[:, 0] > 0)
        assert until(lambda: nothing_left(client))


def test_paused_workers(undisturbed):
    """A worker that has no memory left takes no task."""
    X, y = arrays()

    def is_paused(dask_worker):
        return dask_worker.status.name == "paused"

    with client_of(1, memory_limit="30 MiB", processes=False) as client, limit(30):
        assert until(lambda: all(client.run(is_paused).values()))
        with pytest.raises(TimeoutError, match="only workers that are paused"):
            estimator(client=client, worker_timeout=1).fit(X, y)
        assert until(lambda: nothing_left(client))
