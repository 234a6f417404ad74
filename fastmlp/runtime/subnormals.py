"""Subnormal numbers, which processors are slow with: a thread can have them taken for 0.

Weights that no longer matter shrink towards 0 under an L2 term, and their moments go ahead of them.
In float32 they are subnormal after some ten thousand updates, and stay so for as many: a network
of (256, 128) on a million rows then took 1.5 times as long for the same rows, and on 43 million
rows, all epochs but the first took twice as long.
"""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastmlp.runtime.records import I64

_I32 = ir.IntType(32)
_MACHINE = platform.machine().lower()

#: What to set in the thread's floating-point control register. x86: results and operands (FTZ, DAZ)
#: in MXCSR. ARM: both (FZ) in FPCR.
_FLAGS = {"x86_64": 0x8040, "amd64": 0x8040, "arm64": 1 << 24, "aarch64": 1 << 24}.get(_MACHINE, 0)


def _read(builder: Any) -> Any:
    """The register, as an int64."""
    if _MACHINE in ("x86_64", "amd64"):
        room = cgutils.alloca_once(builder, _I32)
        _call_x86(builder, "stmxcsr", room)
        return builder.zext(builder.load(room), I64)
    kind = ir.FunctionType(I64, [])
    return builder.asm(kind, "mrs $0, fpcr", "=r", [], side_effect=True)


def _write(builder: Any, value: Any) -> None:
    if _MACHINE in ("x86_64", "amd64"):
        room = cgutils.alloca_once(builder, _I32)
        builder.store(builder.trunc(value, _I32), room)
        _call_x86(builder, "ldmxcsr", room)
        return
    kind = ir.FunctionType(ir.VoidType(), [I64])
    builder.asm(kind, "msr fpcr, $0", "r", [value], side_effect=True)


def _call_x86(builder: Any, name: str, room: Any) -> None:
    byte = ir.IntType(8).as_pointer()
    full = f"llvm.x86.sse.{name}"
    function = builder.module.globals.get(full)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), [byte]), full)
    builder.call(function, [builder.bitcast(room, byte)])


@intrinsic
def flush(typingctx, wanted):
    """Have this thread take subnormal numbers for 0, if that is wanted; what to `restore`.

    On a processor of another kind, nothing happens.
    """

    def codegen(context, builder, signature, args):
        if not _FLAGS:
            return I64(0)
        before = _read(builder)
        flags = builder.select(builder.icmp_signed("!=", args[0], I64(0)), I64(_FLAGS), I64(0))
        _write(builder, builder.or_(before, flags))
        return before

    return types.int64(types.int64), codegen


@intrinsic
def restore(typingctx, before):
    """Have this thread take numbers as it did before `flush`."""

    def codegen(context, builder, signature, args):
        if _FLAGS:
            _write(builder, args[0])
        return context.get_dummy_value()

    return types.void(types.int64), codegen
