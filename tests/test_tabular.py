"""The estimator for raw tables: what it takes, what it refuses, and what it leaves."""

import copy
import pickle
import warnings
from dataclasses import astuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from fastmlp import TabularMLPBinaryClassifier
from fastmlp.data.rows import as_rows
from fastmlp.data.table import TableReader
from fastmlp.estimators.tabular import networks_of
from fastmlp.kernels.encode import CATEGORY
from fastmlp.training.loop import Training
from fastmlp.training.schedules import Constant
from fastmlp.training.stopping import Plateau
from fastmlp.training.table import Deadline, Stretches, TableModel

NAN = np.nan


def raw_table(n=400, seed=0):
    """Numbers with gaps and a spike, text with a rare level, a flag, and columns without news."""
    rng = np.random.default_rng(seed)
    age = rng.normal(40, 12, n)
    job = rng.choice(["clerk", "cook", "smith", "pilot"], n, p=[0.4, 0.3, 0.28, 0.02]).astype(
        object
    )
    gain = np.where(rng.random(n) < 0.8, 0.0, rng.exponential(1000, n))
    flag = rng.random(n) < 0.3
    z = (age > 45) * 2.0 + (job == "cook") * 1.5 - (gain > 0) * 2.0 + flag - 1.2
    y = np.where(rng.random(n) < 1 / (1 + np.exp(-2 * z)), "yes", "no")
    age[rng.random(n) < 0.1] = NAN
    job[rng.random(n) < 0.1] = None
    X = pd.DataFrame({
        "age": age, "job": job, "gain": gain, "flag": flag, "one": 7.0, "empty": NAN,
    })  # fmt: skip
    return X, y


X, Y = raw_table()
SMALL = {"n_folds": 2, "max_iter": 6, "random_state": 0}


@pytest.fixture(scope="module")
def model():
    return TabularMLPBinaryClassifier(**SMALL).fit(X, Y)


def test_it_learns_from_a_raw_table():
    model = TabularMLPBinaryClassifier(random_state=0).fit(X, Y)
    X_new, y_new = raw_table(2000, seed=1)
    p = model.predict_proba(X_new)
    assert p.dtype == np.float64
    np.testing.assert_allclose(p.sum(axis=1), 1)
    base = log_loss(y_new, np.tile([np.mean(Y == "no"), np.mean(Y == "yes")], (2000, 1)))
    assert log_loss(y_new, p) < 0.8 * base
    assert roc_auc_score(y_new, p[:, 1]) > 0.85
    np.testing.assert_array_equal(model.predict(X_new), np.where(p[:, 1] > 0.5, "yes", "no"))
    np.testing.assert_allclose(
        model.decision_function(X_new), np.log(p[:, 1] / p[:, 0]), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize(
    "convert",
    [
        pl.from_pandas,
        lambda X: pa.Table.from_pandas(X, preserve_index=False),
        lambda X: X.astype({"job": "category"}),
        lambda X: X.astype({"gain": "Float64", "age": "Float64"}),
    ],
    ids=["polars", "pyarrow", "categories", "nullable"],
)
def test_the_kind_of_table_does_not_matter(convert, model):
    other = TabularMLPBinaryClassifier(**SMALL).fit(convert(X), Y)
    np.testing.assert_array_equal(other.predict_proba(convert(X)), model.predict_proba(X))
    np.testing.assert_array_equal(model.predict_proba(convert(X)), model.predict_proba(X))


def test_arrays_and_sparse_matrices():
    numbers = np.nan_to_num(X[["age", "gain", "one"]].to_numpy())
    results = [
        TabularMLPBinaryClassifier(**SMALL).fit(Z, Y).predict_proba(Z)
        for Z in (numbers, np.asfortranarray(numbers), sparse.csr_array(numbers), numbers.tolist())
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_what_columns_become(model):
    assert list(model.columns_) == list(X)
    assert model.columns_["age"].startswith("number: ")
    assert model.columns_["job"].startswith("category: ")
    assert model.columns_["flag"] == "two values: 1 output"
    assert model.columns_["one"] == model.columns_["empty"] == "nothing: it says nothing about rows"


@pytest.mark.parametrize("n_threads", [2, 5])
def test_bits_do_not_depend_on_threads(n_threads, model):
    other = TabularMLPBinaryClassifier(**SMALL, n_threads=n_threads).fit(X, Y)
    alone = TabularMLPBinaryClassifier(**SMALL, n_threads=1).fit(X, Y)
    for each in (alone, model):
        np.testing.assert_array_equal(other.predict_proba(X), each.predict_proba(X))
        np.testing.assert_array_equal(other.oof_probabilities_, each.oof_probabilities_)


def test_held_out_rows_are_unseen():
    """Rows that are held out change nothing but the epoch that is kept."""
    model = TabularMLPBinaryClassifier(n_folds=2, max_iter=1, random_state=0).fit(X, Y)
    assert np.isfinite(model.oof_probabilities_).all()
    noise = np.random.default_rng(0).permutation(Y)  # of which there is nothing to learn
    model.fit(X, noise)
    seen = roc_auc_score(noise, model.predict_proba(X)[:, 1])
    unseen = roc_auc_score(noise, model.oof_probabilities_[:, 1])
    assert unseen < 0.6 < seen or seen < 0.6


def test_curves(model):
    assert model.n_iter_ == 6
    for curves in (model.loss_curves_, model.validation_loss_curves_, model.validation_scores_):
        assert [len(curve) for curve in curves] == [6, 6]
    for best, scores in zip(model.best_epochs_, model.validation_scores_, strict=True):
        assert scores[best] == max(scores)
    assert len(model.learning_rate_curve_) == 6


# -- what comes at prediction ----------------------------------------------------------------------
def test_levels_never_seen_gaps_and_columns_in_another_order(model):
    new = X.copy()
    new.loc[0, "job"] = "astronaut"
    new.loc[1, ["age", "job", "gain"]] = [NAN, None, NAN]
    p = model.predict_proba(new)
    assert np.isfinite(p).all()
    np.testing.assert_array_equal(p[2:], model.predict_proba(X)[2:])
    for reordered in (new[list(X)[::-1]], pl.from_pandas(new[list(X)[::-1]])):
        np.testing.assert_array_equal(model.predict_proba(reordered), p)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda X: X.drop(columns="age"), "age"),
        (lambda X: X.assign(more=1), "more"),
        (lambda X: X.assign(age="old"), "'age'.*text 'old'"),
        (lambda X: X.assign(gain=np.inf), "'gain'"),
        (lambda X: X.to_numpy()[:, :3], "3 features"),
    ],
)
def test_other_columns_at_prediction(change, match, model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an array has no names
        with pytest.raises(ValueError, match=match):
            model.predict_proba(change(X))


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda X: X.assign(day=pd.Timestamp("2024-01-01")), TypeError, "'day'.*datetimes"),
        (lambda X: X.assign(gain=-np.inf), ValueError, "'gain'"),
        (lambda X: X.iloc[:0], ValueError, "0 sample"),
        (lambda X: X[[]], ValueError, "0 feature"),
        (lambda X: X["age"], ValueError, "two dimensions"),
    ],
)
def test_tables_that_are_none(change, error, match):
    with pytest.raises(error, match=match):
        TabularMLPBinaryClassifier(**SMALL).fit(change(X), Y)


@pytest.mark.parametrize(
    ("y", "match"),
    [
        (np.arange(400), "binary"),
        (["yes"] * 399 + ["no"], "1 row.*class no"),
        (None, "requires y"),
        (Y[:10], "inconsistent"),
    ],
)
def test_targets_that_are_none(y, match):
    with pytest.raises(ValueError, match=match):
        TabularMLPBinaryClassifier(**SMALL).fit(X, y)


def test_one_class_and_columns_that_say_nothing():
    model = TabularMLPBinaryClassifier(**SMALL).fit(X, ["yes"] * 400)
    assert model.predict(X).tolist() == ["yes"] * 400
    assert model.predict_proba(X).shape == (400, 1)
    model.fit(np.ones((400, 2)), Y)
    np.testing.assert_allclose(model.predict_proba(np.ones((3, 2)))[:, 1], np.mean(Y == "yes"))


def test_a_failed_fit_leaves_the_model(model):
    again = pickle.loads(pickle.dumps(model))
    with pytest.raises(ValueError, match="infinity"):
        again.fit(X.assign(gain=np.inf), Y)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


# -- weights and validation ------------------------------------------------------------------------
def test_rows_of_weight_0_do_not_count():
    weight = np.r_[np.zeros(100), np.ones(300)]
    other = X.copy()
    other.iloc[:100] = X.iloc[100:200].to_numpy()
    results = [
        TabularMLPBinaryClassifier(**SMALL).fit(Z, Y, weight).predict_proba(X) for Z in (X, other)
    ]
    np.testing.assert_array_equal(*results)


def test_class_weight_is_that_of_rows():
    by_class = TabularMLPBinaryClassifier(**SMALL, class_weight={"yes": 3}).fit(X, Y)
    by_row = TabularMLPBinaryClassifier(**SMALL).fit(X, Y, np.where(Y == "yes", 3.0, 1.0))
    np.testing.assert_array_equal(by_class.predict_proba(X), by_row.predict_proba(X))
    plain = TabularMLPBinaryClassifier(**SMALL).fit(X, Y)
    assert by_class.predict_proba(X)[:, 1].mean() > plain.predict_proba(X)[:, 1].mean() + 0.05


def test_validation_rows_that_are_given():
    model = TabularMLPBinaryClassifier(**SMALL)
    model.fit(X[:300], Y[:300], X_val=X[300:], y_val=Y[300:])
    expected = log_loss(Y[300:], model._models[0].probabilities(rows_of(model, X[300:]), 1))
    np.testing.assert_allclose(min(model.validation_loss_curves_[0]), expected, rtol=1e-5)
    assert np.isnan(model.oof_probabilities_).all()
    with pytest.raises(ValueError, match="X_val and y_val"):
        model.fit(X, Y, X_val=X)
    with pytest.raises(ValueError, match=r"X_val, .*non-zero"):
        model.fit(X, Y, X_val=X, y_val=Y, sample_weight_val=np.zeros(len(Y)))
    with pytest.raises(ValueError, match="y_val has labels"):
        model.fit(X, Y, X_val=X, y_val=np.where(Y == "yes", "yes", "perhaps"))
    with pytest.raises(ValueError, match=r"X_val, .*'gain'"):
        model.fit(X, Y, X_val=X.assign(gain="much"), y_val=Y)


def rows_of(model, X):
    return as_rows(model._reader.read(X), np.dtype("float32"))


@pytest.mark.parametrize("scoring", ["roc_auc", "accuracy", "neg_log_loss"])
def test_scoring(scoring, model):
    scored = TabularMLPBinaryClassifier(**SMALL, scoring=scoring).fit(X, Y)
    for k, scores in enumerate(scored.validation_scores_):
        assert scored.best_epochs_[k] == np.argmax(scores)
        if scoring == "neg_log_loss":
            np.testing.assert_allclose(scores, model.validation_scores_[k], rtol=1e-6)
        else:
            assert 0.4 < min(scores) <= max(scores) <= 1


def test_a_scorer_of_ones_own():
    def worst(estimator, X, y):
        assert list(X) == ["age", "job", "gain", "flag", "one", "empty"]
        return -roc_auc_score(y, estimator.predict_proba(X)[:, 1])

    model = TabularMLPBinaryClassifier(**SMALL, scoring=worst).fit(X, Y)
    assert all(max(scores) <= 0 for scores in model.validation_scores_)
    with pytest.raises(ValueError, match="must give a number"):
        TabularMLPBinaryClassifier(**SMALL, scoring=lambda *_: NAN).fit(X, Y)


# -- in scikit-learn -------------------------------------------------------------------------------
def test_pickles_and_clones(model):
    other = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    again = clone(model).fit(X, Y)
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    damaged = pickle.dumps(model).replace(b"clerk", b"clown")
    with pytest.raises(ValueError, match="damaged"):
        pickle.loads(damaged)


def test_in_pipelines_searches_and_ensembles():
    small = TabularMLPBinaryClassifier(**SMALL)
    pipeline = make_pipeline(FunctionTransformer(), small)
    assert cross_val_score(pipeline, X, Y, cv=2, scoring="roc_auc").mean() > 0.6
    search = GridSearchCV(small, {"max_iter": [1, 8]}, cv=2, scoring="neg_log_loss").fit(X, Y)
    assert search.best_params_ == {"max_iter": 8}
    for each in (
        CalibratedClassifierCV(small, cv=2),
        StackingClassifier([("nets", small)], LogisticRegression(), cv=2),
    ):
        assert each.fit(X, Y).predict_proba(X).shape == (400, 2)


def test_verbose(capsys):
    TabularMLPBinaryClassifier(n_folds=2, max_iter=3, random_state=0, verbose=True).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all("validation loss" in line for line in lines)


def test_an_interrupt_leaves_a_model(monkeypatch):
    run_epoch, calls = Training._run_epoch, []

    def interrupted(training, result):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return run_epoch(training, result)

    monkeypatch.setattr(Training, "_run_epoch", interrupted)
    model = TabularMLPBinaryClassifier(**SMALL, n_threads=1)
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, Y)
    assert model.n_iter_ == 3
    assert np.isfinite(model.predict_proba(X)).all()


# -- limits of time --------------------------------------------------------------------------------
def test_a_limit_of_time_that_is_too_short_leaves_an_epoch_each():
    model = TabularMLPBinaryClassifier(n_folds=2, random_state=0, time_limit=1e-6).fit(X, Y)
    assert [len(curve) for curve in model.loss_curves_] == [1, 1]
    assert np.isfinite(model.predict_proba(X)).all()


def test_a_deadline_ends_training_before_the_epoch_that_would_miss_it(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("fastmlp.training.table.time.perf_counter", lambda: now[0])
    deadline, ended = Deadline(10.0), []
    for seconds in (3.0, 3.0, 2.0):
        deadline.begin(None)
        now[0] += seconds
        ended.append(deadline.end(None))
    assert ended == [False, False, False]  # 8 s are over, and an epoch takes 2
    deadline.begin(None)
    now[0] += 1.5
    assert deadline.end(None)


def test_networks_share_what_is_left_of_a_limit(monkeypatch):
    """Of three networks, one at a time, the first has a third; two at a time have half each."""
    seen = []
    monkeypatch.setattr(
        "fastmlp.estimators.tabular_training.Deadline", lambda end: seen.append(end)
    )
    monkeypatch.setattr("fastmlp.training.table.Member.train", lambda *_: stop())
    monkeypatch.setattr("fastmlp.estimators.tabular_training.time.perf_counter", lambda: 0.0)

    def stop():
        raise RuntimeError("enough")

    for n_threads in (1, 2):
        with pytest.raises(RuntimeError, match="enough"):
            TabularMLPBinaryClassifier(
                n_folds=3, random_state=0, time_limit=60, n_threads=n_threads, verbose=False
            ).fit(X, Y)
    np.testing.assert_allclose(seen[0], 0.95 * 60 / 3)
    np.testing.assert_allclose(seen[1], 0.95 * 60 / 2)


def test_a_large_table_is_learned_in_stretches():
    """Every stretch has other rows, until all but a rest of them have had their turn."""

    class Recorder:
        network = None

        def __init__(self):
            self.orders = []

        def train_epoch(self, order, rate):
            self.orders.append(order.copy())
            return 1.0

        def get_parameters(self):
            return [], []

        def state(self):
            return None

        def end_training(self):
            pass

    recorder = Recorder()
    training = Stretches(
        recorder, np.arange(100), np.random.RandomState(0), Constant(0.1),
        Plateau(0.0, np.inf, higher_is_better=False),
    )  # fmt: skip
    training.rows_of_stretch = 32
    training.run(7, warn_unconverged=False)
    assert [len(order) for order in recorder.orders] == [32] * 7
    for first in (0, 3):
        seen = np.concatenate(recorder.orders[first : first + 3])
        assert len(set(seen.tolist())) == 96
    assert len(set(np.concatenate(recorder.orders).tolist())) == 100


# -- what others may have done to a model, and to numbers ------------------------------------------
def test_a_model_of_other_columns_reads_nothing(model):
    """Kernels go by addresses, so sizes are checked ahead of them, whatever an attribute says."""
    other = pickle.loads(pickle.dumps(model))
    other._reader = TableReader(other._reader.columns[:1])
    other.n_features_in_ = 1
    del other.feature_names_in_
    with pytest.raises(ValueError, match="1 features, but the network expects 6"):
        other.predict_proba(np.zeros((1, 1)))


@pytest.mark.parametrize(
    "damage",
    [
        lambda plain: plain["columns"]["start"].__setitem__(0, -5),
        lambda plain: plain["columns"]["edges"].__setitem__(0, 10**6),
        lambda plain: plain["columns"]["level"].fill(-1),
        lambda plain: plain["columns"]["source"].__setitem__(0, 99),
        lambda plain: plain["columns"]["scale"].fill(0),
        lambda plain: plain["edges"].__setitem__(0, NAN),
        lambda plain: plain.update(edges=np.empty((len(plain["edges"]), 0))),
        lambda plain: plain["level_rows"].fill(10**6),
        lambda plain: plain["encoder"].update(rows=(1, 1, 1)),
        lambda plain: plain["encoder"].update(width=7),
        lambda plain: plain.pop("hidden"),
    ],
)
def test_damaged_networks_are_refused(damage, model):
    plain = copy.deepcopy(model._models[0].plain())
    damage(plain)
    attributes = {"_models": [plain], "_reader": [astuple(c) for c in model._reader.columns]}
    with pytest.raises(ValueError, match="damaged"):
        networks_of(attributes)


def test_weights_of_another_shape_are_refused(model):
    plain = copy.deepcopy(model._models[0].plain())
    plain["coefs"][0] = plain["coefs"][0][:-1]
    rows = as_rows(model._reader.read(X), np.dtype("float32"))
    with pytest.raises(ValueError, match="must have shape"):
        TableModel.of_plain(plain).probabilities(rows, 1)


@pytest.mark.parametrize("largest", [7.9e307, 1e300])
def test_large_numbers(largest):
    Z = np.array([[-largest], [largest], [0.3], [-0.1]] * 50)
    p = TabularMLPBinaryClassifier(**SMALL).fit(Z, [0, 1, 1, 0] * 50).predict_proba(Z)
    assert np.isfinite(p).all()
    with pytest.raises(ValueError, match="column 0 has it in row 0"):
        TabularMLPBinaryClassifier(**SMALL).fit(Z * (1.7e308 / largest), [0, 1, 1, 0] * 50)


def test_scorers_get_the_weights_of_the_rows_held_out():
    weight = np.random.default_rng(0).uniform(0.1, 3, len(Y))
    results = [
        TabularMLPBinaryClassifier(**SMALL, scoring=scoring).fit(X, Y, weight)
        for scoring in ("loss", "neg_log_loss")
    ]
    for one, other in zip(*(m.validation_scores_ for m in results), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_levels_that_no_row_has_had_are_like_the_mean_of_all():
    rng = np.random.default_rng(0)
    level = rng.choice(list("abcdefgh"), 600)
    y = rng.random(600) < np.where(np.isin(level, list("ab")), 0.9, 0.1)
    Z = pd.DataFrame({"level": level, "noise": rng.normal(size=600)})
    model = TabularMLPBinaryClassifier(n_folds=1, random_state=0, max_iter=2).fit(Z, y)
    encoding, (coefs, _) = model._models[0].encoding, model._models[0].parameters
    kinds = encoding.columns.columns["kind"].tolist()
    others, *seen = encoding.encoder.steps(coefs[-1], kinds.index(CATEGORY))
    assert len(seen) == 8
    assert (np.min(seen, axis=0) <= others).all()
    assert (others <= np.max(seen, axis=0)).all()


def test_probabilities_of_rows_held_out_sum_up_to_1(model):
    np.testing.assert_allclose(model.oof_probabilities_.sum(axis=1), 1, rtol=1e-15)
