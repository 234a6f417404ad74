"""Training by L-BFGS-B, scipy's, over all rows at once."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize
from sklearn.exceptions import ConvergenceWarning

from fastmlp.engine import Engine, Parameters
from fastmlp.training.loop import FitResult


def _flatten(parameters: Parameters) -> NDArray[np.float64]:
    """Join weights and biases to the vector that L-BFGS works on."""
    coefs, intercepts = parameters
    return np.concatenate([array.ravel() for array in (*coefs, *intercepts)], dtype=np.float64)


def _unflatten(flat: NDArray[np.float64], widths: tuple[int, ...]) -> Parameters:
    """Undo `_flatten`. The arrays are views of `flat`."""
    shapes: list[tuple[int, ...]] = [*pairwise(widths), *((width,) for width in widths[1:])]
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    arrays = [
        part.reshape(shape) for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)
    ]
    return arrays[: len(widths) - 1], arrays[len(widths) - 1 :]


@dataclass
class _Iterates:
    """The newest iterate of L-BFGS, so that an interrupt finds it."""

    x: NDArray[np.float64]
    loss: float = np.nan
    n_iter: int = 0
    verbose: bool = False

    def __call__(self, intermediate_result: OptimizeResult) -> None:
        # scipy reuses the array of the iterate.
        self.x = intermediate_result.x.copy()
        self.loss = float(intermediate_result.fun)
        self.n_iter += 1
        if self.verbose:
            print(f"Iteration {self.n_iter}, loss = {self.loss:.8f}")


def fit_lbfgs(
    engine: Engine,
    *,
    max_iter: int,
    max_fun: int,
    tol: float,
    verbose: bool = False,
) -> FitResult:
    """Minimise the loss over all rows by L-BFGS-B, from the engine's weights on.

    Parameters
    ----------
    engine : Engine
        A float64 engine that has been given its weights and its rows.
    max_iter : int
        The most iterations.
    max_fun : int
        The most evaluations of the loss.
    tol : float
        Stop where no entry of the gradient is larger.
    verbose : bool, default=False
        Whether to print a line for each iteration.

    Returns
    -------
    FitResult
        The model. An interrupt leaves the newest iterate, with a warning.
    """
    start = engine.get_parameters()
    widths = (len(start[0][0]), *(len(bias) for bias in start[1]))

    def loss_and_gradient(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        engine.set_parameters(*_unflatten(x, widths))
        loss, gradient = engine.loss_and_gradient()
        return loss, _flatten(gradient)

    iterates = _Iterates(_flatten(start), verbose=verbose)
    try:
        outcome = minimize(
            loss_and_gradient,
            iterates.x,
            method="L-BFGS-B",
            jac=True,
            callback=iterates,
            options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
        )
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=2)
        return FitResult(_unflatten(iterates.x, widths), iterates.n_iter, iterates.loss)
    n_iter = min(int(outcome.nit), max_iter)
    if outcome.status != 0:
        advice = f" Raise max_iter={max_iter}." if n_iter == max_iter else ""
        warnings.warn(
            f"lbfgs failed to converge after {n_iter} iteration(s) (status={outcome.status}): "
            f"{outcome.message}.{advice} Scaling the features can help too.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return FitResult(_unflatten(outcome.x, widths), n_iter, float(outcome.fun))
