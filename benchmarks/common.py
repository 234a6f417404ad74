"""What the asv benchmarks share: settings, and mixins that measure an estimator.

The layout is that of scikit-learn's asv_benchmarks. asv takes every class that is not abstract, and
every method of it whose name begins with ``time_``, ``timeraw_``, ``peakmem_`` or ``track_``, for a
benchmark. Data and fitted models are made once a commit, in `setup_cache`, and lie as files in the
current folder. A `setup` that raises NotImplementedError leaves a combination out.

asv starts a process for every number, so what these modules import at their top is small; fastmlp,
numba and scikit-learn are imported where they are used.
"""

import itertools
import pickle
import timeit
from abc import ABC, abstractmethod
from pathlib import Path

from .peers import quiet_fit
from .roof import usable_cores

#: The gain of two threads over one is what is tracked, so these are the counts on every machine.
THREADS = (1, 2)


def need_threads(threads):
    """Leave a combination out that needs more cores than there are."""
    if threads > usable_cores():
        raise NotImplementedError(f"{threads} threads need as many cores")


class Benchmark(ABC):
    """Settings of asv for all benchmarks.

    Wall-clock time counts, because threads work in parallel. No sample holds the compiler: compiled
    code is kept by `setup_cache` and loaded by `setup`.
    """

    timer = timeit.default_timer
    rounds = 2
    repeat = (3, 100, 1.0)
    warmup_time = 0.1
    timeout = 600

    @property
    @abstractmethod
    def params(self):
        """Values of each parameter."""

    @property
    @abstractmethod
    def param_names(self):
        """Names of the parameters."""


class Fitted(ABC):
    """Data, an estimator and a fitted model for each combination of parameters.

    A class that takes this has a `setup_cache` of its own that calls `make_cache`: asv would share
    an inherited one among all classes, with the parameters of the first.
    """

    @abstractmethod
    def make_data(self, *params):
        """X, y, X_test, y_test."""

    @abstractmethod
    def make_estimator(self, *params):
        """An estimator that has not been fitted."""

    def cache_key(self, *params):
        """What data and model depend on; names of files are made of it."""
        return params

    def _path(self, params, kind):
        return Path("-".join(map(str, self.cache_key(*params))) + f".{kind}")

    def make_cache(self):
        """Write data and fitted models of all combinations into the current folder."""
        for params in itertools.product(*self.params):
            data_path = self._path(params, "data")
            if data_path.exists():
                continue
            data = self.make_data(*params)
            data_path.write_bytes(pickle.dumps(data, protocol=5))
            model = self.make_estimator(*params)
            quiet_fit(model, *data[:2])
            self._path(params, "model").write_bytes(pickle.dumps(model))

    def warm_up(self):
        """Load compiled code, start threads, touch memory."""
        quiet_fit(self.estimator, self.X, self.y)

    def setup(self, *params):
        # asv calls this before every sample.
        if getattr(self, "_ready", None) == params:
            return
        data = pickle.loads(self._path(params, "data").read_bytes())
        self.X, self.y, self.X_test, self.y_test = data
        self.estimator = self.make_estimator(*params)
        self.model = pickle.loads(self._path(params, "model").read_bytes())
        self.warm_up()
        self.model.predict(self.X[:64])
        self._ready = params


class Estimator(Fitted):
    """Time of a fit."""

    def time_fit(self, *params):
        quiet_fit(self.estimator, self.X, self.y)


class Predictor(Fitted):
    """Time of predictions, for all rows at once and for a single one."""

    def time_predict(self, *params):
        self.model.predict(self.X)

    def time_predict_one_row(self, *params):
        self.model.predict(self.X[:1])


class Quality(Fitted):
    """What a fit takes and gives beside its time, so that speed bought with it shows."""

    def peakmem_fit(self, *params):
        quiet_fit(self.estimator, self.X, self.y)

    def track_auc(self, *params):
        from sklearn.metrics import roc_auc_score

        probabilities = self.model.predict_proba(self.X_test)[:, 1]
        return round(float(roc_auc_score(self.y_test, probabilities)), 5)

    track_auc.unit = "AUC"

    def track_log_loss(self, *params):
        from sklearn.metrics import log_loss

        probabilities = self.model.predict_proba(self.X_test)[:, 1].astype("float64")
        return round(float(log_loss(self.y_test, probabilities)), 5)

    track_log_loss.unit = "nats"
