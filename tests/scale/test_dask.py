"""DaskMLPBinaryClassifier: what it trains, on which data, and what it predicts."""

# The modules below are optional, and the first line that needs them skips the file.
# ruff: noqa: E402

import inspect
import itertools
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from fastmlp import MLPBinaryClassifier

pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

import dask
import dask.array as da
import dask.dataframe as dd
import pandas as pd
from distributed import Client
from in_process import cluster, on_cluster, quietly, table

from fastmlp.dask import DaskMLPBinaryClassifier, work
from fastmlp.dask.cluster import homes, workers_of
from fastmlp.dask.rounds import Rounds

X, Y = table()
SETTINGS = {"hidden_layer_sizes": (8,), "batch_size": 20, "max_iter": 2, "random_state": 0}
EPOCHS = SETTINGS["max_iter"]
ROUNDS = {"rounds_per_epoch": 2}


@pytest.fixture(scope="module")
def client():
    with cluster(2) as client:
        yield client


@pytest.fixture(scope="module")
def others():
    """Clients of clusters of one and of three workers."""
    with cluster(1) as one, cluster(3) as three:
        yield one, three


@pytest.fixture
def data():
    return on_cluster(X, Y)


def fitted(client, data, **settings):
    model = DaskMLPBinaryClassifier(
        **{**SETTINGS, **ROUNDS, "n_shards": 2, **settings}, client=client
    )
    return quietly(model.fit, *data)


def same(one, other):
    arrays = zip([*one.coefs_, *one.intercepts_], [*other.coefs_, *other.intercepts_], strict=True)
    return all(np.array_equal(a, b) for a, b in arrays)


# -- what is trained -------------------------------------------------------------------------------
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_one_shard_and_one_round_are_one_process(client, data, solver):
    """To the bit, where rows are not shuffled."""
    settings = {"n_shards": 1, "rounds_per_epoch": 1, "shuffle": False, "solver": solver}
    model = fitted(client, data, **settings)
    local = MLPBinaryClassifier(**SETTINGS, shuffle=False, solver=solver)
    quietly(local.fit, X, Y)
    assert same(model, local)
    np.testing.assert_allclose(model.loss_curve_, local.loss_curve_, rtol=1e-12)
    assert model.t_ == local.t_


def test_minibatches_have_the_rows_of_one_process(client, data):
    settings = {"n_shards": 1, "rounds_per_epoch": 1, "shuffle": False, "batch_size": "auto"}
    model = fitted(client, data, **settings)
    local = MLPBinaryClassifier(**{**SETTINGS, "batch_size": "auto"}, shuffle=False)
    assert same(model, quietly(local.fit, X, Y))
    assert same(model, fitted(client, data, **{**settings, "batch_size": 200}))


def test_a_round_is_the_mean_of_shards(client):
    """Against models of one process, each trained on one shard from the same weights."""
    sizes, scale = (500, 300, 700), 1.5
    data = da.from_array(X[:1500], chunks=(sizes, 6)), da.from_array(Y[:1500], chunks=(sizes,))
    settings = {**SETTINGS, "shuffle": False, "max_iter": 1}
    model = DaskMLPBinaryClassifier(
        **settings, n_shards=3, rounds_per_epoch=1, learning_rate_scale=scale, client=client
    )
    quietly(model.fit, *data)
    ends = np.cumsum((0, *sizes))
    locals_ = [
        quietly(
            MLPBinaryClassifier(**settings, learning_rate_init=0.001 * scale).fit,
            X[a:b], Y[a:b],
        )
        for a, b in itertools.pairwise(ends)
    ]  # fmt: skip
    share = np.array(sizes) / 1500
    for k, weights in enumerate(model.coefs_):
        expected = sum(s * m.coefs_[k].astype(float) for s, m in zip(share, locals_, strict=True))
        np.testing.assert_allclose(weights, expected, rtol=1e-6, atol=1e-7)
    loss = sum(s * m.loss_ for s, m in zip(share, locals_, strict=True))
    np.testing.assert_allclose(model.loss_, loss, rtol=1e-6)


def test_shards_learn(client):
    data = on_cluster(*table(8000))
    model = fitted(client, data, max_iter=8, n_shards=4)
    local = quietly(MLPBinaryClassifier(**{**SETTINGS, "max_iter": 8}).fit, *table(8000))
    held_out = table(4000, seed=1)
    assert model.score(*held_out) > 0.8
    assert model.score(*held_out) > local.score(*held_out) - 0.02


def test_lbfgs_is_exact(client, data):
    local = MLPBinaryClassifier(**{**SETTINGS, "max_iter": 6}, solver="lbfgs", alpha=0.1)
    quietly(local.fit, X, Y)
    model = fitted(client, data, solver="lbfgs", max_iter=6, n_shards=3, alpha=0.1)
    np.testing.assert_allclose(model.loss_, local.loss_, rtol=1e-9)
    for weights, expected in zip(model.coefs_, local.coefs_, strict=True):
        np.testing.assert_allclose(weights, expected, rtol=1e-6, atol=1e-8)


def test_lbfgs_reads_all_digits(client):
    """It works in float64 also where the weights are float32 in the end."""
    wide = np.random.RandomState(0).randn(*X.shape) * 100
    settings = {"solver": "lbfgs", "dtype": "float32", "max_iter": 10}
    local = quietly(MLPBinaryClassifier(**{**SETTINGS, **settings}).fit, wide, Y)
    model = fitted(client, on_cluster(wide, Y), **settings)
    np.testing.assert_allclose(model.loss_, local.loss_, rtol=1e-9)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"early_stopping": True, "max_iter": 6},
        {"solver": "lbfgs"},
        {"dropout": 0.3, "ema_decay": 0.9, "max_grad_norm": 1.0, "weight_decay": 0.1},
        {"learning_rate": "cosine", "warmup": 0.2, "label_smoothing": 0.1},
        {"class_weight": "balanced", "n_init": 2},
    ],
)
def test_same_bits_for_any_number_of_workers(client, others, data, settings):
    settings = {"n_shards": 3, "rounds_per_epoch": 2, **settings}
    model = fitted(client, data, **settings)
    for other in others:
        assert same(model, fitted(other, data, **settings))


def test_same_bits_twice(client, data):
    assert same(fitted(client, data), fitted(client, data))


def test_partitions_that_are_computed_already(client, data):
    persisted = client.persist(list(data))
    assert same(fitted(client, data), fitted(client, persisted))


def test_rows_stay_where_they_are_packed(client):
    def sent(dask_worker):
        return dask_worker.transfer_outgoing_bytes_total

    before = sum(client.run(sent).values())
    fitted(client, on_cluster(*table(40_000), rows=4000), max_iter=1, batch_size=500)
    assert sum(client.run(sent).values()) - before < 40_000 * 6 * 4 / 4


def test_class_weights_are_weights_of_rows(client, data):
    weight = da.where(data[1], 3.0, 1.0)
    model = DaskMLPBinaryClassifier(**SETTINGS, **ROUNDS, n_shards=2, client=client)
    quietly(model.fit, *data, weight)
    assert same(model, fitted(client, data, class_weight={True: 3.0}))
    assert not same(model, fitted(client, data))


def test_early_stopping(client, data):
    model = fitted(client, data, early_stopping=True, max_iter=30, n_iter_no_change=2, tol=0.01)
    assert model.n_iter_ < 30
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert len(model.validation_loss_curve_) == model.n_iter_
    by_loss = fitted(client, data, early_stopping=True, scoring="loss")
    np.testing.assert_allclose(
        by_loss.validation_scores_, np.negative(by_loss.validation_loss_curve_)
    )


@pytest.mark.parametrize(("number", "n_iter"), [(1, None), (2, 1)])
def test_a_failure_keeps_epochs_that_have_a_score(client, data, monkeypatch, number, n_iter):
    calls, measure = [], Rounds._measure

    def failing(self, validation):
        calls.append(self)
        if len(calls) == number:
            raise ArithmeticError("out of luck")
        return measure(self, validation)

    monkeypatch.setattr(Rounds, "_measure", failing)
    model = DaskMLPBinaryClassifier(**SETTINGS, **ROUNDS, early_stopping=True, client=client)
    with pytest.raises(ArithmeticError, match="out of luck"):
        quietly(model.fit, *data)
    if n_iter is None:
        assert not hasattr(model, "coefs_")
    else:
        assert len(model.validation_scores_) == n_iter
        assert model.best_epoch_ == 0


def test_validation_rows_that_are_given(client, data):
    X_val, y_val = table(300, seed=5)
    settings = {**SETTINGS, **ROUNDS, "n_shards": 2, "early_stopping": True, "client": client}
    model = DaskMLPBinaryClassifier(**settings)
    quietly(model.fit, *data, X_val=da.from_array(X_val, chunks=(70, 6)), y_val=y_val)
    assert model.t_ == EPOCHS * len(X)
    assert model.best_validation_score_ == pytest.approx(model.score(X_val, y_val))


def test_validation_rows_in_a_list(client, data):
    parts = [dask.delayed((X[k::4], Y[k::4])) for k in range(4)]
    model = fitted(client, (parts,))
    settings = {**SETTINGS, **ROUNDS, "n_shards": 2, "early_stopping": True, "client": client}
    other = quietly(DaskMLPBinaryClassifier(**settings).fit, parts, X_val=parts[:1])
    assert other.t_ == model.t_
    assert other.best_validation_score_ == pytest.approx(other.score(X[::4], Y[::4]))
    with pytest.raises(ValueError, match="X_val is given without y_val"):
        DaskMLPBinaryClassifier(**settings).fit(*data, X_val=data[0])


def test_validation_rows_without_weight(client, data):
    settings = {**SETTINGS, "n_shards": 2, "early_stopping": True, "client": client}
    rows = {"X_val": data[0], "y_val": data[1]}
    model = DaskMLPBinaryClassifier(**settings)
    with pytest.raises(ValueError, match="0 for all rows of X_val"):
        model.fit(*data, **rows, sample_weight_val=np.zeros(2000))
    rows["y_val"] = np.zeros(2000, bool)
    with pytest.raises(ValueError, match="0 for all rows of X_val"):
        model.set_params(class_weight={False: 0.0}).fit(*data, **rows)
    assert not hasattr(model, "coefs_")
    model = DaskMLPBinaryClassifier(**settings, validation_fraction=0.01)
    weight = np.zeros(2000)
    weight[:2] = 1
    with pytest.raises(ValueError, match="0 for all rows that were drawn to hold out"):
        model.fit(*data, weight)


def test_validation_rows_of_another_dtype(client, data):
    X_val, y_val = table(300, seed=5)
    settings = {**SETTINGS, **ROUNDS, "n_shards": 2, "early_stopping": True, "client": client}
    both = [
        quietly(
            DaskMLPBinaryClassifier(**settings).fit,
            *data,
            X_val=da.from_array(X_val.astype(dtype), chunks=(70, 6)),
            y_val=y_val,
        )
        for dtype in (np.float32, np.float64)
    ]
    assert both[0].validation_scores_ == both[1].validation_scores_
    with pytest.raises(ValueError, match="partition of X_val 0 has columns 4"):
        DaskMLPBinaryClassifier(**settings).fit(
            *data, X_val=da.from_array(X_val[:, :4], chunks=(70, 4)), y_val=y_val
        )


def test_a_warm_start_keeps_the_dtype_of_the_weights(client, data):
    model = fitted(client, data, warm_start=True)
    wide = data[0].astype(float)
    quietly(model.fit, wide, data[1])
    assert model.coefs_[0].dtype == np.float32
    too_large = da.where(da.arange(2000, chunks=250)[:, None] == 1800, 1e200, wide)
    with pytest.raises(ValueError, match=r"partition 7: .*too large for dtype"):
        model.fit(too_large, data[1])


def test_schedule_callbacks_and_lines(client, data, capsys):
    model = fitted(client, data, learning_rate=lambda share: 1 - share, verbose=True)
    assert model.learning_rate_curve_ == sorted(model.learning_rate_curve_, reverse=True)
    assert capsys.readouterr().out.count("Epoch") == EPOCHS


def test_warm_start_on_other_shards_and_in_one_process(client, data):
    model = fitted(client, data, n_shards=4)
    before = model.loss_curve_.copy()
    model.set_params(n_shards=2, warm_start=True)
    quietly(model.fit, *data)
    assert model.loss_curve_[:EPOCHS] == before
    assert model.loss_curve_[EPOCHS] < before[0]
    local = model.to_local()
    local.partial_fit(X, Y)
    assert len(local.loss_curve_) == 2 * EPOCHS + 1
    assert len(model.loss_curve_) == 2 * EPOCHS
    back = DaskMLPBinaryClassifier.from_local(local, client=client, n_shards=2)
    quietly(back.fit, *data)
    assert len(back.loss_curve_) == 3 * EPOCHS + 1
    assert back.loss_curve_[-1] < before[0]


def test_partial_fit_goes_on(client, data):
    model = DaskMLPBinaryClassifier(**SETTINGS, n_shards=1, rounds_per_epoch=1, shuffle=False)
    local = MLPBinaryClassifier(**SETTINGS, shuffle=False)
    for _ in range(3):
        quietly(model.set_params(client=client).partial_fit, *data, classes=[False, True])
        local.partial_fit(X, Y, classes=[False, True])
    assert same(model, local)


def test_warnings(client, data):
    settings = {**SETTINGS, "batch_size": 200}
    model = DaskMLPBinaryClassifier(**settings, n_shards=2, client=client)
    with (
        pytest.warns(UserWarning, match=r"5 minibatches of 200 rows.*n_shards=1"),
        pytest.warns(ConvergenceWarning),
    ):
        model.fit(*data)


def test_advice_does_not_count_shards_without_rows(client):
    chunked = da.from_array(X, chunks=((1000, 1000, 0, 0), 6))
    model = DaskMLPBinaryClassifier(**{**SETTINGS, "batch_size": 200}, n_shards=4, client=client)
    with (
        pytest.warns(UserWarning, match=r"5 minibatches .*n_shards=1, or batch_size=50\."),
        pytest.warns(ConvergenceWarning),
    ):
        model.fit(chunked, Y)


def test_a_worker_of_two_threads_uses_both(data):
    """Also under a nanny, in whose processes a fit has one otherwise."""

    def threads_of_rounds():
        from fastmlp.training import shards

        return shards.threads_seen

    def watch():
        from fastmlp.training import shards

        train = shards.session_for
        shards.threads_seen = []

        def session_for(task, state, n_threads):
            shards.threads_seen.append(n_threads)
            return train(task, state, n_threads)

        shards.session_for = session_for

    with cluster(1, processes=True, threads=2) as client:
        client.run(watch)
        fitted(client, data, max_iter=1)
        (seen,) = client.run(threads_of_rounds).values()
    assert set(seen) == {2}


# -- on which data ---------------------------------------------------------------------------------
def test_a_dataframe(client):
    frame = pd.DataFrame(X, columns=list("abcdef")).assign(y=np.where(Y, "yes", "no"))
    frame = dd.from_pandas(frame, npartitions=8)
    features = frame[list("abcdef")]
    model = fitted(client, (features, frame["y"]))
    assert model.classes_.tolist() == ["no", "yes"]
    assert model.feature_names_in_.tolist() == list("abcdef")
    assert same(model, fitted(client, on_cluster(X, np.where(Y, "yes", "no"))))
    with pytest.raises(ValueError, match="feature names"):
        model.set_params(warm_start=True).fit(features.rename(columns={"a": "z"}), frame["y"])


def test_a_list_of_partitions(client, data):
    part = dask.delayed(lambda k: (X[k : k + 250], Y[k : k + 250]), pure=True)
    parts = [part(k) for k in range(0, 2000, 250)]
    assert same(fitted(client, (parts,)), fitted(client, data))
    assert same(fitted(client, (client.compute(parts),)), fitted(client, data))


def draw(k=0):
    """Rows that come out otherwise each time."""
    return pd.DataFrame(np.random.default_rng().normal(size=(250, 6)), columns=list("abcdef"))


def drawn(kind):
    """Features, labels and weights that are made of the same random rows."""
    if kind == "frame":
        frame = dd.from_map(draw, range(8), meta=draw()[:0])
        return frame[list("abcdef")], frame["a"] > 0, frame["b"] ** 2
    if kind == "array":
        rows = da.map_blocks(lambda: draw().to_numpy(), chunks=((250,) * 8, (6,)), meta=X[:0])
    else:
        parts = [dask.delayed(draw, pure=True)(k).to_numpy() for k in range(8)]
        rows = da.concatenate([da.from_delayed(part, (250, 6), float) for part in parts])
    return rows + 0, rows[:, 0] > 0, rows[:, 1] ** 2


@pytest.mark.parametrize("kind", ["array", "delayed", "frame"])
def test_a_partition_is_read_once(client, monkeypatch, kind):
    """So that its rows, labels and weights belong together whatever they are made of."""
    pack, found = work.pack, []

    def note(rows, labels, weight, number, packing):
        a, b = np.asarray(rows)[:, :2].T
        found.append(np.array_equal(a > 0, labels) and np.array_equal(b**2, weight))
        return pack(rows, labels, weight, number, packing)

    monkeypatch.setattr(work, "pack", note)
    model = DaskMLPBinaryClassifier(**SETTINGS, **ROUNDS, n_shards=2, client=client)
    quietly(model.fit, *drawn(kind))
    assert found == [True] * 8


def test_a_dataframe_of_files(client, tmp_path):
    """Dask would read narrow columns of several files at once, and wide ones not."""
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(X, columns=list("abcdef")).assign(y=Y, more=1.0)
    for k in range(8):
        frame[250 * k : 250 * (k + 1)].to_parquet(tmp_path / f"{k}.parquet")
    frame = dd.read_parquet(tmp_path)
    model = fitted(client, (frame[list("abcdef")], frame["y"]))
    assert same(model, fitted(client, on_cluster(X, Y)))


def test_empty_partitions_and_unknown_sizes(client):
    dX, dy = on_cluster(X, Y)
    keep = da.from_array((np.arange(2000) // 250) % 3 != 1, chunks=250)
    model = fitted(client, (dX[keep], dy[keep]), n_shards=4)
    assert model.t_ == EPOCHS * 1250
    assert model.predict(dX[keep]).compute().shape == (1250,)


@pytest.mark.parametrize("n_shards", [1, 3, 20])
def test_all_rows_in_one_partition(client, n_shards):
    model = fitted(client, on_cluster(X, Y, rows=2000), n_shards=n_shards)
    assert model.t_ == EPOCHS * 2000


def test_one_class_in_each_partition(client):
    order = np.argsort(Y, kind="stable")
    model = fitted(client, on_cluster(X[order], Y[order], rows=100), n_shards=1, max_iter=6)
    assert model.classes_.tolist() == [False, True]
    assert model.score(X, Y) > 0.6


def test_labels_that_no_type_holds_together(client):
    """As float64, which holds both types, they would be one and the same."""
    low, high = np.full(1000, 2**60, np.int64), np.full(1000, 2**60 + 1, np.uint64)
    parts = [dask.delayed((X[:1000], low)), dask.delayed((X[1000:], high))]
    with pytest.raises(
        ValueError, match=r"partition 1: y has labels .* of uint64, and .* of int64"
    ):
        DaskMLPBinaryClassifier(**SETTINGS, n_shards=2, client=client).fit(parts)


def test_one_class_of_all(client):
    model = fitted(client, on_cluster(X, np.full(2000, "a")))
    assert model.classes_.tolist() == ["a"]
    assert set(model.predict(X)) == {"a"}
    expected = model.predict_proba(X)
    lazy = model.predict_proba(da.from_array(X, chunks=(500, 6)))
    assert lazy.shape == expected.shape
    assert np.array_equal(lazy.compute(), expected)
    frame = model.predict_proba(dd.from_pandas(pd.DataFrame(X), npartitions=2))
    assert np.array_equal(frame.compute(), expected)


def test_weights_all_0_in_one_partition(client, data):
    weight = np.ones(2000)
    weight[:250] = 0
    model = DaskMLPBinaryClassifier(**SETTINGS, n_shards=1, rounds_per_epoch=1, client=client)
    model.set_params(shuffle=False)
    quietly(model.fit, *data, da.from_array(weight, chunks=250))
    local = quietly(MLPBinaryClassifier(**SETTINGS, shuffle=False).fit, X, Y, weight)
    assert same(model, local)


def changed(k, value, labels=Y):
    values = np.array(labels, dtype=object if isinstance(value, str) else None)
    values[k] = value
    return values


BAD = {
    "chunked by columns": (lambda dX, dy: (dX.rechunk({1: 3}), dy), "chunked by columns"),
    "y shorter": (lambda dX, dy: (dX, dy[:-1]), "X has 2000 rows, and y has 1999"),
    "partitions of y": (
        lambda dX, dy: (dX[dX[:, 0] > -9], dy.rechunk(500)), "X has 8 partitions, and y has 4",
    ),
    "NaN": (
        lambda dX, dy: (da.where(da.arange(2000, chunks=250)[:, None] == 1800, np.nan, dX), dy),
        "partition 7: Input X contains NaN",
    ),
    "third label": (
        lambda dX, dy: (dX, da.from_array(np.where(np.arange(2000) == 1999, 2, Y), chunks=250)),
        "partition 7: Only binary",
    ),
    "labels of another kind": (
        lambda dX, dy: (
            [dask.delayed((X[:9], Y[:9])), dask.delayed((X[:9], np.where(Y[:9], "a", "b")))],
            None,
        ),
        "partition 1",
    ),
    "another dtype": (
        lambda dX, dy: (
            [dask.delayed((X[:9], Y[:9])), dask.delayed((X[:9].astype(float), Y[:9]))], None,
        ),
        "partition 1 has X of dtype float64, and partition 0 float32",
    ),
    "other columns": (
        lambda dX, dy: ([dask.delayed((X[:9], Y[:9])), dask.delayed((X[:9, :4], Y[:9]))], None),
        "partition 1 has columns 4, and partition 0 6",
    ),
    "strings": (
        lambda dX, dy: ([dask.delayed((np.full((9, 6), "a"), Y[:9]))], None), "partition 0",
    ),
    "no rows": (lambda dX, dy: (dX[dX[:, 0] > 99], dy[dX[:, 0] > 99]), "no rows to train on"),
    "continuous y": (lambda dX, dy: (dX, dX[:, 0]), "partition 0: Unknown label type|continuous"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_data(client, data, case):
    change, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        DaskMLPBinaryClassifier(**SETTINGS, **ROUNDS, n_shards=2, client=client).fit(*change(*data))


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.full(2000, -1.0), "partition 0: Negative"),
        (np.where(np.arange(2000) == 600, np.inf, 1.0), "partition 2: "),
        (np.zeros(2000), "at least one non-zero"),
        (np.ones(3), "X has 2000 rows, and sample_weight has 3"),
        (1.0, "sample_weight must have a value for each row"),
    ],
)
def test_bad_weights(client, data, weight, message):
    with pytest.raises(ValueError, match=message):
        DaskMLPBinaryClassifier(**SETTINGS, **ROUNDS, n_shards=2, client=client).fit(*data, weight)


@pytest.mark.parametrize("bad", [X, X.tolist(), pd.DataFrame(X), None, [1, 2]])
def test_data_of_this_process(client, bad):
    with pytest.raises(TypeError, match="Dask array"):
        DaskMLPBinaryClassifier(client=client).fit(bad, Y)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_shards": 0}, "n_shards"),
        ({"rounds_per_epoch": 0}, "rounds_per_epoch"),
        ({"learning_rate_scale": "no"}, "learning_rate_scale"),
        ({"class_weight": {3: 1.0}}, r"class_weight names \[3\]"),
        ({"learning_rate_init": 1e30}, "diverged"),
    ],
)
def test_bad_parameters(client, data, settings, message):
    with pytest.raises(ValueError, match=message):
        fitted(client, data, **settings)


def test_no_client(data, monkeypatch):
    def none():
        raise ValueError("no client")

    for name in ("the_default_client", "client_of_task"):
        monkeypatch.setattr(f"fastmlp.dask.cluster.{name}", none)
    with pytest.raises(ValueError, match="client"):
        DaskMLPBinaryClassifier(client=3).fit(*data)
    with pytest.raises(ValueError, match="There is no Dask client"):
        DaskMLPBinaryClassifier().fit(*data)


# -- what it predicts ------------------------------------------------------------------------------
METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function")


@pytest.mark.parametrize("method", METHODS)
def test_predictions_are_lazy_and_those_of_one_process(client, data, method):
    model = fitted(client, data)
    expected = getattr(model.to_local(), method)(X)
    lazy = getattr(model, method)(data[0])
    assert isinstance(lazy, da.Array)
    assert lazy.chunks[0] == data[0].chunks[0]
    assert lazy.dtype == expected.dtype
    with dask.config.set(scheduler="threads"):
        assert np.array_equal(lazy.compute(), expected)
    assert np.array_equal(getattr(model, method)(X), expected)
    assert np.array_equal(getattr(pickle.loads(pickle.dumps(model)), method)(X), expected)


@pytest.mark.parametrize("method", METHODS)
def test_predictions_of_a_frame_keep_its_index(client, method):
    frame = pd.DataFrame(X, columns=list("abcdef"), index=np.arange(2000)[::-1] + 7)
    lazy_frame = dd.from_pandas(frame, npartitions=5, sort=False)
    model = fitted(
        client, (lazy_frame, dd.from_pandas(pd.Series(Y, frame.index), npartitions=5, sort=False))
    )
    result = getattr(model, method)(lazy_frame).compute()
    expected = getattr(model.to_local(), method)(frame)
    assert np.array_equal(result.to_numpy(), expected)
    assert result.index.equals(frame.index)
    if expected.ndim == 2:
        assert result.columns.tolist() == model.classes_.tolist()


def test_score(client, data):
    model = fitted(client, data)
    assert model.score(*data) == model.to_local().score(X, Y)
    weight = np.random.RandomState(0).rand(2000)
    expected = model.to_local().score(X, Y, weight)
    assert model.score(*data, da.from_array(weight, chunks=250)) == pytest.approx(expected)


def test_score_asks_its_own_client(client, data):
    model = fitted(client, data)
    with Client(client.cluster, set_as_default=False) as other:
        model.client = other
        rows = other.persist(data[0])
        with dask.config.set(scheduler="threads"):  # as where there is no default client
            assert model.score(rows, data[1]) == model.score(X, Y)


def test_before_fit(client, data):
    with pytest.raises(NotFittedError):
        DaskMLPBinaryClassifier().predict(data[0])
    with pytest.raises(NotFittedError):
        DaskMLPBinaryClassifier().to_local()


# -- as an estimator -------------------------------------------------------------------------------
def test_it_has_the_local_parameters_and_methods():
    own = {"client", "n_shards", "rounds_per_epoch", "learning_rate_scale", "worker_timeout"}
    local = MLPBinaryClassifier().get_params()
    assert DaskMLPBinaryClassifier().get_params() == {
        **local, "client": None, "n_shards": None, "rounds_per_epoch": 16,
        "learning_rate_scale": "auto", "worker_timeout": 300.0,
    }  # fmt: skip
    for name in ("fit", "partial_fit", *METHODS, "score"):
        mine, theirs = (
            inspect.signature(getattr(cls, name)).parameters
            for cls in (DaskMLPBinaryClassifier, MLPBinaryClassifier)
        )
        assert list(mine) == list(theirs)
    assert own.isdisjoint(local)


def test_clone_keeps_the_client_and_pickles_do_not(client, data):
    model = fitted(client, data)
    assert clone(model).client is client
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded.client is None
    assert model.client is client
    assert same(loaded, model)


# -- homes -----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("workers", "n_shards", "before", "expected"),
    [
        ("ab", 4, "", "abab"),
        ("abc", 2, "", "ab"),
        ("ab", 4, "acac", "abab"),
        ("a", 3, "abc", "aaa"),
        ("abcd", 4, "aabb", "acbd"),
        ("ba", 3, "", "aba"),
    ],
)
def test_homes(workers, n_shards, before, expected):
    found = homes(list(workers), n_shards, list(before))
    counts = [found.count(worker) for worker in workers]
    assert max(counts) - min(counts) <= 1
    assert sorted(found) == sorted(expected)
    kept = [home for home, old in zip(found, before, strict=False) if home == old]
    assert len(kept) == sum(a == b for a, b in zip(expected, before, strict=False))


def test_all_workers_are_known():
    """In some versions, `Client.scheduler_info` tells of five unless it is asked for more."""

    with cluster(8) as client:
        assert len(workers_of(client, 10)) == 8
