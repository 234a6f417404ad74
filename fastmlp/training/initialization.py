"""How weights start (N3 of the notes).

Every rule draws a layer's weights before its biases, and the layers from the input to the output,
so that ``"glorot_uniform"`` draws the numbers that scikit-learn's MLPClassifier draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
LayerRule = Callable[[np.random.RandomState, int, int, str], tuple[Array, Array]]


def glorot_uniform(
    rng: np.random.RandomState, fan_in: int, fan_out: int, activation: str
) -> tuple[Array, Array]:
    """Draw weights and biases from U(−r, r), r = √(6 / (fan_in + fan_out)).

    For the logistic function, a quarter as steep at 0 as tanh, scikit-learn takes √2 for √6.
    """
    bound = math.sqrt((2.0 if activation == "logistic" else 6.0) / (fan_in + fan_out))
    weights = rng.uniform(-bound, bound, (fan_in, fan_out))
    return weights, rng.uniform(-bound, bound, fan_out)


def glorot_normal(
    rng: np.random.RandomState, fan_in: int, fan_out: int, activation: str
) -> tuple[Array, Array]:
    """Draw weights from N(0, σ²), σ = √(2 / (fan_in + fan_out)); biases are 0 (N3)."""
    sigma = math.sqrt(2.0 / (fan_in + fan_out))
    return rng.normal(0.0, sigma, (fan_in, fan_out)), np.zeros(fan_out)


def he_normal(
    rng: np.random.RandomState, fan_in: int, fan_out: int, activation: str
) -> tuple[Array, Array]:
    """Draw weights from N(0, 2 / fan_in), He et al. (2015), equation 10; biases are 0."""
    return rng.normal(0.0, math.sqrt(2.0 / fan_in), (fan_in, fan_out)), np.zeros(fan_out)


def he_uniform(
    rng: np.random.RandomState, fan_in: int, fan_out: int, activation: str
) -> tuple[Array, Array]:
    """Draw weights from U(−r, r), r = √(6 / fan_in), the variance of `he_normal`; biases are 0."""
    bound = math.sqrt(6.0 / fan_in)
    return rng.uniform(-bound, bound, (fan_in, fan_out)), np.zeros(fan_out)


LAYER_RULES: dict[str, LayerRule] = {
    "glorot_uniform": glorot_uniform,
    "glorot_normal": glorot_normal,
    "he_normal": he_normal,
    "he_uniform": he_uniform,
}


def initial_parameters(
    weight_init: str,
    widths: Sequence[int],
    activations: Sequence[Any],
    dtype: np.dtype[Any],
    rng: np.random.RandomState,
) -> tuple[list[Array], list[Array]]:
    """Draw the weights and biases that a network starts with.

    Parameters
    ----------
    weight_init : {"glorot_uniform", "glorot_normal", "he_normal", "he_uniform"}
        The rule that each layer follows.
    widths : sequence of int
        Units of every layer, from the input to the output.
    activations : sequence of str or Activation, one a weight matrix
        The activation whose slope sets the scale of that matrix. For the last one this is the
        network's hidden activation too, as in scikit-learn, not the sigmoid of the output.
    dtype : dtype
        Numbers are drawn in float64 and then cast to this one.
    rng : RandomState
        Where the numbers are drawn from.

    Returns
    -------
    coefs : list of ndarray of shape (fan_in, fan_out)
    intercepts : list of ndarray of shape (fan_out,)
    """
    rule = LAYER_RULES[weight_init]
    coefs, intercepts = [], []
    for (fan_in, fan_out), activation in zip(pairwise(widths), activations, strict=True):
        weights, bias = rule(rng, fan_in, fan_out, activation)
        coefs.append(weights.astype(dtype, copy=False))
        intercepts.append(bias.astype(dtype, copy=False))
    return coefs, intercepts
