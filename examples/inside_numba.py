"""Call a trained network from compiled code of your own, row by row and without Python.

    python examples/inside_numba.py                     # --walkers 20000

The network learns from samples whether a point of the plane lies in a ring. A random walk that
numba compiles then asks it at every step: each walker goes on until it is in the ring, or gives up.
predict_proba, which wants many rows at once, could not be called there at all.
"""

import argparse
import time

import numba
import numpy as np
from sklearn.metrics import roc_auc_score

from fastmlp import MLPBinaryClassifier


def points(n_points, seed):
    """Points of the plane, and whether they are between 1 and 2 from the origin."""
    X = np.random.default_rng(seed).uniform(-3.0, 3.0, (n_points, 2))
    distance = np.hypot(X[:, 0], X[:, 1])
    return X, (distance > 1.0) & (distance < 2.0)


@numba.njit(parallel=True)
def steps_until_inside(probability, moves):
    """Steps that each walker takes until the network is sure that it is in the ring.

    `probability` is a function of one row: what is compiled for one serves every network. `moves`
    has the steps of each walker.
    """
    n_walkers, most_steps = moves.shape[:2]
    steps = np.full(n_walkers, most_steps)
    for walker in numba.prange(n_walkers):
        at = np.zeros(2)
        for step in range(most_steps):
            if probability(at) > 0.9:
                steps[walker] = step
                break
            at += moves[walker, step]
    return steps


@numba.njit
def score_all(probability, X):
    """What predict_proba computes, one row after another."""
    result = np.empty(len(X))
    for row in range(len(X)):
        result[row] = probability(X[row])
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--walkers", type=int, default=2000, help="random walks")
    n_walkers = parser.parse_args().walkers

    model = MLPBinaryClassifier((50,), max_iter=300, learning_rate_init=0.01, random_state=0)
    model.fit(*points(4000, seed=0))
    X, y = points(2000, seed=1)
    expected = model.predict_proba(X)[:, 1]
    print(f"AUC {roc_auc_score(y, expected):.4f}")

    probability = model.as_numba()
    score_all(probability, X)  # compiles
    start = time.perf_counter()
    found = score_all(probability, X)
    nanoseconds = 1e9 * (time.perf_counter() - start) / len(X)
    print(f"equal to predict_proba in {np.mean(found == expected):.0%} of the rows")
    print(f"{nanoseconds:.0f} ns a row")

    moves = np.random.default_rng(2).normal(0.0, 0.2, (n_walkers, 500, 2))
    steps = steps_until_inside(probability, moves)
    print(f"{n_walkers} walkers took {steps.mean():.1f} steps on average, {steps.max()} at most")


if __name__ == "__main__":
    main()
