"""What a cluster cannot do: shards that are too large, partitions that are sparse or lost."""

# The modules below are optional, and the first line that needs them skips the file.
# ruff: noqa: E402

import threading
import time

import numpy as np
import pytest
import scipy.sparse

pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

import dask
import dask.array as da
import dask.dataframe as dd
import pandas as pd
from in_process import cluster, on_cluster, quietly, table

from fastmlp.dask import DaskMLPBinaryClassifier, loading, work
from fastmlp.training.blocks import Packing, pack, row_bytes, stored_dtype

X, Y = table()


@pytest.fixture(scope="module")
def client():
    with cluster(2) as client:
        yield client


def new(client, **settings):
    return DaskMLPBinaryClassifier(
        **{"hidden_layer_sizes": (4,), "max_iter": 1, "n_shards": 2, **settings}, client=client
    )


@pytest.fixture
def room(client, monkeypatch):
    """Have shards of a worker have room for so many bytes."""

    def set_room(n_bytes):
        limits = {w["memory_limit"] for w in client.scheduler_info()["workers"].values()}
        monkeypatch.setattr(loading, "_SHARE_OF_MEMORY", (n_bytes + 0.5) / max(limits))

    return set_room


@pytest.fixture
def packed(monkeypatch):
    """Partitions that have been packed, by their numbers."""
    found, lock = [], threading.Lock()

    def and_count(X, y, weight, number, packing):
        with lock:
            found.append(number)
        return pack(X, y, weight, number, packing)

    monkeypatch.setattr(work, "pack", and_count)
    return found


# -- too large -------------------------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["auto", "float32"])
@pytest.mark.parametrize("weighted", [False, True])
def test_sizes_that_are_known_are_checked_before_anything_is_packed(
    client, room, packed, dtype, weighted
):
    """To the byte."""
    wide = X.astype(np.float64)
    weight = da.ones(2000, chunks=250) if weighted else None
    data = (*on_cluster(wide, Y), weight)
    size = 1000 * (6 * (8 if dtype == "auto" else 4) + 1 + (8 if weighted else 0))
    room(size)
    quietly(new(client, dtype=dtype).fit, *data)
    packed.clear()
    room(size - 1)
    with pytest.raises(
        ValueError, match=r"For shard 0, worker \S+ needs 0 MiB, more than half of its memory of"
    ):
        new(client, dtype=dtype).fit(*data)
    assert packed == []


def test_rows_to_validate_on_count_too(client, room, packed):
    data = on_cluster(X, Y)
    room(1000 * 25 + 500 * 25 - 1)
    quietly(new(client).fit, *data)
    packed.clear()
    more = {"X_val": data[0][:1000], "y_val": data[1][:1000]}
    with pytest.raises(ValueError, match="For shard 0, worker"):
        new(client, early_stopping=True).fit(*data, **more)
    assert packed == []


def test_all_shards_of_a_worker_count(client, room):
    room(1000 * 25 - 1)
    with pytest.raises(ValueError, match=r"For shards 0, 2, worker"):
        new(client, n_shards=4).fit(*on_cluster(X, Y))


@pytest.mark.parametrize("frame", [False, True])
def test_sizes_that_are_not_known_are_checked_while_partitions_are_packed(
    client, room, packed, frame
):
    n = 100

    def slowly(part):
        time.sleep(0.05)
        return part

    if frame:
        whole = dd.from_pandas(pd.DataFrame(X).assign(y=Y), npartitions=n)
        data = whole.drop(columns="y").map_partitions(slowly), whole["y"]
    else:
        part = dask.delayed(lambda k: slowly((X[:20] + k, Y[:20])), pure=True)
        data = ([part(k) for k in range(n)],)
    room(1000 * 25 // 5)
    with pytest.raises(ValueError, match=r"For shard [01], worker \S+ needs"):
        new(client).fit(*data)
    assert len(packed) < n // 2


def test_a_partition_that_is_too_large_alone_is_not_copied(client, room, packed):
    parts = [dask.delayed((X[:10], Y[:10])), dask.delayed((X, Y))]
    room(1000 * 25)
    with pytest.raises(
        ValueError, match=r"For partition 1, worker \S+ needs 0 MiB, more than half of its memory"
    ):
        new(client).fit(parts)
    assert 1 not in packed


@pytest.mark.parametrize(
    "rows",
    [
        X,
        X.astype(np.float64),
        X.astype(np.float16),
        (9 * X).astype(np.int8),
        (9 * X).astype(np.int64),
        X > 0,
        pd.DataFrame(X),
        pd.DataFrame(X).assign(a=1.0),
        pd.DataFrame({"a": X[:, 0] > 0, "b": (9 * X[:, 1]).astype(np.int8)}),
        pd.DataFrame({"a": X[:, 0] > 0, "b": X[:, 1]}),
        pd.DataFrame({"a": pd.array(X[:, 0], "Float32"), "b": pd.array(X[:, 1], "Float32")}),
        pd.DataFrame({"a": pd.array([1, 2] * 1000, "Int8"), "b": X[:, 1]}),
    ],
    ids=lambda rows: str(getattr(rows, "dtype", "frame")),
)
@pytest.mark.parametrize("asked", [None, np.dtype(np.float32)])
@pytest.mark.parametrize("weight", [None, np.ones(2000)])
def test_how_large_a_block_will_be(rows, asked, weight):
    block, _ = pack(rows, Y, weight, 0, Packing(asked))
    dtype = stored_dtype(rows, asked)
    assert block.trained.X.dtype == dtype
    assert block.n_bytes == 2000 * row_bytes(rows.shape[1], dtype, weighted=weight is not None)


# -- sparse ----------------------------------------------------------------------------------------
def sparse_blocks(kind):
    return on_cluster(X, Y)[0].map_blocks(kind)


@pytest.mark.parametrize("kind", [scipy.sparse.csr_array, scipy.sparse.csr_matrix])
def test_sparse_partitions_are_refused(client, kind):
    dX, dy = sparse_blocks(kind), on_cluster(X, Y)[1]
    with pytest.raises(TypeError, match=r"partition \d: X is sparse.*map_blocks.*toarray"):
        new(client).fit(dX, dy)
    parts = [dask.delayed((kind(X), Y))]
    with pytest.raises(TypeError, match="partition 0: X is sparse"):
        new(client).fit(parts)
    quietly(new(client).fit, dX.map_blocks(lambda block: block.toarray(), dtype=dX.dtype), dy)


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_sparse_partitions_are_predicted(client, method):
    model = quietly(new(client).fit, *on_cluster(X, Y))
    lazy = getattr(model, method)(sparse_blocks(scipy.sparse.csr_array))
    assert np.array_equal(lazy.compute(), getattr(model, method)(X))


# -- bad -------------------------------------------------------------------------------------------
def test_of_several_bad_partitions_the_first_is_named(client):
    """Though others come to their errors first."""

    def part(k):
        time.sleep(0.5 if k == 1 else 0.0)
        return (X[:20] if k == 0 else X[:20] * np.nan), Y[:20]

    parts = [dask.delayed(part)(k) for k in range(8)]
    for n_shards in (1, 3):
        with pytest.raises(ValueError, match="partition 1: Input X contains NaN"):
            new(client, n_shards=n_shards).fit(parts)
