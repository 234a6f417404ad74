"""What a user would train the same network with, and how to time them all fairly.

A contestant is a function ``prepare(work, X, y)`` that returns ``run()``. `prepare` compiles and
warms up; `run` trains the network from new weights on, with Adam, for `work.epochs` epochs of
shuffled minibatches, and returns the seconds that the training took.

    scikit-learn   MLPClassifier.fit
    torch          eager modules, fused Adam, at the better of one thread and all
    jax            the epoch as one jitted `lax.scan`, a ragged last minibatch left out: the fastest
                   way to train such a network from Python on a CPU
    fastmlp        MLPBinaryClassifier.fit
"""

import importlib.util
import math
import time
import warnings
from functools import cache

import numpy as np

from .roof import usable_cores

#: Rows of the fit that warms a contestant up.
_WARM_UP_ROWS = 256


def settings(work, epochs=None):
    """Constructor arguments, for both estimators, that train exactly `epochs` epochs."""
    epochs = work.epochs if epochs is None else epochs
    return {
        "hidden_layer_sizes": work.hidden,
        "batch_size": work.batch_size,
        "max_iter": epochs,
        "n_iter_no_change": epochs + 1,
        "tol": 0.0,
        "random_state": 0,
    }


def quiet_fit(estimator, X, y):
    """Fit without the warning that so few epochs do not converge; returns the seconds it took."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.perf_counter()
        estimator.fit(X, y)
        return time.perf_counter() - start


def _estimator(cls, work, X, y, **parameters):
    rows = slice(min(_WARM_UP_ROWS, len(y)))
    warm_up = settings(work, epochs=1) | {"batch_size": min(64, work.batch_size)} | parameters
    quiet_fit(cls(**warm_up), X[rows], y[rows])
    estimator = cls(**settings(work), **parameters)
    return lambda: quiet_fit(estimator, X, y)


def prepare_scikit_learn(work, X, y):
    from sklearn.neural_network import MLPClassifier

    return _estimator(MLPClassifier, work, X, y)


def prepare_fastmlp(work, X, y, n_threads=None):
    from fastmlp import MLPBinaryClassifier

    return _estimator(MLPBinaryClassifier, work, X, y, n_threads=n_threads)


def prepare_torch(work, X, y):
    import torch

    features = torch.from_numpy(X)
    targets = torch.from_numpy(y.astype(X.dtype))[:, None]
    n = len(targets)

    def train(epochs, threads):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        modules = []
        for n_in, n_out in work.shapes:
            modules += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
        network = torch.nn.Sequential(*modules[:-1])
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
        loss_of = torch.nn.BCEWithLogitsLoss()
        start = time.perf_counter()
        for _ in range(epochs):
            order = torch.randperm(n)
            shuffled, labels = features[order], targets[order]
            for first in range(0, n, work.batch_size):
                rows = slice(first, first + work.batch_size)
                optimizer.zero_grad(set_to_none=True)
                loss_of(network(shuffled[rows]), labels[rows]).backward()
                optimizer.step()
        return time.perf_counter() - start

    thread_counts = {1, usable_cores()}
    for threads in thread_counts:
        train(1, threads)
    return lambda: min(train(work.epochs, threads) for threads in thread_counts)


@cache
def _jax_epoch():
    """One epoch of Adam as a single compiled call."""
    import jax
    import jax.numpy as jnp

    def mean_loss(layers, x, y):
        *hidden, (weights, bias) = layers
        for W, b in hidden:
            x = jax.nn.relu(x @ W + b)
        z = (x @ weights + bias)[:, 0]
        return jnp.mean(jnp.maximum(z, 0) - z * y + jnp.log1p(jnp.exp(-jnp.abs(z))))

    def epoch(state, X, y, order, batch_size):
        def step(state, rows):
            layers, first, second, t = state
            gradients = jax.grad(mean_loss)(layers, X[rows], y[rows])
            t += 1
            first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
            second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
            rate = 1e-3 * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
            layers = jax.tree.map(
                lambda w, m, v: w - rate * m / (jnp.sqrt(v) + 1e-8), layers, first, second
            )
            return (layers, first, second, t), None

        n_batches = len(order) // batch_size
        batches = order[: n_batches * batch_size].reshape(n_batches, batch_size)
        return jax.lax.scan(step, state, batches)[0]

    return jax.jit(epoch, static_argnums=4, donate_argnums=0)


def prepare_jax(work, X, y):
    import jax
    import jax.numpy as jnp

    epoch = _jax_epoch()
    features, targets = jnp.asarray(X), jnp.asarray(y.astype(X.dtype))
    rng = np.random.default_rng(0)

    def new_state():
        layers = []
        for n_in, n_out in work.shapes:
            bound = math.sqrt(6 / (n_in + n_out))
            weights = rng.uniform(-bound, bound, (n_in, n_out)).astype(X.dtype)
            layers.append((jnp.asarray(weights), jnp.zeros(n_out, X.dtype)))
        first, second = (jax.tree.map(jnp.zeros_like, layers) for _ in range(2))
        return jax.block_until_ready((layers, first, second, 0.0))

    def train(epochs):
        state = new_state()
        start = time.perf_counter()
        for _ in range(epochs):
            order = jnp.asarray(rng.permutation(len(targets)))
            state = epoch(state, features, targets, order, work.batch_size)
        jax.block_until_ready(state)
        return time.perf_counter() - start

    train(1)
    return lambda: train(work.epochs)


CONTESTANTS = {
    "scikit-learn": prepare_scikit_learn,
    "torch": prepare_torch,
    "jax": prepare_jax,
    "fastmlp": prepare_fastmlp,
}

PEERS = tuple(name for name in CONTESTANTS if name != "fastmlp")


def takes_part(name, dtype):
    """Whether a contestant is installed and is timed in this dtype (torch and jax in float32)."""
    if name in ("torch", "jax"):
        return np.dtype(dtype) == np.float32 and importlib.util.find_spec(name) is not None
    return True


#: A turn: a contestant trains for so many seconds that do not count, at least once, and then for
#: so many runs that do.
_WARM_UP_SECONDS, _RUNS = 0.25, 2


def best_seconds(runs, repetitions, at_least=0.0):
    """Seconds of each run, the best of several.

    The contestants take turns, so that a drift of the machine's speed hits all of them: their
    ratios hold even where their times do not. The start of a turn does not count, so that each has
    the machine to itself: the idle threads of OpenBLAS, which NumPy's wheels bring, keep a core
    busy for 0.1 s after its last product, and cores that have slept start slowly. Of all the same
    number of runs counts.

    Parameters
    ----------
    runs : dict of callable
        Each trains once and returns its seconds.
    repetitions : int
        The fewest turns.
    at_least : float
        Go on until so many seconds have passed; short runs need many turns.
    """
    best = dict.fromkeys(runs, math.inf)
    start = time.perf_counter()
    turns = 0
    while turns < repetitions or time.perf_counter() - start < at_least:
        for name, run in runs.items():
            warm = time.perf_counter() + _WARM_UP_SECONDS
            run()
            while time.perf_counter() < warm:
                run()
            best[name] = min(best[name], *(run() for _ in range(_RUNS)))
        turns += 1
    return best


def timed(function, *arguments, calls=1):
    """A run for `best_seconds`: seconds of a call, the mean of several where one is too short."""

    def run():
        start = time.perf_counter()
        for _ in range(calls):
            function(*arguments)
        return (time.perf_counter() - start) / calls

    return run
