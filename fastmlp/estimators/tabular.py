"""TabularMLPBinaryClassifier: networks for a raw table, without tuning."""

from __future__ import annotations

import warnings
from dataclasses import astuple
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils.validation import check_is_fitted

from fastmlp.data.columns import Column
from fastmlp.data.rows import as_rows
from fastmlp.data.table import TableReader
from fastmlp.estimators import tabular_fitting
from fastmlp.estimators.callbacks import CallbackSupportMixin, with_callbacks
from fastmlp.estimators.given import Given
from fastmlp.estimators.leaving import TableLeaves
from fastmlp.estimators.parameters import parameters_of, takes_parameters
from fastmlp.estimators.tabular_parameters import TabularParameters
from fastmlp.export.saving import opened, sealed
from fastmlp.runtime.team import available_threads
from fastmlp.training.table import TableModel, complete
from fastmlp.training.weights import FLOAT32

Array = NDArray[Any]

#: Attributes that fit leaves.
FITTED = (
    "classes_", "n_features_in_", "feature_names_in_", "columns_", "n_iter_", "best_epochs_",
    "loss_curves_", "learning_rate_curve_", "validation_loss_curves_", "validation_scores_",
    "oof_probabilities_", "_reader", "_models", "_shares",
)  # fmt: skip

_as_in_kernels = np.errstate(all="ignore")


@takes_parameters
class TabularMLPBinaryClassifier(
    CallbackSupportMixin, ClassifierMixin, TableLeaves, TabularParameters, BaseEstimator
):
    """Networks for a raw table with two classes, without tuning.

    It takes a table as it comes: numbers with gaps, text, categories, levels that are new at
    prediction. Every column of numbers becomes a piecewise-linear embedding, and every category an
    embedding of its levels; behind them, members that differ in how they weigh the columns share
    one multilayer perceptron (after TabM [1]_). Several such networks are trained, each on another
    part of the rows with the rest held out, and their probabilities are averaged.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    classes_ : ndarray of shape (2,), or (1,) for a target with one class
        The labels.
    columns_ : dict of str to str
        What each column became in the first network.
    oof_probabilities_ : ndarray of shape (n_samples, 2)
        Probabilities of the training rows, each from the network that has held it out: what a
        stack or a choice of threshold should go by. NaN for rows that none has held out.
    best_epochs_ : ndarray of shape (n_networks,)
        The epoch whose weights each network has: an index into its curves.
    loss_curves_, validation_loss_curves_, validation_scores_ : list of lists of float
        By network, the loss on the training rows of each epoch, and loss and score on the rows held
        out.
    learning_rate_curve_ : list of float
        The mean learning rate of each epoch.
    n_iter_ : int
        Epochs.
    n_features_in_ : int
        Columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, where X has names that are all strings.

    See Also
    --------
    MLPBinaryClassifier : scikit-learn's model, for numbers that are scaled already.

    Notes
    -----
    "auto" goes by the number of rows: five networks below 30,000 rows, three below 200,000, then
    one. The learning rate stays, and the model is an average of the weights over the updates, so
    training can end wherever the rows held out say: where four epochs in a row have not had the
    best score, and after 100 epochs at most. An epoch is one pass over the rows, but 200
    minibatches at most. `fastmlp.training.recipe` has all numbers, and what chose them.

    What looks at the target, as the edges of the bins do, is learned on the rows that a network is
    trained on. The rows held out choose the epoch, so `oof_probabilities_` are a little better than
    those of rows that no network knows.

    References
    ----------
    .. [1] Y. Gorishniy, A. Kotelnikov and A. Babenko, "TabM: Advancing tabular deep learning with
       parameter-efficient ensembling", ICLR 2025.
    .. [2] Y. Gorishniy, I. Rubachev and A. Babenko, "On embeddings for numerical features in
       tabular deep learning", NeurIPS 2022.
    .. [3] D. Holzmüller, L. Grinsztajn and I. Steinwart, "Better by default: Strong pre-tuned MLPs
       and boosted trees on tabular data", NeurIPS 2024.

    Examples
    --------
    >>> import pandas as pd
    >>> from fastmlp import TabularMLPBinaryClassifier
    >>> X = pd.DataFrame({"age": [25, None, 47, 51] * 20, "job": ["a", "b", "b", None] * 20})
    >>> y = ["yes", "no", "no", "yes"] * 20
    >>> TabularMLPBinaryClassifier(random_state=0).fit(X, y).predict(X[:2]).tolist()
    ['yes', 'no']
    """

    def __getstate__(self) -> dict[str, Any]:
        own = {*parameters_of(TabularMLPBinaryClassifier), *FITTED}
        state = dict(super().__getstate__())
        # As plain values, which the checksum covers, and which outlive the classes within.
        if isinstance(state.get("_models"), list):
            state["_models"] = [model.plain() for model in state["_models"]]
        if isinstance(state.get("_reader"), TableReader):
            state["_reader"] = [astuple(column) for column in state["_reader"].columns]
        return sealed(state, own, names=type(self) is TabularMLPBinaryClassifier)

    def __setstate__(self, state: Any) -> None:
        own = {*parameters_of(TabularMLPBinaryClassifier), *FITTED}
        attributes = opened(state, own, names=type(self) is TabularMLPBinaryClassifier)
        if isinstance(attributes.get("_models"), list):
            attributes |= networks_of(attributes)
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
        """Train on a table.

        Parameters
        ----------
        X : array-like, sparse or frame of shape (n_samples, n_features)
            The table: an array or lists of numbers, text and None, a frame of pandas, polars or
            pyarrow, or a SciPy matrix, which is made dense. NaN and None are gaps.
        y : array-like of shape (n_samples,)
            The labels: any two, or one.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, not negative.
        X_val : as X, default=None
            Rows to hold out in place of a part of X: all networks are then trained on all of X.
        y_val : array-like of shape (n_validation,), default=None
            Their labels.
        sample_weight_val : array-like of shape (n_validation,), default=None
            Their weights.

        Returns
        -------
        self : TabularMLPBinaryClassifier
            The trained estimator.

        Raises
        ------
        ValueError, TypeError
            If a parameter or the data are not as described; the message names the column.

        Warns
        -----
        UserWarning
            If training is interrupted: the model then has the best weights so far.
        """
        draft = object.__new__(type(self))
        draft.__dict__.update({k: v for k, v in vars(self).items() if k not in FITTED})
        given = Given(X, y, sample_weight, X_val, y_val, sample_weight_val)
        attributes, warning = with_callbacks(tabular_fitting.fit)(self, draft, given)
        # All at once: where a call fails or is interrupted, the estimator is as it was.
        self.__dict__ = {**vars(draft), **attributes}
        if warning is not None:
            warnings.warn(warning, stacklevel=4)
        return self

    @_as_in_kernels
    def predict_proba(self, X: Any) -> Array:
        """Predict the probabilities of both classes.

        Parameters
        ----------
        X : array-like, sparse or frame of shape (n_samples, n_features)
            A table with the columns of fit; in any order where they have names that are strings.

        Returns
        -------
        ndarray of float64 of shape (n_samples, n_classes)
            Columns in the order of `classes_`.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError, TypeError
            If X has other columns than in fit, or a column other values; the message names it.
        """
        return self._probabilities(X)

    @_as_in_kernels
    def predict(self, X: Any) -> Array:
        """Predict labels: the last of `classes_` where its probability is above one half.

        Parameters
        ----------
        X : array-like, sparse or frame of shape (n_samples, n_features)
            A table with the columns of fit.

        Returns
        -------
        ndarray of shape (n_samples,)
            The labels.
        """
        is_last = self._probabilities(X)[:, -1] > 0.5
        if len(self.classes_) == 1:
            return np.repeat(self.classes_, len(is_last))
        labels: Array = self.classes_[is_last.astype(np.intp)]
        return labels

    @_as_in_kernels
    def decision_function(self, X: Any) -> Array:
        """Compute the logit of the probability of the last of `classes_`.

        Parameters
        ----------
        X : array-like, sparse or frame of shape (n_samples, n_features)
            A table with the columns of fit.

        Returns
        -------
        ndarray of shape (n_samples,)
            Its logits.
        """
        p = self._probabilities(X)
        if p.shape[1] == 1:
            return np.full(len(p), np.inf)  # there is no other class
        logits: Array = np.log(p[:, 1] / p[:, 0])
        return logits

    def _probabilities(self, X: Any) -> Array:
        """Mean of the networks."""
        check_is_fitted(self)
        tabular_fitting.check_columns(self, X)
        fitted = vars(self).copy()  # in one step: another thread may be fitting this estimator
        matrix = fitted["_reader"].read(X)
        models = fitted["_models"]
        if not models:
            return np.tile(fitted["_shares"], (len(matrix), 1))
        rows, n_threads = as_rows(matrix, FLOAT32), available_threads(self.n_threads)
        total = np.zeros((len(matrix), 2))
        for model in models:
            total += model.probabilities(rows, n_threads)
        return complete(total / len(models))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.classifier_tags.multi_class = False
        return tags


def networks_of(plain: dict[str, Any]) -> dict[str, Any]:
    """Networks and reader of the attributes of a file; ValueError where they do not fit."""
    try:
        reader = TableReader(tuple(Column(*each) for each in plain["_reader"]))
        models = [TableModel.of_plain(each) for each in plain["_models"]]
        fit = all(model.encoding.encoder.n_columns == reader.n_columns for model in models)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"This saved estimator is damaged: {error!r}.") from error
    if not fit:
        raise ValueError("This saved estimator is damaged: its networks have other columns.")
    return {"_models": models, "_reader": reader}
