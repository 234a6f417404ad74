"""Train on a Parquet file that need not fit into memory, chunk by chunk with partial_fit.

    python examples/parquet_chunks.py
    python examples/parquet_chunks.py FILE --target NAME --epochs 3

Needs pyarrow, the extra `parquet`. All columns beside the target must be numbers, without gaps.
Without FILE, a table of a million rows is made up, and the time is compared with that of one fit on
the whole table.

A pass over the file reads its row groups in a new order, and `partial_fit` shuffles the rows of
each chunk: rows of different chunks do not mix, so a file that is sorted by its target should be
shuffled once when it is written.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    message = "This example needs pyarrow: python -m pip install 'fastmlp[parquet]'"
    raise SystemExit(message) from error

from fastmlp import MLPBinaryClassifier

#: Rows of a chunk: enough that reading and checking it are a small part of the work.
CHUNK = 100_000


def write_sample(path, n_rows, n_features, seed=0):
    """Write a table of random numbers, whose target depends on the first columns."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, n_features), dtype=np.float32)
    target = X[:, 0] + X[:, 1] * X[:, 2] > 0
    columns = {f"x{k}": X[:, k] for k in range(n_features)}
    pq.write_table(pa.table({**columns, "target": target}), path, row_group_size=CHUNK)


def to_arrays(table, target):
    """X, of shape (n_rows, n_features), and y."""
    y = table[target].to_numpy()
    table = table.drop_columns([target])
    X = np.empty((table.num_rows, table.num_columns), np.float32)
    for k, column in enumerate(table.columns):
        X[:, k] = column.to_numpy()
    return X, y


def train(path, target, epochs=1, **parameters):
    """Train on all rows of the file, `epochs` times, with one row group in memory at a time."""
    rng = np.random.RandomState(0)
    settings = {"batch_size": 500, "random_state": rng, **parameters}
    model = MLPBinaryClassifier((100, 50), **settings)
    file = pq.ParquetFile(path)
    classes = np.unique(file.read([target])[target].to_numpy())
    for _ in range(epochs):
        for group in rng.permutation(file.num_row_groups):
            X, y = to_arrays(file.read_row_group(group), target)
            model.partial_fit(X, y, classes=classes)
    return model


def accuracy(model, path, target):
    """Share of the file's rows whose label is predicted."""
    file = pq.ParquetFile(path)
    right = 0
    for group in range(file.num_row_groups):
        X, y = to_arrays(file.read_row_group(group), target)
        right += np.count_nonzero(model.predict(X) == y)
    return right / file.metadata.num_rows


def compare(path, target="target"):
    """Seconds of one epoch: reading the whole table and fitting it, and chunk by chunk."""
    started = time.perf_counter()
    X, y = to_arrays(pq.read_table(path), target)
    model = MLPBinaryClassifier((100, 50), batch_size=500, random_state=0)
    model.partial_fit(X, y, classes=[False, True])  # one epoch, as fit makes it
    whole = time.perf_counter() - started
    started = time.perf_counter()
    train(path, target)
    return whole, time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", nargs="?", help="a Parquet file")
    parser.add_argument("--target", default="target", help="the column to predict")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the table made up")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.file
        if path is None:
            path = Path(folder) / "table.parquet"
            print(f"Writing {options.rows:,} rows")
            write_sample(path, options.rows, 30)
            train(path, options.target)  # the first use compiles
            whole, chunks = compare(path)
            print(f"One epoch on the whole table {whole:.2f} s, in chunks {chunks:.2f} s")
        model = train(path, options.target, options.epochs)
        print(f"{model.t_:,} rows seen, last loss {model.loss_:.4f}")
        print(f"Accuracy on the rows trained on: {accuracy(model, path, options.target):.3f}")


if __name__ == "__main__":
    main()
