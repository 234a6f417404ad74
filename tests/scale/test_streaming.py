"""streaming.fit: which model comes of rows that pass by in windows."""

import math
import warnings

import numpy as np
import pytest
from chunked import in_chunks, streamed
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from fastmlp import MLPBinaryClassifier
from fastmlp.data.scratch import is_held_out
from fastmlp.data.sink import Room

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, F = 4000, 6
#: So little that these rows make several windows.
SMALL = 150_000


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, F))
    y = np.where(X[:, 0] + X[:, 1] * X[:, 2] > 0.3, "no", "yes")  # "yes" may come first
    weight = rng.integers(0, 4, N) * 0.7
    return X, y, weight


def new(**parameters):
    defaults = {"random_state": 0, "max_iter": 3, "batch_size": 50}
    return MLPBinaryClassifier((8,), **{**defaults, **parameters})


def stream(model, *arrays, memory=SMALL, **arguments):
    return streamed(model, *arrays, memory=memory, **arguments)


def assert_same(a, b):
    for one, other in zip((*a.coefs_, *a.intercepts_), (*b.coefs_, *b.intercepts_), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(a.classes_, b.classes_)
    assert a.classes_.dtype == b.classes_.dtype
    for name in ("loss_curve_", "validation_scores_", "validation_loss_curve_", "best_loss_"):
        assert getattr(a, name) == getattr(b, name)
    for name in ("t_", "n_iter_", "best_epoch_", "learning_rate_curve_", "n_features_in_"):
        assert getattr(a, name) == getattr(b, name)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"early_stopping": True},
        {"early_stopping": True, "scoring": "roc_auc"},
        {"early_stopping": True, "scoring": "loss", "class_weight": "balanced"},
        {"class_weight": {"no": 3.0}, "solver": "sgd"},
        {"dtype": "float32", "dropout": 0.2, "learning_rate": "cosine", "warmup": 0.1},
        {"n_init": 2},
        {"shuffle": False, "batch_size": 5000},
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scratch", [None, False])
@pytest.mark.filterwarnings("ignore:batch_size")
def test_rows_in_one_window_give_the_model_of_fit(data, parameters, weighted, scratch):
    X, y, weight = data
    if scratch is False and parameters.get("early_stopping"):
        return
    arrays = (X, y, weight) if weighted else (X, y)
    expected = new(**parameters).fit(*arrays)
    assert_same(stream(new(**parameters), *arrays, memory=2**26, scratch=scratch), expected)


@pytest.mark.parametrize("dtype", [np.int8, np.float32, np.bool_])
def test_types_of_numbers_stay(data, dtype):
    X, y, _ = data
    X = (3 * X).astype(dtype)
    assert_same(stream(new(), X, y, memory=2**26), new().fit(X, y))


def test_validation_rows_of_their_own_in_one_window(data):
    X, y, weight = data
    parameters = {"early_stopping": True, "class_weight": "balanced"}
    first, last = slice(0, 3000), slice(3000, N)
    expected = new(**parameters).fit(
        X[first],
        y[first],
        weight[first],
        X_val=X[last],
        y_val=y[last],
        sample_weight_val=weight[last],
    )
    found = stream(
        new(**parameters), X[first], y[first], weight[first], memory=2**26,
        validation=in_chunks(X[last], y[last], weight[last]),
    )  # fmt: skip
    assert_same(found, expected)


def oracle(model, X, y, memory, epochs):
    """The same by partial_fit on the windows that an independent loop makes."""
    room = Room(memory, model.batch_size)
    window, piece = room.window_rows(X), room.piece_rows(X)
    assert len(X) > 2 * window
    n_windows = math.ceil(len(X) / window)
    window = math.ceil(len(X) / n_windows / model.batch_size) * model.batch_size
    classes = np.unique(y)
    rng = np.random.RandomState(0)
    draws = new(shuffle=False, random_state=rng, batch_size=1)
    draws.partial_fit(X[:1], y[:1], classes=classes)  # weights, and nothing else
    model = new(shuffle=False, random_state=0)
    pieces = np.arange(-(-len(X) // piece))
    for _ in range(epochs):
        order = pieces.copy()
        rng.shuffle(order)
        rows = np.concatenate([np.arange(k * piece, min(len(X), (k + 1) * piece)) for k in order])
        for first in range(0, len(X), window):
            own = rows[first : first + window]
            places = np.arange(len(own))
            rng.shuffle(places)
            model.partial_fit(X[own[places]], y[own[places]], classes=classes)
    return model


def test_several_windows_give_what_partial_fit_on_them_gives(data):
    X, y, _ = data
    expected = oracle(new(), X, y, SMALL, epochs=3)
    found = stream(new(), X, y)
    for one, other in zip(found.coefs_, expected.coefs_, strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.t_ == expected.t_ == 3 * N
    assert len(found.loss_curve_) == found.n_iter_ == 3


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"early_stopping": True, "class_weight": "balanced"},
        {"learning_rate": "cosine", "dropout": 0.1},
    ],
)
def test_sizes_of_chunks_do_not_matter(data, parameters):
    a, b, c = (stream(new(**parameters), *data, rows=rows) for rows in (7, 700, N))
    assert_same(a, b)
    assert_same(a, c)


def test_rows_are_held_out_by_their_numbers_alone():
    whole = is_held_out(3, 0, 10_000, 0.1)
    assert 900 < whole.sum() < 1100
    for first, last in ((0, 1), (1, 4), (5, 77), (9_998, 10_000)):
        np.testing.assert_array_equal(is_held_out(3, first, last - first, 0.1), whole[first:last])
    assert not np.array_equal(is_held_out(4, 0, 10_000, 0.1), whole)


def test_no_row_is_trained_on_and_validated_on(data):
    X, y, _ = data
    numbers = np.zeros(N, bool)
    numbers[::7] = True
    model = stream(new(early_stopping=True, max_iter=1, validation_fraction=0.3), X, y)
    assert 0.25 * N < N - model.t_ < 0.35 * N


def test_swapped_labels_and_weights_reach_training(data):
    """A file in which the last class comes first, with weights of rows and classes."""
    X, y, weight = data
    last_first = np.argsort(y != "yes", kind="stable")
    parameters = {"class_weight": {"yes": 5.0}, "shuffle": False, "max_iter": 2}
    arrays = [array[last_first] for array in (X, y, weight)]
    expected = new(**parameters).fit(*arrays)
    found = stream(new(**parameters), *arrays)
    # Without a shuffle, windows make the minibatches of fit. Weights are scaled by window.
    for one, other in zip(found.coefs_, expected.coefs_, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    assert found.classes_.tolist() == ["no", "yes"]


@pytest.mark.parametrize("scratch", [None, False])
def test_without_a_shuffle_windows_do_not_matter(data, scratch):
    X, y, _ = data
    parameters = {"shuffle": False, "learning_rate": "cosine", "warmup": 0.2}
    expected = new(**parameters).fit(X, y)
    found = stream(new(**parameters), X, y, scratch=scratch)
    np.testing.assert_array_equal(found.coefs_[0], expected.coefs_[0])
    np.testing.assert_allclose(found.loss_curve_, expected.loss_curve_)
    assert found.learning_rate_curve_ == expected.learning_rate_curve_


def test_a_source_that_is_sorted_by_its_target():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((60_000, 8)).astype(np.float32)
    y = (X[:, 0] + X[:, 1] * X[:, 2] + rng.standard_normal(60_000) > 0).astype(int)
    X, X_test, y, y_test = X[:50_000], X[50_000:], y[:50_000], y[50_000:]
    order = np.argsort(y, kind="stable")
    parameters = {"max_iter": 6, "batch_size": 200, "learning_rate": "cosine"}
    expected = new(**parameters).fit(X, y)
    model = stream(new(**parameters), X[order], y[order], memory=1_500_000)
    losses = [log_loss(y_test, each.predict_proba(X_test)) for each in (expected, model)]
    assert losses[1] < 1.01 * losses[0], losses


@pytest.mark.parametrize(
    "scoring", [None, "loss", "roc_auc", "accuracy", "neg_log_loss", "f1_macro"]
)
def test_early_stopping_in_windows_scores_as_the_model_does(data, scoring):
    from sklearn.metrics import get_scorer

    X, y, weight = data
    model = stream(
        new(early_stopping=True, scoring=scoring, max_iter=4), X[:3000], y[:3000], weight[:3000],
        validation=in_chunks(X[3000:], y[3000:], weight[3000:], rows=33), memory=100_000,
    )  # fmt: skip
    names = {None: "accuracy", "loss": "neg_log_loss"}
    scorer = get_scorer(names.get(scoring, scoring))
    score = scorer(model, X[3000:], y[3000:], sample_weight=weight[3000:])
    assert score == pytest.approx(model.best_validation_score_)
    assert model.validation_scores_[model.best_epoch_] == model.best_validation_score_
    assert len(model.validation_loss_curve_) == 4


@pytest.mark.parametrize("n_rows", [300, 3000, 3900])
@pytest.mark.parametrize("memory", [100_000, 120_000])
def test_wherever_rows_and_those_to_validate_on_lie(data, n_rows, memory):
    """One of both may have room in memory, and the other not."""
    X, y, weight = data
    first, last = slice(0, n_rows), slice(n_rows, N)
    parameters = {"early_stopping": True, "shuffle": False, "class_weight": "balanced"}
    arguments = {
        "validation": in_chunks(X[last], y[last], weight[last]),
        "memory": memory,
    }
    a, b = (
        stream(new(**parameters), X[first], y[first], weight[first], scratch=s, **arguments)
        for s in (None, False)
    )
    # Their windows are cut at other places, so sums of losses are rounded otherwise.
    assert all(map(np.array_equal, a.coefs_, b.coefs_))
    np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-12)
    np.testing.assert_allclose(a.validation_scores_, b.validation_scores_, rtol=1e-12)
    c = new(**parameters).fit(
        X[first],
        y[first],
        weight[first],
        X_val=X[last],
        y_val=y[last],
        sample_weight_val=weight[last],
    )
    np.testing.assert_allclose(a.coefs_[0], c.coefs_[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(a.validation_scores_, c.validation_scores_)
    np.testing.assert_allclose(a.validation_loss_curve_, c.validation_loss_curve_)


def test_stopping_ends_training_early(data):
    X, y, _ = data
    model = stream(new(max_iter=50, early_stopping=True, n_iter_no_change=2, tol=10.0), X, y)
    assert model.n_iter_ < 10
    model = stream(new(max_iter=50, n_iter_no_change=2, tol=10.0), X, y)
    assert model.n_iter_ == 4


@pytest.mark.parametrize("memory", [SMALL, 2**26])
def test_warm_start_goes_on(data, memory):
    X, y, _ = data
    model = stream(new(warm_start=True), X, y, memory=memory)
    losses = list(model.loss_curve_)
    stream(model, X, y, memory=memory)
    assert model.loss_curve_[: len(losses)] == losses
    assert len(model.loss_curve_) == 2 * len(losses)
    assert model.loss_curve_[-1] < losses[0]
    assert model.t_ == 6 * N
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        stream(model.set_params(hidden_layer_sizes=(3,)), X, y)
    model.set_params(hidden_layer_sizes=(8,))
    with pytest.raises(ValueError, match="chunk 0, row 0: the label 'maybe' is not among"):
        stream(model, X, np.full(N, "maybe"))
    with pytest.raises(ValueError, match="same classes"):
        stream(model, X, np.full(N, "no"))
    with pytest.raises(ValueError, match="5 features, but MLPBinaryClassifier is expecting 6"):
        stream(model, X[:, 1:], y)
    assert model.t_ == 6 * N


def test_several_starts(data):
    X, y, _ = data
    model = stream(new(n_init=3, max_iter=2), X, y)
    assert len(model.init_scores_) == 3
    assert model.loss_ == min(model.init_scores_)
    assert model.init_scores_[0] == stream(new(max_iter=2), X, y).loss_


@pytest.mark.parametrize("memory", [SMALL, 2**26])
def test_one_class(data, memory):
    X, _, _ = data
    y = np.full(N, 3, np.int8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = stream(new(early_stopping=True, class_weight="balanced"), X, y, memory=memory)
    assert model.classes_.tolist() == [3]
    assert model.classes_.dtype == np.int8
    assert model.validation_scores_ == [1.0] * 3
    assert (model.predict(X) == 3).all()


def test_callbacks(data):
    pytest.importorskip("sklearn.callback")
    told = []

    class Notes:
        def setup(self, estimator, context):
            told.append("setup")

        def teardown(self, estimator, context):
            told.append("teardown")

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator, metadata):
            told.append(f"{context.task_name} {context.task_id}")
            assert fitted_estimator.predict_proba(X).shape == (len(y), 2)
            assert len(metadata["sample_weight"]) == len(y)
            return context.task_name == "epoch" and context.task_id == 1

    model = stream(new().set_callbacks(Notes()), *data)
    assert told == ["setup", "epoch 0", "epoch 1", "fit 0", "teardown"]
    assert model.n_iter_ == 2


@pytest.mark.parametrize("y", [[True, False], [0, 1], [-1.0, 1.0], ["b", "a"]])
def test_labels_keep_their_type(data, y):
    X = data[0]
    y = np.resize(np.array(y), N)
    model = stream(new(max_iter=1), X, y)
    assert model.classes_.dtype == new(max_iter=1).fit(X, y).classes_.dtype


@pytest.mark.parametrize(
    ("parameters", "arguments", "message"),
    [
        ({"solver": "lbfgs"}, {}, "fastmlp.dask.DaskMLPBinaryClassifier"),
        ({"early_stopping": True, "scoring": lambda *_: 1.0}, {}, "name one of scikit-learn's"),
        ({"early_stopping": True}, {"scratch": False}, "give validation"),
        ({}, {"validation": in_chunks(np.ones((2, F)), np.arange(2))}, "early_stopping=True"),
        (
            {},
            {"memory": 1000},
            r"no room for two minibatches of 50 rows of 6 features, .* need 8\d+",
        ),
        ({}, {"memory": 0}, "memory must be"),
        ({}, {"scratch": "no such folder"}, "scratch must be a folder"),
        ({}, {"scratch": True}, "scratch must be a folder"),
        ({"alpha": -1.0}, {}, "alpha"),
        ({"class_weight": {"maybe": 1.0}}, {}, "class_weight names"),
        ({"class_weight": {"no": 0.0, "yes": 0.0}}, {}, "class_weight is 0"),
    ],
)
def test_arguments_that_do_not_go_together(data, parameters, arguments, message):
    X, y, _ = data
    model = new(**parameters)
    with pytest.raises(ValueError, match=message):
        stream(model, X, y, **arguments)
    assert not hasattr(model, "coefs_")


def test_the_least_memory_that_is_named_is_enough(data):
    X, y, _ = data
    with pytest.raises(ValueError, match="two minibatches") as error:
        stream(new(), X, y, memory=1000)
    least = int(str(error.value).split("which need ")[1].split(":")[0])
    model = stream(new(max_iter=1), X, y, memory=least)
    assert model.t_ == N
    with pytest.raises(ValueError, match="two minibatches"):
        stream(new(), X, y, memory=least - 60)


def test_rows_that_cannot_be_held_out(data):
    X, y, _ = data
    model = new(early_stopping=True, validation_fraction=1e-4)
    with pytest.raises(ValueError, match=r"of 4000 rows leaves [01] to validate on"):
        stream(model, X, y)
    weight = np.zeros(N)
    weight[7] = 1.0
    with pytest.raises(ValueError, match="sample_weight is 0 for all rows that were drawn to"):
        stream(new(early_stopping=True), X, y, weight)


def test_other_models_are_refused(data):
    with pytest.raises(TypeError, match="must be an MLPBinaryClassifier"):
        stream(LogisticRegression(), *data[:2])


def test_diverged_training_leaves_the_model_as_it_was(data):
    X, y, _ = data
    model = new(solver="sgd", learning_rate_init=1e200, momentum=0.0)
    with pytest.raises(ValueError, match=r"training diverged\. Lower learning_rate_init"):
        stream(model, X, y)
    assert not hasattr(model, "classes_")
