"""The parameters of a network's estimator, and the settings that a call to fit makes of them."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from sklearn.utils._param_validation import Interval, Options

from fastmlp.estimators.parameters import one_of, parameter, takes_parameters
from fastmlp.network.optimizer import Optimizer
from fastmlp.training.initialization import LAYER_RULES
from fastmlp.training.weights import FLOAT32, FLOAT64

#: Solvers that go through the rows in epochs of minibatches.
STOCHASTIC_SOLVERS = ("sgd", "adam")

_AUTO_BATCH_SIZE = 200

_COUNT = Interval(Integral, 1, None, closed="left")
_POSITIVE = Interval(Real, 0, None, closed="neither")
_NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
_SHARE = Interval(Real, 0, 1, closed="left")


@takes_parameters
class MLPParameters:
    """Parameters of a multilayer perceptron: scikit-learn's, in its order, and own ones."""

    hidden_layer_sizes: Any = parameter(
        (100,),
        ["array-like", _COUNT],
        "Units of each hidden layer. ``()`` has none, and is logistic regression.",
        group="network",
        type_text="int or array-like of int",
    )
    activation: str = parameter(
        "relu",
        one_of("identity", "logistic", "tanh", "relu"),
        "What hidden units do with their input z: z, 1 / (1 + exp(−z)), tanh(z) or max(0, z).",
        group="network",
    )
    _: KW_ONLY
    solver: str = parameter(
        "adam",
        one_of("lbfgs", "sgd", "adam"),
        "How the loss is minimised: by L-BFGS-B over all rows at once, or over minibatches by "
        "gradient descent with momentum or by Adam.",
    )
    alpha: float = parameter(
        0.0001,
        _NOT_NEGATIVE,
        "Strength of the L2 penalty on the weights: ``alpha / 2 · Σ‖W‖²`` is added to the sum of "
        "the losses of a minibatch. Biases are not penalised.",
        group="regularisation",
    )
    batch_size: int | str = parameter(
        "auto",
        [one_of("auto"), _COUNT],
        'Rows of a minibatch; ``"auto"`` is ``min(200, n_samples)``. L-BFGS has no minibatches.',
    )
    learning_rate: str = parameter(
        "constant",
        one_of("constant", "invscaling", "adaptive"),
        'How the learning rate of ``solver="sgd"`` goes on from `learning_rate_init`: it stays, it '
        "falls with the number t of rows seen as ``learning_rate_init / (t + 1)**power_t``, or it "
        "is divided by 5 at each plateau, until it is at most 1e-6.",
    )
    learning_rate_init: float = parameter(
        0.001, _POSITIVE, 'The learning rate of the first epoch, for "sgd" and "adam".'
    )
    power_t: float = parameter(
        0.5, _NOT_NEGATIVE, 'The exponent of ``learning_rate="invscaling"``.'
    )
    max_iter: int = parameter(
        200, _COUNT, "The most epochs, or iterations of L-BFGS.", group="stopping"
    )
    shuffle: bool = parameter(
        True, "boolean", "Whether each epoch goes through the rows in a new order."
    )
    random_state: int | np.random.RandomState | None = parameter(
        None,
        "random_state",
        "Where the first weights, the split for early stopping and the order of the rows are drawn "
        "from. An int gives the same model each time, with any number of threads.",
    )
    tol: float = parameter(
        1e-4,
        _NOT_NEGATIVE,
        "The least improvement that counts. For L-BFGS, the largest entry of the gradient at which "
        "it stops.",
        group="stopping",
    )
    verbose: bool | int = parameter(False, "verbose", "Whether to print the loss of each epoch.")
    warm_start: bool = parameter(
        False, "boolean", "Whether `fit` goes on from the weights of the previous call."
    )
    momentum: float = parameter(
        0.9,
        Interval(Real, 0, 1, closed="both"),
        'The share of a step of "sgd" that goes on into the next; in [0, 1].',
    )
    nesterovs_momentum: bool = parameter(
        True, "boolean", 'Whether "sgd" takes the gradient\'s step from where the momentum leads.'
    )
    early_stopping: bool = parameter(
        False,
        "boolean",
        "Whether to hold out rows, to stop when the accuracy on them no longer improves, and to "
        'keep the weights of the best accuracy. "sgd" and "adam" only.',
        group="stopping",
    )
    validation_fraction: float = parameter(
        0.1, _SHARE, "The share of the rows to hold out for early stopping.", group="stopping"
    )
    beta_1: float = parameter(0.9, _SHARE, "Decay of Adam's mean of gradients; in [0, 1).")
    beta_2: float = parameter(
        0.999, _SHARE, "Decay of Adam's mean of squared gradients; in [0, 1)."
    )
    epsilon: float = parameter(1e-8, _POSITIVE, "Added to the denominator of Adam's step.")
    n_iter_no_change: float = parameter(
        10,
        [_COUNT, Options(Real, {np.inf})],
        "Training stops where more than this many epochs in a row improve by less than `tol`.",
        group="stopping",
    )
    max_fun: int = parameter(
        15000, _COUNT, "The most evaluations of the loss by L-BFGS.", group="stopping"
    )
    dtype: Any = parameter(
        "auto",
        [
            one_of("auto", "float32", "float64"),
            Options(type, {np.float32, np.float64, float}),
            Options(np.dtype, {FLOAT32, FLOAT64}),
        ],
        'The floating-point format of the weights and of all work. "auto" is float32 for a float32 '
        'X and float64 for any other. L-BFGS always works in float64, and with "auto" its weights '
        "stay float64.",
        group="machine",
        type_text='"auto", "float32", "float64" or the NumPy dtype',
    )
    weight_init: str = parameter(
        "glorot_uniform",
        one_of(*LAYER_RULES),
        'How weights start. "glorot_uniform" is scikit-learn\'s start, biases included; the others '
        "start with biases of 0.",
        group="network",
    )
    n_threads: int | None = parameter(
        None,
        [None, _COUNT, Interval(Integral, None, -1, closed="right")],
        "The most threads to use. None and -1 are numba's number of threads, -2 is one less, and "
        "so on. The number changes no result.",
        group="machine",
        type_text="int or None",
    )


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


@dataclass(frozen=True)
class Settings:
    """What a call to fit trains by: the estimator's parameters, checked and brought to one form.

    Attributes
    ----------
    hidden : tuple of int
        Units of each hidden layer.
    activation, weight_init : str
        As the parameters.
    dtype : dtype or None
        The dtype of the weights; None where X or the present weights decide.
    n_threads : int or None
        As the parameter.
    solver : str
        As the parameter.
    optimizer : Optimizer
        The update of a solver by epochs, and its constants.
    schedule : tuple of (learning_rate, learning_rate_init, power_t)
        What names a schedule of learning rates.
    alpha : float
        As the parameter.
    batch_size : int or None
        Rows of a minibatch; None for "auto".
    shuffle, verbose, early_stopping : bool
        As the parameters.
    random_state : int, RandomState or None
        As the parameter.
    max_iter, max_fun, tol, n_iter_no_change, validation_fraction : int or float
        As the parameters.
    """

    hidden: tuple[int, ...]
    activation: str
    weight_init: str
    dtype: np.dtype[Any] | None
    n_threads: int | None
    solver: str
    optimizer: Optimizer
    schedule: tuple[str, float, float]
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

    @classmethod
    def of(cls, parameters: MLPParameters) -> Self:
        """Read the parameters of an estimator.

        Numbers become Python's own: with one of NumPy's float32, the next sum would be rounded to
        float32 as well.

        Raises
        ------
        ValueError
            If an entry of hidden_layer_sizes is not a positive integer.
        """
        p = parameters
        return cls(
            hidden=check_hidden_layer_sizes(p.hidden_layer_sizes),
            activation=p.activation,
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
            schedule=(p.learning_rate, float(p.learning_rate_init), float(p.power_t)),
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
        )

    @property
    def by_epochs(self) -> bool:
        """Whether the solver goes through the rows in epochs of minibatches."""
        return self.solver in STOCHASTIC_SOLVERS

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
