"""What training by epochs leaves for the next call to partial_fit.

It is a dict of built-in types and arrays alone: a pickle of it outlives changes of this package.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastmlp.training.loop import FitResult, Training


def state_after(
    training: Training, result: FitResult, solver: str, schedule: tuple[str, float, float]
) -> dict[str, Any]:
    """Write down where optimizer, schedule and plateau stand.

    Parameters
    ----------
    training : Training
        Training that has ended.
    result : FitResult
        What came of it.
    solver : str
        Whose moments these are.
    schedule : tuple of (learning_rate, learning_rate_init, power_t)
        What named the schedule.
    """
    assert result.state is not None
    state = {
        "solver": solver,
        "shapes": [array.shape for arrays in result.parameters for array in arrays],
        "schedule": schedule,
        "learning_rate": training.schedule.rate,
        "epochs": 0 if training.schedule.scale is None else training.schedule.scale.epochs,
        "epochs_without_improvement": training.plateau.count,
        "step": result.state.step,
        "moments": result.state.moments,
    }
    if result.state.average is not None:
        # The model is the average, and training goes on from other weights.
        state["newest"], state["average"] = result.state.parameters, result.state.average
    return state


def resume(
    training: Training,
    state: dict[str, Any] | None,
    solver: str,
    schedule: tuple[str, float, float],
    shapes: list[tuple[int, ...]],
) -> bool:
    """Set optimizer, schedule and plateau to where the last call left them.

    A change of the schedule's parameters starts it anew. A change of the solver, or weights of
    other shapes, start everything anew.

    Parameters
    ----------
    training : Training
        Training that has not begun.
    state : dict or None
        What `state_after` returned after the last call.
    solver : str
        The solver of this call.
    schedule : tuple of (learning_rate, learning_rate_init, power_t)
        What names the schedule of this call.
    shapes : list of tuple
        Shapes of the weights and biases that this call starts from.

    Returns
    -------
    bool
        Whether training goes on from the last call.
    """
    if state is None or state["solver"] != solver or state["shapes"] != shapes:
        return False
    flatten = training.session.network.flatten
    # Up to version 0.1, a moment was (coefs, intercepts).
    moments = [flatten(m) if isinstance(m, tuple) else m for m in state["moments"]]
    training.resume(state["step"], moments, _newest(training, state))
    training.plateau.count = state["epochs_without_improvement"]
    if state["schedule"] == schedule:
        training.schedule.rate = state["learning_rate"]
        if training.schedule.scale is not None:
            training.schedule.scale.epochs = state.get("epochs", 0)
    return True


def _newest(training: Training, state: dict[str, Any]) -> Any:
    """Find the weights to go on from, if the model is their average.

    None where no average is kept any more, or where the model is another one, because its user has
    edited it or because early stopping has kept an earlier one.
    """
    regularisation = training.session.regularisation
    if regularisation.ema_decay is None or "average" not in state:
        return None
    model = training.session.state().parameters
    return state["newest"] if np.array_equal(state["average"], model) else None
