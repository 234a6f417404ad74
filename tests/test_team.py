"""Threads that share a call in Numba's parallel loop, and where there must be one alone."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numba
import numpy as np
import pytest
from calls import call_of, compile_all, interrupt_main_soon, is_inside, mark_all, wait_until
from calls import hold as hold_piece
from guards import survives
from numba.core.compiler_lock import global_compiler_lock
from numba.np.ufunc import parallel
from sklearn.exceptions import ConvergenceWarning

import fastmlp
from fastmlp.kernels.piece import piece
from fastmlp.runtime import team
from fastmlp.runtime.compiling import compile_now
from fastmlp.runtime.numba_internals import threads_of_caller
from fastmlp.runtime.records import listed
from fastmlp.runtime.tasks import INSIDE

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(autouse=True)
def compiled():
    compile_all()


# --- How many -------------------------------------------------------------------------------------


def test_number_of_threads():
    assert team.available_threads(None) >= 1
    assert team.available_threads(1) == 1
    assert team.available_threads(5) == 5


@pytest.mark.parametrize(("n_threads", "expected"), [(-1, 4), (-2, 3), (-4, 1), (-5, 1), (-100, 1)])
def test_a_negative_number_counts_from_all_as_joblib_does(n_threads, expected):
    before = numba.get_num_threads()
    numba.set_num_threads(4)
    try:
        assert team.available_threads(n_threads) == expected
    finally:
        numba.set_num_threads(before)


@pytest.mark.parametrize("masked", [1, 2, 5])
def test_numbas_setting_is_followed_and_kept(masked):
    before = numba.get_num_threads()
    numba.set_num_threads(masked)
    try:
        assert team.available_threads(None) == masked
        for n_threads in (1, 3, 4):
            np.testing.assert_array_equal(mark_all(n_threads), 1)
            assert numba.get_num_threads() == masked
    finally:
        numba.set_num_threads(before)


def test_numbas_setting_is_kept_by_a_fit():
    X = np.random.RandomState(0).randn(600, 40)
    before = numba.get_num_threads()
    numba.set_num_threads(2)
    try:
        model = fastmlp.MLPBinaryClassifier((100,), batch_size=300, tol=0, max_iter=3, n_threads=3)
        with pytest.warns(UserWarning, match="Maximum iterations"):
            model.fit(X, X[:, 0] > 0)
        model.predict(X)
        assert numba.get_num_threads() == 2
    finally:
        numba.set_num_threads(before)


@piece()
def note_threads(record, at, first, rows, batch):
    """Note for the rows of a minibatch of 10 how many threads the region has."""
    threads = listed(record, 10 * batch + first, rows)
    for k in range(rows):
        threads[k] = threads_of_caller()


@pytest.mark.parametrize("masked", [1, 2, 5])
@pytest.mark.parametrize("n_threads", [2, 3, 5])
def test_a_call_takes_as_many_threads_as_it_is_given(masked, n_threads):
    before = numba.get_num_threads()
    numba.set_num_threads(masked)
    try:
        threads = np.zeros(10, np.int64)
        call_of(note_threads, threads, n_threads=n_threads).run()
        np.testing.assert_array_equal(threads, n_threads)
        assert numba.get_num_threads() == masked
    finally:
        numba.set_num_threads(before)


@pytest.mark.usefixtures("no_collections")
def test_numbas_setting_is_kept_where_a_call_is_interrupted():
    marks = np.zeros(3, np.int64)
    call = call_of(hold_piece, marks, n_threads=2, n_units=1)
    before = numba.get_num_threads()
    numba.set_num_threads(5)
    try:
        interrupter = interrupt_main_soon(lambda: call.control[INSIDE] == 2)
        with pytest.raises(KeyboardInterrupt):
            call.run(stoppable=True)
        interrupter.join(30)
        assert numba.get_num_threads() == 5  # while the call goes on
        marks[1] = 1
        call.leave()
        assert numba.get_num_threads() == 5
        np.testing.assert_array_equal(mark_all(2), 1)
        assert numba.get_num_threads() == 5
    finally:
        numba.set_num_threads(before)


@pytest.mark.parametrize("fails", [False, True])
def test_a_fit_takes_as_many_threads_as_it_is_given(monkeypatch, fails):
    share, shared = team._share, []

    def note(work, call, n_threads):
        shared.append(n_threads)
        share(work, call, n_threads)
        if fails:
            raise ZeroDivisionError

    monkeypatch.setattr(team, "_share", note)
    monkeypatch.setattr(team, "compile_apart", lambda *_: None)
    X = np.random.RandomState(0).randn(600, 40)
    model = fastmlp.MLPBinaryClassifier((100,), batch_size=300, tol=0, max_iter=3, n_threads=2)
    before = numba.get_num_threads()
    numba.set_num_threads(5)
    try:
        with pytest.raises(ZeroDivisionError) if fails else pytest.warns(ConvergenceWarning):
            model.fit(X, X[:, 0] > 0)
        assert set(shared) == {2}
        assert numba.get_num_threads() == 5
    finally:
        numba.set_num_threads(before)


def test_numbas_threads_are_not_started_to_ask_how_many_they_are(monkeypatch):
    monkeypatch.setattr(team, "layer_is_started", lambda: False)
    monkeypatch.setattr(team.numba, "get_num_threads", None)
    assert team.available_threads(None) == numba.config.NUMBA_NUM_THREADS


def test_workers_of_a_pool_of_processes_have_one_each(monkeypatch):
    class Worker:
        daemon = True

    monkeypatch.setattr(team.process, "current_process", Worker)
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    assert team.available_threads(None) == team.available_threads(-1) == 1
    assert team.available_threads(3) == 3
    monkeypatch.setenv("NUMBA_NUM_THREADS", "")
    assert team.available_threads(None) == 1
    monkeypatch.setenv("NUMBA_NUM_THREADS", str(numba.config.NUMBA_NUM_THREADS))
    assert team.available_threads(None) == numba.get_num_threads()


# --- The work is done -----------------------------------------------------------------------------


@pytest.mark.parametrize("stoppable", [False, True])
@pytest.mark.parametrize("n_threads", [*range(1, 9), 1000])
def test_the_work_is_done_once(n_threads, stoppable):
    for _ in range(20):
        np.testing.assert_array_equal(mark_all(n_threads, stoppable=stoppable), 1)


def test_several_threads_are_in_a_call_together():
    marks = np.zeros(3, np.int64)
    call = call_of(hold_piece, marks, n_threads=3, n_units=1)
    user = threading.Thread(target=call.run)
    user.start()
    # One holds the only unit, the others wait for it.
    wait_until(lambda: call.control[INSIDE] == 3)
    marks[1] = 1
    user.join(30)
    assert call.leave()


def test_one_thread_takes_no_parallel_region(monkeypatch):
    monkeypatch.setattr(team, "_share", None)
    np.testing.assert_array_equal(mark_all(1), 1)


@pytest.mark.parametrize("layer", ["omp", "tbb", "workqueue"])
def test_workqueue_is_entered_by_one_thread_at_a_time(monkeypatch, layer):
    shared = []

    class Share:
        def __call__(self, work, call, n_threads):
            shared.append(n_threads)
            assert team._one_at_a_time.locked() == (layer == "workqueue")
            team.ctypes.CFUNCTYPE(None, team.ctypes.c_int64)(work)(call)

    monkeypatch.setattr(team, "_share", Share())
    monkeypatch.setattr(team, "compile_apart", lambda *_: None)
    monkeypatch.setattr(team.numba, "threading_layer", lambda: layer)
    monkeypatch.setattr(team, "_nobody_else", lambda: True)
    np.testing.assert_array_equal(mark_all(3), 1)
    assert shared == [3]
    with team._one_at_a_time:  # another thread is in a region
        if layer == "workqueue":
            np.testing.assert_array_equal(mark_all(3), 1)
            assert shared == [3]
    assert not team._one_at_a_time.locked()


@pytest.mark.parametrize("layer", ["omp", "tbb", "workqueue"])
def test_beside_another_python_thread_workqueue_is_not_entered(monkeypatch, layer):
    shared = []

    class Share:
        def __call__(self, work, call, n_threads):
            shared.append(n_threads)
            team._WORK(work)(call)

    monkeypatch.setattr(team, "_share", Share())
    monkeypatch.setattr(team, "compile_apart", lambda *_: None)
    monkeypatch.setattr(team.numba, "threading_layer", lambda: layer)
    end = threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()
    try:
        np.testing.assert_array_equal(mark_all(3), 1)
    finally:
        end.set()
        other.join(30)
    assert shared == ([] if layer == "workqueue" else [3])


def test_a_thread_of_a_parallel_region_works_alone_under_workqueue(monkeypatch):
    monkeypatch.setattr(team, "_share", None)
    monkeypatch.setattr(team, "compile_apart", lambda *_: None)
    monkeypatch.setattr(team.numba, "threading_layer", lambda: "workqueue")

    class Alien(threading._DummyThread):
        def __init__(self):
            pass

    monkeypatch.setattr(team.threading, "current_thread", Alien)
    np.testing.assert_array_equal(mark_all(3), 1)


def test_many_python_threads_at_once():
    wrong = []

    def use():
        for _ in range(20):
            if not (mark_all(3, 20) == 1).all():
                wrong.append(1)

    users = [threading.Thread(target=use) for _ in range(8)]
    for user in users:
        user.start()
    for user in users:
        user.join(timeout=60)
        assert not user.is_alive()
    assert not wrong


def test_no_more_threads_than_numba_has_started(monkeypatch):
    # Under workqueue, a region of more would wait for ever.
    asked = []
    monkeypatch.setattr(team, "_share", lambda work, call, n_threads: asked.append(n_threads))
    monkeypatch.setattr(team, "compile_apart", lambda *_: None)
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 1000)
    mark_all(1000)
    assert asked == [parallel.NUM_THREADS]


# --- Forks ----------------------------------------------------------------------------------------


def all_is_well():
    """In a forked process: calls are done alone, and the compiler can be used."""
    for n_threads in (1, 3):
        for stoppable in (False, True):
            np.testing.assert_array_equal(mark_all(n_threads, stoppable=stoppable), 1)
    assert team._forked_from_parallel
    assert team.available_threads(None) == numba.config.NUMBA_NUM_THREADS
    compile_now(lambda: None)
    assert global_compiler_lock._lock.acquire(timeout=5)


@forks
def test_a_forked_process_works_alone():
    assert survives(all_is_well)
    assert survives(lambda: survives(all_is_well) or 1 / 0)
    assert not team._forked_from_parallel
    np.testing.assert_array_equal(mark_all(3), 1)


@forks
def test_a_fork_while_another_thread_is_in_a_call():
    marks = np.zeros(3, np.int64)
    call = call_of(hold_piece, marks, n_threads=2, n_units=1)
    user = threading.Thread(target=call.run)
    user.start()
    wait_until(lambda: is_inside(call))
    assert survives(all_is_well)
    marks[1] = 1
    user.join(30)
    np.testing.assert_array_equal(mark_all(3), 1)


@forks
def test_a_fork_while_another_thread_has_workqueue_to_itself(monkeypatch):
    monkeypatch.setattr(team.numba, "threading_layer", lambda: "workqueue")
    monkeypatch.setattr(team, "_nobody_else", lambda: True)
    held, release = threading.Event(), threading.Event()

    def hold_it():
        with team._one_at_a_time:
            held.set()
            release.wait(30)

    user = threading.Thread(target=hold_it)
    user.start()
    try:
        assert held.wait(30)
        assert survives(all_is_well)
    finally:
        release.set()
        user.join(30)


@forks
def test_a_fork_waits_for_a_compilation_in_another_thread():
    begun = threading.Event()

    def compile_slowly():
        begun.set()
        time.sleep(0.2)

    user = threading.Thread(target=compile_now, args=(compile_slowly,))
    user.start()
    assert begun.wait(30)
    assert survives(all_is_well)
    user.join(30)
    done = []
    compile_now(lambda: done.append(1))  # and the parent may go on compiling
    assert done == [1]


# --- In processes of their own --------------------------------------------------------------------


def run(code, **environment):
    """Run a program in a new process; returns what it printed."""
    places = (Path(fastmlp.__file__).parents[1], Path(__file__).parent)
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places)), **environment},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert result.returncode == 0, (result.returncode, result.stderr)
    return result.stdout.strip()


ONE_THREAD = """
import warnings
import numpy as np
from numba.np.ufunc import parallel
import fastmlp
assert not parallel._is_initialized
X = np.random.RandomState(0).randn(600, 40)
warnings.simplefilter("ignore")
for solver in ("adam", "lbfgs"):
    model = fastmlp.MLPBinaryClassifier((100,), solver=solver, max_iter=2, n_threads=1)
    model.fit(X, X[:, 0] > 0).predict_proba(X)
print(parallel._is_initialized)
model = fastmlp.MLPBinaryClassifier((100,), batch_size=600, max_iter=2, n_threads=2)
model.fit(X, X[:, 0] > 0)
print(parallel._is_initialized)
"""


def test_neither_import_nor_one_thread_start_numbas_threads():
    assert run(ONE_THREAD, NUMBA_NUM_THREADS="2").split() == ["False", "True"]


AT_ONCE = """
import threading
import numba
import numpy as np
from calls import mark_all

mark_all(4)
wrong = []

def use():
    for _ in range(100):
        if not (mark_all(4, 20) == 1).all():
            wrong.append(1)

users = [threading.Thread(target=use) for _ in range(4)]
for user in users:
    user.start()
for user in users:
    user.join()
print(numba.threading_layer(), len(wrong))
"""


@pytest.mark.parametrize("layer", ["workqueue", "omp"])
def test_python_threads_at_once_in_every_layer(layer):
    pytest.importorskip(f"numba.np.ufunc.{'omppool' if layer == 'omp' else layer}")
    assert run(AT_ONCE, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS="4").split() == [layer, "0"]
