"""How each solver trains an estimator's network, and which attributes come of it.

`earlier` is what an estimator that goes on from earlier calls has as attributes; it is empty where
training starts anew.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.data.split import Validation
from fastmlp.estimators.callbacks import Epochs, Told
from fastmlp.estimators.given import Problem
from fastmlp.estimators.settings import Settings
from fastmlp.estimators.starts import Trained
from fastmlp.network.regularisation import Regularisation
from fastmlp.network.session import Optimizer, Session
from fastmlp.training.lbfgs import fit_lbfgs
from fastmlp.training.loop import FitResult, Training, Watcher, shuffle
from fastmlp.training.report import Lines
from fastmlp.training.schedules import Scale, make_schedule
from fastmlp.training.state import resume, state_after
from fastmlp.training.stopping import Plateau

Attributes = dict[str, Any]


@dataclass(frozen=True)
class Solver:
    """What every solver knows of its task.

    Attributes
    ----------
    problem : Problem
        What to train on.
    settings : Settings
        The parameters.
    earlier : mapping
        The attributes to go on from.
    """

    problem: Problem
    settings: Settings
    earlier: Mapping[str, Any]

    def train(self, session: Session, rng: np.random.RandomState, told: Told | None) -> Trained:
        """Train the network of a session, which holds the weights to start from.

        Parameters
        ----------
        session : Session
            Of this network.
        rng : RandomState
            Where random numbers are drawn from, by a solver that needs any.
        told : Told or None
            Who is told of epochs or iterations.
        """
        raise NotImplementedError

    def compile(self, session: Session) -> None:
        """Have compiled, in this thread, what `train` runs in sessions like this one.

        Of use for a solver by epochs, whose starts other threads may train.
        """

    def _prepare(
        self, session: Session, n_rows: int, optimizer: Optimizer, regularisation: Regularisation
    ) -> None:
        """Have a session ready to train, in minibatches of so many rows."""
        data = self.problem.data
        session.prepare(
            data.rows,
            data.targets,
            data.sample_weight,
            n_rows,
            alpha=self.settings.alpha,
            optimizer=optimizer,
            regularisation=regularisation,
        )

    def _told_of(self, task: Told, name: str, session: Session) -> Epochs:
        """Who tells callbacks of each epoch, by its name."""
        return Epochs(task, name, session.get_parameters, self.problem.attributes)


class ByLBFGS(Solver):
    """Trains networks by L-BFGS."""

    def train(self, session: Session, rng: np.random.RandomState, told: Told | None) -> Trained:
        """Train the network of a session; see `Solver.train`."""
        settings, n_samples = self.settings, self.problem.data.rows.n_samples
        self._prepare(session, n_samples, Optimizer(), settings.regularisation)
        result = fit_lbfgs(
            session,
            max_iter=settings.max_iter,
            max_fun=settings.max_fun,
            tol=settings.tol,
            verbose=settings.verbose,
            watcher=None if told is None else self._told_of(told, "iteration", session),
        )
        return Trained(result, {"t_": self.earlier.get("t_", 0)})


@dataclass(frozen=True)
class ByEpochs(Solver):
    """Trains networks by epochs of minibatches.

    Attributes
    ----------
    order : ndarray of int64
        Rows to train on.
    validation : Validation or None
        With early stopping, the rows that it goes by.
    one_epoch : bool
        Whether this is partial_fit: one epoch, from where the last call left the optimizer.
    n_rows : int or None
        Rows of an epoch, where `order` does not name them.
    new_training : callable
        Makes the training, of what `Training` takes.
    """

    order: NDArray[np.int64]
    validation: Validation | None
    one_epoch: bool
    n_rows: int | None = None
    new_training: Callable[..., Training] = Training

    @property
    def rows_of_epoch(self) -> int:
        """Rows that an epoch goes through."""
        return len(self.order) if self.n_rows is None else self.n_rows

    def compile(self, session: Session) -> None:
        """Have compiled what `train` runs; see `Solver.compile`."""
        settings = self.settings
        # First, because a training that has been cancelled shuffles before it ends.
        shuffle(np.empty(0, np.int64), np.random.RandomState(0))
        n_rows = settings.minibatch_rows(self.rows_of_epoch)
        self._prepare(session, n_rows, settings.optimizer, settings.regularisation)
        session.compile(None if self.validation is None else self.validation.rows)

    def train(self, session: Session, rng: np.random.RandomState, told: Told | None) -> Trained:
        """Train the network of a session; see `Solver.train`."""
        settings, n_rows = self.settings, self.rows_of_epoch
        batch_size = settings.minibatch_rows(n_rows)
        regularisation = _seeded(settings.regularisation, rng)
        self._prepare(session, batch_size, settings.optimizer, regularisation)
        epochs = 1 if self.one_epoch else settings.max_iter
        watchers: list[Watcher] = [Lines(epochs)] if settings.verbose else []
        if told is not None:
            watchers.append(self._told_of(told, "epoch", session))
        schedule = make_schedule(settings.solver, *settings.schedule)
        if settings.factors is not None or settings.warmup > 0:
            schedule.scale = Scale(
                settings.factors, settings.warmup, settings.max_iter, -(-n_rows // batch_size)
            )
        higher_is_better = settings.early_stopping
        training = self.new_training(
            session,
            self.order.copy(),
            rng,
            schedule,
            Plateau(settings.tol, settings.n_iter_no_change, higher_is_better=higher_is_better),
            self.validation,
            samples_seen=self.earlier.get("t_", 0),
            shuffle=settings.shuffle,
            watchers=watchers,
            verbose=settings.verbose,
        )
        if self.one_epoch and self.earlier:
            _resume(training, settings, self.earlier)
        # Rates that fall until max_iter make it the planned end of training.
        planned = self.one_epoch or settings.factors is not None
        result = training.run(epochs, warn_unconverged=not planned)
        return Trained(result, self._learned(training, result))

    def _learned(self, training: Training, result: FitResult) -> Attributes:
        """Gather what an estimator takes on beside the weights; of histories, what is added."""
        settings, early_stopping = self.settings, self.settings.early_stopping
        best, best_epoch = training.plateau.best, result.best_epoch
        if best_epoch is not None:
            best_epoch += len(self.earlier.get("validation_scores_") or ())
        return {
            "t_": training.samples_seen,
            "loss_curve_": result.loss_curve,
            "learning_rate_curve_": result.rate_curve,
            "best_loss_": None if early_stopping else best,
            "validation_scores_": result.validation_scores if early_stopping else None,
            "validation_loss_curve_": result.validation_loss_curve if early_stopping else None,
            "best_validation_score_": best if early_stopping else None,
            "best_epoch_": best_epoch,
            "_training_state": state_after(training, result, settings.solver, settings.schedule),
        }


def _seeded(regularisation: Regularisation, rng: np.random.RandomState) -> Regularisation:
    """Draw the seed of dropout; without any, random numbers stay those of scikit-learn."""
    if not regularisation.drops:
        return regularisation
    return replace(regularisation, seed=int(rng.randint(2**32, dtype=np.uint32)))


def warn_of_batch_size(settings: Settings, n_samples: int) -> None:
    """Warn where there are fewer rows than a minibatch is to have."""
    if settings.by_epochs and settings.batch_size is not None and settings.batch_size > n_samples:
        warnings.warn(
            f"batch_size={settings.batch_size} is larger than the number of rows to train on: it "
            f"is clipped to {n_samples}.",
            UserWarning,
            stacklevel=2,
        )


def _resume(training: Training, settings: Settings, earlier: Mapping[str, Any]) -> None:
    """Go on from where the last call left the optimizer, the schedule and the best loss."""
    shapes = [np.shape(array) for array in (*earlier["coefs_"], *earlier["intercepts_"])]
    state = earlier.get("_training_state")
    goes_on = resume(training, state, settings.solver, settings.schedule, shapes)
    best_loss = earlier.get("best_loss_")
    if goes_on and best_loss is not None:
        training.plateau.best = best_loss
