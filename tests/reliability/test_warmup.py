"""After the warm-up, no fit and no prediction compiles anything."""

from kept import files, run

USE_EVERYTHING = """
import itertools, warnings
import numpy as np
from scipy import sparse
from fastmlp import MLPBinaryClassifier, TabularMLPBinaryClassifier
from fastmlp.runtime.cache import KernelCache
from fastmlp.kernels.take_rows import SOURCES

compiled = []
KernelCache.save_overload = lambda self, sig, data: compiled.append((self._name, str(sig)))
warnings.simplefilter("ignore")
rng = np.random.RandomState(0)
X = rng.randint(0, 2, (60, 12))
y = rng.randint(0, 2, 60)
weight = rng.rand(60)
n = 0

def use(model, X, sample_weight=None):
    global n
    model.fit(X, y[: X.shape[0]], sample_weight)
    model.predict(X), model.predict_log_proba(X), model.score(X, y[: X.shape[0]])
    n += 1

for activation, dtype, hidden, sparse_x in itertools.product(
    ("identity", "logistic", "tanh", "relu"), ("float32", "float64"), ((), (8,), (20, 8, 8)),
    (False, True),
):
    for solver, more in (
        ("adam", {}), ("adam", {"early_stopping": True}), ("sgd", {}), ("lbfgs", {}),
        ("sgd", {"nesterovs_momentum": False}), ("sgd", {"momentum": 0.0}), ("adam", {"alpha": 0}),
    ):
        model = MLPBinaryClassifier(
            hidden, activation=activation, solver=solver, max_iter=2, dtype=dtype, **more
        )
        given = sparse.csr_array(X.astype(dtype)) if sparse_x else X.astype(dtype)
        use(model, given)
        use(model, given, weight)
for dtype, source in itertools.product(("float32", "float64"), SOURCES):
    model = MLPBinaryClassifier((8,), max_iter=2, dtype=dtype)
    use(model, X.astype(source))
    use(model, sparse.csc_matrix(X.astype(source)))
    model.partial_fit(np.asfortranarray(X.astype(source)), y)
for dtype, n_folds in itertools.product(("float32", "float64"), (1, 3)):
    table = TabularMLPBinaryClassifier(n_folds=n_folds, max_iter=2)
    table.fit(X.astype(dtype), y, weight).predict(X.astype(dtype))
regularised = {
    "dropout": 0.1, "weight_decay": 0.1, "ema_decay": 0.9, "max_grad_norm": 1.0,
    "label_smoothing": 0.1, "learning_rate": "cosine", "warmup": 0.1, "n_init": 2,
}
for activation, dtype, hidden in itertools.product(
    ("relu", "tanh", "gelu", "mish"), ("float32", "float64"), ((), (8,), (20, 8))
):
    model = MLPBinaryClassifier(hidden, activation=activation, max_iter=2, dtype=dtype)
    for given in (X.astype(dtype), sparse.csr_array(X.astype(dtype))):
        use(model, given)
        model.input_gradient(given)
        use(MLPBinaryClassifier(**{**model.get_params(), **regularised}), given)
    use(MLPBinaryClassifier(**{**model.get_params(), **regularised, "input_dropout": 0.1}), X)
# Enough work for two threads, with gradients in blocks and over all rows.
X = rng.randn(2000, 100)
y = rng.randint(0, 2, 2000)
for dtype, hidden, solver in itertools.product(
    ("float32", "float64"), ((50,), (150, 150)), ("adam", "lbfgs")
):
    for given in (X, sparse.csr_array(X)):
        model = MLPBinaryClassifier(
            hidden, solver=solver, max_iter=2, batch_size=500, dtype=dtype, n_threads=2
        )
        use(model, given)
from numba.np.ufunc import parallel
assert parallel._is_initialized
print(n, compiled)
"""


def test_nothing_is_compiled_after_the_warm_up(warmed_up):
    folder, said = warmed_up
    assert str(folder) in said
    before = files(folder)
    n, compiled = run(folder, "-c", USE_EVERYTHING).split(maxsplit=1)
    assert compiled.strip() == "[]"
    assert int(n) > 600
    assert files(folder) == before


def test_a_second_warm_up_compiles_nothing(warmed_up):
    folder, _ = warmed_up
    before = files(folder)
    run(folder, "-m", "fastmlp.warmup")
    assert files(folder) == before
