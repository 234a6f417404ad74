"""Early stopping: on rows of one's own, by any score, and what it leaves to look at."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
from data import quietly, two_classes
from sklearn.metrics import accuracy_score, log_loss, make_scorer, roc_auc_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPBinaryClassifier

X, Y = two_classes(300)
X_TRAIN, X_VAL, Y_TRAIN, Y_VAL = train_test_split(X, Y, test_size=0.3, random_state=0)
SETTINGS = {"hidden_layer_sizes": (8,), "random_state": 0, "learning_rate_init": 0.01}
STOPPING = {**SETTINGS, "early_stopping": True, "max_iter": 12}
OWN = {"X_val": X_VAL, "y_val": Y_VAL}


class Recorder:
    """A scorer that writes down the probabilities that it saw."""

    def __init__(self, X):
        self.X, self.seen = X, []

    def __call__(self, estimator, X, y):
        np.testing.assert_array_equal(X, self.X)
        self.seen.append(estimator.predict_proba(X)[:, 1])
        return -log_loss(y, self.seen[-1])


def assert_same_weights(model, other):
    for a, b in zip(
        model.coefs_ + model.intercepts_, other.coefs_ + other.intercepts_, strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_curves_are_those_of_the_rows(dtype, weighted):
    weight = np.random.default_rng(0).random(len(Y_VAL)) if weighted else None
    recorder = Recorder(X_VAL.astype(dtype))
    model = MLPBinaryClassifier(**STOPPING, scoring=recorder)
    quietly(
        model.fit, X_TRAIN.astype(dtype), Y_TRAIN, X_val=recorder.X, y_val=Y_VAL,
        sample_weight_val=weight,
    )  # fmt: skip
    losses = [log_loss(Y_VAL, p, sample_weight=weight) for p in recorder.seen]
    np.testing.assert_allclose(model.validation_loss_curve_, losses, rtol=1e-6)
    # A function that takes no weights is given none.
    scores = [-log_loss(Y_VAL, p) for p in recorder.seen]
    np.testing.assert_allclose(model.validation_scores_, scores, rtol=1e-14)
    assert model.best_epoch_ == np.argmax(scores)
    assert model.best_validation_score_ == max(model.validation_scores_)
    kept = model.predict_proba(recorder.X)[:, 1]
    np.testing.assert_array_equal(kept, recorder.seen[model.best_epoch_])


def test_no_split_is_drawn_where_rows_are_given():
    # The first epoch goes through the same rows in the same order as a fit to all of X_TRAIN.
    model = quietly(MLPBinaryClassifier(**STOPPING).fit, X_TRAIN, Y_TRAIN, **OWN)
    plain = quietly(MLPBinaryClassifier(**SETTINGS, max_iter=12).fit, X_TRAIN, Y_TRAIN)
    n = len(model.loss_curve_)
    np.testing.assert_array_equal(model.loss_curve_, plain.loss_curve_[:n])
    assert model.t_ == n * len(X_TRAIN)


SCORINGS = {
    "accuracy": lambda y, p, w: accuracy_score(y, p > 0.5, sample_weight=w),
    "roc_auc": lambda y, p, w: roc_auc_score(y, p, sample_weight=w),
    "neg_log_loss": lambda y, p, w: -log_loss(y, p, sample_weight=w),
    "loss": lambda y, p, w: -log_loss(y, p, sample_weight=w),
}


@pytest.mark.parametrize("scoring", SCORINGS)
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_scoring_by_name(scoring, split, weighted):
    rng = np.random.default_rng(0)
    weight, weight_val = (rng.random(n) if weighted else None for n in (len(Y_TRAIN), len(Y_VAL)))
    model = MLPBinaryClassifier(**STOPPING, scoring=scoring, n_iter_no_change=100)
    if split:
        quietly(model.fit, X_TRAIN, Y_TRAIN, weight)
        # The same draws: first the weights of the network, then the split.
        state = np.random.RandomState(0)
        for shape in ((6, 8), (8,), (8, 1), (1,)):
            state.uniform(size=shape)
        _, rows = train_test_split(
            np.arange(len(Y_TRAIN)), test_size=0.1, random_state=state, stratify=Y_TRAIN
        )
        X_used, y_used = X_TRAIN[rows], Y_TRAIN[rows]
        weight_used = weight[rows] if weighted else None
    else:
        quietly(model.fit, X_TRAIN, Y_TRAIN, weight, **OWN, sample_weight_val=weight_val)
        X_used, y_used, weight_used = X_VAL, Y_VAL, weight_val
    expected = SCORINGS[scoring](y_used, model.predict_proba(X_used)[:, 1], weight_used)
    assert model.best_validation_score_ == pytest.approx(expected, rel=1e-12)
    assert model.best_validation_score_ == max(model.validation_scores_)


def test_without_scoring_accuracy_decides_as_before():
    model = quietly(MLPBinaryClassifier(**STOPPING).fit, X, Y)
    named = quietly(MLPBinaryClassifier(**STOPPING, scoring="accuracy").fit, X, Y)
    assert model.validation_scores_ == named.validation_scores_
    assert_same_weights(model, named)


def test_weights_of_classes_count_for_validation_rows_too():
    model = MLPBinaryClassifier(**STOPPING, class_weight={0: 1, 1: 5})
    quietly(model.fit, X_TRAIN, Y_TRAIN, **OWN)
    other = MLPBinaryClassifier(**STOPPING)
    weights = [np.where(y, 5.0, 1.0) for y in (Y_TRAIN, Y_VAL)]
    quietly(other.fit, X_TRAIN, Y_TRAIN, weights[0], **OWN, sample_weight_val=weights[1])
    assert model.validation_loss_curve_ == other.validation_loss_curve_
    assert_same_weights(model, other)


@pytest.mark.parametrize("kind", [scipy.sparse.csr_array, scipy.sparse.csc_array, np.asarray])
@pytest.mark.parametrize("kind_val", [scipy.sparse.csr_array, scipy.sparse.csc_array, np.asarray])
@pytest.mark.parametrize("scoring", [None, "roc_auc"])
def test_every_pair_of_kinds_gives_the_same_model(kind, kind_val, scoring):
    expected = quietly(MLPBinaryClassifier(**STOPPING).fit, X_TRAIN, Y_TRAIN, **OWN)
    model = MLPBinaryClassifier(**STOPPING, scoring=scoring)
    quietly(model.fit, kind(X_TRAIN), Y_TRAIN, X_val=kind_val(X_VAL), y_val=Y_VAL)
    n = min(len(model.loss_curve_), len(expected.loss_curve_))
    np.testing.assert_allclose(model.loss_curve_[:n], expected.loss_curve_[:n], rtol=1e-9)
    np.testing.assert_allclose(
        model.validation_loss_curve_[:n], expected.validation_loss_curve_[:n], rtol=1e-9
    )


def test_a_scorer_is_given_tables_as_they_came():
    columns = [f"x{j}" for j in range(X.shape[1])]
    frame = pd.DataFrame(X, columns=columns)
    seen = []

    def scoring(estimator, X, y, sample_weight=None):
        seen.append((type(X), list(X.columns), sample_weight))
        return float((X["x0"] > 0).mean()) + estimator.score(X, y)

    model = MLPBinaryClassifier(**STOPPING, scoring=scoring)
    quietly(model.fit, frame, Y)
    quietly(model.fit, frame, Y, X_val=frame[:50], y_val=Y[:50], sample_weight_val=np.ones(50))
    assert {(kind, tuple(names)) for kind, names, _ in seen} == {(pd.DataFrame, tuple(columns))}
    assert seen[0][2] is None
    np.testing.assert_array_equal(seen[-1][2], np.ones(50))


def test_labels_are_those_of_the_user():
    labels = np.array(["bad", "good"])
    scorer = make_scorer(lambda y, predicted: np.mean(y == predicted))
    model = MLPBinaryClassifier(**STOPPING, scoring=scorer)
    y, y_val = labels[Y_TRAIN.astype(int)], labels[Y_VAL.astype(int)]
    quietly(model.fit, X_TRAIN, y, X_val=X_VAL, y_val=y_val)
    assert model.best_validation_score_ == model.score(X_VAL, y_val)


def test_through_a_pipeline():
    with sklearn.config_context(enable_metadata_routing=True):
        network = MLPBinaryClassifier(**STOPPING).set_fit_request(X_val=True, y_val=True)
        pipeline = Pipeline(
            [("scale", StandardScaler()), ("net", network)], transform_input=["X_val"]
        )
        quietly(pipeline.fit, 1000 * X_TRAIN, Y_TRAIN, X_val=1000 * X_VAL, y_val=Y_VAL)
    scaler = StandardScaler().fit(1000 * X_TRAIN)
    alone = MLPBinaryClassifier(**STOPPING)
    quietly(
        alone.fit, scaler.transform(1000 * X_TRAIN), Y_TRAIN,
        X_val=scaler.transform(1000 * X_VAL), y_val=Y_VAL,
    )  # fmt: skip
    assert pipeline[-1].validation_scores_ == alone.validation_scores_
    assert_same_weights(pipeline[-1], alone)


def test_in_a_grid_search():
    grid = GridSearchCV(
        MLPBinaryClassifier(**STOPPING), {"scoring": ["loss", "roc_auc", None]}, cv=2
    )
    quietly(grid.fit, X, Y)
    assert grid.best_params_["scoring"] in ("loss", "roc_auc", None)


def test_warm_starts_go_on_with_the_curves():
    model = MLPBinaryClassifier(**{**STOPPING, "max_iter": 3}, warm_start=True, scoring="loss")
    for n in (3, 6):
        quietly(model.fit, X_TRAIN, Y_TRAIN, **OWN)
        curves = (
            model.loss_curve_, model.learning_rate_curve_,
            model.validation_scores_, model.validation_loss_curve_,
        )  # fmt: skip
        assert [len(curve) for curve in curves] == [n] * 4
        loss = log_loss(Y_VAL, model.predict_proba(X_VAL)[:, 1])
        assert model.validation_loss_curve_[model.best_epoch_] == pytest.approx(loss, rel=1e-12)
    assert model.best_epoch_ >= 3


def test_a_score_that_trains_its_estimator_leaves_the_curves_alone():
    def trains(estimator, X, y):
        assert not hasattr(estimator, "loss_curve_")
        estimator.set_params(scoring=None, early_stopping=False)
        return quietly(estimator.fit, X, y).score(X, y)

    model = MLPBinaryClassifier(**{**STOPPING, "max_iter": 2}, warm_start=True)
    quietly(model.fit, X_TRAIN, Y_TRAIN)
    first = list(model.loss_curve_)
    quietly(model.set_params(scoring=trains).fit, X_TRAIN, Y_TRAIN)
    assert len(model.loss_curve_) == len(model.validation_scores_) == 4
    assert model.loss_curve_[:2] == first


def test_validation_rows_of_a_class_without_weight():
    model = MLPBinaryClassifier(**STOPPING, class_weight={0: 0.0})
    with pytest.raises(ValueError, match=r"^X_val, y_val or .*: class_weight is 0"):
        model.fit(X_TRAIN, Y_TRAIN, X_val=X_VAL[Y_VAL == 0], y_val=Y_VAL[Y_VAL == 0])


@pytest.mark.parametrize("scoring", [None, "loss"])
def test_weights_whose_sum_is_infinite(scoring):
    weight = 1.0 + np.arange(len(X_VAL)) % 3
    model, other = (
        quietly(
            MLPBinaryClassifier(**STOPPING, scoring=scoring).fit,
            X_TRAIN, Y_TRAIN, **OWN, sample_weight_val=np.ldexp(weight, exponent),
        )
        for exponent in (0, 1022)
    )  # fmt: skip
    assert other.validation_scores_ == model.validation_scores_
    assert other.validation_loss_curve_ == model.validation_loss_curve_


def test_without_early_stopping_there_is_none_of_it():
    model = quietly(MLPBinaryClassifier(**SETTINGS, max_iter=2).fit, X, Y)
    assert model.validation_loss_curve_ is None
    assert model.best_epoch_ is None
    assert model.learning_rate_curve_ == [0.01, 0.01]


def test_one_class():
    model = MLPBinaryClassifier(**STOPPING, scoring="loss")
    quietly(model.fit, X, np.zeros(len(X)))
    assert model.validation_loss_curve_[-1] < model.validation_loss_curve_[0]


BAD = {
    "no y_val": ({"X_val": X_VAL}, "X_val is given without y_val"),
    "no X_val": ({"y_val": Y_VAL}, "y_val is given without X_val"),
    "weights alone": (
        {"sample_weight_val": Y_VAL}, "sample_weight_val is given without X_val",
    ),
    "features": ({"X_val": X_VAL[:, :3], "y_val": Y_VAL}, "^X_val, y_val or .*3 features"),
    "lengths": ({"X_val": X_VAL, "y_val": Y_VAL[1:]}, "^X_val, y_val or .*inconsistent"),
    "NaN": ({"X_val": X_VAL * np.nan, "y_val": Y_VAL}, "^X_val, y_val or .*NaN"),
    "labels": ({"X_val": X_VAL, "y_val": Y_VAL + 1}, "y_val has labels that y has not"),
    "three labels": (
        {"X_val": X_VAL, "y_val": np.arange(len(Y_VAL)) % 3}, "^X_val, y_val or .*Only binary",
    ),
    "weights": (
        {**OWN, "sample_weight_val": -np.ones(len(Y_VAL))}, "^X_val, y_val or .*Negative values",
    ),
    "no weight": (
        {**OWN, "sample_weight_val": np.zeros(len(Y_VAL))}, "^X_val, y_val or .*sample_weight",
    ),
    "empty": ({"X_val": X_VAL[:0], "y_val": Y_VAL[:0]}, "^X_val, y_val or .*0 sample"),
    "sparse": (
        {"X_val": scipy.sparse.csr_array(np.full_like(X_VAL, np.inf)), "y_val": Y_VAL},
        "^X_val, y_val or .*inf",
    ),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_bad_rows(bad):
    arguments, message = BAD[bad]
    model = MLPBinaryClassifier(**STOPPING)
    with np.errstate(invalid="ignore"), pytest.raises(ValueError, match=message):
        model.fit(X_TRAIN, Y_TRAIN, **arguments)
    assert not hasattr(model, "coefs_")


def test_rows_too_large_for_the_dtype():
    model = MLPBinaryClassifier(**STOPPING)
    with pytest.raises(ValueError, match=r"^X_val, .*value too large for dtype"):
        model.fit(X_TRAIN.astype(np.float32), Y_TRAIN, X_val=X_VAL * 1e300, y_val=Y_VAL)


TOGETHER = {
    "X_val": ({}, OWN, "X_val needs early_stopping=True"),
    "X_val and lbfgs": (
        {"solver": "lbfgs", "early_stopping": True}, OWN, "X_val needs solver='adam' or 'sgd'",
    ),
    "scoring": ({"scoring": "roc_auc"}, {}, "scoring='roc_auc' needs early_stopping=True"),
    "scoring and lbfgs": (
        {"scoring": "loss", "early_stopping": True, "solver": "lbfgs"}, {},
        "scoring='loss' needs solver='adam' or 'sgd'",
    ),
    "cosine and lbfgs": (
        {"learning_rate": "cosine", "solver": "lbfgs"}, {}, "learning_rate='cosine' needs solver",
    ),
    "warmup and lbfgs": ({"warmup": 0.5, "solver": "lbfgs"}, {}, "warmup=0.5 needs solver"),
    "unknown": ({"scoring": "speed", "early_stopping": True}, {}, "The 'scoring' parameter of"),
    "a metric": (
        {"scoring": accuracy_score, "early_stopping": True}, {}, "scoring value .* looks like",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TOGETHER)
def test_what_makes_no_sense_together(case):
    settings, arguments, message = TOGETHER[case]
    with pytest.raises(ValueError, match=message):
        MLPBinaryClassifier(**{**SETTINGS, **settings}).fit(X_TRAIN, Y_TRAIN, **arguments)


@pytest.mark.parametrize("value", [np.nan, None, "high", 1j])
def test_a_score_must_be_a_number(value):
    model = quietly(MLPBinaryClassifier(**SETTINGS, max_iter=1).fit, X, Y)
    before = dict(vars(model))
    model.set_params(early_stopping=True, scoring=lambda estimator, X, y: value)
    with pytest.raises(ValueError, match=r"must give a number, and gave .* for the 30 validation"):
        model.fit(X, Y)
    assert {name: vars(model)[name] for name in before if name.endswith("_")} == {
        name: value for name, value in before.items() if name.endswith("_")
    }


@pytest.mark.parametrize("n_init", [1, 2])
def test_scores_of_minus_infinity_leave_the_last_weights(n_init):
    settings = {**SETTINGS, "max_iter": 3, "n_init": n_init}
    seen = []

    def scoring(estimator, X, y):
        seen.append(estimator.coefs_)
        return -np.inf

    model = MLPBinaryClassifier(**settings, early_stopping=True, scoring=scoring)
    with pytest.warns(UserWarning, match="^scoring has given no epoch a score"):
        model.fit(X, Y)
    assert model.best_epoch_ is None
    assert model.best_validation_score_ == -np.inf
    assert model.validation_scores_ == [-np.inf] * 3
    for kept, last in zip(model.coefs_, seen[2], strict=True):
        np.testing.assert_array_equal(kept, last)
    assert not np.array_equal(seen[0][0], seen[2][0])


def test_divergence_under_a_loss_that_is_never_a_number_is_an_error():
    model = MLPBinaryClassifier(
        **{**STOPPING, "learning_rate_init": 1e300}, solver="sgd", scoring="loss"
    )
    with pytest.raises(ValueError, match="training diverged"):
        quietly(model.fit, X, Y)
    assert not hasattr(model, "coefs_")


def test_an_error_in_a_score_is_the_users():
    def scoring(estimator, X, y):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        MLPBinaryClassifier(**STOPPING, scoring=scoring).fit(X, Y)


@pytest.mark.parametrize("learning_rate", ["cosine", lambda t: 1 - t])
def test_the_planned_end_of_a_schedule_is_no_lack_of_convergence(learning_rate):
    MLPBinaryClassifier(**SETTINGS, max_iter=3, learning_rate=learning_rate).fit(X, Y)


def test_falling_rates_reach_the_estimator():
    model = MLPBinaryClassifier(**SETTINGS, max_iter=4, learning_rate=lambda t: 1 - t, warmup=0.5)
    model.fit(X, Y)
    n = -(-len(X) // 200)
    updates = np.arange(4 * n)
    rates = 0.01 * (1 - updates / (4 * n)) * np.minimum(1, (updates + 1) / (2 * n))
    np.testing.assert_allclose(
        model.learning_rate_curve_, rates.reshape(4, n).mean(axis=1), rtol=1e-14
    )


def test_partial_fits_go_through_a_schedule_and_end_with_it():
    model = MLPBinaryClassifier(**SETTINGS, max_iter=3, learning_rate="cosine", batch_size=300)
    for _ in range(3):
        model.partial_fit(X, Y, classes=[0, 1])
    expected = 0.01 * (1 + np.cos(np.pi * np.arange(3) / 3)) / 2
    np.testing.assert_allclose(model.learning_rate_curve_, expected, rtol=1e-14)
    before = model.coefs_
    with pytest.raises(ValueError, match=r"3 of max_iter=3 epochs are done\. Raise max_iter"):
        model.partial_fit(X, Y)
    assert model.coefs_ is before
    model.set_params(max_iter=6).partial_fit(X, Y)
    assert model.learning_rate_curve_[-1] == pytest.approx(0.005)
