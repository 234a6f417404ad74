"""When training stops: plateaus of the loss, or of a score on rows that are held out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Plateau:
    """Counts the epochs in a row that improved by less than `tol`.

    Attributes
    ----------
    tol : float
        The least improvement on the best value that starts the count again.
    patience : float
        The plateau is reached where the count exceeds this; ``inf`` is never exceeded.
    higher_is_better : bool
        True for scores, False for losses.
    best : float
        The best value so far. Before the first one it is −inf or +inf.
    count : int
        Epochs in a row without improvement.
    """

    tol: float
    patience: float
    higher_is_better: bool
    best: float = field(init=False)
    count: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.best = -np.inf if self.higher_is_better else np.inf

    def update(self, value: float) -> bool:
        """Take in the value of an epoch, and say whether it is the best so far.

        A NaN counts as an improvement and never as the best, because no comparison with it holds.
        """
        if self.higher_is_better:
            stalled, is_best = value < self.best + self.tol, value > self.best
        else:
            stalled, is_best = value > self.best - self.tol, value < self.best
        self.count = self.count + 1 if stalled else 0
        if is_best:
            self.best = value
        return is_best

    @property
    def reached(self) -> bool:
        """Whether training is on a plateau."""
        return self.count > self.patience

    def __str__(self) -> str:
        what = "Validation score" if self.higher_is_better else "Training loss"
        return (
            f"{what} did not improve more than tol={self.tol:f} "
            f"for {self.patience:.0f} consecutive epochs."
        )
