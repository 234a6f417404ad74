"""Helper threads: how many are taken, that all work is done, and what an interrupt leaves."""

import gc
import threading
import time

import numba
import numpy as np
import pytest
from guards import survives

from fastmlp import threads
from fastmlp.kernels.jit import kernel
from fastmlp.kernels.tasks import CONTROL_SIZE, claim, finish, wait_for


@kernel
def mark(control, marks):
    while True:
        task = claim(control)
        if task >= marks.size:
            break
        marks[task] += 1
        finish(control)
    wait_for(control, marks.size)


def control():
    return np.zeros(CONTROL_SIZE, np.int64)


def test_number_of_threads():
    assert threads.available_threads(None) == numba.get_num_threads()
    assert threads.available_threads(1) == 1
    assert threads.available_threads(5) == 5


def test_numbas_setting_is_followed_and_kept():
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        assert threads.available_threads(None) == 1
        threads.run_together(mark, 4, control(), np.zeros(9, np.int64))
        assert numba.get_num_threads() == 1
    finally:
        numba.set_num_threads(before)


@pytest.mark.parametrize("n_threads", range(1, 9))
def test_the_work_is_done_once(n_threads):
    for _ in range(20):
        marks = np.zeros(100, np.int64)
        threads.run_together(mark, n_threads, control(), marks)
        np.testing.assert_array_equal(marks, 1)


def test_all_threads_are_in_the_call_together():
    meeting = threading.Barrier(5, timeout=30)
    names = set()

    def meet():
        meeting.wait()  # returns only when five are there
        names.add(threading.current_thread().name)

    threads.run_together(meet, 5)
    deadline = time.monotonic() + 30
    while len(names) < 5 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(names) == 5


def test_one_thread_starts_no_other(monkeypatch):
    monkeypatch.setattr(threads, "ThreadPoolExecutor", None)
    monkeypatch.setattr(threads, "_pool", None)
    marks = np.zeros(3, np.int64)
    threads.run_together(mark, 1, control(), marks)
    np.testing.assert_array_equal(marks, 1)


@pytest.mark.parametrize("moment", ["start", "submit"])
def test_without_helpers_the_caller_does_all(monkeypatch, moment):
    class NoThreads:
        def __init__(self, *args, **kwargs):
            if moment == "start":
                raise RuntimeError("can't start new thread")

        def submit(self, *args):
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(threads, "ThreadPoolExecutor", NoThreads)
    monkeypatch.setattr(threads, "_pool", None)
    marks = np.zeros(50, np.int64)
    threads.run_together(mark, 4, control(), marks)
    np.testing.assert_array_equal(marks, 1)


def test_helpers_that_never_come_are_not_missed(monkeypatch):
    class Lazy:
        def submit(self, *args):
            pass

    monkeypatch.setattr(threads, "_pool", Lazy())
    monkeypatch.setattr(threads, "_pool_size", 7)
    marks = np.zeros(50, np.int64)
    threads.run_together(mark, 8, control(), marks)
    np.testing.assert_array_equal(marks, 1)


def test_the_pool_is_kept_and_grows(monkeypatch):
    monkeypatch.setattr(threads, "_pool", None)
    monkeypatch.setattr(threads, "_pool_size", 0)
    threads.run_together(mark, 2, control(), np.zeros(1, np.int64))
    first = threads._pool
    threads.run_together(mark, 2, control(), np.zeros(1, np.int64))
    assert threads._pool is first
    threads.run_together(mark, 4, control(), np.zeros(1, np.int64))
    assert threads._pool is not first
    assert threads._pool_size == 3
    threads.run_together(mark, 2, control(), np.zeros(1, np.int64))
    assert threads._pool_size == 3


class Interrupted:
    """A call that raises `error` before, or after, the work of its first caller."""

    def __init__(self, after):
        self.after, self.calls, self.main = after, 0, threading.get_ident()

    def __call__(self, control, marks):
        self.calls += threading.get_ident() == self.main
        first = self.calls == 1 and threading.get_ident() == self.main
        if first and not self.after:
            raise KeyboardInterrupt
        mark(control, marks)
        if first:
            raise KeyboardInterrupt


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("after", [False, True])
def test_an_interrupt_leaves_the_work_done(n_threads, after):
    marks = np.zeros(50, np.int64)
    with pytest.raises(KeyboardInterrupt):
        threads.run_together(Interrupted(after), n_threads, control(), marks)
    np.testing.assert_array_equal(marks, 1)


def test_an_interrupt_while_helpers_are_called_leaves_the_work_done(monkeypatch):
    class InterruptedPool:
        def submit(self, function, *args):
            raise KeyboardInterrupt

    monkeypatch.setattr(threads, "_pool", InterruptedPool())
    monkeypatch.setattr(threads, "_pool_size", 7)
    marks = np.zeros(50, np.int64)
    with pytest.raises(KeyboardInterrupt):
        threads.run_together(mark, 3, control(), marks)
    np.testing.assert_array_equal(marks, 1)


def test_many_python_threads_at_once():
    all_marks = [np.zeros(200, np.int64) for _ in range(8)]

    def use(marks):
        for _ in range(20):
            marks[:] = 0
            threads.run_together(mark, 3, control(), marks)
            if not (marks == 1).all():
                return

    users = [threading.Thread(target=use, args=(marks,)) for marks in all_marks]
    for user in users:
        user.start()
    for user in users:
        user.join(timeout=60)
        assert not user.is_alive()
    np.testing.assert_array_equal(all_marks, 1)


def test_a_forked_process_has_threads_of_its_own():
    threads.run_together(mark, 3, control(), np.zeros(1, np.int64))
    assert threads._pool is not None

    def child():
        assert threads._pool is None
        marks = np.zeros(100, np.int64)
        for _ in range(3):
            marks[:] = 0
            threads.run_together(mark, 3, control(), marks)
            np.testing.assert_array_equal(marks, 1)
        assert threads._pool_size == 2

    assert survives(child)


def test_a_pool_that_is_replaced_ends_its_threads(monkeypatch):
    def count():
        return sum(t.name.startswith("fastmlp") for t in threading.enumerate())

    for n_threads in range(2, 12):
        threads.run_together(mark, n_threads, control(), np.zeros(1, np.int64))
    gc.collect()
    deadline = time.monotonic() + 30
    while count() > threads._pool_size and time.monotonic() < deadline:
        time.sleep(0.01)
    assert count() <= threads._pool_size
