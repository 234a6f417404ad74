"""scikit-learn's callbacks (version 1.9 and newer): who is told of a fit and of its epochs.

A fit is a task with an epoch, or an iteration of L-BFGS, as subtask; with `n_init` above 1, the
subtasks are starts, and theirs are epochs; those of a fit on a table are networks. An estimator
without callbacks pays for none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from fastmlp.data.split import Parameters
from fastmlp.estimators.given import Given
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

Attributes = dict[str, Any]


class Told:
    """Tells callbacks of a task and of its subtasks.

    Parameters
    ----------
    context : CallbackContext
        scikit-learn's, of the task.
    told : mapping
        What they are told of each: estimator and data.
    """

    def __init__(self, context: Any, told: Mapping[str, Any]) -> None:
        self.context, self.told = context, told
        context.call_on_fit_task_begin(**told)

    def subtask(self, name: str, n_subtasks: int = 0) -> Told:
        """Begin a subtask, which has so many of its own."""
        return Told(self.context.subcontext(name, max_subtasks=n_subtasks), self.told)

    def end(self, attributes: Callable[[], Attributes]) -> bool:
        """Tell of the end, with a function for what predicts now; whether no more is to come.

        attributes : returns attributes by which an estimator predicts
        """
        return bool(
            self.context.call_on_fit_task_end(**self.told, reconstruction_attributes=attributes)
        )


def has_callbacks(estimator: Any) -> bool:
    """Whether there is anyone to tell."""
    return bool(vars(estimator).get("_skl_callbacks"))


def tell(estimator: Any, given: Given, y: NDArray[Any], n_subtasks: int) -> Told | None:
    """Tell an estimator's callbacks, if it has any, that a fit begins; y : the labels, checked."""
    if not has_callbacks(estimator):
        return None
    weight = given.sample_weight
    metadata = None if weight is None else {"sample_weight": weight}
    context = estimator._init_callback_context(max_subtasks=n_subtasks)
    return Told(context, {"estimator": estimator, "X": given.X, "y": y, "metadata": metadata})


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
    attributes : callable
        Makes of weights and biases attributes by which an estimator predicts.
    """

    def __init__(
        self,
        task: Told,
        name: str,
        newest: Callable[[], Parameters],
        attributes: Callable[[Parameters], Attributes],
    ) -> None:
        self.task, self.name, self.newest, self.attributes = task, name, newest, attributes

    def begin(self, result: FitResult) -> None:
        """Tell that one begins."""
        self.epoch = self.task.subtask(self.name)

    def end(self, result: FitResult) -> bool:
        """Tell what came of it: the weights that a fit would end with if it ended here."""
        kept = result.parameters
        is_newest = not kept[0] or result.without_best
        return self.epoch.end(lambda: self.attributes(self.newest() if is_newest else kept))
