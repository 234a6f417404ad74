"""Dropout, decay, averages, clipping and smoothing: whole trainings against a twin in NumPy.

The twin shares no code with the package: it draws the masks of dropout with a Philox of its own,
goes forward and back by matrices, and updates as the papers have it. torch is a second oracle for
what it has.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from data import quietly, two_classes
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from scipy import sparse
from scipy.special import expit
from sklearn import config_context

from fastmlp import MLPBinaryClassifier
from fastmlp.data.rows import as_rows
from fastmlp.kernels.simd.philox import philox
from fastmlp.network.layout import Network
from fastmlp.network.regularisation import Regularisation
from fastmlp.network.session import Optimizer, Session

LOW = np.uint64(0xFFFFFFFF)


def philox_numpy(counter, key):
    """Philox 4×32-10 on arrays of words."""
    c = [np.asarray(word, np.uint64) & LOW for word in counter]
    k = [np.uint64(word) for word in key]
    for _ in range(10):
        left, right = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        high = np.uint64(32)
        c = [(right >> high) ^ c[1] ^ k[0], right & LOW, (left >> high) ^ c[3] ^ k[1], left & LOW]
        k = [(k[0] + np.uint64(0x9E3779B9)) & LOW, (k[1] + np.uint64(0xBB67AE85)) & LOW]
    return c


#: Counter, key and words of the known-answer tests that come with the paper's code (Random123).
KNOWN = [
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]  # fmt: skip


@intrinsic
def _words(typingctx, words):
    """The package's Philox, on single words: four of a counter and two of a key."""

    def codegen(context, builder, signature, args):
        words = [builder.extract_value(args[0], k) for k in range(6)]
        return cgutils.pack_array(builder, philox(builder, words[:4], words[4:]))

    return types.UniTuple(types.int64, 4)(words), codegen


@njit
def _compiled_words(words):
    return _words(words)


def words_of(*words):
    return _compiled_words(tuple(map(np.int64, words)))


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers(counter, key, expected):
    assert [int(word) for word in philox_numpy(counter, key)] == expected
    assert [int(word) for word in words_of(*counter, *key)] == expected


@given(st.lists(st.integers(0, 2**32 - 1), min_size=6, max_size=6))
@settings(max_examples=50)
def test_words_are_those_of_the_twin(words):
    expected = philox_numpy(words[:4], words[4:])
    assert [int(word) for word in words_of(*words)] == [int(word) for word in expected]


def mask(seed, layer, update, rows, width, share):
    """1 / (1 − p) where a unit stays, and 0 where it does not: (rows, width)."""
    threshold = round(share * 2**32)
    unit = np.arange(width)
    counter_number, word = 4 * (unit // 16) + unit % 4, unit // 4 % 4
    rows = np.asarray(rows, np.uint64)[:, None]
    counter = [rows, rows >> np.uint64(32), np.uint64(update), counter_number[None, :]]
    drawn = np.stack(philox_numpy(counter, (seed, layer)))
    stays = np.take_along_axis(drawn, np.broadcast_to(word, drawn.shape[1:])[None], 0)[0]
    return np.where(stays >= threshold, 2**32 / (2**32 - threshold), 0.0)


G = {
    "identity": (lambda z: z, lambda z: np.ones_like(z)),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "logistic": (expit, lambda z: expit(z) * (1 - expit(z))),
}


class Twin:
    """A training in NumPy."""

    def __init__(self, coefs, intercepts, activation, optimizer, alpha, regularisation):
        self.W, self.b = [w.copy() for w in coefs], [b.copy() for b in intercepts]
        self.g, self.slope = G[activation]
        self.optimizer, self.alpha, self.r, self.t = optimizer, alpha, regularisation, 0
        self.moments = [[np.zeros_like(p) for p in self.parameters] for _ in range(2)]
        self.averages = [np.zeros_like(p) for p in self.parameters]

    @property
    def parameters(self):
        return [*self.W, *self.b]

    @property
    def model(self):
        return self.parameters if self.r.ema_decay is None else self.averages

    def loss_and_gradients(self, X, y, weight, rows):
        low, high = self.r.targets
        target = np.where(y, high, low)
        a, inputs, slopes = X * self._mask(0, rows, X.shape[1]), [], []
        for layer, (W, b) in enumerate(zip(self.W, self.b, strict=True)):
            inputs.append(a)
            z = a @ W + b
            if layer < len(self.W) - 1:
                m = self._mask(layer + 1, rows, z.shape[1])
                a, s = self.g(z) * m, self.slope(z) * m
                slopes.append(s)
        z, total = z[:, 0], weight.sum()
        losses = np.maximum(z, 0) - z * target + np.log1p(np.exp(-np.abs(z)))
        penalty = sum((W**2).sum() for W in self.W)
        loss = ((losses * weight).sum() + 0.5 * self.alpha * penalty) / total
        delta = ((expit(z) - target) * weight)[:, None]
        dW, db = [], []
        for layer in range(len(self.W) - 1, -1, -1):
            dW.insert(0, (inputs[layer].T @ delta + self.alpha * self.W[layer]) / total)
            db.insert(0, delta.sum(axis=0) / total)
            if layer:
                delta = (delta @ self.W[layer].T) * slopes[layer - 1]
        return loss, [*dW, *db]

    def _mask(self, layer, rows, width):
        share = self.r.of_layer(layer)
        return 1.0 if share == 0 else mask(self.r.seed, layer, self.t, rows, width, share)

    def train_minibatch(self, X, y, weight, rows, rate):
        self.t += 1
        loss, gradients = self.loss_and_gradients(X, y, weight, rows)
        if self.r.max_grad_norm is not None:
            norm = np.sqrt(sum((g**2).sum() for g in gradients))
            gradients = [g * min(1.0, self.r.max_grad_norm / (norm + 1e-6)) for g in gradients]
        for W in self.W:
            W *= 1 - rate * self.r.weight_decay
        o = self.optimizer
        for p, g, m, v in zip(self.parameters, gradients, *self.moments, strict=True):
            if o.solver == "adam":
                m[...] = o.beta_1 * m + (1 - o.beta_1) * g
                v[...] = o.beta_2 * v + (1 - o.beta_2) * g * g
                corrected = rate * np.sqrt(1 - o.beta_2**self.t) / (1 - o.beta_1**self.t)
                p -= corrected * m / (np.sqrt(v) + o.epsilon)
            else:
                m[...] = o.momentum * m - rate * g
                p += o.momentum * m - rate * g if o.nesterov else m
        if self.r.ema_decay is not None:
            d = self.r.ema_decay
            for average, p in zip(self.averages, self.parameters, strict=True):
                average += (1 - d) / (1 - d**self.t) * (p - average)
        return loss

    def train_epoch(self, X, y, weight, order, batch_size, rate):
        total = 0.0
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            total += len(rows) * self.train_minibatch(X[rows], y[rows], weight[rows], rows, rate)
        return total / len(order)


EVERYTHING = Regularisation(
    dropout=(0.3, 0.5), input_dropout=0.2, weight_decay=0.5, ema_decay=0.8, max_grad_norm=0.2,
    label_smoothing=0.1, seed=123_456_789,
)  # fmt: skip
CASES = {
    "dropout": replace(Regularisation(), dropout=(0.4, 0.0), seed=7),
    "input dropout": replace(Regularisation(), input_dropout=0.3, seed=2**32 - 1),
    "decay": Regularisation(weight_decay=0.7),
    "average": Regularisation(ema_decay=0.9),
    "average of nothing": Regularisation(ema_decay=0.0),
    "clip": Regularisation(max_grad_norm=0.1),
    "clip nothing": Regularisation(max_grad_norm=1e6),
    "smoothing": Regularisation(label_smoothing=0.2),
    "everything": EVERYTHING,
}
OPTIMIZERS = {
    "adam": Optimizer("adam"),
    "sgd": Optimizer("sgd", momentum=0.0, nesterov=False),
    "momentum": Optimizer("sgd", momentum=0.8, nesterov=False),
    "nesterov": Optimizer("sgd", momentum=0.8),
}
HIDDEN = (19, 33)


def problem(n=130, n_features=5, hidden=HIDDEN, dtype=np.float64):
    rng = np.random.RandomState(0)
    X, y = rng.randn(n, n_features).astype(dtype), rng.rand(n) < 0.4
    widths = (n_features, *hidden, 1)
    coefs = [rng.randn(a, b) / np.sqrt(a) for a, b in pairwise(widths)]
    return X, y, rng.rand(n) + 0.5, coefs, [rng.randn(b) / 2 for b in widths[1:]]


def session_of(
    problem, activation, optimizer, alpha, regularisation, *, n_threads=1, batch_size=40
):
    X, y, weight, coefs, intercepts = problem
    widths = (X.shape[1], *(len(b) for b in intercepts))
    dtype = X.dtype if isinstance(X, np.ndarray) else np.dtype(np.float64)
    session = Session(Network(widths, (activation,) * (len(widths) - 2), dtype), n_threads)
    session.set_parameters(coefs, intercepts)
    session.prepare(
        as_rows(X, dtype), y, weight, batch_size, alpha=alpha, optimizer=optimizer,
        regularisation=regularisation,
    )  # fmt: skip
    return session


def orders(n, epochs=3):
    rng = np.random.RandomState(1)
    return [rng.permutation(n) for _ in range(epochs)]


def compare(session, twin, losses, expected, tolerance):
    np.testing.assert_allclose(losses, expected, rtol=tolerance)
    coefs, intercepts = session.get_parameters()
    for ours, theirs in zip([*coefs, *intercepts], twin.model, strict=True):
        assert np.abs(ours - theirs).max() <= tolerance * max(1.0, np.abs(theirs).max())


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("activation", G)
def test_trainings_are_those_of_the_twin(case, optimizer, activation):
    given_, optimizer = problem(), OPTIMIZERS[optimizer]
    X, y, weight, coefs, intercepts = given_
    session = session_of(given_, activation, optimizer, 0.01, CASES[case])
    twin = Twin(coefs, intercepts, activation, optimizer, 0.01, CASES[case])
    losses = [session.train_epoch(order, 0.02) for order in orders(len(X))]
    expected = [twin.train_epoch(X, y, weight, order, 40, 0.02) for order in orders(len(X))]
    compare(session, twin, losses, expected, 1e-10)


@pytest.mark.parametrize("batch_size", [130, 300, 7])
@pytest.mark.parametrize("hidden", [(), (3,), (64, 64)])
def test_everything_at_once_in_every_plan(hidden, batch_size):
    # (64, 64) with 130 rows sums gradients by blocks of rows, and (3,) with 7 does not.
    given_, optimizer = problem(hidden=hidden), OPTIMIZERS["adam"]
    X, y, weight, coefs, intercepts = given_
    regularisation = replace(EVERYTHING, dropout=(0.3,) * len(hidden))
    session = session_of(given_, "relu", optimizer, 0.01, regularisation, batch_size=batch_size)
    twin = Twin(coefs, intercepts, "relu", optimizer, 0.01, regularisation)
    losses = [session.train_epoch(order, 0.02) for order in orders(len(X))]
    expected = [twin.train_epoch(X, y, weight, order, batch_size, 0.02) for order in orders(len(X))]
    compare(session, twin, losses, expected, 1e-9)


def test_float32():
    given_, optimizer = problem(dtype=np.float32), OPTIMIZERS["adam"]
    X, y, weight, coefs, intercepts = given_
    session = session_of(given_, "tanh", optimizer, 0.01, EVERYTHING)
    twin = Twin(coefs, intercepts, "tanh", optimizer, 0.01, EVERYTHING)
    losses = [session.train_epoch(order, 0.005) for order in orders(len(X))]
    double = X.astype(float)
    expected = [twin.train_epoch(double, y, weight, order, 40, 0.005) for order in orders(len(X))]
    compare(session, twin, losses, expected, 2e-4)


def test_a_sparse_x():
    given_ = problem()
    X, *others = given_
    X = np.where(np.abs(X) > 0.7, X, 0.0)
    regularisation = replace(EVERYTHING, input_dropout=0.0)
    results = []
    for kind in (np.asarray, sparse.csr_array):
        session = session_of((kind(X), *others), "relu", Optimizer(), 0.01, regularisation)
        for order in orders(len(X)):
            session.train_epoch(order, 0.02)
        results.append(session.state().parameters)
    np.testing.assert_allclose(results[0], results[1], rtol=1e-9, atol=1e-12)


def test_rates_of_minibatches_decay_weights_too():
    given_ = problem()
    X, y, weight, coefs, intercepts = given_
    regularisation, rates = Regularisation(weight_decay=0.5), np.array([0.1, 0.05, 0.0, 0.02])
    session = session_of(given_, "tanh", Optimizer(), 0.0, regularisation)
    twin = Twin(coefs, intercepts, "tanh", Optimizer(), 0.0, regularisation)
    order = np.arange(len(X))
    session.train_epoch(order, rates)
    for k, rate in enumerate(rates):
        rows = order[40 * k : 40 * k + 40]
        twin.train_minibatch(X[rows], y[rows], weight[rows], rows, rate)
    compare(session, twin, [], [], 1e-11)


def test_threads_and_blocks_change_no_bit():
    given_ = problem(n=900, hidden=(64, 64))
    results = []
    for n_threads in (1, 2, 5):
        session = session_of(
            given_, "relu", Optimizer(), 0.01, EVERYTHING, n_threads=n_threads, batch_size=300
        )
        losses = [session.train_epoch(order, 0.02) for order in orders(900)]
        results.append((losses, session.state().parameters.tobytes()))
    assert results[0] == results[1] == results[2]


def test_the_gradient_over_all_rows_knows_no_dropout():
    case = {"label_smoothing": 0.2}
    everything = {**case, "dropout": (0.5, 0.5), "input_dropout": 0.5, "max_grad_norm": 1.0}
    results = [
        session_of(
            problem(), "relu", Optimizer(), 0.1, Regularisation(**values, seed=3)
        ).loss_and_gradient()
        for values in (case, everything)
    ]
    assert results[0][0] == results[1][0]
    for ours, theirs in zip(*(coefs for _, (coefs, _) in results), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_masks_have_the_share_and_no_pattern(share):
    stays = np.array(
        [mask(5, 1, update, np.arange(200), 40, share) > 0 for update in range(1, 21)]
    ).astype(float)
    n = stays.size
    # Four standard errors; the draws are fixed by the seed.
    assert abs(stays.mean() - (1 - share)) < 4 * np.sqrt(share * (1 - share) / n)
    centred = stays - stays.mean()
    for axis in range(3):
        neighbours = centred * np.roll(centred, 1, axis)
        assert abs(neighbours.mean()) < 4 * share * (1 - share) / np.sqrt(n)
    other_layer = np.array(
        [mask(5, 2, update, np.arange(200), 40, share) > 0 for update in range(1, 21)]
    )
    product = centred * (other_layer - other_layer.mean())
    assert abs(product.mean()) < 4 * share * (1 - share) / np.sqrt(n)


# --- the estimator --------------------------------------------------------------------------------

X, Y = two_classes(200)
SETTINGS = {"hidden_layer_sizes": (8, 6), "max_iter": 3, "random_state": 0}
ALL = {
    "dropout": [0.2, 0.4], "input_dropout": 0.1, "weight_decay": 0.1, "ema_decay": 0.9,
    "max_grad_norm": 0.05, "label_smoothing": 0.1,
}  # fmt: skip


def weights(model):
    return [array.tobytes() for array in (*model.coefs_, *model.intercepts_)]


def test_nothing_changes_what_is_not_asked_for():
    plain = quietly(MLPBinaryClassifier(**SETTINGS).fit, X, Y)
    none = MLPBinaryClassifier(
        **SETTINGS, dropout=[0.0, 0], input_dropout=0, weight_decay=0, label_smoothing=0
    )
    assert weights(quietly(none.fit, X, Y)) == weights(plain)


@pytest.mark.parametrize("name", ALL)
def test_each_parameter_changes_the_model(name):
    plain = quietly(MLPBinaryClassifier(**SETTINGS).fit, X, Y)
    model = quietly(MLPBinaryClassifier(**SETTINGS, **{name: ALL[name]}).fit, X, Y)
    assert weights(model) != weights(plain)


def test_bits_on_any_number_of_threads():
    models = [
        quietly(MLPBinaryClassifier(**SETTINGS, **ALL, n_init=2, n_threads=n).fit, X, Y)
        for n in (1, 2, 5)
    ]
    assert weights(models[0]) == weights(models[1]) == weights(models[2])


def test_the_average_is_what_validates_and_predicts():
    model = MLPBinaryClassifier(
        **{**SETTINGS, "max_iter": 6}, ema_decay=0.9, early_stopping=True, scoring="neg_log_loss"
    )
    quietly(model.fit, X, Y, X_val=X, y_val=Y)
    score = model.validation_scores_[model.best_epoch_]
    p = model.predict_proba(X)[:, 1]
    assert score == pytest.approx(np.mean(np.log(np.where(Y, p, 1 - p))), rel=1e-12)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_partial_fits_go_on_where_one_training_would(solver):
    import pickle

    settings_ = {**SETTINGS, **ALL, "shuffle": False, "solver": solver}
    whole = quietly(MLPBinaryClassifier(**{**settings_, "max_iter": 3}).fit, X, Y)
    model = MLPBinaryClassifier(**{**settings_, "max_iter": 1})
    quietly(model.fit, X, Y)
    for _ in range(2):
        model = pickle.loads(pickle.dumps(model))
        # The seed of dropout is drawn from the random state in each call.
        model.set_params(random_state=_state_after_start())
        model.partial_fit(X, Y)
    assert model._training_state["step"] == whole._training_state["step"]
    assert weights(model) == weights(whole)


def _state_after_start():
    """The random state as it is when the weights have been drawn."""
    state = np.random.RandomState(0)
    for shape in ((6, 8), (8,), (8, 6), (6,), (6, 1), (1,)):
        state.uniform(size=shape)
    return state


def test_training_goes_on_from_an_edited_model():
    model = MLPBinaryClassifier(**SETTINGS, ema_decay=0.5, batch_size=50)
    model.partial_fit(X, Y, classes=[0, 1])
    assert not np.array_equal(model._training_state["newest"], model._training_state["average"])
    for array in (*model.coefs_, *model.intercepts_):
        array[...] = 0
    model.set_params(learning_rate_init=1e-12).partial_fit(X, Y)
    assert max(np.abs(array).max() for array in model.coefs_) < 1e-9


BAD = [
    ("dropout", 1.0), ("dropout", -0.1), ("dropout", [0.1]), ("dropout", [0.1, 1.0]),
    ("dropout", [0.1, "x"]), ("dropout", True), ("dropout", "half"), ("dropout", None),
    ("dropout", [[0.1, 0.2], [0.3, 0.4]]), ("dropout", np.nan), ("dropout", [0.1, np.nan]),
    ("input_dropout", 1.0), ("input_dropout", -0.1), ("weight_decay", -1), ("ema_decay", 1.0),
    ("ema_decay", -0.1), ("max_grad_norm", 0), ("max_grad_norm", -1), ("label_smoothing", 1.0),
    ("label_smoothing", -0.1),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_values(name, value):
    with pytest.raises(ValueError, match=name):
        MLPBinaryClassifier(**SETTINGS, **{name: value}).fit(X, Y)


@pytest.mark.parametrize("name", [name for name in ALL if name != "label_smoothing"])
def test_what_lbfgs_cannot_do(name):
    with pytest.raises(ValueError, match=rf"{name}=.* needs solver='adam' or 'sgd'"):
        MLPBinaryClassifier(**SETTINGS, solver="lbfgs", **{name: ALL[name]}).fit(X, Y)


def test_lbfgs_smooths_labels():
    model = MLPBinaryClassifier(
        (), solver="lbfgs", alpha=0, label_smoothing=0.5, tol=1e-8, random_state=0
    )
    model.fit(np.zeros((10, 1)), np.arange(10) < 3)
    # 3 of 10 ones count ¾, 7 zeros ¼.
    expected = (3 * 0.75 + 7 * 0.25) / 10
    np.testing.assert_allclose(model.predict_proba(np.zeros((1, 1)))[0, 1], expected, rtol=1e-4)


@pytest.mark.parametrize(
    "kind", [sparse.csr_array, sparse.coo_array, pd.DataFrame.sparse.from_spmatrix]
)
def test_features_of_a_sparse_x_are_not_dropped(kind):
    with pytest.raises(ValueError, match="input_dropout needs a dense X"):
        MLPBinaryClassifier(**SETTINGS, input_dropout=0.1).fit(kind(sparse.csr_array(X)), Y)


@pytest.mark.parametrize("share", [-1.0, np.nan])
def test_unchecked_shares_are_read_as_none(share):
    # As with hostile input: no step may be there that reads what is not.
    plain = quietly(MLPBinaryClassifier(**SETTINGS).fit, X, Y)
    with config_context(skip_parameter_validation=True):
        model = quietly(MLPBinaryClassifier(**SETTINGS, input_dropout=share).fit, X, Y)
    assert weights(model) == weights(plain)


@pytest.mark.parametrize("share", [np.nextafter(1, 0), 1 - 1e-12])
@pytest.mark.parametrize("name", ["dropout", "input_dropout"])
def test_a_share_next_to_1_leaves_out_everything(name, share):
    settings = {**SETTINGS, "solver": "sgd", "alpha": 0.0, "learning_rate_init": 0.1}
    start = quietly(MLPBinaryClassifier(**settings, learning_rate=lambda t: 0.0).fit, X, Y)
    model = quietly(MLPBinaryClassifier(**settings, **{name: share}).fit, X, Y)
    np.testing.assert_array_equal(model.coefs_[0], start.coefs_[0])
    assert model.intercepts_[-1] != start.intercepts_[-1]


def test_a_decay_that_makes_weights_grow_is_named():
    model = MLPBinaryClassifier(**SETTINGS, weight_decay=1e300)
    message = r"diverged\. weight_decay=1e\+300 times learning_rate_init=0.001 is above 2"
    with pytest.raises(ValueError, match=message):
        quietly(model.fit, X, Y)


# --- torch ----------------------------------------------------------------------------------------


def train_torch(kind, regularisation, optimizer, given_, rate, steps):
    """Steps of torch over all rows, with one hidden tanh layer after another."""
    torch = pytest.importorskip("torch")
    X, y, weight, coefs, intercepts = given_
    tensors = [torch.tensor(a, requires_grad=True) for a in (*coefs, *intercepts)]
    W, b = tensors[: len(coefs)], tensors[len(coefs) :]
    if kind == "adamw":
        step = torch.optim.AdamW(
            [
                {"params": W, "weight_decay": regularisation.weight_decay},
                {"params": b, "weight_decay": 0.0},
            ],
            lr=rate, eps=1e-300,
        )  # fmt: skip
    else:
        step = torch.optim.SGD(tensors, lr=rate, momentum=0.8, nesterov=True)
    low, high = regularisation.targets
    target = torch.tensor(np.where(y, high, low))
    for _ in range(steps):
        step.zero_grad()
        a = torch.tensor(X)
        for layer, (w, bias) in enumerate(zip(W, b, strict=True)):
            a = a @ w + bias
            a = torch.tanh(a) if layer < len(W) - 1 else a
        loss = (
            torch.nn.functional.binary_cross_entropy_with_logits(
                a[:, 0], target, weight=torch.tensor(weight), reduction="sum"
            )
            / weight.sum()
        )
        loss.backward()
        if regularisation.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(tensors, regularisation.max_grad_norm)
        step.step()
    return [tensor.detach().numpy() for tensor in tensors]


@pytest.mark.parametrize(
    ("kind", "regularisation"),
    [
        ("adamw", Regularisation(weight_decay=0.3)),
        ("adamw", Regularisation(label_smoothing=0.2)),
        ("sgd", Regularisation(max_grad_norm=0.05)),
        ("adamw", Regularisation(weight_decay=0.1, max_grad_norm=0.05, label_smoothing=0.1)),
    ],
)
def test_torch(kind, regularisation):
    given_ = problem(hidden=(7, 5))
    optimizer = Optimizer(epsilon=1e-300) if kind == "adamw" else Optimizer("sgd", momentum=0.8)
    session = session_of(given_, "tanh", optimizer, 0.0, regularisation, batch_size=130)
    expected = train_torch(kind, regularisation, optimizer, given_, 0.01, 5)
    for _ in range(5):
        session.train_epoch(np.arange(130), 0.01)
    coefs, intercepts = session.get_parameters()
    for ours, theirs in zip([*coefs, *intercepts], expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-9)
