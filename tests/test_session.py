"""The session against its naive twin, over random networks, data, optimizers and threads."""

import itertools
from unittest import mock

import numpy as np
import pytest
from cases import (
    BIT_CASES,
    DTYPES,
    LAYOUTS,
    OPTIMIZERS,
    Case,
    assert_same_bits,
    bit_case,
    check_padding,
    compare,
    everywhere_parallel,
    flat,
    laid_out,
    prepared,
    train,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import NaiveRows, NaiveSession

from fastmlp.data.rows import as_rows
from fastmlp.network import plan as plans
from fastmlp.network import prediction as prediction_module
from fastmlp.network import session as session_module
from fastmlp.network.layout import Network
from fastmlp.network.session import Optimizer, Session

#: Those of which `naive` has a twin.
ACTIVATIONS = ("identity", "logistic", "tanh", "relu")

widths = st.one_of(st.integers(1, 20), st.integers(21, 70), st.sampled_from([16, 32, 64, 96, 256]))


@st.composite
def cases(draw, dtype):
    hidden = draw(st.lists(widths, max_size=4))
    activations = tuple(draw(st.sampled_from(ACTIVATIONS)) for _ in hidden)
    n_samples = draw(st.integers(1, 260))
    return Case(
        Network((draw(st.integers(1, 40)), *hidden, 1), activations, np.dtype(dtype)),
        seed=draw(st.integers(0, 2**31)),
        n_samples=n_samples,
        batch_size=draw(st.integers(1, n_samples)),
        layout=draw(st.sampled_from(LAYOUTS)),
        optimizer=draw(st.sampled_from(list(OPTIMIZERS))),
        weights=draw(st.sampled_from(["none", "random", "zeros", "a minibatch of zeros"])),
        alpha=draw(st.sampled_from([0.0, 1e-3, 0.5])),
        n_threads=draw(st.sampled_from([1, 1, 2, 3, 8])),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=100, deadline=None, derandomize=True)
@given(data=st.data())
def test_random_networks(dtype, data):
    case = data.draw(cases(dtype))
    with everywhere_parallel():
        outcome = train(case)
    compare(case, outcome, case.train(NaiveSession(case.network), NaiveRows))


# --- The same bits --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BIT_CASES)
def test_any_number_of_threads_gives_the_same_bits(dtype, name):
    expected = train(bit_case(name, dtype))
    for n_threads in (1, 2, 3, 8):
        with everywhere_parallel():
            assert_same_bits(train(bit_case(name, dtype, n_threads=n_threads)), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "gradient descent"])
def test_every_update_gives_the_same_bits_on_any_number_of_threads(dtype, optimizer):
    expected = train(bit_case("four layers", dtype, optimizer=optimizer))
    with everywhere_parallel():
        case = bit_case("four layers", dtype, optimizer=optimizer, n_threads=5)
        assert_same_bits(train(case), expected)


def test_threads_are_forced_in_these_tests():
    case = bit_case("two layers", np.float64, n_threads=8)
    threads = []

    class Noted(session_module.Call):
        def __init__(self, memory, n_threads, batches, **fields):
            threads.append(n_threads)
            super().__init__(memory, n_threads, batches, **fields)

    trains = mock.patch.object(session_module, "Call", Noted)
    predicts = mock.patch.object(prediction_module, "Call", Noted)
    with everywhere_parallel(), trains, predicts:
        case.train(Session(case.network, 8), as_rows)
    assert threads[0] == 7  # a prediction of 203 rows in blocks of 32
    assert max(threads[1:]) == 8


@pytest.mark.parametrize(("name", "by_block"), [("one layer", True), ("two layers", False)])
def test_these_tests_sum_gradients_in_both_ways(name, by_block):
    assert plans.sums_by_block(bit_case(name, np.float32).network, 128) == by_block


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_layout_of_x_does_not_change_a_bit(dtype):
    # float32 data, so that float64 holds the same numbers.
    X, y, _ = bit_case("one layer", np.float32).data()
    outcomes = []
    for form in (X, np.asfortranarray(X), laid_out(X, "strided"), X.astype(np.float64)):
        case = bit_case("one layer", dtype)
        session = Session(case.network, 2)
        with mock.patch.object(Case, "data", lambda self, form=form: (form, y, None)):
            outcomes.append(case.train(session, as_rows))
    for outcome in outcomes[1:]:
        assert_same_bits(outcome, outcomes[0])


@pytest.mark.parametrize("name", ["two layers", "csr"])
def test_the_length_of_a_call_does_not_change_a_bit(name):
    # A slow clock: every call takes one minibatch. A stopped one: calls grow as they can.
    outcomes = []
    seconds = itertools.count()
    for clock in (lambda: next(seconds), lambda: 0.0):
        with mock.patch.object(session_module.time, "perf_counter", clock):
            outcomes.append(train(bit_case(name, np.float64, batch_size=10)))
    assert_same_bits(*outcomes)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_a_call_that_could_be_stopped_gives_the_same_bits(n_threads):
    case = bit_case("two layers", np.float64, n_threads=n_threads)
    expected = train(case)
    with everywhere_parallel(), mock.patch.object(plans, "LONG_SECONDS", -1.0):
        assert_same_bits(train(case), expected)


# --- Minibatches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_minibatch_of_weight_zero_is_left_out_whole(optimizer):
    case = bit_case("two layers", np.float64, n_samples=50, batch_size=10, optimizer=optimizer)
    X, y, _ = case.data()
    weight = np.random.RandomState(0).rand(50) + 0.1
    order = case.order(0)
    empty = [*range(10), *range(20, 30)]  # the first and the third minibatch
    weight[order[empty]] = 0.0
    losses, sessions = [], []
    for rows_of_order in (order, np.delete(order, empty)):
        session = Session(case.network, 1)
        session.set_parameters(*case.parameters())
        session.prepare(
            as_rows(X, case.network.dtype), y, weight, 10,
            alpha=0.1, optimizer=OPTIMIZERS[optimizer],
        )  # fmt: skip
        losses.append([session.train_epoch(rows_of_order, 0.01) for _ in range(2)])
        sessions.append(session)
    # As if these rows were not there: neither an update, nor a step of Adam, nor a loss.
    assert losses[0] == losses[1]
    assert_same_bits(sessions[0].get_parameters(), sessions[1].get_parameters())
    states = [session.state() for session in sessions]
    assert states[0].step == states[1].step == 6
    assert_same_bits(states[0].moments, states[1].moments)


def test_an_epoch_of_weight_zero_changes_nothing():
    case = bit_case("one layer", np.float64, n_samples=20, batch_size=8)
    X, y, _ = case.data()
    session = Session(case.network, 1)
    session.set_parameters(*case.parameters())
    before = session.get_parameters()
    session.prepare(
        as_rows(X, case.network.dtype), y, np.zeros(20), 8, alpha=0.1, optimizer=Optimizer()
    )
    assert session.train_epoch(np.arange(20), 0.1) == 0.0
    assert_same_bits(session.get_parameters(), before)
    assert session.state().step == 0


def test_rows_may_be_named_twice():
    case = bit_case("one layer", np.float64, n_samples=20, batch_size=8)
    order = np.random.RandomState(1).randint(0, 20, 60)
    sessions = Session(case.network, 2), NaiveSession(case.network)
    losses = []
    for session, rows in zip(sessions, (as_rows, NaiveRows), strict=True):
        X, y, weight = case.data()
        session.set_parameters(*case.parameters())
        session.prepare(
            rows(X, case.network.dtype), y, weight, 8, alpha=0.1, optimizer=Optimizer()
        )  # fmt: skip
        losses.append(session.train_epoch(order, 0.01))
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


def test_no_rows_at_all():
    session = prepared(bit_case("one layer", np.float64, n_samples=20, batch_size=8))
    rows = as_rows(np.zeros((20, 20)), np.dtype(np.float64))
    before = session.get_parameters()
    nothing = np.empty(0, np.int64)
    for _ in range(2):
        assert session.train_epoch(nothing, 0.1) == 0.0
    assert session.logits(rows, nothing).shape == (0,)
    assert session.probabilities(as_rows(np.zeros((0, 20)), np.dtype(np.float64))).shape == (0, 2)
    assert_same_bits(session.get_parameters(), before)


@pytest.mark.parametrize("name", BIT_CASES)
@pytest.mark.parametrize("n_threads", [1, 3])
def test_the_full_gradient_is_summed_over_parts(name, n_threads):
    case = bit_case(name, np.float64, n_threads=n_threads, batch_size=203)
    with everywhere_parallel(), mock.patch.object(plans, "FULL_GRADIENT_ROWS", 40):
        outcome = train(case)
    compare(case, outcome, case.train(NaiveSession(case.network), NaiveRows))


def test_many_epochs_of_a_deep_network_keep_the_padding_at_zero():
    case = bit_case("four layers", np.float32, weights="none", alpha=0.5, optimizer="other adam")
    X, y, _ = case.data()
    session = Session(case.network, 2)
    session.set_parameters(*case.parameters())
    session.prepare(
        as_rows(X, case.network.dtype), y, None, 30, alpha=0.5, optimizer=OPTIMIZERS["adam"]
    )
    for k in range(50):
        session.train_epoch(case.order(k % 2), 0.05)
    check_padding(session)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "widths", [(1, 1), (1, 1, 1), (1, 1, 1, 1, 1, 1), (3, 1, 5, 1), (2, 600, 1)]
)
def test_narrow_and_wide_layers(dtype, widths):
    network = Network(widths, ("tanh",) * (len(widths) - 2), np.dtype(dtype))
    case = Case(network, seed=3, n_samples=33, batch_size=10)
    compare(case, train(case), case.train(NaiveSession(network), NaiveRows))


# --- Numbers at their limits ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_in_a_weight_is_reported(dtype):
    case = bit_case("two layers", dtype, weights="none")
    X, y, _ = case.data()
    coefs, intercepts = case.parameters()
    coefs[1][3, 5] = np.nan
    session = Session(case.network, 1)
    session.set_parameters(coefs, intercepts)
    rows = as_rows(X, case.network.dtype)
    assert np.isnan(session.logits(rows)).all()
    assert np.isnan(session.probabilities(rows)).all()
    session.prepare(rows, y, None, 50, alpha=0.0, optimizer=Optimizer())
    assert np.isnan(session.train_epoch(np.arange(200), 0.1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_that_overflows_leaves_the_others_alone(dtype):
    case = bit_case("two layers", dtype)
    X, *_ = case.data()
    session = Session(case.network, 1)
    session.set_parameters(*case.parameters())
    expected = session.logits(as_rows(X, case.network.dtype))
    X[5] = np.finfo(dtype).max
    logits = session.logits(as_rows(X, case.network.dtype))
    others = np.arange(len(X)) != 5
    np.testing.assert_array_equal(logits[others], expected[others])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("second", ["relu", "tanh", "logistic"])
def test_an_infinite_activation_is_not_made_nan_by_padding(dtype, second):
    # ∞ times the zeros that pad the next layer's weights is NaN; no sum may run over it.
    network = Network((2, 3, 3, 1), ("identity", second), np.dtype(dtype))
    coefs, intercepts = [np.full(s, 1.5) for s in network.shapes()], [np.zeros(3), np.zeros(3), [0]]
    X = np.array([[1, 1], [1, 1]], dtype) * np.array([[np.finfo(dtype).max], [1]], dtype)
    logits = []
    for session, rows in ((Session(network, 1), as_rows), (NaiveSession(network), NaiveRows)):
        session.set_parameters(coefs, intercepts)
        with np.errstate(all="ignore"):
            logits.append(session.logits(rows(X, np.dtype(dtype))))
    assert logits[0][0] == (np.inf if second == "relu" else 4.5)
    np.testing.assert_allclose(*logits, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_saturated_rows_train(dtype):
    case = bit_case("one layer", dtype, weights="none")
    X, y, _ = case.data()
    session = Session(case.network, 1)
    session.set_parameters(*case.parameters())
    session.prepare(
        as_rows(X * 1e6, case.network.dtype), y, None, 50, alpha=0.0, optimizer=Optimizer()
    )  # fmt: skip
    loss = session.train_epoch(np.arange(len(X)), 1e-3)
    assert 0 < loss <= -np.log(np.finfo(dtype).eps)
    assert all(np.isfinite(array).all() for array in flat(session.get_parameters()))
