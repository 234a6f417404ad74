"""Threads that share a call: that all work is done, and what interrupts and forks leave."""

import _thread
import contextlib
import gc
import threading
import time
import weakref

import numba
import numpy as np
import pytest
from guards import survives
from numba.core.compiler_lock import global_compiler_lock
from numba.core.errors import WarningsFixer

from fastmlp import threads
from fastmlp.kernels.jit import kernel
from fastmlp.kernels.tasks import (
    CONTROL_SIZE,
    INSIDE,
    LEFT,
    PATIENCE,
    claim,
    enter,
    finish,
    leave,
    stopped,
    wait_for,
)


@kernel
def mark(control, marks):
    """Add 1 to each mark: a task each."""
    enter(control)
    while True:
        task = claim(control)
        if task >= marks.size:
            break
        marks[task] += 1
        finish(control)
    wait_for(control, marks.size)
    leave(control)


@kernel
def mark_until_stopped(control, marks):
    """Go on for ever, unless the call is stopped."""
    enter(control)
    while not stopped(control):
        marks[0] += 1
    leave(control)


def control():
    return np.zeros(CONTROL_SIZE, np.int64)


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def compiled():
    """Compile before a test counts time, interrupts or forks."""
    mark(control(), np.zeros(1, np.int64))
    stop = control()
    threads.stop(stop)
    mark_until_stopped(stop, np.zeros(1, np.int64))


@pytest.fixture
def no_helpers(monkeypatch):
    """As in a process that has not started any."""
    monkeypatch.setattr(threads, "_helpers", None)


# --- How many -------------------------------------------------------------------------------------


def test_number_of_threads():
    assert threads.available_threads(None) >= 1
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


def test_numbas_threads_are_not_started_to_ask_how_many_they_are(monkeypatch):
    monkeypatch.setattr(threads.parallel, "_is_initialized", False)
    monkeypatch.setattr(threads.numba, "get_num_threads", None)
    assert threads.available_threads(None) == numba.config.NUMBA_NUM_THREADS


def test_workers_of_a_pool_of_processes_have_one_each(monkeypatch):
    class Worker:
        daemon = True

    monkeypatch.setattr(threads.process, "current_process", Worker)
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    assert threads.available_threads(None) == 1
    assert threads.available_threads(3) == 3
    monkeypatch.setenv("NUMBA_NUM_THREADS", str(numba.config.NUMBA_NUM_THREADS))
    assert threads.available_threads(None) == numba.get_num_threads()


# --- The work is done -----------------------------------------------------------------------------


@pytest.mark.parametrize("stoppable", [False, True])
@pytest.mark.parametrize("n_threads", range(1, 9))
def test_the_work_is_done_once(n_threads, stoppable):
    for _ in range(20):
        marks = np.zeros(100, np.int64)
        threads.run_together(mark, n_threads, control(), marks, stoppable=stoppable)
        np.testing.assert_array_equal(marks, 1)


def test_all_threads_are_in_the_call_together(no_helpers):
    meeting, present = threading.Barrier(5, timeout=30), []

    def meet(control):
        meeting.wait()  # returns only when five are there
        present.append(threading.current_thread())

    threads.run_together(meet, 5, control())
    wait_until(lambda: len(present) == 5)
    assert len(set(present)) == 5


def test_one_thread_starts_no_other(monkeypatch, no_helpers):
    monkeypatch.setattr(threads, "ThreadPoolExecutor", None)
    marks = np.zeros(3, np.int64)
    threads.run_together(mark, 1, control(), marks)
    np.testing.assert_array_equal(marks, 1)


@pytest.mark.parametrize("stoppable", [False, True])
def test_where_no_thread_can_be_started_the_caller_does_all(monkeypatch, no_helpers, stoppable):
    def refuse(*args):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    marks = np.zeros(50, np.int64)
    for _ in range(3):
        marks[:] = 0
        threads.run_together(mark, 4, control(), marks, stoppable=stoppable)
        np.testing.assert_array_equal(marks, 1)


def test_helpers_that_are_busy_are_not_waited_for(no_helpers):
    release, held = threading.Event(), []

    def hold(control):
        if threading.current_thread() is not threading.main_thread():
            held.append(1)
            release.wait(30)

    threads.run_together(hold, 3, control())
    wait_until(lambda: len(held) == 2)
    marks = np.zeros(50, np.int64)
    alive = weakref.ref(marks)
    threads.run_together(mark, 3, control(), marks)
    np.testing.assert_array_equal(marks, 1)
    # Nor does the call wait in a queue, and keep its buffers alive.
    del marks
    gc.collect()
    assert alive() is None
    release.set()
    marks = np.zeros(50, np.int64)
    threads.run_together(mark, 3, control(), marks)
    np.testing.assert_array_equal(marks, 1)


def test_helpers_are_kept_and_their_number_grows(no_helpers):
    threads.run_together(mark, 2, control(), np.zeros(1, np.int64))
    first = threads._helpers
    threads.run_together(mark, 2, control(), np.zeros(1, np.int64))
    assert threads._helpers is first
    threads.run_together(mark, 4, control(), np.zeros(1, np.int64))
    assert threads._helpers.size == 3
    threads.run_together(mark, 2, control(), np.zeros(1, np.int64))
    assert threads._helpers.size == 3


def test_helpers_that_are_replaced_end(no_helpers):
    def helpers():
        return sum(thread.name.startswith("fastmlp_") for thread in threading.enumerate())

    before = helpers()
    for n_threads in range(2, 8):
        threads.run_together(mark, n_threads, control(), np.zeros(1, np.int64))
    gc.collect()
    wait_until(lambda: helpers() <= before + 6)


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


def test_an_error_in_the_call_is_raised():
    def fail(control):
        raise ZeroDivisionError

    for stoppable in (False, True):
        with pytest.raises(ZeroDivisionError):
            threads.run_together(fail, 1, control(), stoppable=stoppable)


# --- Interrupts -----------------------------------------------------------------------------------


class Interrupted:
    """The work, interrupted in the caller's first calls before or after they do it."""

    def __init__(self, after, times):
        self.after, self.times, self.caller = after, times, threading.get_ident()

    def __call__(self, control, marks):
        interrupt = threading.get_ident() == self.caller and self.times > 0
        self.times -= interrupt
        if interrupt and not self.after:
            raise KeyboardInterrupt
        mark(control, marks)
        if interrupt:
            raise KeyboardInterrupt


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("times", [1, 4])
def test_an_interrupt_leaves_the_work_done(n_threads, after, times):
    marks = np.zeros(50, np.int64)
    with pytest.raises(KeyboardInterrupt):
        threads.run_together(Interrupted(after, times), n_threads, control(), marks)
    np.testing.assert_array_equal(marks, 1)


def test_an_interrupt_while_helpers_are_called_leaves_the_work_done(monkeypatch):
    class InterruptedHelpers:
        size = 7

        def invite(self, work, count):
            raise KeyboardInterrupt

        def withdraw(self, call):
            pass

    monkeypatch.setattr(threads, "_helpers", InterruptedHelpers())
    marks = np.zeros(50, np.int64)
    with pytest.raises(KeyboardInterrupt):
        threads.run_together(mark, 3, control(), marks)
    np.testing.assert_array_equal(marks, 1)


def interrupt_main_soon(condition):
    """Interrupt the main thread once the condition holds."""

    def wait():
        wait_until(condition)
        _thread.interrupt_main()

    threading.Thread(target=wait).start()


@pytest.mark.parametrize("n_threads", [1, 3])
def test_an_interrupt_stops_what_is_stoppable(n_threads):
    shared, marks = control(), np.zeros(1, np.int64)
    interrupt_main_soon(lambda: shared[INSIDE] > 0)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        threads.run_together(mark_until_stopped, n_threads, shared, marks, stoppable=True)
    assert time.monotonic() - started < 20
    assert shared[LEFT] >= 1  # no thread writes when the interrupt goes on
    seen = marks[0]
    time.sleep(0.01)
    assert marks[0] == seen


def test_a_call_that_was_stopped_before_it_began_does_nothing():
    shared, marks = control(), np.zeros(5, np.int64)
    threads.stop(shared)
    threads.run_together(mark, 3, shared, marks)
    np.testing.assert_array_equal(marks, 0)


# --- Cores ----------------------------------------------------------------------------------------


def patience(n_threads):
    """What a call with so many threads is given."""
    shared, marks = control(), np.zeros(9, np.int64)
    threads.run_together(mark, n_threads, shared, marks)
    np.testing.assert_array_equal(marks, 1)
    return shared[PATIENCE]


def test_threads_are_patient_where_each_has_a_core(monkeypatch):
    monkeypatch.setattr(numba.config, "NUMBA_DEFAULT_NUM_THREADS", 4)
    assert patience(1) == 0  # there is nobody to wait for
    assert patience(4) == threads._PATIENCE
    assert patience(5) == 0
    with threads_of_another_call(2):
        assert patience(2) == threads._PATIENCE
        assert patience(3) == 0
    assert patience(4) == threads._PATIENCE


@contextlib.contextmanager
def threads_of_another_call(n_threads):
    """While another Python thread is within a call of so many threads."""
    stop = control()
    arguments = (mark_until_stopped, n_threads, stop, np.zeros(1, np.int64))
    other = threading.Thread(target=threads.run_together, args=arguments)
    other.start()
    wait_until(lambda: stop[INSIDE] > 0)
    yield
    threads.stop(stop)
    other.join(30)
    wait_until(lambda: not threads._threads_of_calls)


def test_a_call_that_fails_is_not_counted_on():
    with pytest.raises(ZeroDivisionError):
        threads.run_together(lambda control: 1 / 0, 2, control())
    assert not threads._threads_of_calls


def on_cores(monkeypatch, *numbers):
    """Have threads find themselves on these cores, one after another; lists what they leave."""
    numbers, left = iter(numbers), []
    monkeypatch.setattr(threads.cores, "current", lambda: next(numbers))
    monkeypatch.setattr(threads.cores, "leave", lambda cores: left.append(set(cores)))
    return left


def test_a_helper_leaves_the_core_of_another_thread(monkeypatch):
    left = on_cores(monkeypatch, 3, 3, 5, 7, 7, 5, 5)
    marks = np.zeros(9, np.int64)
    call = threads._Call(mark, control(), marks)
    call()
    assert left == []
    call.help()  # on core 3 as well, and then on 5
    assert left == [{3}]
    call.help()  # on core 7, which is free
    assert left == [{3}]
    call.help()  # on core 5, and stays there
    assert left == [{3}, {3, 5, 7}]
    np.testing.assert_array_equal(marks, 1)


def test_where_cores_are_not_known_the_work_is_done(monkeypatch):
    left = on_cores(monkeypatch, None, None, None)
    marks = np.zeros(9, np.int64)
    call = threads._Call(mark, control(), marks)
    call()
    call.help()
    assert left == []
    np.testing.assert_array_equal(marks, 1)


def test_the_work_is_finished_whatever_is_raised_before_it(monkeypatch):
    def fail():
        raise TimeoutError

    monkeypatch.setattr(threads.cores, "current", fail)
    marks = np.zeros(9, np.int64)
    with pytest.raises(TimeoutError):
        threads.run_together(mark, 2, control(), marks)
    np.testing.assert_array_equal(marks, 1)
    assert not threads._threads_of_calls


def test_a_call_is_forgotten_whatever_is_raised_after_it(monkeypatch, no_helpers):
    def fail(self, call):
        raise TimeoutError

    monkeypatch.setattr(threads._Helpers, "withdraw", fail)
    with pytest.raises(TimeoutError):
        threads.run_together(mark, 2, control(), np.zeros(9, np.int64))
    assert not threads._threads_of_calls


# --- Compiling ------------------------------------------------------------------------------------


class Compiler:
    """Stands for a compiled function, and notes what it is asked to compile."""

    def __init__(self, action=lambda: None):
        self.action, self.signatures, self.threads = action, [], []

    def compile(self, signature):
        self.threads.append(threading.current_thread())
        self.action()
        self.signatures.append(signature)


def test_compiled_once_in_another_thread():
    function = Compiler()
    for _ in range(3):
        threads.compile_for(function, (np.zeros(3), 1.5))
    assert function.signatures == [(numba.typeof(np.zeros(3)), numba.float64)]
    assert threading.main_thread() not in function.threads


def test_a_thread_that_hears_no_signals_compiles_itself():
    function = Compiler()
    user = threading.Thread(target=threads.compile_for, args=(function, (1,)))
    user.start()
    user.join(30)
    assert function.threads == [user]


def test_an_error_while_compiling_is_raised_and_compiling_tried_again():
    def fail():
        raise ZeroDivisionError

    function = Compiler(fail)
    catch_warnings = WarningsFixer.catch_warnings
    with pytest.raises(ZeroDivisionError):
        threads.compile_for(function, (1,))
    assert WarningsFixer.catch_warnings is catch_warnings
    function.action = lambda: None
    threads.compile_for(function, (1,))
    assert len(function.signatures) == 1


def test_an_interrupt_does_not_wait_for_the_compiler():
    begun, release = threading.Event(), threading.Event()

    def compile_slowly():
        begun.set()
        release.wait(30)

    function = Compiler(compile_slowly)
    interrupt_main_soon(begun.is_set)
    with pytest.raises(KeyboardInterrupt):
        threads.compile_for(function, (1,))
    assert function.signatures == []
    release.set()
    wait_until(lambda: len(function.signatures) == 1)  # it was not in vain


# --- Forks ----------------------------------------------------------------------------------------


def all_is_well():
    """In a forked process: threads of its own, and a compiler that can be used."""
    assert threads._helpers is None
    marks = np.zeros(100, np.int64)
    for _ in range(3):
        marks[:] = 0
        threads.run_together(mark, 3, control(), marks)
        np.testing.assert_array_equal(marks, 1)
    assert threads._helpers.size == 2
    assert global_compiler_lock._lock.acquire(timeout=5)


def test_a_forked_process_has_threads_of_its_own():
    threads.run_together(mark, 3, control(), np.zeros(1, np.int64))
    assert threads._helpers is not None
    assert survives(all_is_well)
    marks = np.zeros(50, np.int64)
    threads.run_together(mark, 3, control(), marks)
    np.testing.assert_array_equal(marks, 1)


def test_a_fork_waits_for_a_compilation_in_another_thread():
    begun = threading.Event()

    def compile_slowly():
        begun.set()
        time.sleep(0.2)

    def use():
        threads.compile_for(Compiler(compile_slowly), (1,))

    user = threading.Thread(target=use)
    user.start()
    assert begun.wait(30)
    assert survives(all_is_well)
    user.join(30)
    # and the parent may go on compiling
    function = Compiler()
    threads.compile_for(function, (1,))
    assert len(function.signatures) == 1
