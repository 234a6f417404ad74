"""How many minibatches a compiled call takes, and with how many threads: from what calls took."""

from __future__ import annotations

import math

#: Longest time that a compiled call should take, so that an interrupt is served soon.
_SLICE_SECONDS = 0.2

#: Threads are kept from their cores where they are on them for a smaller share of a call than this.
#: On a calm machine it is over 0.97, beside a process that spins on one of two cores 0.7.
_KEPT_FROM_CORES = 0.9

#: Length of a trial. GNU OpenMP's threads go on spinning for 3 ms after a call, so a trial of one
#: thread that is not longer is measured beside them.
_TRIAL_SECONDS = 0.008

#: A call that is shorter says little: half of it may be the way of a thread to its core.
_TELLING_SECONDS = 0.0005

#: Time from one trial to the next: at first, and at most; twice as long after each that fails. In
#: lengths of the last trial it is at least the third number, so trials cost a few percent at most.
#: OpenBLAS's threads spin for 0.1 s after a product of NumPy.
_FIRST_REST, _LONGEST_REST, _REST = 0.1, 1.0, 10

#: A trial must be faster by this factor to be followed.
_GAIN = 0.95

#: Weight of the newest call in the running mean of the time of a minibatch: the first calls are
#: slow, and so is one that was held up, but what was fast once can be fast again.
_IF_FASTER, _IF_SLOWER = 0.75, 0.25


class Pace:
    """Chooses the length of the next call and its number of threads.

    On a machine that is busy with other things, a thread that waits for a core holds up all others
    at the end of each phase, and fewer threads are faster. So where threads are kept from their
    cores, half of them are tried for some milliseconds or one minibatch, and kept if that is
    faster; from then on, twice the threads from time to time. The results of training do not depend
    on it.

    Parameters
    ----------
    most_threads : int
        Threads to start with, and the most.
    """

    def __init__(self, most_threads: int) -> None:
        self.most_threads = self.threads = most_threads
        self._seconds: float | None = None  # of a minibatch, with self.threads
        # The first trial comes when there is a reason.
        self._since_trial, self._interval = _FIRST_REST, _FIRST_REST
        self._kept_from_cores = False
        self._trial: int | None = None
        self._longest = 1

    def next_call(self) -> tuple[int, int]:
        """Threads of the next call, and how many minibatches it may take."""
        if self._seconds is None:
            return self.threads, 1
        limit = _SLICE_SECONDS
        rested = self._since_trial >= self._interval
        if self.threads > 1 and self._kept_from_cores and rested:
            self._trial, limit = self.threads // 2, _TRIAL_SECONDS
        elif self.threads < self.most_threads:
            if rested:
                self._trial, limit = min(2 * self.threads, self.most_threads), _TRIAL_SECONDS
            else:
                limit = max(self._interval - self._since_trial, _TRIAL_SECONDS)
        longest = max(1, min(self._longest, int(min(limit, _SLICE_SECONDS) / self._least())))
        return self._trial or self.threads, longest

    def _least(self) -> float:
        return max(self._seconds or 0.0, 1e-9)

    def record(self, n_batches: float, seconds: float, on_core: float) -> None:
        """Take note that the call which `next_call` described took so long.

        n_batches : how many minibatches it was; a ragged one counts by its rows.
        on_core : seconds that its threads spent on a core, all together.
        """
        each = seconds / n_batches
        if self._trial is not None:
            self._judge(self._trial, each, seconds)
            return
        self._longest = max(self._longest, 8 * math.ceil(n_batches))
        if seconds > _TELLING_SECONDS:
            self._kept_from_cores = on_core < _KEPT_FROM_CORES * self.threads * seconds
        self._since_trial += seconds
        if self._seconds is None:
            # The first call touches every buffer for the first time, and is no measure.
            self._seconds = each
            return
        change = min(each, 2 * self._seconds) - self._seconds
        self._seconds += change * (_IF_FASTER if change < 0 else _IF_SLOWER)

    def _judge(self, threads: int, each: float, seconds: float) -> None:
        """Follow a trial that was faster; else try less often."""
        if self._seconds is None or each < _GAIN * self._seconds:
            self.threads, self._seconds = threads, each
            self._interval = _FIRST_REST
        else:
            self._interval = min(2 * self._interval, _LONGEST_REST)
        self._interval = max(self._interval, _REST * seconds)
        self._trial, self._since_trial, self._kept_from_cores = None, 0.0, False
