"""Memory of a fit, held against what training by minibatches cannot do without.

These count what arrays take (see `memory`), so they vary far less than `peakmem_fit`, which counts
the whole process.
"""

import numpy as np

from .common import Benchmark
from .memory import extra_peak
from .peers import quiet_fit, settings
from .works import DTYPES, WORKS, Work

#: Far more data than network, so that a copy of X would show.
DATA = Work("data", 200_000, 50, (16,), batch_size=200, epochs=1)

#: How X may lie in memory; the last is allowed one copy, because its rows are scattered.
LAYOUTS = ("float32", "float64", "int8", "bool", "every other row", "by columns")


def _estimator(work):
    from fastmlp import MLPBinaryClassifier

    return MLPBinaryClassifier(**settings(work))


def _bound(work, itemsize):
    """Bytes of five times the parameters, the buffers of a minibatch, and the order of the rows."""
    parameters = sum((n_in + 1) * n_out for n_in, n_out in work.shapes)
    # Activations and their δ: each layer's input, in float; the order is a row number each.
    buffers = 2 * work.batch_size * sum(n_in for n_in, _ in work.shapes)
    return (5 * parameters + buffers) * itemsize + 8 * work.n_samples


class FitMemory(Benchmark):
    """Peak of what a fit allocates, over its bound; 1 is the target."""

    params = (tuple(WORKS), DTYPES)
    param_names = ("work", "dtype")

    def track_over_bound(self, work, dtype):
        work = WORKS[work]
        X, y, _, _ = work.data(dtype)
        quiet_fit(_estimator(work), X, y)
        peak = extra_peak(lambda: quiet_fit(_estimator(work), X, y))
        return round(peak / _bound(work, X.itemsize), 2)

    track_over_bound.unit = "of the bound"


class CopiesOfX(Benchmark):
    """What a fit allocates, over the size of X in the fit's dtype: a copy would be 1 or more."""

    params = (LAYOUTS,)
    param_names = ("X",)

    def setup(self, layout):
        rng = np.random.default_rng(0)
        shape = (DATA.n_samples, DATA.n_features)
        if layout in ("int8", "bool"):
            self.X = rng.integers(0, 2, shape, dtype=layout)
        elif layout == "every other row":
            self.X = rng.random((2 * shape[0], shape[1]), np.float32)[::2]
        elif layout == "by columns":
            self.X = np.asfortranarray(rng.random(shape, np.float32))
        else:
            self.X = rng.random(shape, layout)
        self.y = rng.integers(0, 2, shape[0])
        self.itemsize = 4 if self.X.dtype == np.float32 else 8
        quiet_fit(_estimator(DATA), self.X, self.y)

    def track_copies(self, layout):
        peak = extra_peak(lambda: quiet_fit(_estimator(DATA), self.X, self.y))
        return round(peak / (self.X.size * self.itemsize), 2)

    track_copies.unit = "of X"
