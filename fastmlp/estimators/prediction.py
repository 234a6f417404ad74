"""What the methods that predict share: logits and probabilities of a checked X.

They are functions, so that no method of an estimator goes through another public one, which a
subclass may override.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted

from fastmlp.data.checks import check_fits_in, check_prediction_data
from fastmlp.data.rows import Rows, as_rows
from fastmlp.network.session import Session
from fastmlp.training.weights import check_activation, check_finite, check_parameters

Array = NDArray[Any]


def logits(estimator: Any, X: Any) -> Array:
    """Compute the logits of rows, of shape (n_samples,).

    Parameters
    ----------
    estimator : estimator
        With `coefs_`, `intercepts_` and the parameters `activation` and `n_threads`.
    X : array-like or CSR/CSC of shape (n_samples, n_features)
        The features.

    Raises
    ------
    NotFittedError
        If the estimator has no weights.
    ValueError
        If X is not as described, if the weights make no network, or if a logit is NaN.
    """
    session, rows = _inference(estimator, X)
    return _without_nan(session.logits(rows), session)


def probabilities(estimator: Any, X: Any) -> Array:
    """Compute the probabilities of both classes, of shape (n_samples, 2); else as `logits`."""
    session, rows = _inference(estimator, X)
    return _without_nan(session.probabilities(rows), session)


def sensitivity(estimator: Any, X: Any) -> Array:
    """Compute ∂logit/∂x of rows, of shape (n_samples, n_features); else as `logits`."""
    session, rows = _inference(estimator, X)
    return _without_nan(session.input_gradient(rows), session)


def _inference(estimator: Any, X: Any) -> tuple[Session, Rows]:
    """Check X, and make the session that predicts."""
    if "coefs_" not in vars(estimator):
        check_is_fitted(estimator)
    X = check_prediction_data(estimator, X)
    # One copy of all attributes, in one step: another thread may be fitting this estimator.
    fitted = vars(estimator).copy()
    weights = check_parameters(fitted["coefs_"], fitted["intercepts_"], X.shape[1])
    check_fits_in(weights.dtype, X)
    activations = check_activation(estimator.activation, len(weights.widths) - 2)
    session = weights.session(activations, estimator.n_threads, weights.dtype, sparse=issparse(X))
    return session, as_rows(X, weights.dtype)


def _without_nan(outputs: Array, session: Session) -> Array:
    """Outputs of shape (n_samples,) or (n_samples, k); ValueError where one is NaN."""
    is_nan = np.isnan(outputs)
    if is_nan.any():
        check_finite(*session.get_parameters())
        of_rows = is_nan if is_nan.ndim == 1 else is_nan.any(axis=1)
        raise ValueError(
            f"Input X and the weights overflow {outputs.dtype}: what comes of "
            f"{np.count_nonzero(of_rows)} row(s) is not a number. Scale X."
        )
    return outputs
