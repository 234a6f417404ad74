"""The optimizer as the loop over epochs knows it: which update, constants, rates and state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastmlp.kernels.optimizers import ADAM, NESTEROV, SGD
from fastmlp.network import Parameters


@dataclass(frozen=True)
class Optimizer:
    """Which update is made, and its constants (see `kernels.optimizers`)."""

    solver: str = "adam"
    momentum: float = 0.9
    nesterov: bool = True
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    @property
    def code(self) -> int:
        """Code of the update."""
        if self.solver == "adam":
            return ADAM
        return NESTEROV if self.nesterov else SGD

    @property
    def n_moments(self) -> int:
        """Arrays that it carries from one update to the next."""
        return 2 if self.solver == "adam" else 1

    def constants(self, dtype: np.dtype) -> list[float]:
        """In the order of `kernels.optimizers`, for parameters of this dtype."""
        rest_1, rest_2 = 1.0 - self.beta_1, 1.0 - self.beta_2
        # Where a gradient has always been 0, as in padding, an epsilon that is 0 in float32 would
        # make the update 0 / 0.
        epsilon = max(self.epsilon, float(np.finfo(dtype).tiny))
        return [self.momentum, self.beta_1, rest_1, self.beta_2, rest_2, epsilon]

    def rates(self, learning_rate: float, steps: np.ndarray) -> np.ndarray:
        """Rates of the updates of these numbers, from 1: Adam's hold its bias correction."""
        if self.solver != "adam":
            return np.full(len(steps), learning_rate, np.float64)
        rates = learning_rate * np.sqrt(1.0 - self.beta_2**steps) / (1.0 - self.beta_1**steps)
        return np.asarray(rates, np.float64)


@dataclass
class OptimizerState:
    """What an optimizer carries from one epoch to the next, laid out like the parameters.

    Attributes
    ----------
    step : int
        Number of updates made (Adam's t).
    moments : list of (coefs, intercepts)
        Velocity, or Adam's first and second moment.
    """

    step: int
    moments: list[Parameters]
