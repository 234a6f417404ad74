"""Train a binary classifier on a CSV file, save it, and use it on another file.

    python examples/train_csv.py FILE --target NAME [--model OUT]
    python examples/train_csv.py --predict FILE [--model MODEL] [--output OUT]

FILE has a header row and may be compressed (.gz, .bz2, .zip, .xz). Empty cells are missing values.
Columns of numbers and of text are learned as they are, by `TabularMLPBinaryClassifier`.
The target has two different values, which may be text; rows without one are left out. Training
prints the cross-validated AUC, then fits all rows and saves the model. Prediction finds the model's
columns by name, whatever their order and whatever else the file holds, and writes a CSV with a
label and a probability for each row.

Open only model files that you made: like every pickle, one can run code when it is loaded.
"""

import argparse
import os
import sys
import time
import warnings
from pathlib import Path

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.metrics import accuracy_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from fastmlp import TabularMLPBinaryClassifier

try:
    import pandas as pd
except ImportError:
    sys.exit('This example needs pandas. Install it with: python -m pip install ".[examples]"')

FORMAT = "fastmlp train_csv 2"  # what a saved model says of itself
FEWEST_ROWS = 10  # of each value of the target


class UserError(Exception):
    """Something that the person at the command line can put right."""


def read_table(path, separator):
    """The cells of a CSV file as text, missing ones as NaN.

    Text, because what a column holds is decided once, in training: a category "01" must not turn
    into the number 1 in a file where every row happens to look like a number.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # it means that data would be lost
        try:
            table = pd.read_csv(
                path,
                sep=separator,
                dtype=str,
                index_col=False,
                encoding="utf-8-sig",
                skipinitialspace=True,
            )
        except FileNotFoundError:
            raise UserError(f"{path}: there is no such file") from None
        except (OSError, EOFError, ValueError, pd.errors.ParserWarning) as error:
            raise UserError(f"{path} could not be read as CSV: {str(error).strip()}") from None
    if table.empty:
        raise UserError(f"{path} holds no rows below its header")
    return table


def quoted(names, at_most=8):
    """Names for a message, the first few of many."""
    text = ", ".join(repr(str(name)) for name in names[:at_most])
    return text if len(names) <= at_most else f"{text} and {len(names) - at_most} more"


def holds_only_numbers(column):
    return pd.to_numeric(column.dropna(), errors="coerce").notna().all()


def split_columns(table):
    """Names of the columns of numbers and of the others; empty columns are in neither."""
    filled = [name for name in table if table[name].notna().any()]
    numeric = [name for name in filled if holds_only_numbers(table[name])]
    return numeric, [name for name in filled if name not in numeric]


def select_features(table, numeric, text, path):
    """The columns that the model reads: numbers (an infinite one as missing), then text."""
    missing = [name for name in (*numeric, *text) if name not in table]
    if missing:
        raise UserError(f"{path} lacks columns that the model was trained on: {quoted(missing)}")
    wrong = [name for name in numeric if not holds_only_numbers(table[name])]
    if wrong:
        raise UserError(f"{path} has text where the model learned numbers: {quoted(wrong)}")
    numbers = table[numeric].apply(pd.to_numeric).astype(float).replace([np.inf, -np.inf], np.nan)
    return pd.concat([numbers, table[text].astype(object)], axis=1)


def read_training_data(path, target, separator):
    """Features, labels and the names of the columns of numbers and text."""
    table = read_table(path, separator)
    if target not in table:
        raise UserError(f"{path} has no column {target!r}; it has {quoted(table.columns)}")
    labels = table.pop(target)
    table, labels = table[labels.notna()], labels.dropna()
    counts = labels.value_counts().sort_index()
    if len(counts) != 2:
        raise UserError(
            f"the target must have two different values; column {target!r} of {path} has "
            f"{len(counts)}" + (f": {quoted(counts.index)}" if len(counts) else "")
        )
    if counts.min() < FEWEST_ROWS:
        raise UserError(
            f"only {counts.min()} rows of {path} have {target} = {counts.idxmin()!r}; "
            f"at least {FEWEST_ROWS} are needed"
        )
    numeric, text = split_columns(table)
    if not numeric and not text:
        raise UserError(f"{path} has no column with data beside the target")
    X = select_features(table, numeric, text, path)
    return X, labels.to_numpy(dtype=object), numeric, text


def cross_validate(model, X, y, n_folds):
    """AUC of each fold, with a line of progress for each."""
    positive = np.unique(y)[1]
    scores = []
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=0).split(X, y)
    for number, (train, test) in enumerate(folds, start=1):
        bar = "#" * number + "." * (n_folds - number)
        print(f"  [{bar}] fold {number} of {n_folds} ...", end="", flush=True)
        start = time.perf_counter()
        fitted = clone(model).fit(X.iloc[train], y[train])
        scores.append(roc_auc_score(y[test] == positive, fitted.predict_proba(X.iloc[test])[:, 1]))
        print(f"  AUC {scores[-1]:.4f}  {time.perf_counter() - start:.1f} s", flush=True)
    return np.array(scores)


def train(path, target, model_path, n_folds, separator):
    """Report the cross-validated AUC of a model on a file, fit it on all rows and save it."""
    if not model_path.parent.is_dir():
        raise UserError(f"{model_path}: there is no folder {str(model_path.parent)!r} to save in")
    X, y, numeric, text = read_training_data(path, target, separator)
    positive = np.unique(y)[1]
    share = (y == positive).mean()
    print(f"{path}: {len(y)} rows, {len(numeric)} columns of numbers, {len(text)} of text")
    print(f"{target} = {positive!r} in {share:.1%} of the rows")

    print(f"Cross-validation in {n_folds} folds")
    model = TabularMLPBinaryClassifier(categorical_features=text, random_state=0)
    scores = cross_validate(model, X, y, n_folds)
    print(f"AUC {scores.mean():.4f}, standard deviation over the folds {scores.std():.4f}")

    start = time.perf_counter()
    model.fit(X, y)
    print(f"Fit on all rows: {time.perf_counter() - start:.1f} s, {model.n_iter_} epochs")
    save(
        {"format": FORMAT, "target": target, "numeric": numeric, "text": text, "model": model},
        model_path,
    )
    print(f"Model saved to {model_path}")


def save(content, path):
    """Write a model file, leaving an older one whole if that fails half-way."""
    partial = path.with_name(path.name + ".part")
    try:
        joblib.dump(content, partial)
        os.replace(partial, path)
    except OSError as error:
        raise UserError(f"the model could not be saved: {error}") from None


def load(path):
    """The content of a model file that this script saved."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such model; train one first, with FILE and --target")
    try:
        content = joblib.load(path)
    except Exception as error:  # damaged bytes can make the unpickler raise anything
        raise UserError(f"{path} could not be read as a model: {error!r}") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path} is not a model that this script saved")
    return content


def report_quality(truth, labels, p, classes):
    """Print how good predictions are on the rows whose label is known, if both values occur."""
    known = np.isin(truth.astype(str), classes.astype(str))
    positive = truth[known] == classes[1]
    if 0 < positive.sum() < len(positive):
        auc = roc_auc_score(positive, p[known])
        accuracy = accuracy_score(truth[known], labels[known])
        print(f"On the {known.sum()} labelled rows: AUC {auc:.4f}, accuracy {accuracy:.4f}")


def predict(path, model_path, output_path, separator):
    """Write the model's label and probability for each row of a file."""
    saved = load(model_path)
    model, target = saved["model"], saved["target"]
    table = read_table(path, separator)
    X = select_features(table, saved["numeric"], saved["text"], path)
    positive = str(model.classes_[1])
    labels, p = model.predict(X), model.predict_proba(X)[:, 1]
    share = (labels == positive).mean()
    print(f"{path}: {len(X)} rows, {target} = {positive!r} predicted for {share:.1%} of them")
    if target in table:
        report_quality(table[target].to_numpy(dtype=object), labels, p, model.classes_)
    result = pd.DataFrame({"prediction": labels, f"probability of {positive}": p})
    try:
        result.to_csv(output_path, index=False)
    except OSError as error:
        raise UserError(f"the predictions could not be saved: {error}") from None
    print(f"Predictions saved to {output_path}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", metavar="FILE", nargs="?", help="rows to learn from")
    parser.add_argument("--target", metavar="NAME", help="the column to predict")
    parser.add_argument("--predict", metavar="FILE", help="rows to predict with the saved model")
    parser.add_argument(
        "--model",
        metavar="FILE",
        type=Path,
        default=Path("model.joblib"),
        help="the saved model (default: %(default)s)",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        default="predictions.csv",
        help="where predictions go (default: %(default)s)",
    )
    parser.add_argument(
        "--folds",
        type=int,
        default=5,
        choices=range(2, FEWEST_ROWS + 1),
        metavar="N",
        help="of the cross-validation (default: %(default)s)",
    )
    parser.add_argument("--separator", default=",", help="between cells, such as ';' or '\\t'")
    options = parser.parse_args()
    if options.file is None and options.predict is None:
        parser.error("name a FILE to learn from, or one to --predict")
    if options.file is not None and options.target is None:
        parser.error("--target must name the column to predict")
    separator = options.separator.replace("\\t", "\t")

    try:
        if options.file is not None:
            train(options.file, options.target, options.model, options.folds, separator)
        if options.predict is not None:
            predict(options.predict, options.model, options.output, separator)
    except UserError as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()
