"""A program: the steps of a call and all records they read, as one block of memory.

A network is a list of steps, chosen in Python. Which they are depends on widths, activations, dtype
and kind of X, but not on where the numbers lie. So a program is written once with names in place of
addresses (`Ref`), kept, and bound to addresses for each use: one array copied, one addition.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastmlp.kernels.piece import Piece
from fastmlp.runtime.compiling import compile_now
from fastmlp.runtime.driver import PHASE, SEGMENT, STEP, UNIT

Array = NDArray[Any]

_WORD = 8


class Ref(NamedTuple):
    """A number that is known when a program is bound: the value of `name`, plus an offset."""

    name: str
    offset: int = 0


class Step(NamedTuple):
    """A piece, and the record that it works on."""

    piece: Piece
    record: Record


@dataclass(frozen=True, eq=False)
class Record:
    """A record of a program; fields that are not named hold 0.

    Attributes
    ----------
    dtype : numpy.dtype
        Its type; all fields have 8 bytes.
    values : dict
        Numbers and `Ref`s by field, dicts for records within the record.
    """

    dtype: np.dtype[Any]
    values: dict[str, Any]


@dataclass(frozen=True)
class Segment:
    """Rows that some steps are done with, block by block; see `runtime.driver`."""

    steps: tuple[Step, ...]
    begin: int
    end: int
    block: int
    at: int = 0
    at_advance: int = 0
    of_rows: bool = False


@dataclass
class Program:
    """Units of work, written with names in place of addresses.

    Attributes
    ----------
    sizes : dict
        Fields of a call (`runtime.driver.CALL`) beside the addresses of the tables.
    """

    sizes: dict[str, int]
    _words: np.ndarray
    _places: np.ndarray
    _names: np.ndarray
    _names_of_values: list[str]
    _starts: dict[Any, int] = field(default_factory=dict)

    def bind(self, values: dict[str, int]) -> Bound:
        """Put numbers in place of the names."""
        words = self._words.copy()
        here = words.ctypes.data
        known = np.array([here, *(values[name] for name in self._names_of_values)], np.int64)
        words[self._places] += known[self._names]
        return Bound(self, words, here)

    def movable(self, fixed: dict[str, int], moving: dict[str, int]) -> tuple[Array, Array]:
        """Put numbers in place of the names, for copies of the program that lie anywhere.

        Parameters
        ----------
        fixed : dict
            Addresses that are the same for every copy.
        moving : dict
            Distances in bytes from where a copy begins.

        Returns
        -------
        words : ndarray of int64
            The program.
        places : ndarray of int64
            The words that the address of a copy has to be added to.
        """
        names = [_HERE, *self._names_of_values]
        values = {_HERE: 0, **moving, **fixed}
        words = self._words.copy()
        words[self._places] += np.array([values[name] for name in names], np.int64)[self._names]
        moves = np.array([name not in fixed for name in names])
        return words, self._places[moves[self._names]]

    @property
    def n_words(self) -> int:
        """Length of the program."""
        return self._words.size

    def words_of(self, name: str) -> slice:
        """Words of a table or a named record, up to where the next one begins."""
        starts = sorted({*self._starts.values(), self._words.size * _WORD})
        start = self._starts[name]
        return slice(start // _WORD, starts[starts.index(start) + 1] // _WORD)


#: The name of the program's own memory, and of the tables in it.
_HERE = "program"
_TABLES = ("phases", "units", "segments", "steps")


class Bound:
    """A program whose numbers are all known; it owns the memory that its records lie in."""

    def __init__(self, program: Program, words: np.ndarray, here: int) -> None:
        self.words, self._starts = words, program._starts
        #: Of a call, as `Call` takes them.
        self.fields = {name: here + program._starts[name] for name in _TABLES} | program.sizes

    def write(self, name: str, values: Sequence[int]) -> None:
        """Write the first fields of a named record, which are integers."""
        start = self._starts[name] // _WORD
        self.words[start : start + len(values)] = values


class Writer:
    """Writes a program."""

    def __init__(self) -> None:
        self._words: list[int] = []
        self._refs: list[tuple[int, str, int]] = []
        self._starts: dict[Any, int] = {}
        self._records: list[Record] = []  # kept, or another one could have the id of one

    def record(self, record: Record, name: str | None = None) -> Ref:
        """Write a record, unless it is there, and say where it is."""
        start = self._starts.get(id(record))
        if start is None:
            start = self._starts[id(record)] = len(self._words) * _WORD
            self._records.append(record)
            self._fields(record.dtype, record.values)
        if name is not None:
            self._starts[name] = start
        return Ref(_HERE, start)

    def _fields(self, dtype: np.dtype[Any], values: dict[str, Any]) -> None:
        assert dtype.names is not None
        assert values.keys() <= set(dtype.names), set(values) - set(dtype.names)
        for name in dtype.names:
            kind = dtype[name]
            value = values.get(name, 0)
            if kind.names is not None:
                self._fields(kind, value or {})
            elif isinstance(value, Ref):
                self._refs.append((len(self._words), value.name, value.offset))
                self._words.append(value.offset)
            elif kind.kind == "f":
                self._words.append(struct.unpack("<q", struct.pack("<d", value))[0])
            else:
                self._words.append(int(value))

    def finish(self, phases: list[list[list[Segment]]], *, waits: bool) -> Program:
        """Write units, segments and steps.

        Parameters
        ----------
        phases : list of lists of units, which are lists of segments
            What each minibatch goes through.
        waits : bool
            Whether a phase begins only when all before it is done.
        """
        units: list[tuple[int, int]] = []
        segments: list[tuple[Segment, tuple[int, int]]] = []
        steps: list[Step] = []
        ends = [0]
        places: dict[tuple[int, ...], tuple[int, int]] = {}
        for phase in phases:
            for unit in phase:
                first = len(segments)
                for part in unit:
                    key = tuple(id(x) for step in part.steps for x in step)
                    if key not in places:
                        places[key] = len(steps), len(steps) + len(part.steps)
                        steps += part.steps
                    segments.append((part, places[key]))
                units.append((first, len(segments)))
            ends.append(len(units))
        compile_steps(steps)
        for step in steps:
            self.record(step.record)
        tables: dict[str, list[tuple[np.dtype[Any], dict[str, Any]]]] = {
            "steps": [
                (
                    STEP,
                    {
                        "piece": step.piece.address(step.record.dtype),
                        "record": self.record(step.record),
                    },
                )
                for step in steps
            ],
            "segments": [
                (
                    SEGMENT,
                    {
                        "step": low,
                        "end_step": high,
                        **{
                            name: getattr(part, name)
                            for name in ("begin", "end", "block", "at", "at_advance", "of_rows")
                        },
                    },
                )
                for part, (low, high) in segments
            ],
            "units": [
                (UNIT, dict(zip(("segment", "end_segment"), unit, strict=True))) for unit in units
            ],
            "phases": [
                (PHASE, dict(zip(("unit", "end_unit"), phase, strict=True)))
                for phase in pairwise(ends)
            ],
        }
        for name, rows in tables.items():
            self._starts[name] = len(self._words) * _WORD
            for dtype, values in rows:
                self._fields(dtype, values)
        names = [_HERE, *sorted({name for _, name, _ in self._refs} - {_HERE})]
        number = {name: k for k, name in enumerate(names)}
        starts = {name: start for name, start in self._starts.items() if isinstance(name, str)}
        return Program(
            {"n_phases": len(phases), "n_units": len(units), "waits": int(waits)},
            np.array(self._words, np.int64),
            np.array([place for place, _, _ in self._refs], np.int64),
            np.array([number[name] for _, name, _ in self._refs], np.int64),
            names[1:],
            starts,
        )


def compile_steps(steps: list[Step]) -> None:
    """Compile the pieces that have not been, without holding up an interrupt."""
    missing = [step for step in steps if not step.piece.is_compiled(step.record.dtype)]
    if missing:

        def compile_missing() -> None:
            for step in missing:
                step.piece.address(step.record.dtype)

        compile_now(compile_missing)
