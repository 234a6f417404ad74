"""A piece: what one step of a network does, compiled on its own and called by address.

Every piece has one signature, ``void(record, at, first, rows, batch)``:

    record  address of the record that the step belongs to: a layer, an update, the rows of X
    at      block of the buffers, or unit's room, to work in
    first   first row: of the minibatch, or of a layer's weights
    rows    how many rows
    batch   number of the minibatch

Python sees the record's type, which names the types of all numbers, so a piece is compiled once
for each that comes up, when a network first needs it, and kept on disk. In a piece, `first` and
the others are int64, and the record's fields are read by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types

from fastmlp.runtime.jit import by_address
from fastmlp.runtime.symbols import define


class Symbol:
    """A compiled function that pieces call by name."""

    def __init__(self, name: str, function: Callable[..., Any], signature: Any) -> None:
        self.name, self._function, self._signature = name, function, signature
        self._compiled: Any = None

    def link(self) -> None:
        """Compile it, or load it, before what calls it is; the name is known from then on."""
        if self._compiled is None:
            self._compiled = by_address(self._function, self._signature)
            define(self.name, self._compiled.address)


def kind_of_numbers(record: np.dtype[Any]) -> str:
    """Type of the numbers of the matrices that a record names."""
    fields = (record[name].names for name in record.names or ())
    return str(next(names[0] for names in fields if names is not None and len(names) > 1))


class Piece:
    """A function of one step; `address` compiles it for a type of record."""

    def __init__(self, function: Callable[..., Any], links: dict[str, Symbol]) -> None:
        self.function, self._links = function, links
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        self._compiled: dict[np.dtype[Any], Any] = {}

    def _compile(self, signature: Any) -> Any:
        return by_address(self.function, signature)

    def is_compiled(self, record: np.dtype[Any]) -> bool:
        """Whether `address` answers at once."""
        return record in self._compiled

    def address(self, record: np.dtype[Any]) -> int:
        """Address of the code for records of this type."""
        if record not in self._compiled:
            kind = numba.from_dtype(record)
            if self._links:
                self._links[kind_of_numbers(record)].link()
            signature = types.void(kind, *[types.int64] * 4)
            self._compiled[record] = self._compile(signature)
        return int(self._compiled[record].address)


def piece(links: dict[str, Symbol] | None = None) -> Callable[[Callable[..., Any]], Piece]:
    """Make a piece of a function (record, at, first, rows, batch).

    Parameters
    ----------
    links : dict of str to Symbol, optional
        Compiled functions that it calls by name, by the type of numbers they are for.
    """
    return lambda function: Piece(function, links or {})
