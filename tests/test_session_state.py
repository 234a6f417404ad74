"""Sessions that are interrupted, go on from a state, or are given other rows; and wrong use."""

import copy
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import scipy.sparse
from cases import (
    BIT_CASES,
    DTYPES,
    OPTIMIZERS,
    assert_same_bits,
    bit_case,
    flat,
    prepared,
)
from naive import NaiveRows, NaiveSession

from fastmlp.data.rows import as_rows
from fastmlp.kernels import piece as piece_module
from fastmlp.network import plan as plans
from fastmlp.network import session as session_module
from fastmlp.network.session import Optimizer, Session, State
from fastmlp.runtime.call import Call
from fastmlp.runtime.driver import CALL
from fastmlp.runtime.pace import Pace

DOUBLE = np.dtype(np.float64)


def state_of(session):
    """Everything that training goes on from."""
    state = session.state()
    return state.step, state.parameters, state.moments


# --- Interrupts -----------------------------------------------------------------------------------


def half_done(call, session, run, stoppable):
    """Do the first phase of a call, and leave its results half written."""
    for name in ("n_phases", "n_units"):
        call._record[CALL.names.index(name)] = 1
    run(call, stoppable=stoppable)
    for array in session._numbers.arrays:
        array[...] = np.nan


def interrupted_epoch(session, order, when, long, monkeypatch):
    """Interrupt the first call of an epoch; returns whether calls were stoppable."""
    run, calls = Call.run, []

    def interrupt(call, *, stoppable=False):
        calls.append(stoppable)
        if when == "half way":
            half_done(call, session, run, stoppable)
        if when == "after":
            run(call, stoppable=stoppable)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Call, "run", interrupt)
        patch.setattr(plans, "LONG_SECONDS", -1.0 if long else np.inf)
        patch.setattr(Pace, "next_call", lambda pace: (1, 1))
        with pytest.raises(KeyboardInterrupt):
            session.train_epoch(order, 0.01)
    return calls


INTERRUPTS = [
    (False, "before"), (False, "after"), (True, "before"), (True, "half way"), (True, "after"),
]  # fmt: skip


@pytest.mark.parametrize("when", ["before there is a call", "before it runs", "after it ran"])
def test_a_cancelled_epoch_ends_even_in_its_last_minibatch(when, monkeypatch):
    case = bit_case("two layers", np.float64, n_samples=60, batch_size=60)
    session, whole = (prepared(case) for _ in range(2))
    new_call, run = Session._new_call, Call.run

    def new(session, *args, **kwargs):
        if when == "before there is a call":
            session.cancel()
        return new_call(session, *args, **kwargs)

    def run_and_cancel(call, **kwargs):
        if when == "before it runs":
            session.cancel()
        run(call, **kwargs)
        if when == "after it ran":
            session.cancel()

    with monkeypatch.context() as patch:
        patch.setattr(plans, "LONG_SECONDS", -1.0)
        patch.setattr(Session, "_new_call", new)
        patch.setattr(Call, "run", run_and_cancel)
        with pytest.raises(KeyboardInterrupt):
            session.train_epoch(case.order(0), 0.01)
    # Left, and undone.
    assert_same_bits(session.get_parameters(), whole.get_parameters())
    assert session.state().step == 0


@pytest.mark.parametrize("again", [0, 1, 3])
@pytest.mark.parametrize(("long", "when"), INTERRUPTS)
@pytest.mark.parametrize("name", ["one layer", "two layers"])
def test_an_interrupt_leaves_whole_minibatches(name, long, when, again, monkeypatch):
    # What was finished counts, and anything else is undone, with what the optimizer carries; also
    # where more interrupts come while the session sets that right.
    case = bit_case(name, np.float64, n_samples=60, batch_size=20, alpha=0.1)
    sessions = [prepared(case) for _ in range(2)]
    for session in sessions:
        session.train_epoch(case.order(0), 0.01)
    interrupted, whole = sessions
    assert interrupted_epoch(interrupted, case.order(1), when, long, monkeypatch) == [long]
    interrupt_settling(interrupted, again, monkeypatch)
    if when == "after":
        # The first minibatch of the epoch has been made.
        whole.train_epoch(case.order(1)[:20], 0.01)
    for _ in range(2):  # and both go on alike
        assert_same_bits(state_of(interrupted), state_of(whole))
        assert_same_bits(interrupted.get_parameters(), whole.get_parameters())
        losses = [session.train_epoch(case.order(0), 0.01) for session in sessions]
        assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def interrupt_settling(session, times, monkeypatch):
    """Interrupt so many uses of the session while it settles, before and after it has waited."""
    leave = Call.leave
    for k in range(times):

        def interrupt(call, k=k):
            if k > 0:
                leave(call)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Call, "leave", interrupt)
            with pytest.raises(KeyboardInterrupt):
                session.get_parameters()


def test_an_earlier_undo_is_not_taken_for_a_later_call(monkeypatch):
    # Interrupted before its call is there; then weights are set, and a short call is interrupted.
    case = bit_case("two layers", np.float64, n_samples=60, batch_size=20)
    session = prepared(case)

    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(session_module, "Call", interrupt)
        patch.setattr(plans, "LONG_SECONDS", -1.0)
        with pytest.raises(KeyboardInterrupt):
            session.train_epoch(case.order(0), 0.01)
    coefs, intercepts = case.parameters()
    session.set_parameters([2 * matrix for matrix in coefs], intercepts)
    assert interrupted_epoch(session, case.order(1), "before", False, monkeypatch) == [False]
    assert_same_bits(session.get_parameters()[0], [2 * matrix for matrix in coefs])


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupted_gradient_leaves_the_session_as_it_was(when, monkeypatch):
    case = bit_case("two layers", np.float64)
    session = prepared(case)
    session.train_epoch(case.order(0), 0.01)
    before, run = state_of(session), Call.run

    def interrupt(call, *, stoppable=False):
        if when == "after":
            run(call, stoppable=stoppable)
        raise KeyboardInterrupt

    for use in (session.loss_and_gradient, lambda: session.logits(session._fed().rows)):
        expected = use()
        with monkeypatch.context() as patch:
            patch.setattr(Call, "run", interrupt)
            with pytest.raises(KeyboardInterrupt):
                use()
        assert_same_bits(state_of(session), before)
        assert_same_bits(use(), expected)


# --- State ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam"])
@pytest.mark.parametrize("name", BIT_CASES)
def test_a_second_session_goes_on_where_the_first_stopped(name, optimizer, dtype):
    case = bit_case(name, dtype, optimizer=optimizer)
    first, second = prepared(case), prepared(case)
    first.train_epoch(case.order(0), 0.01)
    state = first.state()
    assert isinstance(state, State)
    assert state.step == 2
    second.load(copy.deepcopy(state))
    assert_same_bits(state_of(second), state_of(first))
    losses = [session.train_epoch(case.order(1), 0.01) for session in (first, second)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert second.state().step == 4
    assert_same_bits(state_of(second), state_of(first))


def test_a_state_is_in_the_order_of_flatten():
    case = bit_case("two layers", np.float32)
    session = prepared(case)
    session.train_epoch(case.order(0), 0.01)
    state = session.state()
    np.testing.assert_array_equal(state.parameters, case.network.flatten(session.get_parameters()))
    assert [moment.shape for moment in state.moments] == [(case.network.n_parameters,)] * 2


@pytest.mark.parametrize("others", ["csr", "C"])
def test_a_state_does_not_depend_on_the_kind_of_x(others):
    # A session for a dense X lays its weights out in another way than one for a sparse X.
    case = bit_case("csr", np.float64, layout="C" if others == "csr" else "csr")
    other = bit_case("csr", np.float64, layout=others)
    first, second = prepared(case), prepared(other)
    first.train_epoch(case.order(0), 0.01)
    second.load(first.state())
    assert_same_bits(state_of(second), state_of(first))


@pytest.mark.parametrize("name", ["one layer", "two layers", "csr"])
def test_other_rows_go_on_with_the_same_weights_and_moments(name):
    case = bit_case(name, np.float64)
    X, y, weight = case.data()
    fed, twin = prepared(case, 2), NaiveSession(case.network)
    other = bit_case(name, np.float64, seed=8, n_samples=90)
    case_rows, other_rows = (as_rows(c.data()[0], DOUBLE) for c in (case, other))
    twin.set_parameters(*case.parameters())
    twin.prepare(
        NaiveRows(X, DOUBLE),
        y,
        weight,
        case.batch_size,
        alpha=case.alpha,
        optimizer=OPTIMIZERS["adam"],
    )
    X_2, y_2, weight_2 = other.data()
    losses = [[], []]
    for session, rows, rows_2, out in (
        (fed, case_rows, other_rows, losses[0]),
        (twin, NaiveRows(X, DOUBLE), NaiveRows(X_2, DOUBLE), losses[1]),
    ):
        out.append(session.train_epoch(case.order(0), 0.01))
        session.feed(rows_2, y_2, weight_2)
        out.append(session.train_epoch(other.order(0), 0.01))
        session.feed(rows, y)  # without weights
        out.append(session.train_epoch(case.order(1), 0.01))
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    assert fed.state().step == twin.state().step == 2 + 1 + 2
    for array, expected in zip(flat(state_of(fed)), flat(list(vars(twin.state()).values())),
                               strict=True):  # fmt: skip
        np.testing.assert_allclose(array, expected, rtol=1e-9, atol=1e-12)


def test_feeding_the_same_rows_changes_nothing():
    case = bit_case("one layer", np.float32)
    X, y, weight = case.data()
    sessions = [prepared(case) for _ in range(2)]
    for k in range(3):
        for session in sessions:
            session.train_epoch(case.order(k), 0.01)
        sessions[0].feed(as_rows(X, case.network.dtype), y, weight)
    assert_same_bits(state_of(sessions[0]), state_of(sessions[1]))


@pytest.mark.parametrize("first", ["C", "csr"])
def test_rows_of_another_kind_may_come_amid_training(first):
    # The weights are laid out anew for a prediction, and for training again.
    case = bit_case("csr", np.float64, layout=first)
    other = bit_case("csr", np.float64, layout="csr" if first == "C" else "C")
    sessions = [prepared(case) for _ in range(2)]
    for k in range(3):
        for session in sessions:
            session.train_epoch(case.order(k), 0.01)
        sessions[0].logits(as_rows(other.data()[0], DOUBLE))
        gradients = [flat(session.loss_and_gradient()) for session in sessions]
        assert_same_bits(*gradients)
        sessions[0].probabilities(as_rows(other.data()[0], DOUBLE))
    assert_same_bits(state_of(sessions[0]), state_of(sessions[1]))
    # And the other kind may be trained on.
    X, y, weight = other.data()
    sessions[0].feed(as_rows(X, DOUBLE), y, weight)
    assert np.isfinite(sessions[0].train_epoch(other.order(0), 0.01))


def test_a_state_of_another_network_or_optimizer():
    case = bit_case("one layer", np.float64, n_samples=20, batch_size=8)
    session = prepared(case)
    state = session.state()
    with pytest.raises(ValueError, match="another optimizer"):
        session.load(State(1, state.parameters, state.moments[:1]))
    with pytest.raises(ValueError, match="2201 numbers"):
        session.load(State(1, state.parameters[:-1], state.moments))
    with pytest.raises(ValueError, match="2201 numbers"):
        session.load(State(1, state.parameters, [state.moments[0], state.moments[1][None]]))
    assert_same_bits(state_of(session), (state.step, state.parameters, state.moments))


# --- Compiled once --------------------------------------------------------------------------------


def read_only(array):
    array = np.array(array)
    array.flags.writeable = False
    return array


def use_everything(case, freeze):
    X, y, weight = case.data()
    if case.layout == "csr":
        X = scipy.sparse.csr_array(tuple(map(freeze, (X.data, X.indices, X.indptr))), shape=X.shape)
    else:
        X = freeze(X)
    rows = as_rows(X, case.network.dtype)
    session = Session(case.network, 1)
    session.set_parameters(*(list(map(freeze, part)) for part in case.parameters()))
    session.prepare(rows, freeze(y), freeze(weight), 50, alpha=0.1, optimizer=Optimizer())
    session.train_epoch(freeze(case.order(0)), 0.01)
    session.loss_and_gradient()
    session.logits(rows, freeze(case.order(0)))
    session.probabilities(rows)


@pytest.mark.parametrize("layout", ["C", "csr"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_compiled_serves_every_input(dtype, layout):
    case = bit_case("one layer", dtype, layout=layout)
    use_everything(case, np.array)
    with mock.patch.object(piece_module, "by_address", None):  # nothing is compiled from here on
        use_everything(case, read_only)
        use_everything(bit_case("one layer", dtype, layout=layout, n_samples=301), read_only)


ROWS = as_rows(np.linspace(-1, 1, 400).reshape(20, 20), DOUBLE)
Y = np.arange(20) % 2
TWOS = np.full(20 * 100 + 100 + 100 + 1, 2.0)

#: Every way to use a session; those of the first kind leave its numbers alone.
READS = {
    "get_parameters": lambda session: session.get_parameters(),
    "state": lambda session: session.state(),
    "feed": lambda session: session.feed(ROWS, Y),
    "end_training": lambda session: session.end_training(),
    "loss_and_gradient": lambda session: session.loss_and_gradient(),
    "logits": lambda session: session.logits(ROWS),
    "probabilities": lambda session: session.probabilities(ROWS),
}
WRITES = {
    "set_parameters": lambda session: session.set_parameters(*session.network.unflatten(TWOS)),
    "load": lambda session: session.load(State(1, TWOS, [TWOS, TWOS])),
    "prepare": lambda session: session.prepare(
        ROWS, Y, None, 8, alpha=0.1, optimizer=Optimizer("adam")
    ),
    "train_epoch": lambda session: session.train_epoch(np.arange(20), 0.1),
}


@pytest.mark.parametrize("use", [*READS, *WRITES])
def test_every_use_first_sets_right_what_a_call_has_left(use):
    session = prepared(bit_case("one layer", np.float64, n_samples=20, batch_size=8, alpha=0.1))
    session.train_epoch(np.arange(20), 0.01)
    before, waited = state_of(session), []
    arrays = session._numbers.arrays
    session._undo = [array.copy() for array in arrays]
    for array in arrays:
        array[...] = np.nan
    session._call = SimpleNamespace(counts=1, leave=lambda: waited.append(True))
    if use in WRITES:
        WRITES[use](session)
    else:
        READS[use](session)
        assert_same_bits(state_of(session), before)
    assert waited == [True]
    assert all(np.isfinite(array).all() for array in arrays)


# --- Wrong use ------------------------------------------------------------------------------------


@pytest.fixture
def session():
    return prepared(bit_case("one layer", np.float64, n_samples=20, batch_size=8, alpha=0.1))


def test_training_that_has_ended_needs_prepare(session):
    before = state_of(session)
    for _ in range(2):
        session.end_training()
        for use in (lambda: session.train_epoch(np.arange(20), 0.1), session.loss_and_gradient):
            with pytest.raises(RuntimeError, match="prepare comes before training"):
                use()
    assert_same_bits(state_of(session), before)
    assert session.logits(as_rows(np.zeros((3, 20)), DOUBLE)).shape == (3,)


@pytest.mark.parametrize("bad", [-1, 20, 10**12, -(10**12)])
def test_rows_that_x_does_not_have(session, bad):
    rows = as_rows(np.zeros((20, 20)), DOUBLE)
    order = np.array([0, bad, 3])
    for use in (session.logits, session.probabilities):
        with pytest.raises(ValueError, match="order names rows"):
            use(rows, order)
    with pytest.raises(ValueError, match="order names rows"):
        session.train_epoch(order, 0.1)


def test_rows_of_another_width(session):
    rows = as_rows(np.zeros((20, 19)), DOUBLE)
    for use in (session.logits, session.probabilities):
        with pytest.raises(ValueError, match="19 features"):
            use(rows)
    with pytest.raises(ValueError, match="19 features"):
        session.prepare(rows, np.zeros(20), None, 8, alpha=0.1, optimizer=Optimizer())
    with pytest.raises(ValueError, match="19 features"):
        session.feed(rows, np.zeros(20))


def test_targets_and_weights_of_another_length(session):
    rows = as_rows(np.zeros((20, 20)), DOUBLE)
    for y, weight, name in (
        (np.zeros(19), None, "targets"),
        (np.zeros((20, 1)), None, "targets"),
        (np.zeros(20), np.ones(21), "sample_weight"),
    ):
        with pytest.raises(ValueError, match=name):
            session.prepare(rows, y, weight, 8, alpha=0.1, optimizer=Optimizer())
        with pytest.raises(ValueError, match=name):
            session.feed(rows, y, weight)


def test_parameters_of_another_network(session):
    coefs, intercepts = session.get_parameters()
    with pytest.raises(ValueError, match="coefs_"):
        session.set_parameters([coefs[0].T, coefs[1]], intercepts)


def test_what_goes_in_and_out_is_not_shared(session):
    coefs, intercepts = session.get_parameters()
    kept = [array.copy() for array in (*coefs, *intercepts)]
    session.set_parameters(coefs, intercepts)
    for array in (*coefs, *intercepts):
        array[...] = 0
    np.testing.assert_array_equal(flat(session.get_parameters())[0], kept[0])
    session.train_epoch(np.arange(20), 0.1)
    state = session.state()
    before = copy.deepcopy(state)
    session.load(state)
    for array in (state.parameters, *state.moments):
        array[...] = 7
    assert_same_bits(state_of(session), (before.step, before.parameters, before.moments))
    for array in (*coefs, *intercepts):
        np.testing.assert_array_equal(array, 0)
