"""runtime.threads: work that another thread does, whatever becomes of it or of its caller."""

import _thread
import gc
import os
import threading
import time
import weakref

import pytest

from fastmlp.runtime import team, threads
from fastmlp.runtime.threads import Work, any_beside, is_apart


def refuse(*_):
    raise RuntimeError("can't start new thread")


def test_another_thread_does_it():
    work = Work(_thread.get_ident)
    work.begin()
    assert work.result() not in (0, _thread.get_ident())
    assert work.ended
    assert not any_beside()


@pytest.mark.parametrize("is_beside", [True, False])
def test_what_it_is_to_its_caller(is_beside):
    work = Work(lambda: (is_apart(), any_beside()), is_beside=is_beside)
    work.begin()
    assert work.result() == (not is_beside, is_beside)
    assert not is_apart()


def test_an_error_is_the_callers_and_keeps_nothing_alive():
    class Held:
        pass

    held = Held()
    gone = weakref.ref(held)

    def fail(held):
        raise OSError("no more rows")

    work = Work(lambda held=held: fail(held))
    work.begin()
    gc.disable()  # it goes by itself
    try:
        with pytest.raises(OSError, match="no more rows"):
            work.result()
        del held, work
        assert gone() is None
    finally:
        gc.enable()
    assert not any_beside()


def test_where_there_can_be_no_thread_its_caller_does_it(monkeypatch):
    monkeypatch.setattr(threads._thread, "start_new_thread", refuse)
    work = Work(_thread.get_ident)
    work.begin()
    assert work.result() == _thread.get_ident()
    assert not any_beside()


def test_an_error_of_a_signals_handler_is_not_taken_for_a_lack_of_threads(monkeypatch):
    def interrupted(*args):
        raise RuntimeError("too late")

    monkeypatch.setattr(threads._thread, "start_new_thread", interrupted)
    work = Work(int)
    with pytest.raises(RuntimeError, match="too late"):
        work.begin()
    work.leave()
    assert not any_beside()


def test_what_is_left_before_it_has_begun_never_does(monkeypatch):
    later, done = [], []
    monkeypatch.setattr(threads._thread, "start_new_thread", lambda run, _: later.append(run))
    work = Work(lambda: done.append(1))
    work.begin()
    assert any_beside()
    work.leave()
    assert not any_beside()
    later[0]()
    assert work.ended
    assert not done


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_none_of_them():
    begun, go = threading.Lock(), threading.Event()
    begun.acquire()
    work = Work(lambda: (begun.release(), go.wait(30)))
    work.begin()
    try:
        assert begun.acquire(timeout=30)
        child = os.fork()
        if child == 0:
            os._exit(int(any_beside()))
        assert os.waitpid(child, 0)[1] == 0
        assert any_beside()
    finally:
        go.set()
        work.leave()


def test_a_caller_who_does_it_and_is_interrupted_waits_for_nothing(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(threads._thread, "start_new_thread", refuse)
    monkeypatch.setattr(threads, "_forget_dummy", interrupted)  # ahead of the last lines
    work = Work(int)
    with pytest.raises(KeyboardInterrupt):
        work.begin()
    assert work.ended
    work.leave()
    assert not any_beside()


def test_leaving_waits_for_what_has_begun():
    begun, go, done = threading.Lock(), threading.Event(), []
    begun.acquire()

    def do():
        begun.release()
        assert go.wait(30)
        done.append(1)

    work = Work(do)
    work.begin()
    assert begun.acquire(timeout=30)
    threading.Timer(0.3, go.set).start()  # after more than one wait
    work.leave()
    work.leave()
    assert done == [1]


def test_a_wait_whose_lock_is_lost_ends_all_the_same():
    go = threading.Event()
    work = Work(lambda: go.wait(30))
    work.begin()
    work._at_work = threading.Lock()  # as after an exception between taking it and looking
    work._at_work.acquire()
    go.set()
    while not work.ended:
        work.wait()
    assert work.result()


def test_a_thread_that_has_asked_for_itself_is_forgotten():
    known = set(threading.enumerate())
    work = Work(threading.current_thread)
    work.begin()
    assert work.result() not in known
    deadline = time.monotonic() + 30
    while not set(threading.enumerate()) <= known:  # from Python 3.13 on, at its very end
        assert time.monotonic() < deadline


def test_nobody_enters_a_region_of_workqueue_beside_a_thread():
    assert team._nobody_else() == (threading.active_count() == 1)
    go = threading.Event()
    work = Work(lambda: go.wait(30))
    work.begin()
    try:
        assert not team._nobody_else()
    finally:
        go.set()
        work.leave()
