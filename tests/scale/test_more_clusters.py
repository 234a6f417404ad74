"""Training on clusters that change by themselves, that others use too, or whose talk is secret."""

import asyncio
import gc
import socket
import threading
import time
from contextlib import ExitStack, closing

import numpy as np
import pytest

pytest.importorskip("distributed")

from clusters import (
    FILTERS,
    N_SHARDS,
    after_epoch,
    arrays,
    bits,
    client_of,
    estimator,
    in_epoch,
    limit,
    local_cluster,
    nothing_left,
    run_program,
    until,
)
from distributed import Adaptive, Client, Scheduler, SpecCluster, Worker, get_worker, wait
from distributed.security import Security

from fastmlp.dask import cluster as clusters_of_package
from fastmlp.dask import work
from fastmlp.dask.cluster import Cluster, workers_of
from fastmlp.dask.rounds import Fleet, Rounds, ShardedLoss

pytestmark = [pytest.mark.filterwarnings(text) for text in FILTERS]


@pytest.fixture(scope="module")
def shared():
    """A cluster within this process."""
    with local_cluster(2, processes=False) as cluster:
        yield cluster


@pytest.fixture
def client(shared):
    """Of the cluster, on which nothing is left in the end."""
    with Client(shared) as client:
        yield client
        assert until(lambda: nothing_left(client)), "tasks are left on the cluster"


@pytest.fixture(scope="module")
def alone(shared):
    """The bits of fits with seeds 0 to 3, one after the other."""
    with Client(shared) as client:
        return [fitted(client, 150, random_state=seed) for seed in range(4)]


def fitted(client, seconds=30, **parameters):
    """The bits of a model that was trained in time."""
    with limit(seconds):
        return bits(estimator(client=client, **parameters).fit(*arrays()))


# -- workers of all kinds --------------------------------------------------------------------------
class Restless(Adaptive):
    """Has the number of workers change all the time."""

    turns = 0

    async def target(self):
        self.turns += 1
        return (1, 3, 2)[self.turns // 3 % 3]


def slow_rounds(monkeypatch, seconds):
    """Have each take a while; gives the workers that have done some."""
    train_round, seen = work.train_round, set()

    def slow(*arguments):
        seen.add(get_worker().address)
        time.sleep(seconds)
        return train_round(*arguments)

    monkeypatch.setattr(work, "train_round", slow)
    return seen


def test_the_number_of_workers_changes_by_itself(alone, monkeypatch):
    seen = slow_rounds(monkeypatch, 0.1)
    with local_cluster(1, processes=False) as cluster, Client(cluster) as client:
        cluster.adapt(Adaptive=Restless, minimum=1, maximum=3, interval="50 ms", wait_count=1)
        for _ in range(10):  # on a busy machine, a fit may be over before much has changed
            assert fitted(client, 60) == alone[0]
            if len(seen) > 3:  # some have gone, and others have come
                break
        assert until(lambda: nothing_left(client))
    assert len(seen) > 3


@pytest.mark.long
def test_the_number_of_workers_follows_the_work(alone):
    """As Dask decides, with processes that start and end."""

    def n_come():
        events = [event for _, event in client.get_events("all")]
        return sum(event["action"] == "add-worker" for event in events)

    with local_cluster(1) as cluster, Client(cluster) as client:
        client.run(slow_rounds_here)
        cluster.adapt(minimum=1, maximum=3, interval="100 ms", target_duration="100 ms")
        for _ in range(10):  # on a busy machine, a fit may be over before a process has started
            assert fitted(client, 60) == alone[0]
            if n_come() > 1:
                break
        assert n_come() > 1
        assert until(lambda: len(client.scheduler_info()["workers"]) == 1, 60)
        assert fitted(client, 60) == alone[0]


def slow_rounds_here():
    slow_rounds(pytest.MonkeyPatch(), 0.2)


@pytest.mark.parametrize("moment", [pytest.param(after_epoch, marks=pytest.mark.long), in_epoch])
def test_all_workers_go_and_others_come(alone, monkeypatch, moment):
    """What a worker that is gone was to do is taken up by one that was home to nothing."""
    with local_cluster(1, processes=False) as cluster, Client(cluster) as client:

        def replace():
            cluster.scale(0)
            assert until(lambda: not workers_of(client, 10))
            cluster.scale(1)

        slow_rounds(monkeypatch, 0.05)
        with moment(monkeypatch, 2, replace):
            assert fitted(client) == alone[0]


def free_ports(n):
    """Ports that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return sorted(each.getsockname()[1] for each in sockets)


@pytest.mark.parametrize("order", [pytest.param((2, 1, 0), marks=pytest.mark.long), (2, 0, 1)])
def test_names_and_ports_of_workers_do_not_matter(alone, order):
    ports = free_ports(3)
    host = {"host": "127.0.0.1", "protocol": "tcp"}
    workers = {
        f"worker-{name}": {"cls": Worker, "options": {**host, "nthreads": 1, "port": port}}
        for name, port in zip(order, ports, strict=True)
    }
    scheduler = {"cls": Scheduler, "options": {**host, "dashboard": False}}
    with SpecCluster(workers, scheduler) as cluster, Client(cluster) as client:
        client.wait_for_workers(3, timeout=30)
        known = client.scheduler_info()["workers"]
        assert [known[f"tcp://127.0.0.1:{port}"]["name"] for port in ports] == list(workers)
        assert fitted(client) == alone[0]


@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=pytest.mark.long)])
def test_encrypted_connections(alone, processes):
    pytest.importorskip("cryptography")
    secret = Security.temporary()
    with client_of(2, processes=processes, security=secret) as client:
        assert {w.partition(":")[0] for w in client.scheduler_info()["workers"]} == {"tls"}
        assert fitted(client) == alone[0]
        assert until(lambda: nothing_left(client))


# -- several clients, and many fits ----------------------------------------------------------------
def test_clients_that_fit_at_once(shared, alone):
    found = {}

    def fit(seed):
        with Client(shared, set_as_default=False) as client:
            ready.wait(30)
            found[seed] = bits(estimator(client=client, random_state=seed).fit(*arrays()))

    ready = threading.Barrier(4)
    threads = [threading.Thread(target=fit, args=(seed,), daemon=True) for seed in range(4)]
    with limit(60):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [found[seed] for seed in range(4)] == alone


def fit_in_process(address, seed):
    """Train three times, and print what came of it."""
    with Client(address) as client:
        print([fitted(client, 60, random_state=seed) for _ in range(3)])


@pytest.mark.long
def test_processes_that_fit_at_once(alone):
    with local_cluster(2) as cluster, Client(cluster) as client:
        programs = [run_program(fit_in_process, cluster.scheduler_address, k) for k in range(4)]
        with limit(120):
            for program, expected in zip(programs, alone, strict=True):
                output, errors = program.communicate()
                assert program.returncode == 0, errors
                assert output.strip() == repr([expected] * 3)
        assert until(lambda: nothing_left(client))


def sizes(client):
    """How much the scheduler, the workers and this process keep."""

    def of_scheduler(dask_scheduler):
        s = dask_scheduler
        return {
            "tasks": len(s.tasks), "groups": len(s.task_groups), "prefixes": len(s.task_prefixes),
            "unrunnable": len(s.unrunnable), "events": len(getattr(s, "events", ())),
            "clients": {name: len(c.wants_what) for name, c in s.clients.items()},
        }  # fmt: skip

    def of_worker(dask_worker):
        return len(dask_worker.data), len(dask_worker.state.tasks)

    gc.collect()
    mine = [o for o in gc.get_objects() if type(o) in (Cluster, Fleet, Rounds, ShardedLoss)]
    return {
        **client.run_on_scheduler(of_scheduler), "workers": sorted(client.run(of_worker).values()),
        "futures": len(client.futures), "counted": len(client.refcount),
        "objects": len(mine), "threads": threading.active_count(),
    }  # fmt: skip


def fits_without_growth(client, n_fits):
    """Assert that nothing but memory has grown after the first fits; the sizes of processes."""
    found, memory = [], []

    def of_process(dask_worker):
        return dask_worker.monitor.proc.memory_info().rss

    for k in range(n_fits):
        fitted(client, max_iter=1, solver="lbfgs" if k % 2 else "adam")
        if k in (3, n_fits - 1):
            assert until(lambda: nothing_left(client))
            found.append(sizes(client))
            memory.append(np.array([*client.run(of_process).values()]))
    assert found[0] == found[1]
    return memory


def test_fits_leave_nothing_behind(client):
    fits_without_growth(client, 8)


@pytest.mark.long
def test_fifty_fits_leave_nothing_behind():
    with local_cluster(2) as cluster, Client(cluster) as client:
        before, after = fits_without_growth(client, 50)
    assert (after - before).max() < 16 * 2**20


def test_a_failure_leaves_what_others_have(client, monkeypatch):
    """In the middle of an epoch, of which the client has let some tasks go that others need."""
    mine = client.submit(abs, -1, pure=False)
    wait(mine)
    slow_rounds(monkeypatch, 0.1)
    result = Cluster.result

    def fail_at_the_end_of_an_epoch(self, future):
        if future.key.startswith("mean-"):
            raise ArithmeticError("out of luck")
        return result(self, future)

    monkeypatch.setattr(Cluster, "result", fail_at_the_end_of_an_epoch)
    with pytest.raises(ArithmeticError, match="out of luck"):
        fitted(client)
    keys = {mine.key}
    assert until(
        lambda: client.run_on_scheduler(lambda dask_scheduler: {*dask_scheduler.tasks}) == keys
    )
    assert mine.status == "finished"
    assert client.gather(mine) == 1
    mine.release()


# -- waits and homes -------------------------------------------------------------------------------
@pytest.fixture
def transfer(client, monkeypatch):
    """Have results wait for others, and then take a while; gives a mark of both."""
    gather, begun = client._gather_remote, (threading.Event(), threading.Event())
    fetch = client.scheduler.gather

    async def late(*arguments):
        begun[0].set()
        await asyncio.sleep(0.3)
        return await gather(*arguments)

    async def slow(**arguments):
        begun[1].set()
        await asyncio.sleep(0.3)
        return await fetch(**arguments)

    monkeypatch.setattr(client, "_gather_remote", late)
    monkeypatch.setattr(client.scheduler, "gather", slow, raising=False)
    monkeypatch.setattr(clusters_of_package, "_WAIT_SECONDS", 0.02)
    return begun


@pytest.fixture
def results(client):
    """Two that are there."""
    futures = client.map(abs, [-1, -2], pure=False)
    wait(futures)
    yield futures
    client.cancel(futures)


def test_a_wait_cuts_no_transfer_short(client, transfer, results):
    """What another thread waits for comes by the same one."""
    found = []
    with Cluster(client, 1, 10) as cluster, limit(30):
        thread = threading.Thread(target=lambda: found.append(cluster.result(results[0])))
        thread.start()
        assert transfer[0].wait(10)
        assert client.gather(results[1]) == 2
        thread.join()
    assert found == [1]


def cut_short(client, future, begun):
    """Wait for a result, in another thread and not for long."""
    theirs = asyncio.run_coroutine_threadsafe(
        client.gather(future, asynchronous=True), client.loop.asyncio_loop
    )
    thread = threading.Thread(target=lambda: begun.wait(10) and theirs.cancel())
    thread.start()
    return thread


def test_a_transfer_that_others_cut_short(client, transfer, results):
    """It is asked for again."""
    thread = cut_short(client, results[1], transfer[1])
    assert transfer[0].wait(10)
    with Cluster(client, 1, 10) as cluster, limit(30):
        assert cluster.result(results[0]) == 1
    thread.join()
    assert transfer[1].is_set()


def test_a_client_that_brings_no_results_any_more(client, transfer, results):
    """As Dask's does, when a wait is cut short while it queues for a transfer."""
    cut_short(client, results[1], transfer[0]).join()
    with (
        Cluster(client, 1, 0.5) as cluster,
        limit(30),
        pytest.raises(RuntimeError, match="brings no results any more"),
    ):
        cluster.result(results[0])


@pytest.mark.parametrize(
    ("solver", "owner", "step"),
    [("adam", Rounds, "_train_epoch"), ("lbfgs", ShardedLoss, "loss_and_gradient")],
)
def test_shards_have_homes_among_the_workers_that_there_are(monkeypatch, solver, owner, step):
    """After one is lost and another comes, tasks are meant for those that there are then."""
    take_step, submit = getattr(owner, step), Client.submit
    asked, there = [set()], [set()]

    def submit_and_note(self, *arguments, workers, **options):
        asked[-1].update(workers)
        return submit(self, *arguments, workers=workers, **options)

    def step_and_lose_one(self, *arguments):
        asked.append(set())
        there.append(set(workers_of(client, 10)))
        found = take_step(self, *arguments)
        if len(asked) == 3:
            for n in (1, 2):
                cluster.scale(n)
                assert until(lambda n=n: len(workers_of(client, 10)) == n)
        return found

    monkeypatch.setattr(owner, step, step_and_lose_one)
    monkeypatch.setattr(Client, "submit", submit_and_note)
    with local_cluster(2, processes=False) as cluster, Client(cluster) as client:
        fitted(client, solver=solver)
    assert len(asked) > N_SHARDS
    assert there[2] != there[3]
    assert asked[1:] == there[1:]
