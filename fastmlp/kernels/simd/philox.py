"""Random numbers from a counter, in vectors: Philox 4×32 with 10 rounds.

J. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. Four words of 32 bits, the
counter, and a key of two become four random words. Words are held in 64 bits, in which a product of
two of them has room.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastmlp.kernels.simd.calling import call_function, distance, opened
from fastmlp.kernels.simd.vector import I32, I64, PANEL, Loop, llvm_real

ROUNDS = 10
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)

#: Counters side by side: their words of one number are that many units.
_COUNTERS = 4


def _same(kind, number):
    """A constant, in all lanes of a vector."""
    return ir.Constant(kind, [number] * kind.count if isinstance(kind, ir.VectorType) else number)


def philox(b, counter, key):
    """Four random words from four, and a key of two; all of one type, i64 or vectors of it."""
    kind = counter[0].type
    low, shift = _same(kind, 0xFFFFFFFF), _same(kind, 32)
    c0, c1, c2, c3 = (b.and_(word, low) for word in counter)
    keys = [b.and_(word, low) for word in key]
    for _ in range(ROUNDS):
        left = b.mul(c0, _same(kind, _MULTIPLIERS[0]))
        right = b.mul(c2, _same(kind, _MULTIPLIERS[1]))
        c0, c2 = (
            b.xor(b.xor(b.lshr(product, shift), word), word_of_key)
            for product, word, word_of_key in ((right, c1, keys[0]), (left, c3, keys[1]))
        )
        c1, c3 = b.and_(right, low), b.and_(left, low)
        keys = [
            b.and_(b.add(word, _same(kind, weyl)), low)
            for word, weyl in zip(keys, _WEYL, strict=True)
        ]
    return c0, c1, c2, c3


def _broadcast(b, word):
    kind = ir.VectorType(I64, _COUNTERS)
    first = b.insert_element(ir.Constant(kind, ir.Undefined), word, I32(0))
    mask = ir.Constant(ir.VectorType(I32, _COUNTERS), [0] * _COUNTERS)
    return b.shuffle_vector(first, ir.Constant(kind, ir.Undefined), mask)


def _emit_drop_row(real, b, *values):
    a, a_panel, g, g_panel, panels, has_g, c0, c1, c2, key_0, key_1, threshold, scale = values
    number = llvm_real(real)
    vector = ir.VectorType(number, _COUNTERS)
    words = [_broadcast(b, word) for word in (c0, c1, c2)]
    key = [_broadcast(b, word) for word in (key_0, key_1)]
    limit = _broadcast(b, threshold)
    zero = ir.Constant(vector, [0.0] * _COUNTERS)
    first = b.insert_element(ir.Constant(vector, ir.Undefined), scale, I32(0))
    mask = ir.Constant(ir.VectorType(I32, _COUNTERS), [0] * _COUNTERS)
    scales = b.shuffle_vector(first, ir.Constant(vector, ir.Undefined), mask)
    steps = ir.Constant(ir.VectorType(I64, _COUNTERS), list(range(_COUNTERS)))

    def multiply(place, multiple):
        at = b.bitcast(place, vector.as_pointer())
        value = b.load(at, align=real.bitwidth // 8)
        b.store(b.fmul(value, multiple), at, align=real.bitwidth // 8)

    with Loop(b, panels) as panel:
        block = b.mul(panel.index, I64(PANEL // _COUNTERS))
        drawn = philox(b, [*words, b.add(_broadcast(b, block), steps)], key)
        for k, word in enumerate(drawn):
            multiple = b.select(b.icmp_unsigned("<", word, limit), zero, scales)
            shift = I64(k * _COUNTERS)
            multiply(b.gep(a, [b.add(b.mul(panel.index, a_panel), shift)]), multiple)
            with b.if_then(b.icmp_signed("!=", has_g, I64(0))):
                multiply(b.gep(g, [b.add(b.mul(panel.index, g_panel), shift)]), multiple)


@intrinsic
def drop_row(typingctx, a, g, row, counter, key, threshold, scale):
    """a[:, row] and g[:, row] times 0 or scale: 0 where a unit's random word is below threshold.

    Of a panel's units, word k of counter (c0, c1, c2, 4·panel + i) is that of unit 4k + i.

    Parameters
    ----------
    a, g : (panels, rows, PANEL)
        Written. g may have no panels.
    row : int64
    counter : three int64
        The first three words.
    key : two int64
    threshold : int64
        At most 2³².
    scale : float64
    """
    real = a.dtype

    def codegen(context, builder, signature, args):
        to, other = opened(context, builder, [a, g], args[:2])
        start = builder.mul(args[2], I64(PANEL))
        values = []
        for view in (to, other):
            values += [builder.gep(view.data, [start]), distance(builder, view, 0, real)]
        values += [builder.extract_value(view.shape, 0) for view in (to, other)]
        values += [builder.extract_value(args[3], k) for k in range(3)]
        values += [builder.extract_value(args[4], k) for k in range(2)]
        factor = args[6] if real.bitwidth == 64 else builder.fptrunc(args[6], llvm_real(real))
        values += [args[5], factor]
        call_function(builder, "drop_row", real, _emit_drop_row, values)
        return context.get_dummy_value()

    triple, pair = types.UniTuple(types.int64, 3), types.UniTuple(types.int64, 2)
    return types.void(a, g, types.int64, triple, pair, types.int64, types.float64), codegen
