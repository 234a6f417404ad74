"""Weights of classes: the same model as the matching weights of rows, to the last bit."""

import numpy as np
import pytest
from data import quietly, two_classes
from sklearn.utils.class_weight import compute_sample_weight

from fastmlp import MLPBinaryClassifier
from fastmlp.data.class_weights import class_weights, weighted

X, Y = two_classes(200)
LABELS = np.array(["no", "yes"])
SETTINGS = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0}


def assert_same(model, other):
    for a, b in zip(
        model.coefs_ + model.intercepts_, other.coefs_ + other.intercepts_, strict=True
    ):
        np.testing.assert_array_equal(a, b)
    assert model.loss_ == other.loss_


@pytest.mark.parametrize("weight", [{0: 0.5, 1: 3.0}, {1: 7}, "balanced"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_equals_the_matching_weights_of_rows(weight, solver, early_stopping):
    y = Y.copy()
    y[::3] = 0
    settings = {**SETTINGS, "solver": solver, "early_stopping": early_stopping}
    model = MLPBinaryClassifier(**settings, class_weight=weight)
    other = MLPBinaryClassifier(**settings)
    quietly(model.fit, X, y)
    quietly(other.fit, X, y, compute_sample_weight(weight, y))
    assert_same(model, other)


def test_is_multiplied_with_the_weights_of_rows():
    rows = np.random.default_rng(0).random(len(Y))
    model = quietly(MLPBinaryClassifier(**SETTINGS, class_weight={0: 2, 1: 3}).fit, X, Y, rows)
    other = quietly(MLPBinaryClassifier(**SETTINGS).fit, X, Y, rows * np.where(Y, 3.0, 2.0))
    assert_same(model, other)


def test_labels_of_any_kind_and_partial_fit():
    y = LABELS[Y.astype(int)]
    model = MLPBinaryClassifier(**SETTINGS, class_weight={"yes": 4.0})
    model.partial_fit(X, y, classes=LABELS)
    # A chunk that lacks a class: the dict counts all the same.
    model.partial_fit(X[Y == 1], y[Y == 1])
    other = MLPBinaryClassifier(**SETTINGS)
    other.partial_fit(X, y, np.where(Y, 4.0, 1.0), classes=LABELS)
    other.partial_fit(X[Y == 1], y[Y == 1], np.full(int(Y.sum()), 4.0))
    assert_same(model, other)


def test_balanced_counts_weights():
    rows = np.where(np.arange(len(Y)) % 2, 2.0, 1.0)
    weights = class_weights("balanced", np.array([0, 1]), Y, rows)
    totals = [weights[label] * rows[label == Y].sum() for label in (0, 1)]
    assert totals[0] == pytest.approx(totals[1], rel=1e-14)
    assert sum(totals) == pytest.approx(rows.sum(), rel=1e-14)


def test_balanced_where_a_class_has_no_weight():
    weights = class_weights("balanced", np.array([0, 1]), Y, np.where(Y, 0.0, 1.0))
    assert np.isfinite(weights).all()
    weighted(np.where(Y, 0.0, 1.0), Y.astype(bool), weights)


def test_one_class():
    model = quietly(
        MLPBinaryClassifier(**SETTINGS, class_weight="balanced").fit, X, np.ones(len(X))
    )
    np.testing.assert_array_equal(model.predict(X), np.ones(len(X)))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ({2: 1.0}, r"class_weight names \[2\], and the classes are \[0.*, 1.*\]"),
        ({np.int64(2): 1.0}, r"class_weight names \[2\], and"),
        ({np.str_("no"): 1.0}, r"class_weight names \['no'\], and"),
        ({0: -1.0}, "class_weight must hold finite numbers, not negative"),
        ({np.int64(0): np.float64(-1)}, r"finite numbers, not negative: \{0: -1.0\}"),
        ({0: np.nan}, "class_weight must hold finite numbers, not negative"),
        ({0: np.inf}, "class_weight must hold finite numbers, not negative"),
        ({0: 0, 1: 0}, "class_weight is 0 for every class"),
        ("equal", "The 'class_weight' parameter of MLPBinaryClassifier must be"),
        (2.0, "The 'class_weight' parameter of MLPBinaryClassifier must be"),
    ],
)
def test_bad_weights(weight, message):
    model = MLPBinaryClassifier(**SETTINGS, class_weight=weight)
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y)
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize(
    ("exponent", "message"),
    [(200, "class_weight times sample_weight is too large"), (-200, "its product with sample_")],
)
def test_products_with_weights_of_rows_that_are_no_weights(exponent, message):
    model = MLPBinaryClassifier(**SETTINGS, class_weight={0: 10.0**exponent, 1: 10.0**exponent})
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, np.full(len(X), 10.0**exponent))


def test_weights_that_are_no_numbers():
    with pytest.raises(ValueError, match=r"class_weight must hold"):
        MLPBinaryClassifier(**SETTINGS, class_weight={0: "heavy"}).fit(X, Y)


def test_balanced_is_not_for_parts_of_the_rows():
    model = MLPBinaryClassifier(**SETTINGS, class_weight="balanced")
    with pytest.raises(ValueError, match=r"partial_fit does not support class_weight='balanced'"):
        model.partial_fit(X, Y, classes=[0, 1])
