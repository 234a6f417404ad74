"""How many minibatches and threads the next compiled call takes."""

import pytest

from fastmlp.runtime.pace import Pace


def _train(pace, seconds_of, minibatches, an_epoch=10**9, before=lambda threads: 0.0):
    """Run calls whose minibatches take seconds_of(threads); return threads and length of each.

    an_epoch : minibatches after which a call ends; before : seconds that a call takes to begin.
    """
    threads_of_calls, done = [], 0
    while done < minibatches:
        threads, longest = pace.next_call()
        count = min(longest, minibatches - done, an_epoch - done % an_epoch)
        pace.record(count, before(threads) + count * seconds_of(threads))
        threads_of_calls += [(threads, count)]
        done += count
    return threads_of_calls


def _share(calls, threads):
    return sum(n for t, n in calls if t == threads) / sum(n for _, n in calls)


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
    pace = Pace(2, short=True)
    _train(pace, lambda threads: 20e-6 if threads == 1 else 65e-6, 150)
    assert pace.threads == 1


def test_trials_of_short_minibatches_become_rare():
    calls = _train(Pace(2, short=True), lambda threads: 40e-6 / threads, 100_000)
    trials = [count for threads, count in calls if threads == 1]
    assert 5 < len(trials) < 20
    assert sum(trials) * 40e-6 < 0.03


@pytest.mark.parametrize("seconds", [2e-3, 11e-3, 60e-3, 0.3, 3.0])
def test_trials_of_long_minibatches_stay_rare(seconds):
    calls = _train(Pace(2), lambda threads: seconds / threads, 3000)
    assert 0 < _share(calls, 1) < 0.06


@pytest.mark.parametrize("an_epoch", [1, 7, 50, 10**9])
@pytest.mark.parametrize("seconds", [20e-6, 70e-6, 300e-6])
def test_a_gain_of_a_tenth_is_kept_though_calls_begin_slowly(seconds, an_epoch):
    """A call costs 30 µs, and helpers come after 100 µs."""
    pace = Pace(2, short=seconds < 1e-4)
    calls = _train(
        pace,
        lambda threads: seconds * (1 if threads == 1 else 0.8),
        int(3 / seconds),
        an_epoch,
        before=lambda threads: 30e-6 + (0.2 * min(100e-6, seconds) if threads > 1 else 0),
    )
    assert _share(calls, 2) > 0.9


def test_many_threads_that_hold_up_go_soon():
    pace = Pace(16, short=True)
    calls = _train(pace, lambda threads: 10e-6 * threads, 3000)
    assert pace.threads == 1
    assert sum(n * 10e-6 * threads for threads, n in calls if threads > 1) < 0.05


def test_a_ragged_minibatch_is_no_measure_of_speed():
    pace = Pace(2)
    for _ in range(3000):
        threads, _ = pace.next_call()
        pace.record(1.0, 1e-3 / threads)
        pace.next_call()
        pace.record(0.005, 20e-6)
    assert pace.threads == 2
