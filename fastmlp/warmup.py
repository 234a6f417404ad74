"""Compiles all kernels ahead of time: ``python -m fastmlp.warmup``.

The first fit of a machine waits some seconds for the compiler. For a container image, run this when
the image is built, on a CPU of the kind that it will run on: the compiled code is kept where every
later process looks for it (NUMBA_CACHE_DIR, if it is set, else the package's folder, else the
user's cache).
"""

from __future__ import annotations

import sys
import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPBinaryClassifier
from fastmlp.runtime import cache


def main() -> int:
    """Compile, and say where to; the exit status is 1 where nothing can be kept."""
    if not cache.enabled():
        print("FASTMLP_CACHE=0 says that compiled code is not kept.", file=sys.stderr)
        return 1
    X, y = np.eye(4), [0, 1, 0, 1]
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            # One compiled function trains, evaluates and predicts in float32 and in float64.
            MLPBinaryClassifier((2,), max_iter=1).fit(X, y)
        except RuntimeWarning as problem:
            print(problem, file=sys.stderr)
            return 1
    print(f"Compiled in {time.perf_counter() - started:.1f} s.")
    folders = [folder for folder in cache.folders() if any(folder.glob("fastmlp.*.bin"))]
    print("Compiled code is in", *folders)
    return 0


if __name__ == "__main__":
    sys.exit(main())
