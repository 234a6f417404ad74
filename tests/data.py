"""Small data sets and helpers that several test files share."""

import warnings

import numpy as np
import scipy.sparse

LAYOUTS = ("C", "F", "csr", "csc", "strided")


def two_classes(n_samples=60, n_features=6, seed=0, dtype=np.float64):
    """Rows of two classes that a bent boundary and some noise keep apart, a third of them zeros."""
    rng = np.random.RandomState(seed)
    X = rng.randn(n_samples, n_features)
    X[rng.rand(n_samples, n_features) < 0.3] = 0.0
    score = X[:, 0] + X[:, 1] * X[:, -1] + 0.3 * rng.randn(n_samples)
    return X.astype(dtype), (score > np.median(score)).astype(int)


def laid_out(X, layout):
    """The same numbers in another order in memory."""
    if layout == "C":
        return np.ascontiguousarray(X)
    if layout == "F":
        return np.asfortranarray(X)
    if layout == "csr":
        return scipy.sparse.csr_array(X)
    if layout == "csc":
        return scipy.sparse.csc_array(X)
    if layout == "strided":
        wide = np.zeros((2 * X.shape[0], 3 * X.shape[1]), dtype=X.dtype)
        wide[::-2, ::3] = X
        return wide[::-2, ::3]
    raise ValueError(layout)


def quietly(method, *args, **kwargs):
    """Call a fit whose warnings, most often that it has not converged, are beside the point."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return method(*args, **kwargs)


def assert_same_parameters(left, right):
    """Two fitted estimators hold the same bits."""
    for a, b in zip(
        [*left.coefs_, *left.intercepts_], [*right.coefs_, *right.intercepts_], strict=True
    ):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
