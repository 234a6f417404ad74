"""Sparse input, as from the words of texts: CSR, 8,000 × 20,000, one entry in a hundred."""

from .common import Benchmark, Estimator, Quality
from .peers import best_seconds, prepare_fastmlp, prepare_scikit_learn, settings
from .works import DTYPES, Work

CSR = Work("csr", 8_000, 20_000, (100,), batch_size=200, epochs=1)
DENSITY = 0.01
N_TEST = 2_000


def _data(dtype):
    """Rows whose class is the sign of a random linear function of them."""
    import numpy as np
    from scipy import sparse

    rng = np.random.default_rng(0)
    shape = (CSR.n_samples + N_TEST, CSR.n_features)
    X = sparse.random(*shape, DENSITY, format="csr", dtype=dtype, random_state=rng)
    y = (X @ rng.standard_normal(CSR.n_features) > 0).astype(int)
    n = CSR.n_samples
    return X[:n], y[:n], X[n:], y[n:]


class Sparse(Estimator, Quality, Benchmark):
    """One hidden layer of 100 units on the CSR matrix."""

    params = (DTYPES,)
    param_names = ("dtype",)

    def setup_cache(self):
        self.make_cache()

    def make_data(self, dtype):
        return _data(dtype)

    def make_estimator(self, dtype):
        from fastmlp import MLPBinaryClassifier

        return MLPBinaryClassifier(**settings(CSR))

    def track_speedup(self, dtype):
        """Over scikit-learn, taken in turns."""
        runs = {
            "ours": prepare_fastmlp(CSR, self.X, self.y),
            "theirs": prepare_scikit_learn(CSR, self.X, self.y),
        }
        seconds = best_seconds(runs, repetitions=3)
        return round(seconds["theirs"] / seconds["ours"], 2)

    track_speedup.unit = "times faster"
