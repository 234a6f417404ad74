"""A fitted network as a function that the user's own compiled code can call, without Python."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from fastmlp.export.fitted import Fitted
from fastmlp.network.layout import Network
from fastmlp.network.row import row_memory
from fastmlp.runtime.row import RowFunctionType, call


class RowFunction:
    """The probability of the last class, of one row.

    ``MLPBinaryClassifier.as_numba`` makes it. It can be called from Python, and by what
    ``numba.njit`` compiles: as an argument, in a tuple of arguments, or as a global that is taken
    as it was when the code was compiled. Code that takes it as an argument is compiled once for all
    models of a dtype. Compiled code cannot return one.

    It owns a copy of the weights, whatever becomes of the estimator. Any number of threads may call
    it at once. A pickle or copy of it is a function of the same weights.
    """

    def __init__(self, model: Fitted) -> None:
        weights = model.weights
        self._model = model
        self._memory = row_memory(
            Network(weights.widths, model.activations, weights.dtype),
            (weights.coefs, weights.intercepts),
        )
        #: Where numba looks for the type of an argument.
        self._numba_type_ = RowFunctionType(numba.from_dtype(weights.dtype))

    def __reduce__(self) -> tuple[Any, ...]:
        # Addresses mean nothing to another process.
        return type(self), (self._model,)

    def __call__(self, row: Any) -> float:
        """Compute the probability of the last class.

        Parameters
        ----------
        row : array-like of shape (n_features,)
            The features. In compiled code, an array of floats, integers or bools of any strides.

        Returns
        -------
        float
            In the dtype of the weights; to the bit what ``predict_proba`` has in its last column.
            NaN where the row holds NaN, or overflows: nothing checks that numbers are finite.

        Raises
        ------
        ValueError
            If it is no 1-D array of real numbers, or has another number of features.
        """
        numbers = np.asarray(row)
        if numbers.ndim != 1 or numbers.dtype.kind not in "fiub":
            raise ValueError(
                "A function from as_numba() takes one row, a 1-D array of numbers, not an array of "
                f"shape {numbers.shape} of {numbers.dtype}."
            )
        with np.errstate(all="ignore"):
            numbers = np.require(numbers, self._model.weights.dtype, ("C", "A", "E"))
        return call(self._memory, numbers)
