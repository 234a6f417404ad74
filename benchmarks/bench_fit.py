"""The six networks of `works`: fits and predictions, and the quality that they buy."""

from .common import THREADS, Benchmark, Estimator, Fitted, Predictor, Quality, need_threads
from .peers import best_seconds, prepare_fastmlp, settings
from .roof import roof_gflops, usable_cores
from .works import DTYPES, WORKS


class _Works(Fitted):
    """`MLPBinaryClassifier` on a work, in a dtype."""

    param_names = ("work", "dtype")
    params = (tuple(WORKS), DTYPES)

    def make_data(self, work, dtype):
        return WORKS[work].data(dtype)

    def make_estimator(self, work, dtype):
        from fastmlp import MLPBinaryClassifier

        return MLPBinaryClassifier(**settings(WORKS[work]))


class Model(_Works, Quality, Predictor, Benchmark):
    """Memory of a fit, quality of its model, and predictions."""

    def setup_cache(self):
        self.make_cache()


class Fit(_Works, Estimator, Benchmark):
    """Time of a fit on one thread and on two."""

    param_names = ("work", "dtype", "threads")
    params = (tuple(WORKS), DTYPES, THREADS)

    def setup_cache(self):
        self.make_cache()

    def cache_key(self, work, dtype, threads):
        # The number of threads changes no bit of the model.
        return work, dtype

    def make_data(self, work, dtype, threads):
        return super().make_data(work, dtype)

    def make_estimator(self, work, dtype, threads):
        return super().make_estimator(work, dtype).set_params(n_threads=threads)

    def setup(self, work, dtype, threads):
        need_threads(threads)
        super().setup(work, dtype, threads)


class Machine(Benchmark):
    """How much of the machine a fit uses."""

    param_names = ("work", "dtype")
    params = (tuple(WORKS), DTYPES)

    def track_two_threads_over_one(self, work, dtype):
        """Time on one thread over time on two, taken in turns."""
        need_threads(2)
        X, y, _, _ = WORKS[work].data(dtype)
        runs = {n: prepare_fastmlp(WORKS[work], X, y, n_threads=n) for n in (1, 2)}
        seconds = best_seconds(runs, repetitions=5, at_least=3.0)
        return round(seconds[1] / seconds[2], 2)

    track_two_threads_over_one.unit = "times faster"

    def track_share_of_roof(self, work, dtype):
        """What the matrix products of a fit alone account for; see `roof`."""
        X, y, _, _ = WORKS[work].data(dtype)
        run = {"fastmlp": prepare_fastmlp(WORKS[work], X, y)}
        seconds = best_seconds(run, repetitions=5, at_least=3.0)["fastmlp"]
        cores = usable_cores()
        return round(WORKS[work].gflop / seconds / roof_gflops(dtype, cores), 3)

    track_share_of_roof.unit = "of the FMA roof"
