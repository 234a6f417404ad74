"""The weights of a network, where training starts from and prediction works with."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.kernels.activations import ACTIVATIONS
from fastmlp.kernels.own_activation import Activation
from fastmlp.network.layout import Network
from fastmlp.network.session import Session

Array = NDArray[Any]

Activations = tuple[str | Activation, ...]

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


@dataclass(frozen=True)
class Weights:
    """Weights and biases that make a network.

    Attributes
    ----------
    coefs : list of ndarray of shape (fan_in, fan_out)
        The weights of each layer.
    intercepts : list of ndarray of shape (fan_out,)
        The biases of each layer.
    widths : tuple of int
        Units of every layer, from the input to the output.
    """

    coefs: list[Array]
    intercepts: list[Array]
    widths: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype that a network with these weights works in."""
        # Whatever the order of their bytes, which joblib changes when it loads them.
        return FLOAT32 if self.coefs[0].dtype.newbyteorder("=") == FLOAT32 else FLOAT64

    def session(
        self, activations: Activations, n_threads: int | None, dtype: np.dtype[Any], *, sparse: bool
    ) -> Session:
        """Make a session of this dtype that holds these weights, for X sparse or dense."""
        session = Session(_network(self.widths, activations, dtype), n_threads, sparse=sparse)
        session.set_parameters(self.coefs, self.intercepts)
        return session


@lru_cache(maxsize=64)
def _network(widths: tuple[int, ...], activations: Activations, dtype: np.dtype[Any]) -> Network:
    """Make a network, or take the one made before: its layout is worked out once."""
    return Network(widths, activations, dtype)


def check_activation(activation: Any, n_hidden: int) -> Activations:
    """Bring the parameter activation to one for each hidden layer.

    Raises
    ------
    ValueError
        If it is none, or if a sequence has not one for each layer.
    """
    if isinstance(activation, str | Activation):
        activations = (activation,) * n_hidden
    elif np.iterable(activation) and not isinstance(activation, Set | Mapping):
        activations = tuple(activation)
        if len(activations) != n_hidden:
            raise ValueError(
                f"activation must name one for all hidden layers or one for each, and names "
                f"{len(activations)} for {n_hidden}."
            )
    else:
        activations = (activation,)
    # NumPy's strings become Python's own.
    activations = tuple(str(each) if isinstance(each, str) else each for each in activations)
    for layer, each in enumerate(activations):
        if not isinstance(each, Activation) and not (isinstance(each, str) and each in ACTIVATIONS):
            where = "" if isinstance(activation, str) else f" for hidden layer {layer + 1}"
            raise ValueError(
                f"activation must be one of {list(ACTIVATIONS)}, or a fastmlp.Activation, got "
                f"{each!r}{where}."
            )
    return activations


def check_finite(coefs: Any, intercepts: Any) -> None:
    """Check ``coefs_`` and ``intercepts_`` for what explains a result that is not finite.

    Raises
    ------
    ValueError
        If one is NaN or infinite.
    """
    for name, arrays in (("coefs_", coefs), ("intercepts_", intercepts)):
        for layer, array in enumerate(arrays):
            if not np.isfinite(array).all():
                raise ValueError(f"{name}[{layer}] contains NaN or infinity.")


def check_parameters(coefs: Any, intercepts: Any, n_features: int) -> Weights:
    """Check that ``coefs_`` and ``intercepts_`` make a network, because users may edit them.

    Parameters
    ----------
    coefs : sequence of array-like of shape (fan_in, fan_out)
        The weights.
    intercepts : sequence of array-like of shape (fan_out,)
        The biases.
    n_features : int
        The width of the input.

    Returns
    -------
    Weights
        The same in arrays.

    Raises
    ------
    ValueError
        If the shapes do not follow from one another, or do not end in one unit.
    """
    coefs = [np.asarray(weights) for weights in coefs]
    intercepts = [np.asarray(bias) for bias in intercepts]
    if not coefs or len(coefs) != len(intercepts):
        raise ValueError(
            f"coefs_ and intercepts_ must hold an array for each layer, but hold {len(coefs)} and "
            f"{len(intercepts)}."
        )
    for layer, (weights, bias) in enumerate(zip(coefs, intercepts, strict=True)):
        if weights.dtype.kind not in "fiub" or bias.dtype.kind not in "fiub":
            raise ValueError(f"coefs_[{layer}] and intercepts_[{layer}] must hold real numbers.")
        if weights.ndim != 2 or bias.shape != weights.shape[1:]:
            raise ValueError(
                f"coefs_[{layer}] has shape {weights.shape} and intercepts_[{layer}] has shape "
                f"{bias.shape}, but they must be (fan_in, fan_out) and (fan_out,)."
            )
    widths = (n_features, *(weights.shape[1] for weights in coefs))
    for layer, (weights, shape) in enumerate(zip(coefs, pairwise(widths), strict=True)):
        if weights.shape != shape:
            raise ValueError(f"coefs_[{layer}] has shape {weights.shape} in place of {shape}.")
    if widths[-1] != 1:
        raise ValueError(f"The last of coefs_ must have one column, but has {widths[-1]}.")
    return Weights(coefs, intercepts, widths)
