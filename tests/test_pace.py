"""How many minibatches and threads the next compiled call takes."""

import pytest

from fastmlp.pace import Pace


def _train(pace, seconds_of, minibatches):
    """Run calls whose minibatches take seconds_of(threads); return the threads of each call."""
    threads_of_calls = []
    while minibatches > 0:
        threads, longest = pace.next_call()
        count = min(longest, minibatches)
        pace.record(count, count * seconds_of(threads))
        threads_of_calls += [(threads, count)]
        minibatches -= count
    return threads_of_calls


def test_calls_grow_to_a_fifth_of_a_second_and_no_further():
    calls = _train(Pace(1), lambda threads: 1e-3, 5000)
    counts = [count for _, count in calls]
    assert counts[0] == 1
    assert 150 <= max(counts) <= 200


def test_a_minibatch_that_takes_long_is_a_call_of_its_own():
    assert {count for _, count in _train(Pace(2), lambda threads: 3.0, 6)} == {1}


@pytest.mark.parametrize("most_threads", [2, 3, 8])
def test_threads_that_help_stay(most_threads):
    calls = _train(Pace(most_threads), lambda threads: 1e-3 / threads, 40_000)
    trials = sum(count for threads, count in calls if threads != most_threads)
    assert 0 < trials < 0.05 * 40_000


@pytest.mark.parametrize("most_threads", [2, 3, 8])
def test_threads_that_hinder_go(most_threads):
    pace = Pace(most_threads)
    _train(pace, lambda threads: 1e-3 * threads, 10_000)
    assert pace.threads == 1


def test_threads_come_back_when_the_machine_is_free_again():
    pace = Pace(4)
    _train(pace, lambda threads: 1e-3 * threads, 10_000)
    _train(pace, lambda threads: 1e-3 / threads, 10_000)
    assert pace.threads == 4


def test_one_thread_is_never_more():
    assert {threads for threads, _ in _train(Pace(1), lambda threads: 1e-3, 5000)} == {1}


def test_one_call_that_is_held_up_changes_nothing():
    pace = Pace(2)
    _train(pace, lambda threads: 1e-3 / threads, 200)
    _, longest = pace.next_call()
    pace.record(longest, 10.0)
    _train(pace, lambda threads: 1e-3 / threads, 1000)
    assert pace.threads == 2


def test_a_slow_first_call_changes_nothing():
    pace = Pace(2)
    pace.record(1, 0.24)
    _train(pace, lambda threads: 4e-3 / threads, 100)
    assert pace.threads == 2


def test_short_minibatches_that_threads_hold_up_go_on_with_one_soon():
    pace = Pace(2)
    _train(pace, lambda threads: 20e-6 if threads == 1 else 65e-6, 150)
    assert pace.threads == 1


def test_trials_of_short_minibatches_become_rare():
    calls = _train(Pace(2), lambda threads: 40e-6 / threads, 100_000)
    trials = [count for threads, count in calls if threads == 1]
    assert 5 < len(trials) < 20
    assert sum(trials) * 40e-6 < 0.02
