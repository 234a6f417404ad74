"""Which update an optimizer makes, with which constants and rates."""

import numpy as np
import pytest

from fastmlp.kernels.updates import CONSTANTS, adam, nesterov, sgd
from fastmlp.network.optimizer import Optimizer

DTYPES = (np.float32, np.float64)


def test_bias_correction_counts_updates():
    optimizer = Optimizer("adam")
    rates = optimizer.rates(0.01, np.arange(5, 8))
    expected = [0.01 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) for t in (5, 6, 7)]
    np.testing.assert_allclose(rates, expected, rtol=1e-14)
    np.testing.assert_array_equal(Optimizer("sgd").rates(0.01, np.arange(5, 8)), 0.01)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pieces_and_number_of_moments(dtype):
    for optimizer, piece, n_moments in (
        (Optimizer("adam"), adam, 2),
        (Optimizer("sgd"), nesterov, 1),
        (Optimizer("sgd", nesterov=False), sgd, 1),
        (Optimizer("sgd", momentum=0.0), sgd, 1),
    ):
        update = optimizer.update(np.dtype(dtype), 0.25)
        assert update.piece is piece
        assert update.alpha == 0.25
        assert optimizer.n_moments == n_moments


@pytest.mark.parametrize("dtype", DTYPES)
def test_constants_by_name(dtype):
    optimizer = Optimizer(momentum=0.5, beta_1=0.75, beta_2=0.875, epsilon=1e-3)
    constants = optimizer.update(np.dtype(dtype), 0.0).constants
    assert dict(zip(CONSTANTS, constants, strict=True)) == {
        "momentum": 0.5, "beta_1": 0.75, "rest_1": 0.25, "beta_2": 0.875, "rest_2": 0.125,
        "epsilon": 1e-3,
    }  # fmt: skip
    assert {type(x) for x in constants} == {float}


@pytest.mark.parametrize("dtype", DTYPES)
def test_epsilon_is_a_normal_number_of_the_type(dtype):
    constants = Optimizer(epsilon=1e-320).update(np.dtype(dtype), 0.0).constants
    assert constants[-1] == np.finfo(dtype).tiny
    assert dtype(constants[-1]) > 0


def test_updates_of_equal_optimizers_are_equal():
    # Programs are kept by the update that they make.
    one, other = (Optimizer().update(np.dtype("float32"), 1e-4) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != Optimizer(beta_1=0.8).update(np.dtype("float32"), 1e-4)
