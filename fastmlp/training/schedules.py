"""Learning rates over time: one class for each value of the parameter ``learning_rate``.

A schedule is told when an epoch ends and when training reaches a plateau. It answers with the rate
of the next epoch, `rate`, and says whether a plateau is the end.
"""

from __future__ import annotations

from typing import NamedTuple

# An adaptive rate that is no larger than this is not lowered any further: training stops.
SMALLEST_ADAPTIVE_RATE = 1e-6
ADAPTIVE_DIVISOR = 5.0


class PlateauAction(NamedTuple):
    """What a schedule does about a plateau."""

    stop: bool
    message: str


class Constant:
    """The same rate throughout.

    Parameters
    ----------
    initial_rate : float
        The rate of the first epoch.

    Attributes
    ----------
    rate : float
        The rate of the next epoch.
    """

    def __init__(self, initial_rate: float) -> None:
        self.initial_rate = float(initial_rate)
        self.rate = self.initial_rate

    def epoch_ended(self, samples_seen: int) -> None:
        """Take note that an epoch ended, `samples_seen` rows after the model's first one."""

    def plateau(self) -> PlateauAction:
        """Answer training that no longer improves."""
        return PlateauAction(stop=True, message="Stopping.")


class InverseScaling(Constant):
    """A rate that falls with the number of rows t seen so far: ``initial_rate / (t + 1)**power_t``.

    It is set where an epoch ends, so the first epoch runs at `initial_rate`.
    """

    def __init__(self, initial_rate: float, power_t: float) -> None:
        super().__init__(initial_rate)
        self.power_t = float(power_t)

    def epoch_ended(self, samples_seen: int) -> None:
        """Lower the rate."""
        # A negative power underflows to 0 where a positive one would raise OverflowError.
        self.rate = self.initial_rate * (samples_seen + 1.0) ** -self.power_t


class Adaptive(Constant):
    """A rate that is divided by 5 at each plateau, until it is at most 1e-6."""

    def plateau(self) -> PlateauAction:
        """Lower the rate, or stop where it is as small as it gets."""
        if self.rate <= SMALLEST_ADAPTIVE_RATE:
            return PlateauAction(stop=True, message="Learning rate too small. Stopping.")
        self.rate /= ADAPTIVE_DIVISOR
        return PlateauAction(stop=False, message=f"Setting learning rate to {self.rate:f}")


def make_schedule(solver: str, learning_rate: str, initial_rate: float, power_t: float) -> Constant:
    """Make the schedule that an estimator's parameters name.

    Parameters
    ----------
    solver : {"adam", "sgd"}
        Adam adapts its steps by itself and ignores `learning_rate`, as in scikit-learn.
    learning_rate : {"constant", "invscaling", "adaptive"}
        The name of the schedule.
    initial_rate : float
        The rate of the first epoch.
    power_t : float
        The exponent of ``"invscaling"``.

    Returns
    -------
    Constant
        A schedule at its start.
    """
    if solver == "sgd" and learning_rate == "invscaling":
        return InverseScaling(initial_rate, power_t)
    if solver == "sgd" and learning_rate == "adaptive":
        return Adaptive(initial_rate)
    return Constant(initial_rate)
