"""The naive twin is right: its two halves agree, and its gradients agree with two oracles."""

from itertools import pairwise

import numpy as np
import pytest
from naive import (
    adam_step,
    cross_entropy_row,
    finite_differences,
    forward,
    forward_row,
    gradient_descent_step,
    gradients_row,
    jacobian_chain_row,
    loss_and_gradients,
    loss_row,
    sgd_step,
    sigmoid,
)

ACTIVATIONS = ("identity", "logistic", "tanh", "relu")


def network(widths, seed=0):
    rng = np.random.RandomState(seed)
    coefs = [rng.randn(a, b) / np.sqrt(a) for a, b in pairwise(widths)]
    return coefs, [rng.randn(b) / 2 for b in widths[1:]]


def relative_error(left, right):
    arrays = list(zip([*left[0], *left[1]], [*right[0], *right[1]], strict=True))
    largest = max(abs(b).max() for _, b in arrays)
    return max(abs(a - b).max() for a, b in arrays) / largest


@pytest.mark.parametrize("widths", [(3, 1), (3, 4, 1), (4, 3, 5, 2, 1)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("y", [0, 1])
def test_gradients_of_a_row_agree_with_both_oracles(widths, activation, y):
    parameters = network(widths)
    activations = (activation,) * (len(widths) - 2)
    x = np.random.RandomState(1).randn(widths[0])
    gradients = gradients_row(x, y, *parameters, activations)
    chain = jacobian_chain_row(x, y, *parameters, activations)
    differences = finite_differences(
        lambda coefs, intercepts: loss_row(x, y, coefs, intercepts, activations), *parameters
    )
    assert relative_error(gradients, chain) < 1e-12
    assert relative_error(gradients, differences) < 1e-6


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_minibatch_is_the_weighted_mean_of_its_rows(activation, weighted):
    widths, alpha = (4, 5, 3, 1), 0.3
    coefs, intercepts = network(widths)
    activations = (activation,) * 2
    rng = np.random.RandomState(2)
    X, y = rng.randn(6, 4), np.array([0, 1, 1, 0, 1, 0])
    weight = rng.rand(6) if weighted else np.ones(6)
    loss, (coef_gradients, bias_gradients) = loss_and_gradients(
        X, y, weight if weighted else None, coefs, intercepts, activations, alpha
    )
    z, layers = forward(X, coefs, intercepts, activations)
    total, expected = weight.sum(), 0.5 * alpha * sum((c**2).sum() for c in coefs)
    sums = [alpha * c for c in coefs], [np.zeros_like(b) for b in intercepts]
    for i in range(6):
        zs, row_layers = forward_row(X[i], coefs, intercepts, activations)
        np.testing.assert_allclose(zs[-1], z[i])
        np.testing.assert_allclose(row_layers[-1], layers[-1][i])
        expected += weight[i] * cross_entropy_row(y[i], row_layers[-1][0])
        gradients = gradients_row(X[i], y[i], coefs, intercepts, activations)
        for k in range(3):
            sums[0][k] += weight[i] * gradients[0][k]
            sums[1][k] += weight[i] * gradients[1][k]
    assert loss == pytest.approx(expected / total, rel=1e-12)
    means = [s / total for s in sums[0]], [s / total for s in sums[1]]
    assert relative_error((coef_gradients, bias_gradients), means) < 1e-12


def test_sigmoid_at_its_ends():
    z = np.array([-1000.0, -30.0, 0.0, 30.0, 1000.0])
    np.testing.assert_allclose(sigmoid(z), [0, np.exp(-30.0), 0.5, 1, 1], atol=1e-13)


def test_steps_by_hand():
    assert gradient_descent_step(1.0, 0.5, 0.1) == 0.95
    parameter, velocity = sgd_step(1.0, 0.5, 0.2, 0.1, 0.9, nesterov=False)
    assert (parameter, velocity) == pytest.approx((1.13, 0.13))
    parameter, velocity = sgd_step(1.0, 0.5, 0.2, 0.1, 0.9, nesterov=True)
    assert (parameter, velocity) == pytest.approx((1.0 + 0.9 * 0.13 - 0.05, 0.13))
    # Adam's first step is the rate in the direction of the gradient's sign.
    parameter, first, second = adam_step(1.0, 0.5, 0.0, 0.0, 1, 0.01, 0.9, 0.999, 1e-12)
    assert (parameter, first, second) == pytest.approx((0.99, 0.05, 0.00025))
