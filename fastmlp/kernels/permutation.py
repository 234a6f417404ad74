"""The shuffle of NumPy's RandomState, compiled: the order of the rows is drawn every epoch."""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastmlp.kernels.simd.vector import I32, I64
from fastmlp.runtime.jit import entry

_AHEAD = 512


def room_for_draws():
    """What `permute` draws into."""
    return np.empty(_AHEAD, np.int64)


@intrinsic
def _next_uint32(typingctx, function, state):
    """Call a bit generator's next_uint32(state), both given by their addresses."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(I32, [I64])
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), [args[1]])

    return types.uint32(types.int64, types.int64), codegen


@entry
def permute(order, drawn, next_uint32, state):
    """Shuffle `order` with the draws and swaps of `RandomState.shuffle`.

    From the last place down, each is swapped with a place drawn at or below it: the low bits of a
    32-bit draw, drawn again while they exceed the place. Here a stretch of places is drawn ahead
    without a branch on the outcome, and then swapped: so neither mispredicted branches nor, in a
    large array, the way to memory is waited for one place at a time.

    Parameters
    ----------
    order : (n,) int64
        n < 2³²; written.
    drawn : int64 array
        From `room_for_draws`; written.
    next_uint32, state : int64
        Addresses of the bit generator's function and state; the caller holds its lock.
    """
    place = order.size - 1
    mask = 0
    while mask < place:
        mask = mask << 1 | 1
    while place > 0:
        while mask >> 1 >= place:
            mask = mask >> 1
        # As long as the mask stays the same: down to place mask >> 1, which takes fewer bits.
        count = min(_AHEAD, place - (mask >> 1))
        k = 0
        while k < count:
            drawn[k] = np.int64(_next_uint32(next_uint32, state)) & mask
            k += drawn[k] <= place - k
        for k in range(count):
            other = drawn[k]
            order[place - k], order[other] = order[other], order[place - k]
        place -= count
