"""np.seterr and filters of warnings change no result: numbers overflow and underflow unremarked."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from data import two_classes
from sklearn.exceptions import ConvergenceWarning

import fastmlp
from fastmlp import MLPBinaryClassifier

X, Y = two_classes()
SPAN = np.random.RandomState(1).randint(-200, 200, X.shape)

TABLES = {
    "ordinary": X,
    "1e±200": X * 10.0**SPAN,
    "largest": np.sign(X) * np.finfo(np.float64).max,
    "subnormal": X * 1e-310,
    "float32 subnormal": (X * 1e-40).astype(np.float32),
    "column-major": np.asfortranarray(X * 10.0 ** (SPAN / 10)),
    "sparse": scipy.sparse.csr_array(X * 10.0 ** -abs(SPAN)),
    "longdouble": X * np.longdouble("1e-320"),
}
WEIGHTS = {
    "no": None,
    "tiny": np.full(60, 1e-300),
    "span": 10.0 ** SPAN[:, 0],
    "huge": np.full(60, 1e300),
}
PREDICTIONS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


def everything(X, weight, **settings):
    """What all methods return one after the other, or the message of the first that fails."""
    model = MLPBinaryClassifier((3,), max_iter=3, random_state=0, **settings)
    calls = [model.fit, model.set_params(warm_start=True).fit]
    if hasattr(model, "partial_fit"):
        calls.append(model.partial_fit)
    found = []
    try:
        for call in calls:
            call(X, Y, weight)
            found += [*model.coefs_, *model.intercepts_, model.loss_]
            found += [getattr(model, name)(X) for name in PREDICTIONS]
    except ValueError as error:
        found.append(str(error))
    return found


@pytest.mark.parametrize(
    ("solver", "dtype"), [("adam", "auto"), ("sgd", "auto"), ("lbfgs", "float32")]
)
@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("table", TABLES)
def test_errors_that_are_raised(table, weight, solver, dtype):
    arguments, settings = (TABLES[table], WEIGHTS[weight]), {"solver": solver, "dtype": dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with np.errstate(all="ignore"):
            expected = everything(*arguments, **settings)
        with np.errstate(all="raise"):
            found = everything(*arguments, **settings)
        # As warnings, which are errors too.
        warnings.simplefilter("error", RuntimeWarning)
        with np.errstate(all="warn"):
            warned = everything(*arguments, **settings)
    np.testing.assert_equal(found, expected)
    np.testing.assert_equal(warned, expected)


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 1, "max_iter": 130},  # from update 6,700 on, Adam's beta_1ᵗ underflows
        {"solver": "sgd", "learning_rate": "invscaling", "power_t": 500.0, "max_iter": 3},
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 1e300, "n_iter_no_change": 1},
        {"early_stopping": True, "max_iter": 3, "alpha": 1e-320, "epsilon": 1e-320},
        {"weight_init": "he_normal", "max_iter": 3, "beta_1": 1e-300, "beta_2": 1e-300},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_errors_that_are_raised_in_training(settings):
    model = MLPBinaryClassifier((3,), random_state=0, **settings)
    weight = WEIGHTS["span"] if "early_stopping" in settings else None
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, Y, weight).predict_proba(X)


def test_the_users_settings_stay():
    with np.errstate(all="raise"):
        before = np.geterr()
        everything(X[:, 0], None)
        assert np.geterr() == before


IMPORT_AND_FIT = """
import warnings
warnings.filterwarnings("default", module="(?!fastmlp)")  # what is not ours may warn
import numpy as np
np.seterr(all="raise")
from fastmlp import MLPBinaryClassifier
X = np.linspace(-1, 1, 40).reshape(20, 2)
MLPBinaryClassifier((3,), tol=1.0, n_iter_no_change=1).fit(X, X[:, 0] > 0).predict_proba(X)
"""


def test_from_the_import_on():
    # Constants of kernels are made at import, and compiled code with the first fit.
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORT_AND_FIT],
        env={**os.environ, "PYTHONPATH": str(Path(fastmlp.__file__).parents[1])},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
