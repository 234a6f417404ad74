"""Pipelines on rows that need not fit into memory: transformers are fitted chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from fastmlp.data.chunks import Chunk, Order, Source, check_finite, names_of

Array = NDArray[Any]

#: Rows that a transformer is given at once, and how many for each feature: IncrementalPCA needs
#: more than it has components. The size of chunks does not matter to what it makes of them.
_ROWS, _ROWS_OF_FEATURE = 1024, 5


@dataclass
class Transformed:
    """A source whose features have been transformed.

    Attributes
    ----------
    source : Source
        The rows.
    name : str
        Of the step, for errors.
    transformer : transformer
        Fitted.
    """

    source: Source
    name: str
    transformer: Any
    names: list[str] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.n_rows, self.n_units = self.source.n_rows, self.source.n_units
        self.reading = self.source.reading

    def chunks(self, order: Order = None) -> Iterator[Chunk]:
        """Read all rows; see `Source`."""
        for chunk in self.source.chunks(order):
            found = self.transformer.transform(chunk.X)
            self.names = names_of(found)
            if self.names is not None and self.source.names is not None:
                # Arrays have no names from which those of a frame could come.
                self.names = list(self.transformer.get_feature_names_out(self.source.names))
            X = np.ascontiguousarray(found)
            where = f"step {self.name!r}, {chunk.where}"
            if X.dtype.kind not in "biuf" or X.ndim != 2:
                raise ValueError(f"{where}: gives no table of numbers.")
            check_finite(X, self.names, where, chunk.first)
            yield chunk._replace(X=X)


def check_steps(pipeline: Pipeline) -> None:
    """ValueError if a step but the last cannot be fitted in parts."""
    for name, step in pipeline.steps[:-1]:
        if _is_none(step):
            continue
        if not (hasattr(step, "partial_fit") and hasattr(step, "transform")):
            raise ValueError(
                f"Step {name!r}, {type(step).__name__}, has no partial_fit, which rows larger than "
                "memory need: fit it on some rows, and stream what it makes of each chunk."
            )


def fit_steps(
    pipeline: Pipeline, source: Source, validation: Source | None
) -> tuple[Source, Source | None, list[tuple[str, Any]]]:
    """Fit transformers, each in a pass over what those before it make of the rows.

    Returns
    -------
    source, validation : Source
        The rows transformed.
    fitted : list of (name, transformer)
        Clones of the steps; the pipeline is left as it is.
    """
    fitted: list[tuple[str, Any]] = []
    for name, step in pipeline.steps[:-1]:
        if _is_none(step):
            fitted.append((name, step))
            continue
        transformer = clone(step)
        for X in _groups(source):
            transformer.partial_fit(X)
        source = Transformed(source, name, transformer)
        if validation is not None:
            validation = Transformed(validation, name, transformer)
        fitted.append((name, transformer))
    return source, validation, fitted


def take_names(fitted: list[tuple[str, Any]], names: list[str] | None) -> None:
    """Let the first transformer know the names of the columns, as if it had seen a table."""
    for _, step in fitted:
        if not _is_none(step):
            if names is not None:
                step.feature_names_in_ = np.asarray(names, object)
            return


def _is_none(step: Any) -> bool:
    return step is None or (isinstance(step, str) and step == "passthrough")


def _groups(source: Source) -> Iterator[Array]:
    """Rows in groups of one size; what is left at the end goes with the last of them."""
    waiting: list[Array] = []
    n = size = 0
    for chunk in source.chunks():
        size = size or max(_ROWS, _ROWS_OF_FEATURE * chunk.X.shape[1])
        waiting.append(chunk.X)
        n += len(chunk.X)
        if n < 2 * size:
            continue
        X = np.concatenate(waiting)
        while n >= 2 * size:
            yield X[:size]
            X, n = X[size:], n - size
        waiting = [X.copy()]
    if not n:
        raise ValueError("The source has no rows.")
    yield np.concatenate(waiting)
