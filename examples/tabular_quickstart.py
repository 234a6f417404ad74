"""A raw table with text and gaps, learned as it is: fastmlp's networks beside gradient boosting.

    python examples/tabular_quickstart.py

The table is made up: customers of a lender, of whom some do not pay back. Its columns have other
scales and gaps, one is zero for most rows, and one has many levels, some of which appear only when
the model is used.
"""

import time

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import train_test_split

from fastmlp import TabularMLPBinaryClassifier

try:
    import pandas as pd
except ImportError:
    raise SystemExit('This example needs pandas: python -m pip install ".[examples]"') from None


def customers(n, rng):
    """Columns of n customers, and whether each failed to pay back."""
    age = rng.normal(45, 14, n).clip(18, 90).round()
    income = rng.lognormal(10, 0.6, n)
    debt = np.where(rng.random(n) < 0.6, 0.0, rng.lognormal(8, 1, n))
    months = rng.integers(0, 240, n)
    job = rng.choice(["clerk", "cook", "driver", "nurse", "teacher", "smith"], n)
    town = rng.zipf(1.5, n).clip(1, 200)
    z = (
        2.0 * debt / income - 0.02 * months + (debt > 5000) * (age < 35) * 2.0
        + np.abs(age - 50) / 15 + np.isin(job, ["driver", "smith"]) * 1.0 + np.sin(town) - 0.5
    )  # fmt: skip
    failed = rng.random(n) < 1 / (1 + np.exp(-z))
    X = pd.DataFrame({
        "age": age, "income": income.round(2), "debt": debt.round(2), "months": months,
        "job": pd.Series(job).where(rng.random(n) > 0.1), "town": [f"town {k}" for k in town],
    })  # fmt: skip
    X["income"] = X["income"].where(rng.random(n) > 0.15)
    return X, np.where(failed, "failed", "paid")


def main():
    X, y = customers(12_000, np.random.default_rng(0))
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, random_state=0)
    print(X_train.head(4).to_string(), "\n")

    def categories(table):
        # Gradient boosting knows text only as categories, and takes no more than 255 levels.
        towns = X_train["town"].value_counts().index[:200]
        table = table.assign(town=table["town"].where(table["town"].isin(towns)))
        return table.astype({"job": "category", "town": pd.CategoricalDtype(towns)})

    networks = TabularMLPBinaryClassifier(random_state=0)
    # The first fit on a machine compiles the kernels, which is not part of the comparison.
    TabularMLPBinaryClassifier(max_iter=1).fit(X_train[:100], y_train[:100])
    trees = HistGradientBoostingClassifier(random_state=0)
    for name, model, prepare in (
        ("networks", networks, lambda table: table),
        ("gradient boosting", trees, categories),
    ):
        start = time.perf_counter()
        model.fit(prepare(X_train), y_train)
        seconds = time.perf_counter() - start
        p = model.predict_proba(prepare(X_test))[:, 1]
        print(
            f"{name:<18} AUC {roc_auc_score(y_test == 'paid', p):.4f}  "
            f"log loss {log_loss(y_test == 'paid', p):.4f}  fit {seconds:.1f} s"
        )

    print("\nWhat the columns became:")
    for name, words in networks.columns_.items():
        print(f"  {name:<7} {words}")
    unseen = roc_auc_score(y_train == "paid", networks.oof_probabilities_[:, 1])
    print(f"\nAUC of the training rows, each from the network that had not seen it: {unseen:.4f}")


if __name__ == "__main__":
    main()
