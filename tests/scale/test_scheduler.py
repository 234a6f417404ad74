"""A scheduler that lives and stands still: nothing is closed, and nothing answers."""

import signal
import sys
import threading

import numpy as np
import pytest

pytest.importorskip("distributed")
if sys.platform == "win32":
    pytest.skip("Windows has no such signals", allow_module_level=True)

from contextlib import contextmanager

from clusters import (
    FILTERS,
    after_epoch,
    arrays,
    bits,
    ended,
    estimator,
    in_epoch,
    limit,
    lone_scheduler,
    lone_worker,
    nothing_left,
    until,
)
from distributed import Client

from fastmlp.dask import cluster as module

pytestmark = [pytest.mark.long, *(pytest.mark.filterwarnings(text) for text in FILTERS)]

EARLY_STOPPING = {"early_stopping": True, "scoring": "roc_auc"}


@contextmanager
def cluster(folder):
    """The client of two workers, and the process of their scheduler, which goes on at the end."""
    scheduler, file = lone_scheduler(folder)
    with ended([scheduler]) as processes, Client(scheduler_file=file, timeout=30) as client:
        processes += [lone_worker(client.scheduler.address) for _ in "ab"]
        client.wait_for_workers(2, timeout=60)
        try:
            yield client, scheduler
        finally:
            scheduler.send_signal(signal.SIGCONT)


@pytest.fixture
def short(monkeypatch):
    """Scheduler and workers have two seconds."""
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 2.0)
    return {"worker_timeout": 2}


@pytest.mark.parametrize("moment", [after_epoch, in_epoch])
@pytest.mark.parametrize("settings", [{}, EARLY_STOPPING])
def test_it_stands_still_for_good(tmp_path, monkeypatch, short, moment, settings):
    X, y = arrays()
    with cluster(tmp_path) as (client, scheduler), limit(60):
        whole = bits(estimator(client=client, **settings).fit(X, y))
        model = estimator(client=client, **short, **settings)
        with (
            moment(monkeypatch, 2, lambda: scheduler.send_signal(signal.SIGSTOP)),
            pytest.raises(TimeoutError, match="Dask scheduler has not answered for 2 s"),
        ):
            model.fit(X, y)
        assert 1 <= model.n_iter_ < model.max_iter
        assert len(model.loss_curve_) == model.n_iter_
        assert np.isfinite(model.predict_proba(np.zeros((2, 10)))).all()
        scheduler.send_signal(signal.SIGCONT)
        assert until(lambda: nothing_left(client))
        assert bits(estimator(client=client, **settings).fit(X, y)) == whole


def test_it_stands_still_before(tmp_path, short):
    with cluster(tmp_path) as (client, scheduler), limit(30):
        scheduler.send_signal(signal.SIGSTOP)
        model = estimator(client=client, **short)
        with pytest.raises(TimeoutError, match="Dask scheduler has not answered for 2 s"):
            model.fit(*arrays())
        assert not hasattr(model, "coefs_")


def test_it_stands_still_for_a_while(tmp_path, monkeypatch):
    X, y = arrays()
    with cluster(tmp_path) as (client, scheduler), limit(60):
        whole = bits(estimator(client=client).fit(X, y))
        thaw = threading.Timer(3.0, scheduler.send_signal, [signal.SIGCONT])

        def freeze():
            scheduler.send_signal(signal.SIGSTOP)
            thaw.start()

        with in_epoch(monkeypatch, 2, freeze):
            assert bits(estimator(client=client).fit(X, y)) == whole
        thaw.join()
