"""The engine against its naive twin, over random networks, data, optimizers and threads."""

import itertools
from dataclasses import dataclass
from unittest import mock

import numpy as np
import pytest
import scipy.sparse
from guards import GuardedMemory
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import NaiveEngine, NaiveRows

from fastmlp import engine as engine_module
from fastmlp import workspace as workspace_module
from fastmlp.engine import Engine, Optimizer
from fastmlp.kernels.activations import ACTIVATIONS
from fastmlp.kernels.training import run
from fastmlp.network import Network
from fastmlp.rows import as_rows

DTYPES = (np.float32, np.float64)
OPTIMIZERS = {
    "sgd": Optimizer("sgd", momentum=0.9, nesterov=False),
    "nesterov": Optimizer("sgd", momentum=0.9, nesterov=True),
    "gradient descent": Optimizer("sgd", momentum=0.0, nesterov=False),
    "nesterov without momentum": Optimizer("sgd", momentum=0.0, nesterov=True),
    # A large epsilon: a tiny gradient would be divided by a tiny root, and show its rounding alone.
    "adam": Optimizer("adam", epsilon=1e-3),
    "other adam": Optimizer("adam", beta_1=0.5, beta_2=0.9, epsilon=0.1),
}
LAYOUTS = ("C", "F", "strided", "reversed", "float32", "float64", "int8", "bool", "csr", "csc")
RATES = {"sgd": 0.01, "adam": 0.01}


def laid_out(X, layout):
    """X, or its rounded numbers, in another layout or type."""
    if layout == "F":
        return np.asfortranarray(X)
    if layout == "strided":
        return np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3]
    if layout == "reversed":
        return X[::-1, ::-1].copy()[::-1, ::-1]
    if layout in ("csr", "csc"):
        return getattr(scipy.sparse, f"{layout}_array")(np.where(np.abs(X) > 0.7, X, 0))
    if layout == "C":
        return X
    return np.round(X).astype(layout)


@dataclass(frozen=True)
class Case:
    """A network, data for it, and how to train."""

    network: Network
    seed: int
    n_samples: int
    batch_size: int
    layout: str = "C"
    optimizer: str = "adam"
    weights: str = "none"
    alpha: float = 1e-3
    n_threads: int = 1

    def data(self):
        """(X, y, sample_weight)"""
        rng = np.random.RandomState(self.seed)
        X = rng.randn(self.n_samples, self.network.widths[0]).astype(self.network.dtype)
        y = rng.randint(0, 2, self.n_samples).astype(self.network.dtype)
        weight = None if self.weights == "none" else rng.rand(self.n_samples) * 3
        if self.weights == "zeros":
            weight[rng.rand(self.n_samples) < 0.5] = 0.0
        if self.weights == "a minibatch of zeros":
            weight[self.order(0)[: self.batch_size]] = 0.0
        if weight is not None:
            weight[self.order(0)[-1]] = 1.0  # not all of them
        return laid_out(X, self.layout), y, weight

    def parameters(self):
        """(coefs, intercepts) to start from."""
        rng = np.random.RandomState(self.seed + 1)
        shapes = self.network.shapes()
        return [rng.randn(*s) * 1.2 / np.sqrt(s[0]) for s in shapes], [
            rng.randn(s[1]) / 2 for s in shapes
        ]

    def order(self, epoch):
        """Rows in the order of an epoch; not all of them in the last."""
        order = np.random.RandomState(self.seed + 2 + epoch).permutation(self.n_samples)
        return order[: max(1, self.n_samples - 3)] if epoch == 2 else order

    def train(self, engine, rows, epochs=3):
        """Train an engine; returns everything that comes out of it."""
        X, y, weight = self.data()
        optimizer = OPTIMIZERS[self.optimizer]
        engine.set_parameters(*self.parameters())
        rows = rows(X, self.network.dtype)
        outcome = {"logits before": engine.logits(rows)}
        engine.prepare(
            rows, y, weight, self.batch_size, alpha=self.alpha, optimizer=optimizer
        )  # fmt: skip
        outcome["gradient before"] = engine.loss_and_gradient()
        engine.prepare(
            rows, y, weight, self.batch_size, alpha=self.alpha, optimizer=optimizer
        )  # fmt: skip
        rate = RATES[optimizer.solver]
        outcome["losses"] = [engine.train_epoch(self.order(k), rate) for k in range(epochs)]
        outcome["parameters"] = engine.get_parameters()
        state = engine.get_moments()
        outcome["step"], outcome["moments"] = state.step, state.moments
        outcome["logits"] = engine.logits(rows)
        outcome["some logits"] = engine.logits(rows, self.order(2))
        outcome["probabilities"] = engine.probabilities(rows, self.order(1))
        outcome["gradient"] = engine.loss_and_gradient()
        return outcome


def flat(outcome):
    """All arrays of a nested outcome."""
    if isinstance(outcome, dict):
        outcome = list(outcome.values())
    if isinstance(outcome, list | tuple):
        return [array for part in outcome for array in flat(part)]
    return [np.asarray(outcome)]


def train(case, guarded=True):
    """The compiled engine's outcome, and the engine; guard zones and padding are checked."""
    memory = GuardedMemory()
    with memory.protect(engine_module, workspace_module):
        engine = Engine(case.network, case.n_threads)
        outcome = case.train(engine, as_rows)
    memory.check()
    check_padding(engine)
    return outcome


def check_padding(engine):
    """All flat arrays hold zeros where no parameter is."""
    network = engine.network
    places = np.full(network.size, np.nan)
    network.pack(engine.get_parameters(), places)
    padding = np.isnan(places)
    assert padding.any()
    for array in (engine._parameters, *engine._moments):
        assert array.size == network.size
        np.testing.assert_array_equal(array[padding], 0)


def everywhere_parallel(n_rows_of_prediction=32):
    """A context in which the smallest work is shared among threads."""
    return mock.patch.multiple(
        engine_module,
        _WORK_PER_THREAD=1,
        _TASK_WORK=1,
        _PREDICTION_WORK_PER_THREAD=1,
        _PREDICTION_ROWS=n_rows_of_prediction,
    )


def compare(case, outcome, expected):
    """Every number agrees with the twin's, relative to the largest of its kind."""
    assert list(outcome) == list(expected)
    double = case.network.dtype == np.float64
    for name, part in outcome.items():
        # The twin takes −log(1 − ŷ) as scikit-learn does, and loses digits where ŷ is near 1.
        tolerance = (1e-7 if double else 5e-3) if name == "losses" else (1e-10 if double else 3e-4)
        for array, twin in zip(flat(part), flat(expected[name]), strict=True):
            if array.dtype.kind == "f" and array.ndim:
                assert array.dtype == case.network.dtype, name
            assert array.shape == twin.shape, name
            largest = max(1, np.abs(twin).max(initial=0))
            difference = np.abs(array - twin.astype(np.float64)).max(initial=0)
            assert difference <= tolerance * largest, (name, difference, largest)


widths = st.one_of(st.integers(1, 20), st.integers(21, 70), st.sampled_from([16, 32, 64, 96, 256]))


@st.composite
def cases(draw, dtype):
    hidden = draw(st.lists(widths, max_size=4))
    activations = tuple(draw(st.sampled_from(list(ACTIVATIONS))) for _ in hidden)
    n_samples = draw(st.integers(1, 120))
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
    compare(case, outcome, case.train(NaiveEngine(case.network), NaiveRows))


# --- The same bits --------------------------------------------------------------------------------

# name: widths, activations, layout. Of each: one layer and many, narrow and wide, even and odd.
BIT_CASES = {
    "no hidden layer": ((37, 1), (), "C"),
    "one layer": ((20, 100, 1), ("relu",), "C"),
    "two layers": ((13, 70, 33, 1), ("tanh", "logistic"), "C"),
    "four layers": ((5, 17, 64, 40, 3, 1), ("relu", "identity", "tanh", "logistic"), "strided"),
    "csr": ((40, 30, 20, 1), ("relu", "tanh"), "csr"),
    "csr, no hidden layer": ((40, 1), (), "csr"),
}


def bit_case(name, dtype, **changes):
    widths, activations, layout = BIT_CASES[name]
    arguments = {
        "seed": 7,
        "n_samples": 203,
        "batch_size": 64,
        "layout": layout,
        "optimizer": "adam",
        "weights": "random",
        "alpha": 0.01,
    }
    return Case(Network(widths, activations, np.dtype(dtype)), **(arguments | changes))


def assert_same_bits(outcome, expected):
    for array, other in zip(flat(outcome), flat(expected), strict=True):
        assert array.dtype == other.dtype
        assert array.tobytes() == other.tobytes()


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
    engine = Engine(case.network, 8)
    units = []

    def note(function, n_threads, *arguments, **options):
        units.append(n_threads)
        function(*arguments)

    with everywhere_parallel(), mock.patch.object(engine_module, "run_together", note):
        case.train(engine, as_rows)
    assert units[0] == 7  # a prediction of 203 rows in blocks of 32
    assert max(units[1:]) == 8


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_layout_of_x_does_not_change_a_bit(dtype):
    # float32 data, so that float64 holds the same numbers.
    X, y, _ = bit_case("one layer", np.float32).data()
    outcomes = []
    for form in (X, np.asfortranarray(X), laid_out(X, "strided"), X.astype(np.float64)):
        case = bit_case("one layer", dtype)
        engine = Engine(case.network, 2)
        with mock.patch.object(Case, "data", lambda self, form=form: (form, y, None)):
            outcomes.append(case.train(engine, as_rows))
    for outcome in outcomes[1:]:
        assert_same_bits(outcome, outcomes[0])


@pytest.mark.parametrize("name", ["two layers", "csr"])
def test_the_length_of_a_call_does_not_change_a_bit(name):
    # A slow clock: every call takes one minibatch. A stopped one: calls grow as they can.
    outcomes = []
    seconds = itertools.count()
    for clock in (lambda: next(seconds), lambda: 0.0):
        with mock.patch.object(engine_module.time, "perf_counter", clock):
            outcomes.append(train(bit_case(name, np.float64, batch_size=10)))
    assert_same_bits(*outcomes)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_a_call_that_could_be_stopped_gives_the_same_bits(n_threads):
    case = bit_case("two layers", np.float64, n_threads=n_threads)
    expected = train(case)
    with everywhere_parallel(), mock.patch.object(engine_module, "_LONG_SECONDS", -1.0):
        assert_same_bits(train(case), expected)


@pytest.mark.parametrize("long", [False, True])
def test_an_interrupt_leaves_whole_minibatches(long, monkeypatch):
    # A short minibatch is finished; a long one is undone, with what the optimizer carries.
    case = bit_case("two layers", np.float64, n_samples=60, batch_size=20)
    X, y, weight = case.data()
    engines = []
    for _ in range(2):
        engine = Engine(case.network, 1)
        engine.set_parameters(*case.parameters())
        engine.prepare(
            as_rows(X, case.network.dtype), y, weight, 20, alpha=0.1, optimizer=Optimizer()
        )
        engine.train_epoch(case.order(0), 0.01)
        engines.append(engine)
    interrupted, whole = engines
    together, calls = engine_module.run_together, []

    def interrupt(function, n_threads, *arguments, stoppable):
        together(function, n_threads, *arguments, stoppable=stoppable)
        calls.append(stoppable)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(engine_module, "run_together", interrupt)
        patch.setattr(engine_module, "_LONG_SECONDS", -1.0 if long else np.inf)
        patch.setattr(type(interrupted._pace), "next_call", lambda pace: (1, 1))
        with pytest.raises(KeyboardInterrupt):
            interrupted.train_epoch(case.order(1), 0.01)
    assert calls == [long]
    if not long:
        # The first minibatch of the epoch has been made.
        whole.train_epoch(case.order(1)[:20], 0.01)
    for _ in range(2):  # and both go on alike
        assert interrupted.get_moments().step == whole.get_moments().step
        assert_same_bits(interrupted.get_moments().moments, whole.get_moments().moments)
        assert_same_bits(interrupted.get_parameters(), whole.get_parameters())
        losses = [engine.train_epoch(case.order(0), 0.01) for engine in engines]
        assert losses[0] == pytest.approx(losses[1], rel=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_second_engine_goes_on_where_the_first_stopped(dtype):
    case = bit_case("two layers", dtype)
    X, y, weight = case.data()
    rows = as_rows(X, case.network.dtype)

    def prepared():
        engine = Engine(case.network, 1)
        engine.set_parameters(*case.parameters())
        engine.prepare(rows, y, weight, 64, alpha=0.01, optimizer=Optimizer())
        return engine

    first, second = prepared(), prepared()
    first.train_epoch(case.order(0), 0.01)
    second.set_parameters(*first.get_parameters())
    second.set_moments(first.get_moments())
    losses = [engine.train_epoch(case.order(1), 0.01) for engine in (first, second)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    for part in ("get_parameters", "get_moments"):
        left, right = (getattr(engine, part)() for engine in (first, second))
        if part == "get_moments":
            assert left.step == right.step == 8
            left, right = left.moments, right.moments
        assert_same_bits(left, right)


# --- Minibatches ----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_minibatch_of_weight_zero_is_left_out_whole(optimizer):
    case = bit_case("two layers", np.float64, n_samples=50, batch_size=10, optimizer=optimizer)
    X, y, _ = case.data()
    weight = np.random.RandomState(0).rand(50) + 0.1
    order = case.order(0)
    empty = [*range(10), *range(20, 30)]  # the first and the third minibatch
    weight[order[empty]] = 0.0
    losses, engines = [], []
    for rows_of_order in (order, np.delete(order, empty)):
        engine = Engine(case.network, 1)
        engine.set_parameters(*case.parameters())
        engine.prepare(
            as_rows(X, case.network.dtype), y, weight, 10,
            alpha=0.1, optimizer=OPTIMIZERS[optimizer],
        )  # fmt: skip
        losses.append([engine.train_epoch(rows_of_order, 0.01) for _ in range(2)])
        engines.append(engine)
    # As if these rows were not there: neither an update, nor a step of Adam, nor a loss.
    assert losses[0] == losses[1]
    assert_same_bits(engines[0].get_parameters(), engines[1].get_parameters())
    states = [engine.get_moments() for engine in engines]
    assert states[0].step == states[1].step == 6
    assert_same_bits(states[0].moments, states[1].moments)


def test_an_epoch_of_weight_zero_changes_nothing():
    case = bit_case("one layer", np.float64, n_samples=20, batch_size=8)
    X, y, _ = case.data()
    engine = Engine(case.network, 1)
    engine.set_parameters(*case.parameters())
    before = engine.get_parameters()
    engine.prepare(
        as_rows(X, case.network.dtype), y, np.zeros(20), 8, alpha=0.1, optimizer=Optimizer()
    )
    assert engine.train_epoch(np.arange(20), 0.1) == 0.0
    assert_same_bits(engine.get_parameters(), before)
    assert engine.get_moments().step == 0


def test_rows_may_be_named_twice():
    case = bit_case("one layer", np.float64, n_samples=20, batch_size=8)
    order = np.random.RandomState(1).randint(0, 20, 60)
    engines = Engine(case.network, 2), NaiveEngine(case.network)
    losses = []
    for engine, rows in zip(engines, (as_rows, NaiveRows), strict=True):
        X, y, weight = case.data()
        engine.set_parameters(*case.parameters())
        engine.prepare(
            rows(X, case.network.dtype), y, weight, 8, alpha=0.1, optimizer=Optimizer()
        )  # fmt: skip
        losses.append(engine.train_epoch(order, 0.01))
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


def test_no_rows_at_all(prepared):
    rows = as_rows(np.zeros((20, 20)), np.dtype(np.float64))
    before = prepared.get_parameters()
    nothing = np.empty(0, np.int64)
    for _ in range(2):
        assert prepared.train_epoch(nothing, 0.1) == 0.0
    assert prepared.logits(rows, nothing).shape == (0,)
    assert prepared.probabilities(as_rows(np.zeros((0, 20)), np.dtype(np.float64))).shape == (0, 2)
    assert_same_bits(prepared.get_parameters(), before)


@pytest.mark.parametrize("name", BIT_CASES)
@pytest.mark.parametrize("n_threads", [1, 3])
def test_the_full_gradient_is_summed_over_parts(name, n_threads):
    case = bit_case(name, np.float64, n_threads=n_threads, batch_size=203)
    with everywhere_parallel(), mock.patch.object(engine_module, "_GRADIENT_BATCH", 40):
        outcome = train(case)
    compare(case, outcome, case.train(NaiveEngine(case.network), NaiveRows))


def test_many_epochs_of_a_deep_network_keep_the_padding_at_zero():
    case = bit_case("four layers", np.float32, weights="none", alpha=0.5, optimizer="other adam")
    X, y, _ = case.data()
    engine = Engine(case.network, 2)
    engine.set_parameters(*case.parameters())
    engine.prepare(
        as_rows(X, case.network.dtype), y, None, 30, alpha=0.5, optimizer=OPTIMIZERS["adam"]
    )
    for k in range(50):
        engine.train_epoch(case.order(k % 2), 0.05)
    check_padding(engine)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "widths", [(1, 1), (1, 1, 1), (1, 1, 1, 1, 1, 1), (3, 1, 5, 1), (2, 600, 1)]
)
def test_narrow_and_wide_layers(dtype, widths):
    network = Network(widths, ("tanh",) * (len(widths) - 2), np.dtype(dtype))
    case = Case(network, seed=3, n_samples=33, batch_size=10)
    compare(case, train(case), case.train(NaiveEngine(network), NaiveRows))


# --- Numbers at their limits ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_in_a_weight_is_reported(dtype):
    case = bit_case("two layers", dtype, weights="none")
    X, y, _ = case.data()
    coefs, intercepts = case.parameters()
    coefs[1][3, 5] = np.nan
    engine = Engine(case.network, 1)
    engine.set_parameters(coefs, intercepts)
    rows = as_rows(X, case.network.dtype)
    assert np.isnan(engine.logits(rows)).all()
    assert np.isnan(engine.probabilities(rows)).all()
    engine.prepare(rows, y, None, 50, alpha=0.0, optimizer=Optimizer())
    assert np.isnan(engine.train_epoch(np.arange(200), 0.1))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_row_that_overflows_leaves_the_others_alone(dtype):
    case = bit_case("two layers", dtype)
    X, *_ = case.data()
    engine = Engine(case.network, 1)
    engine.set_parameters(*case.parameters())
    expected = engine.logits(as_rows(X, case.network.dtype))
    X[5] = np.finfo(dtype).max
    logits = engine.logits(as_rows(X, case.network.dtype))
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
    for engine, rows in ((Engine(network, 1), as_rows), (NaiveEngine(network), NaiveRows)):
        engine.set_parameters(coefs, intercepts)
        with np.errstate(all="ignore"):
            logits.append(engine.logits(rows(X, np.dtype(dtype))))
    assert logits[0][0] == (np.inf if second == "relu" else 4.5)
    np.testing.assert_allclose(*logits, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_saturated_rows_train(dtype):
    case = bit_case("one layer", dtype, weights="none")
    X, y, _ = case.data()
    engine = Engine(case.network, 1)
    engine.set_parameters(*case.parameters())
    engine.prepare(
        as_rows(X * 1e6, case.network.dtype), y, None, 50, alpha=0.0, optimizer=Optimizer()
    )  # fmt: skip
    loss = engine.train_epoch(np.arange(len(X)), 1e-3)
    assert 0 < loss <= -np.log(np.finfo(dtype).eps)
    assert all(np.isfinite(array).all() for array in flat(engine.get_parameters()))


# --- Compiled once --------------------------------------------------------------------------------


def read_only(array):
    array = np.array(array)
    array.flags.writeable = False
    return array


def test_what_is_compiled_serves_every_input():
    for layout, dtype in itertools.product(("C", "csr"), DTYPES):
        case = bit_case("one layer", dtype, layout=layout)
        X, y, weight = case.data()
        if layout == "csr":
            X = scipy.sparse.csr_array(
                tuple(map(read_only, (X.data, X.indices, X.indptr))), shape=X.shape
            )
        else:
            X = read_only(X)
        rows = as_rows(X, case.network.dtype)
        engine = Engine(case.network, 1)
        engine.set_parameters(*(list(map(read_only, part)) for part in case.parameters()))
        engine.prepare(
            rows, read_only(y), read_only(weight), 50, alpha=0.1, optimizer=Optimizer()
        )  # fmt: skip
        engine.train_epoch(read_only(case.order(0)), 0.01)
        engine.loss_and_gradient()
        engine.logits(rows, read_only(case.order(0)))
        engine.probabilities(rows)
    assert len(run.signatures) == 1


# --- Wrong use ------------------------------------------------------------------------------------


@pytest.fixture
def prepared():
    case = bit_case("one layer", np.float64, n_samples=20)
    X, y, weight = case.data()
    engine = Engine(case.network, 1)
    engine.set_parameters(*case.parameters())
    engine.prepare(
        as_rows(X, case.network.dtype), y, weight, 8, alpha=0.1, optimizer=Optimizer()
    )  # fmt: skip
    return engine


def test_training_that_has_ended_needs_prepare(prepared):
    moments, parameters = prepared.get_moments(), prepared.get_parameters()
    for _ in range(2):
        prepared.end_training()
        for use in (lambda: prepared.train_epoch(np.arange(20), 0.1), prepared.loss_and_gradient):
            with pytest.raises(RuntimeError, match="prepare comes before training"):
                use()
    assert_same_bits(prepared.get_moments().moments, moments.moments)
    assert_same_bits(prepared.get_parameters(), parameters)
    assert prepared.logits(as_rows(np.zeros((3, 20)), np.dtype(np.float64))).shape == (3,)


@pytest.mark.parametrize("bad", [-1, 20, 10**12, -(10**12)])
def test_rows_that_x_does_not_have(prepared, bad):
    rows = as_rows(np.zeros((20, 20)), np.dtype(np.float64))
    order = np.array([0, bad, 3])
    for use in (prepared.logits, prepared.probabilities):
        with pytest.raises(ValueError, match="order names rows"):
            use(rows, order)
    with pytest.raises(ValueError, match="order names rows"):
        prepared.train_epoch(order, 0.1)


def test_rows_of_another_width(prepared):
    rows = as_rows(np.zeros((20, 19)), np.dtype(np.float64))
    for use in (prepared.logits, prepared.probabilities):
        with pytest.raises(ValueError, match="19 features"):
            use(rows)
    with pytest.raises(ValueError, match="19 features"):
        prepared.prepare(rows, np.zeros(20), None, 8, alpha=0.1, optimizer=Optimizer())


def test_targets_and_weights_of_another_length(prepared):
    rows = as_rows(np.zeros((20, 20)), np.dtype(np.float64))
    for y, weight, name in (
        (np.zeros(19), None, "targets"),
        (np.zeros((20, 1)), None, "targets"),
        (np.zeros(20), np.ones(21), "sample_weight"),
    ):
        with pytest.raises(ValueError, match=name):
            prepared.prepare(rows, y, weight, 8, alpha=0.1, optimizer=Optimizer())


def test_moments_of_another_optimizer(prepared):
    other = bit_case("one layer", np.float64, n_samples=20, optimizer="sgd")
    state = other.train(Engine(other.network, 1), as_rows)
    with pytest.raises(ValueError, match="another optimizer"):
        prepared.set_moments(
            engine_module.OptimizerState(step=state["step"], moments=state["moments"])
        )


def test_parameters_of_another_network(prepared):
    coefs, intercepts = prepared.get_parameters()
    with pytest.raises(ValueError, match="coefs_"):
        prepared.set_parameters([coefs[0].T, coefs[1]], intercepts)


def test_what_goes_in_and_out_is_not_shared(prepared):
    coefs, intercepts = prepared.get_parameters()
    kept = [array.copy() for array in (*coefs, *intercepts)]
    prepared.set_parameters(coefs, intercepts)
    for array in (*coefs, *intercepts):
        array[...] = 0
    np.testing.assert_array_equal(flat(prepared.get_parameters())[0], kept[0])
    prepared.train_epoch(np.arange(20), 0.1)
    state = prepared.get_moments()
    for array in flat(state.moments):
        array[...] = 7
    assert not any((array == 7).all() for array in flat(prepared.get_moments().moments))
    for array in (*coefs, *intercepts):
        np.testing.assert_array_equal(array, 0)
