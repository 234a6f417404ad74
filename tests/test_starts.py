"""Several starts, of which the best is kept (N12)."""

import gc
import os
import signal
import sys
import threading
import time
import weakref

import numpy as np
import pytest
from data import quietly, two_classes
from scipy.sparse import csr_array

from fastmlp import MLPBinaryClassifier
from fastmlp.estimators import starts
from fastmlp.estimators.starts import (
    Trained,
    best_of,
    generators,
    one_after_another,
    reached,
    side_by_side,
)
from fastmlp.kernels.piece import Piece
from fastmlp.network import program
from fastmlp.network.layers import prediction_program
from fastmlp.network.minibatch import training_program
from fastmlp.network.session import Session
from fastmlp.runtime import compiling, driver
from fastmlp.runtime.compiling import compile_now
from fastmlp.runtime.threads import any_beside
from fastmlp.training import loop
from fastmlp.training.loop import FitResult

X, Y = two_classes(200)
SETTINGS = {"hidden_layer_sizes": (6,), "max_iter": 4, "random_state": 3, "n_threads": 2}


def fitted(**settings):
    return quietly(MLPBinaryClassifier(**{**SETTINGS, **settings}).fit, X, Y)


def weights(model):
    return [array.tobytes() for array in (*model.coefs_, *model.intercepts_)]


CASES = [
    {},
    {"solver": "sgd", "learning_rate_init": 0.1},
    {"early_stopping": True},
    {"early_stopping": True, "scoring": "roc_auc"},
    {"solver": "lbfgs"},
]


@pytest.mark.parametrize("settings", CASES)
def test_the_best_is_kept(settings):
    model = fitted(**settings, n_init=4)
    assert model.init_scores_.shape == (4,)
    if settings.get("early_stopping"):
        assert model.best_validation_score_ == model.init_scores_.max()
    else:
        assert model.loss_ == model.init_scores_.min()


@pytest.mark.parametrize("settings", CASES)
def test_the_first_start_is_that_of_one(settings):
    several, one = fitted(**settings, n_init=3), fitted(**settings)
    assert several.init_scores_[0] == one.init_scores_[0]
    assert len(set(several.init_scores_)) > 1 or settings.get("early_stopping")


def test_random_numbers_that_come_after_are_those_of_one_start():
    states = [np.random.RandomState(5) for _ in range(2)]
    fitted(random_state=states[0])
    fitted(random_state=states[1], n_init=4)
    assert states[0].randint(2**31) == states[1].randint(2**31)


@pytest.mark.parametrize("settings", CASES)
def test_side_by_side_is_one_after_another(settings, monkeypatch):
    used = []
    for name in ("side_by_side", "one_after_another"):
        function = getattr(starts, name)
        monkeypatch.setattr(
            starts, name, lambda *a, name=name, f=function: used.append(name) or f(*a)
        )
    models = [fitted(**settings, n_init=5, n_threads=n) for n in (1, 2, 5)]
    by_epochs = settings.get("solver") != "lbfgs"
    assert (
        used == ["one_after_another"] + ["side_by_side" if by_epochs else "one_after_another"] * 2
    )
    assert weights(models[0]) == weights(models[1]) == weights(models[2])
    for model in models[1:]:
        np.testing.assert_array_equal(model.init_scores_, models[0].init_scores_)


def test_who_watches_is_called_in_the_callers_thread(monkeypatch, capsys):
    callers = set()

    def scoring(estimator, X, y):
        callers.add(threading.current_thread())
        return 0.5

    def factor(t):
        callers.add(threading.current_thread())
        return 1.0

    fitted(n_init=3, early_stopping=True, scoring=scoring)
    fitted(n_init=3, learning_rate=factor)
    assert callers == {threading.current_thread()}
    monkeypatch.setattr(starts, "side_by_side", None)
    fitted(n_init=2, verbose=True)
    assert capsys.readouterr().out.count("Epoch 1/4:") == 2


def test_warm_starts_go_on_with_the_one_kept():
    model = fitted(n_init=3, warm_start=True)
    kept = fitted(n_init=3)
    quietly(model.fit, X, Y)
    quietly(kept.set_params(n_init=1, warm_start=True).fit, X, Y)
    assert weights(model) == weights(kept)
    assert len(model.init_scores_) == 1


def test_partial_fit_trains_one():
    with pytest.raises(ValueError, match="partial_fit trains one network, not n_init=2"):
        MLPBinaryClassifier(n_init=2).partial_fit(X, Y, classes=[0, 1])


def test_starts_that_diverge_are_not_kept():
    # A rate at which some starts end in numbers that are not finite, and others do not.
    results = [FitResult(loss=loss) for loss in (np.nan, 0.5, 0.25, 0.25)]
    trained = [Trained(result, {}) for result in results]
    assert best_of(trained) is trained[2]
    assert best_of(trained[:1]) is trained[0]
    results = [FitResult(validation_scores=scores) for scores in ([0.5, 0.7], [0.9, 0.1], [0.9])]
    trained = [Trained(result, {}) for result in results]
    assert best_of(trained) is trained[1]


def test_a_start_that_an_interrupt_has_left_without_a_score_is_not_kept():
    results = [FitResult(loss=0.1).interrupt(), FitResult(loss=0.6, validation_scores=[0.9, 0.8])]
    trained = [Trained(result, {}) for result in (*results, FitResult(validation_scores=[0.7]))]
    np.testing.assert_array_equal(reached(trained), [np.nan, 0.9, 0.7])
    assert best_of(trained) is trained[1]


def model_of(k, loss):
    """What comes of a start whose one weight is its number."""
    parameters = [np.full((1, 1), k)], [np.zeros(1)]
    return Trained(FitResult(parameters, loss=loss, state="where it stands"), {"t_": k})


@pytest.mark.parametrize(
    "train", [one_after_another, lambda jobs: side_by_side(jobs, {}, len(jobs))]
)
def test_only_the_best_keeps_its_model(train):
    losses = [0.5, 0.25, 0.75, 0.25]
    trained = train([lambda k=k, x=x: model_of(k, x) for k, x in enumerate(losses)])
    assert [len(each.result.parameters[0]) for each in trained] == [0, 1, 0, 0]
    assert [each.result.state is None for each in trained] == [True, False, True, True]
    assert [each.learned for each in trained] == [{}, {"t_": 1}, {}, {}]
    assert reached(trained).tolist() == losses
    assert best_of(trained).result.parameters[0][0] == 1


@pytest.mark.parametrize("settings", CASES)
@pytest.mark.parametrize("at_once", [1, 2])
def test_a_session_is_gone_when_its_start_is_trained(settings, at_once, monkeypatch):
    gc.collect()
    trained, left = [], []
    train = starts.Trained.__init__

    def counted(self, *args):
        left.append(sum(session() is not None for session in trained))
        train(self, *args)

    end_training = Session.end_training

    def noted(self):
        end_training(self)
        trained.append(weakref.ref(self))

    monkeypatch.setattr(starts.Trained, "__init__", counted)
    monkeypatch.setattr(Session, "end_training", noted)
    gc.disable()  # they go by themselves
    try:
        fitted(**settings, n_init=6, n_threads=at_once)
    finally:
        gc.enable()
    assert len(left) == 6
    # Those that have just come to their end.
    assert max(left) <= at_once
    assert not any(session() for session in trained)


@pytest.fixture
def asked_to_compile(monkeypatch):
    """Threads that have something compiled, as if nothing had been."""
    threads, asked = [], set()

    def note(work):
        threads.append(threading.current_thread())
        compile_now(work)

    def is_compiled(piece, record):
        known = (piece, record) in asked
        asked.add((piece, record))
        return known

    monkeypatch.setattr(compiling, "_compiled", set())
    monkeypatch.setattr(driver, "_compiled", None)
    monkeypatch.setattr(Piece, "is_compiled", is_compiled)
    for module in (compiling, driver, program):
        monkeypatch.setattr(module, "compile_now", note)
    for known in (training_program, prediction_program, loop._compiled_permute):
        known.cache_clear()
    return threads


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"dtype": "float32", "activation": "gelu", "dropout": 0.2, "input_dropout": 0.1},
        {"solver": "sgd", "weight_decay": 0.1, "ema_decay": 0.9, "max_grad_norm": 1.0},
        {"early_stopping": True, "class_weight": "balanced"},
        {"early_stopping": True, "scoring": "loss", "label_smoothing": 0.1},
        {"early_stopping": True, "scoring": "roc_auc"},
        {"n_threads": 4, "hidden_layer_sizes": (400,), "batch_size": 200, "shuffle": False},
    ],
)
@pytest.mark.parametrize("kind", [np.asarray, csr_array])
def test_nothing_is_compiled_in_the_threads_of_a_pool(settings, kind, asked_to_compile):
    if kind is csr_array:
        settings = {name: each for name, each in settings.items() if name != "input_dropout"}
    model = MLPBinaryClassifier(**{**SETTINGS, "n_init": 2, "max_iter": 2, **settings})
    quietly(model.fit, kind(X), Y)
    assert set(asked_to_compile) == {threading.current_thread()}


def test_an_interrupt_while_all_is_compiled_leaves_the_first_weights(monkeypatch):
    def interrupted(session, validation=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(Session, "compile", interrupted)
    monkeypatch.setattr(Session, "_minibatches", None)  # nothing is trained
    model = MLPBinaryClassifier(**{**SETTINGS, "n_init": 3})
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, Y)
    rng = np.random.RandomState(3)
    bound = np.sqrt(6 / (X.shape[1] + 6))
    np.testing.assert_array_equal(model.coefs_[0], rng.uniform(-bound, bound, (X.shape[1], 6)))
    assert np.isnan(model.init_scores_).tolist() == [True]
    assert not any_beside()


def test_generators():
    rng = np.random.RandomState(0)
    first, *others = generators(rng, 3)
    assert first is rng
    assert rng.randint(2**31) == np.random.RandomState(0).randint(2**31)
    drawn = [other.randint(2**31) for other in others]
    again = [other.randint(2**31) for other in generators(np.random.RandomState(0), 3)[1:]]
    assert drawn == again
    assert len(set(drawn)) == 2


class Cancellable:
    """A session whose training lasts until it is cancelled."""

    def __init__(self):
        self.cancelled = threading.Event()

    def cancel(self):
        self.cancelled.set()

    def train(self):
        assert self.cancelled.wait(30)
        return Trained(FitResult().interrupt(), {})


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_ends_all_and_keeps_what_they_have(error, monkeypatch):
    sessions = {k: Cancellable() for k in range(5)}
    done = Trained(FitResult(loss=0.5), {})

    def interrupted(*args, **kwargs):
        time.sleep(0.05)
        raise error

    monkeypatch.setattr(starts, "_watch", interrupted)
    jobs = [lambda: done, *(session.train for session in sessions.values())]
    if error is MemoryError:
        with pytest.raises(MemoryError):
            side_by_side(jobs, sessions, 2)
    else:
        trained = side_by_side(jobs, sessions, 2)
        assert trained[0] is done
        # Those that had not begun are left out.
        assert [each.result.interrupted for each in trained[1:]] == [True, True]
        assert best_of(trained) is done
        assert done.result.interrupted
    assert not any_beside()


def test_an_interrupt_is_not_lost_where_all_have_come_to_their_end(monkeypatch):
    ended = threading.Event()

    def interrupted(*args):
        assert ended.wait(30)
        raise KeyboardInterrupt

    def job():
        ended.set()
        return Trained(FitResult(loss=0.5), {})

    monkeypatch.setattr(starts, "_watch", interrupted)
    trained = side_by_side([job], {0: Cancellable()}, 1)
    assert isinstance(best_of(trained).result.warning, UserWarning)


def test_an_error_of_one_start_ends_all():
    sessions = {k: Cancellable() for k in range(2)}

    def fails():
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        side_by_side([sessions[0].train, fails, sessions[1].train], sessions, 2)
    assert not any_beside()


def test_an_interrupt_ends_starts_that_take_turns():
    called = []

    def job(k):
        called.append(k)
        return Trained(FitResult(loss=1.0 - k).interrupt() if k == 1 else FitResult(loss=1.0), {})

    trained = one_after_another([lambda k=k: job(k) for k in range(3)])
    assert called == [0, 1]
    assert best_of(trained) is trained[1]


@pytest.mark.usefixtures("no_collections")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("hidden", [(50,), (600, 600)])
def test_an_interrupt_is_served(hidden):
    """Training ends at once, and has the weights of the best so far."""
    slack = float(os.environ.get("FASTMLP_TEST_SLACK", "3"))
    rows = np.resize(X, (4000, X.shape[1]))
    targets = np.resize(Y, 4000)
    model = MLPBinaryClassifier(
        hidden, n_init=4, n_threads=2, max_iter=10**6, tol=0, n_iter_no_change=np.inf,
        random_state=0, batch_size=4000,
    )  # fmt: skip
    quietly(model.set_params(max_iter=1).fit, rows, targets)  # compiles
    sent = []

    def interrupt():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.7, interrupt)
    timer.start()
    with pytest.warns(UserWarning, match="interrupted"):
        model.set_params(max_iter=10**6).fit(rows, targets)
    assert time.perf_counter() - sent[0] < 0.5 + slack
    timer.join()
    assert not any_beside()
    assert 1 <= len(model.init_scores_) <= 4
    assert np.isfinite(model.predict_proba(rows)).all()


def test_numpys_settings_for_overflows_hold_in_every_thread():
    huge = X * 1e200
    with np.errstate(all="raise"):
        model = MLPBinaryClassifier(**SETTINGS, n_init=3, solver="sgd", learning_rate_init=1e-300)
        quietly(model.fit, huge, Y)
