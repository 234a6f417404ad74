"""Early stopping on a cluster by scikit-learn's scorers, which are given all validation rows."""

# The modules below are optional, and the first line that needs them skips the file.
# ruff: noqa: E402

import numpy as np
import pytest

pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

import dask
import dask.array as da
from in_process import cluster, on_cluster, quietly, table
from sklearn.metrics import get_scorer

from fastmlp.dask import DaskMLPBinaryClassifier
from fastmlp.dask.rounds import Fleet, Rounds
from fastmlp.training.blocks import Packing, pack

X, Y = table()
WEIGHT = np.random.RandomState(3).rand(2000)
X_VAL, Y_VAL = table(600, seed=1)
WEIGHT_VAL = np.random.RandomState(4).rand(600)
SCORERS = ["accuracy", "roc_auc", "average_precision", "neg_log_loss", "f1", "neg_brier_score"]
REST = [name for name in SCORERS if name != "roc_auc"]
#: What each scorer stands for where early stopping takes sums only.
SUMS = {None: "accuracy", "loss": "neg_log_loss"}


@pytest.fixture(scope="module")
def client():
    with cluster(2) as client:
        yield client


def new(client, **settings):
    return DaskMLPBinaryClassifier(
        **{
            "hidden_layer_sizes": (8,), "batch_size": 20, "max_iter": 4, "random_state": 0,
            "rounds_per_epoch": 2, "n_shards": 3, "early_stopping": True, **settings,
        },
        client=client,
    )  # fmt: skip


def fitted(client, *data, scoring, given=None, **settings):
    return quietly(new(client, scoring=scoring, **settings).fit, *data, **(given or {}))


def given_rows(weight=None):
    """Validation rows of the user's, in partitions that are no shard's."""
    X_val, y_val = on_cluster(X_VAL, Y_VAL, rows=70)
    weights = {} if weight is None else {"sample_weight_val": da.from_array(weight, chunks=70)}
    return {"X_val": X_val, "y_val": y_val, **weights}


def held_out_rows(model, y=Y, weight=WEIGHT, rows=250):
    """Rows that a fit with `random_state` holds out, of partitions of so many rows."""
    seed = np.random.RandomState(model.random_state).randint(2**31)
    packing = Packing(None, model.validation_fraction, seed)
    numbers = np.arange(len(X), dtype=float)
    parts = [
        pack(numbers[k : k + rows, None], y[k : k + rows], None, k // rows, packing)[0]
        for k in range(0, len(X), rows)
    ]
    held = np.concatenate([part.held_out.X[:, 0] for part in parts]).astype(int)
    assert 100 < len(held) < 300
    return X[held], y[held], weight[held]


def expected(model, scoring, X, y, weight=None):
    """The score that a scorer gives the model of the best epoch."""
    scorer = get_scorer(SUMS.get(scoring, scoring))
    return scorer(model.to_local(), X, y, sample_weight=weight)


@pytest.mark.parametrize("scoring", [*SUMS, *SCORERS])
def test_scores_are_those_of_the_best_model_on_given_rows(client, scoring):
    model = fitted(client, *on_cluster(X, Y), scoring=scoring, given=given_rows(WEIGHT_VAL))
    score = model.best_validation_score_
    assert score == pytest.approx(expected(model, scoring, X_VAL, Y_VAL, WEIGHT_VAL), rel=1e-6)
    assert score == max(model.validation_scores_) == model.validation_scores_[model.best_epoch_]
    assert len(set(model.validation_scores_)) > 1
    assert len(model.validation_loss_curve_) == model.n_iter_


@pytest.mark.parametrize(
    "scoring", [*SUMS, "roc_auc", *(pytest.param(name, marks=pytest.mark.long) for name in REST)]
)
def test_scores_are_those_of_the_best_model_on_rows_held_out(client, scoring):
    data = (*on_cluster(X, Y), da.from_array(WEIGHT, chunks=250))
    model = fitted(client, *data, scoring=scoring)
    score = model.best_validation_score_
    assert score == pytest.approx(expected(model, scoring, *held_out_rows(model)), rel=1e-6)


@pytest.mark.parametrize("given", [False, True])
def test_rows_have_the_weights_of_their_class(client, given):
    weight = np.where(Y_VAL, 5.0, 1.0) if given else np.where(Y, 5.0, 1.0)
    model = fitted(
        client, *on_cluster(X, Y), scoring="neg_log_loss", class_weight={True: 5.0},
        given=given_rows() if given else None,
    )  # fmt: skip
    rows = (X_VAL, Y_VAL, weight) if given else held_out_rows(model, weight=weight)
    assert model.best_validation_score_ == pytest.approx(
        expected(model, "neg_log_loss", *rows), rel=1e-6
    )
    np.testing.assert_allclose(
        model.validation_scores_, np.negative(model.validation_loss_curve_), rtol=1e-6
    )


def test_partitions_of_which_some_have_weights(client):
    """A row without one counts once."""
    parts = [
        (X[k : k + 250], Y[k : k + 250], *((WEIGHT[k : k + 250],) if k == 500 else ()))
        for k in range(0, 2000, 250)
    ]
    weight = np.where(np.arange(2000) // 250 == 2, WEIGHT, 1.0)
    model = fitted(client, [dask.delayed(part) for part in parts], scoring="roc_auc", n_shards=4)
    assert model.best_validation_score_ == pytest.approx(
        expected(model, "roc_auc", *held_out_rows(model, weight=weight)), rel=1e-6
    )


@pytest.mark.parametrize("name", [pytest.param(None, marks=pytest.mark.long), "loss"])
def test_the_same_names_as_sums_stop_at_the_same_epoch(client, name):
    settings = {"max_iter": 40, "n_iter_no_change": 2, "tol": 0.01, "rounds_per_epoch": 1}
    models = [
        fitted(client, *on_cluster(X, Y), scoring=each, **settings) for each in (name, SUMS[name])
    ]
    assert models[0].n_iter_ == models[1].n_iter_ < 40
    np.testing.assert_allclose(*(m.validation_scores_ for m in models), rtol=1e-6)
    assert np.array_equal(models[0].coefs_[0], models[1].coefs_[0])


def bits(model):
    arrays = [*model.coefs_, *model.intercepts_]
    return [a.tobytes() for a in arrays], model.validation_scores_, model.validation_loss_curve_


@pytest.mark.parametrize("given", [False, True])
def test_same_bits_for_any_number_of_workers(client, given):
    found = []
    for n_workers in (1, 3):
        with cluster(n_workers) as other:
            found.append(
                bits(
                    fitted(
                        other, *on_cluster(X, Y), scoring="roc_auc", n_shards=5,
                        given=given_rows() if given else None,
                    )
                )
            )  # fmt: skip
    assert found[0] == found[1]


def test_labels_are_the_users(client):
    """A scorer of one of two classes is given the labels themselves."""
    words = np.where(Y, 1, -1)
    model = fitted(client, *on_cluster(X, words), scoring="f1")
    assert model.best_validation_score_ == pytest.approx(
        expected(model, "f1", *held_out_rows(model, words)[:2])
    )


def test_shards_without_validation_rows(client):
    X_val, y_val = on_cluster(X_VAL, Y_VAL, rows=600)
    model = fitted(
        client, *on_cluster(X, Y), scoring="roc_auc", given={"X_val": X_val, "y_val": y_val}
    )
    assert model.best_validation_score_ == pytest.approx(
        expected(model, "roc_auc", X_VAL, Y_VAL), rel=1e-6
    )


def test_targets_and_weights_come_once_and_probabilities_each_epoch(client, monkeypatch):
    asked, told = [], []
    held_out, measure = Fleet.held_out, Rounds.measure

    def once(self):
        found = held_out(self)
        asked.append(found)
        return found

    def each(self, validation):
        told.append(validation)
        return measure(self, validation)

    monkeypatch.setattr(Fleet, "held_out", once)
    monkeypatch.setattr(Rounds, "measure", each)
    fitted(client, *on_cluster(X, Y), scoring="roc_auc")
    ((targets, weight),) = asked
    assert weight is None
    assert len(told) == 4
    assert all(validation.targets is targets for validation in told)
    fitted(client, *on_cluster(X, Y), scoring="loss")
    assert len(asked) == 1  # sums need neither


def test_a_function_is_refused(client):
    with pytest.raises(ValueError, match=r"scoring=.*name one of scikit-learn's scorers"):
        new(client, scoring=lambda *_: 1.0).fit(*on_cluster(X, Y))


def test_a_name_that_is_none(client):
    with pytest.raises(ValueError, match="scoring"):
        new(client, scoring="roc").fit(*on_cluster(X, Y))


def test_a_score_that_is_none_is_an_error(client):
    """All rows to validate on are of one class, so there is no order of two."""
    X_val, y_val = on_cluster(X_VAL[Y_VAL], Y_VAL[Y_VAL], rows=70)
    with pytest.raises(ValueError, match="must give a number"):
        fitted(client, *on_cluster(X, Y), scoring="roc_auc", given={"X_val": X_val, "y_val": y_val})
