"""One call of the driver: what it reads and writes stays alive until its last thread has left."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from fastmlp.runtime import team
from fastmlp.runtime.compiling import apart
from fastmlp.runtime.driver import CALL
from fastmlp.runtime.tasks import DONE, INSIDE, LEFT, PATIENCE, new_control, stop


class Call:
    """A call of the driver.

    Parameters
    ----------
    memory : object
        Whatever the addresses in the call's records point to. Threads know it by address alone; a
        thread that works for this call holds the call, and the call holds the memory.
    n_threads : int
        Most threads that take part.
    **fields
        Of `driver.CALL`; arrays stand for their addresses.
    """

    def __init__(self, memory: Any, n_threads: int, **fields: Any) -> None:
        self._memory = (memory, fields)
        self._n_threads = n_threads
        self.counts = 0  # updates that it makes
        self.control = new_control()
        self._record = np.zeros((), CALL)
        for name, value in fields.items():
            self._record[name] = value.ctypes.data if isinstance(value, np.ndarray) else value
        self._record["control"] = self.control.ctypes.data
        self.n_tasks = int(self._record["n_units"] * self._record["n_batches"])

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
    def tasks_done(self) -> int:
        """Tasks that are done; of use for a call that was not stopped."""
        return int(self.control[DONE])

    def leave(self) -> bool:
        """Have every thread out of the call, and say whether its work is done.

        It can be interrupted, and called again: only then is the memory free for other uses.
        """
        finished = self.tasks_done == self.n_tasks
        if not finished:
            stop(self.control)
        while self.control[LEFT] < self.control[INSIDE]:
            time.sleep(0.001)
        return finished

    def set_patience(self, nanoseconds: int) -> None:
        """How long a thread of this call waits before it yields its core; see `tasks`."""
        self.control[PATIENCE] = nanoseconds
