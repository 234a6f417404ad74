"""scikit-learn's own checks of what an estimator must do, for each solver and dtype."""

import os
import subprocess
import sys
import textwrap
from functools import partial

import pytest
from sklearn.utils import estimator_checks
from sklearn.utils._testing import assert_allclose_dense_sparse
from sklearn.utils.estimator_checks import estimator_checks_generator

from fastmlp import MLPBinaryClassifier

pytestmark = [
    # The checks train with the default max_iter, on data of their own.
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

# These compare a fit with weights to one with repeated rows, to 1e-7. That is one rounding unit of
# float32, in which a sum over repeated rows rounds otherwise than a product with their weight.
TO_ONE_ROUNDING_UNIT = {
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
}


ESTIMATORS = [
    MLPBinaryClassifier(solver=solver, dtype=dtype)
    for solver in ("adam", "sgd", "lbfgs")
    for dtype in ("float64", "float32")
]

# Not there: dropout, whose masks depend on the row, so that a row given twice is not one of weight
# two; and what partial_fit refuses (n_init, early stopping).
ESTIMATORS += [
    MLPBinaryClassifier(
        activation=["gelu"],
        solver="adam",
        dtype="float64",
        alpha=0,
        weight_decay=0.05,
        ema_decay=0.9,
        max_grad_norm=1.0,
        label_smoothing=0.05,
        learning_rate="cosine",
        warmup=0.1,
    ),
    MLPBinaryClassifier(
        (20, 20),
        activation="mish",
        solver="sgd",
        dtype="float32",
        learning_rate_init=0.05,
        max_grad_norm=0.5,
        weight_decay=0.001,
        warmup=0.05,
        n_threads=2,
    ),
    MLPBinaryClassifier(
        activation="softplus", solver="lbfgs", dtype="float64", label_smoothing=0.1
    ),
]


def name_of(value):
    if isinstance(value, MLPBinaryClassifier):
        return f"{value.activation}-{value.solver}-{value.dtype}"
    arguments = ",".join(f"{name}={setting}" for name, setting in value.keywords.items())
    return f"{value.func.__name__}({arguments})"


# parametrize_with_checks would do, but older versions of scikit-learn hand pytest a generator.
@pytest.mark.parametrize(
    ("estimator", "check"),
    [pair for estimator in ESTIMATORS for pair in estimator_checks_generator(estimator)],
    ids=name_of,
)
def test_estimator_checks(estimator, check, monkeypatch):
    if estimator.dtype == "float32" and check.func.__name__ in TO_ONE_ROUNDING_UNIT:
        close = partial(assert_allclose_dense_sparse, rtol=1e-5, atol=1e-6)
        monkeypatch.setattr(estimator_checks, "assert_allclose_dense_sparse", close)
    if "array_api" in check.func.__name__:
        return  # see below
    check(estimator)


def test_array_api_checks_with_numpy():
    """Those that need a switch of scipy's, to be set before its import."""
    code = textwrap.dedent(
        """
        from sklearn.utils.estimator_checks import estimator_checks_generator
        from fastmlp import MLPBinaryClassifier

        checks = list(estimator_checks_generator(MLPBinaryClassifier(max_iter=5)))
        for estimator, check in checks:
            if "array_api" in check.func.__name__:
                check(estimator)
        print(len(checks))
        """
    )
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 40
