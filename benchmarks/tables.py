"""How good the estimator for tables is, and how fast, beside gradient boosting.

    python -m benchmarks.tables FOLDER                                 # every table there
    python -m benchmarks.tables FOLDER --models fastmlp hgb catboost --seeds 3
    python -m benchmarks.tables FOLDER --rows 1000 --seeds 5
    python -m benchmarks.tables --generated 1000 10000 100000 500000   # tables that are made up

The folder holds tables as ``NAME.csv`` or ``NAME.csv.gz``, with a header, an empty cell for a
missing value, and the target, 0 or 1, in the last column, called target. All models are given the
same raw rows and no parameter but the seed. A package that is not installed is left out.

asv imports this module wherever it looks for benchmarks: what it needs is imported where it is
used.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

#: Rows that are tested on at most.
TEST_ROWS = 20_000

#: Levels of a category at most: gradient boosting takes no more than 255.
MOST_LEVELS = 200


def as_categories(X: pd.DataFrame) -> pd.DataFrame:
    """Text columns as categories, of which rare levels are one."""
    import pandas as pd

    for name in X:
        if not pd.api.types.is_numeric_dtype(X[name]):
            common = X[name].value_counts().index[:MOST_LEVELS]
            kept = X[name].where(X[name].isin(common) | X[name].isna(), "other")
            X = X.assign(**{name: kept.astype("category")})
    return X


def tables(folder: Path) -> Iterator[tuple[str, pd.DataFrame, np.ndarray]]:
    """The tables of a folder: name, columns, target."""
    import pandas as pd

    for path in sorted(folder.glob("*.csv*")):
        X = pd.read_csv(path, low_memory=False)
        y = X.pop("target").to_numpy()
        yield path.name.split(".")[0], as_categories(X), y


def generated(n_rows: int, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """A table that is made up: steps, waves, products and levels, with gaps and noise."""
    import pandas as pd

    rng = np.random.default_rng(seed)
    n = n_rows + TEST_ROWS
    x = rng.normal(size=(n, 8))
    skewed = rng.exponential(size=(n, 3))
    zero = np.where(rng.random(n) < 0.7, 0.0, rng.lognormal(5, 1, n))
    levels = rng.integers(0, 40, n) * rng.integers(0, 2, n)
    effect = rng.normal(size=40)
    few = rng.choice(["a", "b", "c", "d"], n)
    z = (
        np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + (x[:, 3] > 0.7) * 1.5 - np.abs(x[:, 4])
        + np.log1p(skewed[:, 0]) * x[:, 5] + (zero > 150) * 2.0 + effect[levels]
        + (few == "b") * x[:, 0]
    )  # fmt: skip
    y = (z + rng.logistic(size=n) > np.median(z)).astype(int)
    X = pd.DataFrame(np.hstack([x, skewed]), columns=[f"x{j}" for j in range(11)])
    X["x6"] = X["x6"].where(rng.random(n) > 0.2)
    X["amount"], X["few"] = zero, pd.Categorical(few)
    X["place"] = pd.Categorical([f"level {k}" for k in levels])
    return X, y


def fastmlp(X: pd.DataFrame, seed: int) -> Any:
    from fastmlp import TabularMLPBinaryClassifier

    return TabularMLPBinaryClassifier(random_state=seed)


def hgb(X: pd.DataFrame, seed: int) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=seed)


def lightgbm(X: pd.DataFrame, seed: int) -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(random_state=seed, verbose=-1)


class CatBoost:
    """CatBoost with its defaults, which wants gaps of categories as a level."""

    def __init__(self, X: pd.DataFrame, seed: int) -> None:
        from catboost import CatBoostClassifier

        self._text = list(X.select_dtypes("category"))
        self._model = CatBoostClassifier(
            random_seed=seed, verbose=0, cat_features=self._text, allow_writing_files=False
        )

    def _filled(self, X: pd.DataFrame) -> pd.DataFrame:
        return X.assign(**{c: X[c].astype(object).fillna("missing") for c in self._text})

    def fit(self, X: pd.DataFrame, y: np.ndarray) -> None:
        self._model.fit(self._filled(X), y)

    def predict_proba(self, X: pd.DataFrame) -> np.ndarray:
        return np.asarray(self._model.predict_proba(self._filled(X)))


MODELS: dict[str, Callable[[pd.DataFrame, int], Any]] = {
    "fastmlp": fastmlp,
    "hgb": hgb,
    "lightgbm": lightgbm,
    "catboost": CatBoost,
}


def measure(make: Any, X: pd.DataFrame, y: np.ndarray, n_rows: int, seed: int) -> dict[str, float]:
    """One fit on at most so many rows, and its figures on others."""
    from sklearn.metrics import log_loss, roc_auc_score
    from sklearn.model_selection import train_test_split

    n_rows = min(n_rows, int(0.75 * len(y)))
    n_test = min(TEST_ROWS, len(y) - n_rows)
    train, test = train_test_split(
        np.arange(len(y)), train_size=n_rows, test_size=n_test, stratify=y, random_state=seed
    )
    model, X_test = make(X, seed), X.iloc[test]
    started = time.perf_counter()
    model.fit(X.iloc[train], y[train])
    fitted = time.perf_counter()
    p = np.asarray(model.predict_proba(X_test), np.float64)[:, 1]
    predicted = time.perf_counter()
    return {
        "auc": float(roc_auc_score(y[test], p)),
        "log_loss": float(log_loss(y[test], np.clip(p, 1e-7, 1 - 1e-7))),
        "fit_s": fitted - started,
        "predict_s": predicted - fitted,
    }


def main() -> None:
    import pandas as pd

    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--models", nargs="*", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--sets", nargs="*", help="names of tables; all by default")
    parser.add_argument("--rows", type=int, default=10_000, help="most rows to train on")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--generated", nargs="*", type=int, default=[], metavar="ROWS")
    args = parser.parse_args()
    models = [m for m in args.models if m in ("fastmlp", "hgb") or importlib.util.find_spec(m)]
    work: list[tuple[str, pd.DataFrame, np.ndarray, int]] = [
        (f"generated {n}", *generated(n), n) for n in args.generated
    ]
    if args.folder is not None:
        named = ((name, X, y, args.rows) for name, X, y in tables(args.folder))
        work += [each for each in named if not args.sets or each[0] in args.sets]
    # One epoch, for the compiler.
    fastmlp(work[0][1], 0).set_params(max_iter=1).fit(work[0][1][:200], work[0][2][:200])
    rows = []
    for name, X, y, n_rows in work:
        for model in models:
            runs = [measure(MODELS[model], X, y, n_rows, seed) for seed in range(args.seeds)]
            mean = pd.DataFrame(runs).mean()
            rows.append({"set": name, "model": model, **mean})
            print(
                f"{name:<18} {model:<9} AUC {mean['auc']:.4f}  log loss {mean['log_loss']:.4f}  "
                f"fit {mean['fit_s']:6.2f} s  predict {mean['predict_s']:5.2f} s",
                flush=True,
            )
    figures = ["auc", "log_loss", "fit_s", "predict_s"]
    print(pd.DataFrame(rows).groupby("model")[figures].mean().round(4).to_string())


if __name__ == "__main__":
    main()
