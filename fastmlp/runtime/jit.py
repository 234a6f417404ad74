"""The Numba decorators, which set all flags: every compiled function has one of these."""

from collections.abc import Callable
from typing import Any

from fastmlp.runtime.cache import KernelCache
from fastmlp.runtime.numba_internals import NoCache, c_function, dispatcher

# Fast-math stays off: what gains from SIMD is written as vectors, in an order of its own, so
# reassociation has nothing to add. It would undo the compensated steps of `simd.functions` and let
# a result depend on the optimiser's mood. NumPy's error model makes a division one instruction.
_FLAGS: dict[str, Any] = {"error_model": "numpy"}

# What only compiled code calls needs no way in from Python or C: a fifth less to compile.
_INNER: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile what other compiled functions call."""
    return dispatcher(function, **_FLAGS, **_INNER)


def entry(function: Callable[..., Any]) -> Any:
    """Compile what Python calls, without the GIL; the compiled code is kept on disk."""
    return _kept(dispatcher(function, nogil=True, **_FLAGS), function)


def parallel_entry(function: Callable[..., Any]) -> Any:
    """An `entry` whose `prange` loops are shared among the threads of Numba's threading layer."""
    return _kept(dispatcher(function, parallel=True, nogil=True, **_FLAGS), function)


def _kept(compiled: Any, function: Callable[..., Any]) -> Any:
    compiled._cache = KernelCache(function)
    return compiled


def by_address_in_process(function: Callable[..., Any], signature: Any) -> Any:
    """Compile what is called by its `address`, for this process alone."""
    return c_function(function, signature, dict(_FLAGS), NoCache())


def by_address(function: Callable[..., Any], signature: Any) -> Any:
    """Compile what is called by its `address`; the compiled code is kept on disk."""
    return c_function(function, signature, dict(_FLAGS), KernelCache(function))
