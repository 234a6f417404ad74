"""Training that fails or is interrupted costs nothing that was there before."""

import copy
import pickle
import signal
import threading
import time

import numpy as np
import pytest
from data import assert_same_parameters, quietly, two_classes
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPBinaryClassifier
from fastmlp.estimators import fitting, runs
from fastmlp.network.session import Session

X, Y = two_classes()
CALLS = {
    "fit": lambda model, X, y: model.fit(X, y),
    "warm_start": lambda model, X, y: model.set_params(warm_start=True).fit(X, y),
    "partial_fit": lambda model, X, y: model.partial_fit(X, y),
}
SETTINGS = {"max_iter": 5, "batch_size": 10, "random_state": 0}


@pytest.fixture(params=["adam", "sgd"])
def model(request):
    """A fitted estimator that has all there is to lose."""
    model = quietly(MLPBinaryClassifier((5, 4), solver=request.param, **SETTINGS).fit, X, Y)
    return model.partial_fit(X, Y)


@pytest.fixture(params=CALLS)
def call(request):
    return CALLS[request.param]


def raises_at(n, error, function):
    """The function, but its call number n raises."""
    count = iter(range(1, 10**9))

    def wrapped(*args, **kwargs):
        if next(count) == n:
            raise error
        return function(*args, **kwargs)

    return wrapped


def assert_nothing_lost(model, before, arrays):
    """The estimator equals a deep copy from before, and its arrays are the same objects."""
    kept, old = vars(model), vars(before)
    old = {**old, "warm_start": kept["warm_start"]}  # a parameter that the call changes
    assert kept.keys() == old.keys()
    for name in kept:
        np.testing.assert_equal(kept[name], old[name], err_msg=name)
    for array, same in zip((*model.coefs_, *model.intercepts_), arrays, strict=True):
        assert array is same
    np.testing.assert_array_equal(model.predict_proba(X), before.predict_proba(X))


def failing(model, call, error, X=X, y=Y):
    before, arrays = copy.deepcopy(model), (*model.coefs_, *model.intercepts_)
    with pytest.raises(error):
        call(model, X, y)
    assert_nothing_lost(model, before, arrays)


@pytest.mark.parametrize(
    ("bad_x", "bad_y"),
    [
        (np.full_like(X, np.nan), Y),
        (np.zeros((60, 9)), Y),
        (X, np.arange(60) % 3),
        (X[:-1], Y),
    ],
)
def test_bad_data(model, call, bad_x, bad_y):
    if call is CALLS["fit"] and bad_x.shape[1] == 9:
        bad_x = np.full((60, 9), np.inf)  # other features are welcome in a new fit
    failing(model, call, ValueError, bad_x, bad_y)


def test_bad_data_with_other_feature_names(model):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(np.full((60, 9), np.nan), columns=list("abcdefghi"))
    failing(model, CALLS["fit"], ValueError, frame)


def test_bad_parameter(model, call):
    model.set_params(hidden_layer_sizes=(-1,))
    failing(model, call, ValueError)


def test_divergence(model, call):
    model.set_params(learning_rate_init=1e300)
    before, arrays = copy.deepcopy(model), (*model.coefs_, *model.intercepts_)
    with pytest.raises(ValueError, match="non-finite"):
        quietly(call, model, 1e10 * X, Y)
    assert_nothing_lost(model, before, arrays)


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, SystemExit, RuntimeError])
@pytest.mark.parametrize("place", ["as_rows", "encode", "all_finite", "check_random_state"])
def test_failure_before_or_after_the_epochs(model, call, error, place, monkeypatch):
    module = runs if place == "all_finite" else fitting
    function = getattr(module, place)
    monkeypatch.setattr(module, place, raises_at(1, error(), function))
    before, arrays = copy.deepcopy(model), (*model.coefs_, *model.intercepts_)
    with pytest.raises(error):
        quietly(call, model, X, Y)
    monkeypatch.undo()
    assert_nothing_lost(model, before, arrays)


@pytest.mark.parametrize("error", [MemoryError, SystemExit])
@pytest.mark.parametrize("method", ["prepare", "train_epoch", "end_training", "state"])
def test_failure_in_the_session(model, call, error, method, monkeypatch):
    monkeypatch.setattr(Session, method, raises_at(1, error(), getattr(Session, method)))
    failing(model, lambda *args: quietly(call, *args), error)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_failure_once_all_is_taken_on(model, call, error, monkeypatch):
    take_on = runs.take_on

    def late(*args):
        take_on(*args)
        raise error

    monkeypatch.setattr(runs, "take_on", late)
    expected = copy.deepcopy(model)
    with pytest.raises(error):
        quietly(call, model, X, Y)
    monkeypatch.undo()
    quietly(call, expected, X, Y)
    # It comes too late to take anything back: the new model is there, and all of it.
    assert vars(model).keys() == vars(expected).keys()
    assert_same_parameters(model, expected)
    assert model.loss_curve_ == expected.loss_curve_


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_failure_while_histories_grow(error):
    class History(list):
        def __iadd__(self, new):
            super().__iadd__(new)
            raise error

    model = MLPBinaryClassifier((5,), **SETTINGS)
    quietly(CALLS["fit"], model, X, Y)
    model.loss_curve_ = history = History(model.loss_curve_)
    failing(model, lambda *args: quietly(CALLS["partial_fit"], *args), error)
    assert model.loss_curve_ is history


@pytest.mark.parametrize("call", ["fit", "warm_start"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_warning_that_is_an_error_comes_when_the_model_is_there(solver, call):
    # Warnings are errors in these tests.
    model, expected = (MLPBinaryClassifier((5,), solver=solver, **SETTINGS) for _ in range(2))
    for _ in range(2):
        with pytest.raises(ConvergenceWarning):
            CALLS[call](model, X, Y)
        quietly(CALLS[call], expected, X, Y)
        assert vars(model).keys() == vars(expected).keys()
        assert_same_parameters(model, expected)
        assert model.n_iter_ == 5


def test_a_warning_that_is_an_error_and_comes_first(model, call):
    model.set_params(batch_size=1000)
    failing(model, call, UserWarning)


def test_lbfgs(monkeypatch):
    model = quietly(MLPBinaryClassifier((5,), solver="lbfgs", **SETTINGS).fit, X, Y)
    wrapped = raises_at(3, MemoryError(), Session.loss_and_gradient)
    monkeypatch.setattr(Session, "loss_and_gradient", wrapped)
    failing(model, CALLS["fit"], MemoryError)


def test_an_estimator_that_was_not_fitted_stays_so():
    model = MLPBinaryClassifier()
    before = dict(vars(model))
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(np.full_like(X, np.nan), Y, classes=[0, 1])
    assert vars(model) == before


def test_training_goes_on_from_a_failure_as_if_there_had_been_none(model):
    other = copy.deepcopy(model)
    failing(model, CALLS["partial_fit"], ValueError, np.full_like(X, np.nan))
    assert_same_parameters(model.partial_fit(X, Y), other.partial_fit(X, Y))
    assert model.loss_curve_ == other.loss_curve_


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_success_leaves_old_arrays_alone(model, call):
    """Who kept the old weights, or a shallow copy of the estimator, still has them."""
    shallow, deep = copy.copy(model), copy.deepcopy(model)
    quietly(call, model, X, Y)
    assert (model.coefs_[0] != deep.coefs_[0]).any()
    assert_nothing_lost(shallow, deep, (*shallow.coefs_, *shallow.intercepts_))


# --- Interrupts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("early_stopping", [False, True])
def test_an_interrupt_between_epochs_keeps_the_newest_weights(early_stopping, monkeypatch):
    settings = {**SETTINGS, "early_stopping": early_stopping}
    expected = quietly(MLPBinaryClassifier((5,), **settings).set_params(max_iter=2).fit, X, Y)
    wrapped = raises_at(3, KeyboardInterrupt(), Session.train_epoch)
    monkeypatch.setattr(Session, "train_epoch", wrapped)
    model = MLPBinaryClassifier((5,), **settings)
    with pytest.warns(UserWarning, match=r"^Training interrupted by user\.$"):
        model.fit(X, Y)
    assert (model.n_iter_, len(model.loss_curve_)) == (2, 2)
    assert_same_parameters(model, expected)
    np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))


def test_an_interrupt_whose_warning_is_an_error(monkeypatch):
    wrapped = raises_at(3, KeyboardInterrupt(), Session.train_epoch)
    monkeypatch.setattr(Session, "train_epoch", wrapped)
    model = MLPBinaryClassifier((5,), **SETTINGS)
    with pytest.raises(UserWarning, match="interrupted"):
        model.fit(X, Y)
    assert (model.n_iter_, len(model.loss_curve_)) == (2, 2)
    assert np.isfinite(model.predict_proba(X)).all()


def test_an_interrupt_of_partial_fit(monkeypatch):
    model = MLPBinaryClassifier((5,), **SETTINGS).partial_fit(X, Y, classes=[0, 1])
    expected = copy.deepcopy(model)
    monkeypatch.setattr(Session, "train_epoch", raises_at(1, KeyboardInterrupt(), None))
    with pytest.warns(UserWarning, match="interrupted"):
        model.partial_fit(X, Y)
    assert_same_parameters(model, expected)
    assert model.n_iter_ == 0


@pytest.mark.parametrize("call_number", [1, 6])
def test_an_interrupt_of_lbfgs_keeps_an_iterate(call_number, monkeypatch):
    wrapped = raises_at(call_number, KeyboardInterrupt(), Session.loss_and_gradient)
    monkeypatch.setattr(Session, "loss_and_gradient", wrapped)
    model = MLPBinaryClassifier((5,), solver="lbfgs", max_iter=50, random_state=0)
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, Y)
    monkeypatch.undo()
    if call_number == 1:
        assert model.n_iter_ == 0
        assert np.isnan(model.loss_)
        return
    expected = MLPBinaryClassifier((5,), solver="lbfgs", random_state=0)
    quietly(expected.set_params(max_iter=model.n_iter_).fit, X, Y)
    assert model.n_iter_ > 0
    assert model.loss_ == expected.loss_
    assert_same_parameters(model, expected)


def test_a_real_interrupt_leaves_a_usable_model():
    X, y = two_classes(20_000, 50)
    model = MLPBinaryClassifier((200, 200), max_iter=10_000, n_iter_no_change=np.inf)
    model.partial_fit(X, y, classes=[0, 1])  # whatever is to be compiled is now compiled
    sent = []

    def interrupt():
        sent.append(time.perf_counter())
        signal.raise_signal(signal.SIGINT)

    timer = threading.Timer(0.7, interrupt)
    timer.start()
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, y)
    assert time.perf_counter() - sent[0] < 2
    timer.join()
    assert np.isfinite(model.predict_proba(X)).all()
    assert pickle.loads(pickle.dumps(model)).partial_fit(X, y).n_iter_ == 1
