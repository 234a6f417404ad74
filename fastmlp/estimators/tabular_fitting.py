"""From a raw table to networks that predict: check, cut into folds, train side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import check_scoring
from sklearn.model_selection import StratifiedKFold, StratifiedShuffleSplit
from sklearn.utils import (
    _safe_indexing,
    check_array,
    check_consistent_length,
    check_random_state,
)
from sklearn.utils.validation import _check_feature_names, _check_n_features, _check_sample_weight

from fastmlp.data.class_weights import class_weights, weighted
from fastmlp.data.labels import encode, labels_of
from fastmlp.data.rows import as_rows
from fastmlp.data.split import Metric, Validation, negative_loss
from fastmlp.data.table import TableReader, read_table
from fastmlp.estimators import starts
from fastmlp.estimators.given import Given
from fastmlp.estimators.starts import Trained
from fastmlp.runtime.team import available_threads
from fastmlp.training.encoding import Encoding, learn_encoding
from fastmlp.training.loop import FitResult, Watcher
from fastmlp.training.recipe import Recipe, recipe_for
from fastmlp.training.report import Lines
from fastmlp.training.table import Deadline, Member, TableData, TableModel, session_of
from fastmlp.training.weights import FLOAT32

Array = NDArray[Any]

#: The share of a time limit after which no epoch is to end: the rest is for what follows.
_USED_OF_LIMIT = 0.95


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

    @property
    def data(self) -> TableData:
        """As networks read it."""
        is_category = [column.kind == "category" for column in self.reader.columns]
        rows, targets = as_rows(self.matrix, FLOAT32), encode(self.y, self.classes)
        return TableData(rows, is_category, targets, self.weight)


def fit(estimator: Any, draft: Any, given: Given) -> dict[str, Any]:
    """Train networks on a table, and return the fitted attributes.

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
    common = {"classes_": table.classes, "_reader": table.reader}
    if len(table.classes) == 1:
        return {**common, **_without_networks(table)}
    rng = check_random_state(estimator.random_state)
    recipe = _recipe(estimator, len(table.y))
    folds = _folds(estimator, table, given, recipe, rng)
    at_once = _at_once(estimator, len(folds))
    threads = max(1, available_threads(estimator.n_threads) // at_once)
    members = _members(table, folds, recipe, threads, rng)
    if members is None:
        return {**common, **_without_networks(table)}
    results = _train(estimator, members, at_once, started)
    members = members[: len(results)]
    models = [
        TableModel(member.encoding, recipe.hidden, result.parameters)
        for member, result in zip(members, results, strict=True)
    ]
    return {
        **common,
        "columns_": _columns(table.reader, members[0].encoding),
        "n_iter_": max(result.n_iter for result in results),
        "best_epochs_": np.array([result.best_epoch or 0 for result in results]),
        "loss_curves_": [result.loss_curve for result in results],
        "learning_rate_curve_": results[0].rate_curve,
        "validation_loss_curves_": [result.validation_loss_curve for result in results],
        "validation_scores_": [result.validation_scores for result in results],
        "oof_probabilities_": _held_out(table, members, models),
        "_models": models,
        "_warning": next((r.warning for r in results if r.warning is not None), None),
    }


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
    weight = None
    if given.sample_weight is not None:
        weight = _check_sample_weight(
            given.sample_weight, matrix[:, :1], dtype=np.float64, ensure_non_negative=True
        )
        if not weight.any():
            raise ValueError("sample_weight must contain at least one non-zero number.")
    by_class = class_weights(estimator.class_weight, classes, y, weight)
    weight = weighted(weight, encode(y, classes), by_class)
    return Table(reader, matrix, y, classes, weight, by_class)


def _column(y: Any) -> Array:
    """Labels as an array."""
    column: Array = check_array(
        y, ensure_2d=False, dtype=None, input_name="y", ensure_min_samples=0
    )
    return column


def _recipe(estimator: Any, n_rows: int) -> Recipe:
    """The recipe for so many rows, with what the parameters say."""
    recipe = recipe_for(n_rows)
    if estimator.n_folds != "auto":
        recipe = replace(recipe, n_folds=int(estimator.n_folds))
    if estimator.max_iter != "auto":
        recipe = replace(recipe, most_epochs=int(estimator.max_iter))
    return recipe


Fold = tuple[NDArray[np.int64], Validation]


def _folds(
    estimator: Any, table: Table, given: Given, recipe: Recipe, rng: np.random.RandomState
) -> list[Fold]:
    """Training rows, and rows to validate on, of each network."""
    data = table.data
    used = np.arange(len(table.y))
    if table.weight is not None:
        used = np.flatnonzero(table.weight > 0)
    targets = data.targets[used]
    if given.X_val is not None:
        validation = _given_rows(estimator, table, given)
        return [(used, validation)] * recipe.n_folds
    fewest = int(min(targets.sum(), len(targets) - targets.sum()))
    if fewest < 2:
        label = table.classes[int(targets.sum() == fewest)]
        raise ValueError(
            f"y has {fewest} row(s) of class {label!r} with a weight, and two are needed: one to "
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
        X, y = partial(_safe_indexing, given.X, rows), table.y[rows]
        metric = _metric(estimator, table.classes, X, y)
        folds.append((used[train], Validation(data.rows, rows, data.targets[rows], weight, metric)))
    return folds


def _given_rows(estimator: Any, table: Table, given: Given) -> Validation:
    """The validation rows that the user gave."""
    try:
        matrix = table.reader.read(given.X_val)
        y, labels = labels_of(_column(given.y_val))
        check_consistent_length(matrix, y)
        weight = None
        if given.sample_weight_val is not None:
            weight = _check_sample_weight(
                given.sample_weight_val, matrix[:, :1], dtype=np.float64, ensure_non_negative=True
            )
        targets = encode(y, table.classes)
        weight = weighted(weight, targets, table.by_class)
    except (ValueError, TypeError) as error:
        raise type(error)(f"X_val, y_val or sample_weight_val: {error}") from error
    if not set(labels.tolist()) <= set(table.classes.tolist()):
        raise ValueError(
            f"y_val has labels that y has not: y has {table.classes}, and y_val has {labels}."
        )
    metric = _metric(estimator, table.classes, lambda: given.X_val, y)
    return Validation(as_rows(matrix, FLOAT32), None, targets, weight, metric)


class _Answers(ClassifierMixin, BaseEstimator):
    """A classifier that has the probabilities of one table at hand, for scorers to ask for."""

    def __init__(self, classes: Array, probabilities: Array) -> None:
        self.classes_, self._probabilities = classes, probabilities

    def predict_proba(self, X: Any) -> Array:
        return self._probabilities

    def predict(self, X: Any) -> Array:
        return self.classes_[(self._probabilities[:, 1] > 0.5).astype(np.intp)]

    def fit(self, X: Any, y: Any) -> _Answers:
        return self


def _metric(estimator: Any, classes: Array, X: Callable[[], Any], y: Array) -> Metric:
    """What decides on the best epoch."""
    scoring = estimator.scoring
    if scoring in (None, "loss"):
        return negative_loss
    scorer = check_scoring(_Answers(classes, np.empty((0, 2))), scoring=scoring)
    table = X()

    def metric(validation: Validation, probabilities: Array, _: Any) -> float:
        score: Any = scorer(_Answers(classes, probabilities.astype(np.float64)), table, y)
        if not isinstance(score, Real) or np.isnan(float(score)):
            raise ValueError(
                f"scoring={scoring!r} must give a number, and gave {score!r} for {len(y)} rows "
                "that were held out."
            )
        return float(score)

    return metric


def _members(
    table: Table, folds: Sequence[Fold], recipe: Recipe, n_threads: int, rng: np.random.RandomState
) -> list[Member] | None:
    """The networks to train, with so many threads each; None where no column says anything."""
    data, members = table.data, []
    seeds = rng.randint(2**31 - 1, size=len(folds))
    for (order, validation), seed in zip(folds, seeds.tolist(), strict=True):
        weight = None if table.weight is None else table.weight[order]
        encoding = learn_encoding(
            table.matrix[order], data.is_category, data.targets[order], weight, recipe.embeddings
        )
        if encoding is None:
            return None
        session = session_of(encoding, recipe, n_threads)
        members.append(
            Member(data, order, validation, encoding, recipe, session, np.random.RandomState(seed))
        )
    return members


def _at_once(estimator: Any, n_networks: int) -> int:
    """Networks that are trained at once: printed lines come one after another."""
    if estimator.verbose or callable(estimator.scoring):
        return 1
    return min(n_networks, available_threads(estimator.n_threads))


def _train(
    estimator: Any, members: Sequence[Member], at_once: int, started: float
) -> list[FitResult]:
    """Train all networks; an interrupt leaves out those that have not begun."""

    def train(number: int, member: Member) -> Trained:
        watchers: list[Watcher] = []
        if estimator.verbose:
            watchers.append(Lines(member.recipe.most_epochs))
        if estimator.time_limit is not None:
            now, end = time.perf_counter(), started + _USED_OF_LIMIT * estimator.time_limit
            # Those at once have what is left, over the rounds that are left.
            rounds = math.ceil((len(members) - number) / at_once)
            watchers.append(Deadline(now + max(0.0, end - now) / rounds))
        return Trained(member.train(watchers), {}, is_kept=True)

    jobs = [partial(train, number, member) for number, member in enumerate(members)]
    if at_once == 1:
        trained = starts.one_after_another(jobs)
    else:
        sessions = {number: member.session for number, member in enumerate(members)}
        trained = starts.side_by_side(jobs, sessions, at_once, members[0].compile)
    return [each.result for each in trained]


def _held_out(table: Table, members: Sequence[Member], models: Sequence[TableModel]) -> Array:
    """Probabilities of the training rows, from the network that has held each out; else NaN."""
    probabilities = np.full((len(table.y), 2), np.nan)
    for member, model in zip(members, models, strict=True):
        order = member.validation.order
        if order is not None:
            probabilities[order] = model.probabilities(member.data.rows, 1, order)
    return probabilities


def _columns(reader: TableReader, encoding: Encoding) -> dict[str, str]:
    """What each column becomes, by name."""
    names = [
        column.name if column.name is not None else f"x{j}"
        for j, column in enumerate(reader.columns)
    ]
    return dict(zip(names, encoding.becomes(), strict=True))


def _without_networks(table: Table) -> dict[str, Any]:
    """Attributes of a model that knows the shares of the classes alone."""
    weight = np.ones(len(table.y)) if table.weight is None else table.weight
    share = float(np.average(encode(table.y, table.classes), weights=weight))
    return {
        "columns_": {}, "n_iter_": 0, "best_epochs_": np.empty(0, np.int64), "loss_curves_": [],
        "learning_rate_curve_": [], "validation_loss_curves_": [], "validation_scores_": [],
        "oof_probabilities_": np.tile([1 - share, share], (len(table.y), 1)),
        "_models": [], "_warning": None, "_share": share,
    }  # fmt: skip


def check_columns(estimator: Any, X: Any) -> None:
    """Check number and names of the columns of a prediction, as scikit-learn words it."""
    _check_feature_names(estimator, X, reset=False)
    if hasattr(X, "shape") and len(X.shape) == 2:
        _check_n_features(estimator, X, reset=False)
