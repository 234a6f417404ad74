"""From a raw table to networks that predict: check, cut into folds, train."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit
from sklearn.utils import (
    _safe_indexing,
    check_array,
    check_consistent_length,
    check_random_state,
)
from sklearn.utils.validation import _check_feature_names, _check_n_features

from fastmlp.data.checks import check_validation_labels, check_weights
from fastmlp.data.class_weights import class_weights, weighted
from fastmlp.data.facts import ColumnFacts
from fastmlp.data.labels import encode, labels_of
from fastmlp.data.rows import as_rows
from fastmlp.data.split import Validation
from fastmlp.data.table import TableReader, read_table
from fastmlp.estimators.given import Given
from fastmlp.estimators.tabular_networks import Fitting, Models, Outcome
from fastmlp.estimators.tabular_scoring import metric_of
from fastmlp.estimators.tabular_training import networks_at_once, threads_of_networks
from fastmlp.runtime.team import available_threads
from fastmlp.training.encoding import learn_encoding
from fastmlp.training.recipe import Recipe, recipe_for
from fastmlp.training.table import Member, TableData, complete, session_of
from fastmlp.training.weights import FLOAT32

Array = NDArray[Any]


@dataclass(frozen=True)
class Table:
    """What fit is given, checked.

    Attributes
    ----------
    reader : TableReader
        Reads other tables of these columns.
    matrix : ndarray of shape (n, n_columns)
        The table.
    y : ndarray of shape (n,)
        The labels.
    classes : ndarray of shape (1,) or (2,)
        The distinct ones.
    weight : ndarray of shape (n,), or None
        Weights of the rows, with those of their classes.
    by_class : ndarray of shape (n_classes,), or None
        Weights of the classes.
    """

    reader: TableReader
    matrix: Array
    y: Array
    classes: Array
    weight: Array | None
    by_class: Array | None

    @cached_property
    def data(self) -> TableData:
        """As networks read it."""
        rows, targets = as_rows(self.matrix, FLOAT32), encode(self.y, self.classes)
        return TableData(rows, targets, self.weight)


def fit(estimator: Any, draft: Any, given: Given) -> Outcome:
    """Train networks on a table, and return the fitted attributes and what there is to warn of.

    Parameters
    ----------
    estimator : estimator
        Whose parameters to go by.
    draft : estimator
        A stand-in, which takes on number and names of the columns.
    given : Given
        As the user gave it.
    """
    started = time.perf_counter()
    table = _checked(estimator, draft, given)
    validation = None if given.X_val is None else _given_rows(estimator, table, given)
    fitting = Fitting(estimator, draft, table.classes, table.reader, started)
    return fit_table(fitting, table, replace(given, y=table.y), validation)


def fit_table(
    fitting: Fitting,
    table: Table,
    given: Given,
    validation: Validation | None,
    shown: Given | None = None,
) -> Outcome:
    """Train networks on a table that has been read.

    Parameters
    ----------
    fitting : Fitting
        The call.
    table : Table
        The table.
    given : Given
        The same as scorers are told of it.
    validation : Validation or None
        Rows to validate on; None to hold some out.
    shown : Given, default=given
        What callbacks are told of.
    """
    estimator, members, at_once = fitting.estimator, list[Member](), 1
    if len(table.classes) > 1:
        rng = check_random_state(estimator.random_state)
        recipe = recipe_of(estimator, len(table.y))
        folds = _folds(estimator, table, given, validation, recipe, rng)
        at_once = networks_at_once(estimator, len(folds))
        threads = threads_of_networks(estimator, len(folds), at_once)
        members = _members(table, folds, recipe, threads, rng)
    if not members:
        share = float(np.average(table.data.targets, weights=table.weight))
        return fitting.without_networks(
            shown or given,
            share,
            lambda shares: {"oof_probabilities_": np.tile(shares, (len(table.y), 1))},
        )
    held_out = partial(_held_out, table, estimator.n_threads)
    return fitting.train(members, at_once, shown or given, held_out)


# -- the steps -------------------------------------------------------------------------------------
def _checked(estimator: Any, draft: Any, given: Given) -> Table:
    """Check what fit is given."""
    if (given.X_val is None) != (given.y_val is None):
        raise ValueError("X_val and y_val go together: one of them is given.")
    if given.X_val is None and given.sample_weight_val is not None:
        raise ValueError("sample_weight_val is given without X_val.")
    if given.y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target y "
            "is None."
        )
    _check_feature_names(draft, given.X, reset=True)
    reader, matrix = read_table(given.X, estimator.categorical_features)
    draft.n_features_in_ = reader.n_columns
    y, classes = labels_of(_column(given.y))
    check_consistent_length(matrix, y)
    if len(y) < 2:
        raise ValueError(f"Found n_samples={len(y)} row(s), and two are the least to learn from.")
    weight = check_weights(given.sample_weight, matrix)
    by_class = class_weights(estimator.class_weight, classes, y, weight)
    weight = weighted(weight, encode(y, classes), by_class)
    return Table(reader, matrix, y, classes, weight, by_class)


def _column(y: Any) -> Array:
    """Labels as an array."""
    column: Array = check_array(
        y, ensure_2d=False, dtype=None, input_name="y", ensure_min_samples=0
    )
    return column


def recipe_of(estimator: Any, n_rows: int) -> Recipe:
    """The recipe for so many rows, with what the parameters say."""
    recipe = recipe_for(n_rows)
    if estimator.n_folds != "auto":
        recipe = replace(recipe, n_folds=int(estimator.n_folds))
    if estimator.max_iter != "auto":
        recipe = replace(recipe, most_epochs=int(estimator.max_iter))
    return recipe


Fold = tuple[NDArray[np.int64], Validation]


def _folds(
    estimator: Any,
    table: Table,
    given: Given,
    validation: Validation | None,
    recipe: Recipe,
    rng: np.random.RandomState,
) -> list[Fold]:
    """Training rows, and rows to validate on, of each network."""
    data = table.data
    used = np.arange(len(table.y))
    if table.weight is not None:
        used = np.flatnonzero(table.weight > 0)
    targets = data.targets[used]
    if validation is not None:
        return [(used, validation)] * recipe.n_folds
    fewest = int(min(targets.sum(), len(targets) - targets.sum()))
    if fewest < 2:
        label = table.classes[int(targets.sum() == fewest)]
        raise ValueError(
            f"y has {fewest} row(s) of class {label} with a weight, and two are needed: one to "
            "learn from and one to be held out. Give more rows, or X_val and y_val."
        )
    n_folds, seed = recipe.n_folds, rng.randint(2**31 - 1)
    if n_folds == 1:
        cut: Any = StratifiedShuffleSplit(
            1, test_size=max(recipe.held_out, 2 / len(used)), random_state=seed
        )
    else:
        cut = StratifiedKFold(min(n_folds, fewest), shuffle=True, random_state=seed)
    folds = []
    for train, held in cut.split(used, targets):
        rows = used[held]
        weight = None if table.weight is None else table.weight[rows]
        X, y = partial(_rows_of, given.X, rows), table.y[rows]
        metric = metric_of(estimator, table.classes, X, y)
        folds.append((used[train], Validation(data.rows, rows, data.targets[rows], weight, metric)))
    return folds


def _rows_of(X: Any, rows: Array) -> Any:
    """Some rows of a table, for a scorer."""
    return X.tocsr()[rows] if issparse(X) else _safe_indexing(X, rows)


def _given_rows(estimator: Any, table: Table, given: Given) -> Validation:
    """The validation rows that the user gave."""
    try:
        matrix = table.reader.read(given.X_val)
        y, labels = labels_of(_column(given.y_val))
        check_consistent_length(matrix, y)
        targets = encode(y, table.classes)
        weight = check_weights(given.sample_weight_val, matrix)
        weight = weighted(weight, targets, table.by_class)
    except (ValueError, TypeError) as error:
        raise type(error)(f"X_val, y_val or sample_weight_val: {error}") from error
    check_validation_labels(labels, table.classes)
    metric = metric_of(estimator, table.classes, lambda: given.X_val, y)
    return Validation(as_rows(matrix, FLOAT32), None, targets, weight, metric)


def _members(
    table: Table,
    folds: Sequence[Fold],
    recipe: Recipe,
    threads: Sequence[int],
    rng: np.random.RandomState,
) -> list[Member]:
    """The networks to train, with so many threads each; none where no column says anything."""
    data, members = table.data, []
    seeds = rng.randint(2**31 - 1, size=len(folds))
    for (order, validation), seed, n_threads in zip(folds, seeds.tolist(), threads, strict=True):
        weight = None if table.weight is None else table.weight[order]
        X = table.matrix[order]
        facts = [
            ColumnFacts.of(X[:, j], is_category=column.kind == "category")
            for j, column in enumerate(table.reader.columns)
        ]
        encoding = learn_encoding(X, facts, data.targets[order], weight, recipe.embeddings)
        if encoding is None:
            return []
        session = session_of(encoding, recipe, n_threads)
        own = np.random.RandomState(seed)
        members.append(Member(data, order, validation, encoding, facts, recipe, session, own))
    return members


def _held_out(
    table: Table, n_threads: int | None, members: Sequence[Member], models: Models
) -> dict[str, Any]:
    """Probabilities of the training rows, from the network that has held each out; else NaN."""
    probabilities = np.full((len(table.y), 2), np.nan)
    for member, model in zip(members, models, strict=True):
        order = member.validation.order
        if order is not None:
            found = model.probabilities(member.data.rows, available_threads(n_threads), order)
            probabilities[order] = complete(found)
    return {"oof_probabilities_": probabilities}


def check_columns(estimator: Any, X: Any) -> None:
    """Check number and names of the columns of a prediction, as scikit-learn words it.

    It would refuse the same names in another order too, in which the reader finds them.
    """
    known = getattr(estimator, "feature_names_in_", None)
    names = getattr(X, "column_names", getattr(X, "columns", None))
    if known is None or names is None or set(names) != set(known):
        _check_feature_names(estimator, X, reset=False)
    if hasattr(X, "shape") and len(X.shape) == 2:
        _check_n_features(estimator, X, reset=False)
