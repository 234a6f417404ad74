"""What ``verbose=True`` prints: a line for each epoch."""

from __future__ import annotations

import time

from fastmlp.training.loop import FitResult


class Lines:
    """Prints a line after each epoch: losses, score, learning rate and the time that it took.

    Parameters
    ----------
    n_epochs : int
        The most that there will be.
    """

    def __init__(self, n_epochs: int) -> None:
        self.n_epochs = n_epochs

    def begin(self, result: FitResult) -> None:
        """Note when an epoch begins."""
        self.started = time.perf_counter()

    def end(self, result: FitResult) -> bool:
        """Print its line; training goes on."""
        print(epoch_line(result, self.n_epochs, time.perf_counter() - self.started))
        return False


def epoch_line(result: FitResult, n_epochs: int, seconds: float) -> str:
    """Say what came of the newest epoch.

    Parameters
    ----------
    result : FitResult
        As it is after the epoch.
    n_epochs : int
        The most epochs that there will be.
    seconds : float
        What the epoch took.
    """
    parts = [
        f"Epoch {result.n_iter:>{len(str(n_epochs))}}/{n_epochs}:",
        f"loss {result.loss:.6f}",
    ]
    if result.validation_scores:
        parts += [
            f"validation loss {result.validation_loss_curve[-1]:.6f}",
            f"score {result.validation_scores[-1]:.6f}"
            + (" *" if result.best_epoch == result.n_iter - 1 else "  "),
        ]
    parts += [f"rate {result.rate_curve[-1]:.3g}", f"{seconds:.3f} s"]
    return "  ".join(parts)
