"""scikit-learn's callbacks (version 1.9 and newer): who is told of a fit and of its epochs.

A fit is a task with an epoch, or an iteration of L-BFGS, as subtask; with `n_init` above 1, the
subtasks are starts, and theirs are epochs. An estimator without callbacks pays for none of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastmlp.data.split import Parameters
from fastmlp.estimators.given import Problem
from fastmlp.training.loop import FitResult

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn 1.8 and older have none

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Takes the place of the class that brings `set_callbacks`."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method as it is."""
        return method


__all__ = ["CallbackSupportMixin", "Epochs", "Told", "has_callbacks", "tell", "with_callbacks"]


class Told:
    """Tells callbacks of a task and of its subtasks.

    Parameters
    ----------
    problem : Problem
        What is trained on, and by which estimator.
    context : CallbackContext
        scikit-learn's, of the task.
    """

    def __init__(self, problem: Problem, context: Any) -> None:
        self.problem, self.context = problem, context
        weight = problem.given.sample_weight
        self.told = {
            "estimator": problem.estimator,
            "X": problem.given.X,
            "y": problem.checked.y,
            "metadata": None if weight is None else {"sample_weight": weight},
        }
        context.call_on_fit_task_begin(**self.told)

    def subtask(self, name: str, n_subtasks: int = 0) -> Told:
        """Begin a subtask, which has so many of its own."""
        return Told(self.problem, self.context.subcontext(name, max_subtasks=n_subtasks))

    def end(self, parameters: Callable[[], Parameters]) -> bool:
        """Tell of the end, with a function for the weights and biases; whether to stop here."""
        return bool(
            self.context.call_on_fit_task_end(
                **self.told,
                reconstruction_attributes=lambda: self.problem.attributes(parameters()),
            )
        )


def has_callbacks(estimator: Any) -> bool:
    """Whether there is anyone to tell."""
    return bool(vars(estimator).get("_skl_callbacks"))


def tell(problem: Problem, n_subtasks: int) -> Told | None:
    """Tell an estimator's callbacks, if it has any, that a fit begins."""
    if not has_callbacks(problem.estimator):
        return None
    context = problem.estimator._init_callback_context(max_subtasks=n_subtasks)
    return Told(problem, context)


class Epochs:
    """A `Watcher` that tells callbacks of each epoch of a task.

    Parameters
    ----------
    task : Told
        Which the epochs belong to.
    name : str
        What an epoch is called.
    newest : callable
        Returns the newest weights and biases.
    """

    def __init__(self, task: Told, name: str, newest: Callable[[], Parameters]) -> None:
        self.task, self.name, self.newest = task, name, newest

    def begin(self, result: FitResult) -> None:
        """Tell that one begins."""
        self.epoch = self.task.subtask(self.name)

    def end(self, result: FitResult) -> bool:
        """Tell what came of it: the weights that a fit would end with if it ended here."""
        kept = result.parameters
        is_newest = not kept[0] or result.without_best
        return self.epoch.end(self.newest if is_newest else lambda: kept)
