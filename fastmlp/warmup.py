"""Compiles all kernels ahead of time: ``python -m fastmlp.warmup``.

The first fit of a machine waits some seconds for the compiler. For a container image, run this when
the image is built, on a CPU of the kind that it will run on: the compiled code is kept where every
later process looks for it (NUMBA_CACHE_DIR, if it is set, else the package's folder, else the
user's cache).
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPBinaryClassifier, TabularMLPBinaryClassifier
from fastmlp.data.rows import as_rows
from fastmlp.kernels.activations import ACTIVATIONS
from fastmlp.kernels.take_rows import SOURCES, rows_record, take_rows
from fastmlp.network.layout import Network
from fastmlp.network.regularisation import Regularisation
from fastmlp.network.session import Optimizer, Session
from fastmlp.runtime import cache

_OPTIMIZERS = (Optimizer("adam"), Optimizer("sgd"), Optimizer("sgd", nesterov=False))


def _use(network: Network, optimizer: Optimizer, X: Any, regularisation: Regularisation) -> None:
    """Train by epochs and by full gradients, predict, and take gradients by X."""
    rows, targets = as_rows(X, network.dtype), np.arange(X.shape[0]) % 2
    session = Session(network, 2, sparse=sparse.issparse(X))
    session.set_parameters(
        [np.zeros(shape) for shape in network.shapes()],
        [np.zeros(width) for width in network.widths[1:]],
    )
    for each in (Regularisation(), regularisation):
        session.prepare(
            rows, targets, None, X.shape[0], alpha=1e-4, optimizer=optimizer, regularisation=each
        )
        session.train_epoch(np.arange(X.shape[0]), 0.1)
    session.loss_and_gradient()
    session.logits(rows)
    session.probabilities(rows)
    session.input_gradient(rows)


def compile_all() -> Iterator[None]:
    """Compile what any fit or prediction needs, in float32 and in float64, part by part."""
    for name in ("float32", "float64"):
        dtype = np.dtype(name)
        for source in SOURCES:
            take_rows.address(rows_record(source.name, name))
            yield
        for X in (np.eye(8, dtype=dtype), sparse.csr_array(np.eye(8, dtype=dtype))):
            for activations in (tuple(ACTIVATIONS), ()):
                network = Network((8, *(2 for _ in activations), 1), activations, dtype)
                everything = Regularisation(
                    dropout=(0.5,) * len(activations),
                    input_dropout=0.0 if sparse.issparse(X) else 0.5,
                    weight_decay=0.1,
                    ema_decay=0.9,
                    max_grad_norm=1.0,
                )
                for optimizer in _OPTIMIZERS:
                    _use(network, optimizer, X, everything)
                    yield
    # Enough work for two threads, gradients that each block of rows sums on its own, and a shuffle.
    X = np.random.RandomState(0).standard_normal((1000, 100))
    for name in ("float32", "float64"):
        model = MLPBinaryClassifier((100,), max_iter=1, batch_size=1000, n_threads=2, dtype=name)
        model.fit(X, X[:, 0] > 0).as_numba()
        # A table is of float32 or float64, and its networks of float32.
        table = TabularMLPBinaryClassifier(n_folds=2, max_iter=1, n_threads=2)
        table.fit(X[:200, :4].astype(name), X[:200, 0] > 0).predict(X[:9, :4].astype(name))
        yield


def main() -> int:
    """Compile, and say where to; the exit status is 1 where nothing can be kept."""
    if not cache.enabled():
        print("FASTMLP_CACHE=0 says that compiled code is not kept.", file=sys.stderr)
        return 1
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as problems:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in compile_all():
            if problems:
                print(problems[0].message, file=sys.stderr)
                return 1
    print(f"Compiled in {time.perf_counter() - started:.1f} s.")
    folders = [folder for folder in cache.folders() if any(folder.glob("fastmlp.*.bin"))]
    print("Compiled code is in", *folders)
    return 0


if __name__ == "__main__":
    sys.exit(main())
