"""What keeps a network from fitting its rows too closely, beside the L2 term."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Regularisation:
    """What is done to activations, targets, gradients and weights in training.

    Attributes
    ----------
    dropout : tuple of float
        The share of units that each hidden layer leaves out; empty for none.
    input_dropout : float
        The same of the features.
    weight_decay : float
        Weights are multiplied by 1 − learning rate · weight_decay ahead of each update.
    ema_decay : float or None
        The decay of an average of the weights over the updates, which is then the model.
    max_grad_norm : float or None
        The largest norm of the gradient.
    label_smoothing : float
        Targets are 0 and 1, moved towards ½ by this share.
    seed : int
        Of dropout, of 32 bits.
    """

    dropout: tuple[float, ...] = ()
    input_dropout: float = 0.0
    weight_decay: float = 0.0
    ema_decay: float | None = None
    max_grad_norm: float | None = None
    label_smoothing: float = 0.0
    # Of two programs that differ in it alone, one will do.
    seed: int = field(default=0, compare=False)

    @property
    def drops(self) -> bool:
        """Whether there is any dropout."""
        return self.input_dropout > 0 or any(share > 0 for share in self.dropout)

    @property
    def targets(self) -> tuple[float, float]:
        """What the targets 0 and 1 count as."""
        half = 0.5 * self.label_smoothing
        return half, 1.0 - half

    def of_layer(self, layer: int) -> float:
        """The share that is left out of a⁽ˡ⁾, with layer 0 for the features."""
        if layer == 0:
            return self.input_dropout
        return self.dropout[layer - 1] if self.dropout else 0.0

    def by_batch(
        self, updates: np.ndarray, learning_rate: float | np.ndarray
    ) -> dict[str, np.ndarray]:
        """Numbers of each minibatch that its pieces read, by the names of `kernels.epoch.EPOCH`.

        updates : numbers of the updates, from 1; learning_rate : one for all, or one each
        """
        numbers: dict[str, np.ndarray] = {}
        if self.drops:
            numbers["updates"] = updates.astype(np.int64)
        if self.weight_decay > 0:
            numbers["keeps"] = np.ones(len(updates)) - np.asarray(learning_rate) * self.weight_decay
        if self.ema_decay is not None:
            # 1 − dᵗ loses no digit where d is near 1.
            corrections = -np.expm1(updates * np.log(self.ema_decay)) if self.ema_decay > 0 else 1.0
            numbers["shares"] = np.full(len(updates), 1.0 - self.ema_decay) / corrections
        return numbers


#: What is done unless it is asked for: nothing.
NONE = Regularisation()
