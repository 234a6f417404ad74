"""What lies between the estimator's methods and the engine: from checked input to a trained model.

A call to fit goes through four steps: check the input, find the weights to start with, train, and
take on what came of it. The estimator's attributes change in the last step alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastmlp.data.checks import (
    check_fits_in,
    check_hidden_layer_sizes,
    check_labels,
    check_parameters,
    check_prediction_data,
    check_training_data,
    encode,
)
from fastmlp.engine import Engine, Optimizer, OptimizerState
from fastmlp.export.saving import opened, sealed
from fastmlp.network import Network
from fastmlp.rows import Rows, as_rows
from fastmlp.training.initialization import initial_parameters
from fastmlp.training.lbfgs import fit_lbfgs
from fastmlp.training.loop import FitResult, Training, all_finite
from fastmlp.training.schedules import make_schedule
from fastmlp.training.stopping import Plateau, accuracy, always_right, hold_out

Array = NDArray[Any]

STOCHASTIC_SOLVERS = ("sgd", "adam")
FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)

# What training by epochs leaves and L-BFGS does not.
_SET_BY_EPOCHS = (
    "loss_curve_",
    "best_loss_",
    "validation_scores_",
    "best_validation_score_",
    "_training_state",
)


@contextmanager
def nothing_lost(estimator: Any) -> Iterator[None]:
    """Give an estimator its old attributes back if training fails or is interrupted.

    Training never writes into fitted arrays and lists, so the old ones are whole.
    """
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        estimator.__dict__ = before
        raise


def _dtype_of(coefs: list[Array]) -> np.dtype[Any]:
    """Say which dtype a network with these weights works in."""
    return FLOAT32 if coefs[0].dtype == FLOAT32 else FLOAT64


@lru_cache(maxsize=64)
def _network(widths: tuple[int, ...], activation: str, dtype: np.dtype[Any]) -> Network:
    """Make a network, or take the one made before: its layout is worked out once."""
    return Network(widths, (activation,) * (len(widths) - 2), dtype)


class BinaryNetwork(BaseEstimator):
    """Trains a network and predicts with it, by the parameters that `MLPBinaryClassifier` takes."""

    hidden_layer_sizes: Any
    activation: str
    solver: str
    alpha: float
    batch_size: int | str
    learning_rate: str
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: int | np.random.RandomState | None
    tol: float
    verbose: bool | int
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int
    dtype: str
    weight_init: str
    n_threads: int | None

    classes_: Array
    coefs_: list[Array]
    intercepts_: list[Array]

    def __getstate__(self) -> dict[str, Any]:
        return sealed(super().__getstate__())

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(opened(state))

    def _inference(self, X: Any) -> tuple[Engine, Rows]:
        """Check X, and make the engine that predicts."""
        if "coefs_" not in vars(self):
            check_is_fitted(self)
        X = check_prediction_data(self, X)
        # One copy of all attributes, in one step: another thread may be fitting this estimator.
        fitted = vars(self).copy()
        coefs, intercepts, widths = check_parameters(
            fitted["coefs_"], fitted["intercepts_"], X.shape[1]
        )
        dtype = _dtype_of(coefs)
        check_fits_in(dtype, X)
        return self._engine(coefs, intercepts, widths, dtype), as_rows(X, dtype)

    def _engine(
        self,
        coefs: list[Array],
        intercepts: list[Array],
        widths: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> Engine:
        """Make an engine that holds the given weights."""
        engine = Engine(_network(widths, self.activation, dtype), self.n_threads)
        engine.set_parameters(coefs, intercepts)
        return engine

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        *,
        going_on: bool,
        one_epoch: bool = False,
    ) -> Self:
        """Train; if `going_on` and there are weights, from these."""
        going_on = going_on and hasattr(self, "coefs_")
        hidden = check_hidden_layer_sizes(self.hidden_layer_sizes)
        X, y, classes, weight = check_training_data(self, X, y, sample_weight, reset=not going_on)
        if hasattr(self, "classes_") and (going_on or one_epoch):
            check_labels(classes, self.classes_, warm_start=not one_epoch)
            classes = self.classes_

        rng = check_random_state(self.random_state)
        if going_on:
            coefs, intercepts, widths = self._present_parameters(hidden)
        else:
            coefs, intercepts, widths = self._new_parameters((X.shape[1], *hidden, 1), X.dtype, rng)
        dtype = _dtype_of(coefs)
        check_fits_in(dtype, X)

        by_epochs = self.solver in STOCHASTIC_SOLVERS
        working_dtype = dtype if by_epochs else FLOAT64
        engine = self._engine(coefs, intercepts, widths, working_dtype)
        del coefs, intercepts  # as large as the engine's own
        rows = as_rows(X, working_dtype)
        targets = encode(y, classes)
        if by_epochs:
            metric = accuracy if len(classes) == 2 else always_right
            result, learned = self._fit_by_epochs(
                engine, rows, targets, weight, rng, metric, going_on=going_on, one_epoch=one_epoch
            )
        else:
            result, learned = self._fit_lbfgs(engine, rows, targets, weight, going_on=going_on)
            if self.dtype == "auto":
                dtype = FLOAT64
        coefs, intercepts = (
            [array.astype(dtype, copy=False) for array in arrays] for arrays in result.parameters
        )
        if not all_finite((coefs, intercepts)):
            raise ValueError(
                "Solver produced non-finite parameter weights: training diverged. Scale X, or "
                "lower learning_rate_init."
            )

        for name in _SET_BY_EPOCHS:
            self.__dict__.pop(name, None)
        self.__dict__.update(
            classes_=classes,
            coefs_=coefs,
            intercepts_=intercepts,
            n_iter_=result.n_iter,
            loss_=result.loss,
            n_layers_=len(widths),
            n_outputs_=1,
            out_activation_="logistic",
            **learned,
        )
        return self

    def _present_parameters(
        self, hidden: tuple[int, ...]
    ) -> tuple[list[Array], list[Array], tuple[int, ...]]:
        """Take the weights that there are, in the dtype to work in."""
        coefs, intercepts, widths = check_parameters(
            self.coefs_, self.intercepts_, self.n_features_in_
        )
        if widths[1:-1] != hidden:
            raise ValueError(
                f"hidden_layer_sizes={hidden} differs from the trained network's {widths[1:-1]}, "
                "with which warm_start and partial_fit go on."
            )
        if self.dtype != "auto":
            coefs = [weights.astype(self.dtype, copy=False) for weights in coefs]
        return coefs, intercepts, widths

    def _new_parameters(
        self, widths: tuple[int, ...], dtype_of_x: np.dtype[Any], rng: np.random.RandomState
    ) -> tuple[list[Array], list[Array], tuple[int, ...]]:
        """Draw weights to start with, in the dtype to work in."""
        dtype = np.dtype(self.dtype) if self.dtype != "auto" else dtype_of_x
        if dtype != FLOAT32:
            dtype = FLOAT64
        activations = (self.activation,) * (len(widths) - 1)
        return *initial_parameters(self.weight_init, widths, activations, dtype, rng), widths

    def _fit_lbfgs(
        self,
        engine: Engine,
        rows: Rows,
        targets: Array,
        weight: Array | None,
        *,
        going_on: bool,
    ) -> tuple[FitResult, dict[str, Any]]:
        """Train by L-BFGS. Returns the model, and the further attributes that come of it."""
        n_samples = rows.n_samples
        engine.prepare(rows, targets, weight, n_samples, alpha=self.alpha, optimizer=Optimizer())
        result = fit_lbfgs(
            engine,
            max_iter=self.max_iter,
            max_fun=self.max_fun,
            tol=self.tol,
            verbose=bool(self.verbose),
        )
        return result, {"t_": getattr(self, "t_", 0) if going_on else 0}

    def _fit_by_epochs(
        self,
        engine: Engine,
        rows: Rows,
        targets: Array,
        weight: Array | None,
        rng: np.random.RandomState,
        metric: Any,
        *,
        going_on: bool,
        one_epoch: bool,
    ) -> tuple[FitResult, dict[str, Any]]:
        """Train by epochs. Returns the model, and the further attributes that come of it."""
        order, validation = np.arange(rows.n_samples, dtype=np.int64), None
        if self.early_stopping:
            order, validation = hold_out(
                rows, targets, weight, self.validation_fraction, rng, metric
            )
        optimizer = Optimizer(
            solver=self.solver,
            momentum=self.momentum,
            nesterov=bool(self.nesterovs_momentum),
            beta_1=self.beta_1,
            beta_2=self.beta_2,
            epsilon=self.epsilon,
        )
        batch_size = self._batch_size(len(order))
        engine.prepare(rows, targets, weight, batch_size, alpha=self.alpha, optimizer=optimizer)
        schedule_settings = (self.learning_rate, self.learning_rate_init, self.power_t)
        training = Training(
            engine,
            order,
            rng,
            make_schedule(self.solver, *schedule_settings),
            Plateau(self.tol, self.n_iter_no_change, higher_is_better=self.early_stopping),
            validation,
            samples_seen=getattr(self, "t_", 0) if going_on else 0,
            shuffle=self.shuffle,
            verbose=bool(self.verbose),
        )
        if one_epoch and going_on:
            self._resume(training, schedule_settings)
        result = training.run(1 if one_epoch else self.max_iter, warn_unconverged=not one_epoch)
        assert result.moments is not None

        earlier = vars(self) if going_on else {}
        scores = [*(earlier.get("validation_scores_") or ()), *result.validation_scores]
        best = training.plateau.best
        return result, {
            "t_": training.samples_seen,
            "loss_curve_": [*earlier.get("loss_curve_", ()), *result.loss_curve],
            "best_loss_": None if self.early_stopping else best,
            "validation_scores_": scores if self.early_stopping else None,
            "best_validation_score_": best if self.early_stopping else None,
            # Built-in types and arrays alone: such a pickle outlives changes of this package.
            "_training_state": {
                "solver": self.solver,
                "shapes": [array.shape for arrays in result.parameters for array in arrays],
                "schedule": schedule_settings,
                "learning_rate": training.schedule.rate,
                "epochs_without_improvement": training.plateau.count,
                "step": result.moments.step,
                "moments": result.moments.moments,
            },
        }

    def _resume(self, training: Training, schedule_settings: tuple[str, float, float]) -> None:
        """Set the optimizer, schedule and plateau to where the last call left them."""
        state = vars(self).get("_training_state")
        shapes = [np.shape(array) for array in (*self.coefs_, *self.intercepts_)]
        if state is None or state["solver"] != self.solver or state["shapes"] != shapes:
            return
        training.engine.set_moments(OptimizerState(state["step"], state["moments"]))
        training.plateau.count = state["epochs_without_improvement"]
        best_loss = vars(self).get("best_loss_")
        if best_loss is not None:
            training.plateau.best = best_loss
        if state["schedule"] == schedule_settings:
            training.schedule.rate = state["learning_rate"]

    def _batch_size(self, n_samples: int) -> int:
        """Clip the parameter batch_size to the number of rows to train on."""
        if isinstance(self.batch_size, str):
            return min(200, n_samples)
        if self.batch_size > n_samples:
            warnings.warn(
                f"batch_size={self.batch_size} is larger than the number of rows to train on: it "
                f"is clipped to {n_samples}.",
                UserWarning,
                stacklevel=2,
            )
        return min(int(self.batch_size), n_samples)
