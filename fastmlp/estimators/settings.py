"""The settings that a call to fit makes of an estimator's parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastmlp.estimators.mlp_parameters import MLPParameters
from fastmlp.network.optimizer import Optimizer
from fastmlp.network.regularisation import Regularisation
from fastmlp.training.schedules import by_function, cosine
from fastmlp.training.weights import FLOAT32, FLOAT64, Activations, check_activation

#: Solvers that go through the rows in epochs of minibatches.
STOCHASTIC_SOLVERS = ("sgd", "adam")

_AUTO_BATCH_SIZE = 200


def check_hidden_layer_sizes(sizes: Any) -> tuple[int, ...]:
    """Bring the parameter hidden_layer_sizes to a tuple of positive ints.

    Raises
    ------
    ValueError
        If an entry is not a positive integer.
    """
    entries = list(sizes) if np.iterable(sizes) else [sizes]
    entries = [
        entry.item() if isinstance(entry, np.ndarray) and entry.ndim == 0 else entry
        for entry in entries
    ]
    if not all(isinstance(n, Integral) and not isinstance(n, bool) for n in entries):
        raise ValueError(f"hidden_layer_sizes must be an int or a sequence of ints, got {sizes!r}.")
    if any(n <= 0 for n in entries):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {entries}.")
    return tuple(int(n) for n in entries)


def check_dropout(dropout: Any, hidden: tuple[int, ...]) -> tuple[float, ...]:
    """Bring the parameter dropout to a share for each hidden layer; to () where there is none.

    Raises
    ------
    ValueError
        If it has another length, or an entry that is not in [0, 1).
    """
    one = isinstance(dropout, Real) and not isinstance(dropout, bool)
    shares = [dropout] * len(hidden) if one else list(np.asarray(dropout, dtype=object).ravel())
    if len(shares) != len(hidden):
        raise ValueError(
            f"dropout={dropout!r} must be a number or one for each of the {len(hidden)} hidden "
            "layers."
        )
    if not all(
        isinstance(s, Real) and not isinstance(s, bool) and 0 <= float(s) < 1 for s in shares
    ):
        raise ValueError(f"dropout must be in [0, 1), got {dropout!r}.")
    values = tuple(float(share) for share in shares)
    return values if any(values) else ()


def _check_together(parameters: MLPParameters) -> None:
    """Check parameters that make sense with some others only.

    Raises
    ------
    ValueError
        If one is set beside others with which it would do nothing.
    """
    p = parameters
    by_epochs = {
        "scoring": p.scoring is not None,
        "learning_rate": p.learning_rate == "cosine" or not isinstance(p.learning_rate, str),
        "warmup": p.warmup > 0,
        "dropout": np.any(np.asarray(p.dropout) != 0),
        "input_dropout": p.input_dropout > 0,
        "weight_decay": p.weight_decay > 0,
        "ema_decay": p.ema_decay is not None,
        "max_grad_norm": p.max_grad_norm is not None,
    }
    if p.solver not in STOCHASTIC_SOLVERS:
        for name, is_set in by_epochs.items():
            if is_set:
                raise ValueError(
                    f"{name}={getattr(p, name)!r} needs solver='adam' or 'sgd': L-BFGS has no "
                    "minibatches."
                )
    if p.scoring is not None and not p.early_stopping:
        raise ValueError(f"scoring={p.scoring!r} needs early_stopping=True, which goes by it.")


def _factors(
    learning_rate: str | Callable[[float], float],
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]] | None:
    """Find what the learning rate is multiplied by; None for scikit-learn's names."""
    if callable(learning_rate):
        return by_function(learning_rate)
    return cosine if learning_rate == "cosine" else None


@dataclass(frozen=True)
class Settings:
    """What a call to fit trains by: the estimator's parameters, checked and brought to one form.

    Attributes
    ----------
    hidden : tuple of int
        Units of each hidden layer.
    activations : tuple of str or Activation
        Of each hidden layer.
    last_activation : str or Activation
        Whose slope sets the scale of the last weights, as in scikit-learn: that of the last hidden
        layer, or the parameter where there is none.
    weight_init : str
        As the parameter.
    dtype : dtype or None
        The dtype of the weights; None where X or the present weights decide.
    n_threads : int or None
        As the parameter.
    solver : str
        As the parameter.
    optimizer : Optimizer
        The update of a solver by epochs, and its constants.
    schedule : tuple of (learning_rate, learning_rate_init, power_t)
        What names a schedule of learning rates; "callable" is the name of a function.
    factors : callable or None
        From shares of the training done to factors of the rate; None where all are 1.
    warmup : float
        As the parameter.
    alpha : float
        As the parameter.
    batch_size : int or None
        Rows of a minibatch; None for "auto".
    shuffle, verbose, early_stopping : bool
        As the parameters.
    class_weight, scoring, n_init : object
        As the parameters.
    regularisation : Regularisation
        What is done in training beside the L2 term.
    random_state : int, RandomState or None
        As the parameter.
    max_iter, max_fun, tol, n_iter_no_change, validation_fraction : int or float
        As the parameters.
    """

    hidden: tuple[int, ...]
    activations: Activations
    last_activation: Any
    weight_init: str
    dtype: np.dtype[Any] | None
    n_threads: int | None
    solver: str
    optimizer: Optimizer
    schedule: tuple[str, float, float]
    factors: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None
    warmup: float
    alpha: float
    batch_size: int | None
    shuffle: bool
    random_state: int | np.random.RandomState | None
    max_iter: int
    max_fun: int
    tol: float
    n_iter_no_change: float
    early_stopping: bool
    validation_fraction: float
    verbose: bool
    class_weight: dict[Any, float] | str | None
    scoring: str | Callable[..., float] | None
    n_init: int
    regularisation: Regularisation

    @classmethod
    def of(cls, parameters: MLPParameters) -> Self:
        """Read the parameters of an estimator.

        Numbers become Python's own: with one of NumPy's float32, the next sum would be rounded to
        float32 as well.

        Raises
        ------
        ValueError
            If an entry of hidden_layer_sizes is not a positive integer, if dropout is no share of
            each layer, if a function for learning_rate returns no factor, or if parameters do not
            go together.
        """
        p = parameters
        hidden = check_hidden_layer_sizes(p.hidden_layer_sizes)
        activations = check_activation(p.activation, len(hidden))
        dropout = check_dropout(p.dropout, hidden)
        _check_together(p)
        schedule = p.learning_rate if isinstance(p.learning_rate, str) else "callable"
        return cls(
            hidden=hidden,
            activations=activations,
            last_activation=activations[-1] if activations else p.activation,
            weight_init=p.weight_init,
            dtype=None if isinstance(p.dtype, str) and p.dtype == "auto" else np.dtype(p.dtype),
            n_threads=None if p.n_threads is None else int(p.n_threads),
            solver=p.solver,
            optimizer=Optimizer(
                solver=p.solver,
                momentum=float(p.momentum),
                nesterov=bool(p.nesterovs_momentum),
                beta_1=float(p.beta_1),
                beta_2=float(p.beta_2),
                epsilon=float(p.epsilon),
            ),
            schedule=(schedule, float(p.learning_rate_init), float(p.power_t)),
            factors=_factors(p.learning_rate),
            warmup=float(p.warmup),
            alpha=float(p.alpha),
            batch_size=None if isinstance(p.batch_size, str) else int(p.batch_size),
            shuffle=p.shuffle,
            random_state=p.random_state,
            max_iter=int(p.max_iter),
            max_fun=int(p.max_fun),
            tol=float(p.tol),
            n_iter_no_change=p.n_iter_no_change,
            early_stopping=p.early_stopping,
            validation_fraction=float(p.validation_fraction),
            verbose=bool(p.verbose),
            class_weight=p.class_weight,
            scoring=p.scoring,
            n_init=int(p.n_init),
            regularisation=Regularisation(
                dropout=dropout,
                input_dropout=float(p.input_dropout),
                weight_decay=float(p.weight_decay),
                ema_decay=None if p.ema_decay is None else float(p.ema_decay),
                max_grad_norm=None if p.max_grad_norm is None else float(p.max_grad_norm),
                label_smoothing=float(p.label_smoothing),
            ),
        )

    @property
    def by_epochs(self) -> bool:
        """Whether the solver goes through the rows in epochs of minibatches."""
        return self.solver in STOCHASTIC_SOLVERS

    @property
    def calls_the_user(self) -> bool:
        """Whether training calls a function of the user's."""
        return callable(self.scoring) or self.schedule[0] == "callable"

    @property
    def learning_rate_init(self) -> float:
        """The learning rate of the first epoch."""
        return self.schedule[1]

    def minibatch_rows(self, n_samples: int) -> int:
        """Say how many of the rows to train on a minibatch has; L-BFGS takes all at once."""
        if not self.by_epochs:
            return n_samples
        return min(_AUTO_BATCH_SIZE if self.batch_size is None else self.batch_size, n_samples)

    def first_dtype(self, dtype_of_x: np.dtype[Any]) -> np.dtype[Any]:
        """Say which dtype new weights have."""
        dtype = dtype_of_x if self.dtype is None else self.dtype
        return FLOAT32 if dtype == FLOAT32 else FLOAT64
