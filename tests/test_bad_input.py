"""What bad input gets: an error that names it, before any compiled code runs."""

import re

import numpy as np
import pytest
import scipy.sparse
from data import assert_same_parameters, laid_out, quietly, two_classes
from sklearn.exceptions import NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

from fastmlp import MLPBinaryClassifier
from fastmlp.network.session import Session

X, Y = two_classes()


@pytest.fixture
def no_training(monkeypatch):
    """Fails a test in which a session is made ready to train."""

    def prepare(*args, **kwargs):
        raise AssertionError("Training began before the input was checked.")

    monkeypatch.setattr(Session, "prepare", prepare)


def fitted(**kwargs):
    return quietly(MLPBinaryClassifier((4,), max_iter=2, random_state=0, **kwargs).fit, X, Y)


def with_entry(value, dtype=np.float64):
    changed = X.astype(dtype)
    changed[3, 2] = value
    return changed


# --- Parameters -----------------------------------------------------------------------------------

BAD_PARAMETERS = [
    ("hidden_layer_sizes", 0),
    ("hidden_layer_sizes", -3),
    ("hidden_layer_sizes", 2.5),
    ("hidden_layer_sizes", None),
    ("hidden_layer_sizes", "100"),
    ("hidden_layer_sizes", b"100"),
    ("activation", "swish"),
    ("activation", None),
    ("solver", "newton"),
    ("alpha", -1e-9),
    ("alpha", np.nan),
    ("alpha", "0"),
    ("batch_size", 0),
    ("batch_size", 2.0),
    ("batch_size", "all"),
    ("learning_rate", "linear"),
    ("learning_rate", 0.1),
    ("class_weight", "equal"),
    ("class_weight", [1, 2]),
    ("scoring", "speed"),
    ("scoring", 1),
    ("warmup", -0.1),
    ("warmup", 1.5),
    ("warmup", "some"),
    ("n_init", 0),
    ("n_init", 1.5),
    ("learning_rate_init", 0),
    ("learning_rate_init", -1.0),
    ("power_t", -0.5),
    ("max_iter", 0),
    ("max_iter", 1.5),
    ("shuffle", "yes"),
    ("random_state", -1),
    ("random_state", "seed"),
    ("tol", -1e-4),
    ("verbose", -1),
    ("warm_start", "no"),
    ("momentum", 1.1),
    ("nesterovs_momentum", 2),
    ("early_stopping", None),
    ("validation_fraction", 1.0),
    ("validation_fraction", -0.1),
    ("beta_1", 1.0),
    ("beta_2", 1),
    ("epsilon", 0.0),
    ("n_iter_no_change", 0),
    ("n_iter_no_change", 2.5),
    ("max_fun", 0),
    ("dtype", "float16"),
    ("dtype", np.float16),
    ("dtype", np.dtype("int32")),
    ("dtype", int),
    ("dtype", None),
    ("weight_init", "zeros"),
    ("n_threads", 0),
    ("n_threads", 1.0),
    ("n_threads", -1.0),
]


@pytest.mark.parametrize(("name", "value"), BAD_PARAMETERS)
@pytest.mark.usefixtures("no_training")
def test_a_parameter_out_of_range(name, value):
    with pytest.raises(InvalidParameterError, match=f"The '{name}' parameter"):
        MLPBinaryClassifier(**{name: value}).fit(X, Y)
    if name != "solver":
        with pytest.raises(InvalidParameterError, match=f"The '{name}' parameter"):
            MLPBinaryClassifier(**{name: value}).partial_fit(X, Y, classes=[0, 1])


@pytest.mark.parametrize(("name", "value"), BAD_PARAMETERS)
def test_a_parameter_that_is_changed_between_calls(name, value):
    model = fitted().set_params(**{name: value})
    if not hasattr(model, "partial_fit"):
        return
    with pytest.raises(InvalidParameterError, match=f"The '{name}' parameter"):
        model.partial_fit(X, Y)


@pytest.mark.parametrize("sizes", [(3, 0), (3, -1), [0]])
@pytest.mark.usefixtures("no_training")
def test_hidden_layers_must_be_positive(sizes):
    with pytest.raises(ValueError, match=r"hidden_layer_sizes must be > 0, got \["):
        MLPBinaryClassifier(sizes).fit(X, Y)


@pytest.mark.parametrize(
    "sizes",
    [
        (3.0,), ("3",), (None,), [[3]], (True,), True, np.array([2.5]), np.array(3.0), [[]],
        [3, [2]], [np.array([3])], np.array([[3], [2]]), np.array(["3"]),
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.usefixtures("no_training")
def test_hidden_layers_must_be_integers(sizes):
    with pytest.raises(ValueError, match="hidden_layer_sizes must be an int or a sequence of ints"):
        MLPBinaryClassifier(sizes).fit(X, Y)


# --- X --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layout", ["C", "F", "csr", "csc"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_x_must_be_finite(value, layout, dtype):
    bad = laid_out(with_entry(value, dtype), layout)
    for method in (MLPBinaryClassifier().fit, fitted().partial_fit):
        with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
            method(bad, Y)
    model = fitted()
    for method in (model.predict, model.predict_proba, model.decision_function):
        with pytest.raises(ValueError, match=r"Input X contains (NaN|infinity)"):
            method(bad)


def test_a_finite_x_whose_sum_overflows_is_no_error():
    model = fitted()
    large = np.full((2, 6), 1e308)
    assert np.isfinite(model.coefs_[0]).all()
    assert model.predict(large).shape == (2,)


@pytest.mark.parametrize("layout", ["C", "csr"])
@pytest.mark.parametrize("value", [1e39, -1e300])
def test_x_must_fit_into_float32(layout, value):
    bad = laid_out(with_entry(value), layout)
    message = r"Input X contains a value too large for dtype\('float32'\).*dtype='float64'"
    for solver in ("adam", "lbfgs"):
        with pytest.raises(ValueError, match=message):
            MLPBinaryClassifier(dtype="float32", solver=solver).fit(bad, Y)
    model = fitted(dtype="float32")
    with pytest.raises(ValueError, match=message):
        model.predict(bad)
    with pytest.raises(ValueError, match=message):
        model.partial_fit(bad, Y)


def test_an_empty_sparse_x_fits_into_float32():
    model = fitted(dtype="float32")
    assert model.predict(scipy.sparse.csr_array((2, 6))).shape == (2,)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((0, 6)), "0 sample"),
        (np.zeros((60, 0)), "0 feature"),
        (X[:, 0], "Expected 2D array"),
        (X[None], "dim 3"),
        (1.0, "Expected 2D array"),
        (X + 0j, "Complex data not supported"),
        (scipy.sparse.csr_array(X + 0j), "Complex data not supported"),
        ([["a"] * 6] * 60, "could not convert string to float"),
        (X[:-1], "inconsistent numbers of samples"),
    ],
)
@pytest.mark.usefixtures("no_training")
def test_x_must_be_a_table_of_real_numbers(bad, message):
    with pytest.raises(ValueError, match=message):
        MLPBinaryClassifier().fit(bad, Y)


@pytest.mark.parametrize("n_features", [5, 7])
@pytest.mark.parametrize("layout", ["C", "csr"])
def test_x_must_have_the_features_of_fit(n_features, layout):
    model = fitted()
    bad = laid_out(np.zeros((60, n_features)), layout)
    message = f"X has {n_features} features, but MLPBinaryClassifier is expecting 6 features"
    for method in (model.predict, model.predict_proba, model.predict_log_proba):
        with pytest.raises(ValueError, match=message):
            method(bad)
    with pytest.raises(ValueError, match=message):
        model.partial_fit(bad, Y)
    with pytest.raises(ValueError, match=message):
        model.set_params(warm_start=True).fit(bad, Y)


def test_an_empty_prediction():
    with pytest.raises(ValueError, match="0 sample"):
        fitted().predict(np.zeros((0, 6)))


def test_feature_names():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcdef"))
    model = quietly(MLPBinaryClassifier(max_iter=2).fit, frame, Y)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[list("fedcba")])
    with pytest.raises(ValueError, match="feature names"):
        model.partial_fit(frame.rename(columns={"a": "z"}), Y)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)


# --- y --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (np.arange(60) % 3, "multiclass"),
        (np.array(["a", "b", "c"])[np.arange(60) % 3], "multiclass"),
        (X[:, 0], "continuous"),
        (np.c_[Y, Y], "multilabel-indicator"),
        (np.c_[Y, 2 * Y], "multiclass-multioutput"),
        (X[:, :2], "continuous-multioutput"),
    ],
)
@pytest.mark.usefixtures("no_training")
def test_y_must_be_binary(bad, kind):
    message = f"Only binary classification is supported. The type of the target is {kind}."
    with pytest.raises(ValueError, match=re.escape(message)):
        MLPBinaryClassifier().fit(X, bad)
    with pytest.raises(ValueError, match=re.escape(message)):
        MLPBinaryClassifier().partial_fit(X, bad, classes=[0, 1])


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (None, ValueError, "requires y to be passed"),
        (Y[:-1], ValueError, "inconsistent numbers of samples"),
        (Y[:0], ValueError, "0 sample|inconsistent numbers of samples"),
        (np.where(np.arange(60) == 3, np.nan, Y), ValueError, "contains NaN"),
        (np.where(np.arange(60) == 3, np.inf, Y), ValueError, "contains infinity"),
        (np.array([None, *Y[1:]], dtype=object), (ValueError, TypeError), "[yY]"),
        (np.array([None, *"ab" * 29, "a"], dtype=object), (ValueError, TypeError), "label type|y "),
        (np.array(["a", 1] * 30, dtype=object), TypeError, "y must hold labels that compare"),
        (np.array(["a", None] * 30, dtype=object), TypeError, "y must hold labels that compare"),
        (np.array([b"a", "a"] * 30, dtype=object), TypeError, "y must hold labels that compare"),
        (np.array([b"a", b"b"] * 30), TypeError, "labels represented as bytes is not supported"),
        ([b"a"] * 60, TypeError, "labels represented as bytes is not supported"),
        (np.array([b"a", b"b"] * 30, dtype=object), TypeError, "labels represented as bytes"),
        (Y + 0j, ValueError, "Complex data not supported"),
        (Y[None, :, None], ValueError, "dim|[yY]"),
        (scipy.sparse.csr_array(Y[:, None]), (ValueError, TypeError), "[sS]parse|[yY]"),
        (3, (ValueError, TypeError), "[yY]|scalar|iterable|collection"),
    ],
)
@pytest.mark.usefixtures("no_training")
def test_y_must_be_labels(bad, error, message):
    with pytest.raises(error, match=message):
        MLPBinaryClassifier().fit(X, bad)


@pytest.mark.usefixtures("no_training")
def test_classes_of_partial_fit():
    model = MLPBinaryClassifier()
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(X, Y)
    with pytest.raises(ValueError, match=r"Only binary .* classes holds 3 labels: \[0 1 2\]"):
        model.partial_fit(X, Y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_`"):
        model.partial_fit(X, Y, classes=[2])
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_`"):
        model.partial_fit(X, Y, classes=["0", "1"])
    with pytest.raises(ValueError, match="classes"):
        model.partial_fit(X, Y, classes=[])


def test_labels_of_training_that_goes_on():
    model = fitted()
    with pytest.raises(ValueError, match=r"classes=\[1, 2\] differ from those of earlier calls"):
        model.partial_fit(X, Y, classes=[1, 2])
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_`"):
        model.partial_fit(X, Y + 1)
    model.set_params(warm_start=True)
    for bad in (Y + 1, np.ones(60, int), np.array(["0", "1"])[Y]):
        with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same"):
            model.fit(X, bad)


@pytest.mark.usefixtures("no_training")
def test_early_stopping_needs_rows():
    with pytest.raises(ValueError, match="least populated class"):
        MLPBinaryClassifier(early_stopping=True).fit(X[:4], [0, 0, 0, 1])
    model = MLPBinaryClassifier(early_stopping=True, validation_fraction=0.1)
    with pytest.raises(ValueError, match="The validation set is too small"):
        quietly(model.fit, X[:5], np.zeros(5, int))


def test_partial_fit_has_no_early_stopping():
    message = "partial_fit does not support early_stopping=True"
    with pytest.raises(ValueError, match=message):
        MLPBinaryClassifier(early_stopping=True).partial_fit(X, Y, classes=[0, 1])
    with pytest.raises(ValueError, match=message):
        fitted(early_stopping=True).partial_fit(X, Y)


# --- Weights of rows ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (-np.ones(60), "Negative values in data passed to `sample_weight`"),
        (np.where(np.arange(60) == 3, -1e-9, 1.0), "Negative values .* `sample_weight`"),
        (np.where(np.arange(60) == 3, np.nan, 1.0), "Input sample_weight contains NaN"),
        (np.where(np.arange(60) == 3, np.inf, 1.0), "Input sample_weight contains infinity"),
        (np.zeros(60), "(?i)sample.weights? must contain at least one non-zero number"),
        (np.ones(59), r"sample_weight.shape == \(59,\), expected \(60,\)"),
        (np.ones((60, 1)), "Sample weights must be 1D"),
        (["a"] * 60, "could not convert string to float"),
        (-1.0, "Negative values in data passed to `sample_weight`"),
    ],
)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.usefixtures("no_training")
def test_weights(weight, message, solver):
    with pytest.raises(ValueError, match=message):
        MLPBinaryClassifier(solver=solver).fit(X, Y, sample_weight=weight)


@pytest.mark.parametrize("exponent", [-1000, -140, 140, 1000])
def test_weights_outside_float32_are_as_good_as_any(exponent):
    weight = 1.0 + np.arange(60) % 3
    settings = {"dtype": "float32", "random_state": 0, "max_iter": 5, "alpha": 0.0}
    expected, model = (
        quietly(MLPBinaryClassifier(**settings).fit, X, Y, sample_weight=np.ldexp(weight, e))
        for e in (0, exponent)
    )
    assert model.loss_curve_ == expected.loss_curve_
    for ours, theirs in zip(model.coefs_, expected.coefs_, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("dtype", "ratio"), [("float32", 1e-40), ("float32", 1e-60), ("float64", 1e-310)]
)
def test_a_weight_that_is_nothing_beside_the_largest_counts_as_0(dtype, ratio):
    # 1 / Σ weights of its minibatch would be infinite.
    weight = np.where(np.arange(60) % 2, 1e5, ratio * 1e5)
    settings = {"batch_size": 1, "alpha": 0.0, "dtype": dtype, "max_iter": 3, "random_state": 0}
    expected, model = (
        quietly(MLPBinaryClassifier(**settings).fit, X, Y, sample_weight=each)
        for each in (np.where(weight > 1, weight, 0), weight)
    )
    assert_same_parameters(model, expected)


def test_weights_of_the_rows_held_out():
    weight = np.zeros(60)
    weight[0] = 1
    with pytest.raises(ValueError, match="sample_weight is 0 for all rows that were drawn to"):
        MLPBinaryClassifier(early_stopping=True).fit(X, Y, sample_weight=weight)


# --- Divergence -----------------------------------------------------------------------------------

ADVICE = {"alpha", "sample_weight", "learning_rate_init", "coefs_", "Scale X"}


@pytest.mark.parametrize(
    ("settings", "weight", "scale", "expected"),
    [
        ({"alpha": 1e100}, None, 1, {"alpha"}),
        ({"alpha": 1e10, "max_iter": 100}, None, 1, {"alpha"}),
        ({}, 1e-100, 1, {"alpha", "sample_weight"}),
        ({"alpha": 1e100}, 1.0, 1, {"alpha", "sample_weight"}),
        ({"learning_rate_init": 1e100}, None, 1, {"learning_rate_init"}),
        ({"solver": "adam", "learning_rate_init": 1e200}, None, 1, {"learning_rate_init"}),
        ({}, None, 1e100, {"Scale X"}),
        ({}, 1.0, -1e100, {"Scale X"}),
        ({"alpha": 1e100}, None, 1e100, {"alpha", "Scale X"}),
        (
            {"learning_rate_init": 0.9, "max_iter": 1000},
            None,
            300,
            {"learning_rate_init", "Scale X"},
        ),
    ],
)
@pytest.mark.parametrize("layout", ["C", "csr"])
def test_what_made_training_diverge_is_named(settings, weight, scale, expected, layout):
    model = MLPBinaryClassifier((4,), "identity", solver="sgd", max_iter=20, random_state=0)
    model.set_params(n_iter_no_change=np.inf, **settings)
    weight = None if weight is None else np.full(60, weight)
    with pytest.raises(
        ValueError, match=r"non-finite parameter weights: training diverged\. "
    ) as e:
        quietly(model.fit, laid_out(scale * abs(X), layout), Y, sample_weight=weight)
    assert {name for name in ADVICE if name in str(e.value)} == expected


def test_weights_that_were_edited_to_huge_ones_are_named():
    model = fitted(solver="sgd")
    model.coefs_[0][...] = -1e308
    message = r"diverged\. coefs_ and intercepts_, which it went on from, reach 1e\+308\.$"
    with pytest.raises(ValueError, match=message):
        model.partial_fit(X, Y)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["coefs_", "intercepts_"])
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_weights_that_were_edited_to_nan_are_named(name, value, solver):
    model = fitted(solver=solver).set_params(warm_start=True)
    getattr(model, name)[1][...] = value
    for method in (model.fit, getattr(model, "partial_fit", model.fit)):
        with pytest.raises(ValueError, match=rf"{name}\[1\] contains NaN or infinity\.$"):
            quietly(method, X, Y)
    if np.isnan(value):
        for predict in (model.predict, model.predict_log_proba, model.decision_function):
            with pytest.raises(ValueError, match=rf"{name}\[1\] contains NaN or infinity\.$"):
                predict(X)


# --- State ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "predict_log_proba", "decision_function"]
)
def test_use_before_fit(method):
    with pytest.raises(NotFittedError, match="MLPBinaryClassifier instance is not fitted"):
        getattr(MLPBinaryClassifier(), method)(X)
    with pytest.raises(NotFittedError):
        MLPBinaryClassifier().score(X, Y)


@pytest.mark.parametrize(
    ("coefs", "intercepts", "message"),
    [
        ([np.ones((6, 4))], [np.ones(4)], "last of coefs_ must have one column"),
        ([np.ones((5, 1))], [np.ones(1)], r"coefs_\[0\] has shape \(5, 1\) in place of \(6, 1\)"),
        ([np.ones((6, 4)), np.ones((3, 1))], [np.ones(4), np.ones(1)], r"in place of \(4, 1\)"),
        ([np.ones((6, 1))], [np.ones(2)], r"intercepts_\[0\] has shape \(2,\)"),
        ([np.ones(6)], [np.ones(1)], r"must be \(fan_in, fan_out\)"),
        ([np.ones((6, 1))], [], "an array for each layer"),
        ([], [], "an array for each layer"),
        ([np.full((6, 1), "a")], [np.ones(1)], "must hold real numbers"),
        ([np.ones((6, 1)) + 0j], [np.ones(1)], "must hold real numbers"),
    ],
)
def test_edited_weights_must_be_a_network(coefs, intercepts, message):
    model = fitted()
    model.coefs_, model.intercepts_ = coefs, intercepts
    with pytest.raises(ValueError, match=message):
        model.predict(X)
    with pytest.raises(ValueError, match=message):
        model.partial_fit(X, Y)


def test_hidden_layers_that_changed_since_the_last_fit():
    for sizes in ((5,), (4, 4), ()):
        model = fitted(warm_start=True).set_params(hidden_layer_sizes=sizes)
        with pytest.raises(ValueError, match=r"hidden_layer_sizes=.* differs from the trained"):
            model.fit(X, Y)


# --- Training that goes wrong ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "settings",
    [
        {"solver": "sgd", "learning_rate_init": 1e300},
        {"solver": "adam", "learning_rate_init": 1e300},
        {"solver": "sgd", "activation": "identity", "learning_rate_init": 1e6},
    ],
)
def test_divergence(settings, dtype):
    model = MLPBinaryClassifier((5, 4), max_iter=50, dtype=dtype, random_state=0, **settings)
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        quietly(model.fit, 100 * X, Y)
    assert not hasattr(model, "coefs_")


def test_overflow_of_large_values():
    large = np.finfo(np.float64).max * np.random.RandomState(0).uniform(size=(60, 2))
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        quietly(MLPBinaryClassifier().fit, large, Y)
