"""The estimator: parameters, fitted attributes, and the methods of a scikit-learn classifier."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import get_config
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.metaestimators import available_if

from fastmlp.data.checks import check_classes
from fastmlp.estimators.fitting import STOCHASTIC_SOLVERS, BinaryNetwork, nothing_lost
from fastmlp.estimators.probabilities import log_probabilities
from fastmlp.training.initialization import LAYER_RULES

Array = NDArray[Any]


def _solver_is_stochastic(estimator: MLPBinaryClassifier) -> bool:
    """Say whether partial_fit exists."""
    if estimator.solver not in STOCHASTIC_SOLVERS:
        raise AttributeError(
            f"partial_fit needs a solver that trains by epochs, and {estimator.solver!r} does not."
        )
    return True


class MLPBinaryClassifier(ClassifierMixin, BinaryNetwork):
    """Multilayer perceptron for two classes.

    The network has ReLU, tanh, logistic or identity units in its hidden layers and one sigmoid unit
    at its output. It minimises the binary cross-entropy with an L2 penalty. The parameters, their
    defaults and the numbers that come out are those of scikit-learn's MLPClassifier; `dtype`,
    `weight_init` and `n_threads` are this class's own.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int, default=(100,)
        Units of each hidden layer. ``()`` has none, and is logistic regression.
    activation : {"identity", "logistic", "tanh", "relu"}, default="relu"
        What hidden units do with their input z: z, 1 / (1 + exp(−z)), tanh(z) or max(0, z).
    solver : {"lbfgs", "sgd", "adam"}, default="adam"
        How the loss is minimised: by L-BFGS-B over all rows at once, or over minibatches by
        gradient descent with momentum or by Adam.
    alpha : float, default=0.0001
        Strength of the L2 penalty on the weights: ``alpha / 2 · Σ‖W‖²`` is added to the sum of the
        losses of a minibatch. Biases are not penalised.
    batch_size : int or "auto", default="auto"
        Rows of a minibatch; ``"auto"`` is ``min(200, n_samples)``. L-BFGS has no minibatches.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        How the learning rate of ``solver="sgd"`` goes on from `learning_rate_init`: it stays, it
        falls with the number t of rows seen as ``learning_rate_init / (t + 1)**power_t``, or it is
        divided by 5 at each plateau, until it is at most 1e-6.
    learning_rate_init : float, default=0.001
        The learning rate of the first epoch, for "sgd" and "adam".
    power_t : float, default=0.5
        The exponent of ``learning_rate="invscaling"``.
    max_iter : int, default=200
        The most epochs, or iterations of L-BFGS.
    shuffle : bool, default=True
        Whether each epoch goes through the rows in a new order.
    random_state : int, RandomState instance or None, default=None
        Where the first weights, the split for early stopping and the order of the rows are drawn
        from. An int gives the same model each time, with any number of threads.
    tol : float, default=0.0001
        The least improvement that counts. For L-BFGS, the largest entry of the gradient at which
        it stops.
    verbose : bool or int, default=False
        Whether to print the loss of each epoch.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the previous call.
    momentum : float, default=0.9
        The share of a step of "sgd" that goes on into the next; in [0, 1].
    nesterovs_momentum : bool, default=True
        Whether "sgd" takes the gradient's step from where the momentum leads.
    early_stopping : bool, default=False
        Whether to hold out rows, to stop when the accuracy on them no longer improves, and to keep
        the weights of the best accuracy. "sgd" and "adam" only.
    validation_fraction : float, default=0.1
        The share of the rows to hold out for early stopping.
    beta_1 : float, default=0.9
        Decay of Adam's mean of gradients; in [0, 1).
    beta_2 : float, default=0.999
        Decay of Adam's mean of squared gradients; in [0, 1).
    epsilon : float, default=1e-8
        Added to the denominator of Adam's step.
    n_iter_no_change : int or inf, default=10
        Training stops where more than this many epochs in a row improve by less than `tol`.
    max_fun : int, default=15000
        The most evaluations of the loss by L-BFGS.
    dtype : {"auto", "float32", "float64"}, default="auto"
        The floating-point format of the weights and of all work. "auto" is float32 for a float32 X
        and float64 for any other. L-BFGS always works in float64, and with "auto" its weights stay
        float64.
    weight_init : {"glorot_uniform", "glorot_normal", "he_normal", "he_uniform"}, \
            default="glorot_uniform"
        How weights start. "glorot_uniform" is scikit-learn's start, biases included; the others
        start with biases of 0.
    n_threads : int or None, default=None
        The most threads to use; None is numba's number of threads. The number changes no result.

    Attributes
    ----------
    classes_ : ndarray of shape (2,), or (1,) for a target with one class
        The labels. The probability of the last one is what the network puts out.
    coefs_ : list of ndarray of shape (fan_in, fan_out)
        The weights of each layer.
    intercepts_ : list of ndarray of shape (fan_out,)
        The biases of each layer.
    loss_ : float
        The loss of the last epoch, or at L-BFGS's result.
    best_loss_ : float or None
        The lowest loss of an epoch; None with early stopping. Not set by L-BFGS.
    loss_curve_ : list of float
        The loss of each epoch, each minibatch taken before its update. Warm starts and
        `partial_fit` add to it. Not set by L-BFGS.
    validation_scores_ : list of float or None
        With early stopping, the accuracy after each epoch on the rows held out. Not set by L-BFGS.
    best_validation_score_ : float or None
        With early stopping, the best accuracy of the last call to `fit`. Not set by L-BFGS.
    t_ : int
        Rows that training went through, over all epochs.
    n_iter_ : int
        Epochs or iterations of the last call.
    n_layers_ : int
        Layers, with input and output.
    n_outputs_ : int
        1.
    out_activation_ : str
        "logistic".
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where X has names that are all strings.

    See Also
    --------
    sklearn.neural_network.MLPClassifier : The same model for any number of classes.

    Notes
    -----
    `coefs_` and `intercepts_` are the model: edit them, and prediction, `partial_fit` and a warm
    start go on from what they hold.

    If `fit` or `partial_fit` fails, an estimator that was fitted before is as it was. An interrupt
    (Ctrl-C) between or within epochs ends training early, with a warning and the newest weights.

    References
    ----------
    .. [1] X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward
       neural networks", AISTATS 2010.
    .. [2] D. Kingma and J. Ba, "Adam: A method for stochastic optimization", ICLR 2015.
    .. [3] K. He et al., "Delving deep into rectifiers", ICCV 2015.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from fastmlp import MLPBinaryClassifier
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), MLPBinaryClassifier(max_iter=500, random_state=0))
    >>> model.fit(X, y).score(X, y) > 0.98
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({"identity", "logistic", "tanh", "relu"})],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dtype": [StrOptions({"auto", "float32", "float64"})],
        "weight_init": [StrOptions(set(LAYER_RULES))],
        "n_threads": [None, Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dtype: str = "auto",
        weight_init: str = "glorot_uniform",
        n_threads: int | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dtype = dtype
        self.weight_init = weight_init
        self.n_threads = n_threads

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like or CSR/CSC of shape (n_samples, n_features)
            The features: finite numbers. Integers, bools and floats are read where they lie,
            whatever their order in memory.
        y : array-like of shape (n_samples,)
            The labels: any two, or one.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, not negative. A minibatch whose weights are all 0 is left out.

        Returns
        -------
        self : MLPBinaryClassifier
            The trained estimator.

        Raises
        ------
        ValueError
            If a parameter or the data are not as described, or if training ends in weights that
            are not finite.

        Warns
        -----
        ConvergenceWarning
            If `max_iter` or `max_fun` is reached first.
        UserWarning
            If `batch_size` is larger than the number of rows, or training is interrupted.
        """
        with nothing_lost(self):
            return self._fit(X, y, sample_weight, going_on=self.warm_start)

    @available_if(_solver_is_stochastic)
    def partial_fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch, from where the last call left the weights and the optimizer.

        A change of `learning_rate`, `learning_rate_init` or `power_t` between calls starts the
        schedule anew, one of `solver` the optimizer.

        Parameters
        ----------
        X : array-like or CSR/CSC of shape (n_samples, n_features)
            The features.
        y : array-like of shape (n_samples,)
            The labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
        classes : array-like of shape (n_classes,), default=None
            All labels that any call will see. Needed in the first call, checked in later ones.

        Returns
        -------
        self : MLPBinaryClassifier
            The trained estimator.

        Raises
        ------
        ValueError
            As `fit`; if the first call gives no `classes`; if y holds others; if `early_stopping`
            is set, because one epoch has nothing to stop.
        """
        # scikit-learn's decorator would leave this out for an estimator that is fitted.
        if not get_config()["skip_parameter_validation"]:
            self._validate_params()
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        with nothing_lost(self):
            self.classes_ = check_classes(getattr(self, "classes_", None), classes)
            return self._fit(X, y, sample_weight, going_on=True, one_epoch=True)

    def predict(self, X: Any) -> Array:
        """Predict labels: the last of `classes_` where its probability is above one half.

        Parameters
        ----------
        X : array-like or CSR/CSC of shape (n_samples, n_features)
            The features.

        Returns
        -------
        ndarray of shape (n_samples,)
            The labels.
        """
        is_last = self.predict_proba(X)[:, 1] > 0.5
        if len(self.classes_) == 1:
            return np.repeat(self.classes_, len(is_last))
        return self.classes_[is_last.astype(np.intp)]

    def predict_proba(self, X: Any) -> Array:
        """Predict the probabilities of both classes.

        Parameters
        ----------
        X : array-like or CSR/CSC of shape (n_samples, n_features)
            The features.

        Returns
        -------
        ndarray of shape (n_samples, 2)
            In the dtype of the weights; columns in the order of `classes_`.

        Raises
        ------
        ValueError
            If X is not as described, or so large that a logit cannot be computed.
        """
        engine, rows = self._inference(X)
        return self._without_nan(engine.probabilities(rows))

    def predict_log_proba(self, X: Any) -> Array:
        """Predict the logarithms of the probabilities of both classes.

        They come from the logit, and are finite where a probability is too small for its dtype:
        down to −744.

        Parameters
        ----------
        X : array-like or CSR/CSC of shape (n_samples, n_features)
            The features.

        Returns
        -------
        ndarray of shape (n_samples, 2)
            In the dtype of the weights; columns in the order of `classes_`.

        Raises
        ------
        ValueError
            If X is not as described, or so large that a logit cannot be computed.
        """
        return log_probabilities(self.decision_function(X))

    def decision_function(self, X: Any) -> Array:
        """Compute the logit z of the last of `classes_`, whose probability is 1 / (1 + exp(−z)).

        Parameters
        ----------
        X : array-like or CSR/CSC of shape (n_samples, n_features)
            The features.

        Returns
        -------
        ndarray of shape (n_samples,)
            In the dtype of the weights.

        Raises
        ------
        ValueError
            If X is not as described, or so large that a logit cannot be computed.
        """
        engine, rows = self._inference(X)
        return self._without_nan(engine.logits(rows))

    @staticmethod
    def _without_nan(outputs: Array) -> Array:
        """Outputs of shape (n_samples,) or (n_samples, 2); ValueError where one is NaN."""
        is_nan = np.isnan(outputs if outputs.ndim == 1 else outputs[:, 1])
        if is_nan.any():
            raise ValueError(
                f"Input X and the weights overflow {outputs.dtype}: the logit of "
                f"{np.count_nonzero(is_nan)} row(s) is not a number. Scale X."
            )
        return outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_class = False
        return tags
