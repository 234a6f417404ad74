"""streaming.fit of a TabularMLPBinaryClassifier: a raw table that passes by in chunks."""

import json
import pickle
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from chunked import in_chunks, streamed
from sklearn.decomposition import IncrementalPCA
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline

from fastmlp import TabularMLPBinaryClassifier, streaming
from fastmlp.data.parts import Part
from fastmlp.estimators import streamed_tables
from fastmlp.training.table_streams import StreamedStretches

N = 6000
#: So little that these rows make several windows.
SMALL = 2**18
#: So much that all rows have room.
LARGE = 2**26


def made_up(n=N, seed=0):
    """Numbers with gaps, text, categories with rare levels, and whole numbers."""
    rng = np.random.default_rng(seed)
    x, town = rng.standard_normal(n), rng.integers(0, 40, n) ** 2 // 60
    logit = 2 * np.abs(x) - 2 + (town % 3) - 1 + rng.standard_normal(n)
    frame = pd.DataFrame(
        {
            "x": np.where(rng.random(n) < 0.1, np.nan, x),
            "town": [None if k == 5 else f"t{k}" for k in town.tolist()],
            "count": rng.integers(0, 5, n),
            "flag": rng.random(n) < 0.3,
            "wide": rng.standard_normal(n) * 1e5,
        }
    )
    return frame, np.where(logit > 0, "no", "yes")


@pytest.fixture(scope="module")
def data():
    return made_up()


def new(**parameters):
    defaults = {"random_state": 0, "max_iter": 3, "n_folds": 1}
    return TabularMLPBinaryClassifier(**{**defaults, **parameters})


def stream(model, *arrays, memory=SMALL, **arguments):
    return streamed(model, *arrays, memory=memory, **arguments)


def weights(n=N):
    return np.random.default_rng(1).integers(0, 4, n) * 0.7


def assert_same(found, expected, X, *, oof=True):
    np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(X))
    np.testing.assert_array_equal(found.classes_, expected.classes_)
    assert found.columns_ == expected.columns_
    assert found.loss_curves_ == expected.loss_curves_
    assert found.validation_scores_ == expected.validation_scores_
    assert found.n_features_in_ == expected.n_features_in_
    np.testing.assert_array_equal(found.feature_names_in_, expected.feature_names_in_)
    if oof:
        np.testing.assert_array_equal(found.oof_probabilities_, expected.oof_probabilities_)


@pytest.mark.parametrize(
    ("parameters", "weighted"),
    [
        ({}, True),
        ({"n_folds": 2, "scoring": "roc_auc"}, False),
        ({"class_weight": "balanced"}, True),
        ({"categorical_features": ["town", "count"]}, False),
    ],
)
def test_a_table_in_one_window_gives_the_model_of_fit(data, parameters, weighted):
    arrays = (*data, weights()) if weighted else data
    expected = new(**parameters).fit(*arrays)
    assert_same(stream(new(**parameters), *arrays, memory=LARGE), expected, data[0])


def test_validation_rows_of_their_own_in_one_window(data):
    X, y = data
    expected = new().fit(X[:5000], y[:5000], X_val=X[5000:], y_val=y[5000:])
    found = stream(
        new(), X[:5000], y[:5000], memory=LARGE, validation=in_chunks(X[5000:], y[5000:])
    )
    assert_same(found, expected, X)


@pytest.fixture(scope="module")
def files(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    X, y = data
    table = pa.Table.from_pandas(X.assign(label=y, w=weights()), preserve_index=False)
    for k in range(3):
        pq.write_table(table[2000 * k :][:2000], folder / f"{k}.parquet", row_group_size=600)
    return folder


def test_parquet_files_and_datasets(data, files):
    expected = new().fit(*data, weights())
    how = {"target": "label", "sample_weight": "w", "memory": LARGE}
    assert_same(streaming.fit(new(), files, **how), expected, data[0])
    dataset = pyarrow.dataset.dataset(files)
    assert_same(streaming.fit(new(), dataset, **how), expected, data[0])


def test_text_of_files_may_be_encoded_in_two_ways(data, tmp_path):
    X, y = data
    table = pa.Table.from_pandas(X.assign(label=y), preserve_index=False)
    encoded = table.set_column(1, "town", table["town"].dictionary_encode())
    pq.write_table(encoded[:3000], tmp_path / "a.parquet")
    pq.write_table(table[3000:], tmp_path / "b.parquet")
    found = streaming.fit(new(), tmp_path, target="label", memory=LARGE)
    assert_same(found, new().fit(*data), X)


def test_types_of_columns_may_change_with_gaps(data):
    X, y = data
    X = X.assign(count=np.where(np.arange(N) == 4000, np.nan, X["count"]))
    X["town"] = X["town"].where(np.arange(N) // 500 != 3, None)
    expected = new().fit(X, y)

    def frames():  # one has no text at all, and most have whole numbers without a gap
        for first in range(0, N, 500):
            yield X[first : first + 500].assign(label=y[first : first + 500]).convert_dtypes()

    found = streaming.fit(new(), frames, target="label", memory=LARGE)
    assert_same(found, expected, X)


def test_partitions_of_dask(data):
    dd = pytest.importorskip("dask.dataframe")
    X, y = data
    frame = dd.from_pandas(X.assign(label=y), npartitions=4)

    def partitions():
        return (part.compute() for part in frame.partitions)

    found = streaming.fit(new(), partitions, target="label", memory=LARGE)
    assert_same(found, new().fit(X, y), X)


@pytest.fixture(scope="module")
def other_rows():
    return made_up(5000, seed=1)


@pytest.mark.parametrize("parameters", [{"n_folds": 2}, {"scoring": "roc_auc"}])
def test_windows_learn_what_rows_in_memory_do(data, other_rows, parameters):
    X_test, y_test = other_rows
    found = stream(new(max_iter=8, **parameters), *data)
    expected = new(max_iter=8, **parameters).fit(*data)
    assert not hasattr(found, "oof_probabilities_")
    assert len(found.loss_curves_) == parameters.get("n_folds", 1)
    proba, of_fit = (model.predict_proba(X_test) for model in (found, expected))
    score = roc_auc_score(y_test == "yes", proba[:, 1])
    assert score > roc_auc_score(y_test == "yes", of_fit[:, 1]) - 0.01
    assert log_loss(y_test, proba) < 1.03 * log_loss(y_test, of_fit)


def test_columns_of_windows_are_those_of_all_rows(data):
    found, expected = stream(new(), *data), new().fit(*data)
    for name in ("town", "flag"):  # levels and pairs do not depend on a sample
        assert found.columns_[name] == expected.columns_[name]
    assert found._reader.columns == expected._reader.columns


def test_windows_do_not_depend_on_chunks_and_threads(data):
    arrays = (*data, weights())
    one = stream(new(class_weight="balanced"), *arrays, rows=700)
    other = stream(new(class_weight="balanced", n_threads=1), *arrays, rows=411)
    assert_same(one, other, data[0], oof=False)


def test_weights_and_validation_rows_in_windows(data):
    X, y = data
    validation = in_chunks(X[4000:], y[4000:], weights()[4000:])
    found = stream(new(), X[:4000], y[:4000], weights()[:4000], validation=validation)
    loss = log_loss(y[4000:], found.predict_proba(X[4000:]), sample_weight=weights()[4000:])
    # The score of the best epoch is that of the model.
    assert -max(found.validation_scores_[0]) == pytest.approx(loss, rel=1e-5)


def test_a_table_sorted_by_its_target(data, other_rows):
    X, y = data
    X_test, y_test = other_rows
    order = np.argsort(y, kind="stable")
    shuffled = stream(new(max_iter=8), X, y)
    in_order = stream(new(max_iter=8), X.iloc[order], y[order])
    losses = [log_loss(y_test, model.predict_proba(X_test)) for model in (shuffled, in_order)]
    assert losses[1] < 1.03 * losses[0]


def test_a_model_of_windows_is_saved(data):
    model = stream(new(), *data)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(data[0]), model.predict_proba(data[0]))


def test_a_pipeline_of_numbers():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((N, 6))
    y = X[:, 0] + X[:, 1] > 0
    model = make_pipeline(IncrementalPCA(6), new(max_iter=5))
    assert stream(model, X, y).score(X, y) > 0.93


@pytest.mark.parametrize("memory", [SMALL, LARGE])
def test_targets_of_one_class_and_columns_that_say_nothing(data, memory):
    X, y = data
    model = stream(new(), X, np.full(N, "yes"), memory=memory)
    assert model.predict(X[:2]).tolist() == ["yes", "yes"]
    constant = X.assign(**dict.fromkeys(X, 1.0))
    model = stream(new(class_weight={"no": 3}), constant, y, weights(), memory=memory)
    expected = new(class_weight={"no": 3}).fit(constant, y, weights())
    np.testing.assert_allclose(
        model.predict_proba(constant[:2]), expected.predict_proba(constant[:2]), rtol=1e-12
    )


def at_chunk(k, X, y, change):
    """A source whose chunk k is changed."""

    def chunks():
        for number, chunk in enumerate(in_chunks(X, y)()):
            yield change(*chunk) if number == k else chunk

    return chunks


PROBLEMS = {
    "text": (
        lambda X, y: (X.assign(wide="much"), y),
        r"chunk 3, from row 0 on: column 'wide' holds text 'much' in row 0: name it in cat",
    ),
    "infinity": (
        lambda X, y: (X.assign(wide=np.inf), y),
        "chunk 3, from row 0 on: Input X contains infinity: column 'wide' has it in row 0",
    ),
    "missing column": (lambda X, y: (X.drop(columns="x"), y), "chunk 3.*missing: x"),
    "more columns": (lambda X, y: (X.assign(more=1), y), "chunk 3.*not known: more"),
    "third label": (lambda X, y: (X, np.where(y == "no", "maybe", y)), "chunk 3, row .*'maybe'"),
    "lengths": (lambda X, y: (X, y[1:]), "chunk 3: .*inconsistent"),
    "weights": (lambda X, y: (X, y, np.ones(len(y))), "sample_weight must come with all"),
}


@pytest.mark.parametrize("memory", [SMALL, LARGE])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_is_wrong_is_said_with_its_place(data, problem, memory):
    change, message = PROBLEMS[problem]
    model = new()
    with pytest.raises(ValueError, match=message):
        streaming.fit(model, at_chunk(3, *data, change), target=None, memory=memory)
    assert not hasattr(model, "classes_")


def test_arguments_that_do_not_go_together(data):
    with pytest.raises(ValueError, match=r"scoring=.*name one of scikit-learn's scorers"):
        stream(new(scoring=lambda estimator, X, y: 0.0), *data)
    with pytest.raises(ValueError, match="needs a scratch file"):
        stream(new(), *data, scratch=False)
    with pytest.raises(ValueError, match="has no room for two minibatches"):
        stream(new(), *data, memory=2**12)
    validation = in_chunks(data[0].assign(x="a"), data[1])
    with pytest.raises(ValueError, match="validation: chunk 0, from row 0 on: column 'x' held"):
        stream(new(), *data, validation=validation)
    with pytest.raises(ValueError, match="chunk 0, from row 0 on: column 'town' holds text"):
        stream(new(categorical_features=None), *data)


def test_a_class_that_is_too_rare(data):
    X, _ = data
    rare = np.where(np.arange(N) == 77, "yes", "no")
    with pytest.raises(ValueError, match=r"y has 1 row\(s\) of class yes with a weight, of which"):
        stream(new(), X, rare)


def test_chunks_of_wider_numbers():
    X = np.random.default_rng(0).standard_normal((600, 3)).astype(np.float32)

    def chunks():
        yield X[:300], X[:300, 0] > 0
        yield X[300:].astype(np.float64), X[300:, 0] > 0

    with pytest.raises(ValueError, match=r"chunk 1.*holds float64, and the first chunk float32"):
        streaming.fit(new(), chunks, target=None)


def test_rows_held_out_are_taken_from_all_over(data, monkeypatch):
    X, y = data
    order = np.argsort(y, kind="stable")
    monkeypatch.setattr(streamed_tables, "MOST_HELD_OUT", 100)
    found = []

    def targets_of(windows):
        found.append(targets_of_all(windows))
        return found[-1]

    targets_of_all = streamed_tables.targets_of
    monkeypatch.setattr(streamed_tables, "targets_of", targets_of)
    model = stream(new(), X.iloc[order], y[order])
    assert model.predict_proba(X).shape == (N, 2)
    ((targets, _),) = found
    assert 50 <= len(targets) <= 150  # of 300
    assert abs(targets.mean() - (y == "yes").mean()) < 0.1


class Watch:
    """Notes what callbacks are told, and may interrupt."""

    def __init__(self, stop_at=None):
        self.stop_at, self.epochs, self.seen = stop_at, 0, []

    def setup(self, estimator, context):
        """Nothing."""

    def teardown(self, estimator, context):
        """Nothing."""

    def on_fit_task_begin(self, estimator, context):
        """Nothing."""

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        """Count epochs, and predict what there is to see."""
        if context.task_name == "epoch":
            self.epochs += 1
            self.seen.append((X, y, fitted_estimator.predict_proba(X)))
            if self.epochs == self.stop_at:
                raise KeyboardInterrupt


@pytest.mark.parametrize("memory", [SMALL, LARGE])
def test_callbacks_and_an_interrupt(data, memory):
    pytest.importorskip("sklearn.callback")
    watch = Watch(stop_at=2)
    with pytest.warns(UserWarning, match="interrupted by user"):
        model = stream(new(max_iter=50).set_callbacks(watch), *data, memory=memory)
    assert watch.epochs == 2
    X, y, proba = watch.seen[-1]
    assert 50 < len(X) <= 1000
    assert y.tolist() == data[1][: len(X)].tolist()
    pd.testing.assert_frame_equal(
        X.astype(object).where(X.notna(), None),
        data[0][: len(X)].astype(object).where(data[0][: len(X)].notna(), None),
        check_dtype=False,
    )
    best = int(np.argmax(model.validation_scores_[0]))
    if best == 1:
        np.testing.assert_array_equal(model.predict_proba(X), proba)


def test_an_interrupt_in_the_first_pass_leaves_all_as_it_was(data):
    def interrupt(X, y):
        raise KeyboardInterrupt

    model = stream(new(), *data)
    attributes = dict(vars(model))
    with pytest.raises(KeyboardInterrupt):
        streaming.fit(model, at_chunk(3, *data, interrupt), target=None, memory=SMALL)
    assert vars(model) == attributes


def test_a_time_limit(data):
    started = time.perf_counter()
    model = stream(new(max_iter=10**6, time_limit=2.0), *data)
    assert time.perf_counter() - started < 10
    assert model.n_iter_ < 10**6


class Counted:
    """Windows of numbered rows."""

    def __init__(self, n, size):
        self.n, self.size, self.given = n, size, []

    def epoch(self, rng):
        for first in range(0, self.n, self.size):
            rows = np.arange(first, min(first + self.size, self.n))
            yield Part(rows[:, None] + np.zeros(1), rows % 2 == 0, None)


class Recorder:
    """A session that notes which rows it is trained on."""

    rows_of_epoch = 0

    class network:
        dtype = np.dtype(np.float32)

    def __init__(self):
        self.seen = []

    def feed(self, rows, targets, weight):
        self.rows = rows.array[:, 0]

    def train_epoch(self, order, rates):
        self.rows_of_epoch = len(order)
        self.seen.append(self.rows[order])
        return 1.0


@pytest.mark.parametrize(("n", "size", "stretch"), [(100, 30, 20), (100, 100, 35), (64, 10, 64)])
def test_stretches_go_through_all_rows_in_turn(n, size, stretch):
    session = Recorder()
    training = StreamedStretches(
        session, np.empty(0, np.int64), np.random.RandomState(0), None, None,
        windows=Counted(n, size), batch_size=5, rows_of_stretch=stretch,
    )  # fmt: skip
    for _ in range(12):
        assert training.train_epoch(0.1) == (1.0, stretch)
    seen = np.concatenate(session.seen).astype(int)
    assert len(seen) == 12 * stretch
    for first in range(0, len(seen) - n + 1, n):
        assert sorted(seen[first : first + n]) == list(range(n))  # each once a pass
    assert seen[:size].tolist() != sorted(seen[:size])


CHILD = """
import json, resource, sys, warnings
import numpy as np, pyarrow as pa, pyarrow.parquet
from fastmlp import TabularMLPBinaryClassifier, streaming

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

warnings.simplefilter("ignore")
path, memory, validated = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"
def new():
    return TabularMLPBinaryClassifier(max_iter=2, random_state=0, n_folds=1)
few = pyarrow.parquet.ParquetFile(path).read_row_group(0)[:20000]
pyarrow.parquet.write_table(few, path + "-few")
streaming.fit(new(), path + "-few", target="y", memory=2**20)  # compiles
streaming.fit(new(), path + "-few", target="y")  # Arrow's threads
del few
before = peak()
more = {"validation": path} if validated else {}
model = streaming.fit(new(), path, target="y", memory=memory, **more)
print(json.dumps([model.n_iter_, peak() - before]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in KiB on Linux")
@pytest.mark.parametrize("validated", [pytest.param(False, marks=pytest.mark.long), True])
def test_memory_is_kept(tmp_path, validated):
    rng = np.random.default_rng(0)
    n, f, memory = 400_000, 18, 32 * 2**20  # of 64 MB
    values = rng.standard_normal(n + f)
    columns = {f"x{k}": values[k : k + n] for k in range(f)}
    columns["town"] = pa.array([f"t{k}" for k in range(50)]).take(pa.array(rng.integers(0, 50, n)))
    path = tmp_path / "rows.parquet"
    noise = rng.standard_normal(n)
    table = pa.table({**columns, "y": values[:n] + noise > 0})
    pq.write_table(table, path, row_group_size=100_000, compression="none")
    command = [sys.executable, "-c", CHILD, str(path), str(memory), str(validated)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    n_iter, used = json.loads(done.stdout)
    assert n_iter == 2
    assert used < 1.1 * memory, used / 2**20
