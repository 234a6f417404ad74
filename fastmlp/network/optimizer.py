"""The optimizer as the loop over epochs knows it: which update, its constants and its rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastmlp.kernels import updates
from fastmlp.network.minibatch import Update
from fastmlp.network.regularisation import NONE, Regularisation


@dataclass(frozen=True)
class Optimizer:
    """Which update is made, and its constants (see `kernels.updates`).

    encoder_speed : what the learning rate of an encoder's parameters is multiplied by
    """

    solver: str = "adam"
    momentum: float = 0.9
    nesterov: bool = True
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    encoder_speed: float = 1.0

    @property
    def n_moments(self) -> int:
        """Arrays that it carries from one update to the next."""
        return 2 if self.solver == "adam" else 1

    def update(
        self,
        dtype: np.dtype[Any],
        alpha: float,
        regularisation: Regularisation = NONE,
    ) -> Update:
        """The update of parameters of this dtype, with L2 strength alpha."""
        if self.solver == "adam":
            piece = updates.adam
        else:
            # Without momentum, both are N4.
            piece = updates.nesterov if self.nesterov and self.momentum > 0 else updates.sgd
        rest_1, rest_2 = 1.0 - self.beta_1, 1.0 - self.beta_2
        # Where a gradient has always been 0, as in padding, an epsilon that is 0 in float32 would
        # make the update 0 / 0.
        epsilon = max(self.epsilon, float(np.finfo(dtype).tiny))
        constants = self.momentum, self.beta_1, rest_1, self.beta_2, rest_2, epsilon
        return Update(
            piece, alpha, tuple(map(float, constants)), regularisation, self.encoder_speed
        )

    def rates(self, learning_rate: float | np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Rates of the updates of these numbers, from 1: Adam's hold its bias correction.

        learning_rate : one for all, or one each
        """
        if self.solver != "adam":
            return np.full(len(steps), learning_rate, np.float64)
        rates = learning_rate * np.sqrt(1.0 - self.beta_2**steps) / (1.0 - self.beta_1**steps)
        return np.asarray(rates, np.float64)
