"""Train with an activation function of your own, compiled into the training step.

    python examples/own_activation.py

The class of a point depends on the phase of a wave (generated data), a pattern that goes on outside
of the training range. Units that are waves themselves can go on with it, and those with straight
ends can not. Sines in hidden layers: V. Sitzmann et al., "Implicit neural representations with
periodic activation functions", NeurIPS 2020.
"""

import argparse
import math

import numba
import numpy as np

from fastmlp import Activation, MLPBinaryClassifier


@numba.njit
def sine(z):
    """g(z)."""
    return math.sin(z)


@numba.njit
def cosine(z):
    """g′(z), which is held to g when the activation is made."""
    return math.cos(z)


def waves(n, low, high, rng):
    """Points of a range, and whether the wave is above zero there; some labels are wrong."""
    x = rng.uniform(low, high, n)
    y = np.sin(3.0 * x) > 0
    wrong = rng.random(n) < 0.03
    return x[:, None], y ^ wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--starts", type=int, default=4, help="random starts, the best is kept")
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    X, y = waves(options.rows, -4.0, 4.0, rng)
    tests = {"within": waves(2000, -4.0, 4.0, rng), "beyond": waves(2000, 4.0, 6.0, rng)}
    print("Accuracy; 0.97 is the most that the labels allow\n")
    print(f"{'activation':<26}{'within':>8}{'beyond':>8}{'epochs':>8}")
    for activation in ("relu", "tanh", "gelu", Activation(sine, cosine)):
        model = MLPBinaryClassifier(
            (32, 32), activation=activation, learning_rate_init=0.02, learning_rate="cosine",
            max_iter=60, n_iter_no_change=60, n_init=options.starts, random_state=0,
        ).fit(X, y)  # fmt: skip
        scores = [model.score(*rows) for rows in tests.values()]
        print(f"{activation!s:<26}{scores[0]:>8.3f}{scores[1]:>8.3f}{model.n_iter_:>8}")


if __name__ == "__main__":
    main()
