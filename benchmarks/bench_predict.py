"""`predict_proba` on a million rows and on one, beside scikit-learn's."""

import pickle
from pathlib import Path

import numpy as np

from .common import Benchmark
from .memory import extra_peak
from .peers import best_seconds, quiet_fit, timed
from .works import DTYPES

N_ROWS, N_FEATURES, HIDDEN = 1_000_000, 28, (100,)

#: Rows that the models are trained on.
N_TRAIN = 5_000


def _data(dtype):
    X = np.random.default_rng(0).standard_normal((N_ROWS, N_FEATURES), dtype)
    return X, (X[:N_TRAIN, 0] > 0).astype(int)


class PredictProba(Benchmark):
    """A million rows of 28 features, one hidden layer of 100 units."""

    params = (DTYPES,)
    param_names = ("dtype",)
    repeat = (3, 10, 4.0)

    def setup_cache(self):
        """Train both models; a process makes the rows itself faster than it reads them."""
        from sklearn.neural_network import MLPClassifier

        from fastmlp import MLPBinaryClassifier

        for dtype in DTYPES:
            X, y = _data(dtype)
            models = [
                cls(HIDDEN, max_iter=2, random_state=0)
                for cls in (MLPBinaryClassifier, MLPClassifier)
            ]
            for model in models:
                quiet_fit(model, X[:N_TRAIN], y)
            Path(f"{dtype}.models").write_bytes(pickle.dumps(models))

    def setup(self, dtype):
        if hasattr(self, "X"):
            return
        self.X, _ = _data(dtype)
        self.model, self.other = pickle.loads(Path(f"{dtype}.models").read_bytes())
        for model in (self.model, self.other):
            model.predict_proba(self.X[:1000])

    def time_predict_proba(self, dtype):
        self.model.predict_proba(self.X)

    def track_extra_memory(self, dtype):
        """MiB that the call needs at most, beyond X and its result."""
        result = self.model.predict_proba(self.X).nbytes
        extra = extra_peak(lambda: self.model.predict_proba(self.X)) - result
        return round(extra / 2**20, 1)

    track_extra_memory.unit = "MiB"

    def track_speedup(self, dtype):
        """Over scikit-learn, taken in turns."""
        models = {"ours": self.model, "theirs": self.other}
        runs = {name: timed(model.predict_proba, self.X) for name, model in models.items()}
        seconds = best_seconds(runs, repetitions=3)
        return round(seconds["theirs"] / seconds["ours"], 2)

    track_speedup.unit = "times faster"

    def track_speedup_one_row(self, dtype):
        """Over scikit-learn for a single row, taken in turns."""
        models = {"ours": self.model, "theirs": self.other}
        row = self.X[:1]
        runs = {name: timed(model.predict_proba, row, calls=200) for name, model in models.items()}
        seconds = best_seconds(runs, repetitions=20)
        return round(seconds["theirs"] / seconds["ours"], 2)

    track_speedup_one_row.unit = "times faster"
