"""Whatever is passed: scikit-learn's answer, or an error that says what is wrong (point 6).

Out-of-bounds access has tests of its own: tests/test_simd.py, test_products.py and others hold each
kernel and each tail between guard zones, and tests/test_engine.py whole fits; here, input in which
SciPy would hand kernels indices out of range.
"""

import re
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from data import quietly, two_classes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.neural_network import MLPClassifier

from fastmlp import MLPBinaryClassifier

FEW = settings(
    max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
MANY = settings(FEW, max_examples=10_000, derandomize=False)

#: What an error must speak of.
NAMES = re.compile(
    r"\bX\b|\by\b|sample_weight|[Ss]ample|array|[Ff]eature|classes|class\b|target|label|"
    r"hidden_layer_sizes|activation|solver|alpha|batch_size|non-finite|dtype|weights|"
    r"validation_fraction|could not convert|unsupported|[Cc]omplex|sparse"
)

#: Errors where scikit-learn gives a result: more than two classes, weights that are negative or all
#: 0, and numbers that are lost.
OURS = re.compile("Only binary classification|sample_weight|too large|overflow|non-finite")

DTYPES = [
    "bool", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "g", ">f4", ">f8",
    ">i4", "O", "U", "S", "c16",
]  # fmt: skip
VALUES = {
    "normal": [],
    "inf": [np.inf],
    "-inf": [-np.inf],
    "nan": [np.nan],
    "subnormal": [5e-324, 1e-310, 1e-40],
    "1e300": [1e300, -1e300],
    "1e-300": [1e-300],
    "1e38": [3e38, -3e38],
    "zeros": [0.0, -0.0],
}
CONTAINERS = [
    "C", "F", "read-only", "negative strides", "every other", "misaligned", "broadcast", "masked",
    "memmap", "list", "frame", "csr", "csc", "coo", "64-bit csr", "unsorted csr", "duplicate csr",
    "explicit zeros", "matrix csr", "lil", "bsr", "damaged csr", "damaged csc",
]  # fmt: skip
LABELS = [
    "ints", "bools", "strings", "objects", "floats", "negative", "one class", "three classes",
    "None", "NaN", "pd.NA", "categorical", "unused level", "continuous", "column", "two columns",
    "nullable", "arrow-like strings", "mixed", "too few", "list",
]  # fmt: skip
WEIGHTS = [None, "ones", "zeros", "one", "negative", "nan", "inf", "tiny", "huge", "short", "text"]


def values_of_x(n_rows, n_features, values, dtype, seed):
    rng = np.random.RandomState(seed)
    X = rng.randn(n_rows, n_features) * 3
    special = VALUES[values]
    if special and X.size:
        places = rng.randint(X.size, size=1 + X.size // 4)
        X.flat[places] = rng.choice(special, size=len(places))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if dtype in ("U", "S"):
            return X.round(3).astype(dtype)
        if dtype == "O":
            return X.astype(object)
        return X.astype(dtype)


def contained(X, container, folder, seed):
    """The same table in another form. TypeError where the form does not hold the dtype."""
    rng = np.random.RandomState(seed)
    n_rows, n_features = X.shape
    if container == "C":
        return X
    if container == "F":
        return np.asfortranarray(X)
    if container == "read-only":
        X.flags.writeable = False
        return X
    if container == "negative strides":
        return X[::-1, ::-1].copy()[::-1, ::-1]
    if container == "every other":
        wide = np.zeros((2 * n_rows + 1, 3 * n_features + 1), X.dtype)
        wide[1::2, 1::3][:n_rows, :n_features] = X
        return wide[1::2, 1::3][:n_rows, :n_features]
    if container == "misaligned":
        if X.dtype.hasobject:
            return X
        raw = np.zeros(X.nbytes + 1, np.uint8)[1:]
        out = np.ndarray(X.shape, X.dtype, raw.data)
        out[...] = X
        return out
    if container == "broadcast":
        return np.broadcast_to(X[:1], X.shape) if n_rows else X
    if container == "masked":
        return np.ma.array(X, mask=rng.rand(*X.shape) < 0.3)
    if container == "memmap":
        if X.dtype.hasobject or X.size == 0:
            return X
        out = np.memmap(folder / "X", X.dtype, "w+", shape=X.shape)
        out[...] = X
        return out
    if container == "list":
        return X.tolist()
    if container == "frame":
        return pd.DataFrame(X, columns=[f"x{k}" for k in range(n_features)])
    if container == "matrix csr":
        return scipy.sparse.csr_matrix(X)
    sparse = scipy.sparse.csr_array(np.where(rng.rand(*X.shape) < 0.5, X, X.dtype.type(0)))
    if container in ("csc", "coo", "lil", "bsr"):
        return sparse.asformat(container)
    if container == "64-bit csr":
        sparse.indices, sparse.indptr = sparse.indices.astype("i8"), sparse.indptr.astype("i8")
    if container == "explicit zeros" and sparse.nnz:
        sparse.data[rng.randint(sparse.nnz)] = 0
    if container == "unsorted csr":
        for row in range(n_rows):
            part = slice(sparse.indptr[row], sparse.indptr[row + 1])
            sparse.indices[part] = sparse.indices[part][::-1].copy()
            sparse.data[part] = sparse.data[part][::-1].copy()
        sparse.has_sorted_indices = False
    if container == "duplicate csr":
        twice = (
            np.repeat(sparse.data, 2), np.repeat(sparse.indices, 2), 2 * sparse.indptr,
        )  # fmt: skip
        sparse = scipy.sparse.csr_array(twice, shape=X.shape)
    if container.startswith("damaged"):
        sparse = sparse.asformat(container.split()[1])
        if sparse.nnz == 0:
            raise TypeError("nothing to damage")
        kind = rng.randint(4)
        if kind == 0:
            sparse.indices[rng.randint(sparse.nnz)] = rng.choice([10**6, 2**31 - 1])
        elif kind == 1:
            sparse.indices[rng.randint(sparse.nnz)] = -(10**6)
        elif kind == 2:
            sparse.indptr[-1] = 10**7
        else:
            sparse.indptr[0] = -5
    return sparse


def labels(kind, n, seed):
    y = np.random.RandomState(seed).randint(2, size=n)
    y[:2] = [0, 1][: len(y[:2])]
    names = np.array(["no", "yes"])
    return {
        "ints": lambda: y,
        "bools": lambda: y.astype(bool),
        "strings": lambda: names[y],
        "objects": lambda: names.astype(object)[y],
        "floats": lambda: y * 2.0 - 1,
        "negative": lambda: y - 7,
        "one class": lambda: y * 0,
        "three classes": lambda: np.arange(n) % 3,
        "None": lambda: np.where(y, "a", None),
        "NaN": lambda: np.where(y, 1.0, np.nan),
        "pd.NA": lambda: pd.array(np.where(y, 1, pd.NA), dtype="Int64"),
        "categorical": lambda: pd.Series(pd.Categorical(names[y])),
        "unused level": lambda: pd.Series(pd.Categorical(names[y], ["maybe", "no", "yes"])),
        "continuous": lambda: y + np.linspace(0, 0.5, n),
        "column": lambda: y[:, np.newaxis],
        "two columns": lambda: np.column_stack([y, 1 - y]),
        "nullable": lambda: pd.Series(y, dtype="Int64"),
        "arrow-like strings": lambda: pd.Series(names[y], dtype="string"),
        "mixed": lambda: np.array([1 if v else "one" for v in y], dtype=object),
        "too few": lambda: y[:-1],
        "list": lambda: y.tolist(),
    }[kind]()


def row_weights(kind, n):
    ones = np.ones(n)
    return {
        None: lambda: None,
        "ones": lambda: ones,
        "zeros": lambda: 0 * ones,
        "one": lambda: np.eye(1, n)[0] if n else ones,
        "negative": lambda: -ones,
        "nan": lambda: np.nan * ones,
        "inf": lambda: np.inf * ones,
        "tiny": lambda: 1e-310 * ones,
        "huge": lambda: 1e300 * ones,
        "short": lambda: ones[1:],
        "text": lambda: np.full(n, "heavy"),
    }[kind]()


@st.composite
def shapes(draw):
    """Rows, features and hidden layers: small, but each of them large now and then."""
    n_rows = draw(st.sampled_from([0, 1, 2, 3, 4, 5, 9, 30]))
    n_features = draw(st.sampled_from([0, 1, 2, 3, 7, 16, 17, 33, 500]))
    hidden = draw(st.lists(st.sampled_from([1, 2, 3, 15, 16, 17, 40]), max_size=3))
    extreme = draw(st.sampled_from(["", "", "", "", "wide input", "wide layer", "deep"]))
    if extreme == "wide input":
        n_features, hidden = 10_000, hidden[:1]
    elif extreme == "wide layer":
        n_features, hidden = min(n_features, 33), [draw(st.sampled_from([511, 1000, 2000]))]
    elif extreme == "deep":
        hidden = (hidden * 12 or [3] * 12)[:12]
    return n_rows, n_features, tuple(hidden)


CASES = {
    "shape": shapes(),
    "dtype": st.sampled_from(DTYPES) | st.just("f8"),
    "values": st.sampled_from(list(VALUES)) | st.just("normal"),
    "container": st.sampled_from(CONTAINERS) | st.just("C"),
    "label": st.sampled_from(LABELS) | st.just("ints"),
    "weight": st.sampled_from(WEIGHTS) | st.none(),
    "activation": st.sampled_from(["identity", "logistic", "tanh", "relu"]),
    "solver": st.sampled_from(["sgd", "adam", "lbfgs"]),
    "working": st.sampled_from(["auto", "float32", "float64"]),
    "early_stopping": st.sampled_from([False, False, False, True]),
    "batch_size": st.sampled_from(["auto", 1, 3, 7]),
    "seed": st.integers(0, 2**16),
}


def attempt(model, X, y, weight, errors=(ValueError, TypeError)):
    """The model's probabilities and labels of its own rows, or one of the errors."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            model.fit(X, y, weight)
            return model.predict_proba(X), model.predict(X), None
        except errors as error:
            return None, None, error


def contents(X):
    """What there is in an X, to see whether it has been changed."""
    if scipy.sparse.issparse(X):
        parts = (getattr(X, name, None) for name in ("data", "indices", "indptr", "row", "col"))
        return [contents(part) for part in parts if isinstance(part, np.ndarray)]
    if isinstance(X, list):
        return repr(X)
    X = np.asarray(X)
    return X.dtype, X.shape, repr(X.tolist()) if X.dtype.hasobject else X.tobytes()


def check(folder, shape, dtype, values, container, label, weight, seed, working, **parameters):
    n_rows, n_features, hidden = shape
    X = values_of_x(n_rows, n_features, values, dtype, seed)
    try:
        X = contained(X, container, folder, seed)
        y, weight = labels(label, n_rows, seed), row_weights(weight, n_rows)
    except (TypeError, ValueError):  # NumPy, SciPy or pandas do not make such a thing
        return
    parameters = {"max_iter": 2, "random_state": 0, "hidden_layer_sizes": hidden, **parameters}
    before = contents(X)
    model = MLPBinaryClassifier(dtype=working, **parameters)
    p, predicted, error = attempt(model, X, y, weight)
    assert contents(X) == before, "the input has been changed"
    if error is not None:
        assert NAMES.search(str(error)), f"a reason that helps nobody: {error!r}"
        assert not hasattr(model, "coefs_") or "overflow" in str(error)
    if container.startswith("damaged"):
        assert error is not None
        return
    if working != "auto":
        if error is None:
            assert p.shape == (n_rows, 2)
            assert np.isfinite(p).all()
        return
    # Where all held-out weights are 0, for one, scikit-learn divides by zero.
    other = MLPClassifier(**parameters)
    theirs, their_labels, their_error = attempt(other, X, y, weight, Exception)
    if error is not None:
        refused_alike = their_error is not None or not np.isfinite(theirs).all()
        assert refused_alike or OURS.search(str(error)), f"scikit-learn gives a result: {error!r}"
        return
    assert np.isfinite(p).all()
    if their_error is not None:
        return  # a fault that is mended
    if np.isfinite(theirs).all():
        tolerance = 5e-3 if p.dtype == np.float32 else 1e-6
        if parameters["solver"] == "lbfgs":
            # Its line search goes by the loss. Where a logit is large, scikit-learn has the loss
            # from 1 − ŷ, which has few digits left.
            tolerance = max(tolerance, 1e-3)
        np.testing.assert_allclose(p, theirs, atol=tolerance)
        clear = abs(theirs[:, 1] - 0.5) > tolerance
        np.testing.assert_array_equal(predicted[clear], their_labels[clear])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("maps")


@FEW
@given(**CASES)
def test_input_of_every_kind(folder, **case):
    check(folder, **case)


@pytest.mark.long
@MANY
@given(**CASES)
def test_twenty_thousand_inputs(folder, **case):
    check(folder, **case)


# Predictions: a model that is fitted, and any X.
MODELS = {}


def fitted(n_features, dtype):
    """A model, trained once."""
    key = n_features, dtype
    if key not in MODELS:
        X, y = two_classes(30, max(n_features, 2), dtype=np.dtype(dtype))
        model = MLPBinaryClassifier((5,), max_iter=1, random_state=0)
        MODELS[key] = quietly(model.fit, X[:, :n_features], y)
    return MODELS[key]


PREDICTIONS = {
    "n_rows": st.sampled_from([0, 1, 2, 5, 191, 193]),
    "n_features": st.sampled_from([1, 2, 17]),
    "wrong": st.sampled_from([0, 0, 0, 1, -1]),
    "dtype": CASES["dtype"],
    "values": CASES["values"],
    "container": CASES["container"],
    "working": st.sampled_from(["f4", "f8"]),
    "seed": CASES["seed"],
}


def check_prediction(folder, n_rows, n_features, wrong, dtype, values, container, working, seed):
    model = fitted(n_features, working)
    X = values_of_x(n_rows, max(0, n_features + wrong), values, dtype, seed)
    try:
        X = contained(X, container, folder, seed)
    except (TypeError, ValueError):
        return
    before = contents(X)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        p = reason = None
        try:
            p = model.predict_proba(X)
        except (ValueError, TypeError) as error:
            reason = str(error)
        assert p is not None or NAMES.search(reason), f"a reason that helps nobody: {reason}"
        assert contents(X) == before, "the input has been changed"
        if p is None:
            return
        assert not wrong
        assert not container.startswith("damaged")
        # By the formula, in float64.
        dense = X.astype(np.float64).toarray() if scipy.sparse.issparse(X) else np.asarray(X)
        hidden = dense.astype(np.float64) @ model.coefs_[0].astype(np.float64)
        hidden = np.maximum(hidden + model.intercepts_[0], 0)
        logit = hidden @ model.coefs_[1].astype(np.float64)[:, 0] + model.intercepts_[1]
    assert p.shape == (n_rows, 2)
    assert np.isfinite(p).all()
    expected = np.exp(-np.logaddexp(0, -logit))
    told = np.isfinite(logit) & (abs(logit) < 1e30)
    np.testing.assert_allclose(p[told, 1], expected[told], atol=1e-3 if working == "f4" else 1e-9)


@FEW
@given(**PREDICTIONS)
def test_predictions_of_every_kind(folder, **case):
    check_prediction(folder, **case)


@pytest.mark.long
@MANY
@given(**PREDICTIONS)
def test_ten_thousand_predictions(folder, **case):
    check_prediction(folder, **case)
