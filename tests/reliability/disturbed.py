"""Work that signals disturb, and nothing else."""

import signal


class Disturbance:
    """Has the handlers of signals act while some work is done, and not before or after it.

    Parameters
    ----------
    act : callable
        What a signal's handler does; it may raise.
    errors : tuple of exception types
        What it may raise.
    """

    def __init__(self, act, errors):
        self._act, self._errors, self._at_work = act, errors, False

    def handle(self, signum, frame):
        """Serve a signal."""
        if self._at_work:
            self._act()

    def of(self, work, begin):
        """Do the work, after begin(), which has signals sent; returns what it raised, or None."""
        raised, self._at_work = None, True
        try:
            begin()
            work()
        except self._errors as caught:
            raised = caught
        except AttributeError as caught:
            # While scikit-learn finds out whether a method exists, it makes one of any error.
            if not isinstance(caught.__cause__, self._errors):
                raise
            raised = caught.__cause__
        # None is served between these lines: that takes a call, or a jump back.
        self._at_work = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        return raised
