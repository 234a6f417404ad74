"""Networks, data and ways to train them, for the compiled session and its naive twin alike."""

from dataclasses import dataclass
from unittest import mock

import numpy as np
import scipy.sparse
from guards import GuardedMemory

from fastmlp.data.rows import as_rows
from fastmlp.network import layout as layout_module
from fastmlp.network import plan as plans
from fastmlp.network import session as session_module
from fastmlp.network.layout import Network
from fastmlp.network.session import Optimizer, Session

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

    def train(self, session, rows, epochs=3):
        """Train a session; returns everything that comes out of it."""
        X, y, weight = self.data()
        optimizer = OPTIMIZERS[self.optimizer]
        session.set_parameters(*self.parameters())
        rows = rows(X, self.network.dtype)
        outcome = {"logits before": session.logits(rows)}
        session.prepare(
            rows, y, weight, self.batch_size, alpha=self.alpha, optimizer=optimizer
        )  # fmt: skip
        outcome["loss before"], outcome["gradient before"] = session.loss_and_gradient()
        session.prepare(
            rows, y, weight, self.batch_size, alpha=self.alpha, optimizer=optimizer
        )  # fmt: skip
        rate = RATES[optimizer.solver]
        outcome["losses"] = [session.train_epoch(self.order(k), rate) for k in range(epochs)]
        outcome["parameters"] = session.get_parameters()
        state = session.state()
        outcome["step"], outcome["moments"] = state.step, state.moments
        outcome["flat parameters"] = state.parameters
        outcome["logits"] = session.logits(rows)
        outcome["some logits"] = session.logits(rows, self.order(2))
        outcome["probabilities"] = session.probabilities(rows, self.order(1))
        outcome["loss"], outcome["gradient"] = session.loss_and_gradient()
        return outcome


def flat(outcome):
    """All arrays of a nested outcome."""
    if isinstance(outcome, dict):
        outcome = list(outcome.values())
    if isinstance(outcome, list | tuple):
        return [array for part in outcome for array in flat(part)]
    return [np.asarray(outcome)]


def train(case):
    """The compiled session's outcome; guard zones and padding are checked."""
    memory = GuardedMemory()
    with memory.protect(session_module, layout_module):
        session = Session(case.network, case.n_threads)
        outcome = case.train(session, as_rows)
    memory.check()
    check_padding(session)
    return outcome


def check_padding(session):
    """All flat arrays hold zeros where no parameter is."""
    layout = session._numbers.layout
    places = np.full(layout.size, np.nan)
    layout.pack(session.get_parameters(), places)
    padding = np.isnan(places)
    assert padding.any()
    for array in session._numbers.arrays:
        assert array.size == layout.size
        np.testing.assert_array_equal(array[padding], 0)


def everywhere_parallel(n_rows_of_prediction=32):
    """A context in which the smallest work is shared among threads."""
    return mock.patch.multiple(
        plans,
        WORK_PER_THREAD=1,
        UNIT_WORK=1,
        PREDICTION_WORK_PER_THREAD=1,
        PREDICTION_ROWS=n_rows_of_prediction,
    )


def prepared(case, n_threads=1, optimizer=None):
    """A session with the case's parameters and rows."""
    X, y, weight = case.data()
    session = Session(case.network, n_threads)
    session.set_parameters(*case.parameters())
    session.prepare(
        as_rows(X, case.network.dtype), y, weight, case.batch_size,
        alpha=case.alpha, optimizer=optimizer or OPTIMIZERS[case.optimizer],
    )  # fmt: skip
    return session


def compare(case, outcome, expected):
    """Every number agrees with the twin's, relative to the largest of its kind."""
    assert list(outcome) == list(expected)
    double = case.network.dtype == np.float64
    for name, part in outcome.items():
        tolerance = 1e-10 if double else 3e-4
        for array, twin in zip(flat(part), flat(expected[name]), strict=True):
            if array.dtype.kind == "f" and array.ndim:
                assert array.dtype == case.network.dtype, name
            assert array.shape == twin.shape, name
            largest = max(1, np.abs(twin).max(initial=0))
            difference = np.abs(array - twin.astype(np.float64)).max(initial=0)
            assert difference <= tolerance * largest, (name, difference, largest)


# name: widths, activations, layout. Of each: one layer and many, narrow and wide, even and odd.
BIT_CASES = {
    "no hidden layer": ((37, 1), (), "C"),
    "one layer": ((20, 100, 1), ("relu",), "C"),
    "two layers": ((13, 170, 133, 1), ("tanh", "logistic"), "C"),
    "four layers": ((5, 17, 64, 40, 3, 1), ("relu", "identity", "tanh", "logistic"), "strided"),
    "csr": ((40, 30, 20, 1), ("relu", "tanh"), "csr"),
    "csr, no hidden layer": ((40, 1), (), "csr"),
}


def bit_case(name, dtype, **changes):
    widths, activations, layout = BIT_CASES[name]
    arguments = {
        "seed": 7,
        "n_samples": 203,
        "batch_size": 128,
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
