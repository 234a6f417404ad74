"""A first pass over a source: every row is checked and counted, and kept to be read again."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.data.chunks import Chunk, Source
from fastmlp.data.class_weights import class_weights
from fastmlp.data.labels import check_labels
from fastmlp.data.parts import Part
from fastmlp.data.sample import Sample
from fastmlp.data.sink import Finish, Room, Sink, Storing, parts_of, take_in
from fastmlp.data.totals import Labels, Totals
from fastmlp.training.streams import PassingWindows
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

    def room(self, batch_rows: int) -> Room:
        """What the memory is for; batch_rows : of a minibatch."""
        sources = [self.source] if self.validation is None else [self.source, self.validation]
        reading = max(source.reading for source in sources) if self.folder is False else 0
        return Room(self.memory, batch_rows, reading)


@dataclass(frozen=True)
class FirstPass:
    """How rows are taken in.

    Attributes
    ----------
    storing : Storing
        How they are stored.
    class_weight : dict, "balanced" or None
        The parameter.
    classes : ndarray or None
        The labels that there may be, where they are known.
    held_out : tuple of (seed, share), or None
        Which rows to hold out, where not all have room in memory.
    drawn : Sample or None
        Draws from the others then.
    """

    storing: Storing
    class_weight: Any
    classes: Array | None = None
    held_out: tuple[int, float] | None = None
    drawn: Sample | None = None


@dataclass
class Taken:
    """What the first pass has found, and where the rows are now.

    Attributes
    ----------
    streams : Streams
        Where rows come from.
    sinks : list of Sink
        Of the rows to train on and, where they are given, of those to validate on.
    totals : Totals
        Of the rows to train on, with those held out.
    classes : ndarray
        The labels, sorted.
    swapped : bool
        Whether codes of the first sink stand for the other class.
    by_class : ndarray or None
        Weights of the classes.
    """

    streams: Streams
    sinks: list[Sink]
    totals: Totals
    classes: Array
    swapped: bool
    by_class: NDArray[np.float64] | None

    @property
    def is_in_memory(self) -> bool:
        """Whether all rows have room there."""
        return not self.sinks[0].is_full

    @property
    def share_of_last(self) -> float:
        """The share of the last class, by weights."""
        of_class = self.totals.sums[: len(self.classes)]
        if self.by_class is not None:
            of_class = of_class * self.by_class
        return float(of_class[-1] / of_class.sum())

    def labels(self, targets: NDArray[np.bool_]) -> Array:
        """The labels of targets."""
        labels: Array = self.classes[targets.astype(np.int8)]
        return labels

    def finish(self, number: int) -> Finish:
        """What makes targets and weights to train on of those of a sink."""
        sink = self.sinks[number]
        assert sink.kept is not None
        swapped = self.swapped and number == 0  # those to validate on came with known labels
        return Finish(swapped, self.by_class, sink.kept.room.weight is not None)

    def in_memory(self, number: int) -> Part:
        """Rows of a sink with their targets, and the weights that they came with."""
        kept = self.sinks[number].kept
        assert kept is not None
        finish = self.finish(number)
        Finish(finish.swapped, None, finish.weighted)(kept.rows)
        return kept.rows

    def windows(self, number: int, file: int, room: tuple[Part, Part]) -> Windows:
        """Windows of the rows of a sink, or of a file of it."""
        sink, finish = self.sinks[number], self.finish(number)
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


def targets_of(windows: Windows) -> tuple[NDArray[np.bool_], NDArray[np.float64] | None]:
    """Targets and weights of all rows of windows, in their order."""
    targets, weights = [], []
    with closing(windows.epoch(None)) as parts:
        for part in parts:
            targets.append(part.targets.copy())
            if part.weight is not None:
                weights.append(part.weight.copy())
    return np.concatenate(targets), np.concatenate(weights) if weights else None


def take_in_all(draft: Any, streams: Streams, how: FirstPass, stack: ExitStack) -> Taken:
    """Go through all rows once.

    Parameters
    ----------
    draft : estimator
        A stand-in, which takes on number and names of the features, or is checked against them
        where the classes are known.
    streams : Streams
        The rows.
    how : FirstPass
        How they are taken in.
    stack : ExitStack
        Removes the files.

    Raises
    ------
    ValueError, TypeError
        With the place, if something is not as it should be.
    """
    known = how.classes
    labels, totals = Labels(known), Totals()
    sinks = [Sink(how.storing, stack, how.held_out, streams.source.n_rows, how.drawn)]
    take_in(
        streams.source, sinks[0], labels, totals,
        lambda chunk: _take_features(draft, chunk, streams.source, reset=known is None),
    )  # fmt: skip
    classes, swapped = labels.classes()
    if known is not None:
        check_labels(labels.present(), classes, warm_start=True)
    if swapped:
        totals.swap()
        sinks[0].held_totals.swap()
    weights = totals.sums[: len(classes)]
    by_class = class_weights(how.class_weight, classes, classes, weights)
    totals.check(by_class)
    if streams.validation is not None:
        own, found = Labels(classes), Totals()
        sinks.append(Sink(how.storing, stack, None, streams.validation.n_rows))
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
        if how.held_out is not None:
            _check_held_out(sinks[0], totals, by_class)
    return Taken(streams, sinks, totals, classes, swapped, by_class)


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


def _check_held_out(sink: Sink, totals: Totals, by_class: NDArray[np.float64] | None) -> None:
    """ValueError if rows drawn to train on or to hold out have no weight, or are too few."""
    assert sink.held_out is not None
    train, held = sink.files
    if held.n_rows < 2 or not train.n_rows:
        raise ValueError(
            f"validation_fraction={sink.held_out[1]} of {sink.n_rows} rows leaves {held.n_rows} to "
            f"validate on and {train.n_rows} to train on."
        )
    of_class = np.ones(2)
    if by_class is not None:
        of_class[: len(by_class)] = by_class
    rest = totals.positive - sink.held_totals.positive
    for part, counts in (("train on", rest), ("hold out", sink.held_totals.positive)):
        if not (counts * of_class).any():
            raise ValueError(f"sample_weight is 0 for all rows that were drawn to {part}.")
