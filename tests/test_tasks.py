"""Threads that share a compiled call: each task is done once, and phases follow each other."""

import os
import threading
import time
from itertools import pairwise

import numba
import numpy as np
import pytest

from fastmlp.runtime.tasks import (
    CONTROL_SIZE,
    DONE,
    INSIDE,
    LEFT,
    NEXT,
    PATIENCE,
    STOPPED,
    claim,
    enter,
    finish,
    give_way,
    leave,
    new_control,
    patience,
    stop,
    stopped,
    wait_for,
)

# What only compiled code calls has no way in from Python; these are it. control : address


@numba.njit(nogil=True)
def finish_one(control):
    finish(control)


@numba.njit(nogil=True)
def wait_for_one(control):
    wait_for(control, 1)


@numba.njit
def give_way_from(began, on_core):
    return give_way(np.int64(began), np.int64(on_core))


@numba.njit
def look_at(control):
    return stopped(control), patience(control), claim(control)


@numba.njit(nogil=True)
def work(control, phases, width, times_done, early, inside, sum_of_phase, busy):
    """`phases` phases of `width` tasks; a task adds up what all tasks of the phase before wrote.

    A task that starts before an earlier phase is done is counted in `early`.
    """
    inside[enter(control)] += 1
    n_tasks = phases * width
    while True:
        task = claim(control)
        if task >= n_tasks:
            break
        phase = task // width
        wait_for(control, phase * width)
        for other in range(phase * width):
            if times_done[other] != 1:
                early[task] += 1
        drawn = task
        for _ in range(busy * (task % width)):  # tasks of one phase end at different times
            drawn = drawn * 1103515245 % 2147483647 + 12345
        total = 1 + min(drawn, 0)
        if phase > 0:
            for other in range((phase - 1) * width, phase * width):
                total += sum_of_phase[other]
        sum_of_phase[task] = total % 1_000_003
        times_done[task] += 1
        finish(control)
    wait_for(control, n_tasks)
    leave(control)


def run(n_threads, phases, width, busy=0):
    """Let threads do the work; returns what each task and thread left behind."""
    control = new_control()
    times_done, early, sums = (np.zeros(phases * width, np.int64) for _ in range(3))
    inside = np.zeros(64, np.int64)
    arguments = (control.ctypes.data, phases, width, times_done, early, inside, sums, busy)
    threads = [threading.Thread(target=work, args=arguments) for _ in range(n_threads - 1)]
    for thread in threads:
        thread.start()
    work(*arguments)
    seen = times_done.copy()  # the caller is back: all must be done, whoever did it
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    return seen, times_done, early, inside, sums


@pytest.mark.parametrize("n_threads", range(1, 9))
@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (200, 1), (100, 3), (40, 8)])
def test_every_task_once_and_phases_in_order(n_threads, shape):
    phases, width = shape
    for busy in (0, 200):
        seen, times_done, early, inside, sums = run(n_threads, phases, width, busy)
        np.testing.assert_array_equal(seen, 1)
        np.testing.assert_array_equal(times_done, 1)
        np.testing.assert_array_equal(early, 0)
        np.testing.assert_array_equal(inside, np.arange(64) < n_threads)
        np.testing.assert_array_equal(sums, run(1, phases, width)[-1])


def test_a_thread_that_comes_late_finds_nothing_to_do():
    control = new_control()
    done = [np.zeros(6, np.int64) for _ in range(3)]
    arguments = (control.ctypes.data, 3, 2, done[0], done[1], np.zeros(64, np.int64), done[2], 0)
    work(*arguments)
    after = [array.copy() for array in done]
    for _ in range(5):
        work(*arguments)
    for array, kept in zip(done, after, strict=True):
        np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize("nanoseconds", [0, 1_000_000])
def test_a_wait_outlasts_any_number_of_spins(nanoseconds):
    control = new_control()
    control[PATIENCE] = nanoseconds
    waited = threading.Event()

    def wait():
        wait_for_one(control.ctypes.data)
        waited.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not waited.wait(0.05)  # it gives up the interpreter and its time slice, and waits on
    finish_one(control.ctypes.data)
    assert waited.wait(30)
    thread.join()


def clocks():
    return np.array([time.monotonic_ns(), time.thread_time_ns()])


@pytest.mark.skipif(os.name != "posix", reason="needs the clocks of POSIX")
def test_a_slice_is_counted_on_the_clocks_of_this_thread():
    give_way_from(0, 0)  # compiled
    before = clocks()
    found = give_way_from(0, 0)
    after = clocks()
    assert (before <= found).all()
    assert (found <= after).all()
    assert give_way_from(*found) == found  # it has only begun


@pytest.mark.skipif(os.name != "posix", reason="needs the clocks of POSIX")
@pytest.mark.parametrize("milliseconds_on_core", [1, 10])
def test_a_slice_that_is_over_begins_anew(milliseconds_on_core):
    give_way_from(0, 0)
    now, on_core = clocks()
    began = now - 10_000_000
    found = give_way_from(began, on_core - 1_000_000 * milliseconds_on_core)
    assert (np.array(found) >= (now, on_core)).all()


def test_counters_lie_in_cache_lines_of_their_own():
    places = sorted((NEXT, DONE, INSIDE, LEFT))
    assert all(b - a >= 8 for a, b in pairwise(places))
    assert places[-1] < CONTROL_SIZE


def test_what_is_stopped_claims_and_waits_for_nothing():
    control = new_control()
    address = control.ctypes.data
    assert look_at(address) == (False, 0, 0)
    assert look_at(address) == (False, 0, 1)
    stop(control)
    is_stopped, _, task = look_at(address)
    assert is_stopped
    assert task >= STOPPED
    wait_for_one(address)  # returns
    finish_one(address)  # as a thread does that had a task
    assert look_at(address)[0]


def test_threads_that_leave_are_counted():
    control = new_control()
    arguments = (control.ctypes.data, 3, 2, *(np.zeros(6, np.int64) for _ in range(2)))
    for count in range(1, 4):
        work(*arguments, np.zeros(64, np.int64), np.zeros(6, np.int64), 0)
        assert control[INSIDE] == control[LEFT] == count
