"""Train on a Parquet file that need not fit into memory.

    python examples/larger_than_memory.py
    python examples/larger_than_memory.py FILE --target NAME --memory 512

Needs pandas, and pyarrow from the extra `parquet`. All columns beside the target must be numbers,
without gaps. Without FILE, a table is made up whose rows are sorted by the target, the worst order
for a method that reads it from front to back; and the same is trained in memory, to compare.
"""

import argparse
import sys
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

from fastmlp import MLPBinaryClassifier, streaming

MIB = 2**20


def write_sample(path, n_rows, n_features, rows=50_000):
    """Write a table of random numbers, some at a time; the target depends on the first columns."""
    schema = pa.schema([*((f"x{k}", pa.float32()) for k in range(n_features)), ("y", pa.bool_())])
    with pq.ParquetWriter(path, schema) as writer:
        for wanted in (False, True):
            for first in range(0, n_rows, rows):
                rng = np.random.default_rng(first)
                X = rng.standard_normal((min(rows, n_rows - first), n_features), dtype=np.float32)
                target = X[:, 0] + X[:, 1] * X[:, 2] > 0
                chosen = target == wanted
                columns = [*np.ascontiguousarray(X[chosen].T), target[chosen]]
                writer.write_table(pa.table(columns, schema))


def accuracy(model, path, target):
    """Share of the file's rows whose label is predicted."""
    right = []
    for batch in pq.ParquetFile(path).iter_batches(50_000):
        frame = batch.to_pandas()
        right.append(model.predict(frame.drop(columns=target)) == frame[target])
    return np.concatenate(right).mean()


def peak_memory():
    """The most memory that this process has had, in MiB; NaN where that is not told."""
    try:
        import resource
    except ImportError:  # on Windows
        return np.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (MIB if sys.platform == "darwin" else 1024)


def new_model(epochs):
    return MLPBinaryClassifier(
        (100, 50), batch_size=500, learning_rate="cosine", max_iter=epochs, random_state=0
    )


def stream(path, target, epochs, memory):
    """Train on the file within so many bytes of memory: the model, and the seconds it took."""
    started = time.perf_counter()
    model = streaming.fit(new_model(epochs), path, target=target, memory=memory)
    return model, time.perf_counter() - started


def read_and_fit(path, target, epochs):
    """Read the file into memory and train on it: the model, and the seconds it took."""
    started = time.perf_counter()
    frame = pq.read_table(path).to_pandas()
    model = new_model(epochs).fit(frame.drop(columns=target), frame[target])
    return model, time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", nargs="?", help="a Parquet file")
    parser.add_argument("--target", default="y", help="the column to predict")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--memory", type=float, help="MiB for rows; by default a quarter of them")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the table made up")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.file
        if path is None:
            path = Path(folder) / "table.parquet"
            print(f"Writing {options.rows:,} rows, sorted by their target")
            write_sample(path, options.rows, 30)
        metadata = pq.ParquetFile(path).metadata
        size = metadata.num_rows * metadata.num_columns * 4 / MIB
        memory = size / 4 if options.memory is None else options.memory
        print(f"{size:.1f} MiB of numbers, of which {memory:.1f} MiB may be in memory")
        X = np.random.default_rng(0).standard_normal((1000, metadata.num_columns - 1))
        new_model(1).fit(X.astype(np.float32), X[:, 0] > 0)  # the first use compiles
        before = peak_memory()
        model, seconds = stream(path, options.target, options.epochs, int(memory * MIB))
        print(
            f"Streamed: {seconds:.1f} s, {model.t_ / seconds:,.0f} rows/s, loss {model.loss_:.4f}"
        )
        print(f"Peak memory: {peak_memory():.0f} MiB, {before:.0f} MiB before")
        print(f"Accuracy on the rows trained on: {accuracy(model, path, options.target):.3f}")
        if options.file is None:
            model, seconds = read_and_fit(path, options.target, options.epochs)
            rate = model.t_ / seconds
            print(f"In memory: {seconds:.1f} s, {rate:,.0f} rows/s, loss {model.loss_:.4f}")
            print(f"Accuracy: {accuracy(model, path, options.target):.3f}")


if __name__ == "__main__":
    main()
