"""Everything of Numba's that is not public API, in one place; tests run it with every version.

- Dispatcher: what numba.njit returns
- CFunc: a compiled function with a C address, whose `_cache` can be replaced
- _Cache, CompileResult: what a cache of compiled code has to offer, and what it keeps
- global_compiler_lock: held while anything is compiled
- rtsys: the functions that compiled code calls
- WarningsFixer: where type inference takes the warnings of the whole process
- config: its DISABLE_JIT, which decorators look up, and reload_config
- lower_constant, add_dynamic_addr: what compiled code makes of a global of a type of ours
- parallel: whether a threading layer has been started, and of how many threads
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core.caching import NullCache, _Cache
from numba.core.ccallback import CFunc
from numba.core.cgutils import get_or_insert_function
from numba.core.compiler import CompileResult
from numba.core.compiler_lock import global_compiler_lock
from numba.core.dispatcher import Dispatcher
from numba.core.errors import WarningsFixer  # type: ignore[attr-defined]
from numba.core.imputils import lower_constant
from numba.core.runtime import rtsys
from numba.core.serialize import dumps
from numba.extending import intrinsic
from numba.np.ufunc import parallel

__all__ = [
    "CacheOfNumba",
    "NoCache",
    "acquire_compiler",
    "address_of_process",
    "c_function",
    "can_be_kept",
    "compiling",
    "dispatcher",
    "is_dispatcher",
    "layer_is_started",
    "lower_constant",
    "most_threads",
    "prepare_to_load",
    "rebuilt",
    "reduced",
    "release_compiler",
    "set_threads_of_caller",
    "threads_of_caller",
]

CacheOfNumba, NoCache = _Cache, NullCache
_INT64 = ir.IntType(64)
#: Of the lock itself: an exception can come between two lines of Numba's methods of these names.
acquire_compiler = global_compiler_lock._lock.acquire
release_compiler = global_compiler_lock._lock.release


def reduced(result: Any) -> bytes:
    """Compiled code as bytes."""
    return bytes(dumps(result._reduce()))


def prepare_to_load(target_context: Any) -> None:
    """Have ready what compiled code calls: Numba's run-time functions.

    Numba's own caches load all that a compilation needs as well, which takes 0.1 s of the first fit
    of a process; a compilation loads it itself.
    """
    rtsys.initialize(target_context)


def rebuilt(target_context: Any, parts: Any) -> Any:
    """Compiled code out of what `reduced` has pickled."""
    return CompileResult._rebuild(target_context, *parts)


def layer_is_started() -> bool:
    """Whether a threading layer runs in this process; asking Numba's public API would start one."""
    return bool(getattr(parallel, "_is_initialized", True))


def most_threads() -> int:
    """Threads that a threading layer has; a change of Numba's configuration comes too late for it.

    Under workqueue, a parallel region of more threads would wait for them for ever.
    """
    return int(getattr(parallel, "NUM_THREADS", numba.config.NUMBA_NUM_THREADS))


@intrinsic
def threads_of_caller(typingctx):
    """numba.get_num_threads() by the name that a threading layer gives it: such code can be kept.

    Numba's own functions hold addresses of this process.
    """

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(_INT64, [])
        return builder.call(get_or_insert_function(builder.module, kind, "get_num_threads"), [])

    return types.int64(), codegen


@intrinsic
def set_threads_of_caller(typingctx, number):
    """numba.set_num_threads(number), likewise."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
        function = get_or_insert_function(builder.module, kind, "set_num_threads")
        builder.call(function, [builder.trunc(args[0], ir.IntType(32))])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


def can_be_kept(result: Any) -> bool:
    """Whether compiled code holds no address of this process."""
    return not result.library.has_dynamic_globals


@contextmanager
def _in_spite_of_disable_jit() -> Iterator[None]:
    """Hold the compiler, and have decorators compile.

    Users set NUMBA_DISABLE_JIT to debug functions of their own, which stay interpreted. Kernels are
    LLVM's instructions in part, so no interpreter can run them.
    """
    with global_compiler_lock:
        numba.config.reload_config()  # or the compiler would, and undo the next line
        disabled, numba.config.DISABLE_JIT = numba.config.DISABLE_JIT, 0
        try:
            yield
        finally:
            numba.config.DISABLE_JIT = disabled


def dispatcher(function: Callable[..., Any], **flags: Any) -> Any:
    """What numba.njit makes of a function."""
    with _in_spite_of_disable_jit():
        return numba.njit(**flags)(function)


def is_dispatcher(function: Any) -> bool:
    """Whether numba.njit has made this function."""
    return isinstance(function, Dispatcher)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Leave garbage where it is: a compiler's many objects set off collections.

    They go through all that the process has, and take a tenth of a first fit (0.7 of 7.5 s). What a
    user sets meanwhile is undone.
    """
    collects = gc.isenabled()
    try:
        gc.disable()
        yield
    finally:
        if collects:
            gc.enable()


@contextmanager
def compiling() -> Iterator[None]:
    """Hold the compiler; the warnings of other threads stay where they are.

    Where it infers types, Numba has the warnings of the whole process go to a list of its own. Not
    here: that of an interrupted fit would get lost.
    """
    with _in_spite_of_disable_jit(), _without_collection():
        catch_warnings = WarningsFixer.catch_warnings
        WarningsFixer.catch_warnings = lambda *_, **__: nullcontext()
        try:
            yield
        finally:
            WarningsFixer.catch_warnings = catch_warnings


def c_function(
    function: Callable[..., Any], signature: Any, flags: dict[str, Any], cache: Any
) -> Any:
    """Compile a function that C can call; the result has an `address` and must be kept."""
    compiled: Any = CFunc(function, numba.core.sigutils.normalize_signature(signature), {}, flags)
    compiled._cache = cache
    with compiling():
        compiled.compile()
    return compiled


def address_of_process(context: Any, builder: Any, address: int) -> Any:
    """An address of this process as an int64; code that has one cannot be kept."""
    return builder.ptrtoint(context.add_dynamic_addr(builder, address, "fastmlp"), _INT64)
