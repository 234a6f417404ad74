"""One column of a raw table: what it holds, and how that becomes numbers or the codes of levels.

A source of columns (see `sources`) hands each over in one of three forms: numbers, codes that a
library of frames made, or Python objects. What a column is taken for does not depend on the form.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from numbers import Complex, Real
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Kind = Literal["number", "category"]

#: What may be in a column beside missing values.
READABLE = ("number", "text")

#: What to do about values that are neither numbers nor levels.
_ADVICE = {
    "datetimes": "derive numbers such as the year, the month or the days since a date",
    "durations": "turn them into numbers of seconds or days",
    "nested values": "give every part a column of its own",
    "bytes": "decode them to text, or to numbers",
    "complex numbers": "give the real and the imaginary part a column each",
}


@dataclass(frozen=True)
class Column:
    """One column of a table, as fit found it.

    Attributes
    ----------
    name : str or None
        None where the table has no names.
    kind : {"number", "category"}
        Whether the matrix has its numbers, or codes.
    levels : tuple or None
        Of a category: the distinct values in fit, those of code 0, 1, ...
    dtype : str
        The type that the column had in fit.
    """

    name: str | None
    kind: Kind
    levels: tuple[Any, ...] | None
    dtype: str


@dataclass(frozen=True)
class Numbers:
    """A column of numbers or booleans, with NaN where a value is missing."""

    values: Array


@dataclass(frozen=True)
class Coded:
    """A column of codes, -1 where a value is missing, that point into a list of distinct values."""

    codes: Array
    values: list[Any]
    in_order: bool  # whether the list has an order that levels keep


@dataclass(frozen=True)
class Objects:
    """A column of Python objects."""

    values: list[Any]
    is_category: bool = False  # whether its type says so, whatever the objects are


Raw = Numbers | Coded | Objects


def _family_of(type_: type) -> str:
    """What values of a type are: "missing", "number", "text", or words for what cannot be read."""
    # pandas is not imported to know its missing values: its NaT is a datetime by type.
    if type_ is type(None) or type_.__name__ in ("NAType", "NaTType"):
        return "missing"
    families: tuple[tuple[str, tuple[type, ...]], ...] = (
        ("text", (str,)),
        ("durations", (datetime.timedelta, np.timedelta64)),  # the second passes for an integer
        ("number", (bool, np.bool_, Real, Decimal)),
        ("complex numbers", (Complex,)),
        ("bytes", (bytes, bytearray, memoryview)),
        ("datetimes", (datetime.date, datetime.time, np.datetime64)),
        ("nested values", (Sequence, Set, Mapping, np.ndarray, np.void)),
    )
    for family, types in families:
        if issubclass(type_, types):
            return family
    return "datetimes" if type_.__name__ == "Period" else f"values of type {type_.__name__}"


family_of: Callable[[type], str] = cache(_family_of)


def refusal(label: str, family: str) -> TypeError | ValueError:
    """The error to raise for a column of what cannot be read."""
    # scikit-learn's users know its own words for this one, and its checks ask for them.
    also = " Complex data not supported." if family == "complex numbers" else ""
    error = ValueError if also else TypeError
    advice = _ADVICE.get(family, "turn them into numbers or text")
    return error(f"{label} holds {family}: {advice}.{also}")


def families_in(values: Iterable[Any], label: str) -> set[str]:
    """Families of some values; a TypeError if one of them cannot be read."""
    families = {family_of(type_) for type_ in set(map(type, values))}
    for family in families:
        if family != "missing" and family not in READABLE:
            raise refusal(label, family)
    return families


def is_missing(value: Any) -> bool:
    """Whether a value of a readable family is missing: None, NaN, NaT or NA."""
    return family_of(type(value)) == "missing" or bool(value != value)


def words(value: Any) -> str:
    """A value as errors show it."""
    return f"{'text' if isinstance(value, str) else 'the number'} {value!r}"


def kind_of(raw: Raw, label: str) -> Kind:
    """What a column is by its type, or where that does not say, by its values."""
    if isinstance(raw, Numbers):
        return "number"
    if isinstance(raw, Coded) or raw.is_category:
        return "category"
    return "category" if "text" in families_in(raw.values, label) else "number"


def numbers_of(raw: Raw, label: str, problem: str) -> Array:
    """The numbers of a column.

    Parameters
    ----------
    raw : Raw
        The column.
    label : str
        Its name in errors.
    problem : str
        What an error says where the column holds text, with places for the label, the value and
        its row.

    Returns
    -------
    ndarray of shape (n_rows,)
        Of any real type, with NaN where a value is missing.

    Raises
    ------
    TypeError
        If it holds values that are neither numbers nor text.
    ValueError
        If it holds text.
    """
    if isinstance(raw, Numbers):
        return raw.values
    if isinstance(raw, Coded):
        used = np.unique(raw.codes[raw.codes >= 0]).tolist()
        families_in([raw.values[i] for i in used], label)
        text = [i for i in used if isinstance(raw.values[i], str)]
        if text:
            row, value = _first(raw, text)
            raise ValueError(problem.format(label, words(value), row))
        numbers = np.full(len(raw.values) + 1, np.nan)  # the last one is for the code -1
        for i in used:
            numbers[i] = raw.values[i]
        return numbers[raw.codes]
    families = families_in(raw.values, label)
    if "text" in families:
        row = next(i for i, value in enumerate(raw.values) if isinstance(value, str))
        raise ValueError(problem.format(label, words(raw.values[row]), row))
    try:
        if "missing" in families:
            return np.array([np.nan if is_missing(v) else float(v) for v in raw.values])
        return np.array(raw.values, dtype=np.float64)
    except OverflowError:
        row = next(i for i, v in enumerate(raw.values) if not is_missing(v) and abs(v) > 1e308)
        raise ValueError(f"{label} holds a number too large for float64 in row {row}.") from None


def _first(column: Coded, codes: list[int]) -> tuple[int, Any]:
    """The first row that has one of these codes, and the value there."""
    row = int(np.argmax(np.isin(column.codes, codes)))
    return row, column.values[column.codes[row]]


def coded(raw: Raw, label: str) -> Coded:
    """A column as codes and the distinct values behind them, all of which occur."""
    if isinstance(raw, Numbers):
        values, codes = np.unique(raw.values, return_inverse=True)
        if values.dtype.kind == "f":  # NaN is the last one
            n_levels = len(values) - int(np.isnan(values).sum())
            codes = np.where(codes < n_levels, codes, -1)
            values = values[:n_levels]
        return Coded(codes, values.tolist(), in_order=True)
    if isinstance(raw, Coded):
        counts = np.bincount(raw.codes[raw.codes >= 0], minlength=len(raw.values))
        kept = np.flatnonzero(counts)
        if len(kept) == len(raw.values):
            families_in(raw.values, label)
            return raw
        place = np.full(len(raw.values) + 1, -1)
        place[kept] = np.arange(len(kept))
        used = [raw.values[i] for i in kept]
        families_in(used, label)
        return Coded(place[raw.codes], used, raw.in_order)
    families_in(raw.values, label)
    distinct: dict[Hashable, int] = {}
    for value in dict.fromkeys(raw.values):
        distinct[value] = -1 if is_missing(value) else len(distinct)
    codes = np.fromiter(map(distinct.__getitem__, raw.values), np.intp, len(raw.values))
    # Missing values have taken numbers of their own away from the others.
    present = [value for value, code in distinct.items() if code >= 0]
    place = np.full(len(distinct) + 1, -1)
    place[[code for code in distinct.values() if code >= 0]] = np.arange(len(present))
    return Coded(place[codes], [_plain(value) for value in present], in_order=False)


def _plain(value: Any) -> Any:
    """A value as Python's own type, so that a reader can be loaded where NumPy differs."""
    return value.item() if isinstance(value, np.generic) else value


def _rank(value: Any) -> tuple[bool, Any]:
    return isinstance(value, str), value


def levels_of(column: Coded, label: str) -> tuple[Any, ...]:
    """The levels of a column in their order: as given, or numbers in front of text, each sorted."""
    for value in column.values:
        if value == math.inf or value == -math.inf:
            raise ValueError(f"Input X contains infinity: {label} has it as a level.")
    return tuple(column.values if column.in_order else sorted(column.values, key=_rank))


class Levels:
    """The levels of a fitted column, as a table from values to codes."""

    def __init__(self, levels: tuple[Any, ...]) -> None:
        self.unseen = float(len(levels))
        self._codes = {level: float(code) for code, level in enumerate(levels)}
        self._families = {family_of(type(level)) for level in levels}

    def code(self, value: Any) -> float | None:
        """Code of a value: NaN if it is missing, None if no level is of its family."""
        found = self._codes.get(value)
        if found is not None:
            return found
        if is_missing(value):
            return np.nan
        fits = not self._families or family_of(type(value)) in self._families
        return self.unseen if fits else None


def codes_of(raw: Raw, levels: Levels, label: str) -> Array:
    """The codes of a column in the matrix, of which errors say the label.

    Returns
    -------
    ndarray of float64 of shape (n_rows,)
        Codes of levels, their number for what is no level, NaN where a value is missing.

    Raises
    ------
    TypeError
        If it holds values that are neither numbers nor text.
    ValueError
        If it holds numbers where all levels are text, or text where all are numbers.
    """
    if isinstance(raw, Objects):
        families_in(raw.values, label)
        table = {value: levels.code(value) for value in dict.fromkeys(raw.values)}
        if None not in table.values():
            return np.fromiter(map(table.__getitem__, raw.values), np.float64, len(raw.values))
    column = coded(raw, label)
    codes = np.full(len(column.values) + 1, np.nan)  # the last one is for the code -1
    found = [levels.code(value) for value in column.values]
    if None in found:
        row, value = _first(column, [i for i, code in enumerate(found) if code is None])
        held = "numbers" if isinstance(value, str) else "text"
        raise ValueError(f"{label} held {held} in fit, now {words(value)} in row {row}.")
    codes[:-1] = found
    return codes[column.codes]
