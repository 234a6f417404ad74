"""Tasks that train: their worker's threads are for the tasks of the training meanwhile."""

# The modules below are optional, and the first line that needs them skips the file.
# ruff: noqa: E402

import threading

import numpy as np
import pytest

pytest.importorskip("distributed")
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{text}")
    for text in ("unclosed:ResourceWarning", "A shard has", "Stochastic Optimizer")
]

from contextlib import nullcontext

from distributed import get_client, wait, worker_client
from in_process import cluster, on_cluster, table

from fastmlp.dask import DaskMLPBinaryClassifier


def train(context, bad=False):
    """What comes of a training, or the message of the error that ends it."""
    X, y = table()
    model = DaskMLPBinaryClassifier(
        hidden_layer_sizes=(4,), max_iter=2, n_shards=3, random_state=0, rounds_per_epoch=2
    )
    with context():
        try:
            model.fit(*on_cluster(X * np.nan if bad else X, y))
        except ValueError as error:
            return str(error)
        return [array.tobytes() for array in model.coefs_]


@pytest.fixture(scope="module")
def client():
    """Of one worker with one thread, which a task that trains needs."""
    with cluster(1) as client:
        yield client


@pytest.mark.parametrize("context", [nullcontext, worker_client])
def test_a_task_leaves_its_thread(client, context):
    expected = train(nullcontext)
    futures = [client.submit(train, context, pure=False) for _ in range(2)]
    assert not wait(futures, timeout=60).not_done
    assert client.gather(futures) == [expected, expected]


@pytest.mark.parametrize("context", [nullcontext, worker_client])
def test_it_is_back_after_an_error(client, context):
    future = client.submit(train, context, bad=True, pure=False)
    assert "partition 0: Input X contains NaN" in future.result(timeout=60)
    # The thread takes up tasks as before, and one at a time.
    ran = client.map(lambda k: (k, threading.get_ident()), range(20), pure=False)
    assert not wait(ran, timeout=60).not_done
    assert len({thread for _, thread in client.gather(ran)}) == 1


def test_a_task_that_has_a_client_of_its_own(client):
    def by_its_client():
        X, y = table()
        model = DaskMLPBinaryClassifier(
            hidden_layer_sizes=(4,), max_iter=1, client=get_client(), n_shards=2
        )
        return model.fit(*on_cluster(X, y)).n_iter_

    assert client.submit(by_its_client, pure=False).result(timeout=60) == 1
