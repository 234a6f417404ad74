"""What a first pass over a source has left, as what an estimator's network is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.data.checks import CheckedData, TrainingData
from fastmlp.data.class_weights import weighted
from fastmlp.data.parts import Part
from fastmlp.data.rows import as_rows
from fastmlp.data.scratch import part_like
from fastmlp.data.split import Validation
from fastmlp.estimators import runs
from fastmlp.estimators.first_pass import Taken, targets_of
from fastmlp.estimators.given import Given, Problem
from fastmlp.estimators.predicted import by_scorer
from fastmlp.estimators.settings import Settings
from fastmlp.estimators.solvers import ByEpochs, warn_of_batch_size
from fastmlp.estimators.validation import plain_metric, validation_of
from fastmlp.network.session import Session
from fastmlp.training.streams import Streamed
from fastmlp.training.windows import Windows

Array = NDArray[Any]


@dataclass
class TakenRows(Taken):
    """Rows of numbers, to be trained on as the parameters say.

    Attributes
    ----------
    settings : Settings
        The parameters.
    """

    settings: Settings

    def solver(
        self,
        estimator: Any,
        draft: Any,
        earlier: Mapping[str, Any],
        rng: np.random.RandomState,
        session: Session,
    ) -> ByEpochs:
        """How to train.

        Parameters
        ----------
        estimator : estimator
            Whom.
        draft : estimator
            Has the number and the names of the features.
        earlier : mapping
            The attributes to go on from.
        rng : RandomState
            Where rows to hold out are drawn from, if all are in memory.
        session : Session
            Holds the weights to start from.
        """
        dtype = session.network.dtype
        if not self.is_in_memory:
            return self._by_windows(estimator, draft, earlier, dtype)
        part = self.in_memory(0)
        given = Given(part.X, self.labels(part.targets), part.weight)
        if len(self.sinks) > 1:
            X_val, targets, weight = self.in_memory(1)
            labels = self.labels(targets)
            given = replace(given, X_val=X_val, y_val=labels, sample_weight_val=weight)
        weights = weighted(part.weight, part.targets, self.by_class)
        data = TrainingData(as_rows(part.X, dtype), part.targets, weights, self.classes)
        problem = self._problem(estimator, draft, given, data)
        # The names of columns have been checked, and arrays have none.
        nameless = runs.draft_of(draft)
        vars(nameless).pop("feature_names_in_", None)
        order, validation = validation_of(replace(problem, draft=nameless), self.settings, rng)
        warn_of_batch_size(self.settings, len(order))
        return ByEpochs(problem, self.settings, earlier, order, validation, False)

    def _problem(self, estimator: Any, draft: Any, given: Given, data: TrainingData) -> Problem:
        y, weight = np.asarray(given.y), given.sample_weight
        weight = None if weight is None else np.asarray(weight)
        checked = CheckedData(given.X, y, self.classes, weight)
        return Problem(estimator, draft, given, checked, data, self.by_class)

    def _by_windows(
        self, estimator: Any, draft: Any, earlier: Mapping[str, Any], dtype: np.dtype[Any]
    ) -> ByEpochs:
        """How to train on rows that do not all have room in memory."""
        settings, sink = self.settings, self.sinks[0]
        first = sink.window()
        more = [each.window() for each in self.sinks[1:]] or [part_like(first, first.n_rows)]
        room = first, more[0]
        n_rows = sink.files[0].n_rows if sink.files else sink.n_rows
        windows, held_out = self.windows(0, 0, room), None
        if settings.early_stopping:
            held_out = self.windows(1, 0, room) if len(self.sinks) > 1 else self.windows(0, 1, room)
        # Callbacks, and a message about training that diverges, go by the first rows.
        assert sink.sample is not None
        X, codes, weight = sink.sample
        targets = ~codes if self.swapped else codes
        given = Given(X, self.labels(targets), weight)
        _, _, weights = self.finish(0).of(Part(X, codes, None if weight is None else weight.copy()))
        data = TrainingData(as_rows(X, dtype), targets, weights, self.classes)
        problem = self._problem(estimator, draft, given, data)
        validation = None if held_out is None else self._validation(problem, held_out)
        warn_of_batch_size(settings, n_rows)
        batch_size = settings.minibatch_rows(n_rows)
        return ByEpochs(
            problem, settings, earlier, np.empty(0, np.int64), validation, False, n_rows,
            partial(Streamed, windows=windows, batch_size=batch_size, held_out=held_out),
        )  # fmt: skip

    def _validation(self, problem: Problem, held_out: Windows) -> Validation:
        """What stays in memory of the rows to validate on: targets and weights."""
        targets, weight = targets_of(held_out)
        rows = as_rows(problem.checked.X[:0], problem.data.rows.values.dtype)
        metric = plain_metric(self.settings, len(self.classes))
        validation = Validation(rows, None, targets, weight, metric)
        if self.settings.scoring in (None, "loss"):
            return validation
        labels = self.labels(validation.targets)
        return replace(validation, metric=by_scorer(self.settings.scoring, self.classes, labels))
