"""From networks to train to the attributes of an estimator, whatever rows they are trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.data.table import TableReader
from fastmlp.estimators.attributes import SET_BY_CHECKS
from fastmlp.estimators.callbacks import tell
from fastmlp.estimators.given import Given
from fastmlp.estimators.tabular_training import train_networks
from fastmlp.training.encoding import Encoding
from fastmlp.training.loop import FitResult
from fastmlp.training.table import Member, TableModel

Array = NDArray[Any]
Models = Sequence[TableModel]
Outcome = tuple[dict[str, Any], Warning | None]


def _nothing(*_: Any) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Fitting:
    """A call to fit.

    Attributes
    ----------
    estimator : estimator
        Whose parameters to go by.
    draft : estimator
        A stand-in, which has number and names of the columns.
    classes : ndarray of shape (1,) or (2,)
        The labels.
    reader : TableReader
        Reads tables of these columns.
    started : float
        When it began, by `time.perf_counter`.
    """

    estimator: Any
    draft: Any
    classes: Array
    reader: TableReader
    started: float

    @property
    def known(self) -> dict[str, Any]:
        """Attributes that predicting needs beside networks."""
        left = {name: vars(self.draft)[name] for name in SET_BY_CHECKS if name in vars(self.draft)}
        return {**left, "classes_": self.classes, "_reader": self.reader}

    def train(
        self,
        members: Sequence[Member],
        at_once: int,
        given: Given,
        more: Callable[[Sequence[Member], Models], dict[str, Any]] = _nothing,
    ) -> Outcome:
        """Train networks, one at least.

        Parameters
        ----------
        members : sequence of Member
            The networks.
        at_once : int
            Networks that are trained at once.
        given : Given
            What callbacks are told of.
        more : callable
            Returns further attributes.

        Returns
        -------
        attributes : dict
            Those of a fitted estimator.
        warning : Warning or None
            What there is to warn of.
        """
        told = tell(self.estimator, given, np.asarray(given.y), len(members))
        results = train_networks(self.estimator, members, at_once, self.started, told, self.known)
        trained = members[: len(results)]
        models = [m.model(result.parameters) for m, result in zip(trained, results, strict=True)]
        attributes = {
            **self.known,
            **_learned(results),
            "columns_": _columns(self.reader, members[0].encoding),
            **more(trained, models),
            "_models": models,
        }
        if told is not None:
            told.end(lambda: attributes)
        warnings = [result.warning for result in results if result.warning is not None]
        return attributes, warnings[0] if warnings else None

    def without_networks(
        self, given: Given, share: float, more: Callable[[list[float]], dict[str, Any]] = _nothing
    ) -> Outcome:
        """Predict shares of the classes alone, where columns say nothing; returns as `train`.

        share : that of the last class; more : returns further attributes, of the shares
        """
        told = tell(self.estimator, given, np.asarray(given.y), 0)
        shares = [1.0] if len(self.classes) == 1 else [1 - share, share]
        attributes = {
            **self.known, **_learned([]), "columns_": {}, "_models": [], "_shares": shares,
            **more(shares),
        }  # fmt: skip
        if told is not None:
            told.end(lambda: attributes)
        return attributes, None


def _learned(results: Sequence[FitResult]) -> dict[str, Any]:
    """Attributes that tell of training."""
    return {
        "n_iter_": max((result.n_iter for result in results), default=0),
        "best_epochs_": np.array([result.best_epoch or 0 for result in results], np.int64),
        "loss_curves_": [result.loss_curve for result in results],
        "learning_rate_curve_": results[0].rate_curve if results else [],
        "validation_loss_curves_": [result.validation_loss_curve for result in results],
        "validation_scores_": [result.validation_scores for result in results],
    }


def _columns(reader: TableReader, encoding: Encoding) -> dict[str, str]:
    """What each column becomes, by name."""
    names = [
        column.name if column.name is not None else f"x{j}"
        for j, column in enumerate(reader.columns)
    ]
    return dict(zip(names, encoding.becomes(), strict=True))
