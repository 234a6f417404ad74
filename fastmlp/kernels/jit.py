"""The one Numba decorator: flags, cache and its off switch."""

from collections.abc import Callable
from typing import Any

import numba


def kernel(function: Callable[..., Any]) -> Any:
    """Compile `function` on its first call; it runs without the GIL and raises nothing.

    Fast-math stays off: what gains from SIMD is written as vectors, in an order of its own, so
    reassociation has nothing to add. It would only undo the compensated steps of `functions` and
    let a result depend on the optimiser's mood.
    """
    return numba.njit(nogil=True, error_model="numpy", cache=False)(function)


def phase(function: Callable[..., Any]) -> Any:
    """A kernel that becomes part of the one that calls it, instead of being compiled first.

    Numba compiles and optimises a callee on its own and then once more in every caller. For the
    middle layers of a call this doubles the time of the first fit with each level.
    """
    return numba.njit(nogil=True, error_model="numpy", inline="always")(function)
