"""DaskMLPBinaryClassifier: MLPBinaryClassifier on a Dask cluster."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Self

import dask
import numpy as np
from distributed import Client
from numpy.typing import ArrayLike, NDArray
from sklearn import clone, get_config
from sklearn.base import _fit_context
from sklearn.metrics import accuracy_score
from sklearn.utils._param_validation import Interval
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from fastmlp.dask import fitting
from fastmlp.dask.collections import is_collection
from fastmlp.dask.prediction import lazily
from fastmlp.estimators.attributes import FITTED
from fastmlp.estimators.classifier import MLPBinaryClassifier, solver_is_stochastic
from fastmlp.estimators.given import Given
from fastmlp.estimators.parameters import one_of, parameter, parameters_of, takes_parameters

Array = NDArray[Any]


@takes_parameters
class DaskMLPBinaryClassifier(MLPBinaryClassifier):
    """Multilayer perceptron for two classes, trained on a Dask cluster.

    Rows stay on the workers, as shards. In each of the rounds of an epoch, a shard goes on from the
    common weights over a share of its rows by itself; then weights and moments are averaged. With
    ``solver="lbfgs"``, the gradient of all rows is summed up, and the model is that of one process
    to rounding.

    The model depends on the partitions, on `n_shards` and on `random_state`, and on nothing else:
    not on how many workers there are, which of them is fast, and whether some are lost on the way.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    classes_, coefs_, intercepts_, n_iter_, loss_curve_, ...
        As those of `MLPBinaryClassifier`.

    See Also
    --------
    fastmlp.MLPBinaryClassifier : The same model in one process.
    fastmlp.streaming.fit : For rows that fit on a disk, but not into memory.

    Notes
    -----
    At equal epochs, a model comes out about as good as that of one process: with Adam, for 2, 4 and
    8 shards of 100 minibatches and more, log losses on seven tables were 0.97 to 1.01 of its on the
    held-out rows by which this was chosen, and 0.96 to 1.02 on others, means of three or six seeds.
    Averaging 4 times an epoch in place of 16 costs 2%, an unscaled rate 10%, moments that are not
    averaged 3 to 4%. A shard that makes few updates an epoch falls behind: there is a warning below
    20 minibatches. Then take fewer shards or smaller minibatches.

    With early stopping, the share `validation_fraction` of the rows is held out, drawn row by row
    within each partition: not stratified as in one process, so that the shares of the classes are
    met about. Workers sum up the accuracy or the loss on them. For another `scoring`, which must
    be the name of one of scikit-learn's scorers and not a function, targets and weights of these
    rows come to the client once, and their probabilities after each epoch: 8 bytes a row in
    float32.

    A lost worker's rows are read again, and what it was doing is done again, by Dask; rows that
    were sent to it (by ``client.scatter``) cannot be, and rows that come out otherwise then (drawn
    without a seed, say) are an error. Where there is no worker for `worker_timeout` seconds, where
    the scheduler is gone or does not answer for as long, or after any other failure, an error is
    raised; the estimator then has the newest whole epoch, as after an interrupt (Ctrl-C), or is as
    it was if there was none.

    A task may call `fit`, with or without a ``distributed.worker_client``: meanwhile it leaves its
    worker's thread to the tasks of the training, which would wait for it otherwise.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> from fastmlp.dask import DaskMLPBinaryClassifier
    >>> with Client(n_workers=2, threads_per_worker=1) as client:  # doctest: +SKIP
    ...     X = da.random.default_rng(0).normal(size=(100_000, 20), chunks=(10_000, 20))
    ...     y = X[:, 0] * X[:, 1] > 0
    ...     model = DaskMLPBinaryClassifier(n_shards=2, max_iter=5).fit(X, y)
    ...     model.predict(X).compute()
    """

    client: Client | None = parameter(
        None,
        [None, Client],
        "The cluster's client; None for that of the task in which `fit` is called, or for the one "
        "made last. It is left out of pickles.",
        group="machine",
        type_text="distributed.Client or None",
    )
    n_shards: int | None = parameter(
        None,
        [None, Interval(Integral, 1, None, closed="left")],
        "How many shards the partitions are divided into, at most one a partition; None for as "
        "many as there are workers. The model depends on it.",
        group="machine",
    )
    rounds_per_epoch: int = parameter(
        16,
        Interval(Integral, 1, None, closed="left"),
        "How often in an epoch weights and moments of shards are averaged. Each time costs some "
        "tens of milliseconds. Fewer than 8 cost quality; where a shard has thousands of "
        "minibatches, more gain a little.",
    )
    learning_rate_scale: float | str = parameter(
        "auto",
        [one_of("auto"), Interval(Real, 0, None, closed="neither")],
        "By which learning rates are multiplied in a shard, because each makes a share of the "
        'updates only: "auto" is the number of shards.',
    )
    worker_timeout: float = parameter(
        300.0,
        Interval(Real, 0, None, closed="left"),
        "Seconds to wait for a worker where there is none, and for an answer of the scheduler, "
        "which is given 10 at least.",
        group="machine",
    )

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {**state, "client": None} if "client" in state else state

    def __sklearn_clone__(self) -> Self:
        # A client belongs to a process and a cluster: it is the same one.
        parameters = self.get_params(deep=False)
        client = parameters.pop("client")
        copies = {name: clone(value, safe=False) for name, value in parameters.items()}
        return type(self)(**copies, client=client)

    @_fit_context(prefer_skip_nested_validation=True)
    @np.errstate(all="ignore")
    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Self:
        """Train the network.

        Parameters
        ----------
        X : dask array or dataframe, or list of delayed values or futures
            The features: finite numbers, dense, whole rows in a chunk. In a list, each entry is a
            pair of X and y, or a triple with weights.
        y : dask array or series, or array-like
            The labels: any two, or one. None where X is a list.
        sample_weight : dask array or series, or array-like, default=None
            Weights of the rows, not negative.
        X_val, y_val, sample_weight_val : as X, y and sample_weight, default=None
            Rows for early stopping to go by, in place of a part of X.

        Returns
        -------
        self : DaskMLPBinaryClassifier
            The trained estimator.

        Raises
        ------
        ValueError
            If a parameter or the data are not as described; the message names the partition. If
            shards would take more than half of their worker's memory. If training ends in weights
            that are not finite.
        TypeError
            If X is no collection, or if a partition is sparse.
        RuntimeError
            If the cluster is lost, or if workers end again and again; if a worker is lost with rows
            that cannot be read again, or that come out otherwise; the message names their
            partitions.
        TimeoutError
            If there is no worker for `worker_timeout` seconds, or no answer of the scheduler.

        Warns
        -----
        ConvergenceWarning
            As `MLPBinaryClassifier.fit`.
        UserWarning
            If shards are small; and as `MLPBinaryClassifier.fit`.
        """
        fitting.fit(self, Given(X, y, sample_weight, X_val, y_val, sample_weight_val))
        return self

    @available_if(solver_is_stochastic)
    @np.errstate(all="ignore")
    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, classes: ArrayLike | None = None
    ) -> Self:
        """Train for one epoch, from where the last call left the weights and the optimizer.

        Parameters
        ----------
        X, y, sample_weight
            As `fit` takes them.
        classes : array-like of shape (n_classes,), default=None
            All labels that any call will see. Needed in the first call, checked in later ones.

        Returns
        -------
        self : DaskMLPBinaryClassifier
            The trained estimator.

        Raises
        ------
        ValueError
            As `fit`, and as `MLPBinaryClassifier.partial_fit`.
        """
        if not get_config()["skip_parameter_validation"]:
            self._validate_params()
        self._check_partial_fit()
        fitting.partial_fit(self, Given(X, y, sample_weight), classes)
        return self

    def predict(self, X: Any) -> Any:
        """Predict labels; of a collection lazily, as an array, or as a series with its index.

        Parameters
        ----------
        X : dask array or dataframe, or array-like of shape (n_samples, n_features)
            The features.
        """
        if not is_collection(X):
            return super().predict(X)
        return lazily(self.to_local(), "predict", X, 0, self.classes_.dtype)

    def predict_proba(self, X: Any) -> Any:
        """Predict the probabilities of both classes; of a collection lazily.

        Parameters
        ----------
        X : dask array or dataframe, or array-like of shape (n_samples, n_features)
            The features.

        Returns
        -------
        array of shape (n_samples, 2), or dataframe
            Whose columns are `classes_`; 0 and 1 for a model of one class.
        """
        if not is_collection(X):
            return super().predict_proba(X)
        return lazily(self.to_local(), "predict_proba", X, 2, self._dtype())

    def predict_log_proba(self, X: Any) -> Any:
        """Predict the logarithms of the probabilities of both classes; of a collection lazily.

        Parameters
        ----------
        X : dask array or dataframe, or array-like of shape (n_samples, n_features)
            The features.
        """
        if not is_collection(X):
            return self.to_local().predict_log_proba(X)
        return lazily(self.to_local(), "predict_log_proba", X, 2, self._dtype())

    def decision_function(self, X: Any) -> Any:
        """Compute the logit of the last of `classes_`; of a collection lazily.

        Parameters
        ----------
        X : dask array or dataframe, or array-like of shape (n_samples, n_features)
            The features.
        """
        if not is_collection(X):
            return super().decision_function(X)
        return lazily(self.to_local(), "decision_function", X, 0, self._dtype())

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute the accuracy on rows with these labels.

        Parameters
        ----------
        X : dask array or dataframe, or array-like of shape (n_samples, n_features)
            The features.
        y : dask array or series, or array-like of shape (n_samples,)
            Their labels.
        sample_weight : as y, default=None
            Their weights.

        Returns
        -------
        float
        """
        asked = self.predict(X), y, sample_weight
        # `client` need not be the default one, and may have what these are made of.
        predicted, y, weight = dask.compute(*asked, scheduler=self.client)
        return float(accuracy_score(np.asarray(y), np.asarray(predicted), sample_weight=weight))

    def to_local(self) -> MLPBinaryClassifier:
        """Make the same model as an `MLPBinaryClassifier`, which trains on in one process.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        """
        check_is_fitted(self)
        names = parameters_of(MLPBinaryClassifier)
        local = MLPBinaryClassifier(**{name: getattr(self, name) for name in names})
        _give(self, local)
        return local

    @classmethod
    def from_local(cls, model: MLPBinaryClassifier, **parameters: Any) -> Self:
        """Make an estimator that goes on from a model of one process, with ``warm_start=True``.

        Parameters
        ----------
        model : MLPBinaryClassifier
            Fitted.
        **parameters
            Further parameters, as `client` and `n_shards`, or others in place of the model's.

        Raises
        ------
        NotFittedError
            If it is not fitted.
        """
        check_is_fitted(model)
        new = cls(**{**model.get_params(deep=False), "warm_start": True, **parameters})
        _give(model, new)
        return new

    def _dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self.coefs_[0].dtype
        return dtype


def _give(source: Any, to: Any) -> None:
    """Give another estimator what training has left; lists, to which training adds, as copies."""
    for name in FITTED:
        if name in vars(source):
            value = vars(source)[name]
            setattr(to, name, list(value) if isinstance(value, list) else value)
