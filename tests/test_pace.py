"""How many minibatches and threads the next compiled call takes."""

import pytest

from fastmlp.runtime.pace import Pace


def calm(threads):
    """Every thread has a core."""
    return 1.0


def busy(threads):
    """Beside something that spins on all cores but one."""
    return 1.0 if threads == 1 else 0.6


def _train(pace, seconds_of, minibatches, share=calm, an_epoch=10**9):
    """Run calls whose minibatches take seconds_of(threads); return threads and length of each.

    share : of a call that its threads are on their cores; an_epoch : minibatches after which a call
    ends
    """
    calls, done = [], 0
    while done < minibatches:
        threads, longest = pace.next_call()
        count = min(longest, minibatches - done, an_epoch - done % an_epoch)
        seconds = count * seconds_of(threads)
        pace.record(count, seconds, share(threads) * threads * seconds)
        calls += [(threads, count)]
        done += count
    return calls


def _share(calls, threads):
    return sum(n for t, n in calls if t == threads) / sum(n for _, n in calls)


def test_calls_grow_to_a_fifth_of_a_second_and_no_further():
    counts = [count for _, count in _train(Pace(1), lambda threads: 1e-3, 5000)]
    assert counts[0] == 1
    assert 150 <= max(counts) <= 200


def test_a_minibatch_that_takes_long_is_a_call_of_its_own():
    assert {count for _, count in _train(Pace(2), lambda threads: 3.0, 6)} == {1}


@pytest.mark.parametrize("seconds", [2e-5, 1e-3, 0.3])
@pytest.mark.parametrize("most_threads", [2, 3, 8])
def test_threads_that_have_their_cores_stay_and_nothing_is_tried(most_threads, seconds):
    calls = _train(Pace(most_threads), lambda threads: seconds, 20_000)
    assert {threads for threads, _ in calls} == {most_threads}


@pytest.mark.parametrize("seconds", [2e-5, 1e-3, 0.3])
@pytest.mark.parametrize("most_threads", [2, 3, 8, 16])
def test_threads_that_hinder_go(most_threads, seconds):
    pace = Pace(most_threads)
    _train(pace, lambda threads: seconds * threads, int(60 / seconds), busy)
    assert pace.threads == 1


def test_short_minibatches_that_threads_hold_up_go_on_with_one_soon():
    pace = Pace(2)
    calls = _train(pace, lambda threads: 40e-6 if threads == 1 else 100e-6, 1000, busy)
    assert pace.threads == 1
    assert sum(n * 100e-6 for threads, n in calls if threads == 2) < 0.01


@pytest.mark.parametrize("seconds", [2e-5, 1e-3, 0.05])
def test_threads_that_help_though_kept_from_cores_stay(seconds):
    calls = _train(Pace(2), lambda threads: seconds / threads, int(20 / seconds), busy)
    assert 0 < _share(calls, 1) < 0.06


@pytest.mark.parametrize("seconds", [2e-5, 1e-3, 0.05, 0.3])
def test_trials_of_more_threads_cost_little(seconds):
    calls = _train(Pace(2), lambda threads: seconds * threads**1.5, int(60 / seconds), busy)
    assert _share(calls, 2) < 0.05


def test_threads_come_back_when_the_machine_is_free_again():
    pace = Pace(4)
    _train(pace, lambda threads: 1e-3 * threads, 10_000, busy)
    assert pace.threads == 1
    _train(pace, lambda threads: 1e-3 / threads, 10_000)
    assert pace.threads == 4


def test_one_thread_is_never_more():
    assert {t for t, _ in _train(Pace(1), lambda threads: 1e-3, 5000, busy)} == {1}


@pytest.mark.parametrize("an_epoch", [1, 7, 50])
def test_short_epochs_are_judged_too(an_epoch):
    pace = Pace(2)
    _train(pace, lambda threads: 1e-3 * threads, 3000, busy, an_epoch)
    assert pace.threads == 1


def test_one_call_that_is_held_up_changes_nothing():
    pace = Pace(2)
    _train(pace, lambda threads: 1e-3 / threads, 200)
    _, longest = pace.next_call()
    pace.record(longest, 10.0, 10.0)
    _train(pace, lambda threads: 1e-3 / threads, 1000)
    assert pace.threads == 2


def test_calls_too_short_to_tell_are_not_judged():
    pace = Pace(2)
    for _ in range(3000):
        threads, _ = pace.next_call()
        assert threads == 2
        pace.record(1, 1e-4, 1e-4)


def test_a_ragged_minibatch_is_no_measure_of_speed():
    pace = Pace(2)
    for _ in range(3000):
        threads, _ = pace.next_call()
        pace.record(1.0, 1e-3 / threads, 1e-3)
        pace.next_call()
        pace.record(0.005, 20e-6, 40e-6)
    assert pace.threads == 2
