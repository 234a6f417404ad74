"""One call of the driver: what it reads and writes stays alive until its last thread has left."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from fastmlp.runtime import team
from fastmlp.runtime.compiling import apart
from fastmlp.runtime.driver import CALL
from fastmlp.runtime.tasks import DONE, INSIDE, LEFT, ON_CORE, new_control, stop


class Call:
    """A call of the driver.

    Parameters
    ----------
    memory : object
        Whatever the addresses in the call's records point to. Threads know it by address alone; a
        thread that works for this call holds the call, and the call holds the memory.
    n_threads : int
        Most threads that take part.
    batches : ndarray of int64
        Numbers of the minibatches to go through.
    counts : int, default=0
        Updates that it makes, for its maker to count.
    **fields : int
        The other fields of `driver.CALL`.
    """

    def __init__(
        self, memory: Any, n_threads: int, batches: np.ndarray, *, counts: int = 0, **fields: int
    ) -> None:
        self._memory = (memory, batches)
        self._n_threads, self.counts = n_threads, counts
        self.all_units = fields["n_units"] * len(batches)
        self.control = new_control(fields["n_units"])
        fields["control"], fields["n_threads"] = self.control.ctypes.data, n_threads
        fields["batches"], fields["n_batches"] = batches.ctypes.data, len(batches)
        self._record = np.array([fields.get(name, 0) for name in CALL.names or ()], np.int64)

    def run(self, *, stoppable: bool = False) -> None:
        """Do the work.

        stoppable : whether an interrupt is served while it lasts. An exception then leaves threads
        at work: `leave` comes before anything else is done with the memory.
        """
        if stoppable:
            apart(self._run)
        else:
            self._run()

    def _run(self) -> None:
        team.run(self._record.ctypes.data, self._n_threads)

    @property
    def seconds_on_core(self) -> float:
        """Time that the threads of the call spent on a core, all together."""
        return int(self.control[ON_CORE]) * 1e-9

    @property
    def units_done(self) -> int:
        """Units that are done, of all minibatches; of use for a call that was not stopped."""
        return int(self.control[DONE])

    def stop(self) -> None:
        """Have its threads leave it, where they are; `leave` waits for them."""
        stop(self.control)

    def leave(self) -> bool:
        """Have every thread out of the call, and say whether its work is done.

        It can be interrupted, and called again: only then is the memory free for other uses.
        """
        finished = self.units_done == self.all_units
        if not finished:
            self.stop()
        while self.control[LEFT] < self.control[INSIDE]:
            time.sleep(0.001)
        return finished
