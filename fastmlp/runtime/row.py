"""A function of one row that compiled code can call: what numba knows of it.

It is an array of int64 to numba, with a `ROW` at its beginning, and behind it all that a call works
on. The array is counted like any other, so what runs without Python keeps it alive. The type of the
function says no more than the type of the weights: what a user compiles for one model serves all
others, and can be kept on disk, since addresses are read from the array.

A call copies the program, which names its buffers by their distance from its beginning, to memory
of its own, and does one step after another. So any number of threads may be in one function.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from llvmlite import ir
from numba import from_dtype, types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import (
    NativeValue,
    intrinsic,
    lower_builtin,
    make_attribute_wrapper,
    models,
    register_model,
    unbox,
)

from fastmlp.runtime.compiling import compile_now
from fastmlp.runtime.cpu import CACHE_LINE
from fastmlp.runtime.driver import run_piece
from fastmlp.runtime.jit import by_address
from fastmlp.runtime.numba_internals import address_of_process, lower_constant
from fastmlp.runtime.records import I64, numbers, view, words_at

#: run : address of the compiled `run`
#: n_features : numbers of a row
#: scratch : words of memory that a call needs
#: x, result : where the row goes, and where 1 − ŷ and ŷ are then; bytes from the program on
#: words, n_words : the program
#: places, n_places : words of it that the address of a copy is added to
#: step, n_steps : word at which the table of steps begins, and how many there are
ROW = np.dtype(
    [
        ("run", np.int64),
        ("n_features", np.int64),
        ("scratch", np.int64),
        ("x", np.int64),
        ("result", np.int64),
        ("words", numbers("int64")),
        ("n_words", np.int64),
        ("places", numbers("int64")),
        ("n_places", np.int64),
        ("step", np.int64),
        ("n_steps", np.int64),
    ]
)
_RUN, _N_FEATURES, _SCRATCH, _X, _RESULT = range(5)

WRONG_LENGTH = "The row has another number of features than the network was trained on."

_MEMORY = types.Array(types.int64, 1, "C")
_FROM_C = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)


def run(row: Any, here: Any) -> None:
    """Do the steps for one row, in memory that begins at an address; row : `ROW`."""
    program = words_at(here, row.n_words)
    words, places = words_at(row.words.int64, row.n_words), words_at(row.places.int64, row.n_places)
    for k in range(row.n_words):
        program[k] = words[k]
    for k in range(row.n_places):
        program[places[k]] += here
    for k in range(row.n_steps):
        step = row.step + 2 * k
        run_piece(program[step], program[step + 1], 0, 0, 1, 0)


_compiled: Any = None


def _compile() -> None:
    global _compiled
    if _compiled is None:
        _compiled = by_address(run, types.void(from_dtype(ROW), types.int64))


def address() -> int:
    """Address of the compiled `run`."""
    if _compiled is None:
        compile_now(_compile)
    return int(_compiled.address)


class RowFunctionType(types.Callable):
    """Numba's type of a function from one row to a probability; real : of the weights."""

    def __init__(self, real: Any) -> None:
        self.real = real
        super().__init__(name=f"fastmlp.RowFunction({real})")

    def get_call_type(self, context: Any, args: Any, kws: Any) -> Any:
        """Signature of a call."""
        row = args[0] if len(args) == 1 and not kws else None
        if (
            not isinstance(row, types.Array)
            or row.ndim != 1
            or not isinstance(row.dtype, types.Float | types.Integer | types.Boolean)
        ):
            given = ", ".join(map(str, (*args, *kws)))
            raise TypingError(
                f"A function from as_numba() takes one row, a 1-D array of numbers, not ({given})."
            )
        return self.real(row).replace(recvr=self)

    def get_call_signatures(self) -> Any:
        """Signatures that are known beforehand: none."""
        return (), True

    def get_impl_key(self, sig: Any) -> Any:
        """What `lower_builtin` has registered a call under."""
        return type(self)


@register_model(RowFunctionType)
class _RowFunctionModel(models.StructModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, [("memory", _MEMORY)])


make_attribute_wrapper(RowFunctionType, "memory", "_memory")


@unbox(RowFunctionType)
def _unbox(kind: Any, function: Any, c: Any) -> Any:
    """Take the array from a Python object that has it as `_memory`."""
    memory = c.pyapi.object_getattr_string(function, "_memory")
    native = c.unbox(_MEMORY, memory)
    c.pyapi.decref(memory)
    struct = cgutils.create_struct_proxy(kind)(c.context, c.builder)
    struct.memory = native.value
    return NativeValue(struct._getvalue(), is_error=native.is_error, cleanup=native.cleanup)


#: What compiled code knows by address: a function that it found as a global has to outlive it.
_kept: list[Any] = []


@lower_constant(RowFunctionType)
def _constant(context: Any, builder: Any, kind: Any, function: Any) -> Any:
    """A function that compiled code finds as a global, or in a closure."""
    memory = function._memory
    _kept.append(memory)
    start = address_of_process(context, builder, memory.ctypes.data)
    struct = cgutils.create_struct_proxy(kind)(context, builder)
    struct.memory = view(context, builder, _MEMORY, start, [I64(len(memory))], [I64(1)])
    return struct._getvalue()


def _place(builder: Any, scratch: Any, shift: Any) -> Any:
    """Address in the memory of a call, shift bytes from the first cache line in it on."""
    line = builder.and_(builder.add(scratch, I64(CACHE_LINE - 1)), I64(-CACHE_LINE))
    return builder.add(line, shift)


def _word(builder: Any, memory: Any, position: int) -> Any:
    return builder.load(builder.gep(memory, [I64(position)]), align=8)


@intrinsic
def _row_of(typingctx: Any, function: Any, scratch: Any) -> Any:
    """Where the numbers of the row go: (n_features,)."""
    kind = types.Array(function.real, 1, "C")

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        struct = cgutils.create_struct_proxy(function)(context, builder, args[0])
        memory = context.make_array(_MEMORY)(context, builder, struct.memory).data
        place = context.make_array(scratch)(context, builder, args[1]).data
        start = _place(builder, builder.ptrtoint(place, I64), _word(builder, memory, _X))
        length = _word(builder, memory, _N_FEATURES)
        return view(context, builder, kind, start, [length], [I64(1)])

    return kind(function, scratch), codegen


@intrinsic
def _run(typingctx: Any, function: Any, scratch: Any) -> Any:
    """Do the steps in the memory of a call, and return ŷ."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        struct = cgutils.create_struct_proxy(function)(context, builder, args[0])
        memory = context.make_array(_MEMORY)(context, builder, struct.memory).data
        place = context.make_array(scratch)(context, builder, args[1]).data
        place = builder.ptrtoint(place, I64)
        real = context.get_value_type(function.real)
        kind = ir.FunctionType(ir.VoidType(), [I64, I64])
        steps = builder.inttoptr(_word(builder, memory, _RUN), kind.as_pointer())
        builder.call(steps, [builder.ptrtoint(memory, I64), _place(builder, place, I64(0))])
        result = _place(builder, place, _word(builder, memory, _RESULT))
        result = builder.inttoptr(result, real.as_pointer())
        return builder.load(builder.gep(result, [I64(1)]), align=function.real.bitwidth // 8)

    return function.real(function, scratch), codegen


def _probability(function: Any, row: Any) -> Any:
    """What a call compiles to."""
    memory = function._memory
    if len(row) != memory[_N_FEATURES]:
        raise ValueError(WRONG_LENGTH)
    # Zeros: what lies in the padding is computed too, and numbers below the normal ones cost a
    # thousand nanoseconds.
    scratch = np.zeros(memory[_SCRATCH], np.int64)
    x = _row_of(function, scratch)
    for k in range(len(row)):
        x[k] = row[k]
    return _run(function, scratch)


@lower_builtin(RowFunctionType, RowFunctionType, types.Array)
def _lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return context.compile_internal(builder, _probability, signature, args)


def call(memory: np.ndarray, numbers: np.ndarray) -> float:
    """Do the same from Python, which has nothing to compile for it.

    Parameters
    ----------
    memory : ndarray of int64
        Of a function, a `ROW` first.
    numbers : ndarray of shape (n_features,)
        The row, in the dtype of the weights.
    """
    if len(numbers) != memory[_N_FEATURES]:
        raise ValueError(WRONG_LENGTH)
    scratch = np.zeros(int(memory[_SCRATCH]), np.int64).view(np.uint8)
    here = scratch[-scratch.ctypes.data % CACHE_LINE :]
    here[memory[_X] :][: numbers.nbytes].view(numbers.dtype)[:] = numbers
    _FROM_C(int(memory[_RUN]))(memory.ctypes.data, here.ctypes.data)
    return float(here[memory[_RESULT] :][: 2 * numbers.itemsize].view(numbers.dtype)[1])
