"""What a new process waits for: the import, the first fit, and the first use of anything else.

Every sample is a process of its own. The cold ones get an empty folder for compiled code.
"""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from .common import Benchmark
from .works import DTYPES

#: Compiled code of the warm benchmarks, in the folder that asv keeps between them.
_WARM = Path("compiled")

#: Seconds that a benchmark may take. All is compiled here, which takes a slow machine minutes.
TIMEOUT = 1800

_COLD_FOLDER = """
    import os, tempfile
    folder = tempfile.TemporaryDirectory()
    os.environ["NUMBA_CACHE_DIR"] = folder.name
"""

_DATA = """
    import warnings
    import numpy as np
    warnings.simplefilter("ignore")
    X = np.random.default_rng(0).standard_normal((1000, 20)).astype("{dtype}")
    y = (X[:, 0] > 0).astype(int)
"""

_FIT = """
    from fastmlp import MLPBinaryClassifier
    MLPBinaryClassifier(max_iter=1).fit(X, y)
"""

#: After a first fit of the default network to X of float32: settings and X of the next.
_NEXT_FITS = {
    "the same again": ("", "X"),
    "float64 after float32": ("", "X.astype('float64')"),
    "tanh after relu": ("activation='tanh'", "X"),
    "CSR after dense": ("", "sparse.csr_matrix(np.where(X > 1, X, 0))"),
    "int8 after float32": ("", "(20 * X).astype('int8')"),
}

_BEFORE_NEXT_FIT = """
    from scipy import sparse
    from fastmlp import MLPBinaryClassifier
    MLPBinaryClassifier(max_iter=1).fit(X, y).predict(X)
    X_next = {X_next}
    model = MLPBinaryClassifier(max_iter=1, {settings})
"""

#: Fits after a first one, each with what the others have not used: seconds of the longest.
_LATER_FITS = """
    import itertools, json, time
    from fastmlp import MLPBinaryClassifier

    MLPBinaryClassifier(max_iter=1).fit(X, y)
    seconds = {{}}
    for activation, solver, hidden, dtype in itertools.product(
        ("identity", "logistic", "tanh", "relu"), ("adam", "sgd", "lbfgs"), ((), (8,), (8, 8, 8)),
        ("float32", "float64"),
    ):
        model = MLPBinaryClassifier(
            hidden, activation=activation, solver=solver, max_iter=1, dtype=dtype
        )
        start = time.perf_counter()
        model.fit(X, y).predict(X)
        seconds[f"{{activation}} {{solver}} {{hidden}} {{dtype}}"] = time.perf_counter() - start
    longest = max(seconds, key=seconds.get)
    print(json.dumps([longest, seconds[longest]]))
"""


def _joined(*parts):
    return "".join(textwrap.dedent(part) for part in parts)


def _run(code, **environment):
    """Standard output of a Python process."""
    return subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        timeout=TIMEOUT,
    ).stdout


class Import(Benchmark):
    """``import fastmlp``: all of it, and what it adds to the import of what it depends on."""

    params = (("all", "beyond numba and scikit-learn"),)
    param_names = ("what",)
    warmup_time = 0
    rounds = 1
    repeat = 5
    number = 1

    def timeraw_import(self, what):
        if what == "all":
            return "import fastmlp"
        return "import fastmlp", "import numba, sklearn.neural_network"


class FirstFit(Benchmark):
    """The first fit of a process: 1,000 rows of 20 features, default network, one epoch.

    cold : the fit alone, after the import, with an empty cache.
    warm : ``import fastmlp`` and the fit, after ``import sklearn.neural_network``.
    warm, with all imports : the same, with numba and scikit-learn still to be imported.
    """

    params = (("cold", "warm", "warm, with all imports"), DTYPES)
    param_names = ("cache", "dtype")
    timeout = TIMEOUT
    warmup_time = 0
    rounds = 1
    repeat = 3
    number = 1

    def setup_cache(self):
        for dtype in DTYPES:
            _run(_joined(_DATA.format(dtype=dtype), _FIT), NUMBA_CACHE_DIR=str(_WARM.absolute()))

    def timeraw_first_fit(self, cache, dtype):
        data = _DATA.format(dtype=dtype)
        if cache == "cold":
            return _joined(_FIT), _joined(_COLD_FOLDER, data, "import fastmlp\n")
        folder = f'import os\nos.environ["NUMBA_CACHE_DIR"] = {str(_WARM.absolute())!r}\n'
        imports = "import sklearn.neural_network\n" if cache == "warm" else ""
        return _joined(_FIT), _joined(folder, data, imports)


class NextFit(Benchmark):
    """First use of something else after a first fit, which began with an empty cache.

    A fit and predictions of 1,000 rows of 20 features, one epoch. The same again is the floor:
    what is above it was compiled for the new dtype, activation or kind of X.
    """

    params = (tuple(_NEXT_FITS),)
    param_names = ("what",)
    timeout = TIMEOUT
    warmup_time = 0
    rounds = 1
    repeat = 2
    number = 1

    def timeraw_next_fit(self, what):
        settings, X_next = _NEXT_FITS[what]
        before = _BEFORE_NEXT_FIT.format(settings=settings, X_next=X_next)
        return (
            "model.fit(X_next, y).predict(X_next)",
            _joined(_COLD_FOLDER, _DATA.format(dtype="float32"), before),
        )


class LaterFits(Benchmark):
    """Whether anything is compiled after the first fit: any activation, solver, depth and dtype."""

    params = (DTYPES,)
    param_names = ("dtype",)
    timeout = TIMEOUT

    def track_longest_later_fit(self, dtype):
        """Seconds of the longest fit after the first, with a cold cache and tiny networks."""
        code = _joined(_COLD_FOLDER, _DATA.format(dtype=dtype), _LATER_FITS.format())
        settings, seconds = json.loads(_run(code))
        print(f"{dtype}: {settings}", file=sys.stderr)
        return round(seconds, 3)

    track_longest_later_fit.unit = "seconds"
