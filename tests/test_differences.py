"""README's list of what differs from scikit-learn's MLPClassifier, each point beside it."""

import numpy as np
import pytest
from data import quietly, two_classes
from sklearn.calibration import CalibratedClassifierCV
from sklearn.multiclass import OneVsOneClassifier
from sklearn.neural_network import MLPClassifier

from fastmlp import MLPBinaryClassifier

X, Y = two_classes(200)
CLASSES = MLPBinaryClassifier, MLPClassifier


def both(call, **settings):
    """What a call makes of an estimator of ours and of one of theirs."""
    settings = {"hidden_layer_sizes": (5,), "max_iter": 20, "random_state": 0, **settings}
    return [quietly(call, Class(**settings)) for Class in CLASSES]


def distance(left, right):
    return max(abs(a - b).max() for a, b in zip(left.coefs_, right.coefs_, strict=True))


@pytest.mark.parametrize("meta", [CalibratedClassifierCV, OneVsOneClassifier])
def test_meta_estimators_that_prefer_logits(meta):
    target = Y if meta is CalibratedClassifierCV else Y + (X[:, 2] > 1)
    method = "predict_proba" if meta is CalibratedClassifierCV else "decision_function"
    ours, theirs = both(lambda model: getattr(meta(model).fit(X, target), method)(X))
    assert abs(ours - theirs).max() > 1e-3

    class WithoutLogits(MLPBinaryClassifier):
        decision_function = property()

    model = WithoutLogits((5,), max_iter=20, random_state=0)
    same = getattr(quietly(meta(model).fit, X, target), method)(X)
    np.testing.assert_allclose(same, theirs, atol=1e-12)


def test_loss_of_what_is_sure_and_wrong():
    differences = []
    for seed in range(5):
        rng = np.random.RandomState(seed)
        wide = 50 * rng.randn(300, 8)
        y = wide[:, 0] + 0.3 * wide[:, 1] * rng.randn(300) > 0
        ours, theirs = both(lambda model, X=wide, y=y: model.fit(X, y), learning_rate_init=0.01)
        assert distance(ours, theirs) < 1e-13 * max(abs(each).max() for each in theirs.coefs_)
        differences.append(abs(np.subtract(ours.loss_curve_, theirs.loss_curve_)).max())
    assert 1e-6 < max(differences) < 2e-3


@pytest.mark.parametrize(
    ("solver", "change"),
    [
        ("sgd", {"solver": "adam"}),
        ("sgd", {"learning_rate": "invscaling"}),
        ("sgd", {"learning_rate_init": 0.1}),
        ("adam", {"learning_rate_init": 0.1}),
        ("sgd", {"momentum": 0.1}),
        ("sgd", {"nesterovs_momentum": False}),
        ("adam", {"beta_1": 0.1}),
        ("adam", {"beta_2": 0.5}),
        ("adam", {"epsilon": 0.1}),
    ],
)
def test_a_change_between_partial_fits(solver, change):
    def train(model, change):
        for _ in range(2):
            model.partial_fit(X, Y, classes=[0, 1])
        model.set_params(**change)
        return model.partial_fit(X, Y).partial_fit(X, Y)

    ours, theirs = both(lambda model: train(model, change), solver=solver)
    ours_before, theirs_before = both(lambda model: train(model, {}), solver=solver)
    assert distance(ours_before, theirs_before) < 1e-12
    assert distance(theirs, theirs_before) == 0
    assert distance(ours, ours_before) > 1e-5


def test_a_chunk_that_lacks_a_class():
    def train(model):
        model.partial_fit(X, Y, classes=[0, 1])
        return model.partial_fit(X[Y == 1], Y[Y == 1])

    settings = {"warm_start": True, "random_state": 0}
    assert train(MLPBinaryClassifier(**settings)).t_ == 300
    with pytest.raises(ValueError, match="warm_start can only be used where"):
        train(MLPClassifier(**settings))


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_other_layers_where_training_goes_on(method):
    ours, theirs = both(lambda model: model.fit(X, Y), warm_start=True)
    for model in (ours, theirs):
        model.set_params(hidden_layer_sizes=(7,))
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(7,\) differs from the trained"):
        getattr(ours, method)(X, Y)
    assert quietly(getattr(theirs, method), X, Y).coefs_[0].shape == (6, 5)
    with pytest.raises(AttributeError):
        getattr(theirs.set_params(hidden_layer_sizes=(5, 5)), method)(X, Y)


def test_weights_below_0_and_logits_that_are_nan():
    weight = np.where(np.arange(200) % 5, 1.0, -0.1)
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        MLPBinaryClassifier().fit(X, Y, weight)
    assert np.isfinite(quietly(MLPClassifier(max_iter=2).fit, X, Y, weight).loss_)
    ours, theirs = both(lambda model: model.fit(X, Y))
    for model in (ours, theirs):
        model.coefs_[0][:] = np.nan
    with pytest.raises(ValueError, match=r"coefs_\[0\] contains NaN"):
        ours.predict_proba(X)
    assert np.isnan(theirs.predict_proba(X)).all()


def test_lbfgs_after_epochs():
    def train(model):
        model.fit(X, Y)
        return model.set_params(solver="lbfgs", warm_start=True).fit(X, Y)

    ours, theirs = both(train)
    assert not hasattr(ours, "loss_curve_")
    assert len(theirs.loss_curve_) == 20


def test_verbose_lbfgs(capfd):
    def train(model):
        model.fit(X, Y)
        return capfd.readouterr().out

    ours, theirs = both(train, solver="lbfgs", verbose=True, max_iter=2)
    assert [line[:20] for line in ours.splitlines()] == [f"Iteration {n}, loss = " for n in (1, 2)]
    assert "Iteration 1, loss" not in theirs  # older SciPy prints tables of its own


def test_float32_models():
    ours, theirs = both(lambda model: model.fit(X.astype(np.float32), Y))
    assert ours.predict_proba(X).dtype == np.float32
    assert theirs.predict_proba(X).dtype == np.float64
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
