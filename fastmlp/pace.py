"""How many minibatches a compiled call takes, and with how many threads: from what calls took."""

from __future__ import annotations

#: Longest time that a compiled call should take, so that an interrupt is served soon.
_SLICE_SECONDS = 0.2

#: Training between two trials of another number of threads, and the length of a trial.
_TRIAL_EVERY, _TRIAL_SECONDS = 0.25, 0.004

#: Minibatches shorter than this lose most by a thread that has to wait for a core: a time slice of
#: the operating system is that of dozens of them. Where they are that short, the first trial comes
#: early, each next one after twice the time, and a trial is brief.
_SHORT = 1e-4
_FIRST_TRIAL, _BRIEF_TRIAL_SECONDS = 0.003, 0.001

#: A trial must be faster by this factor to be followed.
_GAIN = 0.95

#: Weight of the newest call in the running mean of the time of a minibatch: the first calls are
#: slow, and so is one that was held up, but what was fast once can be fast again.
_IF_FASTER, _IF_SLOWER = 0.75, 0.25


class Pace:
    """Chooses the length of the next call and its number of threads.

    On a machine that is busy with other things, a thread that waits for a core holds up all others
    at the end of each phase, and fewer threads are faster. So from time to time, for a few
    milliseconds, half or twice the threads are tried, and kept if that is faster. The results of
    training do not depend on it.

    Parameters
    ----------
    most_threads : int
        Threads to start with, and the most.
    """

    def __init__(self, most_threads: int) -> None:
        self.most_threads = self.threads = most_threads
        self._seconds: float | None = None  # of a minibatch, with self.threads
        self._since_trial = 0.0
        self._next_trial = _FIRST_TRIAL
        self._trial: int | None = None
        self._fewer_next = True
        self._longest = 1

    def next_call(self) -> tuple[int, int]:
        """Threads of the next call, and how many minibatches it may take."""
        if self._seconds is None:
            return self.threads, 1
        is_short = self._seconds < _SHORT
        trial_after = min(self._next_trial, _TRIAL_EVERY) if is_short else _TRIAL_EVERY
        limit = _SLICE_SECONDS
        if self.most_threads > 1 and self._since_trial >= trial_after:
            self._since_trial = 0.0
            self._next_trial = 2 * trial_after
            fewer = self.threads > 1 and (self._fewer_next or self.threads == self.most_threads)
            self._trial = self.threads // 2 if fewer else min(2 * self.threads, self.most_threads)
            self._fewer_next = not fewer
            limit = _BRIEF_TRIAL_SECONDS if is_short else _TRIAL_SECONDS
        elif self.most_threads > 1:
            limit = min(limit, trial_after - self._since_trial)
        longest = max(1, min(self._longest, int(limit / max(self._seconds, 1e-9))))
        return self._trial or self.threads, longest

    def record(self, n_batches: int, seconds: float) -> None:
        """Take note that the call which `next_call` described took so long."""
        each = seconds / n_batches
        self._longest = 8 * n_batches if self._trial is None else self._longest
        if self._trial is not None:
            if self._seconds is None or each < _GAIN * self._seconds:
                self.threads, self._seconds = self._trial, each
            self._trial = None
        elif self._seconds is None:
            # The first call touches every buffer for the first time, and is no measure.
            self._seconds = each
            return
        else:
            change = min(each, 2 * self._seconds) - self._seconds
            self._seconds += change * (_IF_FASTER if change < 0 else _IF_SLOWER)
        self._since_trial += seconds
