"""The estimator inside what people build around estimators."""

import copy
import pickle
import warnings

import joblib
import numpy as np
import pytest
from data import assert_same_parameters, quietly, two_classes
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectFromModel
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    cross_val_predict,
    cross_validate,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.utils import get_tags

from fastmlp import MLPBinaryClassifier

X, Y = two_classes(200)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def small(**kwargs):
    settings = {"max_iter": 20, "batch_size": 20, "learning_rate_init": 0.02, "random_state": 0}
    return MLPBinaryClassifier((8,), **settings).set_params(**kwargs)


def test_clone_and_parameters():
    settings = {
        name: f"value of {name}" for name in MLPBinaryClassifier().get_params()
    }  # no parameter is looked at before fit
    model = MLPBinaryClassifier(**settings)
    assert model.get_params() == clone(model).get_params() == settings
    assert MLPBinaryClassifier().set_params(**settings).get_params() == settings
    with pytest.raises(ValueError, match="Invalid parameter 'loss'"):
        model.set_params(loss="hinge")


def test_repr_shows_what_was_set():
    assert repr(MLPBinaryClassifier((8,), n_threads=1, max_iter=200)) == (
        "MLPBinaryClassifier(hidden_layer_sizes=(8,), n_threads=1)"
    )
    assert "MLPBinaryClassifier" in small()._repr_html_()


def test_tags():
    tags = get_tags(MLPBinaryClassifier())
    assert tags.estimator_type == "classifier"
    assert not tags.classifier_tags.multi_class
    assert not tags.classifier_tags.multi_label
    assert tags.input_tags.sparse
    assert tags.target_tags.required


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "oldest pickle": lambda model: pickle.loads(pickle.dumps(model, protocol=2)),
}


@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_copies_predict_and_train_on(duplicate, solver):
    model = small(solver=solver, warm_start=True, learning_rate="adaptive").fit(X, Y)
    other = duplicate(model)
    np.testing.assert_array_equal(model.predict_proba(X), other.predict_proba(X))
    if solver == "lbfgs":
        model.fit(X, Y)
        other.fit(X, Y)
    else:
        model.partial_fit(X, Y)
        other.partial_fit(X, Y)
        assert model.loss_curve_ == other.loss_curve_
    assert_same_parameters(model, other)


def test_an_unfitted_pickle():
    assert pickle.loads(pickle.dumps(small())).get_params() == small().get_params()


@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_joblib_dump_and_load(tmp_path, mmap_mode):
    model = small().fit(X, Y)
    joblib.dump(model, tmp_path / "model.joblib")
    other = joblib.load(tmp_path / "model.joblib", mmap_mode=mmap_mode)
    np.testing.assert_array_equal(model.predict_proba(X), other.predict_proba(X))
    # Weights that lie in a read-only file are no hindrance.
    assert_same_parameters(model.partial_fit(X, Y), other.partial_fit(X, Y))


def test_joblib_parallel_gives_the_same_models():
    fits = (joblib.delayed(quietly)(small(random_state=seed).fit, X, Y) for seed in (0, 1))
    for seed, model in enumerate(joblib.Parallel(n_jobs=2)(fits)):
        assert_same_parameters(model, small(random_state=seed).fit(X, Y))


def test_grid_search_in_two_processes():
    grid = {"hidden_layer_sizes": [(4,), (8, 4)], "alpha": [1e-4, 1.0]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        search = GridSearchCV(small(), grid, n_jobs=2, cv=3, scoring="roc_auc").fit(X, Y)
    alone = GridSearchCV(small(), grid, cv=3, scoring="roc_auc").fit(X, Y)
    assert search.best_params_ == alone.best_params_
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"]
    )
    assert search.best_score_ > 0.75


@pytest.mark.parametrize(
    "method", ["predict", "predict_proba", "predict_log_proba", "decision_function"]
)
def test_cross_val_predict(method):
    predicted = cross_val_predict(small(), X, Y, cv=3, method=method)
    score = predicted[:, 1] if predicted.ndim == 2 else predicted
    assert len(score) == len(Y)
    assert roc_auc_score(Y, score) > 0.7


@pytest.mark.parametrize("method", ["sigmoid", "isotonic"])
def test_calibration(method):
    model = CalibratedClassifierCV(small(), method=method, cv=3).fit(X, Y)
    assert roc_auc_score(Y, model.predict_proba(X)[:, 1]) > 0.8


def test_ensembles():
    models = [
        BaggingClassifier(small(), n_estimators=3, random_state=0),
        StackingClassifier([("mlp", small()), ("line", LogisticRegression())], cv=3),
        VotingClassifier([("mlp", small()), ("line", LogisticRegression())], voting="soft"),
    ]
    for model in models:
        assert model.fit(X, Y).score(X, Y) > 0.75


def test_one_versus_rest_gives_more_classes():
    y = Y + (X[:, 2] > 0.5)
    assert OneVsRestClassifier(small(max_iter=50)).fit(X, y).score(X, y) > 0.7


def test_a_moved_threshold():
    model = small().fit(X, Y)
    strict = FixedThresholdClassifier(model, threshold=0.9).fit(X, Y)
    assert 0 < strict.predict(X).sum() < model.predict(X).sum()


def test_inspection():
    model = small(max_iter=60).fit(X, Y)
    importances = permutation_importance(model, X, Y, n_repeats=3, random_state=0)
    assert importances.importances_mean.argmax() == 0
    assert partial_dependence(model, X, [0])["average"].shape[0] == 1
    selector = SelectFromModel(
        model, prefit=True, importance_getter=lambda fitted: abs(fitted.coefs_[0]).sum(axis=1)
    )
    assert selector.transform(X).shape[1] < 6


def test_set_output_of_a_pipeline():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcdef"))
    model = make_pipeline(StandardScaler(), small()).set_output(transform="pandas")
    model.fit(frame, Y)
    assert model[-1].feature_names_in_.tolist() == list("abcdef")
    # A stack of models hands its predictions on as a frame.
    stack = StackingClassifier([("mlp", small())], cv=3).set_output(transform="pandas").fit(X, Y)
    assert list(stack.transform(X).columns) == ["stackingclassifier_mlp"]


def test_metadata_routing():
    weight = np.where(X[:, 0] > 0, 3.0, 0.5)
    with config_context(enable_metadata_routing=True):
        model = small().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        pipeline = make_pipeline(FunctionTransformer(), model).fit(X, Y, sample_weight=weight)
        assert_same_parameters(pipeline[-1], small().fit(X, Y, sample_weight=weight))
        assert abs(pipeline[-1].coefs_[0] - small().fit(X, Y).coefs_[0]).max() > 1e-3
        scores = cross_validate(model, X, Y, params={"sample_weight": weight}, cv=3)
        assert scores["test_score"].mean() > 0.7
        stepwise = small().set_partial_fit_request(sample_weight=True, classes=True)
        stepwise.partial_fit(X, Y, sample_weight=weight, classes=[0, 1])
        routed = stepwise.get_metadata_routing().partial_fit.requests
        assert routed == {"sample_weight": True, "classes": True}


def test_pandas():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcdef"))
    frame["f"] = frame["f"].astype("float32")
    frame["e"] = (10 * frame["e"]).astype("int16")
    labels = pd.Series(Y).map({0: "no", 1: "yes"})
    model = small().fit(frame, labels)
    expected = small().fit(frame.to_numpy(np.float64), labels.to_numpy())
    assert_same_parameters(model, expected)
    assert model.feature_names_in_.tolist() == list("abcdef")
    assert set(model.predict(frame)) == {"no", "yes"}
    assert model.score(frame, labels) > 0.8
    # A weight for each row, and categories of which one is not used.
    categories = labels.astype("category").cat.add_categories(["maybe"])
    weighted = small().fit(frame, categories, sample_weight=pd.Series(np.ones(200)))
    assert weighted.classes_.tolist() == ["no", "yes"]
    for nullable in (frame.convert_dtypes(), frame.astype("Float64")):
        assert_same_parameters(small().fit(nullable, labels), expected)


def test_pandas_with_missing_values():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X).convert_dtypes()
    frame.iloc[0, 0] = pd.NA
    with pytest.raises(ValueError, match="contains NaN"):
        small().fit(frame, Y)
    with pytest.raises((ValueError, TypeError), match=r"(?i)nan|<NA>"):
        small().fit(X, pd.Series([pd.NA, *Y[1:]], dtype="Int64"))


def test_sparse_pandas():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X).astype(pd.SparseDtype("float64", 0.0))
    np.testing.assert_allclose(
        small().fit(frame, Y).coefs_[0], small().fit(X, Y).coefs_[0], atol=1e-10
    )


def test_polars():
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({name: X[:, k] for k, name in enumerate("abcdef")})
    labels = pl.Series("y", np.array(["no", "yes"])[Y])
    model = small().fit(frame, labels)
    assert_same_parameters(model, small().fit(X, np.array(["no", "yes"])[Y]))
    assert model.score(frame, labels) > 0.8
    # Whether names are found depends on the versions of scikit-learn and polars.
    if hasattr(LogisticRegression().fit(frame, labels), "feature_names_in_"):
        assert model.feature_names_in_.tolist() == list("abcdef")
        with pytest.raises(ValueError, match="feature names"):
            model.predict(frame.rename({"a": "z"}))


def test_mixed_columns():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X[:, :2], columns=["a", "b"])
    frame["town"] = np.array(["Oslo", "Rome"])[Y]
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), ["a", "b"]), ("names", OneHotEncoder(), ["town"])]
    )
    assert make_pipeline(columns, small()).fit(frame, Y).score(frame, Y) == 1


def test_text():
    text = np.array(["cheap pills now", "minutes of the meeting"])[Y]
    model = make_pipeline(TfidfVectorizer(), small()).fit(text, Y)
    assert model.score(text, Y) == 1


def test_read_only_and_memory_mapped_input(tmp_path):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    frozen = X.copy()
    frozen.flags.writeable = False
    expected = small().fit(X, Y)
    assert_same_parameters(small().fit(mapped, Y), expected)
    assert_same_parameters(small().fit(frozen, Y), expected)
    np.testing.assert_array_equal(expected.predict_proba(mapped), expected.predict_proba(X))


def test_x_is_never_written_to():
    for array in (X.copy(), np.asfortranarray(X), X.astype(np.float32)):
        before = array.copy()
        small().fit(array, Y).predict(array)
        np.testing.assert_array_equal(array, before)
