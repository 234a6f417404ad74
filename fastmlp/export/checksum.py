"""Checksums of attributes, which depend on values alone.

Between saving and loading, the form of a value can change: joblib turns arrays to the machine's
order of bytes, and a copy need not keep what lies between the numbers of an array.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

#: Containers are looked into down to this level. It is more than fitted attributes have, and ends
#: one that contains itself.
_LEVELS = 8

#: Arrays of these kinds have all of their value in their bytes.
_KINDS_OF_BYTES = "biufcSUmM"

#: Longer floats have bytes that mean nothing, and networks use no more of them than this.
_LONGEST = {"f": 8, "c": 16}


def checksum(attributes: Mapping[str, Any]) -> str:
    """Sum up attributes. Other objects than numbers, strings and arrays count by their presence."""
    return f"{_sum(_plain(dict(attributes), _LEVELS), 0):08x}"


def had_checksum(attributes: Mapping[str, Any], total: int) -> bool:
    """Whether attributes had this sum when it was over all bytes as they lay, early in version 0.1.

    joblib has since turned labels to the machine's order of bytes, if they had the other one.
    """
    if _sum(attributes, 0) == total:
        return True
    classes = attributes.get("classes_")
    if not isinstance(classes, np.ndarray):
        return False
    swapped = classes.astype(classes.dtype.newbyteorder("S"))
    return _sum({**attributes, "classes_": swapped}, 0) == total


def _plain(value: Any, levels: int) -> Any:
    """Bring a value to Python's own types and little-endian arrays; else it is an object()."""
    if isinstance(value, np.longdouble):
        value = float(value)
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        if value.dtype.kind in _KINDS_OF_BYTES:
            return _little_endian(np.asarray(value))
        value = value.tolist()
    kind = type(value)
    if kind in (list, tuple, dict) and levels == 0:
        return object()
    if kind is dict and {*map(type, value)} <= {str}:
        return {name: _plain(part, levels - 1) for name, part in value.items()}
    if kind in (list, tuple):
        if set(map(type, value)) == {float}:  # a long curve, in one step
            return np.array(value, "<f8")
        return [_plain(part, levels - 1) for part in value]
    if kind is int:
        return hex(value)  # Python refuses to write long ones in digits
    return value if kind in (bool, float, str) or value is None else object()


def _little_endian(array: np.ndarray) -> np.ndarray:
    dtype = array.dtype.newbyteorder("<")
    longest = _LONGEST.get(dtype.kind, dtype.itemsize)
    if dtype.itemsize > longest:
        dtype = np.dtype(f"<{dtype.kind}{longest}")
    with np.errstate(all="ignore"):
        return array.astype(dtype, copy=False)


def _sum(value: Any, total: int) -> int:
    """Go on with the CRC-32 of plain values and arrays; other objects count by their presence."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        total = zlib.crc32(repr((value.shape, value.dtype.str)).encode(), total)
        return zlib.crc32(np.ascontiguousarray(value).view(np.uint8).data, total)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, dict):
        value = sorted(((str(key), part) for key, part in value.items()), key=lambda item: item[0])
    if isinstance(value, list | tuple):
        total = zlib.crc32(str(len(value)).encode(), total)
        for part in value:
            total = _sum(part, total)
        return total
    plain = value is None or isinstance(value, str | int | float)
    return zlib.crc32(repr(value).encode() if plain else b"object", total)
