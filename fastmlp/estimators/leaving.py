"""How a fitted network leaves for other libraries, and comes from them.

Each method imports what it needs: who uses none does not wait for their imports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from sklearn.neural_network import MLPClassifier

    from fastmlp.export.compiled import RowFunction


class Leaves:
    """Methods that hand a fitted network on.

    They hand on the network of `coefs_` and `intercepts_`. What a subclass does to its
    probabilities stays behind.
    """

    def to_sklearn(self) -> MLPClassifier:
        """Make scikit-learn's MLPClassifier of the fitted model.

        It has copies of the weights and of the histories, and every parameter that it knows; those
        of this class alone are left out, and a `learning_rate` of "cosine" or a function becomes
        "constant". Its
        probabilities agree to rounding; it computes in float64 where X is float64, whatever the
        dtype of the weights. Its `partial_fit` goes on from where the optimizer stands.

        Returns
        -------
        MLPClassifier
            The fitted classifier.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If a hidden layer has an activation that MLPClassifier has not, if they differ from
            layer to layer, or if the weights make no network or are not finite.
        InvalidParameterError
            If another parameter has a value that MLPClassifier has not.
        """
        from fastmlp.export.sklearn import to_sklearn

        return to_sklearn(self)

    @classmethod
    def from_sklearn(cls, classifier: MLPClassifier) -> Self:
        """Make a fitted model of scikit-learn's MLPClassifier.

        It has copies of the weights, in their dtype, of the histories and of every parameter that
        it knows; others of its own have their defaults, and curves that scikit-learn does not keep
        are missing. The next call to `partial_fit` starts the
        optimizer anew.

        Parameters
        ----------
        classifier : MLPClassifier
            A fitted one, of two classes, or of one.

        Returns
        -------
        MLPBinaryClassifier
            The fitted estimator.

        Raises
        ------
        TypeError
            If it is another estimator: an MLPRegressor, say.
        NotFittedError
            If it is not fitted.
        ValueError
            If it has more than two classes or several targets, or if its weights make no network.
        """
        from fastmlp.export.sklearn import from_sklearn

        model: Self = from_sklearn(cls, classifier)
        return model

    def to_onnx(self) -> Any:
        """Make an ONNX graph of the fitted model; it needs ``pip install "fastmlp[onnx]"``.

        The input `X` has the dtype of the weights, and any number of rows. The outputs are those
        of skl2onnx without a ZipMap: `label`, in int64 (bools too) or strings, and `probabilities`,
        of shape (n_samples, 2). The same model gives the same graph.

        Pipelines: see `fastmlp.onnx.register_converter`.

        Returns
        -------
        onnx.ModelProto
            The graph, of opset 17 at most.

        Raises
        ------
        ImportError
            If skl2onnx is not installed.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If a hidden layer has an activation of the user's own, if the labels are neither
            integers nor bools nor strings, or if the weights make no network or are not finite.
        """
        from fastmlp.export.onnx import to_onnx

        return to_onnx(self)

    def as_numba(self) -> RowFunction:
        """Make a function of one row of the fitted model, for the user's own compiled code.

        It takes a 1-D array and returns the probability of the last of `classes_`, to the bit that
        of `predict_proba`. Code under ``numba.njit`` takes it as an argument and calls it without
        Python, in parallel loops too; code that was compiled for one model serves all of a dtype.
        It has weights of its own, whatever becomes of the estimator.

        Returns
        -------
        RowFunction
            The function. A row of another length is a ValueError. Numbers are not checked: of NaN
            comes NaN.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the weights make no network or are not finite.

        Examples
        --------
        >>> import numba, numpy as np
        >>> from fastmlp import MLPBinaryClassifier
        >>> X, y = np.eye(4), np.array([0, 1, 0, 1])
        >>> model = MLPBinaryClassifier((8,), solver="lbfgs", random_state=0).fit(X, y)
        >>> @numba.njit
        ... def highest(probability, X):
        ...     best = 0.0
        ...     for row in X:
        ...         best = max(best, probability(row))
        ...     return best
        >>> highest(model.as_numba(), X) == model.predict_proba(X)[:, 1].max()
        True
        """
        from fastmlp.export.compiled import RowFunction
        from fastmlp.export.fitted import fitted

        return RowFunction(fitted(self))


class TableLeaves:
    """The method that hands on a fitted model for tables."""

    def to_onnx(self) -> Any:
        """Make an ONNX graph of the fitted model; it needs ``pip install "fastmlp[onnx]"``.

        The graph takes the raw table. Every column is an input of shape (n_samples, 1), named as
        the column, or `x0`, `x1`, … where the table in fit had no names. A category whose levels
        are text is of strings, and so is one that had only gaps; all else is of float64, with
        booleans as 0 and 1. The outputs are `label`, in int64 (bools too) or strings, and
        `probabilities`, in float32, of the shape that `predict_proba` gives. The same model gives
        the same graph.

        A gap is NaN, and in strings the empty one; where that was a level in fit, it is this level,
        and the column cannot have gaps. The graph checks nothing: infinity is a number, and what is
        no level is one never seen. It needs memory for all rows at once: of a large table, give it
        some thousand rows at a time.

        Returns
        -------
        onnx.ModelProto
            The graph, of opset 17 at most.

        Raises
        ------
        ImportError
            If skl2onnx is not installed.
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the labels are neither integers nor bools nor strings; if a category has levels of
            both text and numbers, or one that is neither Unicode nor of float64; or if a column is
            named as an output, or has an empty name.
        """
        from fastmlp.export.onnx_table import to_onnx

        return to_onnx(self)
