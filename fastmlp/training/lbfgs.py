"""Training by L-BFGS-B, scipy's, over all rows at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize
from sklearn.exceptions import ConvergenceWarning

from fastmlp.network.layout import Network
from fastmlp.network.session import Session
from fastmlp.training.loop import FitResult, Watcher


@dataclass
class _Iterates:
    """The newest iterate of L-BFGS, so that an interrupt finds it."""

    network: Network
    x: NDArray[np.float64]
    verbose: bool
    watcher: Watcher | None
    loss: float = np.nan
    n_iter: int = 0
    stopped: bool = False

    def __call__(self, intermediate_result: OptimizeResult) -> None:
        # scipy reuses the array of the iterate.
        x, loss = intermediate_result.x.copy(), float(intermediate_result.fun)
        # In one line, in which no interrupt is served: the three belong together.
        self.x, self.loss, self.n_iter = x, loss, self.n_iter + 1
        if self.verbose:
            print(f"Iteration {self.n_iter}, loss = {self.loss:.8f}")
        if self.watcher is not None:
            # scipy tells of an iteration where it ends.
            self.watcher.begin(self.result())
            self.stopped = self.watcher.end(self.result())
            if self.stopped:
                raise StopIteration

    def result(self) -> FitResult:
        """The model that it is."""
        return FitResult(self.network.unflatten(self.x), self.n_iter, self.loss)


def fit_lbfgs(
    session: Session,
    *,
    max_iter: int,
    max_fun: int,
    tol: float,
    verbose: bool = False,
    watcher: Watcher | None = None,
) -> FitResult:
    """Minimise the loss over all rows by L-BFGS-B, from the session's weights on.

    Parameters
    ----------
    session : Session
        A float64 session that has been given its weights and its rows.
    max_iter : int
        The most iterations.
    max_fun : int
        The most evaluations of the loss.
    tol : float
        Stop where no entry of the gradient is larger.
    verbose : bool, default=False
        Whether to print a line for each iteration.
    watcher : Watcher or None, default=None
        Who is told of each iteration, and may end training there.

    Returns
    -------
    FitResult
        The model; after an interrupt, the newest iterate.
    """
    network = session.network

    def loss_and_gradient(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        session.set_parameters(*network.unflatten(x))
        loss, gradient = session.loss_and_gradient()
        return loss, network.flatten(gradient)

    iterates = _Iterates(network, network.flatten(session.get_parameters()), verbose, watcher)
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
        return iterates.result().interrupt()
    if iterates.stopped:
        return iterates.result()
    n_iter, warning = min(int(outcome.nit), max_iter), None
    if outcome.status != 0:
        advice = f" Raise max_iter={max_iter}." if n_iter == max_iter else ""
        warning = ConvergenceWarning(
            f"lbfgs failed to converge after {n_iter} iteration(s) (status={outcome.status}): "
            f"{outcome.message}.{advice} Scaling the features can help too."
        )
    return FitResult(network.unflatten(outcome.x), n_iter, float(outcome.fun), warning=warning)
