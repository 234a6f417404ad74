"""Activations that scikit-learn does not have, and any that a user compiles (N5)."""

import copy
import math
import pickle
from collections import deque
from itertools import pairwise

import numba
import numpy as np
import pandas as pd
import pytest
from compiled import call, filled
from data import quietly, two_classes
from guards import Panels
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import finite_differences
from scipy import sparse
from scipy.special import erfcx, expit, log_ndtr
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from fastmlp import Activation, MLPBinaryClassifier
from fastmlp.data.rows import as_rows
from fastmlp.kernels import own_activation
from fastmlp.kernels.activations import ACTIVATIONS, SELU_ALPHA, SELU_SCALE
from fastmlp.kernels.layer import layer_record
from fastmlp.network.layout import Network
from fastmlp.network.regularisation import Regularisation
from fastmlp.network.session import Optimizer, Session

DTYPES = (np.float32, np.float64)


@numba.njit
def wave(z):
    """z + sin(z) / 2: no bound, and another slope everywhere."""
    return z + 0.5 * math.sin(z)


@numba.njit
def wave_slope(z):
    return 1.0 + 0.5 * math.cos(z)


@numba.njit
def bump(z):
    return math.exp(-z * z)


@numba.njit
def bump_slope(z):
    return -2.0 * z * math.exp(-z * z)


WAVE, BUMP = Activation(wave, wave_slope), Activation(bump, bump_slope)


def phi(z):
    return np.exp(-z * z / 2) / np.sqrt(2 * np.pi)


def cdf(z):
    return np.exp(log_ndtr(z))


def gelu_tanh(z):
    return z * expit(2 * np.sqrt(2 / np.pi) * (z + 0.044715 * z**3))


def gelu_tanh_slope(z):
    twice_u = 2 * np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)
    s = expit(twice_u)
    return s + z * s * expit(-twice_u) * 2 * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * z**2)


def mish_slope(z):
    t = np.tanh(np.logaddexp(0, z))
    return t + z * (1 - t * t) * expit(z)


def below(z):
    return np.expm1(np.minimum(z, 0))


#: g and g′ in NumPy and SciPy.
FORMULAS = {
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1.0, 0.01)),
    "elu": (lambda z: np.where(z > 0, z, below(z)), lambda z: np.exp(np.minimum(z, 0))),
    "selu": (
        lambda z: SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * below(z)),
        lambda z: SELU_SCALE * np.where(z > 0, 1.0, SELU_ALPHA * np.exp(np.minimum(z, 0))),
    ),
    "softplus": (lambda z: np.logaddexp(0, z), expit),
    "silu": (lambda z: z * expit(z), lambda z: expit(z) * (1 + z * expit(-z))),
    "gelu": (lambda z: z * cdf(z), lambda z: cdf(z) + z * phi(z)),
    "gelu_tanh": (gelu_tanh, gelu_tanh_slope),
    "mish": (lambda z: z * np.tanh(np.logaddexp(0, z)), mish_slope),
    WAVE: (lambda z: z + 0.5 * np.sin(z), lambda z: 1 + 0.5 * np.cos(z)),
    BUMP: (lambda z: np.exp(-z * z), lambda z: -2 * z * np.exp(-z * z)),
}
NAMES = [name for name in FORMULAS if isinstance(name, str)]
every_one = pytest.mark.parametrize("activation", FORMULAS, ids=str)


def test_all_are_there():
    assert set(ACTIVATIONS) == {"identity", "logistic", "tanh", "relu", *NAMES}


def kernels(activation):
    return ACTIVATIONS[activation] if isinstance(activation, str) else activation.kernels()


def apply(activation, z):
    """g(z) and g′(z), as a step writes them into the second of two blocks."""
    a = Panels(np.stack([z, z]), gap=1, shift=1)
    delta = Panels(np.full_like(np.stack([z, z]), np.nan), gap=2)
    record = filled(layer_record(z.dtype.name), n_out=z.shape[1], a=a, delta=delta)
    call(kernels(activation).apply, record, at=1, first=3, rows=len(z))
    a.check(slice(len(z)), block=1)
    delta.check(slice(len(z)), block=1)
    return a.values[1], delta.values[1]


def grid(dtype):
    magnitudes = np.concatenate(
        [np.linspace(0, 12, 2401), np.logspace(-30, 4, 300), [0.0, np.finfo(dtype).tiny, 38.0]]
    )
    return np.resize(np.concatenate([magnitudes, -magnitudes]), (340, 16)).astype(dtype)


@every_one
@pytest.mark.parametrize("dtype", DTYPES)
def test_g_and_its_derivative(activation, dtype):
    z = grid(dtype)
    a, slope = apply(activation, z)
    exact = z.astype(float)
    for ours, formula in zip((a, slope), FORMULAS[activation], strict=True):
        expected = formula(exact)
        bound = 8 * np.finfo(dtype).eps * np.maximum(np.abs(expected), np.minimum(1, np.abs(exact)))
        assert (np.abs(ours - expected) <= bound + 8 * np.finfo(dtype).eps * (ours is slope)).all()


@pytest.mark.parametrize("activation", NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_ends(activation, dtype):
    """Far out, g is linear or constant, g′ too, and NaN stays NaN."""
    z = np.array([[3e4, -3e4, 1e30, -1e30, np.nan, 0.0, -0.0, 1e-40]], dtype)
    a, slope = (values[0] for values in apply(activation, z))
    assert np.isnan(a[4])
    assert np.isnan(slope[4]) or activation == "leaky_relu"
    rest = np.delete(np.arange(8), 4)
    assert np.isfinite(a[rest]).all()
    assert np.isfinite(slope[rest]).all()
    g, derivative = FORMULAS[activation]
    far = np.array([3e4, -3e4])
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(a[:2], g(far), rtol=1e-6, atol=1e-30)
        np.testing.assert_allclose(slope[:2], derivative(far), rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_tail_of_gelu_keeps_its_precision(dtype):
    lowest = -12.0 if dtype is np.float32 else -37.0
    z = np.linspace(lowest, 0, 1600).reshape(-1, 16).astype(dtype)
    a, _ = apply("gelu", z)
    wide = z.astype(np.longdouble)
    e = np.exp(-wide * wide / 2).astype(float)
    expected = z * 0.5 * e * erfcx(-z.astype(float) / math.sqrt(2))
    np.testing.assert_allclose(a, expected, rtol=16 * np.finfo(dtype).eps)


@pytest.mark.parametrize("activation", NAMES)
def test_torch(activation):
    torch = pytest.importorskip("torch")
    functions = {
        "leaky_relu": torch.nn.LeakyReLU(),
        "elu": torch.nn.ELU(),
        "selu": torch.nn.SELU(),
        "softplus": torch.nn.Softplus(threshold=1000),
        "silu": torch.nn.SiLU(),
        "gelu": torch.nn.GELU(),
        "gelu_tanh": torch.nn.GELU(approximate="tanh"),
        "mish": torch.nn.Mish(),
    }
    z = np.linspace(-15, 15, 3200).reshape(-1, 16)
    tensor = torch.tensor(z, requires_grad=True)
    value = functions[activation](tensor)
    value.sum().backward()
    a, slope = apply(activation, z)
    np.testing.assert_allclose(a, value.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(slope, tensor.grad.numpy(), rtol=1e-9, atol=1e-11)


# --- networks -------------------------------------------------------------------------------------


def loss_of(X, y, activations):
    def loss(coefs, intercepts):
        a = X
        for k, (W, b) in enumerate(zip(coefs, intercepts, strict=True)):
            z = a @ W + b
            a = G[activations[k]](z) if k < len(coefs) - 1 else z
        z = a[:, 0]
        return (np.logaddexp(0, z) - z * y).mean()

    return loss


def problem(hidden, n=40):
    rng = np.random.RandomState(3)
    widths = (5, *hidden, 1)
    coefs = [rng.randn(*shape) / np.sqrt(shape[0]) for shape in pairwise(widths)]
    return widths, rng.randn(n, 5), rng.rand(n) < 0.4, coefs, [rng.randn(k) / 2 for k in widths[1:]]


@every_one
@pytest.mark.parametrize("hidden", [(19, 17), (1,), (16, 33, 16)])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_gradients_of_networks(activation, hidden, kind):
    widths, X, y, coefs, intercepts = problem(hidden)
    activations = (activation,) * len(hidden)
    session = Session(Network(widths, activations, np.dtype(np.float64)), 1)
    session.set_parameters(coefs, intercepts)
    rows = as_rows(kind(X), np.float64)
    session.prepare(rows, y, None, len(X), alpha=0.0, optimizer=Optimizer())
    value, gradients = session.loss_and_gradient()
    loss = loss_of(X, y, activations)
    assert value == pytest.approx(loss(coefs, intercepts), rel=1e-12)
    exact = finite_differences(loss, coefs, intercepts)
    for ours, theirs in zip(gradients, exact, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


MIXED = ["gelu", "relu", WAVE, "tanh", "mish"]
G = {activation: g for activation, (g, _) in FORMULAS.items()}
G |= {"relu": lambda z: np.maximum(z, 0), "tanh": np.tanh}


def test_one_a_layer():
    hidden = (9, 8, 7, 6, 5)
    widths, X, y, coefs, intercepts = problem(hidden)
    session = Session(Network(widths, tuple(MIXED), np.dtype(np.float64)), 1)
    session.set_parameters(coefs, intercepts)
    session.prepare(as_rows(X, np.float64), y, None, len(X), alpha=0.0, optimizer=Optimizer())
    _, gradients = session.loss_and_gradient()
    exact = finite_differences(loss_of(X, y, MIXED), coefs, intercepts)
    for ours, theirs in zip(gradients, exact, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


DATA, LABELS = two_classes(400, 9)
SETTINGS = {"hidden_layer_sizes": (70, 60), "max_iter": 3, "random_state": 0, "batch_size": 200}


def weights(model):
    return [array.tobytes() for array in (*model.coefs_, *model.intercepts_)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ["gelu", WAVE, ["softplus", BUMP]], ids=str)
def test_bits_on_any_number_of_threads(activation, dtype):
    X = DATA.astype(dtype)
    models = [
        quietly(MLPBinaryClassifier(**SETTINGS, activation=activation, n_threads=n).fit, X, LABELS)
        for n in (1, 2, 5)
    ]
    assert weights(models[0]) == weights(models[1]) == weights(models[2])
    probabilities = [model.predict_proba(X).tobytes() for model in models]
    assert probabilities[0] == probabilities[1] == probabilities[2]


@pytest.mark.parametrize("activation", ["selu", WAVE], ids=str)
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_predictions_are_those_of_the_formula(activation, solver):
    model = MLPBinaryClassifier(**SETTINGS, activation=activation, solver=solver)
    quietly(model.fit, DATA, LABELS)
    a = DATA
    for W, b in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
        a = FORMULAS[activation][0](a @ W + b)
    expected = (a @ model.coefs_[-1] + model.intercepts_[-1])[:, 0]
    np.testing.assert_allclose(model.decision_function(DATA), expected, rtol=1e-9, atol=1e-10)
    gradient, h = model.input_gradient(DATA[:5]), 1e-5
    steps = h * np.eye(9)
    difference = [
        model.decision_function(DATA[:5] + s) - model.decision_function(DATA[:5] - s) for s in steps
    ]
    np.testing.assert_allclose(gradient, np.transpose(difference) / (2 * h), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", [list, tuple, deque, np.array, pd.Series])
def test_a_sequence_of_the_same_is_that_one(kind):
    activation = kind(["relu", "relu"])
    model = quietly(MLPBinaryClassifier(**SETTINGS, activation=activation).fit, DATA, LABELS)
    assert repr(clone(model).activation) == repr(activation)
    assert model.to_sklearn().activation == "relu"
    one = quietly(MLPBinaryClassifier(**SETTINGS, activation="relu").fit, DATA, LABELS)
    assert weights(model) == weights(one)


def test_an_own_relu_is_the_built_in_one():
    @numba.njit
    def relu(z):
        return max(0.0, z)

    @numba.njit
    def step(z):
        return 1.0 if z > 0 else 0.0

    own = MLPBinaryClassifier(**SETTINGS, activation=Activation(relu, step))
    built_in = MLPBinaryClassifier(**SETTINGS, activation="relu")
    assert weights(quietly(own.fit, DATA, LABELS)) == weights(quietly(built_in.fit, DATA, LABELS))


def test_the_activation_can_change_between_calls():
    model = MLPBinaryClassifier(**SETTINGS).partial_fit(DATA, LABELS, classes=[0, 1])
    before = model.predict_proba(DATA)
    model.set_params(activation=["elu", WAVE])
    assert not np.array_equal(model.predict_proba(DATA), before)
    model.partial_fit(DATA, LABELS)
    with pytest.raises(ValueError, match=r"names 3 for 2"):
        model.set_params(activation=["elu"] * 3).predict(DATA)


# --- activations of one's own ---------------------------------------------------------------------


def test_pickles_clones_and_equality():
    again = pickle.loads(pickle.dumps(WAVE))
    assert again == WAVE
    assert hash(again) == hash(WAVE)
    assert again != BUMP
    assert WAVE != "cubic"
    assert copy.deepcopy(WAVE) is WAVE
    assert repr(WAVE) == "Activation(wave, wave_slope)"
    model = quietly(MLPBinaryClassifier(**SETTINGS, activation=[WAVE, "tanh"]).fit, DATA, LABELS)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict_proba(DATA), model.predict_proba(DATA))
    assert clone(model).activation == [WAVE, "tanh"]


def test_in_processes_of_a_grid_search():
    grid = GridSearchCV(
        MLPBinaryClassifier((5,), max_iter=2, random_state=0),
        {"activation": [WAVE, "gelu"]}, cv=2, n_jobs=2,
    )  # fmt: skip
    quietly(grid.fit, DATA, LABELS)
    assert np.isfinite(grid.cv_results_["mean_test_score"]).all()


def test_two_of_the_same_name_are_two():
    def scaled(factor):
        @numba.njit
        def g(z):
            return factor * z

        @numba.njit
        def derivative(z):
            return factor

        return Activation(g, derivative)

    double, triple = scaled(2.0), scaled(3.0)
    z = np.linspace(-1, 1, 16).reshape(1, 16)
    for activation, factor in ((double, 2.0), (triple, 3.0)):
        a, slope = apply(activation, z)
        np.testing.assert_array_equal(a, factor * z)
        np.testing.assert_array_equal(slope, np.full_like(z, factor))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-50, 50), min_size=1, max_size=16))
def test_every_number_goes_through(numbers):
    z = np.resize(np.array(numbers), (1, 16))
    a, slope = apply(BUMP, z)
    np.testing.assert_allclose(a, np.exp(-z * z), rtol=1e-14, atol=1e-300)
    np.testing.assert_allclose(slope, -2 * z * np.exp(-z * z), rtol=1e-14, atol=1e-300)


def test_an_exception_counts_as_nan():
    @numba.njit
    def picky(z):
        if z > 1000.0:
            raise ValueError("too large")
        return z

    @numba.njit
    def one(z):
        return 1.0

    a, slope = apply(Activation(picky, one), np.array([[1.0, 2000.0] * 8]))
    np.testing.assert_array_equal(a[0], [1.0, np.nan] * 8)
    np.testing.assert_array_equal(np.isnan(slope[0]), [False, True] * 8)
    model = MLPBinaryClassifier((4,), activation=Activation(picky, one), max_iter=1)
    with pytest.raises(ValueError, match="diverged"):
        quietly(model.fit, DATA * 1e8, LABELS)


def test_two_threads_at_once_make_the_kernels_once(monkeypatch):
    activation = Activation(numba.njit(wave.py_func), numba.njit(wave_slope.py_func))
    applied, others = own_activation._applied, []

    def while_another(g, derivative):
        monkeypatch.setattr(own_activation, "_applied", applied)
        others.append(own_activation._shared_kernels(g, derivative))
        return applied(g, derivative)

    monkeypatch.setattr(own_activation, "_applied", while_another)
    assert activation.kernels() is others[0]


@numba.njit
def steep(z):
    return z * np.log(z * z)


@numba.njit
def steep_slope(z):
    return np.log(z * z) + 2  # for 0, as what pads a layer is, infinite; and g is NaN


@pytest.mark.parametrize("hidden", [(5,), (16,), (5, 3)])
def test_what_pads_a_layer_stays_out_of_everything(hidden):
    widths, X, y, coefs, intercepts = problem(hidden)
    activations = (Activation(steep, steep_slope),) * len(hidden)
    session = Session(Network(widths, activations, np.dtype(np.float64)), 1)
    session.set_parameters(coefs, intercepts)
    # Of the norm of all gradients, and of the L2 term, padding is a part.
    session.prepare(
        as_rows(X, np.float64), y, None, len(X), alpha=1e-3,
        optimizer=Optimizer("sgd", momentum=0.0),
        regularisation=Regularisation(max_grad_norm=1e9),
    )  # fmt: skip

    def loss_and_gradients(coefs, intercepts):
        zs, layers = [], [X]
        for W, b in zip(coefs, intercepts, strict=True):
            zs.append(layers[-1] @ W + b)
            layers.append(steep.py_func(zs[-1]))
        z = zs[-1][:, 0]
        penalty = sum((W**2).sum() for W in coefs) / len(X)
        delta, gradients = ((expit(z) - y) / len(X))[:, None], []
        for k in reversed(range(len(coefs))):
            gradients[:0] = [(layers[k].T @ delta + 1e-3 * coefs[k] / len(X), delta.sum(axis=0))]
            if k > 0:
                delta = (delta @ coefs[k].T) * steep_slope.py_func(zs[k - 1])
        return (np.logaddexp(0, z) - z * y).mean() + 0.5e-3 * penalty, gradients

    for _ in range(3):
        before = session.get_parameters()
        value = session.train_epoch(np.arange(len(X)), 1e-2)
        after = session.get_parameters()
        expected, gradients = loss_and_gradients(*before)
        assert value == pytest.approx(expected, rel=1e-12)
        for arrays, olds, theirs in zip(after, before, zip(*gradients, strict=True), strict=True):
            for new, old, gradient in zip(arrays, olds, theirs, strict=True):
                np.testing.assert_allclose(new, old - 1e-2 * gradient, rtol=1e-10, atol=1e-13)


@numba.njit
def fails(z):
    raise ValueError("never")


@numba.njit
def text(z):
    return "a"


@numba.njit
def root(z):
    return math.sqrt(z) if z >= 0 else math.nan


@numba.njit
def pair(z, w):
    return z + w


@pytest.mark.parametrize(
    ("g", "derivative", "error", "message"),
    [
        (np.tanh, bump_slope, TypeError, "g must be a function that numba.njit has compiled"),
        (lambda z: z, bump_slope, TypeError, "g must be a function that numba.njit has compiled"),
        (bump, np.tanh, TypeError, "derivative must be a function that numba.njit"),
        (bump, None, TypeError, "derivative must be a function that numba.njit"),
        (bump, wave_slope, ValueError, "derivative is not that of g: for z = "),
        (fails, bump_slope, TypeError, "g fails for z = .*never"),
        (bump, pair, TypeError, "derivative fails for z = "),
        (text, bump_slope, TypeError, "g must return a number, and returns str"),
        (root, bump_slope, ValueError, "g must be finite, and is nan for z = -"),
    ],
)
def test_what_makes_no_activation(g, derivative, error, message):
    with pytest.raises(error, match=message):
        Activation(g, derivative)


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        (["relu"], "names 1 for 2"),
        (["relu"] * 3, "names 3 for 2"),
        (["relu", "swish"], "got 'swish' for hidden layer 2"),
        (["relu", None], "got None for hidden layer 2"),
        (np.array(["relu", "swish"]), "got 'swish' for hidden layer 2"),
        (np.array(["relu"] * 3), "names 3 for 2"),
        (np.array("relu"), "activation must be one of"),
        (np.array([["relu"], ["tanh"]]), "activation must be one of .* for hidden layer 1"),
        (np.array([1.0, 2.0]), "activation must be one of .* for hidden layer 1"),
        ({"relu", "tanh"}, "activation must be one of"),  # in which order?
        ([], "names 0 for 2"),
        ("swish", "activation"),
        (wave, "activation"),
        (None, "activation"),
        (7, "activation"),
    ],
)
def test_bad_activations(activation, message):
    with pytest.raises(ValueError, match=message):
        MLPBinaryClassifier(**SETTINGS, activation=activation).fit(DATA, LABELS)
