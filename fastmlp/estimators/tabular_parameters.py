"""The parameters of the estimator for tables, each written once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.metrics import get_scorer_names
from sklearn.utils._param_validation import Interval, StrOptions

from fastmlp.estimators.mlp_parameters import MLPParameters
from fastmlp.estimators.parameters import one_of, parameter, same_as, takes_parameters

_COUNT = Interval(Integral, 1, None, closed="left")
_POSITIVE = Interval(Real, 0, None, closed="neither")


@takes_parameters
class TabularParameters:
    """Parameters of networks for a raw table."""

    _: KW_ONLY
    categorical_features: str | Sequence[Any] | None = parameter(
        "from_dtype",
        [one_of("from_dtype"), "array-like", None],
        'Which columns are categories. "from_dtype": of a frame, columns of text, objects and '
        "categorical types; of an array, those with values that are not numbers. Or a mask of all "
        "columns, or positions or names of the categories; None for no column.",
        group="network",
        type_text='"from_dtype", array-like of bool, int or str, or None',
    )
    n_folds: int | str = parameter(
        "auto",
        [one_of("auto"), _COUNT],
        "Networks, whose probabilities are averaged. Each holds out another part of the rows, and "
        "has the weights of its best epoch on them. There are no more than rows of the rarer "
        'class. "auto" goes by the number of rows: see Notes.',
    )
    max_iter: int | str = parameter(
        "auto",
        [one_of("auto"), _COUNT],
        'The most epochs of each network. "auto" is 100, which hardly any needs.',
        group="stopping",
    )
    time_limit: float | None = parameter(
        None,
        [_POSITIVE, None],
        "Seconds that `fit` may take: networks share them, and each ends ahead of the epoch that "
        "would be too late. The first epoch of each is made in any case.",
        group="stopping",
    )
    scoring: str | Callable[..., float] | None = parameter(
        None,
        [StrOptions({*get_scorer_names(), "loss"}), callable, None],
        "What decides on the best epoch, taken on the rows held out: the log loss (None and "
        '"loss"), the name of a scorer of scikit-learn, or a function ``scoring(estimator, X, y)`` '
        "of an estimator that predicts X alone. Higher is better.",
        group="stopping",
        type_text='"loss", str, callable or None',
    )
    class_weight: dict[Any, float] | str | None = same_as(MLPParameters, "class_weight")
    random_state: int | np.random.RandomState | None = parameter(
        None,
        "random_state",
        "Where folds, first weights, dropout and the order of the rows are drawn from. An int "
        "gives the same model each time, with any number of threads.",
    )
    n_threads: int | None = same_as(MLPParameters, "n_threads")
    verbose: bool | int = parameter(
        False,
        "verbose",
        "Whether to print a line for each epoch of each network.",
        group="machine",
    )
