"""From a source of rows to a fitted estimator: a first pass over the source, then training.

Rows that have room in memory are trained on as `fit` does. Others go through windows.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from fastmlp.data.chunks import Chunk
from fastmlp.data.class_weights import class_weights
from fastmlp.data.labels import check_labels
from fastmlp.data.sink import Sink, Storing, take_in
from fastmlp.data.totals import Labels, Totals
from fastmlp.estimators import runs, starts
from fastmlp.estimators.callbacks import with_callbacks
from fastmlp.estimators.predicted import check_named
from fastmlp.estimators.settings import Settings
from fastmlp.estimators.taken import Streams, Taken
from fastmlp.network.session import Session


def fit(estimator: Any, streams: Streams, then: Callable[[], None] = lambda: None) -> None:
    """Train an estimator; with warm_start, from the weights that it has.

    then : called once it is trained, ahead of a warning, of which a filter may make an error
    """
    with np.errstate(all="ignore"):
        warning = with_callbacks(_train)(estimator, streams)
    then()
    if warning is not None:
        warnings.warn(warning, stacklevel=3)


def check_settings(settings: Settings, streams: Streams) -> None:
    """Check that parameters and arguments go together.

    Raises
    ------
    ValueError
        If they do not.
    """
    if not settings.by_epochs:
        raise ValueError(
            "solver='lbfgs' needs all rows at once: use 'adam' or 'sgd', or spread the rows over "
            "machines with fastmlp.dask.DaskMLPBinaryClassifier."
        )
    check_named(settings.scoring)
    if streams.validation is not None and not settings.early_stopping:
        raise ValueError("validation needs early_stopping=True, which goes by it.")
    if settings.early_stopping and streams.validation is None and streams.folder is False:
        raise ValueError(
            "early_stopping=True without a scratch file has no rows to go by: give validation, or "
            "a folder as scratch."
        )


def _train(estimator: Any, streams: Streams) -> Warning | None:
    """Read, train, and return what there is to say about the model."""
    settings = Settings.of(estimator)
    check_settings(settings, streams)
    earlier = runs.fitted_attributes(estimator) if estimator.warm_start else {}
    generators = starts.generators(
        check_random_state(settings.random_state), 1 if earlier else settings.n_init
    )
    sessions: dict[int, Session] = {}
    working = settings.dtype
    if earlier:  # first of all, for what is wrong with the weights
        X = np.empty((0, earlier["n_features_in_"]), np.float32)
        sessions[0], working = runs.start(settings, earlier, X, generators[0])
    draft = runs.draft_of(estimator)
    with ExitStack() as stack:
        taken = _take_in(draft, streams, settings, working, generators[0], earlier, stack)
        dtype = working
        for number, rng in enumerate(generators):
            if number not in sessions:
                X = np.empty((0, draft.n_features_in_), taken.sinks[0].storing.dtype)
                sessions[number], dtype = runs.start(settings, {}, X, rng)
            if number == 0:
                solver = taken.solver(estimator, draft, earlier, rng, sessions[0])
        assert dtype is not None
        return runs.train(solver, sessions, generators, dtype)


def _take_in(
    draft: Any,
    streams: Streams,
    settings: Settings,
    working: np.dtype[Any] | None,
    rng: np.random.RandomState,
    earlier: Mapping[str, Any],
    stack: ExitStack,
) -> Taken:
    """Go through all rows once."""
    storing = Storing(streams.room(settings), streams.folder, working)
    labels, totals = Labels(earlier.get("classes_")), Totals()
    held_out = None
    if settings.early_stopping and streams.validation is None:
        # Of a copy: rows that have room in memory are held out as in fit.
        held_out = int(copy.deepcopy(rng).randint(2**31 - 1)), settings.validation_fraction
    sinks = [Sink(storing, stack, held_out, streams.source.n_rows)]
    take_in(
        streams.source, sinks[0], labels, totals,
        lambda chunk: _take_features(draft, chunk, streams.source, reset=not earlier),
    )  # fmt: skip
    classes, swapped = labels.classes()
    if earlier:
        check_labels(labels.present(), classes, warm_start=True)
    if swapped:
        totals.swap()
        sinks[0].held_totals.swap()
    weights = totals.sums[: len(classes)]
    by_class = class_weights(settings.class_weight, classes, classes, weights)
    totals.check(by_class)
    if streams.validation is not None:
        own, found = Labels(classes), Totals()
        sinks.append(Sink(storing, stack, None, streams.validation.n_rows))
        try:
            take_in(
                streams.validation, sinks[1], own, found,
                lambda chunk: _take_features(draft, chunk, streams.validation, reset=False),
            )  # fmt: skip
            found.check(by_class)
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation: {error}") from error
    # In memory are all of them or none: there is no room for windows beside.
    if any(sink.is_full for sink in sinks):
        for sink in sinks:
            if not sink.is_full:
                sink.spill()
            for file in sink.files:
                file.flush()
        if held_out is not None:
            _check_held_out(settings, sinks[0], totals, by_class)
    return Taken(streams, settings, sinks, classes, swapped, by_class)


def _take_features(draft: Any, chunk: Chunk, source: Any, *, reset: bool) -> None:
    """Take on how many features there are and their names, or check them."""
    n_features, names = chunk.X.shape[1], source.names
    if reset:
        draft.n_features_in_ = n_features
        vars(draft).pop("feature_names_in_", None)
        if names is not None:
            draft.feature_names_in_ = np.asarray(names, object)
        return
    if n_features != draft.n_features_in_:
        raise ValueError(
            f"X has {n_features} features, but {type(draft).__name__} is expecting "
            f"{draft.n_features_in_} features as input."
        )
    known = vars(draft).get("feature_names_in_")
    if known is not None and names is not None and list(known) != list(names):
        raise ValueError(
            f"The columns {list(names)} are not those of before, in their order: {list(known)}. "
            "Choose them by `columns`."
        )


def _check_held_out(
    settings: Settings, sink: Sink, totals: Totals, by_class: NDArray[np.float64] | None
) -> None:
    """ValueError if rows drawn to train on or to hold out have no weight, or are too few."""
    train, held = sink.files
    if held.n_rows < 2 or not train.n_rows:
        raise ValueError(
            f"validation_fraction={settings.validation_fraction} of {sink.n_rows} rows leaves "
            f"{held.n_rows} to validate on and {train.n_rows} to train on."
        )
    of_class = np.ones(2)
    if by_class is not None:
        of_class[: len(by_class)] = by_class
    rest = totals.positive - sink.held_totals.positive
    for part, counts in (("train on", rest), ("hold out", sink.held_totals.positive)):
        if not (counts * of_class).any():
            raise ValueError(f"sample_weight is 0 for all rows that were drawn to {part}.")
