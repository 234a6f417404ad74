"""MLPBinaryClassifier: fitted attributes, and the methods of a scikit-learn classifier."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils.metaestimators import available_if

from fastmlp.estimators import fitting
from fastmlp.estimators.attributes import FITTED, HISTORIES
from fastmlp.estimators.callbacks import CallbackSupportMixin
from fastmlp.estimators.given import Given
from fastmlp.estimators.leaving import Leaves
from fastmlp.estimators.mlp_parameters import MLPParameters
from fastmlp.estimators.parameters import parameters_of, takes_parameters
from fastmlp.estimators.prediction import logits, probabilities, sensitivity
from fastmlp.estimators.probabilities import log_probabilities
from fastmlp.estimators.settings import STOCHASTIC_SOLVERS
from fastmlp.export.saving import opened, sealed

Array = NDArray[Any]

#: Around every method that computes. Numbers that overflow or underflow in NumPy on the way to a
#: result are as little an error as in kernels, whatever np.seterr or a filter of warnings says.
_as_in_kernels = np.errstate(all="ignore")


def solver_is_stochastic(estimator: MLPBinaryClassifier) -> bool:
    """Say whether partial_fit exists."""
    if estimator.solver not in STOCHASTIC_SOLVERS:
        raise AttributeError(
            f"partial_fit needs a solver that trains by epochs, and {estimator.solver!r} does not."
        )
    return True


def _own_attributes() -> set[str]:
    """Names of the parameters and of what training leaves, without those of a subclass."""
    return {*parameters_of(MLPBinaryClassifier), *FITTED}


@takes_parameters
class MLPBinaryClassifier(
    CallbackSupportMixin, ClassifierMixin, Leaves, MLPParameters, BaseEstimator
):
    """Multilayer perceptron for two classes.

    The network has hidden layers of any differentiable activation and one sigmoid unit at its
    output. It minimises the binary cross-entropy with an L2 penalty. The parameters, their defaults
    and the numbers that come out are those of scikit-learn's MLPClassifier; those from `dtype` on
    are this class's own.

    Parameters
    ----------
    {parameters}

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
        `partial_fit` add to it, as to the other curves. Not set by L-BFGS, and dropped by it in a
        warm start.
    learning_rate_curve_ : list of float
        The mean learning rate of each epoch. Not set by L-BFGS.
    validation_scores_ : list of float or None
        With early stopping, the accuracy after each epoch on the validation rows, or what `scoring`
        names (of "loss", the negative). Not set by L-BFGS.
    validation_loss_curve_ : list of float or None
        With early stopping, the loss after each epoch on the validation rows, without the L2 term
        that is part of `loss_curve_`. Not set by L-BFGS.
    best_validation_score_ : float or None
        With early stopping, the best score of the last call to `fit`. Not set by L-BFGS.
    best_epoch_ : int or None
        With early stopping, the epoch whose weights the model has: an index into
        `validation_scores_` and `validation_loss_curve_`. None where no score is above -inf. Not
        set by L-BFGS.
    init_scores_ : ndarray of shape (n_init,)
        What each start of the last call to `fit` reached: its best validation score with early
        stopping, else its last loss. Those that an interrupt left out are missing.
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
    The parameters by what they are about:

    {groups}

    `coefs_` and `intercepts_` are the model: edit them, and prediction, `partial_fit` and a warm
    start go on from what they hold.

    Sums and products that overflow or underflow are no errors, whatever ``np.seterr`` says: a
    result that is not finite raises a ValueError with a reason.

    If `fit` or `partial_fit` fails, an estimator that was fitted before is as it was. An interrupt
    (Ctrl-C) between or within epochs ends training early, with a warning and the newest weights.

    References
    ----------
    .. [1] X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward
       neural networks", AISTATS 2010.
    .. [2] D. Kingma and J. Ba, "Adam: A method for stochastic optimization", ICLR 2015.
    .. [3] K. He et al., "Delving deep into rectifiers", ICCV 2015.
    .. [4] I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR 2019.

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

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        for name in HISTORIES:
            # Training adds to these lists: a copy has its own, and a file gets what is sealed.
            if isinstance(state.get(name), list):
                state[name] = list(state[name])
        return sealed(state, _own_attributes(), names=type(self) is MLPBinaryClassifier)

    def __setstate__(self, state: Any) -> None:
        names = type(self) is MLPBinaryClassifier
        attributes = opened(state, _own_attributes(), names=names)
        # A file of before a parameter was added does without it.
        defaults = {name: each.default for name, each in parameters_of(type(self)).items()}
        super().__setstate__({**defaults, **attributes})

    @_fit_context(prefer_skip_nested_validation=True)
    @_as_in_kernels
    def fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: Any = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Train the network.

        Parameters
        ----------
        X : array-like or CSR/CSC of shape (n_samples, n_features)
            The features: finite numbers. Integers, bools and floats are read where they lie,
            whatever their order in memory.
        y : array-like of shape (n_samples,)
            The labels: any two, or one.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, not negative. A minibatch whose weights are all 0 is left out. One
            below the smallest number of the dtype times the largest weight counts as 0.
        X_val : array-like or CSR/CSC of shape (n_validation, n_features), default=None
            Rows for early stopping to go by, in place of a part of X. A `Pipeline` transforms them
            as X with ``transform_input=["X_val"]``.
        y_val : array-like of shape (n_validation,), default=None
            Their labels.
        sample_weight_val : array-like of shape (n_validation,), default=None
            Their weights.

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
            If `max_iter` or `max_fun` is reached first, but for `max_iter` as the end of a
            `learning_rate` that was made for it ("cosine", or a function). Where a filter makes an
            error of it, the estimator is fitted when it is raised.
        UserWarning
            If training is interrupted, or if `scoring` gives every epoch -inf or NaN and the last
            weights are kept, likewise; and before training, if `batch_size` is larger than the
            number of rows.
        """
        fitting.fit(self, Given(X, y, sample_weight, X_val, y_val, sample_weight_val))
        return self

    @available_if(solver_is_stochastic)
    @_as_in_kernels
    def partial_fit(
        self,
        X: Any,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch, from where the last call left the weights and the optimizer.

        A change of `learning_rate`, `learning_rate_init` or `power_t` between calls starts the
        schedule anew, but for one function in place of another, which goes on at the same share of
        training; one of `solver` starts the optimizer anew. Other parameters hold from the next
        call on, but for `hidden_layer_sizes`, a change of which is an error.

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
            is set, because one epoch has nothing to stop; if `class_weight` is "balanced"; if
            `n_init` is more than 1.
        """
        # scikit-learn's decorator would leave this out for an estimator that is fitted.
        if not get_config()["skip_parameter_validation"]:
            self._validate_params()
        self._check_partial_fit()
        fitting.partial_fit(self, Given(X, y, sample_weight), classes)
        return self

    def _check_partial_fit(self) -> None:
        """Check that the parameters are such as one epoch can do with."""
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.class_weight == "balanced":
            raise ValueError(
                "partial_fit does not support class_weight='balanced', because it sees a part of "
                "the rows: give the weights in a dict."
            )
        if self.n_init > 1:
            raise ValueError(f"partial_fit trains one network, not n_init={self.n_init}.")

    @_as_in_kernels
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
        is_last = probabilities(self, X)[:, 1] > 0.5
        classes: Array = self.classes_
        if len(classes) == 1:
            return np.repeat(classes, len(is_last))
        return classes[is_last.astype(np.intp)]

    @_as_in_kernels
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
        return probabilities(self, X)

    @_as_in_kernels
    def predict_log_proba(self, X: Any) -> Array:
        """Predict the logarithms of the probabilities of both classes.

        They come from the logit, and are finite where a probability is too small for its dtype:
        down to −744. In a subclass with a `predict_proba` of its own, they are its logarithms.

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
        if type(self).predict_proba is not MLPBinaryClassifier.predict_proba:
            return np.log(self.predict_proba(X))
        return log_probabilities(logits(self, X))

    @_as_in_kernels
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
        return logits(self, X)

    @_as_in_kernels
    def input_gradient(self, X: Any) -> Array:
        """Compute how the logit changes with each feature of each row: ∂z/∂x.

        It is the δ recursion of backpropagation, carried one layer further than training does
        (N8 of the notes). Mean magnitudes over many rows rank features, if these have been scaled
        alike: see ``examples/sensitivity.py``.

        Parameters
        ----------
        X : array-like or CSR/CSC of shape (n_samples, n_features)
            The features.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In the dtype of the weights. Where a ReLU is at its kink, its slope there counts as 0.

        Raises
        ------
        ValueError
            If X is not as described, or so large that a result cannot be computed.
        """
        return sensitivity(self, X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.multi_class = False
        return tags
