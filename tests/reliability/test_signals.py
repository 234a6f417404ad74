"""Signals whose handlers raise, one soon after the other, while a call takes long (point 4)."""

import faulthandler
import hashlib
import os
import signal
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from aftermath import Case, check_process
from data import quietly, two_classes
from disturbed import Disturbance
from fresh import run, start

from fastmlp import MLPBinaryClassifier

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

#: Each is in the middle of one long call of the driver when the signals come.
LARGE = {
    "shape": (12_000, 200), "dtype": np.float32, "hidden_layer_sizes": (600, 600),
    "batch_size": 12_000, "max_iter": 1,
}  # fmt: skip
CASES = {
    "fit": {"call": "fit"},
    "partial_fit": {"call": "partial_fit"},
    "warm start": {"call": "warm"},
    "sparse": {"call": "fit", "sparse": True},
    "lbfgs": {"call": "fit", "solver": "lbfgs", "max_fun": 2, "hidden_layer_sizes": (300, 300)},
    "predict_proba": {"call": "predict_proba", "shape": (40_000, 200)},
}


def again_every(seconds):
    """Signals from a time on until the call is left."""
    return lambda delay: signal.setitimer(signal.ITIMER_REAL, delay, seconds)


def two_terminations(delay):
    """Two SIGTERM, 2 ms apart."""

    def send():
        time.sleep(delay)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=send).start()


#: What a handler raises, and how signals are sent.
SIGNALS = {
    "exit, again after 2 ms": (SystemExit, again_every(0.002)),
    "two SIGTERM": (SystemExit, two_terminations),
    "interrupts every 1 ms": (KeyboardInterrupt, again_every(0.001)),
    "interrupts every 0.3 ms": (KeyboardInterrupt, again_every(0.0003)),
}


def leave_large(rounds, *names):
    """Leave each call by signals of every kind; print how often it was left before its end."""
    warnings.simplefilter("ignore")
    for name in names:
        case, left = Case(**{**LARGE, **CASES[name]}), 0
        for error, send in SIGNALS.values():
            for k in range(rounds):
                left += leave(case, error, send, case.seconds * (0.2 + 0.6 * k / rounds))
            case.check_again(case.model(), {})
        print(left)


def leave(case, error, send, delay):
    """Leave a call after so many seconds; whether it was left before its end."""
    faulthandler.dump_traceback_later(120, exit=True)

    def act():
        raise error

    disturbance = Disturbance(act, (error,))
    for signum in (signal.SIGALRM, signal.SIGTERM):
        signal.signal(signum, disturbance.handle)
    model = case.model()
    before = dict(vars(model))
    raised = disturbance.of(lambda: case.run(model), lambda: send(delay))
    check_process()
    case.check(model, before, raised)
    return raised is not None or vars(model).get("n_iter_") == 0


def test_calls_are_left_by_one_signal_after_another():
    left = run(leave_large, 1, "fit", "predict_proba", timeout=600)
    assert sum(map(int, left.split())) >= 6


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_calls_are_left_again_and_again(name):
    # Of 80 calls; on a busy machine, many have ended before the signal comes.
    assert int(run(leave_large, 20, name, timeout=3000)) >= 20


def exit_from(name):
    """Print how long a call takes, and make it until a signal ends the process."""
    warnings.simplefilter("ignore")
    case = Case(**{**LARGE, **CASES[name]})
    signal.signal(signal.SIGURG, lambda *_: sys.exit(7))
    print(case.seconds, flush=True)
    while True:
        case.run(case.model())


def exits(name, share):
    """Send signals that a process without a handler, as one that ends, ignores."""
    with start(exit_from, name) as process:
        time.sleep(share * float(process.stdout.readline()))
        for _ in range(3):
            process.send_signal(signal.SIGURG)
            time.sleep(0.002)
        errors = process.communicate(timeout=120)[1]
    assert process.returncode == 7, errors


@pytest.mark.parametrize("name", ["fit", "predict_proba"])
def test_a_process_ends_while_a_call_is_at_work(name):
    exits(name, 0.5)


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_a_process_ends_while_any_call_is_at_work(name):
    for k in range(20):
        exits(name, 0.1 * k)


def digest_of_fit():
    X, y = two_classes()
    model = quietly(MLPBinaryClassifier((4,), random_state=0, max_iter=5).fit, X, y)
    return hashlib.sha256(model.predict_proba(X).tobytes()).hexdigest()


def leave_the_compiler(rounds):
    """Leave the first fits of a process that has no compiled code."""
    faulthandler.dump_traceback_later(300, exit=True)
    for k in range(rounds):

        def act(error=(SystemExit, KeyboardInterrupt)[k % 2]):
            raise error

        disturbance = Disturbance(act, (SystemExit, KeyboardInterrupt))
        signal.signal(signal.SIGALRM, disturbance.handle)
        delay = 0.3 + 0.1 * k
        disturbance.of(
            digest_of_fit, lambda s=delay: signal.setitimer(signal.ITIMER_REAL, s, 0.002)
        )
    print(digest_of_fit())
    check_process()


@pytest.mark.parametrize("rounds", [3])
def test_the_compiler_is_left(rounds):
    digest = run(leave_the_compiler, rounds, environment={"FASTMLP_CACHE": "0"}, timeout=400)
    assert digest.strip() == digest_of_fit()


@pytest.mark.long
def test_the_compiler_is_left_again_and_again():
    test_the_compiler_is_left(20)
