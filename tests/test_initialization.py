import numpy as np
import pytest

from fastmlp.training.initialization import LAYER_RULES, initial_parameters

WIDTHS = (300, 200, 1)


def draw(weight_init, activation="relu", widths=WIDTHS, dtype="float64", seed=0):
    activations = (activation,) * (len(widths) - 1)
    rng = np.random.RandomState(seed)
    return initial_parameters(weight_init, widths, activations, np.dtype(dtype), rng)


@pytest.mark.parametrize("weight_init", LAYER_RULES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_shapes_and_dtype(weight_init, dtype):
    coefs, intercepts = draw(weight_init, dtype=dtype)
    assert [c.shape for c in coefs] == [(300, 200), (200, 1)]
    assert [b.shape for b in intercepts] == [(200,), (1,)]
    assert all(a.dtype == dtype for a in (*coefs, *intercepts))


@pytest.mark.parametrize(("activation", "factor"), [("relu", 6), ("tanh", 6), ("logistic", 2)])
def test_glorot_uniform_draws_what_scikit_learn_draws(activation, factor):
    coefs, intercepts = draw("glorot_uniform", activation, seed=3)
    rng = np.random.RandomState(3)
    for weights, bias in zip(coefs, intercepts, strict=True):
        bound = np.sqrt(factor / sum(weights.shape))
        np.testing.assert_array_equal(weights, rng.uniform(-bound, bound, weights.shape))
        np.testing.assert_array_equal(bias, rng.uniform(-bound, bound, bias.shape))


def test_float32_is_the_float64_draw_rounded():
    single, double = draw("glorot_uniform", dtype="float32"), draw("glorot_uniform")
    np.testing.assert_array_equal(single[0][0], double[0][0].astype(np.float32))


@pytest.mark.parametrize(
    ("weight_init", "variance"),
    [
        ("glorot_normal", 2 / 500),  # N3
        ("he_normal", 2 / 300),
        ("he_uniform", 2 / 300),
        ("glorot_uniform", 2 / 500),
    ],
)
def test_variance_of_the_weights(weight_init, variance):
    weights = draw(weight_init)[0][0]
    # The standard error of the variance of 60,000 draws is below 0.6%.
    assert weights.var() == pytest.approx(variance, rel=0.03)
    assert abs(weights.mean()) < 4 * np.sqrt(variance / weights.size)


def test_normal_and_uniform_differ_in_shape():
    uniform, normal = draw("he_uniform")[0][0], draw("he_normal")[0][0]
    assert abs(uniform).max() <= np.sqrt(6 / 300)
    assert abs(normal).max() > np.sqrt(6 / 300)


@pytest.mark.parametrize("weight_init", ["glorot_normal", "he_normal", "he_uniform"])
def test_biases_start_at_zero(weight_init):
    assert not any(bias.any() for bias in draw(weight_init)[1])


def test_each_layer_needs_an_activation():
    rng = np.random.RandomState(0)
    with pytest.raises(ValueError, match="zip"):
        initial_parameters("he_normal", (3, 2, 1), ("relu",), np.dtype("f8"), rng)
