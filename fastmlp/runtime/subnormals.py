"""Subnormal numbers, which x86 processors are slow with: a thread can have them taken for 0.

Weights that no longer matter shrink towards 0 under an L2 term, and their moments go ahead of them.
In float32 they are subnormal after some ten thousand updates, and stay so for as many: a network
of (256, 128) then took 1.5 times as long for the same million rows, and the second and third epoch
of 43 million rows took 2.2 times as long. Other processors are left as they are.
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
IS_X86 = platform.machine().lower() in ("x86_64", "amd64")

#: In MXCSR: results (FTZ) and operands (DAZ) that are subnormal are 0.
_FLAGS = 0x8040


def _read(builder: Any) -> Any:
    """MXCSR, as an int64."""
    room = cgutils.alloca_once(builder, _I32)
    _call(builder, "stmxcsr", room)
    return builder.zext(builder.load(room), I64)


def _write(builder: Any, value: Any) -> None:
    room = cgutils.alloca_once(builder, _I32)
    builder.store(builder.trunc(value, _I32), room)
    _call(builder, "ldmxcsr", room)


def _call(builder: Any, name: str, room: Any) -> None:
    byte = ir.IntType(8).as_pointer()
    full = f"llvm.x86.sse.{name}"
    function = builder.module.globals.get(full)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), [byte]), full)
    builder.call(function, [builder.bitcast(room, byte)])


@intrinsic
def flush(typingctx, wanted):
    """Have this thread take subnormal numbers for 0, if that is wanted; what to `restore`."""

    def codegen(context, builder, signature, args):
        if not IS_X86:
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
        if IS_X86:
            _write(builder, args[0])
        return context.get_dummy_value()

    return types.void(types.int64), codegen
