"""Train MLPBinaryClassifier beside scikit-learn's MLPClassifier and compare them.

    python examples/quickstart.py

Two sets that ship with scikit-learn: breast cancer (569 rows, 30 features) and the handwritten
digits as a two-class problem, "is it 5 or more?" (1,797 rows, 64 features). Both models get the
same rows, parameters and random_state. Nothing is downloaded.
"""

import argparse
import time

import numpy as np
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPBinaryClassifier

PARAMETERS = {"hidden_layer_sizes": (100,), "max_iter": 1000, "random_state": 0}
MODELS = {"scikit-learn": MLPClassifier, "fastmlp": MLPBinaryClassifier}


def load_sets():
    """Name, features and 0/1 target of each set."""
    cancer = load_breast_cancer()
    digits = load_digits()
    return [
        ("breast cancer", cancer.data, cancer.target),
        ("digits, 5 or more", digits.data, (digits.target >= 5).astype(int)),
    ]


def first_fit_seconds():
    """Seconds that the first fit of this process takes, on next to no data.

    The kernels are compiled at their first use and then kept on disk, so this is several seconds
    the first time on a machine and well under one after that.
    """
    X, y = np.linspace(-1.0, 1.0, 40).reshape(20, 2), np.arange(20) % 2
    start = time.perf_counter()
    MLPBinaryClassifier().partial_fit(X, y, classes=[0, 1]).predict_proba(X)
    return time.perf_counter() - start


def best_fit(make_model, X, y, repeats):
    """The fitted model and the seconds of its fastest fit."""
    seconds = []
    for _ in range(repeats):
        model = make_model(**PARAMETERS)
        start = time.perf_counter()
        model.fit(X, y)
        seconds.append(time.perf_counter() - start)
    return model, min(seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="fits to take the fastest of")
    repeats = parser.parse_args().repeats

    print(f"First fit of this process, which compiles or loads: {first_fit_seconds():.2f} s")
    print("The times below are of fits after it.\n")
    print(f"{'set':<19}{'model':<14}{'AUC':>8}{'log loss':>10}{'epochs':>8}{'fit':>11}")
    for name, X, y in load_sets():
        X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
        scaler = StandardScaler().fit(X_train)
        X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
        probabilities, seconds = {}, {}
        for label, make_model in MODELS.items():
            model, seconds[label] = best_fit(make_model, X_train, y_train, repeats)
            p = probabilities[label] = model.predict_proba(X_test)[:, 1]
            print(
                f"{name:<19}{label:<14}{roc_auc_score(y_test, p):>8.4f}"
                f"{log_loss(y_test, p):>10.4f}{model.n_iter_:>8}{1e3 * seconds[label]:>8.1f} ms"
            )
        gap = np.abs(probabilities["fastmlp"] - probabilities["scikit-learn"]).max()
        ratio = seconds["scikit-learn"] / seconds["fastmlp"]
        print(f"  {ratio:.1f} times as fast; probabilities differ by at most {gap:.0e}\n")


if __name__ == "__main__":
    main()
