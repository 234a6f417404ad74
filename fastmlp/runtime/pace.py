"""How many minibatches a compiled call takes, and with how many threads: from what calls took."""

from __future__ import annotations

import math

#: Longest time that a compiled call should take, so that an interrupt is served soon.
_SLICE_SECONDS = 0.2

#: Training between two trials of another number of threads, and the length of a trial.
_TRIAL_EVERY, _TRIAL_SECONDS = 0.25, 0.004

#: The first trial, and the length of all, where minibatches are short. Each next trial comes after
#: twice the time, unless one led to a change.
_FIRST_TRIAL, _BRIEF_TRIAL_SECONDS = 0.003, 0.001

#: Training between two trials, in lengths of the last one: trials cost a few percent at most.
_REST = 20

#: A trial must be faster by this factor to be followed.
_GAIN = 0.95

#: Weight of the newest call in the running mean of the time of a minibatch: the first calls are
#: slow, and so is one that was held up, but what was fast once can be fast again.
_IF_FASTER, _IF_SLOWER = 0.75, 0.25


class Pace:
    """Chooses the length of the next call and its number of threads.

    On a machine that is busy with other things, a thread that waits for a core holds up all others
    at the end of each phase, and fewer threads are faster. So from time to time, for a few
    milliseconds or one minibatch, half or twice the threads are tried, and kept if that is faster.
    The results of training do not depend on it.

    Parameters
    ----------
    most_threads : int
        Threads to start with, and the most.
    short : bool, default=False
        Whether a minibatch is short beside a time slice of the operating system. Such training
        loses most by a thread that has to wait for a core, so the first trials come early.
    """

    def __init__(self, most_threads: int, *, short: bool = False) -> None:
        self.most_threads = self.threads = most_threads
        self._trial_seconds = _BRIEF_TRIAL_SECONDS if short else _TRIAL_SECONDS
        self._least_interval = _FIRST_TRIAL if short else _TRIAL_EVERY
        self._seconds: float | None = None  # of a minibatch, with self.threads
        self._since_trial, self._interval = 0.0, self._least_interval
        self._trial: int | None = None
        self._try_fewer = True
        self._longest = 1

    def next_call(self) -> tuple[int, int]:
        """Threads of the next call, and how many minibatches it may take."""
        if self._seconds is None:
            return self.threads, 1
        limit = _SLICE_SECONDS
        if self.most_threads > 1:
            until_trial = self._interval - self._since_trial
            if until_trial <= 0:
                self._trial, limit = self._another_number(), self._trial_seconds
            else:
                limit = min(limit, max(until_trial, self._trial_seconds))
        longest = max(1, min(self._longest, int(limit / max(self._seconds, 1e-9))))
        return self._trial or self.threads, longest

    def _another_number(self) -> int:
        if self.threads == self.most_threads or (self.threads > 1 and self._try_fewer):
            return self.threads // 2
        return min(2 * self.threads, self.most_threads)

    def record(self, n_batches: float, seconds: float) -> None:
        """Take note that the call which `next_call` described took so long.

        n_batches : how many minibatches it was; a ragged one counts by its rows.
        """
        each = seconds / n_batches
        if self._trial is not None:
            self._judge(self._trial, each, seconds)
            return
        self._longest = max(self._longest, 8 * math.ceil(n_batches))
        if self._seconds is None:
            # The first call touches every buffer for the first time, and is no measure.
            self._seconds = each
            return
        change = min(each, 2 * self._seconds) - self._seconds
        self._seconds += change * (_IF_FASTER if change < 0 else _IF_SLOWER)
        self._since_trial += seconds

    def _judge(self, threads: int, each: float, seconds: float) -> None:
        """Follow a trial that was faster, soon going on in its direction; else try less often."""
        if self._seconds is None or each < _GAIN * self._seconds:
            self.threads, self._seconds = threads, each
            self._interval = self._least_interval
        else:
            self._try_fewer = not self._try_fewer
            self._interval = min(2 * self._interval, _TRIAL_EVERY)
        self._interval = max(self._interval, _REST * seconds)
        self._trial, self._since_trial = None, 0.0
