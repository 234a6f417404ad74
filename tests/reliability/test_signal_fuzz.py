"""Signals at random times with random handlers, in calls of all kinds (point 4).

A failure names its round: `one_round(cases(), seed)` repeats it.
"""

import faulthandler
import gc
import random
import resource
import signal
import sys
import warnings

import pytest
from aftermath import Case, check_process
from disturbed import Disturbance
from fresh import LAYERS, run

from fastmlp.network import plan as plans
from fastmlp.network import prediction

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

LONG_SECONDS = plans.LONG_SECONDS


class OfUser(Exception):
    """What a handler raises."""


ERRORS = (KeyboardInterrupt, SystemExit, OfUser)


def cases():
    """Calls that take some milliseconds each."""
    warnings.simplefilter("ignore")
    middle = {"shape": (1500, 40), "hidden_layer_sizes": (100, 80), "batch_size": 300}
    found = [Case("fit"), Case("predict_proba", shape=(400, 6))]
    for n_threads in (1, 2):
        common = {**middle, "n_threads": n_threads}
        found += [
            Case("fit", **common),
            Case("fit", **{**common, "batch_size": 1500}),
            Case("fit", sparse=True, **common),
            Case("fit", early_stopping=True, **common),
            Case("fit", solver="lbfgs", **{**common, "max_iter": 4}),
            Case("warm", solver="sgd", **common),
            Case("partial_fit", **common),
            Case("predict_proba", **{**common, "shape": (6000, 40)}),
        ]
    return found


class Handler:
    """Acts at random, and has the next signal sent."""

    def __init__(self, rng, case, others, model):
        self.rng, self.case, self.others, self.model = rng, case, others, model
        self.left, self.served, self.raises = rng.randint(1, 5), 0, False

    def send(self):
        """Have a signal sent at some time of the call; some come soon after the one before."""
        self.left -= 1
        delay = self.rng.random() * self.rng.choice((self.case.seconds, 0.001))
        signal.setitimer(signal.ITIMER_REAL, max(delay, 1e-6))

    def __call__(self):
        self.served += 1
        if self.left:
            self.send()
        action = self.rng.choice(("raise", "raise", "call", "predict", "count"))
        if action == "raise":
            self.raises = True
            raise self.rng.choice(ERRORS)
        if action == "call":
            other = self.rng.choice(self.others)
            other.run(other.model())
        elif action == "predict" and "coefs_" in vars(self.model):
            self.case.predict(self.model)


def one_round(cases, seed):
    """Disturb one call; returns how many signals were served."""
    faulthandler.dump_traceback_later(120, exit=True)
    rng = random.Random(seed)
    plans.LONG_SECONDS = prediction.LONG_SECONDS = rng.choice((0.0, LONG_SECONDS))
    case = rng.choice(cases)
    model, results = case.model(), []
    before = dict(vars(model))
    handler = Handler(rng, case, cases[:2], model)
    disturbance = Disturbance(handler, ERRORS)
    signal.signal(signal.SIGALRM, disturbance.handle)
    raised = disturbance.of(lambda: results.append(case.run(model)), handler.send)
    try:
        case.check(model, before, raised)
        assert handler.raises or results == [case.expected]
        raised = None
        if rng.random() < 0.5:  # else the next calls begin while threads may still leave this one
            check_process()
        case.check_again(model, before)
        check_process()
    except AssertionError as wrong:
        wrong.add_note(f"in one_round(cases(), {seed})")
        raise
    return handler.served


def fuzz(first_seed, rounds):
    """Print how many signals were served, and how many KiB the process has grown by."""
    found, served = cases(), 0
    for k in range(rounds):
        served += one_round(found, first_seed + k)
        if k == rounds // 4:
            gc.collect()
            size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(served, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - size)


def run_fuzz(layer, first_seed, rounds):
    environment = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"}
    printed = run(fuzz, first_seed, rounds, environment=environment, timeout=60 + 2 * rounds)
    served, grown = map(int, printed.split())
    assert served > rounds // 3
    return grown


@pytest.mark.parametrize("layer", LAYERS)
def test_some_signals(layer):
    run_fuzz(layer, 0, 16)


@pytest.mark.long
@pytest.mark.parametrize("layer", LAYERS)
def test_thousands_of_signals(layer):
    assert run_fuzz(layer, 1000, 2000) < 32 * 1024
