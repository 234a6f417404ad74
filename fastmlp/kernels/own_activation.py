"""Activations of a user's own: any differentiable g (N5), compiled into the step."""

from __future__ import annotations

import math
from typing import Any

from fastmlp.kernels.activations import ACTIVATIONS, Kernels
from fastmlp.kernels.piece import Piece
from fastmlp.kernels.simd.tile import TIMES
from fastmlp.kernels.simd.vector import PANEL
from fastmlp.kernels.views import part
from fastmlp.runtime.jit import by_address_in_process
from fastmlp.runtime.numba_internals import is_dispatcher

#: Where a derivative is held to finite differences: off the whole numbers and simple fractions, at
#: which kinks are likely. Half the step of the differences, and how far they may be off.
_GRID = tuple(-8.0137 + 0.0997 * k for k in range(161))
_STEP, _TOLERANCE = 1e-5, 1e-6


class Activation:
    """An activation function for hidden layers, made of two that Numba has compiled.

    The two become part of the training step. They are compiled for float32 or float64 when a
    network first needs them, in each process anew.

    Parameters
    ----------
    g : function compiled by numba.njit
        From a unit's input z, a number, to its output.
    derivative : function compiled by numba.njit
        g′, from the same z.

    Raises
    ------
    TypeError
        If one of them is not such a function, or does not take or return a number.
    ValueError
        If one gives no finite number for a z between −8 and 8, or if `derivative` is not that of g
        there, by central differences.

    Notes
    -----
    Where one of them raises an exception in training, its result counts as NaN.

    Two activations are equal if they are made of the same functions. They can be pickled, and so
    can what uses them, wherever the functions can: Numba pickles them by value.

    Examples
    --------
    >>> import numba
    >>> from fastmlp import Activation, MLPBinaryClassifier
    >>> @numba.njit
    ... def square(z):
    ...     return z * z
    >>> @numba.njit
    ... def slope(z):
    ...     return 2 * z
    >>> clf = MLPBinaryClassifier((20,), activation=Activation(square, slope))
    """

    def __init__(self, g: Any, derivative: Any) -> None:
        for name, function in (("g", g), ("derivative", derivative)):
            if not is_dispatcher(function):
                raise TypeError(
                    f"{name} must be a function that numba.njit has compiled, got {function!r}."
                )
        self._g, self._derivative = g, derivative
        self._kernels: Kernels | None = None
        self._check()

    @property
    def g(self) -> Any:
        """The function."""
        return self._g

    @property
    def derivative(self) -> Any:
        """Its derivative."""
        return self._derivative

    def __repr__(self) -> str:
        return f"Activation({self._g.__name__}, {self._derivative.__name__})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Activation):
            return NotImplemented
        return self._g is other._g and self._derivative is other._derivative

    def __hash__(self) -> int:
        return hash((self._g, self._derivative))

    def __copy__(self) -> Activation:
        return self

    def __deepcopy__(self, memo: Any) -> Activation:
        return self  # what never changes needs no copy

    def __reduce__(self) -> Any:
        return type(self), (self._g, self._derivative)

    def _check(self) -> None:
        for z in _GRID:
            slope = self._value("derivative", z)
            difference = self._value("g", z + _STEP) - self._value("g", z - _STEP)
            expected = difference / (2 * _STEP)
            if abs(slope - expected) > _TOLERANCE * max(1.0, abs(expected)):
                raise ValueError(
                    f"derivative is not that of g: for z = {z:.4g} it returns {slope:.6g}, and "
                    f"central differences of g give {expected:.6g}."
                )

    def _value(self, name: str, z: float) -> float:
        function = getattr(self, f"_{name}")
        try:
            value = function(z)
        except Exception as error:
            raise TypeError(f"{name} fails for z = {z:.4g}: {error}") from error
        if not isinstance(value, float | int):
            raise TypeError(f"{name} must return a number, and returns {type(value).__name__}.")
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, and is {value} for z = {z:.4g}.")
        return float(value)

    def kernels(self) -> Kernels:
        """How a network computes it; the same each time, because programs are known by it."""
        if self._kernels is None:
            self._kernels = _shared_kernels(self._g, self._derivative)
        return self._kernels


_kernels_of_own: dict[tuple[Any, Any], Kernels] = {}


def _shared_kernels(g: Any, derivative: Any) -> Kernels:
    """What is made of two functions, once."""
    key = (g, derivative)
    if key not in _kernels_of_own:
        made = Kernels(apply=OwnPiece(_applied(g, derivative), {}), ending=TIMES)
        # Of two threads, the first one's: programs know compiled code by its address alone.
        _kernels_of_own.setdefault(key, made)
    return _kernels_of_own[key]


def _applied(g: Any, derivative: Any) -> Any:
    """The step: a ← g(a), and g′ to where δ will be."""

    def apply_own(layer, at, first, rows, batch):
        a, delta = part(layer.a, at, 0, rows), part(layer.delta, at, 0, rows)
        for panel in range(a.shape[0]):
            for r in range(rows):
                for j in range(a.shape[2]):
                    z = a[panel, r, j]
                    try:
                        value, slope = g(z), derivative(z)
                    except Exception:
                        value, slope = math.nan, math.nan
                    a[panel, r, j] = value
                    delta[panel, r, j] = slope
        # Where g′ is not finite for z = 0, padding would no longer be 0.
        for column in range(layer.n_out, a.shape[0] * PANEL):
            delta[column // PANEL, :, column % PANEL] = 0

    return apply_own


class OwnPiece(Piece):
    """A piece of the user's own functions, whose compiled code is not kept on disk.

    What is kept there is known by its name and by this package's version.
    """

    def _compile(self, signature: Any) -> Any:
        return by_address_in_process(self.function, signature)


def kernels_of(activation: str | Activation) -> Kernels:
    """How a network computes an activation: one of `ACTIVATIONS` by name, or a user's own."""
    return ACTIVATIONS[activation] if isinstance(activation, str) else activation.kernels()
