"""What a saved estimator carries beside its attributes: a version and a checksum.

Both are for pickle, joblib, skops and copy alike, which ask an estimator for its state and hand it
to a new one. A version tells which library wrote the state; a checksum tells damage from a model.
It is no signature: whoever can write a file can write its checksum.

The checksum is over the values of the estimator's own attributes. What else a user keeps on it can
be anything, and change its form while it is saved; of that the names count, and those of a
subclass, which may save more of it or less, do not.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from fastmlp.export.checksum import checksum, had_checksum
from fastmlp.version import __version__

_VERSION, _CHECKSUM = "_fastmlp_version", "_checksum"


def _release(version: Any) -> tuple[int, int] | None:
    """First two numbers of a version: saved models can change when these do."""
    found = re.match(r"(\d+)\.(\d+)", version) if isinstance(version, str) else None
    return (int(found[1]), int(found[2])) if found else None


def _covered(state: dict[str, Any], own: Collection[str], *, names: bool) -> dict[str, Any]:
    """What the checksum is over."""
    present = object()
    return {
        name: value if name in own else present
        for name, value in state.items()
        if name in own or names
    }


def sealed(state: dict[str, Any], own: Collection[str], *, names: bool = True) -> dict[str, Any]:
    """Add version and checksum to the attributes of an estimator.

    Parameters
    ----------
    state : dict
        The attributes.
    own : collection of str
        Those whose values the checksum covers.
    names : bool, default=True
        Whether it covers the names of all others.
    """
    total = checksum(_covered(state, own, names=names))
    return {**state, _VERSION: __version__, _CHECKSUM: total}


def opened(state: Any, own: Collection[str], *, names: bool = True) -> dict[str, Any]:
    """Take version and checksum out of a state again.

    Parameters
    ----------
    state : object
        What `sealed` has returned, if nothing has happened to it.
    own, names
        As for `sealed`.

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
    total = state.get(_CHECKSUM)
    if isinstance(total, int):
        whole = had_checksum(attributes, total)
    else:
        whole = total == checksum(_covered(attributes, own, names=names))
    if not whole:
        raise ValueError(damaged.format("its checksum is another"))
    return attributes
