"""The estimator for raw tables, on tables that are made up: see `tables.generated`."""

from .common import THREADS, Benchmark, Estimator, Fitted, Predictor, Quality, need_threads
from .memory import extra_peak
from .peers import quiet_fit

#: Rows to train on; 20,000 others are tested on.
ROWS = (3_000, 10_000)


class _Tables(Fitted):
    """`TabularMLPBinaryClassifier` on so many rows, with its defaults."""

    param_names = ("rows",)
    params = (ROWS,)

    def make_data(self, rows):
        from .tables import generated

        X, y = generated(rows)
        return X[:rows], y[:rows], X[rows:], y[rows:]

    def make_estimator(self, rows):
        from fastmlp import TabularMLPBinaryClassifier

        return TabularMLPBinaryClassifier(random_state=0)

    def warm_up(self):
        from sklearn.base import clone

        # A whole fit would take longer than most of what is measured after it.
        quiet_fit(clone(self.estimator).set_params(max_iter=1), self.X, self.y)


class Table(_Tables, Quality, Predictor, Benchmark):
    """Memory of a fit, quality of its model, and predictions."""

    def setup_cache(self):
        self.make_cache()

    def track_extra_memory(self, rows):
        """What a fit allocates at most, beyond the table."""
        return round(extra_peak(lambda: quiet_fit(self.estimator, self.X, self.y)) / 2**20, 1)

    track_extra_memory.unit = "MiB"


class TableFit(_Tables, Estimator, Benchmark):
    """Time of a fit on one thread and on two."""

    rounds = 1
    repeat = (2, 10, 5.0)
    param_names = ("rows", "threads")
    params = (ROWS, THREADS)

    def setup_cache(self):
        self.make_cache()

    def cache_key(self, rows, threads):
        # The number of threads changes no bit of the model.
        return (rows,)

    def make_data(self, rows, threads):
        return super().make_data(rows)

    def make_estimator(self, rows, threads):
        return super().make_estimator(rows).set_params(n_threads=threads)

    def setup(self, rows, threads):
        need_threads(threads)
        super().setup(rows, threads)
