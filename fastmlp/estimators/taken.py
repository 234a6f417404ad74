"""What a first pass over a source has left, as what an estimator's network is trained on."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.data.checks import CheckedData, TrainingData
from fastmlp.data.chunks import Source
from fastmlp.data.class_weights import weighted
from fastmlp.data.parts import Part
from fastmlp.data.rows import as_rows
from fastmlp.data.scratch import part_like
from fastmlp.data.sink import Finish, Room, Sink, parts_of
from fastmlp.data.split import Validation
from fastmlp.estimators import runs
from fastmlp.estimators.given import Given, Problem
from fastmlp.estimators.predicted import by_scorer
from fastmlp.estimators.settings import Settings
from fastmlp.estimators.solvers import ByEpochs, warn_of_batch_size
from fastmlp.estimators.validation import plain_metric, validation_of
from fastmlp.network.session import Session
from fastmlp.training.streams import PassingWindows, Streamed
from fastmlp.training.windows import Pieces, StoredWindows, Windows

Array = NDArray[Any]


@dataclass(frozen=True)
class Streams:
    """Where rows come from, and where they may lie meanwhile.

    Attributes
    ----------
    source : Source
        Rows to train on.
    validation : Source or None
        Rows for early stopping to go by.
    memory : int
        Bytes that may be used.
    folder : str, None or False
        Of scratch files; None for the folder of temporary files, and False for no such files.
    """

    source: Source
    validation: Source | None
    memory: int
    folder: Any

    def room(self, settings: Settings) -> Room:
        """What the memory is for."""
        sources = [self.source] if self.validation is None else [self.source, self.validation]
        reading = max(source.reading for source in sources) if self.folder is False else 0
        return Room(self.memory, settings.minibatch_rows(sys.maxsize), reading)


@dataclass
class Taken:
    """What the first pass has found, and where the rows are now.

    Attributes
    ----------
    streams : Streams
        Where rows come from.
    settings : Settings
        The parameters.
    sinks : list of Sink
        Of the rows to train on and, where they are given, of those to validate on.
    classes : ndarray
        The labels, sorted.
    swapped : bool
        Whether codes of the first sink stand for the other class.
    by_class : ndarray or None
        Weights of the classes.
    """

    streams: Streams
    settings: Settings
    sinks: list[Sink]
    classes: Array
    swapped: bool
    by_class: NDArray[np.float64] | None

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
        if self.sinks[0].is_full:
            return self._by_windows(estimator, draft, earlier, dtype)
        part = self._in_memory(0)
        given = Given(part.X, self._labels(part.targets), part.weight)
        if len(self.sinks) > 1:
            X_val, targets, weight = self._in_memory(1)
            labels = self._labels(targets)
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

    def _labels(self, targets: NDArray[np.bool_]) -> Array:
        labels: Array = self.classes[targets.astype(np.int8)]
        return labels

    def _finish(self, number: int) -> Finish:
        sink = self.sinks[number]
        assert sink.kept is not None
        swapped = self.swapped and number == 0  # those to validate on came with known labels
        return Finish(swapped, self.by_class, sink.kept.room.weight is not None)

    def _in_memory(self, number: int) -> Part:
        """Rows with their targets, and the weights that they came with."""
        kept = self.sinks[number].kept
        assert kept is not None
        replace(self._finish(number), by_class=None)(kept.rows)
        return kept.rows

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
        windows, held_out = self._windows(0, 0, room), None
        if settings.early_stopping:
            held_out = (
                self._windows(1, 0, room) if len(self.sinks) > 1 else self._windows(0, 1, room)
            )
        # Callbacks, and a message about training that diverges, go by the first rows.
        assert sink.sample is not None
        X, codes, weight = sink.sample
        targets = ~codes if self.swapped else codes
        given = Given(X, self._labels(targets), weight)
        _, _, weights = self._finish(0).of(
            Part(X, codes, None if weight is None else weight.copy())
        )
        data = TrainingData(as_rows(X, dtype), targets, weights, self.classes)
        problem = self._problem(estimator, draft, given, data)
        validation = None if held_out is None else self._validation(problem, held_out)
        warn_of_batch_size(settings, n_rows)
        batch_size = settings.minibatch_rows(n_rows)
        return ByEpochs(
            problem, settings, earlier, np.empty(0, np.int64), validation, False, n_rows,
            partial(Streamed, windows=windows, batch_size=batch_size, held_out=held_out),
        )  # fmt: skip

    def _windows(self, number: int, file: int, room: tuple[Part, Part]) -> Windows:
        """Windows of the rows of a sink, or of a file of it."""
        sink, finish = self.sinks[number], self._finish(number)
        own = finish.room(room[0]), finish.room(room[1])
        if sink.files:
            store = sink.files[file]
            store.finish = finish
            pieces = Pieces(store.n_rows, store.block_rows)
            return StoredWindows(store, pieces, own, sink.storing.room.batch_rows)
        source = self.streams.source if number == 0 else self.streams.validation
        assert source is not None
        parts = parts_of(source, sink.storing, self.classes, self.by_class)
        return PassingWindows(parts, source.n_units, sink.n_rows, own)

    def _validation(self, problem: Problem, held_out: Windows) -> Validation:
        """What stays in memory of the rows to validate on: targets and weights."""
        targets, weights = [], []
        with closing(held_out.epoch(None)) as parts:
            for part in parts:
                targets.append(part.targets.copy())
                if part.weight is not None:
                    weights.append(part.weight.copy())
        rows = as_rows(problem.checked.X[:0], problem.data.rows.values.dtype)
        weight = np.concatenate(weights) if weights else None
        metric = plain_metric(self.settings, len(self.classes))
        validation = Validation(rows, None, np.concatenate(targets), weight, metric)
        if self.settings.scoring in (None, "loss"):
            return validation
        labels = self._labels(validation.targets)
        return replace(validation, metric=by_scorer(self.settings.scoring, self.classes, labels))
