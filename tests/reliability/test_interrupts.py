"""Ctrl-C and SIGTERM at any moment of a fit (point 4)."""

import hashlib
import os
import signal
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from data import two_classes
from fresh import run, start

from fastmlp import MLPBinaryClassifier
from fastmlp.kernels import piece

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

#: In which an interrupt is served, and what a busy machine may add: FASTMLP_TEST_SLACK=0.1 measures
#: an idle one.
PROMPT = 0.5
SLACK = float(os.environ.get("FASTMLP_TEST_SLACK") or "3")

ENDLESS = {"max_iter": 10**7, "tol": 0.0, "n_iter_no_change": np.inf, "random_state": 0}

SIZES = {
    "small": (MLPBinaryClassifier((5,), **ENDLESS), 200, 5),
    "usual": (MLPBinaryClassifier((100,), **ENDLESS), 20_000, 50),
    "many rows": (MLPBinaryClassifier((10,), **ENDLESS), 2_000_000, 5),
    # An epoch takes seconds; on one thread, no trial of another number cuts it.
    "long epoch": (MLPBinaryClassifier((1000, 1000), n_threads=1, **ENDLESS), 400_000, 50),
    # A minibatch takes seconds.
    "long minibatch": (MLPBinaryClassifier((1000, 1000), batch_size=40_000, **ENDLESS), 40_000, 50),
    "large network": (MLPBinaryClassifier((3000, 3000), batch_size=5000, **ENDLESS), 5000, 50),
    # An evaluation takes seconds.
    "lbfgs": (
        MLPBinaryClassifier((1000, 1000), solver="lbfgs", max_fun=10**9, **ENDLESS), 40_000, 50,
    ),
    "early stopping": (
        MLPBinaryClassifier((300, 300), early_stopping=True, **ENDLESS), 30_000, 50,
    ),
}  # fmt: skip


def interrupt(size, delay):
    """Send SIGINT to a fit; print how long it took to end, and whether the model is of use."""
    model, n_rows, n_features = SIZES[size]
    X, y = two_classes(n_rows, n_features, dtype=np.float32)
    warnings.simplefilter("ignore")
    compiled = MLPBinaryClassifier((2,), max_iter=1).fit(X[:50], y[:50])
    assert compiled.n_iter_ == 1
    sent = []

    def send():
        time.sleep(delay)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=send).start()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    seconds = time.perf_counter() - sent[0]
    assert any("interrupted" in str(w.message) for w in caught), caught
    probabilities = model.predict_proba(X[:100])
    assert np.isfinite(probabilities).all()
    # A whole minibatch or none: another fit goes on from there.
    model.set_params(warm_start=True, max_iter=1, solver="adam", batch_size=50)
    model.fit(X[:100], y[:100])
    print(seconds)


@pytest.mark.parametrize("size", ["usual", "long epoch", "long minibatch", "lbfgs"])
def test_a_fit_is_interrupted_at_once(size):
    assert float(run(interrupt, size, 1.5, timeout=300)) < PROMPT + SLACK


@pytest.mark.long
@pytest.mark.parametrize("delay", [0.9, 1.7, 2.3, 4.1])
@pytest.mark.parametrize("size", SIZES)
def test_a_fit_of_any_size_is_interrupted_at_once(size, delay):
    assert float(run(interrupt, size, delay, timeout=300)) < PROMPT + SLACK


#: Pieces that the first fit compiles, one after another.
PIECES = range(1, 15)


def interrupt_at_piece(number):
    """Send SIGINT while the piece of this number is compiled; returns where the time is noted."""
    sent, begun, by_address = [], [], piece.by_address

    def send():
        time.sleep(0.03)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    def compile_piece(function, signature):
        begun.append(function)
        if len(begun) == number:
            threading.Thread(target=send).start()
        return by_address(function, signature)

    piece.by_address = compile_piece
    return sent


def interrupt_the_compiler(number):
    X, y = two_classes()
    sent = interrupt_at_piece(number)
    model = MLPBinaryClassifier((4,), random_state=0, max_iter=5)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    seconds = time.perf_counter() - sent[0]
    assert any("interrupted" in str(w.message) for w in caught), caught
    assert model.n_iter_ == 0
    # The compilation goes on, and whoever needs it next waits for it.
    assert np.isfinite(model.predict_proba(X)).all()
    warnings.simplefilter("ignore")
    assert model.fit(X, y).n_iter_ == 5
    print(seconds)


@pytest.mark.parametrize("number", [8])
def test_the_compiler_is_interrupted_at_once(number):
    printed = run(interrupt_the_compiler, number, environment={"FASTMLP_CACHE": "0"}, timeout=300)
    assert float(printed) < PROMPT + SLACK


@pytest.mark.long
@pytest.mark.parametrize("number", PIECES)
def test_the_compiler_is_interrupted_at_once_at_any_piece(number):
    test_the_compiler_is_interrupted_at_once(number)


def interrupt_the_compiler_and_leave(number):
    """What a script does: it ends, while the compiler is at work in another thread."""
    interrupt_at_piece(number)
    warnings.simplefilter("ignore")
    model = MLPBinaryClassifier((4,)).fit(*two_classes())
    assert model.n_iter_ == 0
    print(time.time())


@pytest.mark.parametrize("number", [3])
def test_a_script_ends_while_the_compiler_is_at_work(number):
    environment = {"FASTMLP_CACHE": "0"}
    left = float(run(interrupt_the_compiler_and_leave, number, environment=environment))
    assert time.time() - left < 2 + SLACK


@pytest.mark.long
@pytest.mark.parametrize("number", PIECES)
def test_a_script_ends_while_the_compiler_is_at_any_piece(number):
    test_a_script_ends_while_the_compiler_is_at_work(number)


def train_for_ever():
    model, n_rows, n_features = SIZES["long minibatch"]
    X, y = two_classes(n_rows, n_features, dtype=np.float32)
    print("training", flush=True)
    model.fit(X, y)


def test_sigterm_kills_at_once():
    process = start(train_for_ever)
    assert process.stdout.readline() == "training\n"
    time.sleep(1.0)
    sent = time.perf_counter()
    process.terminate()
    process.wait(30)
    assert time.perf_counter() - sent < PROMPT + SLACK
    assert process.returncode == -signal.SIGTERM
    process.stdout.close()
    process.stderr.close()


def test_a_minibatch_that_is_left_is_undone(monkeypatch):
    """Where it is left before its end, here at its first updates."""
    from fastmlp.data.rows import as_rows
    from fastmlp.network import plan as plans
    from fastmlp.network.layout import Network
    from fastmlp.network.session import Optimizer, Session
    from fastmlp.runtime.call import Call

    X, y = two_classes(2000, 50, dtype=np.float32)
    network = Network((50, 20, 1), ("relu",), np.dtype("float32"))
    rng = np.random.RandomState(0)
    coefs = [rng.randn(a, b).astype("float32") / 20 for a, b in network.shapes()]
    intercepts = [np.zeros(b, "float32") for _, b in network.shapes()]
    session = Session(network, 2)
    session.set_parameters(coefs, intercepts)
    rows, targets = as_rows(X, network.dtype), y.astype("f4")
    session.prepare(rows, targets, None, 2000, alpha=1e-4, optimizer=Optimizer())
    original = Call.run

    def interrupted(call, *, stoppable):
        assert stoppable
        call.all_units += 1  # as if the last one had not been done
        original(call, stoppable=stoppable)
        raise KeyboardInterrupt

    monkeypatch.setattr(plans, "LONG_SECONDS", 0.0)
    monkeypatch.setattr(Call, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.train_epoch(np.arange(2000), 0.1)
    after, state = session.get_parameters(), session.state()
    assert state.step == 0
    for given, found in zip((*coefs, *intercepts), (*after[0], *after[1]), strict=True):
        np.testing.assert_array_equal(given, found)
    assert not any(array.any() for array in state.moments)
    # And it is made again with the same result as if nothing had happened.
    monkeypatch.setattr(Call, "run", original)
    loss = session.train_epoch(np.arange(2000), 0.1)
    other = Session(network, 1)
    other.set_parameters(coefs, intercepts)
    other.prepare(rows, targets, None, 2000, alpha=1e-4, optimizer=Optimizer())
    assert other.train_epoch(np.arange(2000), 0.1) == loss
    for one, two in zip(session.get_parameters(), other.get_parameters(), strict=True):
        for left, right in zip(one, two, strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.mark.usefixtures("no_collections")
def test_a_compiler_that_does_not_listen_is_left():
    """As LLVM, which for seconds runs no Python code in which a signal could be served."""
    from fastmlp.runtime.compiling import compile_apart

    class Compiler:
        def compile(self, signature):
            hashlib.pbkdf2_hmac("sha256", b"", b"", 4_000_000)

    sent = []

    def send():
        time.sleep(0.2)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=send).start()
    with pytest.raises(KeyboardInterrupt):
        compile_apart(Compiler(), ())
    assert time.perf_counter() - sent[0] < PROMPT + SLACK
