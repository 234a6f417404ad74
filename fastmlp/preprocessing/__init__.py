"""Transformers that prepare tables for a network, for use in pipelines of one's own.

`SmoothRobustScaler` puts numbers on one scale, outliers included; `PiecewiseLinearEncoder` gives a
network the place of a number among the bins of its column.

There is none for categories, because two of scikit-learn's do all that one would: columns of few
levels one-hot, where levels that are rare or not known share a column, and columns of many levels
as the mean of the target, which `fit_transform` takes from other rows than those it encodes::

    from sklearn.compose import make_column_transformer
    from sklearn.preprocessing import OneHotEncoder, TargetEncoder

    def few_levels(X):
        return [name for name in X.select_dtypes(exclude="number") if X[name].nunique() <= 32]

    def many_levels(X):
        return [name for name in X.select_dtypes(exclude="number") if X[name].nunique() > 32]

    one_hot = OneHotEncoder(
        min_frequency=10,
        max_categories=32,
        handle_unknown="infrequent_if_exist",
        sparse_output=False,
    )
    encoder = make_column_transformer(
        (one_hot, few_levels),
        (TargetEncoder(), many_levels),
        remainder=SmoothRobustScaler(),
    )
"""

from fastmlp.preprocessing.piecewise import PiecewiseLinearEncoder
from fastmlp.preprocessing.scaler import SmoothRobustScaler

__all__ = ["PiecewiseLinearEncoder", "SmoothRobustScaler"]

# Saved pipelines name the classes by where they are public: files outlive modules.
PiecewiseLinearEncoder.__module__ = __name__
SmoothRobustScaler.__module__ = __name__
