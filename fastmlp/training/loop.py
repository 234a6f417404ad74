"""How a network is trained: the loop over epochs.

What an epoch does is compiled (`fastmlp.network.session`). Here is what happens between epochs, in
the order that scikit-learn's MLPClassifier has it, so that both draw the same random numbers and
stop at the same epoch.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from functools import cache, partial
from operator import call
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from fastmlp.data.split import Validation
from fastmlp.kernels.permutation import permute
from fastmlp.network.layout import Parameters
from fastmlp.network.session import Session, State
from fastmlp.runtime.compiling import compile_apart
from fastmlp.training.schedules import Constant
from fastmlp.training.stopping import Plateau

Array = NDArray[Any]


@dataclass
class FitResult:
    """What training made of a network.

    Attributes
    ----------
    parameters : tuple of (coefs, intercepts)
        The weights and biases to keep: with a `Validation`, those of its best score. Empty while
        training goes on without one.
    n_iter : int
        Epochs, or iterations of L-BFGS.
    loss : float
        The last loss; NaN if training was interrupted before there was one.
    loss_curve : list of float
        The loss of each epoch.
    validation_scores : list of float
        The score of each epoch, empty without a `Validation`.
    state : State or None
        Where the optimizer stands, for training that goes on. None after L-BFGS.
    warning : Warning or None
        What there is to say about the model. Whoever keeps it says it then, because a filter may
        make an error of it.
    """

    parameters: Parameters = field(default_factory=lambda: ([], []))
    n_iter: int = 0
    loss: float = np.nan
    loss_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] = field(default_factory=list)
    state: State | None = None
    warning: Warning | None = None


def interrupted() -> Warning:
    """What there is to say of training that an interrupt ended."""
    return UserWarning("Training interrupted by user.")


@cache
def _compiled_permute() -> Any:
    compile_apart(permute, (types.int64[::1], types.int64, types.int64))
    permute(np.empty(0, np.int64), 0, 0)  # the first time, Numba runs Python to find what to call
    return permute


def shuffle(order: NDArray[np.int64], rng: np.random.RandomState) -> None:
    """Permute the rows' order in place, with the draws of scikit-learn's shuffle of that order.

    That one shuffles the positions and takes the order at them; shuffling the order itself makes
    the same swaps.
    """
    bits = getattr(rng, "_bit_generator", None)
    if bits is None or len(order) >= 2**32:
        rng.shuffle(order)
        return
    function = ctypes.cast(bits.ctypes.next_uint32, ctypes.c_void_p).value
    state = bits.ctypes.state_address
    # All in one call of C code. With the lock held, no signal may be served: a handler that draws
    # numbers from the same generator, as another fit does, would wait for it for ever.
    draw = partial(_compiled_permute(), order, function, state)
    list(map(call, (bits.lock.acquire, draw, bits.lock.release)))


def all_finite(parameters: Parameters) -> bool:
    """Say whether no weight and no bias is NaN or infinite."""
    coefs, intercepts = parameters
    return all(np.isfinite(array).all() for array in (*coefs, *intercepts))


@dataclass
class Training:
    """Training by epochs of minibatches, from the session's weights on.

    The session has been given its weights and its rows. `schedule` and `plateau` keep what they
    learn, so that a caller can hand them to the next `Training` of the same model.

    Attributes
    ----------
    session : Session
        Runs the epochs.
    order : ndarray of int64
        The rows to train on, in the order that the first shuffle starts from; shuffled in place.
    rng : RandomState
        Where the order of each epoch is drawn from.
    schedule : Constant
        The learning rates.
    plateau : Plateau
        When to stop.
    validation : Validation or None
        The rows that the plateau is measured on; None for the loss on the training rows.
    samples_seen : int
        Rows that earlier trainings of this model went through; counted on.
    shuffle : bool
        Whether each epoch permutes the order.
    verbose : bool
        Whether to print a line for each epoch.
    """

    session: Session
    order: NDArray[np.int64]
    rng: np.random.RandomState
    schedule: Constant
    plateau: Plateau
    validation: Validation | None = None
    samples_seen: int = 0
    shuffle: bool = True
    verbose: bool = False

    def run(self, max_epochs: int, *, warn_unconverged: bool = True) -> FitResult:
        """Train until a plateau that the schedule takes for the end, or for `max_epochs`.

        An interrupt ends training early; the weights are then the newest whole ones, or with a
        `Validation` the best so far.

        Parameters
        ----------
        max_epochs : int
            The most epochs to run.
        warn_unconverged : bool, default=True
            Whether reaching `max_epochs` warrants a ConvergenceWarning.

        Returns
        -------
        FitResult
            The model.
        """
        # With a validation set, weights without a score are none to keep.
        result = FitResult()
        if self.validation is not None:
            result.parameters = self.session.get_parameters()
        stop = False
        try:
            while not stop and result.n_iter < max_epochs:
                stop = self._run_epoch(result)
            if warn_unconverged and not stop:
                result.warning = ConvergenceWarning(
                    f"Stochastic Optimizer: Maximum iterations ({max_epochs}) reached before "
                    "training converged. Raise max_iter, or raise tol to accept this model."
                )
        except KeyboardInterrupt:
            result.warning = interrupted()
        while not self._finish(result):
            result.warning = interrupted()
        return result

    def resume(self, step: int, moments: list[Array]) -> None:
        """Go on from where an optimizer stood, with the weights that the session has now."""
        self.session.load(State(step, self.session.state().parameters, moments))

    def _finish(self, result: FitResult) -> bool:
        """Take the model out of the session; False where an interrupt came in between."""
        try:
            self.session.end_training()
            if self.validation is None:
                result.parameters = self.session.get_parameters()
            result.state = self.session.state()
        except KeyboardInterrupt:
            return False
        return True

    def _run_epoch(self, result: FitResult) -> bool:
        """Run one epoch, write what came of it to `result`, and say whether training is over."""
        if self.shuffle:
            shuffle(self.order, self.rng)
        loss = self.session.train_epoch(self.order, self.schedule.rate)
        seen = self.samples_seen + len(self.order)
        # An interrupt is served after a call, so not before all of this is noted.
        result.n_iter, result.loss, self.samples_seen = result.n_iter + 1, loss, seen
        result.loss_curve.append(loss)
        if self.verbose:
            print(f"Iteration {result.n_iter}, loss = {loss:.8f}")

        if self.validation is None:
            self.plateau.update(loss)
        else:
            self._validate(self.validation, result)
        self.schedule.epoch_ended(self.samples_seen)
        if self.plateau.reached:
            return self._plateau_is_the_end()
        # Weights that are not finite never become finite again, so the remaining epochs are
        # spared. With a validation set the best weights are kept, and the scores show the end.
        return bool(np.isnan(loss)) and self.validation is None and not self._is_finite()

    def _validate(self, validation: Validation, result: FitResult) -> None:
        """Score the rows held out, and keep the weights of the best score."""
        score = validation.score(
            self.session.probabilities(validation.rows, validation.order)[:, 1]
        )
        parameters = result.parameters
        if score > self.plateau.best:
            parameters = self.session.get_parameters()
        # As above: the best score and its weights belong together.
        self.plateau.update(score)
        result.parameters = parameters
        result.validation_scores.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")

    def _plateau_is_the_end(self) -> bool:
        action = self.schedule.plateau()
        if self.verbose:
            print(f"{self.plateau} {action.message}")
        if not action.stop:
            self.plateau.count = 0
        return action.stop

    def _is_finite(self) -> bool:
        return all_finite(self.session.get_parameters())
