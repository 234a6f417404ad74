"""The same data, parameters and seed give the model that scikit-learn's MLPClassifier gives.

The whole product of the settings is some 34,000 cases (``pytest -m full``). The default run takes
a part of them in which every combination of any three settings occurs.

Two things are done by hand, because they are faults of scikit-learn that are not repeated. A warm
start begins with its counters and best values afresh. And no minibatch has weights that are all 0.
"""

import copy
import itertools
from typing import NamedTuple

import numpy as np
import pytest
from covering import covering_array
from data import laid_out, quietly, two_classes
from sklearn.neural_network import MLPClassifier

from fastmlp import MLPBinaryClassifier

EPOCHS = 5
N_SAMPLES = 45
HIDDEN = {0: (), 1: (7,), 2: (5, 4), 3: (6, 5, 4), 4: (5, 4, 4, 3)}


class Case(NamedTuple):
    activation: str
    solver: str
    learning_rate: str
    nesterov: bool
    early_stopping: bool
    mode: str
    weighted: bool
    layout: str
    batch_size: int | str
    n_hidden: int
    dtype: str

    @property
    def name(self):
        return "-".join(str(value) for value in self)


def valid_cases():
    """Every case whose settings all matter: the others repeat one of these."""
    product = itertools.product(
        ("identity", "logistic", "tanh", "relu"),
        ("adam", "sgd", "lbfgs"),
        ("constant", "invscaling", "adaptive"),
        (True, False),
        (False, True),
        ("fit", "warm_start", "partial_fit"),
        (False, True),
        ("C", "F", "csr"),
        ("auto", 1, 7, N_SAMPLES),
        tuple(HIDDEN),
        ("float64", "float32"),
    )
    for values in product:
        case = Case(*values)
        if case.solver != "sgd" and (case.learning_rate != "constant" or not case.nesterov):
            continue
        if case.solver == "lbfgs" and (case.batch_size != "auto" or case.early_stopping):
            continue
        if case.mode == "partial_fit" and (case.early_stopping or case.solver == "lbfgs"):
            continue
        yield case


ALL_CASES = list(valid_cases())
CHOSEN_CASES = covering_array(ALL_CASES, strength=3)


def train(Class, case, X, y, weight):
    model = Class(
        HIDDEN[case.n_hidden],
        case.activation,
        solver=case.solver,
        learning_rate=case.learning_rate,
        learning_rate_init=0.01,
        nesterovs_momentum=case.nesterov,
        early_stopping=case.early_stopping,
        validation_fraction=0.25,
        batch_size=case.batch_size,
        alpha=0.01,
        max_iter=EPOCHS,
        # A plateau within the five epochs, so that schedules and stopping have something to do.
        n_iter_no_change=1,
        tol=1e-4 if case.solver == "lbfgs" else 0.05,
        warm_start=case.mode == "warm_start",
        random_state=3,
    )
    if case.mode == "partial_fit":
        for _ in range(EPOCHS):
            model.partial_fit(X, y, sample_weight=weight, classes=[0, 1])
        return model
    quietly(model.fit, X, y, sample_weight=weight)
    if case.mode == "warm_start":
        if Class is MLPClassifier:
            start_counters_afresh(model)
        quietly(model.fit, X, y, sample_weight=weight)
    return model


def start_counters_afresh(model):
    if model.solver == "lbfgs":
        return
    model._no_improvement_count = 0
    model.best_loss_ = None if model.early_stopping else np.inf
    model.best_validation_score_ = -np.inf if model.early_stopping else None


def compare(case):
    X, y = two_classes(N_SAMPLES, dtype=case.dtype)
    weight = np.random.RandomState(1).uniform(0.5, 3.0, N_SAMPLES) if case.weighted else None
    X = laid_out(X, case.layout)
    ours = train(MLPBinaryClassifier, case, X, y, weight)
    theirs = train(MLPClassifier, case, X, y, weight)
    assert_parity(ours, theirs, X, case.dtype)


def assert_parity(ours, theirs, X, dtype="float64"):
    """The tolerances are those that the project promises."""
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.t_ == theirs.t_
    for name in ("loss_curve_", "validation_scores_", "best_validation_score_", "best_loss_"):
        assert hasattr(ours, name) == hasattr(theirs, name), name
    stochastic = hasattr(theirs, "loss_curve_")
    loss_tolerance, probability_tolerance = (1e-10, 1e-10) if dtype == "float64" else (1e-3, 5e-3)
    np.testing.assert_allclose(ours.loss_, theirs.loss_, rtol=0, atol=loss_tolerance)
    if stochastic:
        np.testing.assert_allclose(
            ours.loss_curve_, theirs.loss_curve_, rtol=0, atol=loss_tolerance
        )
    np.testing.assert_allclose(
        ours.predict_proba(X), theirs.predict_proba(X), rtol=0, atol=probability_tolerance
    )
    if dtype == "float32":
        return
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
    if stochastic:
        assert ours.validation_scores_ == theirs.validation_scores_
        assert ours.best_validation_score_ == theirs.best_validation_score_
    arrays = zip(
        [*ours.coefs_, *ours.intercepts_], [*theirs.coefs_, *theirs.intercepts_], strict=True
    )
    for a, b in arrays:
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-8 * abs(b).max())


@pytest.mark.parametrize("case", CHOSEN_CASES, ids=lambda case: case.name)
def test_parity(case):
    compare(case)


@pytest.mark.full
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_parity_of_every_case(activation, solver):
    failed = []
    for case in ALL_CASES:
        if (case.activation, case.solver) == (activation, solver):
            try:
                compare(case)
            except AssertionError as error:
                failed.append(f"{case.name}: {str(error).strip().splitlines()[0]}")
    assert not failed, "\n".join([f"{len(failed)} cases:", *failed])


def test_chosen_cases_cover_every_triple():
    assert len(CHOSEN_CASES) < 400
    chosen, possible = list(zip(*CHOSEN_CASES, strict=True)), list(zip(*ALL_CASES, strict=True))
    for factors in itertools.combinations(range(len(Case._fields)), 3):
        covered, occurring = (
            set(zip(*(columns[f] for f in factors), strict=True)) for columns in (chosen, possible)
        )
        assert covered == occurring


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("layout", ["C", "F", "csr", "csc", "strided"])
@pytest.mark.parametrize("dtype", ["int8", "uint16", "int64", "bool", "float16", "longdouble"])
def test_parity_on_other_dtypes(solver, layout, dtype):
    X, y = two_classes(N_SAMPLES)
    X = (3 * X).astype(dtype)
    if layout in ("csr", "csc") and dtype in ("float16", "longdouble"):
        X = X.astype("float64")  # scipy has no sparse arrays of these
    X = laid_out(X, layout)
    ours, theirs = (
        quietly(Class((5,), solver=solver, max_iter=EPOCHS, random_state=0, batch_size=7).fit, X, y)
        for Class in (MLPBinaryClassifier, MLPClassifier)
    )
    assert_parity(ours, theirs, X.astype("float64") if dtype in ("float16", "longdouble") else X)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_one_generator_for_several_fits(early_stopping):
    X, y = two_classes(N_SAMPLES)
    generators = np.random.RandomState(5), np.random.RandomState(5)
    models = [
        Class((4,), max_iter=3, random_state=generator, early_stopping=early_stopping)
        for Class, generator in zip((MLPBinaryClassifier, MLPClassifier), generators, strict=True)
    ]
    for _ in range(3):
        ours, theirs = (quietly(model.fit, X, y) for model in models)
        assert_parity(ours, theirs, X)
    assert generators[0].randint(2**31) == generators[1].randint(2**31)


def test_partial_fit_after_fit_and_after_a_pickle():
    X, y = two_classes(N_SAMPLES)
    ours, theirs = (
        quietly(Class((4,), max_iter=3, random_state=0, solver="sgd", batch_size=7).fit, X, y)
        for Class in (MLPBinaryClassifier, MLPClassifier)
    )
    for _ in range(3):
        ours, theirs = copy.deepcopy(ours), copy.deepcopy(theirs)
        assert_parity(ours.partial_fit(X, y), theirs.partial_fit(X, y), X)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("label", [0, 1, 7])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_one_class(solver, label, early_stopping):
    X, _ = two_classes(N_SAMPLES)
    y = np.full(N_SAMPLES, label)
    ours, theirs = (
        quietly(
            Class(
                (4,), solver=solver, max_iter=3, random_state=0, early_stopping=early_stopping
            ).fit,
            X,
            y,
        )
        for Class in (MLPBinaryClassifier, MLPClassifier)
    )
    assert_parity(ours, theirs, X)
    assert ours.classes_.tolist() == [label]
    assert ours.predict_proba(X).shape == (N_SAMPLES, 2)
    assert (ours.predict(X) == label).all()
