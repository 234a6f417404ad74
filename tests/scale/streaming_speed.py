"""Rows a second of training on a large Parquet file, and on rows in memory: a line of JSON.

python streaming_speed.py FILE GIB
"""

import json
import resource
import sys
import time
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fastmlp import MLPBinaryClassifier, streaming

F = 50
ROWS_OF_GROUP = 250_000


def group(number):
    """Rows of a row group. With noise: errors that come near 0 are subnormal, and slow."""
    rng = np.random.default_rng(number)
    X = rng.standard_normal((ROWS_OF_GROUP, F), np.float32)
    return X, X[:, 0] + X[:, 1] * X[:, 2] + rng.standard_normal(ROWS_OF_GROUP) > 0


def write(path, n_groups):
    """Write the file, a row group at a time."""
    schema = pa.schema([*((f"x{k}", pa.float32()) for k in range(F)), ("y", pa.bool_())])
    with pq.ParquetWriter(path, schema, use_dictionary=False) as writer:
        for number in range(n_groups):
            X, y = group(number)
            columns = [*np.ascontiguousarray(X.T), y]
            writer.write_table(pa.table(columns, schema), row_group_size=ROWS_OF_GROUP)


class Clock:
    """Notes when epochs end."""

    def __init__(self):
        self.ends, self.cpu = [], []

    def setup(self, estimator, context):
        """Nothing."""

    def teardown(self, estimator, context):
        """Nothing."""

    def on_fit_task_begin(self, estimator, context):
        """Nothing."""

    def on_fit_task_end(self, estimator, context):
        """Note it."""
        if context.task_name == "epoch":
            self.ends.append(time.perf_counter())
            self.cpu.append(time.process_time())

    @property
    def seconds(self):
        """Of the epochs from the second one on: the best."""
        return float(np.diff(self.ends).min())

    @property
    def cpu_seconds(self):
        """The same in seconds of cores, which other programs disturb less."""
        return float(np.diff(self.cpu).min())


def new(clock):
    return MLPBinaryClassifier(
        (256, 128), batch_size=512, max_iter=3, tol=0.0, random_state=0
    ).set_callbacks(clock)


def main():
    warnings.simplefilter("ignore")
    path, gib = sys.argv[1], float(sys.argv[2])
    n_groups = max(1, round(gib * 2**30 / (ROWS_OF_GROUP * F * 4)))
    write(path, n_groups)
    X, y = group(0)
    in_memory, streamed = Clock(), Clock()
    new(in_memory).fit(X, y)
    del X, y
    started = time.perf_counter()
    model = streaming.fit(new(streamed), path, target="y", memory=2**29)
    n_rows = n_groups * ROWS_OF_GROUP
    first = streamed.ends[0] - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30
    result = {
        "rows": n_rows,
        "in_memory": ROWS_OF_GROUP / in_memory.seconds,
        "streamed": n_rows / streamed.seconds,
        "in_memory_by_cpu": ROWS_OF_GROUP / in_memory.cpu_seconds,
        "streamed_by_cpu": n_rows / streamed.cpu_seconds,
        "seconds_to_first_epoch_end": first,
        "peak_gib": peak,
        "loss": model.loss_,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
