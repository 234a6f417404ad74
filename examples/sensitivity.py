"""Rank features by how much they move the logit, beside permutation importance.

    python examples/sensitivity.py

The breast cancer data that ships with scikit-learn, 30 features that hang together closely.
"""

import argparse

import numpy as np
from scipy.stats import spearmanr
from sklearn.datasets import load_breast_cancer
from sklearn.inspection import permutation_importance
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPBinaryClassifier


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--features", type=int, default=10, help="rows of the table")
    parser.add_argument("--repeats", type=int, default=10, help="permutations of each feature")
    options = parser.parse_args()

    data = load_breast_cancer()
    X_train, X_test, y_train, y_test = train_test_split(
        data.data, data.target, random_state=0, stratify=data.target
    )
    # Scaled alike, or a feature in small units would seem to matter much.
    scaler = StandardScaler().fit(X_train)
    X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
    model = MLPBinaryClassifier(
        (50,),
        activation="gelu",
        weight_decay=0.1,
        alpha=0,
        max_iter=150,
        learning_rate="cosine",
        random_state=0,
    ).fit(X_train, y_train)

    gradient = model.input_gradient(X_test)
    moves = np.abs(gradient).mean(axis=0)
    importance = permutation_importance(
        model, X_test, y_test, scoring="neg_log_loss", n_repeats=options.repeats, random_state=0
    ).importances_mean

    print(f"Accuracy on {len(y_test)} test rows: {model.score(X_test, y_test):.3f}\n")
    print(f"{'feature':<26}{'|∂z/∂x|':>9}{'sign':>6}{'loss without it':>18}{'rank':>6}")
    ranks = np.argsort(np.argsort(-importance)) + 1
    for j in np.argsort(-moves)[: options.features]:
        sign = "+" if gradient[:, j].mean() > 0 else "−"
        print(
            f"{data.feature_names[j]:<26}{moves[j]:>9.3f}{sign:>6}{importance[j]:>+18.4f}"
            f"{ranks[j]:>6}"
        )
    print(f"\nRank correlation of the two: {spearmanr(moves, importance).statistic:.2f}")
    print(
        "The gradient says how far the logit moves where one feature moves a little and the others"
        "\nstay. Permutation says how much worse the model gets where a feature's values are mixed"
        "\nup: of two that say the same, each stands in for the other, and neither seems to matter."
    )


if __name__ == "__main__":
    main()
