"""To scikit-learn's MLPClassifier and back: the same weights, and training that goes on."""

import copy

import numpy as np
import pytest
from data import assert_same_parameters, quietly, two_classes
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils._param_validation import InvalidParameterError

from fastmlp import MLPBinaryClassifier

X, Y = two_classes(200)
SETTINGS = {"max_iter": 6, "batch_size": 32, "learning_rate_init": 0.02, "random_state": 0}
#: Of this class alone.
OWN = {"dtype", "weight_init", "n_threads"}

TRAININGS = {
    "adam": {},
    "sgd": {"solver": "sgd"},
    "plain sgd": {"solver": "sgd", "momentum": 0.0, "nesterovs_momentum": False},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling"},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 1.0, "n_iter_no_change": 1},
    "lbfgs": {"solver": "lbfgs"},
    "early stopping": {"early_stopping": True},
}


def trained(hidden=(8, 5), X=X, y=Y, cls=MLPBinaryClassifier, **kwargs):
    return quietly(cls(hidden, **{**SETTINGS, **kwargs}).fit, X, y)


@pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_classifier_predicts_the_same(training, dtype):
    model = trained(dtype=dtype, **training)
    classifier = model.to_sklearn()
    assert type(classifier) is MLPClassifier
    assert_same_parameters(classifier, model)
    tolerance = {"float32": 1e-6, "float64": 1e-14}[dtype]
    for rows in (X, X.astype(dtype)):
        np.testing.assert_allclose(
            classifier.predict_proba(rows), model.predict_proba(rows), rtol=0, atol=tolerance
        )
    np.testing.assert_array_equal(classifier.predict(X), model.predict(X))
    assert classifier.score(X, Y) == model.score(X, Y)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("hidden", [(), (7,), (4, 3, 5)])
def test_every_activation_and_depth(activation, hidden):
    model = trained(hidden, activation=activation)
    classifier = model.to_sklearn()
    assert classifier.activation == activation
    np.testing.assert_allclose(
        classifier.predict_proba(X), model.predict_proba(X), rtol=0, atol=1e-14
    )


@pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)
def test_it_has_what_a_fitted_classifier_has(training):
    """Names and values of attributes are those of scikit-learn's own fit."""
    classifier = trained(**training).to_sklearn()
    expected = trained(cls=MLPClassifier, **training)
    assert classifier.get_params() == expected.get_params()
    public = {name for name in vars(expected) if name.endswith("_")}
    assert public <= vars(classifier).keys()
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(classifier, name) == getattr(expected, name)
    for name in ("loss_", "loss_curve_", "validation_scores_", "best_validation_score_"):
        if getattr(expected, name, None) is not None:
            # L-BFGS's line searches amplify rounding.
            rtol = 1e-3 if training.get("solver") == "lbfgs" else 1e-9
            np.testing.assert_allclose(
                getattr(classifier, name), getattr(expected, name), rtol=rtol
            )
    assert classifier.classes_.tolist() == [0, 1]
    assert clone(classifier).get_params() == classifier.get_params()


PARTIAL = {
    name: each for name, each in TRAININGS.items() if name not in ("lbfgs", "early stopping")
}


@pytest.mark.parametrize("training", PARTIAL.values(), ids=PARTIAL)
def test_partial_fit_goes_on(training):
    model = trained(**training)
    classifier = model.to_sklearn()
    for _ in range(3):
        classifier.partial_fit(X, Y)
        model.partial_fit(X, Y)
        for a, b in zip(classifier.coefs_, model.coefs_, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
        assert classifier.t_ == model.t_
        np.testing.assert_allclose(classifier.loss_curve_, model.loss_curve_, rtol=1e-9)


def test_a_warm_start_with_early_stopping_keeps_the_best_weights():
    """scikit-learn's own classifier would go on in the very arrays that it keeps as the best."""
    before = trained(warm_start=True, early_stopping=True).to_sklearn()
    classifier = copy.deepcopy(before)
    classifier.best_validation_score_ = 1.0
    quietly(classifier.fit, X, Y)
    assert_same_parameters(classifier, before)


@pytest.mark.parametrize("name", [*PARTIAL, "lbfgs"])
def test_a_warm_start_goes_on(name):
    """As that of a classifier which scikit-learn has trained from the beginning."""
    training = TRAININGS[name]
    classifier = trained(warm_start=True, **training).to_sklearn()
    expected = trained(cls=MLPClassifier, warm_start=True, **training)
    for each in (classifier, expected):
        quietly(each.fit, X, Y)
    # L-BFGS's line searches amplify rounding.
    tolerance = 1e-3 if training.get("solver") == "lbfgs" else 1e-10
    for a, b in zip(classifier.coefs_, expected.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)
    assert (classifier.n_iter_, classifier.t_) == (expected.n_iter_, expected.t_)


def test_an_optimizer_that_fits_no_more_is_left_out():
    model = trained().set_params(solver="sgd")
    expected = copy.deepcopy(model).partial_fit(X, Y)
    classifier = model.to_sklearn().partial_fit(X, Y)
    np.testing.assert_allclose(classifier.coefs_[0], expected.coefs_[0], rtol=0, atol=1e-12)


def test_moments_of_models_saved_early():
    """(coefs, intercepts) in place of one flat array."""
    model, old = trained(), trained()
    shapes, state = old._training_state["shapes"], old._training_state
    n = len(shapes) // 2
    ends = np.cumsum([np.prod(shape) for shape in shapes])
    for k, moment in enumerate(state["moments"]):
        arrays = [a.reshape(s) for a, s in zip(np.split(moment, ends[:-1]), shapes, strict=True)]
        state["moments"][k] = (arrays[:n], arrays[n:])
    assert_same_parameters(old.to_sklearn().partial_fit(X, Y), model.to_sklearn().partial_fit(X, Y))


def test_the_two_share_nothing():
    model = trained(random_state=np.random.RandomState(0))
    before, state = copy.deepcopy(model), model.random_state.get_state()[1].copy()
    classifier = model.to_sklearn()
    classifier.partial_fit(X, Y)
    assert_same_parameters(model, before)
    assert model.loss_curve_ == before.loss_curve_
    np.testing.assert_array_equal(model.random_state.get_state()[1], state)
    expected = before.partial_fit(X, Y)
    assert_same_parameters(model.partial_fit(X, Y), expected)


@pytest.mark.parametrize("labels", [["no", "yes"], [-1, 1], [False, True]], ids=str)
def test_labels(labels):
    model = trained(y=np.array(labels)[Y])
    classifier = model.to_sklearn()
    assert classifier.classes_.tolist() == labels
    assert classifier.predict(X).dtype == model.predict(X).dtype
    np.testing.assert_array_equal(classifier.predict(X), model.predict(X))
    back = MLPBinaryClassifier.from_sklearn(classifier)
    np.testing.assert_array_equal(back.predict(X), model.predict(X))
    classifier.partial_fit(X, np.array(labels)[Y])
    back.partial_fit(X, np.array(labels)[Y])


def test_feature_names():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcdef"))
    model = trained(X=frame)
    classifier = model.to_sklearn()
    assert classifier.feature_names_in_.tolist() == list("abcdef")
    np.testing.assert_array_equal(classifier.predict(frame), model.predict(frame))
    assert MLPBinaryClassifier.from_sklearn(classifier).feature_names_in_.tolist() == list("abcdef")
    with pytest.raises(ValueError, match="feature names"):
        classifier.predict(frame[list("fedcba")])


@pytest.mark.parametrize("label", [0, 7, "only", True])
def test_one_class(label):
    model = trained(y=np.full(200, label))
    classifier = model.to_sklearn()
    np.testing.assert_array_equal(classifier.predict(X), model.predict(X))
    np.testing.assert_allclose(classifier.predict_proba(X), model.predict_proba(X), atol=1e-14)
    back = MLPBinaryClassifier.from_sklearn(classifier)
    np.testing.assert_array_equal(back.predict(X), model.predict(X))


def test_one_class_of_scikit_learn():
    classifier = trained(y=np.full(200, "only"), cls=MLPClassifier)
    model = MLPBinaryClassifier.from_sklearn(classifier)
    np.testing.assert_array_equal(model.predict(X), classifier.predict(X))
    np.testing.assert_allclose(model.predict_proba(X), classifier.predict_proba(X), atol=1e-14)


# --- Back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_from_a_classifier_that_scikit_learn_trained(training, dtype):
    rows = X.astype(dtype)
    classifier = trained(X=rows, cls=MLPClassifier, **training)
    model = MLPBinaryClassifier.from_sklearn(classifier)
    assert_same_parameters(model, classifier)
    tolerance = {np.float32: 1e-6, np.float64: 1e-14}[dtype]
    np.testing.assert_allclose(
        model.predict_proba(rows), classifier.predict_proba(rows), rtol=0, atol=tolerance
    )
    np.testing.assert_array_equal(model.predict(X), classifier.predict(X))
    parameters = model.get_params()
    assert {name: parameters[name] for name in classifier.get_params()} == classifier.get_params()
    assert {name: parameters[name] for name in OWN} == {
        "dtype": "auto", "weight_init": "glorot_uniform", "n_threads": None,
    }  # fmt: skip
    if "early_stopping" not in training and training.get("solver") != "lbfgs":
        model.partial_fit(X, Y)
        assert model.t_ == 7 * 200
        assert len(model.loss_curve_) == 7


@pytest.mark.parametrize("training", TRAININGS.values(), ids=TRAININGS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_there_and_back(training, dtype):
    model = trained(dtype=dtype, **training)
    back = MLPBinaryClassifier.from_sklearn(model.to_sklearn())
    assert_same_parameters(back, model)
    np.testing.assert_array_equal(back.predict_proba(X), model.predict_proba(X))
    unknown = {
        "_training_state", "init_scores_", "learning_rate_curve_", "validation_loss_curve_",
        "best_epoch_",
    }  # fmt: skip
    assert vars(model).keys() - unknown == vars(back).keys()
    for name in vars(back).keys() - OWN:
        np.testing.assert_equal(vars(back)[name], vars(model)[name], err_msg=name)
    # It is an estimator like any other.
    np.testing.assert_array_equal(copy.deepcopy(back).predict_proba(X), model.predict_proba(X))


def test_a_subclass_makes_its_own():
    class Own(MLPBinaryClassifier):
        def predict_proba(self, X):
            return super().predict_proba(X)[:, ::-1]

    model = trained(cls=Own)
    back = Own.from_sklearn(model.to_sklearn())
    assert type(back) is Own
    np.testing.assert_array_equal(back.predict_proba(X), model.predict_proba(X))


# --- Errors ---------------------------------------------------------------------------------------


def test_not_fitted():
    with pytest.raises(NotFittedError):
        MLPBinaryClassifier().to_sklearn()
    with pytest.raises(NotFittedError):
        MLPBinaryClassifier.from_sklearn(MLPClassifier())


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        ("gelu", "activation='gelu' has no counterpart in scikit-learn's MLPClassifier"),
        (["relu", "silu"], "activation='silu' has no counterpart"),
        (["relu", "tanh"], r"activation=\['relu', 'tanh'\] has no counterpart"),
        ((print, "relu"), "got <built-in function print> for hidden layer 1"),
        (["relu"], "activation must name one .* and names 1 for 2"),
    ],
)
def test_activations_that_scikit_learn_has_not(activation, message):
    model = trained()
    model.activation = activation
    with pytest.raises(ValueError, match=message):
        model.to_sklearn()


def test_one_activation_that_is_named_for_each_layer():
    model = trained(activation="tanh")
    expected = model.predict_proba(X)
    model.activation = ("tanh", "tanh")
    classifier = model.to_sklearn()
    assert classifier.activation == "tanh"
    np.testing.assert_allclose(classifier.predict_proba(X), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("activation", [(), "gelu"])
def test_an_activation_of_no_layer_is_no_hindrance(activation):
    model = trained(())
    model.activation = activation
    assert model.to_sklearn().predict(X).shape == (200,)


def test_a_parameter_that_scikit_learn_has_not():
    model = trained().set_params(alpha=-1.0)
    with pytest.raises(InvalidParameterError, match="The 'alpha' parameter"):
        model.to_sklearn()


@pytest.mark.parametrize("method", ["to_sklearn", "as_numba"])
def test_edited_weights(method):
    model = trained()
    model.coefs_[0] = model.coefs_[0][:, :-1]
    with pytest.raises(ValueError, match=r"coefs_\[0\] has shape"):
        getattr(model, method)()


def test_a_regressor():
    regressor = quietly(MLPRegressor(hidden_layer_sizes=(3,), max_iter=2).fit, X, X[:, 0])
    with pytest.raises(TypeError, match="from_sklearn takes an MLPClassifier, got MLPRegressor"):
        MLPBinaryClassifier.from_sklearn(regressor)


@pytest.mark.parametrize("other", [None, "MLPClassifier", MLPClassifier, MLPBinaryClassifier()])
def test_no_classifier_at_all(other):
    with pytest.raises(TypeError, match="from_sklearn takes an MLPClassifier"):
        MLPBinaryClassifier.from_sklearn(other)


def test_more_than_two_classes():
    classifier = quietly(MLPClassifier((3,), max_iter=2).fit, X, np.arange(200) % 3)
    with pytest.raises(ValueError, match="has 3 classes; only two are supported"):
        MLPBinaryClassifier.from_sklearn(classifier)


def test_several_targets():
    classifier = quietly(MLPClassifier((3,), max_iter=2).fit, X, np.c_[Y, 1 - Y])
    with pytest.raises(ValueError, match="has 2 targets; only one is supported"):
        MLPBinaryClassifier.from_sklearn(classifier)
