"""How many times faster than what a user would pick instead: ratios outlive a machine.

Both sides take turns in one process on the same data. torch and jax take part where they are
installed.
"""

from .common import Benchmark
from .peers import CONTESTANTS, best_seconds, takes_part
from .works import DTYPES, WORKS


class _Speedup(Benchmark):
    unit = "times faster"
    peer = None

    def setup(self, work, dtype="float32"):
        if not takes_part(self.peer, dtype):
            raise NotImplementedError(f"{self.peer} is not installed")

    def track_speedup(self, work, dtype="float32"):
        X, y, _, _ = WORKS[work].data(dtype)
        runs = {name: CONTESTANTS[name](WORKS[work], X, y) for name in (self.peer, "fastmlp")}
        seconds = best_seconds(runs, repetitions=5, at_least=3.0)
        return round(seconds[self.peer] / seconds["fastmlp"], 2)


class OverScikitLearn(_Speedup):
    """Over MLPClassifier."""

    peer = "scikit-learn"
    param_names = ("work", "dtype")
    params = (tuple(WORKS), DTYPES)


class OverTorch(_Speedup):
    """Over PyTorch's eager modules, in float32."""

    peer = "torch"
    param_names = ("work",)
    params = (tuple(WORKS),)


class OverJax(_Speedup):
    """Over JAX with the whole epoch compiled, in float32."""

    peer = "jax"
    param_names = ("work",)
    params = (tuple(WORKS),)
