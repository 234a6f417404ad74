"""How each solver trains an estimator's network, and which attributes come of it.

`earlier` is what an estimator that goes on from earlier calls has as attributes; it is empty where
training starts anew.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.data.checks import TrainingData
from fastmlp.data.split import Validation, accuracy, always_right, hold_out
from fastmlp.estimators.settings import Settings
from fastmlp.network.session import Optimizer, Session
from fastmlp.training.lbfgs import fit_lbfgs
from fastmlp.training.loop import FitResult, Training
from fastmlp.training.schedules import make_schedule
from fastmlp.training.state import resume, state_after
from fastmlp.training.stopping import Plateau

Attributes = dict[str, Any]


def train_by_lbfgs(
    session: Session, data: TrainingData, settings: Settings, earlier: Mapping[str, Any]
) -> tuple[FitResult, Attributes]:
    """Train by L-BFGS. Returns the model, and the further attributes that come of it."""
    rows = data.rows
    session.prepare(
        rows,
        data.targets,
        data.sample_weight,
        rows.n_samples,
        alpha=settings.alpha,
        optimizer=Optimizer(),
    )
    result = fit_lbfgs(
        session,
        max_iter=settings.max_iter,
        max_fun=settings.max_fun,
        tol=settings.tol,
        verbose=settings.verbose,
    )
    return result, {"t_": earlier.get("t_", 0)}


def train_by_epochs(
    session: Session,
    data: TrainingData,
    settings: Settings,
    rng: np.random.RandomState,
    earlier: Mapping[str, Any],
    *,
    one_epoch: bool,
) -> tuple[FitResult, Attributes]:
    """Train by epochs. Returns the model, and the further attributes that come of it.

    Parameters
    ----------
    session : Session
        Holds the weights to start from.
    data : TrainingData
        What to train on.
    settings : Settings
        The parameters.
    rng : RandomState
        Where the split and the orders of the rows are drawn from.
    earlier : mapping
        The attributes to go on from.
    one_epoch : bool
        Whether this is partial_fit: one epoch, from where the last call left the optimizer.
    """
    order, validation = _split(data, settings, rng)
    session.prepare(
        data.rows,
        data.targets,
        data.sample_weight,
        _batch_size(settings, len(order)),
        alpha=settings.alpha,
        optimizer=settings.optimizer,
    )
    training = Training(
        session,
        order,
        rng,
        make_schedule(settings.solver, *settings.schedule),
        Plateau(settings.tol, settings.n_iter_no_change, higher_is_better=settings.early_stopping),
        validation,
        samples_seen=earlier.get("t_", 0),
        shuffle=settings.shuffle,
        verbose=settings.verbose,
    )
    if one_epoch and earlier:
        _resume(training, settings, earlier)
    epochs = 1 if one_epoch else settings.max_iter
    result = training.run(epochs, warn_unconverged=not one_epoch)
    return result, _learned(training, result, settings)


def _split(
    data: TrainingData, settings: Settings, rng: np.random.RandomState
) -> tuple[NDArray[np.int64], Validation | None]:
    """Say which rows to train on, and with early stopping, on which to validate."""
    if not settings.early_stopping:
        return np.arange(data.rows.n_samples, dtype=np.int64), None
    metric = accuracy if len(data.classes) == 2 else always_right
    fraction = settings.validation_fraction
    return hold_out(data.rows, data.targets, data.sample_weight, fraction, rng, metric)


def _batch_size(settings: Settings, n_samples: int) -> int:
    """Say how many rows a minibatch has; a warning where the parameter is clipped."""
    if settings.batch_size is not None and settings.batch_size > n_samples:
        warnings.warn(
            f"batch_size={settings.batch_size} is larger than the number of rows to train on: it "
            f"is clipped to {n_samples}.",
            UserWarning,
            stacklevel=2,
        )
    return settings.minibatch_rows(n_samples)


def _resume(training: Training, settings: Settings, earlier: Mapping[str, Any]) -> None:
    """Go on from where the last call left the optimizer, the schedule and the best loss."""
    shapes = [np.shape(array) for array in (*earlier["coefs_"], *earlier["intercepts_"])]
    state = earlier.get("_training_state")
    goes_on = resume(training, state, settings.solver, settings.schedule, shapes)
    best_loss = earlier.get("best_loss_")
    if goes_on and best_loss is not None:
        training.plateau.best = best_loss


def _learned(training: Training, result: FitResult, settings: Settings) -> Attributes:
    """Gather what an estimator takes on beside the weights; of histories, what this call adds."""
    early_stopping, best = settings.early_stopping, training.plateau.best
    return {
        "t_": training.samples_seen,
        "loss_curve_": result.loss_curve,
        "best_loss_": None if early_stopping else best,
        "validation_scores_": result.validation_scores if early_stopping else None,
        "best_validation_score_": best if early_stopping else None,
        "_training_state": state_after(training, result, settings.solver, settings.schedule),
    }
