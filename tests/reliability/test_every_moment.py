"""An exception at every moment at which Python may serve a signal (point 4)."""

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from aftermath import Case, check_process
from fresh import LAYERS, run
from moments import signals_at

from fastmlp.network import plan as plans
from fastmlp.network import prediction
from fastmlp.training.loop import shuffle

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

#: Calls of all kinds.
CASES = {
    "fit": {"call": "fit"},
    "one thread": {"call": "fit", "n_threads": 1},
    "sparse": {"call": "fit", "sparse": True},
    "early stopping": {"call": "fit", "early_stopping": True},
    "regularised": {
        "call": "fit", "dropout": 0.3, "input_dropout": 0.2, "weight_decay": 0.1,
        "ema_decay": 0.9, "max_grad_norm": 0.1, "activation": "gelu",
    },
    "lbfgs": {"call": "fit", "solver": "lbfgs", "max_iter": 3},
    "warm start": {"call": "warm", "solver": "sgd"},
    "partial_fit": {"call": "partial_fit"},
    "predict_proba": {"call": "predict_proba", "shape": (400, 6)},
    "starts": {"call": "fit", "n_init": 3},
    "streamed": {"call": "stream"},
    "streamed from the source": {"call": "stream again"},
}  # fmt: skip


class OfUser(Exception):
    """What a handler raises."""


class Timeout(RuntimeError):
    """Of a class that Python raises by itself, where there are no more threads."""


ERRORS = (KeyboardInterrupt, SystemExit, OfUser, Timeout)


def cases(names):
    """Calls of these names, and their numbers of moments, in which each call of the driver is one
    that may be left before its end, and in which none is.

    Networks this small are treated as large ones are.
    """
    faulthandler.dump_traceback_later(3000, exit=True)
    warnings.simplefilter("ignore")
    plans.WORK_PER_THREAD = plans.PREDICTION_WORK_PER_THREAD = 1
    for name in names:
        case = Case(**{"n_threads": 2, **CASES[name]})
        for seconds in (0.0, np.inf):
            plans.LONG_SECONDS = prediction.LONG_SECONDS = seconds
            yield case, signals_at([sys.maxsize], lambda case=case: case.run(case.model()))


def leave_at_moments(part, n_parts, *names):
    """Leave calls at each moment of a part of them all; print how many there were."""
    for case, total in cases(names):
        for moment in range(part, total, n_parts):
            # Every other one is followed by another, which meets whatever handles the first.
            second = moment + (moment // len(ERRORS)) % 2 * (1 + moment % 23)
            leave_at(case, {moment, second}, ERRORS[moment % len(ERRORS)])
        print(len(range(part, total, n_parts)))


def leave_at(case, moments, error):
    def interrupt(*_):
        raise error

    signal.signal(signal.SIGINT, interrupt)
    model, raised = case.model(), None
    before = dict(vars(model))
    try:
        signals_at(moments, lambda: case.run(model))
    except error as caught:
        raised = caught
    try:
        case.check(model, before, raised)
        check_process()
        case.check_again(model, before)
        # Nothing is taken back when that goes which the exception keeps alive.
        after = dict(vars(model))
        raised = None
        assert case.is_unchanged(model, after)
    except AssertionError as wrong:
        wrong.add_note(f"after {error.__name__} at moments {sorted(moments)}")
        raise


def run_in(layer, function, *arguments):
    """Run a function that prints numbers in a process of its own; returns them."""
    environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}
    return list(map(int, run(function, *arguments, environment=environment, timeout=3000).split()))


#: Of the long tests.
ALL = [*((name, LAYERS[0]) for name in CASES), *(("fit", layer) for layer in LAYERS[1:])]


def fit_at_moments(part, n_parts, *names):
    """Fit and predict in the handler of a signal at each moment of a part of them all."""
    others = [case for case, _ in cases(("fit", "predict_proba"))]
    served = []

    def use(*_):
        other = others[len(served) % len(others)]
        served.append(other.run(other.model()) == other.expected)

    signal.signal(signal.SIGINT, use)
    for case, total in cases(names):
        results = []
        for moment in range(part, total, n_parts):
            signals_at({moment}, lambda case=case, to=results: to.append(case.run(case.model())))
            check_process()
        assert set(results) == {case.expected}
        print(len(results))
    assert all(served)


#: A handler raises, or fits and predicts.
handlers = pytest.mark.parametrize("disturb", [leave_at_moments, fit_at_moments])


@handlers
@pytest.mark.parametrize("layer", LAYERS)
def test_some_moments(layer, disturb):
    names = CASES if layer == LAYERS[0] else ("fit", "predict_proba")
    assert min(run_in(layer, disturb, 17, 199, *names)) > 0


@pytest.mark.long
@handlers
@pytest.mark.parametrize(("name", "layer"), ALL)
def test_every_moment(name, layer, disturb):
    assert min(run_in(layer, disturb, 0, 1, name)) > 300


def fork_at_moments():
    """Fork, with an exception at each moment; Python prints it, and goes on."""

    def interrupt(*_):
        raise OfUser

    def fork():
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

    signal.signal(signal.SIGINT, interrupt)
    for moment in range(20):
        with contextlib.suppress(OfUser):
            signals_at({moment}, fork)
        check_process()


def test_a_fork_loses_no_lock_at_any_moment():
    run(fork_at_moments)


def test_a_handler_may_draw_from_the_generator_of_a_shuffle():
    lock, bits, found = threading.Lock(), np.random.MT19937(0), []
    rng = SimpleNamespace(_bit_generator=SimpleNamespace(ctypes=bits.ctypes, lock=lock))
    shuffle(np.arange(9), rng)  # is compiled
    before = signal.signal(signal.SIGINT, lambda *_: found.append(lock.locked()))
    try:
        total = signals_at([sys.maxsize], lambda: shuffle(np.arange(9), rng))
        for moment in range(total):
            signals_at({moment}, lambda: shuffle(np.arange(9), rng))
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(found) == total > 3
    assert not any(found)
