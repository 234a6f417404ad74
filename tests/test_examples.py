"""Each example, README.md's included, runs as its user would run it; what it prints is checked."""

import csv
import gzip
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest

import fastmlp

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(script, *arguments, folder=None, succeeds=True):
    """What an example prints, standard error included, which must hold no warning."""
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / script), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONUTF8": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=600,
        check=False,
    )
    assert (result.returncode == 0) == succeeds, result.stdout
    assert "Traceback" not in result.stdout, result.stdout
    assert "Warning" not in result.stdout, result.stdout
    return result.stdout


def test_readme(tmp_path):
    text = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    outputs = []
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        script = tmp_path / "readme.py"
        script.write_text(code, encoding="utf-8")
        outputs.append([float(x) for x in re.findall(r"[01]\.\d*", run(script))])
    areas, probabilities = outputs
    assert len(areas) == 5
    assert min(areas) > 0.98
    assert len(probabilities) == 4
    assert probabilities[1] > 0.5 > probabilities[3]  # of "yes", for a "yes" and for a "no"


def numbers_after(label, output):
    return [float(x) for x in re.findall(rf"{label}\s+([0-9.e+-]+)", output, re.MULTILINE)]


def test_dask_cluster():
    pytest.importorskip("distributed")
    output = run("dask_cluster.py", "--rows", 40_000)
    assert "killing the worker" in output
    assert "The same bits: True" in output


def test_quickstart():
    output = run("quickstart.py", "--repeats", 1)
    rows = re.findall(
        r"(breast cancer|digits, 5 or more)\s+(scikit-learn|fastmlp)"
        r"\s+([0-9.]+)\s+([0-9.]+)\s+([0-9]+)\s+([0-9.]+) ms",
        output,
    )
    assert [row[:2] for row in rows] == [
        (name, model)
        for name in ("breast cancer", "digits, 5 or more")
        for model in ("scikit-learn", "fastmlp")
    ]
    for theirs, ours in (rows[:2], rows[2:]):
        assert float(ours[2]) > 0.98
        assert float(ours[2]) == pytest.approx(float(theirs[2]), abs=0.002)
        assert float(ours[3]) == pytest.approx(float(theirs[3]), abs=0.01)
    assert re.search(r"First fit of this process.*: [0-9.]+ s", output)


def test_pipeline_and_grid_search():
    output = run("pipeline_and_grid_search.py", "--rows", 1500)
    assert "Best of 8 settings" in output
    for parameter in ("alpha", "hidden_layer_sizes", "learning_rate_init"):
        assert re.search(rf"^  {parameter} = \S", output, re.MULTILINE)
    areas = numbers_after("AUC", output)
    losses = numbers_after("log loss", output)
    assert len(areas) == len(losses) == 3
    assert min(areas) > 0.75
    assert max(losses) < np.log(2.0)


def test_export_onnx(tmp_path):
    pytest.importorskip("skl2onnx")
    pytest.importorskip("onnxruntime")
    output = run("export_onnx.py", "--output", "ring.onnx", folder=tmp_path)
    assert (tmp_path / "ring.onnx").stat().st_size > 4 * 30 * 100
    assert re.search(r"^  X\n  label\n  probabilities$", output, re.MULTILINE)
    (right,) = re.findall(r"right about ([0-9.]+)%", output)
    assert float(right) > 94
    (gap,) = numbers_after("differ from predict_proba by at most", output)
    assert gap < 1e-6
    assert f"written by fastmlp {fastmlp.__version__}" in output


def test_inside_numba():
    output = run("inside_numba.py", "--walkers", 500)
    (auc,) = numbers_after("AUC", output)
    assert auc > 0.99
    assert "equal to predict_proba in 100% of the rows" in output
    (steps,) = re.findall(r"500 walkers took ([0-9.]+) steps on average", output)
    assert 5 < float(steps) < 50  # (1 / 0.2)² / 2 to go a distance of 1


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
def test_derivation(activation):
    output = run("derivation.py", "--activation", activation, "--steps", 100)
    for block in ("∂z⁽²⁾/∂a⁽¹⁾ = W⁽²⁾", "diag(g′(z⁽¹⁾))", "δ⁽³⁾ = ŷ − y", "δ⁽²⁾ = ", "δ⁽¹⁾ = "):
        assert block in output
    (loss,) = numbers_after(r"^  loss", output)
    (recursion,) = numbers_after("the recursion above", output)
    (chain,) = numbers_after("the explicit chain of blocks", output)
    (differences,) = numbers_after("central finite differences", output)
    assert max(loss, recursion, chain) < 1e-12
    assert differences < 1e-6
    losses = numbers_after(r"step +\d+ +ℒ =", output)
    assert len(losses) == 5
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.6


@pytest.fixture(scope="module")
def table():
    """Rows with numbers and gaps, a category that looks like a number, and a text target."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(1000):
        size, code = rng.normal(), rng.choice(["01", "02", "none"])
        score = 3.0 * size + (2.0 if code == "01" else -1.0) + 0.5 * rng.normal()
        rows.append(
            {
                "size": "" if rng.random() < 0.05 else f"{size:.4f}",
                "code": code,
                "nothing": "",
                "bought": "yes" if score > 0.0 else "no",
            }
        )
    return rows


def write_csv(path, rows, columns=None):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory):
    """A folder with a model that the example trained on 800 rows, and what it printed."""
    folder = tmp_path_factory.mktemp("trained")
    write_csv(folder / "train.csv.gz", table[:800])
    output = run("train_csv.py", "train.csv.gz", "--target", "bought", "--folds", 3, folder=folder)
    return folder, output


def test_train_csv_reports_and_saves(trained):
    folder, output = trained
    assert "800 rows, 1 columns of numbers, 1 of text" in output
    assert re.search(r"bought = 'yes' in \d+\.\d% of the rows", output)
    folds = re.findall(r"\[[#.]{3}\] fold (\d) of 3 \.\.\.  AUC ([0-9.]+)", output)
    assert [number for number, _ in folds] == ["1", "2", "3"]
    assert min(float(auc) for _, auc in folds) > 0.9
    assert "Model saved to model.joblib" in output
    assert (folder / "model.joblib").is_file()


def test_train_csv_predicts_with_the_saved_model(trained, table):
    """The columns may come in another order, and a category may be new."""
    folder, _ = trained
    rows = [dict(row) for row in table[800:]]
    rows[0]["code"] = "never seen"
    write_csv(folder / "new.csv", rows, ["bought", "code", "size"])
    output = run("train_csv.py", "--predict", "new.csv", "--output", "out.csv", folder=folder)
    (auc,) = numbers_after("AUC", output)
    assert auc > 0.9
    with open(folder / "out.csv", newline="", encoding="utf-8") as file:
        predictions = list(csv.DictReader(file))
    assert len(predictions) == len(rows)
    right = 0
    for row, prediction in zip(rows, predictions, strict=True):
        p = float(prediction["probability of yes"])
        assert prediction["prediction"] == ("yes" if p > 0.5 else "no")
        right += prediction["prediction"] == row["bought"]
    assert right > 0.85 * len(rows)


def test_train_csv_takes_another_separator(tmp_path, table):
    path = write_csv(tmp_path / "table.csv", table)
    path.write_text(path.read_text(encoding="utf-8").replace(",", ";"), encoding="utf-8")
    output = run(
        *("train_csv.py", path, "--target", "bought", "--separator", ";", "--folds", 2),
        folder=tmp_path,
    )
    assert "Model saved" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.csv", "--target", "bought"], "absent.csv: there is no such file"),
        (["train.csv.gz", "--target", "sold"], "no column 'sold'; it has 'size', 'code'"),
        (["train.csv.gz", "--target", "code"], "must have two different values; column 'code'"),
        (["train.csv.gz", "--target", "nothing"], "has 0"),
        (["few.csv", "--target", "bought"], "at least 10 are needed"),
        (["header.csv", "--target", "bought"], "no rows below its header"),
        (["empty.csv", "--target", "bought"], "could not be read as CSV"),
        (["ragged.csv", "--target", "bought"], "could not be read as CSV"),
        (["train.csv.gz"], "--target must name the column"),
        (["train.csv.gz", "--target", "bought", "--model", "no/m"], "there is no folder 'no'"),
        ([], "name a FILE to learn from"),
        (["--predict", "few.csv", "--model", "none.joblib"], "there is no such model"),
        (["--predict", "few.csv", "--model", "few.csv"], "could not be read as a model"),
        (["--predict", "few.csv", "--model", "cut.joblib"], "could not be read as a model"),
        (["--predict", "few.csv", "--model", "other.joblib"], "not a model that this script saved"),
        (["--predict", "narrow.csv"], "lacks columns that the model was trained on: 'code'"),
        (["--predict", "words.csv"], "text where the model learned numbers: 'size'"),
    ],
)
def test_train_csv_says_what_is_wrong(trained, table, arguments, message, monkeypatch, capsys):
    folder, _ = trained
    write_csv(folder / "few.csv", table[:10])
    write_csv(folder / "header.csv", [], list(table[0]))
    write_csv(folder / "narrow.csv", table, ["size", "bought"])
    write_csv(folder / "words.csv", [{**row, "size": "large"} for row in table])
    (folder / "empty.csv").write_text("")
    (folder / "ragged.csv").write_text("size,bought\n1,yes\n2,no,3\n")
    (folder / "cut.joblib").write_bytes((folder / "model.joblib").read_bytes()[:500])
    joblib.dump([1, 2], folder / "other.joblib")

    # In this process, because starting a new one takes longer than all these checks together.
    example = runpy.run_path(str(EXAMPLES / "train_csv.py"))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["train_csv.py", *arguments])
    with pytest.raises(SystemExit) as stop:
        example["main"]()
    assert message in str(stop.value.code) + capsys.readouterr().err
    assert (folder / "model.joblib").is_file()


def test_train_csv_fails_with_a_message_and_a_status(tmp_path):
    output = run("train_csv.py", "absent.csv", "--target", "y", folder=tmp_path, succeeds=False)
    assert output.strip() == "train_csv.py: absent.csv: there is no such file"


def test_early_stopping_with_own_metric(tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "curves.png"
    output = run("early_stopping_with_own_metric.py", "--rows", 3000, "--picture", picture)
    rows = re.findall(r"^(accuracy|loss|profit) +(\d+) +(\d+) +(\S+) +(\S+) +(\S+)$", output, re.M)
    assert [row[0] for row in rows] == ["accuracy", "loss", "profit"]
    assert all(int(best) <= int(epochs) for _, epochs, best, *_ in rows)
    assert all(float(profit) > 0 for *_, profit in rows)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_class_imbalance():
    output = run("class_imbalance.py", "--rows", 6000)
    rows = re.findall(
        r"^(none|balanced|1 : 10) +(\S+) +(\S+) +(\S+) +(\S+) +(\S+) +(\S+)$", output, re.M
    )
    assert [row[0] for row in rows] == ["none", "none", "balanced", "1 : 10"]
    rates = [float(row[-1]) for row in rows]
    assert abs(rates[0] - 0.025) < 0.02
    assert min(rates[2:]) > 2 * rates[0]
    recalls = [float(row[4]) for row in rows]
    assert min(recalls[1:3]) > recalls[0]


def test_sensitivity():
    output = run("sensitivity.py", "--features", 5, "--repeats", 3)
    (accuracy,) = numbers_after("test rows:", output)
    assert accuracy > 0.9
    rows = re.findall(r"^[a-z ]+ +(\d\.\d+) +[+−] +[+-]\d\.\d+ +\d+$", output, re.M)
    moves = list(map(float, rows))
    assert len(moves) == 5
    assert moves == sorted(moves, reverse=True)


def test_larger_than_memory():
    pytest.importorskip("pyarrow")
    output = run("larger_than_memory.py", "--rows", 60_000)
    assert "7.1 MiB of numbers, of which 1.8 MiB may be in memory" in output
    accuracies = [float(x) for x in re.findall(r"^Accuracy.*: ([0-9.]+)$", output, re.M)]
    assert len(accuracies) == 2
    assert min(accuracies) > 0.95
    assert abs(accuracies[0] - accuracies[1]) < 0.01


def test_own_activation():
    output = run("own_activation.py", "--starts", 2)
    scores = dict(re.findall(r"^(\S.*?) +(\d\.\d+) +\d\.\d+ +\d+$", output, re.M))
    assert list(scores) == ["relu", "tanh", "gelu", "Activation(sine, cosine)"]
    assert float(scores["Activation(sine, cosine)"]) > 0.9
