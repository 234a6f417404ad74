"""Elementary functions on vectors: exp, expm1, log1p, sigmoid and tanh.

They take the place of a vector math library, which Numba's wheels do not bring: `np.exp` in a
compiled loop is one call a number. Each is written once for float32 and float64; only the number
of terms differs. Errors are at most 2 ulp, but for log(1 + e^(−|z|)) (below 2.9);
tests/test_functions.py holds each to its bound.
"""

import math

LN2 = math.log(2.0)


def _terms(x, for_float32, for_float64):
    return for_float32 if x.real.bitwidth == 32 else for_float64


def _reduced(x):
    """k and r with x = k ln 2 + r, |r| ≤ ½ ln 2; k as whole numbers in the exponent's position."""
    mantissa = _terms(x, 23, 52)
    magic = 1.5 * 2.0**mantissa  # adding it rounds to whole numbers and leaves them in the low bits
    shifted = x.times_plus(1.0 / LN2, magic)
    k = shifted - magic
    # The high part of ln 2 has few enough bits that k times it is exact.
    high_bits = _terms(x, 14, 32)
    high = math.floor(LN2 * 2.0**high_bits) / 2.0**high_bits
    low = _terms(x, 3.1946184945309415e-05, 1.9082149292705877e-10)  # ln 2 − high
    r = k.times_plus(-low, k.times_plus(-high, x))
    magic_bits = x._of(magic).bits()
    return x.builder.sub(shifted.bits(), magic_bits), r


def _power_of_two(x, k):
    """2ᵏ for whole k within the normal exponents."""
    mantissa, bias = _terms(x, (23, 127), (52, 1023))
    b = x.builder
    bits = b.shl(b.add(k, x.integers(bias)), x.integers(mantissa))
    return x.like(b.bitcast(bits, x.value.type))


def _expm1_series(r):
    """e^r − 1 by its Taylor series, for |r| ≤ ½ ln 2."""
    n = _terms(r, 7, 13)
    total = r._of(1.0 / math.factorial(n))
    for j in range(n - 1, 1, -1):
        total = total.times_plus(r, 1.0 / math.factorial(j))
    return (r * r).times_plus(total, r)


def exp(x):
    """eˣ for x ≤ 0, down to the smallest subnormal number; NaN stays NaN."""
    x = x.at_least(_terms(x, -104.0, -746.0))
    k, r = _reduced(x)
    # 2ᵏ in two factors, so that results below the normal numbers come out right.
    half = x.builder.ashr(k, x.integers(1))
    rest = x.builder.sub(k, half)
    return (_expm1_series(r) + 1.0) * _power_of_two(x, half) * _power_of_two(x, rest)


def expm1(x):
    """eˣ − 1 for x ≤ 0 without cancellation near 0, and what its last rounding took from it.

    NaN stays NaN.
    """
    x = x.at_least(_terms(x, -87.0, -708.0))
    k, r = _reduced(x)
    scale = _power_of_two(x, k)
    series, offset = _expm1_series(r), scale - 1.0
    result = series.times_plus(scale, offset)
    return result, series.times_plus(scale, -(result - offset))


def log1p(u):
    """log(1 + u) for 0 ≤ u ≤ 1, as 2 artanh(u / (2 + u)); NaN stays NaN."""
    s = u / (u + 2.0)
    square = s * s
    n = _terms(u, 7, 16)
    total = u._of(2.0 / (2 * n + 1))
    for j in range(n - 1, 0, -1):
        total = total.times_plus(square, 2.0 / (2 * j + 1))
    return (square * s).times_plus(total, s + s)


def _over_sum(numerator, large, small, more=None):
    """numerator / (large + small) for a sum between 1 and 2 and large ≥ |small|.

    The rounding error of the sum is known exactly, and taking it back keeps the result below 2 ulp.
    A line through the reciprocal is all the precision that the correction needs.

    more : a number below the precision of small, which the sum and the numerator's −small have too.
    """
    total = small + large
    lost = small - (total - large)
    reciprocal = total.times_plus(-0.5, 1.457)
    quotient = numerator / total
    excess = quotient * lost if more is None else quotient.times_plus(lost + more, more)
    return excess.times_plus(-reciprocal, quotient)


def _sigmoid_of(z, e):
    one = z._of(1.0)
    return _over_sum(one.where(z.compare(">=", 0.0), e), one, e)


def sigmoid_and_complement(z):
    """σ(z) and σ(−z), each to full precision and neither ever 0: 1 − σ(z) would lose its digits."""
    e, one = exp(-z.abs()), z._of(1.0)
    larger = _over_sum(one, one, e)
    smaller = _over_sum(e, one, e).at_least(_terms(z, 2.0**-149, 2.0**-1074))
    positive = z.compare(">=", 0.0)
    return larger.where(positive, smaller), smaller.where(positive, larger)


def sigmoid(z):
    """σ(z) = 1 / (1 + e^(−z)) (N5), without overflow on either side."""
    return _sigmoid_of(z, exp(-z.abs()))


def sigmoid_and_log1p(z):
    """σ(z) and log(1 + e^(−|z|)), which share their exponential."""
    e = exp(-z.abs())
    return _sigmoid_of(z, e), log1p(e)


def tanh(z):
    """tanh(z) = −expm1(−2|z|) / (2 + expm1(−2|z|)), with the sign of z."""
    t, lost = expm1(z.abs() * -2.0)
    return _over_sum(-t, t._of(2.0), t, lost).copysign(z)
