"""as_numba: a function of one row that compiled code calls without Python."""

import copy
import gc
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numba
import numpy as np
import pytest
from data import quietly, two_classes
from numba.core.errors import TypingError
from sklearn.exceptions import NotFittedError

import fastmlp
from fastmlp import MLPBinaryClassifier

X, Y = two_classes(200)
DTYPES = ("float32", "float64")


def trained(hidden=(9, 20), seed=0, **kwargs):
    settings = {"max_iter": 3, "random_state": seed, **kwargs}
    return quietly(MLPBinaryClassifier(hidden, **settings).fit, X, Y)


@numba.njit(nogil=True)
def score_all(f, X, out):
    for i in range(len(X)):
        out[i] = f(X[i])


@numba.njit(parallel=True)
def score_in_parallel(f, X, out):
    for i in numba.prange(len(X)):
        out[i] = f(X[i])


@numba.njit
def score_twice(functions, x):
    total = 0.0
    for f in functions:
        total += f(x)
    return total


@numba.njit
def score_one(f, x):
    return f(x)


def scores(score, f, X, dtype="float64"):
    out = np.full(len(X), np.nan, dtype)
    score(f, X, out)
    return out


@pytest.fixture(scope="module", params=DTYPES)
def model(request):
    return trained(dtype=request.param)


@pytest.mark.parametrize("hidden", [(), (20,), (9, 20, 3)])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_it_has_the_bits_of_predict_proba(hidden, activation, dtype):
    model = trained(hidden, activation=activation, dtype=dtype)
    f, expected = model.as_numba(), model.predict_proba(X)[:, 1]
    np.testing.assert_array_equal(scores(score_all, f, X, dtype), expected)
    np.testing.assert_array_equal([f(x) for x in X[:10]], expected[:10])


@pytest.mark.parametrize("solver", ["lbfgs", "sgd"])
def test_every_solver(solver):
    model = trained(solver=solver)
    np.testing.assert_array_equal(
        scores(score_all, model.as_numba(), X), model.predict_proba(X)[:, 1]
    )


@pytest.mark.parametrize(
    "change",
    [
        np.float32, np.int8, np.uint8, bool, np.asfortranarray,
        lambda X: np.repeat(X, 2, axis=1)[:, ::2], lambda X: X[:, ::-1],
    ],
    ids=["float32", "int8", "uint8", "bool", "by columns", "strided", "backwards"],
)  # fmt: skip
def test_rows_of_any_numbers_and_strides(model, change):
    rows = (10 * np.abs(X)).astype(change) if isinstance(change, type) else change(X)
    expected = model.predict_proba(rows)[:, 1]
    dtype = model.coefs_[0].dtype
    f = model.as_numba()
    np.testing.assert_array_equal(scores(score_all, f, rows, dtype), expected)
    assert f(rows[3]) == expected[3]


def test_read_only_rows(model):
    frozen = X.copy()
    frozen.flags.writeable = False
    f = model.as_numba()
    np.testing.assert_array_equal(scores(score_all, f, frozen), scores(score_all, f, X))
    assert f(frozen[0]) == f(X[0]) == f(X[0].tolist()) == f(X[0].astype(">f8"))


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_parallel_loops(model, n_threads):
    before = numba.get_num_threads()
    numba.set_num_threads(n_threads)
    try:
        many = np.tile(X, (20, 1))
        found = scores(score_in_parallel, model.as_numba(), many)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(found, np.tile(model.predict_proba(X)[:, 1], 20))


def test_threads_of_python(model):
    f, found = model.as_numba(), [np.zeros(len(X)) for _ in range(4)]
    scores(score_all, f, X)
    threads = [
        threading.Thread(target=lambda out=out: [score_all(f, X, out) for _ in range(50)])
        for out in found
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for out in found:
        np.testing.assert_array_equal(out, model.predict_proba(X)[:, 1])


def test_what_is_compiled_for_one_model_serves_all(model):
    dtype = model.coefs_[0].dtype.name
    scores(score_all, model.as_numba(), X)
    n = len(score_all.signatures)
    for other in (trained((5,), seed=1, dtype=dtype), trained((), activation="tanh", dtype=dtype)):
        found = scores(score_all, other.as_numba(), X)
        np.testing.assert_array_equal(found, other.predict_proba(X)[:, 1])
    assert len(score_all.signatures) == n


def test_several_at_once():
    models = trained(seed=0), trained((3,), seed=1)
    expected = sum(model.predict_proba(X[:1])[0, 1] for model in models)
    assert score_twice(tuple(model.as_numba() for model in models), X[0]) == expected


def test_a_global_is_taken_as_it_was():
    f = trained().as_numba()
    expected = f(X[0])

    @numba.njit
    def of_first(X):
        return f(X[0])

    assert of_first(X) == expected
    f = None
    gc.collect()
    ballast = [np.full(2000, 7) for _ in range(50)]  # where the weights were, had they been freed
    assert of_first(X) == expected
    assert len(ballast) == 50


def test_it_outlives_its_estimator(model):
    expected = model.predict_proba(X)[:, 1]
    other = copy.deepcopy(model)
    f = other.as_numba()
    quietly(other.set_params(random_state=5).fit, -X, Y)
    np.testing.assert_array_equal(scores(score_all, f, X, expected.dtype), expected)
    other.coefs_[0][...] = 0
    del other
    gc.collect()
    np.testing.assert_array_equal(scores(score_all, f, X, expected.dtype), expected)
    # One that nothing but the call holds.
    np.testing.assert_array_equal(scores(score_all, model.as_numba(), X, expected.dtype), expected)


def test_calls_keep_nothing_alive(model):
    f = model.as_numba()
    scores(score_all, f, X)
    before = sys.getrefcount(f._memory)
    for _ in range(10):
        scores(score_all, f, X)
        f(X[0])
    after = sys.getrefcount(f._memory)  # an assertion holds what is in it
    assert after == before


@pytest.mark.parametrize("duplicate", [lambda f: pickle.loads(pickle.dumps(f)), copy.deepcopy])
def test_copies(model, duplicate):
    f = model.as_numba()
    other = duplicate(f)
    assert other._memory.ctypes.data != f._memory.ctypes.data
    np.testing.assert_array_equal(scores(score_all, other, X), scores(score_all, f, X))


def test_one_class():
    model = quietly(MLPBinaryClassifier((4,), max_iter=2).fit, X, np.zeros(200))
    assert model.as_numba()(X[0]) == model.predict_proba(X)[0, 1]


def test_numbers_that_are_not_finite_pass(model):
    f, row = model.as_numba(), X[0].copy()
    row[2] = np.nan
    assert np.isnan(f(row))
    assert np.isnan(score_one(f, row))


# --- Errors ---------------------------------------------------------------------------------------


def test_an_estimator_that_is_not_fitted():
    with pytest.raises(NotFittedError):
        MLPBinaryClassifier().as_numba()


@pytest.mark.parametrize("n", [0, 1, 5, 7, 10_000])
def test_a_row_of_another_length(model, n):
    f = model.as_numba()
    message = "The row has another number of features"
    with pytest.raises(ValueError, match=message):
        score_one(f, np.zeros(n))
    with pytest.raises(ValueError, match=message):
        f(np.zeros(n))


@pytest.mark.parametrize(
    "row", [X, 1.0, "abc", X[0] + 0j, np.array([None] * 6)], ids=["2-D", "0-D", "str", "C", "None"]
)
def test_what_is_no_row(model, row):
    with pytest.raises(ValueError, match="takes one row, a 1-D array of numbers"):
        model.as_numba()(row)


@pytest.mark.parametrize("row", [X, 1.0, X[0] + 0j, (1.0,) * 6], ids=["2-D", "0-D", "C", "tuple"])
def test_what_compiled_code_cannot_call_it_with(model, row):
    with pytest.raises(TypingError, match="takes one row, a 1-D array of numbers"):
        score_one(model.as_numba(), row)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(value):
    model = trained()
    model.coefs_[1][0, 0] = value
    with pytest.raises(ValueError, match=r"coefs_\[1\] contains NaN or infinity"):
        model.as_numba()


def test_weights_that_make_no_network():
    model = trained()
    model.intercepts_[0] = model.intercepts_[0][:-1]
    with pytest.raises(ValueError, match=r"coefs_\[0\] has shape"):
        model.as_numba()


# --- Across processes -----------------------------------------------------------------------------

KEPT = """
    import warnings
    import numba, numpy as np
    from fastmlp import MLPBinaryClassifier

    @numba.njit(cache=True)
    def highest(f, X):
        best = 0.0
        for row in X:
            best = max(best, f(row))
        return best

    if __name__ == "__main__":
        warnings.simplefilter("ignore")
        X = np.random.RandomState(0).standard_normal((50, 4))
        model = MLPBinaryClassifier((5,), max_iter=2).fit(X, X[:, 0] > 0)  # another one each time
        assert highest(model.as_numba(), X) == model.predict_proba(X)[:, 1].max()
        print(sum(highest.stats.cache_hits.values()))
"""


def test_code_that_the_user_keeps_on_disk_serves_later_processes(tmp_path):
    script = tmp_path / "kept.py"
    script.write_text(textwrap.dedent(KEPT))
    root = str(Path(fastmlp.__file__).parents[1])
    hits = [
        subprocess.run(
            [sys.executable, str(script)], env={**os.environ, "PYTHONPATH": root},
            capture_output=True, text=True, check=True, timeout=300,
        ).stdout.strip()
        for _ in range(2)
    ]  # fmt: skip
    assert hits == ["0", "1"]
