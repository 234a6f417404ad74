"""A parameter that is written once, and what is made of it."""

import copy
import inspect
import re
from dataclasses import KW_ONLY, is_dataclass
from numbers import Integral, Real

import numpy as np
import pytest
from data import quietly, two_classes
from sklearn.base import BaseEstimator, clone
from sklearn.utils._param_validation import (
    Interval,
    InvalidParameterError,
    Options,
    StrOptions,
)

from fastmlp import MLPBinaryClassifier
from fastmlp.estimators.mlp_parameters import MLPParameters
from fastmlp.estimators.parameters import (
    one_of,
    parameter,
    parameters_of,
    same_as,
    takes_parameters,
)

COUNT = Interval(Integral, 1, None, closed="left")


@takes_parameters
class Sizes:
    size: int = parameter(3, COUNT, "How many.", group="network")
    _: KW_ONLY
    rate: float = parameter(1e-8, Interval(Real, 0, None, closed="neither"), "How fast.")


@takes_parameters
class Ridge(Sizes, BaseEstimator):
    """Fit a line.

    Parameters
    ----------
    {parameters}

    Notes
    -----
    {groups}
    A {brace} stays.
    """

    rate: float = parameter(0.5, [None, COUNT], "How fast, " + "again and " * 20 + "on.")
    alpha: float = same_as(MLPParameters, "alpha", default=2.0)


class Narrow(Ridge):
    """A subclass with an `__init__` of its own."""

    def __init__(self, alpha=7.0, extra=1):
        super().__init__(alpha=alpha)
        self.extra = extra


def test_signature():
    parameters = inspect.signature(Ridge).parameters.values()
    assert [str(p) for p in parameters] == [
        "size: int = 3",
        "rate: float = 0.5",
        "alpha: float = 2.0",
    ]
    assert [p.kind.name for p in parameters] == ["POSITIONAL_OR_KEYWORD"] + ["KEYWORD_ONLY"] * 2
    with pytest.raises(TypeError, match=r"^Ridge\.__init__\(\) got an unexpected keyword .*'beta'"):
        Ridge(beta=1)
    assert inspect.signature(Sizes).parameters["rate"].default == 1e-8


def test_values_are_stored_as_they_are_given():
    value = np.int64(4)
    model = Ridge(value, alpha=0)
    assert model.size is value
    assert vars(model) == {"size": 4, "rate": 0.5, "alpha": 0}


def test_constraints():
    constraints = Ridge._parameter_constraints
    assert list(constraints) == ["size", "rate", "alpha"]
    assert constraints["rate"] == [None, COUNT]
    assert constraints["alpha"] == MLPBinaryClassifier._parameter_constraints["alpha"]
    with pytest.raises(InvalidParameterError, match="'size' parameter of Ridge must be an int"):
        Ridge(0, rate=1)._validate_params()


def test_docstring():
    lines = inspect.getdoc(Ridge).splitlines()
    assert lines[:7] == [
        "Fit a line.",
        "",
        "Parameters",
        "----------",
        "size : int, default=3",
        "    How many.",
        "rate : int or None, default=0.5",
    ]
    assert " ".join(map(str.strip, lines[7:10])) == "How fast, " + "again and " * 20 + "on."
    assert lines[10] == "alpha : float, default=2.0"
    assert lines[11].startswith("    Strength of the L2 penalty")
    assert max(map(len, Ridge.__doc__.splitlines())) <= 100
    assert lines[-4:] == [
        "- network: `size`", "- training: `rate`", "- regularisation: `alpha`", "A {brace} stays.",
    ]  # fmt: skip
    assert Narrow.__doc__ == "A subclass with an `__init__` of its own."


@pytest.mark.parametrize(
    ("constraints", "expected"),
    [
        (COUNT, "int"),
        ("boolean", "bool"),
        ("verbose", "bool or int"),
        ("random_state", "int, RandomState instance or None"),
        ([one_of("auto"), COUNT], 'int or "auto"'),
        ([None, "array-like", COUNT], "int, None or array-like"),
        (one_of("b", "a"), '{"b", "a"}'),
        ([COUNT, Options(Real, {np.inf})], "int or inf"),
    ],
)
def test_types_in_words(constraints, expected):
    entry = parameter("x", constraints, "").entry("name")
    assert entry == f'name : {expected}, default="x"'


def test_one_of_is_a_constraint_of_scikit_learns():
    ours, theirs = one_of("b", "a"), StrOptions({"a", "b"})
    for value in ("a", "b", "c", 1, None):
        assert ours.is_satisfied_by(value) == theirs.is_satisfied_by(value)
    assert str(ours) == "a str among {'b', 'a'}"


def test_no_default_is_an_attribute_of_the_class():
    assert not {"size", "rate", "alpha"} & set(dir(Ridge))


def test_a_subclass_with_an_init_of_its_own():
    model = Narrow(extra=5)
    assert model.get_params() == {"alpha": 7.0, "extra": 5}
    assert clone(model.set_params(alpha=1.0)).get_params() == {"alpha": 1.0, "extra": 5}
    assert (model.size, model.rate) == (3, 0.5)
    assert parameters_of(Narrow).keys() == {"size", "rate", "alpha"}


class OwnInit(MLPBinaryClassifier):
    def __init__(self, alpha=0.5, units=4):
        super().__init__((units,), alpha=alpha, max_iter=2)
        self.units = units


def test_a_subclass_of_the_estimator_trains():
    X, y = two_classes()
    model = quietly(clone(OwnInit(units=3)).fit, X, y)
    assert model.coefs_[0].shape == (6, 3)
    with pytest.raises(InvalidParameterError, match="'alpha' parameter of OwnInit"):
        OwnInit(alpha=-1.0).fit(X, y)


def test_every_parameter_of_the_estimator_is_documented():
    section = MLPBinaryClassifier.__doc__.split("Attributes\n")[0]
    documented = re.findall(r"^ *(\w+) : .*, default=", section, re.MULTILINE)
    assert documented == list(inspect.signature(MLPBinaryClassifier).parameters)
    assert max(map(len, section.splitlines())) <= 110  # the type of weight_init takes a line
    assert all(each.text.endswith(".") for each in parameters_of(MLPBinaryClassifier).values())
    assert "{parameters}" not in MLPBinaryClassifier.__doc__


def test_defaults_satisfy_their_constraints():
    MLPBinaryClassifier()._validate_params()


def test_fitted_models_are_no_dataclasses_to_dask():
    """It would take models of the same parameters for the same model."""
    assert not is_dataclass(MLPBinaryClassifier)
    tokenize = pytest.importorskip("dask.base").tokenize
    X, y = two_classes()
    model = quietly(MLPBinaryClassifier((3,), max_iter=2, random_state=0).fit, X, y)
    other = quietly(clone(model).fit, X, 1 - y)
    assert tokenize(model) == tokenize(copy.deepcopy(model))
    assert tokenize(model) != tokenize(other)
