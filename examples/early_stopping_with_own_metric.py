"""Stop training by a measure of your own, on validation rows of your own, and draw the curves.

    python examples/early_stopping_with_own_metric.py --picture curves.png

A shop writes to customers: a letter costs 1, and one in six customers who get it answers and brings
6 (generated data). What counts is the profit of writing to all whose probability is above 1/6. The
same network is trained three times, and stopped by accuracy, by the loss, and by that profit. The
picture needs matplotlib.
"""

import argparse

import numpy as np
from sklearn.datasets import make_classification
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPBinaryClassifier, TrainingCurveDisplay

COST, GAIN = 1.0, 6.0


def profit_of(answers, probabilities):
    """Profit for each customer, of writing to those who are worth a letter."""
    written = probabilities > COST / GAIN
    return float(np.mean(written * (GAIN * answers - COST)))


def profit(estimator, X, y):
    """The same as scikit-learn's scorers have it: an estimator, rows and labels."""
    return profit_of(y, estimator.predict_proba(X)[:, 1])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=12_000)
    parser.add_argument("--picture", help="file for the curves of the network stopped by profit")
    options = parser.parse_args()

    X, y = make_classification(
        options.rows, 30, n_informative=10, weights=[5 / 6], flip_y=0.1, class_sep=0.8,
        random_state=0,
    )  # fmt: skip
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.4, random_state=0, stratify=y)
    X_train, X_val, y_train, y_val = train_test_split(
        X, y, test_size=0.3, random_state=0, stratify=y
    )
    scaler = StandardScaler().fit(X_train)

    print(
        f"{'stopped by':<12}{'epochs':>8}{'best':>6}{'accuracy':>10}{'log loss':>10}{'profit':>9}"
    )
    for name, scoring in (("accuracy", None), ("loss", "loss"), ("profit", profit)):
        network = MLPBinaryClassifier(
            (64, 64), early_stopping=True, scoring=scoring, max_iter=100, random_state=0
        )
        network.fit(scaler.transform(X_train), y_train, X_val=scaler.transform(X_val), y_val=y_val)
        p = network.predict_proba(scaler.transform(X_test))[:, 1]
        print(
            f"{name:<12}{network.n_iter_:>8}{network.best_epoch_ + 1:>6}"
            f"{accuracy_score(y_test, p > 0.5):>10.4f}{log_loss(y_test, p):>10.4f}"
            f"{profit_of(y_test, p):>9.4f}"
        )
    everyone = profit_of(y_test, np.ones(len(y_test)))
    print(f"\nWriting to everyone brings {everyone:.4f} a customer, on the same test rows.")
    model = make_pipeline(scaler, network)
    if options.picture:
        display = TrainingCurveDisplay.from_estimator(model, name="Stopped by profit")
        display.figure_.savefig(options.picture, dpi=150)
        print(f"The curves are in {options.picture}.")


if __name__ == "__main__":
    main()
