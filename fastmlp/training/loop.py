"""How a network is trained: the loop over epochs.

What an epoch does is compiled (`fastmlp.network.session`). Here is what happens between epochs, in
the order that scikit-learn's MLPClassifier has it, so that both draw the same random numbers and
stop at the same epoch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from operator import call
from typing import Any, Protocol, Self

import numpy as np
from numba import types
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from fastmlp.data.split import Validation
from fastmlp.kernels.permutation import permute, room_for_draws
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
        The weights and biases to keep: with a `Validation`, those of its best score, or the last
        where no epoch has had one. Empty while training goes on without one.
    n_iter : int
        Epochs, or iterations of L-BFGS.
    loss : float
        The last loss; NaN if training was interrupted before there was one.
    loss_curve : list of float
        The loss of each epoch.
    rate_curve : list of float
        The mean learning rate of each epoch.
    validation_scores, validation_loss_curve : list of float
        Score and loss on the validation rows after each epoch, empty without a `Validation`.
    best_epoch : int or None
        Index of the best score; None without one, and where all are −inf or NaN.
    state : State or None
        Where the optimizer stands, for training that goes on. None after L-BFGS.
    warning : Warning or None
        What there is to say about the model. Whoever keeps it says it then, because a filter may
        make an error of it.
    interrupted : bool
        Whether an interrupt has ended training.
    """

    parameters: Parameters = field(default_factory=lambda: ([], []))
    n_iter: int = 0
    loss: float = np.nan
    loss_curve: list[float] = field(default_factory=list)
    rate_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] = field(default_factory=list)
    validation_loss_curve: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    state: State | None = None
    warning: Warning | None = None
    interrupted: bool = False

    @property
    def without_best(self) -> bool:
        """Whether there are scores, and none of them is above −inf."""
        return bool(self.validation_scores) and self.best_epoch is None

    def interrupt(self) -> Self:
        """Take note that an interrupt has ended training."""
        self.warning, self.interrupted = UserWarning("Training interrupted by user."), True
        return self


@cache
def _compiled_permute() -> Any:
    compile_apart(permute, (types.int64[::1], types.int64[::1], types.int64, types.int64))
    # The first time, Numba runs Python to find what to call.
    permute(np.empty(0, np.int64), room_for_draws(), 0, 0)
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
    draw = partial(_compiled_permute(), order, room_for_draws(), function, state)
    list(map(call, (bits.lock.acquire, draw, bits.lock.release)))


def all_finite(parameters: Parameters) -> bool:
    """Say whether no weight and no bias is NaN or infinite."""
    coefs, intercepts = parameters
    return all(np.isfinite(array).all() for array in (*coefs, *intercepts))


class Watcher(Protocol):
    """Who is told of each epoch."""

    def begin(self, result: FitResult) -> None:
        """Be told that an epoch begins."""

    def end(self, result: FitResult) -> bool:
        """Be told what came of it, and say whether training is to end here."""


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
    watchers : sequence of Watcher
        Who is told of each epoch.
    verbose : bool
        Whether to print what becomes of a plateau.
    """

    session: Session
    order: NDArray[np.int64]
    rng: np.random.RandomState
    schedule: Constant
    plateau: Plateau
    validation: Validation | None = None
    samples_seen: int = 0
    shuffle: bool = True
    watchers: Sequence[Watcher] = ()
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
            if result.without_best:
                result.warning = UserWarning(
                    "scoring has given no epoch a score to go by, only -inf or NaN: the weights of "
                    "the last epoch are kept. Choose another scoring, or other validation rows."
                )
        except KeyboardInterrupt:
            result.interrupt()
        while not self._finish(result):
            result.interrupt()
        return result

    def resume(self, step: int, moments: list[Array], newest: Array | None = None) -> None:
        """Go on from where an optimizer stood, with the weights that the session has now.

        newest : the weights that training goes on from, where those that the session has are
        their average
        """
        model = self.session.state().parameters
        if newest is None:
            self.session.load(State(step, model, moments))
        else:
            self.session.load(State(step, newest, moments, model))

    def _finish(self, result: FitResult) -> bool:
        """Take the model out of the session; False where an interrupt came in between."""
        try:
            self.session.end_training()
            if self.validation is None or result.without_best:
                result.parameters = self.session.get_parameters()
            result.state = self.session.state()
            # What an epoch has written down that an interrupt ended.
            del result.rate_curve[result.n_iter :]
            del result.validation_loss_curve[len(result.validation_scores) :]
        except KeyboardInterrupt:
            return False
        return True

    def train_epoch(self, rates: float | Array) -> tuple[float, int]:
        """Train for an epoch at these rates; returns its mean loss, and how many rows it had."""
        order = self.next_order()
        return self.session.train_epoch(order, rates), len(order)

    def measure(self, validation: Validation) -> tuple[float, float]:
        """Loss and score of the weights of the moment on the validation rows."""
        probabilities = self.probabilities(validation)
        loss = validation.loss(probabilities)
        return loss, validation.score(probabilities, self.session.get_parameters)

    def probabilities(self, validation: Validation) -> Array:
        """1 − ŷ and ŷ of the validation rows: (n_validation, 2)."""
        return self.session.probabilities(validation.rows, validation.order)

    def next_order(self) -> NDArray[np.int64]:
        """The rows of the next epoch, in their order."""
        if self.shuffle:
            shuffle(self.order, self.rng)
        return self.order

    def _run_epoch(self, result: FitResult) -> bool:
        """Run one epoch, write what came of it to `result`, and say whether training is over."""
        for watcher in self.watchers:
            watcher.begin(result)
        rates = self.schedule.rates
        result.rate_curve.append(float(np.mean(rates)))  # `_finish` drops that of no epoch
        loss, n_rows = self.train_epoch(rates)
        seen = self.samples_seen + n_rows
        # An interrupt is served after a call, so not before all of this is noted.
        result.n_iter, result.loss, self.samples_seen = result.n_iter + 1, loss, seen
        result.loss_curve.append(loss)

        if self.validation is None:
            self.plateau.update(loss)
        else:
            self._validate(self.validation, result)
        self.schedule.epoch_ended(self.samples_seen)
        stop = [watcher.end(result) for watcher in self.watchers]
        if any(stop):
            return True
        if self.plateau.reached:
            return self._plateau_is_the_end()
        # Weights that are not finite never become finite again, so the remaining epochs are
        # spared. With a validation set the best weights are kept, and the scores show the end.
        return bool(np.isnan(loss)) and self.validation is None and not self._is_finite()

    def _validate(self, validation: Validation, result: FitResult) -> None:
        """Score the validation rows, and keep the weights of the best score."""
        loss, score = self.measure(validation)
        result.validation_loss_curve.append(loss)
        parameters, best_epoch = result.parameters, result.best_epoch
        if score > self.plateau.best:
            parameters, best_epoch = self.session.get_parameters(), result.n_iter - 1
        # As above: the best score and its weights belong together.
        self.plateau.update(score)
        result.parameters, result.best_epoch = parameters, best_epoch
        result.validation_scores.append(score)

    def _plateau_is_the_end(self) -> bool:
        action = self.schedule.plateau()
        if self.verbose:
            print(f"{self.plateau} {action.message}")
        if not action.stop:
            self.plateau.count = 0
        return action.stop

    def _is_finite(self) -> bool:
        return all_finite(self.session.get_parameters())
