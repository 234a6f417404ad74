"""Networks for a table: what one is, and how it is trained on some of the rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.data.facts import ColumnFacts
from fastmlp.data.rows import Rows
from fastmlp.data.split import Validation
from fastmlp.kernels.encode import COLUMN
from fastmlp.network.encoder import Columns, Encoder
from fastmlp.network.layout import Network, Parameters
from fastmlp.network.numbers import Numbers
from fastmlp.network.prediction import predict
from fastmlp.network.session import Session
from fastmlp.training.encoding import Encoding, initial_parameters
from fastmlp.training.loop import FitResult, Training, Watcher
from fastmlp.training.recipe import Recipe
from fastmlp.training.schedules import Constant
from fastmlp.training.stopping import Plateau
from fastmlp.training.weights import FLOAT32

Array = NDArray[Any]

ACTIVATION = "relu"


@dataclass(frozen=True)
class TableModel:
    """A trained network, and what it makes of the columns.

    Attributes
    ----------
    encoding : Encoding
        What the columns become.
    hidden : tuple of int
        Units of the hidden layers.
    parameters : tuple of (coefs, intercepts)
        Weights and biases: of the layers, then V; of the layers, then w₀ with b₀, and r.
    """

    encoding: Encoding
    hidden: tuple[int, ...]
    parameters: Parameters

    def plain(self) -> dict[str, Any]:
        """The same as numbers, strings and arrays: what a file holds."""
        encoder, columns = self.encoding.encoder, self.encoding.columns
        return {
            "encoder": asdict(encoder),
            "columns": {name: columns.columns[name].copy() for name in COLUMN.names or ()},
            "edges": columns.edges,
            "level_rows": columns.level_rows,
            "hidden": self.hidden,
            "coefs": self.parameters[0],
            "intercepts": self.parameters[1],
        }

    @classmethod
    def of_plain(cls, plain: dict[str, Any]) -> TableModel:
        """Undo `plain`; ValueError where it does not fit together."""
        columns = np.zeros(len(plain["columns"]["kind"]), COLUMN)
        for name, values in plain["columns"].items():
            columns[name] = values
        encoder = Encoder(**{**plain["encoder"], "rows": tuple(plain["encoder"]["rows"])})
        edges = np.require(plain["edges"], np.float64, ("C", "A"))
        level_rows = np.require(plain["level_rows"], np.int64, ("C", "A"))
        encoding = Encoding(encoder, Columns(columns, edges, level_rows))
        encoding.columns.check(encoder)
        return cls(encoding, tuple(plain["hidden"]), (plain["coefs"], plain["intercepts"]))

    def __reduce__(self) -> tuple[Any, ...]:
        return TableModel.of_plain, (self.plain(),)  # without what is derived

    @property
    def network(self) -> Network:
        """The structure."""
        return network_of(self.encoding, self.hidden)

    @cached_property
    def _numbers(self) -> Numbers:
        numbers = Numbers(self.network, False, self.encoding.columns)
        numbers.set_parameters(self.parameters)
        return numbers

    @cached_property
    def _arrays(self) -> dict[str, Array]:
        return self._numbers.encoding()

    def probabilities(
        self, rows: Rows, n_threads: int, order: NDArray[np.int64] | None = None
    ) -> Array:
        """1 − ŷ and ŷ of rows, or of those that `order` names: (n, 2), of float32."""
        numbers = self._numbers
        return predict(
            numbers.layout, numbers.parameters, rows, order, n_threads, probabilities=True,
            encoding=self._arrays,
        )  # fmt: skip


def network_of(encoding: Encoding, hidden: tuple[int, ...]) -> Network:
    """The network behind an encoding."""
    encoder = encoding.encoder
    return Network((encoder.n_out, *hidden, 1), (ACTIVATION,) * len(hidden), FLOAT32, encoder)


@dataclass(frozen=True)
class TableData:
    """A table to train on.

    Attributes
    ----------
    rows : Rows
        Its matrix.
    targets : ndarray of bool of shape (n,)
    weight : ndarray of shape (n,), or None
        Weights of the rows.
    """

    rows: Rows
    targets: Array
    weight: Array | None


class Stretches(Training):
    """Training in stretches of rows, each counted as an epoch, so that a large table has many.

    A stretch is of whole minibatches; what is left of a pass over the rows is left out of it.
    """

    rows_of_stretch: int = 0
    _place: int = 0

    def next_order(self) -> NDArray[np.int64]:
        """The rows of the next stretch."""
        if self.rows_of_stretch >= len(self.order):
            return super().next_order()
        if self._place == 0 or self._place + self.rows_of_stretch > len(self.order):
            super().next_order()
            self._place = 0
        stretch = self.order[self._place : self._place + self.rows_of_stretch]
        self._place += self.rows_of_stretch
        return stretch


class Deadline:
    """A `Watcher` that ends training ahead of a point in time.

    Parameters
    ----------
    latest : float
        When training is to have ended, by `time.perf_counter`.
    """

    def __init__(self, latest: float) -> None:
        self.latest = latest

    def begin(self, result: FitResult) -> None:
        """Note when an epoch begins."""
        self._begun = time.perf_counter()

    def end(self, result: FitResult) -> bool:
        """Whether another epoch would end too late."""
        now = time.perf_counter()
        return now + (now - self._begun) > self.latest


@dataclass
class Member:
    """One network of several, while it is trained.

    Attributes
    ----------
    data : TableData
        The table.
    order : ndarray of int64
        Its training rows.
    validation : Validation
        The rows that are held out.
    encoding : Encoding
        What the columns become.
    facts : sequence of ColumnFacts
        Of the columns in the training rows.
    recipe : Recipe
        How it is trained.
    session : Session
        In which it is trained.
    rng : RandomState
        Where random numbers are drawn from.
    """

    data: TableData
    order: NDArray[np.int64]
    validation: Validation
    encoding: Encoding
    facts: Sequence[ColumnFacts]
    recipe: Recipe
    session: Session
    rng: np.random.RandomState
    _is_prepared: bool = False

    def model(self, parameters: Parameters) -> TableModel:
        """What predicts with these weights and biases."""
        return TableModel(self.encoding, self.recipe.hidden, parameters)

    def compile(self) -> None:
        """Have all that training runs compiled, in this thread."""
        self._prepare()
        self.session.compile(self.validation.rows)

    @property
    def n_rows(self) -> int:
        """How many rows it is trained on."""
        return len(self.order)

    @property
    def batch_size(self) -> int:
        """Rows of a minibatch."""
        return min(self.recipe.batch_size, self.n_rows)

    @property
    def rows_of_stretch(self) -> int:
        """Rows of an epoch at most."""
        return self.recipe.minibatches_of_epoch * self.batch_size

    def _prepare(self) -> None:
        """Have the session ready to train, once."""
        if self._is_prepared:
            return
        self._is_prepared, recipe, data = True, self.recipe, self.data
        self.session.set_parameters(
            *initial_parameters(self.session.network, self.encoding, self.rng)
        )
        regularisation = replace(
            recipe.regularisation, seed=int(self.rng.randint(2**32, dtype=np.uint32))
        )
        self.session.prepare(
            data.rows, data.targets, data.weight, self.batch_size, alpha=0.0,
            optimizer=recipe.optimizer, regularisation=regularisation,
        )  # fmt: skip

    def training(self, watchers: Sequence[Watcher]) -> Training:
        """The loop that it is trained in."""
        training = Stretches(
            self.session, self.order.copy(), self.rng, Constant(self.recipe.learning_rate),
            self.plateau(), self.validation, watchers=watchers,
        )  # fmt: skip
        training.rows_of_stretch = self.rows_of_stretch
        return training

    def plateau(self) -> Plateau:
        """When it has been trained enough."""
        return Plateau(0.0, self.recipe.patience, higher_is_better=True)

    def train(self, watchers: Sequence[Watcher]) -> FitResult:
        """Train, and return the weights of the epoch of the best score with all curves."""
        self._prepare()
        try:
            result = self.training(watchers).run(self.recipe.most_epochs, warn_unconverged=False)
        finally:
            self.session.end_training()
        if result.parameters[0]:
            self.encoding.fill_unseen(result.parameters[0][-1], self.facts)
        return result


def session_of(encoding: Encoding, recipe: Recipe, n_threads: int) -> Session:
    """A session for a network behind an encoding."""
    return Session(network_of(encoding, recipe.hidden), n_threads, columns=encoding.columns)


def complete(p: Array) -> Array:
    """Probabilities that sum up to 1 in float64: those of networks do in float32."""
    p = p.astype(np.float64)
    smaller = np.minimum(p[:, 0], p[:, 1])
    is_last = p[:, 1] > p[:, 0]
    return np.stack(
        [np.where(is_last, smaller, 1 - smaller), np.where(is_last, 1 - smaller, smaller)], axis=1
    )
