"""What a saved estimator carries beside its attributes: a version and a checksum.

Both are for pickle, joblib, skops and copy alike, which ask an estimator for its state and hand it
to a new one. A version tells which library wrote the state; a checksum tells damage from a model.
It is no signature: whoever can write a file can write its checksum.
"""

from __future__ import annotations

import re
import zlib
from typing import Any

import numpy as np

from fastmlp.version import __version__

_VERSION, _CHECKSUM = "_fastmlp_version", "_checksum"


def _release(version: Any) -> tuple[int, int] | None:
    """First two numbers of a version: saved models can change when these do."""
    found = re.match(r"(\d+)\.(\d+)", version) if isinstance(version, str) else None
    return (int(found[1]), int(found[2])) if found else None


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


def sealed(state: dict[str, Any]) -> dict[str, Any]:
    """Add version and checksum to the attributes of an estimator."""
    return {**state, _VERSION: __version__, _CHECKSUM: _sum(state, 0)}


def opened(state: Any) -> dict[str, Any]:
    """Take version and checksum out of a state again.

    Raises
    ------
    ValueError
        If a newer release has written it, or if it is not what has been written.
    """
    damaged = "This saved estimator is damaged: {}. Restore the file from a copy, or fit anew."
    if not isinstance(state, dict):
        raise ValueError(damaged.format("it has no attributes"))
    release = _release(state.get(_VERSION))
    if release is None:
        raise ValueError(damaged.format("it does not say which version of fastmlp wrote it"))
    if release > (_release(__version__) or release):
        raise ValueError(
            f"fastmlp {state[_VERSION]} saved this estimator, and this is fastmlp {__version__}, "
            "which may misread it: upgrade fastmlp, or fit and save with this version."
        )
    attributes = {name: state[name] for name in state if name not in (_VERSION, _CHECKSUM)}
    if state.get(_CHECKSUM) != _sum(attributes, 0):
        raise ValueError(damaged.format("its checksum is another"))
    return attributes
