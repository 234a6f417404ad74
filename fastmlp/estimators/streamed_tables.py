"""TabularMLPBinaryClassifier on a source of rows: a first pass, then networks as in `fit`.

A table that has room in memory is trained on as `fit` does. Of a larger one, all networks hold out
the same rows, and a sample of the others says where bins begin.
"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from fastmlp.data.chunks import Chunk, Order, Source
from fastmlp.data.class_weights import weighted
from fastmlp.data.edges import MOST_ROWS
from fastmlp.data.facts import ColumnFacts
from fastmlp.data.parts import Part
from fastmlp.data.rows import as_rows
from fastmlp.data.sample import Sample
from fastmlp.data.scratch import part_like
from fastmlp.data.sink import Storing
from fastmlp.data.split import Validation
from fastmlp.data.survey import Survey
from fastmlp.estimators.callbacks import with_callbacks
from fastmlp.estimators.first_pass import FirstPass, Streams, Taken, take_in_all, targets_of
from fastmlp.estimators.given import Given
from fastmlp.estimators.predicted import check_named
from fastmlp.estimators.tabular import FITTED
from fastmlp.estimators.tabular_fitting import Table, fit_table, recipe_of
from fastmlp.estimators.tabular_networks import Fitting, Outcome
from fastmlp.estimators.tabular_scoring import metric_of
from fastmlp.runtime.team import available_threads
from fastmlp.training.encoding import Embeddings, Encoding, learn_encoding
from fastmlp.training.recipe import MOST_HELD_OUT, recipe_for
from fastmlp.training.table import TableData, session_of
from fastmlp.training.table_streams import StreamedMember
from fastmlp.training.weights import FLOAT32
from fastmlp.training.windows import StoredWindows, Windows

Array = NDArray[Any]

#: One of so many parts of the memory is the sample's, in the first pass: the second window is not
#: there yet. On adult (36,631 rows × 14), log loss was .2748 in memory, and
#: .2732, .2786 and .2917 in windows where all, 3,466 and 1,000 rows were drawn.
_OF_SAMPLE = 4

#: The rows held out have a window that is so much shorter than the others.
_OF_HELD_OUT = 16

#: Rows at most that callbacks are told of.
_SHOWN_ROWS = 1000

#: Where nobody knows how many rows will come, and they do not fit into memory: so many at least.
_MANY_ROWS = 200_000


def fit(estimator: Any, streams: Streams, then: Callable[[], None] = lambda: None) -> None:
    """Train an estimator.

    then : called once it is trained, ahead of a warning, of which a filter may make an error
    """
    draft = object.__new__(type(estimator))
    draft.__dict__.update({k: v for k, v in vars(estimator).items() if k not in FITTED})
    with np.errstate(all="ignore"):
        attributes, warning = with_callbacks(_train)(estimator, draft, streams)
    estimator.__dict__ = {**vars(draft), **attributes}
    then()
    if warning is not None:
        warnings.warn(warning, stacklevel=3)


def check_settings(estimator: Any, streams: Streams) -> None:
    """ValueError if parameters and arguments do not go together."""
    check_named(estimator.scoring)
    if streams.folder is False:
        raise ValueError(
            "TabularMLPBinaryClassifier needs a scratch file, which its rows are drawn from: give "
            "a folder as scratch, or None."
        )


@dataclass
class Coded:
    """A source of raw tables as one of numbers and codes.

    Attributes
    ----------
    source : Source
        Of tables.
    survey : Survey
        Of the columns.
    read : callable
        Makes the matrix of a table.
    """

    source: Source
    survey: Survey
    read: Callable[[Any], Array]

    def __post_init__(self) -> None:
        self.n_rows, self.n_units = self.source.n_rows, self.source.n_units
        self.reading = self.source.reading

    @property
    def names(self) -> list[str] | None:
        """Names of the columns."""
        return self.survey.names

    def chunks(self, order: Order = None) -> Iterator[Chunk]:
        """Read all rows; see `Source`."""
        for chunk in self.source.chunks(order):
            try:
                X = self.read(chunk.X)
            except (TypeError, ValueError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(f"{chunk.where}, from row {chunk.first} on: {error}") from error
            yield chunk._replace(X=X)


def _train(estimator: Any, draft: Any, streams: Streams) -> Outcome:
    """Read, train, and return the fitted attributes and what there is to warn of."""
    started = time.perf_counter()
    check_settings(estimator, streams)
    survey = Survey(estimator.categorical_features)
    validation = None
    if streams.validation is not None:
        validation = Coded(streams.validation, survey, lambda X: survey.reader().read(X))
    source = Coded(streams.source, survey, survey.read)
    streams = replace(streams, source=source, validation=validation)
    with ExitStack() as stack:
        taken = take_in_all(draft, streams, _first_pass(estimator, streams), stack)
        fitting = Fitting(estimator, draft, taken.classes, survey.reader(), started)
        table = _Table(fitting, taken, survey)
        return table.fit() if taken.is_in_memory else table.fit_in_windows()


def _first_pass(estimator: Any, streams: Streams) -> FirstPass:
    """How to take rows in. Draws are a copy's: what has room in memory is split as in `fit`."""
    rng = copy.deepcopy(check_random_state(estimator.random_state))
    held_out = None
    if streams.validation is None:
        n_rows = streams.source.n_rows or _MANY_ROWS
        held_out = int(rng.randint(2**31 - 1)), recipe_for(n_rows).held_out
    room = streams.room(recipe_for(_MANY_ROWS).batch_size)
    # With validation rows of their own, the second window is there in the first pass.
    of_sample = _OF_SAMPLE if streams.validation is None else 4 * _OF_SAMPLE
    drawn = Sample(MOST_ROWS, streams.memory // of_sample, int(rng.randint(2**31 - 1)))
    return FirstPass(
        Storing(room, streams.folder, None),
        estimator.class_weight,
        held_out=held_out,
        drawn=drawn,
    )


@dataclass
class _Table:
    """A table after the first pass.

    Attributes
    ----------
    fitting : Fitting
        The call.
    taken : Taken
        The rows, with codes of the survey.
    survey : Survey
        Of the columns.
    """

    fitting: Fitting
    taken: Taken
    survey: Survey

    def fit(self) -> Outcome:
        """Train as `fit` does, in memory."""
        taken = self.taken
        X, targets, own = taken.in_memory(0)
        self.survey.finish(X)
        y, weight = taken.labels(targets), weighted(own, targets, taken.by_class)
        table = Table(self.fitting.reader, X, y, taken.classes, weight, taken.by_class)
        validation = None
        if len(taken.sinks) > 1:
            X_val, targets, own = taken.in_memory(1)
            weight = weighted(own, targets, taken.by_class)
            validation = self._validation(X_val, targets, weight)
        return fit_table(self.fitting, table, Given(X, y, own), validation, self._shown(X, y, own))

    def _validation(self, X: Array, targets: Array, weight: Array | None) -> Validation:
        labels = self.taken.labels(targets)
        metric = metric_of(self.fitting.estimator, self.taken.classes, lambda: X, labels)
        return Validation(as_rows(X, FLOAT32), None, targets, weight, metric)

    def fit_in_windows(self) -> Outcome:
        """Train on rows of files."""
        estimator, sink = self.fitting.estimator, self.taken.sinks[0]
        recipe = recipe_of(estimator, sink.n_rows)
        X, shown = self._first_rows()
        facts, encoding = self.survey.facts(), None
        if len(self.taken.classes) > 1:
            self._check_classes()
            encoding = self._encoding(facts, recipe.embeddings)
        if encoding is None:
            return self.fitting.without_networks(shown, self.taken.share_of_last)
        windows, held_out = self._windows()
        data = TableData(as_rows(X, FLOAT32), np.zeros(len(X), np.bool_), None)
        validation = self._validation(X[:0], *targets_of(held_out))
        rng = check_random_state(estimator.random_state)
        n_threads = available_threads(estimator.n_threads)
        members = [
            StreamedMember(
                data, np.empty(0, np.int64), validation, encoding, facts, recipe,
                session_of(encoding, recipe, n_threads), np.random.RandomState(seed),
                windows=windows, held_out=held_out, n_streamed=sink.files[0].n_rows,
            )
            for seed in rng.randint(2**31 - 1, size=recipe.n_folds).tolist()
        ]  # fmt: skip
        return self.fitting.train(members, 1, shown)

    def _encoding(self, facts: list[ColumnFacts], how: Embeddings) -> Encoding | None:
        """What columns become, by rows that were drawn, and are dropped then."""
        sink = self.taken.sinks[0]
        assert sink.drawn is not None
        drawn, sink.drawn = sink.drawn.rows, None
        self.survey.finish(drawn.X)
        X, targets, weight = self.taken.finish(0).of(drawn)
        how = replace(how, n_bins=recipe_for(len(X)).embeddings.n_bins)
        return learn_encoding(X, facts, targets, weight, how)

    def _check_classes(self) -> None:
        """ValueError if a class is not among rows to learn from, or not among those held out."""
        if len(self.taken.sinks) > 1:
            return
        held = self.taken.sinks[0].held_totals.positive
        for label, n, n_held in zip(
            self.taken.classes, self.taken.totals.positive, held, strict=True
        ):
            if n_held in (0, n):
                raise ValueError(
                    f"y has {n} row(s) of class {label} with a weight, of which {n_held} were "
                    "drawn to be held out: some are needed for both. Give more, or validation."
                )

    def _first_rows(self) -> tuple[Array, Given]:
        """Some rows, and what callbacks are told of them."""
        sample = self.taken.sinks[0].sample
        assert sample is not None
        self.survey.finish(sample.X)
        targets = ~sample.targets if self.taken.swapped else sample.targets
        shown = self._shown(sample.X, self.taken.labels(targets), sample.weight)
        return sample.X, shown

    def _shown(self, X: Array, y: Array, weight: Array | None) -> Given:
        """The first rows as the source gave them, of which callbacks are told."""
        n = _SHOWN_ROWS
        return Given(self.survey.table(X[:n]), y[:n], None if weight is None else weight[:n])

    def _windows(self) -> tuple[Windows, Windows]:
        """Windows of the rows to train on, and of those to validate on."""
        taken, sink = self.taken, self.taken.sinks[0]
        first, is_given = sink.window(), len(taken.sinks) > 1
        second = taken.sinks[1].window() if is_given else part_like(first, first.n_rows)
        n_held_out = max(1, first.n_rows // _OF_HELD_OUT)
        few = part_like(first, n_held_out), part_like(first, n_held_out)
        windows = taken.windows(0, 0, (first, second))
        held_out = taken.windows(1, 0, few) if is_given else taken.windows(0, 1, few)
        if not is_given and isinstance(held_out, StoredWindows):
            # Of a source that does not say how many rows it has, more may have been held out.
            held_out.some = held_out.pieces.spread(MOST_HELD_OUT)
        for store in sink.files:
            store.finish = self._with_codes(store.finish)
        return windows, held_out

    def _with_codes(self, finish: Callable[[Part], None]) -> Callable[[Part], None]:
        def finish_all(part: Part) -> None:
            self.survey.finish(part.X)
            finish(part)

        return finish_all
