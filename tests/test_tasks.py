"""Threads that share a compiled call: each unit is done once, and phases follow each other."""

import re
import threading
from itertools import pairwise

import numba
import numpy as np
import pytest

from fastmlp.runtime.tasks import (
    CLAIM_SIZE,
    CLAIMED,
    DONE,
    INSIDE,
    LEFT,
    ON_CORE,
    claim,
    done,
    enter,
    finish,
    leave,
    new_control,
    stop,
    stopped,
    time_on_core,
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
def look_at(control):
    return stopped(control), done(control)


@numba.njit
def claim_one(control, unit, number):
    return claim(control, unit, number)


@numba.njit(nogil=True)
def work(control, phases, width, times_done, early, inside, sum_of_phase, busy):
    """`phases` phases of `width` units; a unit adds up what all units of the phase before wrote.

    A unit that starts before an earlier phase is done is counted in `early`.
    """
    came = time_on_core()
    thread = enter(control)
    inside[thread] += 1
    for phase in range(phases):
        for shift in range(width):
            unit = (thread + shift) % width
            if not claim(control, unit, phase):
                continue
            wait_for(control, phase * width)
            here = phase * width + unit
            for other in range(phase * width):
                if times_done[other] != 1:
                    early[here] += 1
            drawn = here
            for _ in range(busy * unit):  # units of one phase end at different times
                drawn = drawn * 1103515245 % 2147483647 + 12345
            total = 1 + min(drawn, 0)
            if phase > 0:
                for other in range((phase - 1) * width, phase * width):
                    total += sum_of_phase[other]
            sum_of_phase[here] = total % 1_000_003
            times_done[here] += 1
            finish(control)
    wait_for(control, phases * width)
    leave(control, came)


def run(n_threads, phases, width, busy=0):
    """Let threads do the work; returns what each unit and thread left behind."""
    control = new_control(width)
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
def test_every_unit_once_and_phases_in_order(n_threads, shape):
    phases, width = shape
    for busy in (0, 200):
        seen, times_done, early, inside, sums = run(n_threads, phases, width, busy)
        np.testing.assert_array_equal(seen, 1)
        np.testing.assert_array_equal(times_done, 1)
        np.testing.assert_array_equal(early, 0)
        np.testing.assert_array_equal(inside, np.arange(64) < n_threads)
        np.testing.assert_array_equal(sums, run(1, phases, width)[-1])


def test_a_thread_that_comes_late_finds_nothing_to_do():
    control = new_control(2)
    done = [np.zeros(6, np.int64) for _ in range(3)]
    arguments = (control.ctypes.data, 3, 2, done[0], done[1], np.zeros(64, np.int64), done[2], 0)
    work(*arguments)
    after = [array.copy() for array in done]
    for _ in range(5):
        work(*arguments)
    for array, kept in zip(done, after, strict=True):
        np.testing.assert_array_equal(array, kept)


@numba.njit
def enter_one(control):
    return enter(control)


@numba.njit
def leave_one(control, came):
    leave(control, came)


@pytest.mark.parametrize(
    ("function", "arguments", "instruction", "count"),
    [
        (claim_one, 3, "cmpxchg .* acq_rel acquire", 1),
        (finish_one, 1, "atomicrmw add .* acq_rel", 1),
        (enter_one, 1, "atomicrmw add .* acq_rel", 1),
        (leave_one, 2, "atomicrmw add .* acq_rel", 2),  # the time on a core, and the thread
        (look_at, 1, "load atomic .* acquire", 2),
        (wait_for_one, 1, "load atomic .* acquire", 1),
    ],
)
def test_counters_are_read_and_written_in_one_instruction(function, arguments, instruction, count):
    """Read off the code: threads that lose a count between reading and writing seldom meet."""
    signature = (numba.types.int64,) * arguments
    function.compile(signature)
    lines = function.inspect_llvm(signature).splitlines()
    assert sum(re.search(instruction, line) is not None for line in lines) >= count


def test_a_wait_outlasts_any_number_of_spins():
    control = new_control(1)
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


def test_counters_lie_in_cache_lines_of_their_own():
    places = sorted((DONE, INSIDE, LEFT, CLAIMED))
    assert all(b - a >= 8 for a, b in pairwise(places))
    assert LEFT < ON_CORE < CLAIMED  # written by who leaves, and then alone
    assert CLAIM_SIZE >= 8
    assert new_control(5).size == CLAIMED + 5 * CLAIM_SIZE


def test_a_unit_is_claimed_once_a_minibatch_and_in_their_order():
    control = new_control(3)
    address = control.ctypes.data
    for number in range(3):
        assert not claim_one(address, 1, number + 1)
        assert claim_one(address, 1, number)
        assert not claim_one(address, 1, number)
    assert claim_one(address, 0, 0)
    assert claim_one(address, 2, 0)
    assert control[CLAIMED::CLAIM_SIZE].tolist() == [1, 3, 1]


def test_what_is_stopped_waits_for_nothing():
    control = new_control(1)
    address = control.ctypes.data
    assert look_at(address) == (False, 0)
    finish_one(address)
    assert look_at(address) == (False, 1)
    stop(control)
    assert look_at(address)[0]
    wait_for_one(address)  # returns
    finish_one(address)  # as a thread does that had a unit
    assert look_at(address)[0]


def test_threads_that_leave_are_counted():
    control = new_control(2)
    arguments = (control.ctypes.data, 3, 2, *(np.zeros(6, np.int64) for _ in range(2)))
    for count in range(1, 4):
        work(*arguments, np.zeros(64, np.int64), np.zeros(6, np.int64), 0)
        assert control[INSIDE] == control[LEFT] == count
