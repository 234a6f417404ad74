"""The estimator's own behaviour, and for two classes what scikit-learn tests of its MLP."""

import doctest
import importlib.util
import inspect
import pickle
import pydoc
from typing import Self, get_type_hints

import numpy as np
import pytest
from data import assert_same_parameters, laid_out, quietly, two_classes
from naive import finite_differences, loss_and_gradients
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import MinMaxScaler, scale
from sklearn.utils._param_validation import InvalidParameterError

import fastmlp
from fastmlp import MLPBinaryClassifier
from fastmlp.data.rows import as_rows
from fastmlp.network.layout import Network
from fastmlp.network.session import Optimizer, Session

ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
X_DIGITS, Y_DIGITS = load_digits(n_class=2, return_X_y=True)
X_DIGITS = MinMaxScaler().fit_transform(X_DIGITS[:200])
Y_DIGITS = Y_DIGITS[:200]


def test_public_names():
    assert fastmlp.__all__ == [
        "Activation",
        "MLPBinaryClassifier",
        "TabularMLPBinaryClassifier",
        "TrainingCurveDisplay",
        "__version__",
    ]
    assert fastmlp.__version__ == "0.1.0"


def test_the_class_is_at_home_where_it_is_public():
    assert str(MLPBinaryClassifier) == "<class 'fastmlp.MLPBinaryClassifier'>"
    assert inspect.getmodule(MLPBinaryClassifier) is fastmlp
    assert "def fit" in inspect.getsource(MLPBinaryClassifier.fit)
    assert get_type_hints(MLPBinaryClassifier)["alpha"] is float
    assert get_type_hints(MLPBinaryClassifier.fit)["return"] is Self
    assert pydoc.render_doc(MLPBinaryClassifier).splitlines()[0].endswith("in module fastmlp")
    examples = [test for test in doctest.DocTestFinder().find(fastmlp) if test.examples]
    assert len(examples) == 4
    assert all(doctest.DocTestRunner().run(example).failed == 0 for example in examples)


def test_parameters_and_defaults_are_scikit_learns_and_more():
    ours = inspect.signature(MLPBinaryClassifier).parameters
    theirs = inspect.signature(MLPClassifier).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    for name, parameter in theirs.items():
        assert (ours[name].default, ours[name].kind) == (parameter.default, parameter.kind)
    own = list(ours)[len(theirs) :]
    assert {name: ours[name].default for name in own} == {
        "dtype": "auto",
        "weight_init": "glorot_uniform",
        "n_threads": None,
        "class_weight": None,
        "scoring": None,
        "warmup": 0.0,
        "dropout": 0.0,
        "input_dropout": 0.0,
        "weight_decay": 0.0,
        "ema_decay": None,
        "max_grad_norm": None,
        "label_smoothing": 0.0,
        "n_init": 1,
    }
    assert all(ours[name].kind is inspect.Parameter.KEYWORD_ONLY for name in own)


def test_public_methods_are_scikit_learns_and_own_ones():
    def methods(Class):
        return {name for name in dir(Class) if not name.startswith("_")}

    own = {"decision_function", "input_gradient"}
    own |= {"to_sklearn", "from_sklearn", "to_onnx", "as_numba"}
    if importlib.util.find_spec("sklearn.callback"):
        own.add("set_callbacks")
    assert methods(MLPBinaryClassifier) == methods(MLPClassifier) | own
    fit = inspect.signature(MLPBinaryClassifier.fit).parameters
    assert list(fit)[:4] == list(inspect.signature(MLPClassifier.fit).parameters)
    assert list(fit)[4:] == ["X_val", "y_val", "sample_weight_val"]
    assert all(fit[name].kind is inspect.Parameter.KEYWORD_ONLY for name in list(fit)[4:])
    for name in ("partial_fit", "predict", "predict_proba", "predict_log_proba", "score"):
        assert list(inspect.signature(getattr(MLPBinaryClassifier, name)).parameters) == list(
            inspect.signature(getattr(MLPClassifier, name)).parameters
        )


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_fitted_attributes_are_scikit_learns_and_own_ones(solver, early_stopping):
    def public_attributes(Class):
        X, y = two_classes()
        model = Class(solver=solver, early_stopping=early_stopping, max_iter=2)
        quietly(model.fit, X, y)
        return {name for name in vars(model) if name.endswith("_") and not name.startswith("_")}

    own = {"init_scores_"}
    if solver != "lbfgs":
        own |= {"learning_rate_curve_", "validation_loss_curve_", "best_epoch_"}
    assert public_attributes(MLPBinaryClassifier) == public_attributes(MLPClassifier) | own


def test_values_of_the_simple_attributes():
    X, y = two_classes()
    model = quietly(MLPBinaryClassifier((4, 3), max_iter=2).fit, X, y)
    assert (model.n_layers_, model.n_outputs_, model.out_activation_) == (4, 1, "logistic")
    assert (model.n_iter_, model.t_, model.n_features_in_) == (2, 120, 6)
    assert model.best_loss_ == min(model.loss_curve_)
    assert model.validation_scores_ is None
    assert model.best_validation_score_ is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("labels", [(0, 1), (-1, 1), (2.0, 7.0), ("no", "yes"), (False, True)])
def test_outputs_belong_together(dtype, labels):
    X, y = two_classes(300, dtype=dtype)
    y = np.array(labels)[y]
    model = quietly(MLPBinaryClassifier(max_iter=20, random_state=0).fit, X, y)
    z, p, log_p = model.decision_function(X), model.predict_proba(X), model.predict_log_proba(X)
    assert z.dtype == p.dtype == log_p.dtype == dtype
    assert model.classes_.dtype == y.dtype
    assert model.predict(X).dtype == y.dtype
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(p[:, 1], 1 / (1 + np.exp(-z)), rtol=tolerance)
    np.testing.assert_allclose(np.log(p), log_p, rtol=tolerance)
    np.testing.assert_array_equal(model.predict(X), model.classes_[(p[:, 1] > 0.5).astype(int)])
    assert model.score(X, y) == np.mean(model.predict(X) == y)
    assert model.score(X, y) > 0.7


@pytest.mark.parametrize("kind", [object, "U7", "i1", "f4", "?"])
def test_classes_have_the_type_of_scikit_learns(kind):
    X, y = two_classes()
    labels = np.array(["no", "yes"]) if kind in (object, "U7") else np.array([0, 1])
    y = labels.astype(kind)[y]
    model = quietly(MLPBinaryClassifier((3,), max_iter=1).fit, X, y)
    theirs = quietly(MLPClassifier((3,), max_iter=1).fit, X, y)
    assert model.classes_.dtype == theirs.classes_.dtype
    assert model.predict(X).dtype == theirs.predict(X).dtype
    first = quietly(MLPBinaryClassifier((3,)).partial_fit, X, y, classes=np.unique(y))
    assert first.classes_.dtype == model.classes_.dtype


@pytest.mark.parametrize(
    "setting",
    [
        {"epsilon": np.longdouble(1e-8)},
        {"beta_1": np.longdouble(0.9)},
        {"learning_rate_init": np.longdouble(0.01)},
        {"solver": "sgd", "momentum": np.float32(0.5)},
        {"solver": "sgd", "learning_rate_init": np.longdouble(0.1)},
        {"alpha": np.longdouble(1e-3)},
        {"alpha": 1},
    ],
    ids=str,
)
def test_settings_may_be_numbers_of_any_type(setting):
    X, y = two_classes()
    model = quietly(MLPBinaryClassifier((3,), max_iter=2, random_state=0, **setting).fit, X, y)
    plain = {
        name: value if isinstance(value, str) else float(value) for name, value in setting.items()
    }
    expected = quietly(MLPBinaryClassifier((3,), max_iter=2, random_state=0, **plain).fit, X, y)
    np.testing.assert_allclose(model.coefs_[0], expected.coefs_[0], rtol=1e-12)


def test_log_probabilities_of_a_saturated_network_are_finite():
    X, y = two_classes()
    model = quietly(MLPBinaryClassifier((), max_iter=1).fit, X, y)
    model.coefs_[0][:] = 0
    model.intercepts_[0][:] = -700
    np.testing.assert_allclose(model.predict_log_proba(X[:1]), [[0, -700]], atol=1e-300)
    model.intercepts_[0][:] = 50
    log_p = model.predict_log_proba(X[:1])
    np.testing.assert_allclose(log_p, [[-50, 0]], atol=1e-20)


# --- What scikit-learn tests through private attributes or more classes ---------------------------


def test_a_worked_example():
    """One step of gradient descent with two logistic units, worked out by hand."""
    X, y = np.array([[0.5, -1.0]]), np.array([1])
    model = MLPBinaryClassifier(
        2,
        "logistic",
        solver="sgd",
        learning_rate_init=0.5,
        momentum=0,
        alpha=0.2,
        random_state=0,
    )
    model.partial_fit(X, y, classes=[0, 1])
    model.coefs_ = [np.array([[0.2, -0.4], [0.1, 0.3]]), np.array([[1.0], [-2.0]])]
    model.intercepts_ = [np.array([0.0, 0.5]), np.array([0.25])]
    before = list(model.loss_curve_)
    model.partial_fit(X, y)
    # z = (0.2·0.5 − 0.1, −0.4·0.5 − 0.3 + 0.5) = (0, 0), so a = (½, ½) and g′ = (¼, ¼).
    # z_out = ½ − 1 + 0.25 = −0.25; p = σ(−0.25); δ_out = p − 1.
    delta = 1 / (1 + np.exp(0.25)) - 1
    hidden = np.array([1.0, -2.0]) * delta / 4
    expected_1 = np.array([[0.2, -0.4], [0.1, 0.3]])
    expected_1 = expected_1 - 0.5 * (np.outer(X[0], hidden) + 0.2 * expected_1)
    expected_2 = np.array([[1.0], [-2.0]])
    expected_2 = expected_2 - 0.5 * (0.5 * delta + 0.2 * expected_2)
    np.testing.assert_allclose(model.coefs_[0], expected_1)
    np.testing.assert_allclose(model.coefs_[1], expected_2)
    np.testing.assert_allclose(model.intercepts_[0], np.array([0.0, 0.5]) - 0.5 * hidden)
    np.testing.assert_allclose(model.intercepts_[1], [0.25 - 0.5 * delta])
    penalty = 0.1 * (0.2**2 + 0.4**2 + 0.1**2 + 0.3**2 + 1 + 4)
    assert model.loss_ == pytest.approx(-np.log(1 + delta) + penalty)
    assert model.loss_curve_ == [*before, model.loss_]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("weighted", [False, True])
def test_gradient_that_lbfgs_follows(activation, weighted):
    X, y = two_classes(5, 10)
    weight = np.random.RandomState(0).rand(5) if weighted else None
    model = MLPBinaryClassifier(4, activation, solver="lbfgs", max_iter=2, random_state=1)
    quietly(model.fit, X, y)
    session = Session(Network((10, 4, 1), (activation,), np.dtype("float64")))
    session.set_parameters(model.coefs_, model.intercepts_)
    targets = y.astype(float)
    session.prepare(as_rows(X, X.dtype), targets, weight, 5, alpha=0.1, optimizer=Optimizer())
    loss, gradients = session.loss_and_gradient()

    def naive_loss(coefs, intercepts):
        return loss_and_gradients(X, y, weight, coefs, intercepts, (activation,), 0.1)[0]

    assert loss == pytest.approx(naive_loss(model.coefs_, model.intercepts_), rel=1e-12)
    expected = finite_differences(naive_loss, model.coefs_, model.intercepts_)
    for left, right in zip(
        [*gradients[0], *gradients[1]], [*expected[0], *expected[1]], strict=True
    ):
        np.testing.assert_allclose(left, right, atol=1e-8)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_lbfgs_learns(activation):
    model = MLPBinaryClassifier(50, activation, solver="lbfgs", max_iter=150, random_state=1).fit(
        X_DIGITS[:150], Y_DIGITS[:150]
    )
    assert model.score(X_DIGITS[:150], Y_DIGITS[:150]) > 0.95
    assert model.predict(X_DIGITS[150:]).dtype == Y_DIGITS.dtype


def test_lbfgs_counts_evaluations():
    X, y = two_classes()
    model = MLPBinaryClassifier(50, solver="lbfgs", max_iter=150, max_fun=10, random_state=1)
    with pytest.warns(ConvergenceWarning, match=r"lbfgs failed to converge .*EVALUATIONS"):
        model.fit(X, y)
    assert model.n_iter_ <= 10


def test_lbfgs_warns_at_max_iter():
    X, y = two_classes()
    model = MLPBinaryClassifier(solver="lbfgs", max_iter=3, warm_start=True, random_state=0)
    for max_iter in (3, 5):
        model.set_params(max_iter=max_iter)
        with pytest.warns(ConvergenceWarning, match=f"Raise max_iter={max_iter}"):
            model.fit(X, y)
        assert model.n_iter_ == max_iter


def test_lbfgs_prints_on_request(capsys):
    X, y = two_classes()
    quietly(MLPBinaryClassifier(solver="lbfgs", max_iter=2, verbose=True).fit, X, y)
    assert [line[:20] for line in capsys.readouterr().out.splitlines()] == [
        "Iteration 1, loss = ",
        "Iteration 2, loss = ",
    ]


def test_lbfgs_drops_what_an_earlier_fit_by_epochs_left():
    X, y = two_classes()
    model = quietly(MLPBinaryClassifier(max_iter=2, warm_start=True).fit, X, y)
    quietly(model.set_params(solver="lbfgs").fit, X, y)
    assert not hasattr(model, "loss_curve_")
    assert not hasattr(model, "best_loss_")
    assert model.t_ == 120
    quietly(model.set_params(solver="adam").fit, X, y)
    assert len(model.loss_curve_) == 2


@pytest.mark.parametrize("learning_rate", ["constant", "invscaling"])
def test_a_warm_start_goes_on_with_the_schedule_of_rows_seen(learning_rate):
    X, y = two_classes(4)
    model = MLPBinaryClassifier(
        4,
        solver="sgd",
        learning_rate=learning_rate,
        max_iter=1,
        power_t=0.25,
        warm_start=True,
    )
    quietly(model.fit, X, y)
    quietly(model.fit, X, y)
    assert model.t_ == 8
    rate = 0.001 if learning_rate == "constant" else 0.001 / 9**0.25
    assert model._training_state["learning_rate"] == pytest.approx(rate)


def test_adaptive_learning_rate_ends_small():
    model = MLPBinaryClassifier(tol=0.5, max_iter=3000, solver="sgd", learning_rate="adaptive")
    model.fit([[3, 2], [1, 6]], [1, 0])
    assert model.n_iter_ < model.max_iter
    assert model._training_state["learning_rate"] < 1e-6


@pytest.mark.parametrize("n_iter_no_change", [2, 5, 10, 50])
def test_n_iter_no_change(n_iter_no_change):
    model = MLPBinaryClassifier(
        tol=0.01, max_iter=3000, solver="sgd", n_iter_no_change=n_iter_no_change, random_state=0
    ).fit(X_DIGITS[:100], Y_DIGITS[:100])
    assert model._training_state["epochs_without_improvement"] == n_iter_no_change + 1
    assert model.n_iter_ < model.max_iter


def test_n_iter_no_change_may_be_infinite():
    model = MLPBinaryClassifier(tol=1e9, max_iter=300, solver="sgd", n_iter_no_change=np.inf)
    with pytest.warns(ConvergenceWarning):
        model.fit(X_DIGITS[:100], Y_DIGITS[:100])
    assert model.n_iter_ == 300
    assert model._training_state["epochs_without_improvement"] == 299


def test_early_stopping_with_strings():
    X, y = two_classes(200)
    model = MLPBinaryClassifier(
        early_stopping=True, max_iter=50, learning_rate_init=0.01, random_state=42
    )
    quietly(model.fit, X, np.array(["class_a", "class_b"], dtype=object)[y])
    assert len(model.validation_scores_) == model.n_iter_
    assert max(model.validation_scores_) == model.best_validation_score_
    assert model.best_loss_ is None
    assert model.best_validation_score_ > 0.5


@pytest.mark.parametrize("early_stopping", [False, True])
def test_one_class_of_strings(early_stopping):
    X, _ = two_classes()
    model = MLPBinaryClassifier(early_stopping=early_stopping, max_iter=3)
    quietly(model.fit, X, ["yes"] * 60)
    assert model.predict(X).tolist() == ["yes"] * 60
    assert model.predict_proba(X).shape == (60, 2)


def test_partial_fit_meets_a_label_late():
    model = MLPBinaryClassifier(learning_rate_init=0.05, random_state=0)
    model.partial_fit([[1], [2], [3]], ["a", "a", "a"], classes=["b", "a"])
    assert model.classes_.tolist() == ["a", "b"]
    for _ in range(50):
        model.partial_fit([[4], [1]], ["b", "a"])
    assert model.score([[1], [4]], ["a", "b"]) == 1


def test_partial_fit_of_one_label_with_warm_start():
    """warm_start is about fit: a chunk may lack a label."""
    model = MLPBinaryClassifier(warm_start=True, random_state=0)
    model.partial_fit([[1], [2]], [0, 1], classes=[0, 1])
    model.partial_fit([[3]], [1])
    assert model.t_ == 3


def test_partial_fit_repeats_fit():
    X, y = two_classes()
    settings = {"solver": "sgd", "batch_size": 7, "learning_rate": "invscaling"}
    fitted = MLPBinaryClassifier(max_iter=5, random_state=np.random.RandomState(0), **settings)
    quietly(fitted.fit, X, y)
    stepwise = MLPBinaryClassifier(random_state=np.random.RandomState(0), **settings)
    for _ in range(5):
        stepwise.partial_fit(X, y, classes=[0, 1])
    # Each call starts from the rows in their own order, so only the first epochs are the same.
    assert stepwise.loss_curve_[0] == fitted.loss_curve_[0]
    assert stepwise._training_state["step"] == fitted._training_state["step"] == 45
    assert stepwise._training_state["learning_rate"] == fitted._training_state["learning_rate"]


@pytest.mark.parametrize("Class", [MLPBinaryClassifier, MLPClassifier])
def test_histories_grow_in_place(Class):
    """What a call costs does not depend on how many there were."""
    X, y = two_classes()
    model = Class((3,), max_iter=2, random_state=0)
    losses = model.partial_fit(X, y, classes=[0, 1]).loss_curve_
    assert type(losses) is list
    for n_epochs in (2, 3):
        assert model.partial_fit(X, y).loss_curve_ is losses
        assert len(losses) == n_epochs
    scores = quietly(model.set_params(early_stopping=True).fit, X, y).validation_scores_
    fresh = model.loss_curve_
    quietly(model.set_params(warm_start=True).fit, X, y)
    assert model.loss_curve_ is fresh
    assert model.validation_scores_ is scores
    assert (len(losses), len(fresh), len(scores)) == (3, 4, 4)


@pytest.mark.parametrize("kind", [np.array, tuple])
def test_a_history_that_is_no_list_becomes_one(kind):
    X, y = two_classes()
    model = MLPBinaryClassifier((3,)).partial_fit(X, y, classes=[0, 1])
    given = model.loss_curve_ = kind([0.5, 0.25])
    model.partial_fit(X, y)
    assert model.loss_curve_ == [0.5, 0.25, model.loss_]
    assert len(given) == 2


def test_partial_fit_takes_changed_parameters():
    X, y = two_classes()
    model = MLPBinaryClassifier(solver="sgd", learning_rate="invscaling", random_state=0)
    model.partial_fit(X, y, classes=[0, 1]).partial_fit(X, y)
    assert model._training_state["learning_rate"] == pytest.approx(0.001 / 121**0.5)
    # A new initial rate starts the schedule anew; the end of the epoch then follows the formula.
    model.set_params(learning_rate="constant", learning_rate_init=0.5).partial_fit(X, y)
    assert model._training_state["learning_rate"] == 0.5
    assert model._training_state["step"] == 3
    model.set_params(solver="adam").partial_fit(X, y)
    assert (model._training_state["solver"], model._training_state["step"]) == ("adam", 1)


def test_partial_fit_after_early_stopping():
    X, y = two_classes()
    model = quietly(MLPBinaryClassifier(early_stopping=True, max_iter=2).fit, X, y)
    model.set_params(early_stopping=False).partial_fit(X, y)
    assert model.best_loss_ == model.loss_
    assert model.validation_scores_ is None


def test_parameters_go_unchecked_on_request():
    X, y = two_classes()
    model = MLPBinaryClassifier(tol=-1.0)
    with config_context(skip_parameter_validation=True):
        model.partial_fit(X, y, classes=[0, 1])
    with pytest.raises(InvalidParameterError):
        model.partial_fit(X, y)


def test_partial_fit_is_absent_for_lbfgs():
    assert not hasattr(MLPBinaryClassifier(solver="lbfgs"), "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit"):
        MLPBinaryClassifier(solver="lbfgs").partial_fit([[1]], [1], classes=[0, 1])


# --- Faults of scikit-learn that are mended -------------------------------------------------------


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_warm_start_after_convergence_trains_again(early_stopping):
    X, y = two_classes(200)
    model = MLPBinaryClassifier(
        warm_start=True, early_stopping=early_stopping, tol=0.01, max_iter=500, random_state=0
    ).fit(X, y)
    first = len(model.loss_curve_)
    model.fit(X, y)
    assert model.n_iter_ > model.n_iter_no_change
    assert len(model.loss_curve_) == first + model.n_iter_
    if early_stopping:
        assert len(model.validation_scores_) == len(model.loss_curve_)


def test_a_minibatch_without_weight_changes_nothing():
    X, y = two_classes(8)
    weight = np.array([1.0, 2, 0, 0, 0, 0, 3, 1])
    settings = {"shuffle": False, "batch_size": 2, "max_iter": 3, "random_state": 0}
    model = quietly(MLPBinaryClassifier(**settings).fit, X, y, sample_weight=weight)
    rest = weight > 0
    expected = quietly(
        MLPBinaryClassifier(**settings).fit, X[rest], y[rest], sample_weight=weight[rest]
    )
    assert_same_parameters(model, expected)
    assert model.loss_curve_ == expected.loss_curve_


# --- Parameters of our own ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("dtype_of_x", ["float32", "float64", "int16"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_dtype_forces_the_working_dtype(dtype, dtype_of_x, solver):
    X, y = two_classes()
    X = (10 * X).astype(dtype_of_x)
    model = quietly(MLPBinaryClassifier(dtype=dtype, solver=solver, max_iter=3).fit, X, y)
    assert all(array.dtype == dtype for array in (*model.coefs_, *model.intercepts_))
    assert model.predict_proba(X).dtype == dtype


@pytest.mark.parametrize("form", [np.dtype, lambda name: getattr(np, name)])
@pytest.mark.parametrize("name", ["float32", "float64"])
def test_forms_of_dtype(name, form):
    X, y = two_classes()
    model = clone(MLPBinaryClassifier(max_iter=2, random_state=0, dtype=form(name)))
    model = pickle.loads(pickle.dumps(quietly(model.fit, X, y)))
    assert model.dtype == form(name)
    expected = quietly(MLPBinaryClassifier(max_iter=2, random_state=0, dtype=name).fit, X, y)
    assert_same_parameters(model, expected)


def test_pythons_float_is_a_dtype():
    X, y = two_classes(dtype=np.float32)
    assert quietly(MLPBinaryClassifier(dtype=float).fit, X, y).coefs_[0].dtype == np.float64


NUMBERS = {
    "alpha": 1e-4, "learning_rate_init": 0.01, "tol": 1e-3, "power_t": 0.3, "momentum": 0.7,
    "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-8, "validation_fraction": 0.3,
}  # fmt: skip
COUNTS = {"max_iter": 12, "n_iter_no_change": 2, "batch_size": 7, "max_fun": 9, "n_threads": 2}


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_numpy_numbers_are_as_good_as_pythons(solver):
    # NumPy would go on in float32, whatever a number meets.
    X, y = two_classes(200)
    settings = {
        "solver": solver, "learning_rate": "invscaling", "early_stopping": True, "random_state": 0,
    }  # fmt: skip
    numpys = {name: np.float32(value) for name, value in NUMBERS.items()}
    numpys |= {name: np.int8(value) for name, value in COUNTS.items()}
    pythons = {name: value.item() for name, value in numpys.items()}
    model, expected = (
        quietly(MLPBinaryClassifier((5,), **settings, **numbers).fit, X, y)
        for numbers in (numpys, pythons)
    )
    assert_same_parameters(model, expected)
    assert model.n_iter_ == expected.n_iter_
    for name in ("n_iter_", "t_", "loss_"):
        assert type(getattr(model, name)) is type(getattr(expected, name))
    assert repr(vars(model).get("_training_state")) == repr(vars(expected).get("_training_state"))


@pytest.mark.parametrize(
    ("solver", "dtype_of_x", "expected"),
    [
        ("adam", "float32", "float32"),
        ("adam", "float64", "float64"),
        ("adam", "int16", "float64"),
        ("lbfgs", "float32", "float64"),
    ],
)
def test_auto_dtype(solver, dtype_of_x, expected):
    X, y = two_classes()
    model = quietly(MLPBinaryClassifier(solver=solver, max_iter=3).fit, X.astype(dtype_of_x), y)
    assert model.coefs_[0].dtype == model.predict_proba(X).dtype == expected


def test_training_that_goes_on_keeps_its_dtype():
    X, y = two_classes(dtype=np.float32)
    model = MLPBinaryClassifier(max_iter=2, warm_start=True)
    quietly(model.fit, X, y)
    model.partial_fit(X.astype(np.float64), y)
    quietly(model.fit, X.astype(np.float64), y)
    assert model.coefs_[0].dtype == np.float32
    quietly(model.set_params(dtype="float64").fit, X, y)
    assert model.coefs_[0].dtype == model.intercepts_[0].dtype == np.float64


@pytest.mark.parametrize("weight_init", ["glorot_normal", "he_normal", "he_uniform"])
def test_weight_init(weight_init):
    X, y = two_classes(200)
    models = [
        quietly(
            MLPBinaryClassifier(
                weight_init=name, max_iter=30, learning_rate_init=0.01, random_state=0
            ).fit,
            X,
            y,
        )
        for name in (weight_init, "glorot_uniform")
    ]
    assert abs(models[0].coefs_[0] - models[1].coefs_[0]).max() > 0.01
    assert models[0].score(X, y) > 0.75


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_n_threads_changes_no_result(solver):
    X, y = two_classes(400, 30)
    models = [
        quietly(
            MLPBinaryClassifier(
                (64, 32), n_threads=n, solver=solver, max_iter=3, random_state=0
            ).fit,
            X,
            y,
        )
        for n in (1, 2, 3, -1, -2)
    ]
    expected = models[0].predict_proba(X)
    for model in models[1:]:
        assert_same_parameters(model, models[0])
        np.testing.assert_array_equal(model.predict_proba(X), expected)


# --- Input and state ------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["F", "csr", "csc", "strided"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_any_layout_gives_the_same_model(layout, solver):
    X, y = two_classes()
    settings = {"solver": solver, "max_iter": 3, "random_state": 0, "batch_size": 7}
    dense = quietly(MLPBinaryClassifier(**settings).fit, X, y)
    other = quietly(MLPBinaryClassifier(**settings).fit, laid_out(X, layout), y)
    for a, b in zip(dense.coefs_, other.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        dense.predict_proba(X), other.predict_proba(laid_out(X, layout)), rtol=1e-10
    )


@pytest.mark.parametrize(
    "sizes",
    [
        5, np.int64(5), [5], (5,), np.array([5]), np.array(5), range(5, 6), [np.array(5)], {5},
        np.array([5], dtype=object), np.uint8(5),
    ],
    ids=repr,
)  # fmt: skip
def test_forms_of_hidden_layer_sizes(sizes):
    X, y = two_classes()
    model = quietly(MLPBinaryClassifier(sizes, max_iter=1).fit, X, y)
    assert [c.shape for c in model.coefs_] == [(6, 5), (5, 1)]


def test_a_column_vector_warns():
    X, y = two_classes()
    with pytest.warns(DataConversionWarning, match="column-vector"):
        quiet = MLPBinaryClassifier((), solver="lbfgs", tol=0.1).fit(X, y[:, None])
    assert quiet.predict(X).shape == (60,)


def test_a_batch_larger_than_the_data_is_clipped():
    X, y = two_classes()
    model = MLPBinaryClassifier(batch_size=100, max_iter=2, random_state=0, solver="sgd")
    with pytest.warns(UserWarning, match="batch_size=100 .* clipped to 60"):
        model.partial_fit(X, y, classes=[0, 1])
    expected = MLPBinaryClassifier(batch_size=60, random_state=0, solver="sgd")
    assert_same_parameters(model, expected.partial_fit(X, y, classes=[0, 1]))


def test_edited_weights_are_the_model():
    X, y = two_classes()
    model = quietly(MLPBinaryClassifier((4,), max_iter=2, random_state=0).fit, X, y)
    for array in (*model.coefs_, *model.intercepts_):
        array[...] = 0
    np.testing.assert_array_equal(model.predict_proba(X), 0.5)
    model.partial_fit(X, y)
    assert max(abs(weights).max() for weights in model.coefs_) < 0.002
    # Python's own numbers will do.
    model.coefs_, model.intercepts_ = [[[1]] * 6], [[0]]
    np.testing.assert_allclose(model.decision_function(X), X.sum(axis=1))
    model.set_params(hidden_layer_sizes=()).partial_fit(X, y)
    assert model.coefs_[0].shape == (6, 1)
    assert model._training_state["step"] == 1


def test_weights_that_were_set_before_any_fit():
    X, y = two_classes()
    model = MLPBinaryClassifier((), solver="sgd", learning_rate_init=1e-9)
    model.coefs_, model.intercepts_, model.n_features_in_ = [np.ones((6, 1))], [np.zeros(1)], 6
    model.partial_fit(X, y, classes=[0, 1])
    np.testing.assert_allclose(model.decision_function(X), X.sum(axis=1), rtol=1e-6)


def test_shuffle_matters():
    X, y = two_classes()
    left, right = (
        quietly(MLPBinaryClassifier(batch_size=1, max_iter=1, random_state=0, shuffle=s).fit, X, y)
        for s in (True, False)
    )
    assert (left.coefs_[0] != right.coefs_[0]).any()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_learns_real_data(activation):
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    model = MLPBinaryClassifier(activation=activation, max_iter=1000, random_state=0, tol=1e-3)
    assert model.fit(X, y).score(X, y) > 0.98
