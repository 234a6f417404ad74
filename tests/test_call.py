"""Calls: what they do, what an exception leaves, and how long their memory lives."""

import gc
import threading
import time
import weakref

import numpy as np
import pytest
from calls import call_of, compile_all, hold, interrupt_main_soon, is_inside, mark, wait_until

from fastmlp.runtime import call as call_module
from fastmlp.runtime.call import Call
from fastmlp.runtime.driver import CALL
from fastmlp.runtime.tasks import DONE, INSIDE, LEFT, STOPPED, stop


@pytest.fixture(autouse=True)
def compiled():
    compile_all()


@pytest.mark.parametrize("stoppable", [False, True])
@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
def test_a_call_that_ends_is_done(n_threads, stoppable):
    marks = np.zeros(40, np.int64)
    call = call_of(mark, marks, n_threads=n_threads, n_batches=4)
    assert call.all_units == 20
    call.run(stoppable=stoppable)
    np.testing.assert_array_equal(marks, 1)
    assert call.units_done == 20
    for _ in range(3):
        assert call.leave()
    assert call.control[LEFT] == call.control[INSIDE] >= 1


def test_rows_that_a_ragged_minibatch_does_not_have_are_left_out():
    marks = np.zeros(40, np.int64)
    call = call_of(mark, marks, n_batches=4)
    call._record[field("n_rows")] = 33
    call.run()
    np.testing.assert_array_equal(marks, np.arange(40) < 33)


def test_a_call_that_has_not_begun_is_left_at_once_and_never_begins():
    marks = np.zeros(10, np.int64)
    call = call_of(mark, marks)
    assert not call.leave()
    call.run()  # a thread that comes late
    np.testing.assert_array_equal(marks, 0)
    assert call.control[LEFT] == call.control[INSIDE] == 1
    assert not call.leave()


def held_call(n_threads=1, **options):
    """A call whose threads wait until marks[1] is set."""
    marks = np.zeros(3, np.int64)
    return call_of(hold, marks, n_threads=n_threads, n_units=1, n_batches=3, **options), marks


class InterruptedTime:
    """Stands for the module."""

    @staticmethod
    def sleep(seconds):
        raise KeyboardInterrupt


@pytest.mark.usefixtures("no_collections")
@pytest.mark.parametrize("n_threads", [1, 3])
def test_an_interrupt_leaves_a_stoppable_call_at_work(n_threads, monkeypatch):
    call, marks = held_call(n_threads)
    interrupter = interrupt_main_soon(lambda: marks[0] > 0)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        call.run(stoppable=True)
    assert time.monotonic() - started < 20
    interrupter.join(30)
    # `leave` waits for the thread in it, and can be interrupted itself.
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(call_module, "time", InterruptedTime)
            with pytest.raises(KeyboardInterrupt):
                call.leave()
        assert call.control[DONE] >= STOPPED
        assert marks.tolist() == [1, 0, 0]
    marks[1] = 1
    assert not call.leave()
    assert call.control[LEFT] == call.control[INSIDE]
    # One unit was begun, and no other after it.
    assert marks.tolist() == [1, 1, 1]
    time.sleep(0.01)
    assert marks.tolist() == [1, 1, 1]


class Memory:
    """Stands for buffers."""


@pytest.mark.usefixtures("no_collections")
def test_memory_lives_until_the_last_thread_has_left():
    memory = Memory()
    alive = weakref.ref(memory)
    call, marks = held_call(memory=memory)
    interrupter = interrupt_main_soon(lambda: marks[0] > 0)
    with pytest.raises(KeyboardInterrupt):
        call.run(stoppable=True)
    interrupter.join(30)
    stop(call.control)
    kept = call.control
    del call, memory
    gc.collect()
    assert alive() is not None
    marks[1] = 1
    wait_until(lambda: kept[LEFT] == 1)
    wait_until(lambda: gc.collect() >= 0 and alive() is None)


def test_a_call_that_nobody_is_in_keeps_nothing():
    memory = Memory()
    alive = weakref.ref(memory)
    call = call_of(mark, np.zeros(10, np.int64), memory=memory)
    call.run()
    del call, memory
    gc.collect()
    assert alive() is None


def field(name):
    """Position of a field of a call's record, all of whose fields are int64."""
    return CALL.names.index(name)


def test_the_numbers_of_minibatches_are_kept_alive():
    batches = np.arange(3)
    alive = weakref.ref(batches)
    call = Call(None, 1, batches, n_units=1)
    assert call._record[field("batches")] == batches.ctypes.data
    assert call._record[field("n_batches")] == 3
    del batches
    gc.collect()
    assert alive() is not None
    del call
    gc.collect()
    assert alive() is None


def test_a_thread_that_has_no_room_leaves_the_work_to_others():
    call, marks = held_call()
    call._record[field("slots")] = 1
    user = threading.Thread(target=call.run)
    user.start()
    wait_until(lambda: is_inside(call) and marks[0] > 0)
    call._run()  # the second, and there is one block of buffers
    assert marks[0] == 1
    marks[1] = 1
    user.join(30)
    assert marks.tolist() == [15, 1, 15]  # three minibatches of five blocks
    assert call.leave()


@pytest.mark.skipif(not hasattr(time, "CLOCK_THREAD_CPUTIME_ID"), reason="needs the clock")
def test_time_on_cores_is_that_of_all_threads():
    call, marks = held_call()
    user = threading.Thread(target=call.run)
    user.start()
    time.sleep(0.05)
    marks[1] = 1
    user.join(30)
    assert 0.01 < call.seconds_on_core < 5  # it spins, but for the time that others have the core
