"""Data that a user has sent to workers, and that are lost with one: the error names them."""

import os
import re
import signal
import sys

import numpy as np
import pytest

pytest.importorskip("distributed")
if sys.platform == "win32":
    pytest.skip("Windows has no such signals", allow_module_level=True)

import dask
import dask.array as da
import dask.dataframe as dd
import pandas as pd
from clusters import (
    FILTERS,
    after_epoch,
    client_of,
    estimator,
    limit,
    nothing_left,
    until,
)
from data import two_classes

from fastmlp.dask.collections import Partition, sources

pytestmark = [pytest.mark.filterwarnings(text) for text in FILTERS]

X, Y = two_classes(4000, 10)
PLACES = [slice(k, k + 500) for k in range(0, 4000, 500)]


@pytest.fixture(scope="module")
def shared():
    with client_of(2) as client:
        yield client


@pytest.fixture
def client(shared):
    shared.wait_for_workers(2, timeout=60)
    yield shared
    assert until(lambda: nothing_left(shared)), "tasks are left on the cluster"


def as_list(client):
    futures = client.scatter([(X[place], Y[place]) for place in PLACES], hash=False)
    return (futures,), futures


def as_delayed(client):
    (futures,), _ = as_list(client)
    return ([dask.delayed(tuple)(future) for future in futures],), futures


def as_arrays(client):
    sent = client.scatter([X[place] for place in PLACES], hash=False)
    rows = [da.from_delayed(future, (500, 10), X.dtype) for future in sent]
    return (da.concatenate(rows), da.from_array(Y, chunks=500)), sent


def as_frame(client):
    sent = client.scatter([pd.DataFrame(X[place]).assign(y=Y[place]) for place in PLACES])
    frame = dd.from_delayed(sent, meta=pd.DataFrame(X[:0]).assign(y=Y[:0]))
    return (frame.drop(columns="y"), frame["y"]), sent


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(as_list, marks=pytest.mark.long),
        pytest.param(as_delayed, marks=pytest.mark.long),
        as_arrays,
        pytest.param(as_frame, marks=pytest.mark.long),
    ],
)
def test_the_error_names_the_partitions(client, monkeypatch, kind):
    data, sent = kind(client)
    lost = []

    def kill():
        address, pid = next(iter(client.run(os.getpid).items()))
        holders = client.who_has(sent)
        lost[:] = [k for k, future in enumerate(sent) if {*holders[future.key]} == {address}]
        os.kill(pid, signal.SIGKILL)

    model = estimator(client=client)
    with (
        after_epoch(monkeypatch, 2, kill),
        limit(30),
        pytest.raises(RuntimeError, match="nobody can compute again") as error,
    ):
        model.fit(*data)
    assert 0 < len(lost) < 8
    assert [int(k) for k in re.findall(r"partition (\d)", str(error.value))] == lost
    assert 1 <= model.n_iter_ < model.max_iter
    assert np.isfinite(model.predict_proba(X)).all()
    client.cancel(sent)


def test_what_partitions_are_made_from(client):
    """Of tasks that Dask has put together, and of collections that share a graph."""
    for kind in (as_list, as_delayed, as_arrays, as_frame):
        data, sent = kind(client)
        parts = data[0]
        if not isinstance(parts, list):
            parts = list(np.ravel((parts + 1).to_delayed()))
        found = sources({k: Partition(part, None, None) for k, part in enumerate(parts)})
        keys = [future.key for future in sent]
        for k, own in found.items():
            assert [key for key in keys if key in own] == [keys[k]]
        client.cancel(sent)
    assert sources({"one": Partition(dask.delayed(1), Y, None)}).keys() == {"one"}
    both = sources({0: Partition(dask.delayed(X), dask.delayed(Y), None)})[0]
    assert len(both) >= 2
