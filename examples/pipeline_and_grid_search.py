"""MLPBinaryClassifier in a scikit-learn pipeline: mixed columns, a grid search, calibration.

    python examples/pipeline_and_grid_search.py

The table is generated: customers who leave or stay, with numbers, missing cells and categories.
"""

import argparse
import sys

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fastmlp import MLPBinaryClassifier

try:
    import pandas as pd
except ImportError:
    sys.exit('This example needs pandas. Install it with: python -m pip install ".[examples]"')


def make_customers(n_rows, random_state):
    """A table of customers and whether each of them left ("left" or "stayed")."""
    rng = np.random.default_rng(random_state)
    table = pd.DataFrame(
        {
            "age": rng.integers(18, 90, n_rows).astype(float),
            "months": rng.gamma(2.0, 15.0, n_rows),
            "spend": rng.lognormal(3.5, 0.6, n_rows),
            "plan": rng.choice(["basic", "family", "business"], n_rows, p=[0.5, 0.3, 0.2]),
            "region": rng.choice(["north", "south", "east", "west"], n_rows),
        }
    )
    score = (
        1.2
        - 0.08 * table["months"]
        + 0.02 * np.abs(table["age"] - 45)
        + np.where(table["plan"] == "basic", 0.02 * table["spend"], -0.3)
        + np.where((table["region"] == "north") & (table["plan"] == "business"), 1.5, 0.0)
    )
    left = rng.random(n_rows) < 1.0 / (1.0 + np.exp(-score))
    for column in ("age", "spend"):
        table.loc[rng.random(n_rows) < 0.05, column] = np.nan
    return table, np.where(left, "left", "stayed")


def make_model():
    """Scaled numbers and one-hot categories in front of the network."""
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
    )
    network = MLPBinaryClassifier(early_stopping=True, max_iter=300, random_state=0)
    return Pipeline([("columns", columns), ("network", network)])


def report(name, model, X, y):
    p = model.predict_proba(X)[:, 1]
    positive = model.classes_[1]
    print(f"{name:<24}AUC {roc_auc_score(y == positive, p):.4f}   log loss {log_loss(y, p):.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4000, help="rows of the generated table")
    n_rows = parser.parse_args().rows

    X, y = make_customers(n_rows, random_state=0)
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    print(f"{len(X_train)} rows to learn from, {len(X_test)} held out\n{X_train.head(3)}\n")

    default = make_model().fit(X_train, y_train)

    # Each of the two worker processes gets its share of the threads from joblib.
    search = GridSearchCV(
        make_model(),
        {
            "network__hidden_layer_sizes": [(32,), (64, 32)],
            "network__alpha": [1e-4, 1e-2],
            "network__learning_rate_init": [1e-3, 1e-2],
        },
        scoring="roc_auc",
        cv=3,
        n_jobs=2,
    ).fit(X_train, y_train)
    print(f"Best of {len(search.cv_results_['params'])} settings by cross-validated AUC:")
    for parameter, value in search.best_params_.items():
        print(f"  {parameter.removeprefix('network__')} = {value}")
    print()

    calibrated = CalibratedClassifierCV(search.best_estimator_, cv=3).fit(X_train, y_train)

    report("default parameters", default, X_test, y_test)
    report("grid search", search, X_test, y_test)
    report("grid search, calibrated", calibrated, X_test, y_test)


if __name__ == "__main__":
    main()
