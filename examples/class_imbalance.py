"""A rare class: weights of classes beside a lower threshold, and what either does to probabilities.

    python examples/class_imbalance.py

One row in fifty is of class 1 (generated data). Weights make a model that says 1 more often. So
does a lower threshold for a model without weights, whose probabilities stay what they say.
"""

import argparse

import numpy as np
from sklearn.datasets import make_classification
from sklearn.metrics import average_precision_score, precision_score, recall_score, roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPBinaryClassifier

WEIGHTS = {"none": None, "balanced": "balanced", "1 : 10": {0: 1.0, 1: 10.0}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    options = parser.parse_args()

    X, y = make_classification(
        options.rows, 20, n_informative=8, weights=[0.98], flip_y=0.01, random_state=0
    )
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    print(f"{y_test.mean():.1%} of {len(y_test)} test rows are of class 1.\n")
    print(
        f"{'weights':<12}{'threshold':>10}{'AUC':>8}{'av. prec.':>11}{'recall':>8}{'precision':>11}"
        f"{'mean of p':>11}"
    )
    for name, class_weight in WEIGHTS.items():
        model = make_pipeline(
            StandardScaler(),
            MLPBinaryClassifier(
                (32,), class_weight=class_weight, early_stopping=True, scoring="loss",
                random_state=0,
            ),
        ).fit(X_train, y_train)  # fmt: skip
        p = model.predict_proba(X_test)[:, 1]
        thresholds = [0.5]
        if class_weight is None:
            # So low that as many rows as there are of class 1 are called 1.
            thresholds.append(float(np.quantile(model.predict_proba(X_train)[:, 1], 0.98)))
        for threshold in thresholds:
            called = p > threshold
            print(
                f"{name:<12}{threshold:>10.3f}{roc_auc_score(y_test, p):>8.4f}"
                f"{average_precision_score(y_test, p):>11.4f}{recall_score(y_test, called):>8.3f}"
                f"{precision_score(y_test, called, zero_division=0):>11.3f}{p.mean():>11.4f}"
            )
    print(
        "\nWeights and thresholds trade precision for recall; what weights do to the order of the"
        "\nrows, by AUC and average precision, can go either way. The mean of p is near the true"
        "\nrate without weights, and far above it with them: where probabilities are used, move the"
        "\nthreshold, or calibrate."
    )


if __name__ == "__main__":
    main()
