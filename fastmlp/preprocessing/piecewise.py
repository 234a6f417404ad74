"""Numbers as their places among the bins of their columns."""

from __future__ import annotations

from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_feature_names_in,
    _check_sample_weight,
    check_is_fitted,
    validate_data,
)

from fastmlp.data.edges import column_edges
from fastmlp.estimators.parameters import one_of, parameter, takes_parameters

Array = NDArray[Any]

_CHECKS: dict[str, Any] = {"dtype": (np.float64, np.float32), "ensure_all_finite": "allow-nan"}

# Rows that are encoded at a time, so that they stay in the cache through all steps.
_ROWS_OF_A_BLOCK = 512


@takes_parameters
class PiecewiseLinearEncoder(TransformerMixin, BaseEstimator):
    """Encode each column by how far its values have come through each of its bins.

    A column with the edges b_0 < b_1 < ... < b_T becomes T columns. In that of bin t, x is
    (x - b_{t-1}) / (b_t - b_{t-1}), clipped to 0 and 1; but the first bin goes on below 0, and the
    last one above 1. NaN is 0 in all of them. A column without two values becomes no column.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    edges_ : list of ndarray of float64
        The edges of each column; empty where it has not two values.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, where all are text.

    References
    ----------
    Gorishniy, Rubachev and Babenko (2022), On embeddings for numerical features in tabular deep
    learning.

    Examples
    --------
    >>> from fastmlp.preprocessing import PiecewiseLinearEncoder
    >>> PiecewiseLinearEncoder(n_bins=2).fit_transform([[0.0], [2.0], [4.0], [8.0]])
    array([[0. , 0. ],
           [1. , 0. ],
           [1. , 0.33333333],
           [1. , 1. ]])
    """

    n_bins: int = parameter(
        48, Interval(Integral, 1, None, closed="left"), "Number of bins of a column at most."
    )
    bins: str = parameter(
        "quantile",
        one_of("quantile", "tree"),
        'Where edges are. "quantile": where each bin has the same share of the rows, as far as '
        'equal values allow that. "tree": where a decision tree for y, of this column alone, cuts '
        "it.",
    )
    min_samples_leaf: int = parameter(
        20,
        Interval(Integral, 1, None, closed="left"),
        'Number of rows that a bin has at least. Used with bins="tree".',
    )

    def fit(self, X: Any, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Find the edges.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Columns of numbers, or NaN. Of more than 100,000 rows, about as many are looked at.
        y : array-like of shape (n_samples,), default=None
            Labels of classes, which bins="tree" needs.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        self
            The fitted encoder.

        Raises
        ------
        ValueError
            If a parameter or a weight is out of range, if X is not a table of numbers or holds
            infinity, or if bins="tree" and y does not hold labels.
        """
        self._validate_params()
        codes = None
        if self.bins == "tree":
            X, y = validate_data(self, X, y, **_CHECKS)
            check_classification_targets(y)
            codes = np.unique(y, return_inverse=True)[1]
        else:
            X = validate_data(self, X, **_CHECKS)
        weight = None
        if sample_weight is not None:
            weight = _check_sample_weight(
                sample_weight, X, dtype=np.float64, ensure_non_negative=True
            )
        self.edges_ = [
            column_edges(x, codes, self.n_bins, self.min_samples_leaf, weight, X.dtype) for x in X.T
        ]
        return self

    def transform(self, X: Any) -> Array:
        """Encode the columns.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Columns of numbers, or NaN.

        Returns
        -------
        ndarray of float32 or float64 of shape (n_samples, n_bins of all columns)
            Of float32 where X is.

        Raises
        ------
        ValueError
            If X is not a table of numbers with the features of fit, or holds infinity.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **_CHECKS)
        widths = [max(len(edges) - 1, 0) for edges in self.edges_]
        out = np.empty((len(X), sum(widths)), dtype=X.dtype)
        all_edges = [edges.astype(X.dtype) for edges in self.edges_]
        for row in range(0, len(X), _ROWS_OF_A_BLOCK):
            rows = slice(row, row + _ROWS_OF_A_BLOCK)
            stop = 0
            for j, edges in enumerate(all_edges):
                start, stop = stop, stop + widths[j]
                _encode(X[rows, j], edges, out[rows, start:stop])
        return out

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the columns that come out: age_bin0, age_bin1, ...

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns; None: those of fit, or x0, x1, ...

        Returns
        -------
        ndarray of object
            The names.

        Raises
        ------
        ValueError
            If `input_features` are not those of fit.
        """
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        pairs = zip(names, self.edges_, strict=True)
        found = [f"{name}_bin{t}" for name, edges in pairs for t in range(len(edges) - 1)]
        return np.asarray(found, dtype=object)

    def __sklearn_tags__(self) -> Tags:
        """What scikit-learn may expect: NaN, float32 that stays so, and whether y is needed."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.target_tags.required = self.bins == "tree"
        return tags


def _encode(x: Array, edges: Array, out: Array) -> None:
    """Write a column of n values into (n, number of bins)."""
    if out.shape[1] == 0:
        return
    np.subtract(x[:, None], edges[:-1], out=out)
    out /= np.diff(edges)
    np.maximum(out[:, 1:], 0, out=out[:, 1:])
    np.minimum(out[:, :-1], 1, out=out[:, :-1])
    out[np.isnan(x)] = 0
