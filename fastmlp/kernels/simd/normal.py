"""The normal distribution on vectors: Φ and its density φ, for GELU.

Φ(−|z|) = ½ erfc(x) with x = |z| / √2, and erfc(x) = e^(−x²) F(x) / (1 + 2x). F hardly changes: from
1 at 0 to 2 / √π at infinity. It is a Chebyshev series in (x − 3) / (x + 3), after M. Shepherd and
J. Laframboise, "Chebyshev approximation of (1 + 2x) exp(x²) erfc x in 0 ≤ x < ∞", Mathematics of
Computation 36, 1981; its coefficients were computed anew, in 40 digits, and
tests/test_functions.py holds the result to scipy's.
"""

import math

from fastmlp.kernels.simd import functions

_CENTRE = 3.0

_COEFFICIENTS = (
    1.17756257419656005,
    0.00535390453961567677,
    -0.0937755034228420905,
    0.0543665255574432205,
    -0.0189765967078452074,
    0.00445342606146271157,
    -0.000633553171055314694,
    0.0000176617195231715919,
    0.0000128415328640566707,
    -2.00722856590599144e-6,
    -1.8075227904148371e-7,
    7.54982834382509283e-8,
    1.88566852383860279e-9,
    -2.699519049798364e-9,
    -1.46007911993910495e-11,
    1.03616074459694897e-10,
    1.47571597662347319e-12,
    -4.27734006439691052e-12,
    -2.0792249285979859e-13,
    1.81345020031770089e-13,
    1.97342557454478634e-14,
    -7.28794373759223577e-15,
    -1.51698786902245592e-15,
    2.35141122588052154e-16,
    1.00061116918313345e-16,
    -2.05725281700827769e-18,
)
_TERMS_OF_FLOAT32 = 13

#: From here on Φ(−|z|) is 0 in float64.
_FAR = 40.0


def _series(t):
    """The Chebyshev series at t, by Clenshaw's recurrence."""
    coefficients = _COEFFICIENTS[: _TERMS_OF_FLOAT32 if t.real.bitwidth == 32 else None]
    twice = t + t
    newer, older = t._of(coefficients[-1]), t.zeros()
    for coefficient in coefficients[-2:0:-1]:
        newer, older = twice.times_plus(newer, coefficient - older), newer
    return t.times_plus(newer, coefficients[0] - older)


def cdf_and_density(z):
    """Φ(z) and φ(z), the tail to its own precision; NaN stays NaN."""
    magnitude = z.abs().at_most(_FAR)
    square = magnitude * magnitude
    # What rounding took from the square would be a relative error of e^(−z²/2).
    lost = magnitude.times_plus(magnitude, -square)
    e = functions.exp(square * -0.5)
    e = (e * lost).times_plus(-0.5, e)
    x = magnitude * math.sqrt(0.5)
    tail = e * _series((x - _CENTRE) / (x + _CENTRE)) * 0.5 / (x + x + 1.0)
    cdf = tail.where(z.compare("<", 0.0), 1.0 - tail)
    return cdf, e * (1.0 / math.sqrt(2.0 * math.pi))
