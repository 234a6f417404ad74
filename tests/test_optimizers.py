"""One update of the parameters in place: SGD, momentum, Nesterov and Adam, against the twin."""

import numpy as np
import pytest
from guards import Guarded, check_unchanged
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import adam_step, gradient_descent_step, sgd_step

from fastmlp.engine import Optimizer
from fastmlp.kernels.jit import kernel
from fastmlp.kernels.optimizers import ADAM, N_CONSTANTS, NESTEROV, NONE, SGD, update

DTYPES = (np.float32, np.float64)


@kernel
def update_from_compiled(code, count, w, m, v, g, alpha, scale, rate, constants, size):
    update(code, count, w, m, v, g, alpha, scale, rate, constants, size)


def run(code, arrays, alpha, scale, rate, optimizer, kernel=update):
    """The arrays (w, m, v, g) after one update between guards."""
    dtype = arrays[0].dtype.type
    constants = np.array(optimizer.constants(np.dtype(dtype)))
    assert len(constants) == N_CONSTANTS
    w, m, v, g = guarded = [Guarded(x, shift=k) for k, x in enumerate(arrays)]
    kernel(
        code, w.array.size, *(x.address for x in guarded),
        alpha, scale, rate, constants, np.dtype(dtype).itemsize,
    )  # fmt: skip
    check_unchanged(g)
    if code != ADAM:
        check_unchanged(v)
    if code == NONE:
        check_unchanged(w, m)
    for x in guarded:
        x.check_all_but_the_array()
    return [x.array[0] for x in (w, m, v)]


def state(seed, count, dtype):
    rng = np.random.RandomState(seed)
    w, m, g = (rng.randn(count).astype(dtype) for _ in range(3))
    return w, m, (rng.rand(count) ** 2).astype(dtype), g


settings_of_a_step = {
    "seed": st.integers(0, 2**32 - 1),
    "blocks": st.integers(0, 9),
    "alpha": st.sampled_from([0.0, 1e-4, 0.5]),
    "total": st.integers(1, 400),
    "rate": st.sampled_from([1e-3, 0.1, 2.0]),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [update, update_from_compiled])
@pytest.mark.parametrize("nesterov", [False, True])
@settings(max_examples=25, deadline=None, derandomize=True)
@given(momentum=st.sampled_from([0.0, 0.5, 0.9, 1.0]), **settings_of_a_step)
def test_sgd(dtype, kernel, nesterov, momentum, seed, blocks, alpha, total, rate):
    w, velocity, other, g = state(seed, 16 * blocks, dtype)
    optimizer = Optimizer("sgd", momentum=momentum, nesterov=nesterov)
    code = NESTEROV if nesterov else SGD
    new = run(code, (w, velocity, other, g), alpha, 1 / total, rate, optimizer, kernel)
    gradient = (g + alpha * w.astype(np.float64)) / total
    expected = sgd_step(w.astype(np.float64), gradient, velocity, rate, momentum, nesterov)
    eps = np.finfo(dtype).eps
    for array, twin in zip(new, expected, strict=False):
        np.testing.assert_allclose(array, twin, rtol=8 * eps, atol=20 * eps)
    # Without momentum, and from rest, both are plain gradient descent (N4).
    if momentum == 0:
        plain = gradient_descent_step(w.astype(np.float64), gradient, rate)
        np.testing.assert_allclose(new[0], plain, rtol=8 * eps, atol=20 * eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kernel", [update, update_from_compiled])
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    step=st.sampled_from([1, 2, 10, 1000]),
    betas=st.sampled_from([(0.9, 0.999), (0.0, 0.0), (0.5, 0.9)]),
    epsilon=st.sampled_from([1e-8, 1e-3]),
    **settings_of_a_step,
)
def test_adam(dtype, kernel, step, betas, epsilon, seed, blocks, alpha, total, rate):
    w, first, second, g = state(seed, 16 * blocks, dtype)
    optimizer = Optimizer("adam", beta_1=betas[0], beta_2=betas[1], epsilon=epsilon)
    corrected = optimizer.rates(rate, np.array([step]))[0]
    new = run(ADAM, (w, first, second, g), alpha, 1 / total, corrected, optimizer, kernel)
    gradient = (g + alpha * w.astype(np.float64)) / total
    expected = adam_step(
        w.astype(np.float64), gradient, first, second, step, rate, *betas, epsilon
    )  # fmt: skip
    eps = np.finfo(dtype).eps
    moved = np.abs(expected[0] - w).max(initial=1)
    for array, twin in zip(new, expected, strict=True):
        np.testing.assert_allclose(array, twin, rtol=16 * eps, atol=16 * eps * moved)


def test_bias_correction_counts_updates():
    optimizer = Optimizer("adam")
    rates = optimizer.rates(0.01, np.arange(5, 8))
    expected = [0.01 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) for t in (5, 6, 7)]
    np.testing.assert_allclose(rates, expected, rtol=1e-14)
    np.testing.assert_array_equal(Optimizer("sgd").rates(0.01, np.arange(5, 8)), 0.01)


def test_codes_and_number_of_moments():
    assert (Optimizer("adam").code, Optimizer("adam").n_moments) == (ADAM, 2)
    assert (Optimizer("sgd").code, Optimizer("sgd").n_moments) == (NESTEROV, 1)
    assert Optimizer("sgd", nesterov=False).code == SGD


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_update_writes_nothing(dtype):
    run(NONE, state(0, 32, dtype), 0.1, 1.0, 1.0, Optimizer())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("code", [SGD, NESTEROV, ADAM])
def test_zeros_stay_zeros(dtype, code):
    # What padding relies on.
    new = run(code, [np.zeros(48, dtype)] * 4, 0.1, 0.01, 1.0, Optimizer())
    for array in new:
        np.testing.assert_array_equal(array, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("epsilon", [1e-30, 1e-50, 1e-300])
def test_zeros_stay_zeros_however_small_epsilon_is(dtype, epsilon):
    # 1e-50 is 0 in float32.
    new = run(ADAM, [np.zeros(16, dtype)] * 4, 0.1, 0.01, 1.0, Optimizer(epsilon=epsilon))
    for array in new:
        np.testing.assert_array_equal(array, 0)
    w, m, v, g = state(0, 16, dtype)
    w = run(ADAM, (w, m, v, g), 0.1, 0.01, 0.1, Optimizer(epsilon=epsilon))[0]
    np.testing.assert_array_equal(
        w, run(ADAM, state(0, 16, dtype), 0.1, 0.01, 0.1, Optimizer(epsilon=1e-37))[0]
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("code", [SGD, NESTEROV, ADAM])
def test_nan_in_a_gradient_reaches_its_weight_alone(dtype, code):
    w, m, v, g = state(1, 48, dtype)
    g[17] = np.nan
    new = run(code, (w, m, v, g), 0.1, 1.0, 0.1, Optimizer())[0]
    np.testing.assert_array_equal(np.isnan(new), np.arange(48) == 17)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounded_constants_of_adam(dtype):
    # 1 − β₂ is rounded once: from the float32 0.999 it would be 5e-5 off.
    g = np.ones(16, dtype)
    _, first, second = run(
        ADAM, [np.zeros(16, dtype)] * 3 + [g], 0.0, 1.0, 0.0, Optimizer()
    )  # fmt: skip
    np.testing.assert_allclose(first, 1 - 0.9, rtol=np.finfo(dtype).eps)
    np.testing.assert_allclose(second, 1 - 0.999, rtol=np.finfo(dtype).eps)
