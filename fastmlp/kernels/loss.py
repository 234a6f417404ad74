"""Probabilities, binary cross-entropy and the error at the output, from the logit (N2, N5, N6)."""

from fastmlp.kernels import functions
from fastmlp.kernels.simd import elementwise

#: A logit beyond ±this has reached an end of the loss, in float32 and in float64.
_SATURATED = 1000.0


def cross_entropy(z, y, weight, delta, loss, least, most):
    """δ⁽ᴸ⁾ = (ŷ − y)·weight and ℒ·weight, with ŷ = σ(z), ℒ = −[y log ŷ + (1−y) log(1−ŷ)].

    From the logit, ℒ = max(z, 0) − z y + log(1 + e^(−|z|)): no logarithm of 0. The difference comes
    first: it is exact, and a small loss keeps its precision. ℒ is held between `least` and `most`,
    where scikit-learn's loss ends because it clips ŷ to [eps, 1 − eps]. So it may take an infinite
    z, of which ∞ − ∞ would make NaN, for a large one.
    """
    p, tail = functions.sigmoid_and_log1p(z)
    z = z.at_most(_SATURATED).at_least(-_SATURATED)
    ends = z.at_least(0.0) - z * y
    return (p - y) * weight, (ends + tail).at_least(least).at_most(most) * weight


def probabilities(z, complement):
    """P(y = 1) = σ(z) and P(y = 0) = σ(−z)."""
    return functions.sigmoid_and_complement(z)


#: f(count, size, (logit, any), ()): writes the probabilities of 1 to the first, of 0 to the second.
apply_probabilities = elementwise(probabilities, arrays=2, scalars=0, writes=(0, 1))

#: f(count, size, (logit, target, weight, delta, loss), (least, most)): writes delta and loss.
apply_cross_entropy = elementwise(cross_entropy, arrays=5, scalars=2, writes=(3, 4))
