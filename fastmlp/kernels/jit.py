"""The Numba decorators, which set all flags: every compiled function has one of these three."""

from collections.abc import Callable
from typing import Any

import numba

from fastmlp.kernels.cache import KernelCache

# Fast-math stays off: what gains from SIMD is written as vectors, in an order of its own, so
# reassociation has nothing to add. It would undo the compensated steps of `functions` and let a
# result depend on the optimiser's mood. NumPy's error model makes a division one instruction.
_FLAGS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` on its first call; it runs without the GIL and raises nothing."""
    return numba.njit(**_FLAGS)(function)


def phase(function: Callable[..., Any]) -> Any:
    """A kernel that becomes part of the one that calls it, instead of being compiled first.

    Numba compiles and optimises a callee on its own and then once more in every caller. For the
    middle layers of a call this would double the time of the first fit with each level.
    """
    return numba.njit(**_FLAGS, inline="always")(function)


def entry(function: Callable[..., Any]) -> Any:
    """A kernel that Python calls when a model is used; its compiled code is kept on disk."""
    dispatcher = numba.njit(**_FLAGS)(function)
    dispatcher._cache = KernelCache(function)
    return dispatcher
