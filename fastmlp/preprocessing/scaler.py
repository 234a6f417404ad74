"""A scaler that outliers neither steer nor leave far out."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from fastmlp.data.scaling import center_and_scale, smooth_clip

_CHECKS: dict[str, Any] = {"dtype": (np.float64, np.float32), "ensure_all_finite": "allow-nan"}


class SmoothRobustScaler(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Scale columns by their quartiles, and draw outliers in smoothly.

    x becomes x' / sqrt(1 + (x' / 3)²), where x' = (x - median) / (upper - lower quartile). That is
    about x' near the median, and lies between -3 and 3. Where the quartiles are equal, half of the
    range takes the place of their distance, and 1 where all values are equal. NaN counts for
    nothing, and stays.

    Attributes
    ----------
    center_ : ndarray of float64 of shape (n_features,)
        Medians.
    scale_ : ndarray of float64 of shape (n_features,)
        What the distances from the medians are divided by.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, where all are text.

    References
    ----------
    Holzmüller, Grinsztajn and Steinwart (2024), Better by default: strong pre-tuned MLPs and
    boosted trees on tabular data.

    Examples
    --------
    >>> from fastmlp.preprocessing import SmoothRobustScaler
    >>> SmoothRobustScaler().fit_transform([[1.0], [2.0], [3.0], [1e6]]).shape
    (4, 1)
    """

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the medians and quartiles.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Columns of numbers, or NaN.
        y : None
            Not used.

        Returns
        -------
        self
            The fitted scaler.

        Raises
        ------
        ValueError
            If X is not a table of numbers, or holds infinity.
        """
        X = validate_data(self, X, **_CHECKS)
        found = np.array([center_and_scale(column) for column in X.T])
        self.center_, self.scale_ = np.ascontiguousarray(found.T)
        return self

    def transform(self, X: Any) -> NDArray[Any]:
        """Scale the columns.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Columns of numbers, or NaN.

        Returns
        -------
        ndarray of float32 or float64 of shape (n_samples, n_features)
            Of float32 where X is.

        Raises
        ------
        ValueError
            If X is not a table of numbers with the features of fit, or holds infinity.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, **_CHECKS)
        return smooth_clip(X, self.center_, self.scale_)

    def __sklearn_tags__(self) -> Tags:
        """What scikit-learn may expect: NaN, and float32 that stays so."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
