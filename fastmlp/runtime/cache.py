"""Compiled code on disk, so that only the first process that fits a model waits for the compiler.

Numba's own cache keeps an index and numbered files beside it. Two processes that compile different
signatures at once can give one number to both, and a helper that is edited in another file does
not invalidate its callers. Here every compiled signature has one file, named after all that its
code depends on and written in one step; a file that cannot be read whole is compiled anew.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import uuid
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import numba

from fastmlp.runtime.cpu import VECTOR_BYTES
from fastmlp.runtime.numba_internals import (
    CacheOfNumba,
    can_be_kept,
    prepare_to_load,
    rebuilt,
    reduced,
)

_PACKAGE = Path(__file__).parent.parent

#: The sub-packages that compiled code is made of.
_COMPILED = ("kernels", "runtime")

#: Options of Numba, most of them for debugging, which must not slow down later processes.
_OPTIONS = ("BOUNDSCHECK", "DEBUGINFO_DEFAULT", "LOOP_VECTORIZE", "OPT", "SLP_VECTORIZE")


def enabled() -> bool:
    """Whether compiled code is kept: FASTMLP_CACHE=0 turns it off."""
    return os.environ.get("FASTMLP_CACHE", "1") != "0"


@cache
def _stamp() -> str:
    """A digest of what every compiled function depends on beside its signature and the CPU."""
    digest = hashlib.sha256()
    for folder in _COMPILED:
        for file in sorted((_PACKAGE / folder).rglob("*.py")):
            digest.update(file.read_bytes())
    versions = (numba.__version__, llvmlite.__version__, sys.version, VECTOR_BYTES)
    options = [int(getattr(numba.config, name) or 0) for name in _OPTIONS]
    digest.update(repr((versions, options)).encode())
    return digest.hexdigest()


def folders() -> list[Path]:
    """Where compiled code is looked for and kept, in order.

    NUMBA_CACHE_DIR if it is set, else the package's own folder and the user's cache.
    """
    if numba.config.CACHE_DIR:
        return [Path(numba.config.CACHE_DIR) / "fastmlp"]
    found = [_PACKAGE / "__pycache__"]
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        found.append(home / "fastmlp")
    except RuntimeError:  # no home directory
        pass
    return found


_warned = False


def _warn(reason: object) -> None:
    """Warn once a process; Python's own filter forgets, because compiling resets its registry.

    Where a filter makes warnings errors, this one is shown all the same, and nothing fails: what
    was compiled works.
    """
    global _warned
    if _warned:
        return
    _warned = True
    try:
        warnings.warn(
            f"fastmlp cannot keep compiled code, so every process compiles it again: {reason}. "
            "NUMBA_CACHE_DIR can name a folder for it.",
            RuntimeWarning,
            stacklevel=2,
        )
    except RuntimeWarning as warning:
        warnings.showwarning(warning, RuntimeWarning, __file__, 0)


class KernelCache(CacheOfNumba):
    """Files of one function's compiled signatures; it never raises.

    A file holds the digest of its payload, then the payload: a truncated or damaged one is noticed
    before it is unpickled.
    """

    def __init__(self, function: Any) -> None:
        self._name = f"{function.__module__}.{function.__qualname__}"

    @property
    def cache_path(self) -> str | None:
        """The first folder that is tried; None with the cache off."""
        return str(folders()[0]) if enabled() else None

    def _file_name(self, signature: Any, codegen: Any) -> str:
        key = repr((self._name, _stamp(), str(signature), codegen.magic_tuple()))
        return f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.bin"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Compiled code of a signature, or None."""
        prepare_to_load(target_context)
        name = self._file_name(sig, target_context.codegen())
        for path in folders() if enabled() else ():
            try:
                data = (path / name).read_bytes()
                digest, payload = data[:32], data[32:]
                if hashlib.sha256(payload).digest() == digest:
                    return rebuilt(target_context, pickle.loads(payload))
            except Exception:  # whatever is wrong with a file, compiling helps
                continue
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep compiled code in the first folder that takes it; a warning where none does."""
        if not enabled():
            return
        name = self._file_name(sig, data.codegen)
        try:
            if not can_be_kept(data):
                raise RuntimeError(f"{self._name} holds addresses of its process")
            payload = reduced(data)
        except Exception as error:
            _warn(error)
            return
        reasons = []
        for path in folders():
            try:
                path.mkdir(parents=True, exist_ok=True)
                draft = path / f"{name}.{uuid.uuid4().hex}"
                try:
                    draft.write_bytes(hashlib.sha256(payload).digest() + payload)
                    os.replace(draft, path / name)
                    return
                finally:
                    draft.unlink(missing_ok=True)
            except OSError as error:
                reasons.append(error)
        _warn("; ".join(map(str, reasons)))

    def enable(self) -> None:
        """Does nothing: FASTMLP_CACHE is the switch."""

    def disable(self) -> None:
        """Does nothing: FASTMLP_CACHE is the switch."""

    def flush(self) -> None:
        """Remove this function's files."""
        for path in folders() if enabled() else ():
            for file in path.glob(f"{self._name}-*.bin"):
                file.unlink(missing_ok=True)
