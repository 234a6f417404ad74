"""Learning rates over time: what the parameters ``learning_rate`` and ``warmup`` stand for.

A schedule is told when an epoch ends and when training reaches a plateau. It answers with the rates
of the next epoch, `rates`, and says whether a plateau is the end. The three names that scikit-learn
has are classes, whose `rate` changes between epochs. What else there is depends on the share of
training done alone, and is a `Scale` by which any of these is multiplied, minibatch by minibatch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# An adaptive rate that is no larger than this is not lowered any further: training stops.
SMALLEST_ADAPTIVE_RATE = 1e-6
ADAPTIVE_DIVISOR = 5.0


class PlateauAction(NamedTuple):
    """What a schedule does about a plateau."""

    stop: bool
    message: str


def cosine(t: Array) -> Array:
    """Half a cosine wave from 1 to 0 over the share t of training done: (1 + cos πt) / 2.

    From I. Loshchilov and F. Hutter, "SGDR: Stochastic gradient descent with warm restarts",
    ICLR 2017, equation 5, with one cycle and a smallest rate of 0.
    """
    return 0.5 * (1.0 + np.cos(np.pi * t))


def by_function(function: Callable[[float], float]) -> Callable[[Array], Array]:
    """Apply a user's function to each share of training.

    It is called at once for 0, ½ and 1, so that a function of another kind is found before
    training.

    Raises
    ------
    ValueError
        If it returns anything but a finite number, not negative; then, or when it is applied.
    """

    def factor(t: float) -> float:
        value: Any = function(t)
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value.item()
        if not (isinstance(value, Real) and 0 <= float(value) < math.inf):
            raise ValueError(
                "learning_rate must return a finite factor, not negative, for the share of "
                f"training done; for {t:g} it returned {value!r}."
            )
        return float(value)

    for t in (0.0, 0.5, 1.0):
        factor(t)
    return lambda t: np.array([factor(share) for share in t.tolist()])


@dataclass
class Scale:
    """Factors of the learning rate that depend on the share of training done.

    Attributes
    ----------
    factors : callable or None
        From an array of shares in [0, 1] to factors; None where all are 1.
    warmup : float
        The share over which the rate rises in equal steps, to be whole from its last update on.
    n_epochs, n_minibatches : int
        Epochs of the training, and minibatches of an epoch.
    epochs : int
        Epochs done.
    """

    factors: Callable[[Array], Array] | None
    warmup: float
    n_epochs: int
    n_minibatches: int
    epochs: int = 0

    def of_epoch(self) -> Array:
        """Compute the factors of the minibatches of the next epoch.

        Raises
        ------
        ValueError
            If the epochs that `factors` was made for are all done.
        """
        done = np.arange(self.n_minibatches) + self.epochs * self.n_minibatches
        total = self.n_epochs * self.n_minibatches
        result = np.ones(self.n_minibatches)
        if self.factors is not None:
            if self.epochs >= self.n_epochs:
                raise ValueError(
                    f"learning_rate has come to its end: {self.epochs} of max_iter="
                    f"{self.n_epochs} epochs are done. Raise max_iter, or set learning_rate."
                )
            result = self.factors(done / total)
        if self.warmup > 0:
            result = result * np.minimum(1.0, (done + 1) / (self.warmup * total))
        return result


class Constant:
    """The same rate throughout.

    Parameters
    ----------
    initial_rate : float
        The rate of the first epoch.

    Attributes
    ----------
    rate : float
        The rate of the next epoch, before it is scaled.
    scale : Scale or None
        What it is multiplied by.
    """

    def __init__(self, initial_rate: float) -> None:
        self.initial_rate = float(initial_rate)
        self.rate = self.initial_rate
        self.scale: Scale | None = None

    @property
    def rates(self) -> float | Array:
        """The rate of the next epoch, or those of its minibatches."""
        return self.rate if self.scale is None else self.rate * self.scale.of_epoch()

    def epoch_ended(self, samples_seen: int) -> None:
        """Take note that an epoch ended, `samples_seen` rows after the model's first one."""
        if self.scale is not None:
            self.scale.epochs += 1

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
        super().epoch_ended(samples_seen)
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
    """Make the schedule that an estimator's parameters name, without a scale.

    Parameters
    ----------
    solver : {"adam", "sgd"}
        Adam adapts its steps by itself and ignores scikit-learn's names, as there.
    learning_rate : str
        The name of the schedule; any but "invscaling" and "adaptive" leaves the rate to a scale.
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
