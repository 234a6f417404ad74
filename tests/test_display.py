"""The picture of training holds what the estimator's attributes hold."""

import subprocess
import sys

import numpy as np
import pytest
from data import quietly, two_classes
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPBinaryClassifier, TrainingCurveDisplay

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
pyplot = pytest.importorskip("matplotlib.pyplot")

X, Y = two_classes(200)
STOPPING = {"early_stopping": True, "max_iter": 5, "random_state": 0}


@pytest.fixture(autouse=True)
def _closed():
    yield
    pyplot.close("all")


def fitted(**settings):
    return quietly(MLPBinaryClassifier((5,), **settings).fit, X, Y)


def assert_line(line, values):
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, len(values) + 1))
    np.testing.assert_array_equal(line.get_ydata(), values)


def test_all_curves():
    model = fitted(**STOPPING, learning_rate="cosine", scoring="roc_auc")
    display = TrainingCurveDisplay.from_estimator(model)
    assert_line(display.lines_["loss"], model.loss_curve_)
    assert_line(display.lines_["validation_loss"], model.validation_loss_curve_)
    assert_line(display.lines_["validation_score"], model.validation_scores_)
    assert_line(display.lines_["learning_rate"], model.learning_rate_curve_)
    assert set(display.lines_["best_epoch"].get_xdata()) == {model.best_epoch_ + 1}
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == [
        "training loss", "validation loss", "validation roc_auc",
        f"best epoch: {model.best_epoch_ + 1}",
    ]  # fmt: skip
    assert display.ax_.get_title() == "MLPBinaryClassifier"
    assert display.rate_ax_.get_xlabel() == "epoch"
    display.figure_.canvas.draw()


def test_only_the_loss():
    model = fitted(max_iter=4)
    display = TrainingCurveDisplay.from_estimator(model)
    assert list(display.lines_) == ["loss"]
    assert display.score_ax_ is None
    assert display.rate_ax_ is None  # a rate that stays needs no picture
    assert display.ax_.get_xlabel() == "epoch"


def test_a_score_that_is_the_loss_is_drawn_once():
    display = TrainingCurveDisplay.from_estimator(fitted(**STOPPING, scoring="loss"))
    assert "validation_loss" in display.lines_
    assert "validation_score" not in display.lines_


@pytest.mark.parametrize(
    ("scoring", "name"),
    [(None, "accuracy"), ("f1", "f1"), (lambda model, X, y: model.score(X, y), "<lambda>")],
)
def test_the_score_is_named(scoring, name):
    display = TrainingCurveDisplay.from_estimator(fitted(**STOPPING, scoring=scoring))
    assert display.score_ax_.get_ylabel() == name


def test_axes_name_and_lines_of_ones_own():
    figure, ax = pyplot.subplots()
    model = fitted(**STOPPING, learning_rate="cosine")
    display = TrainingCurveDisplay.from_estimator(
        model, ax=ax, name="mine", despine=True, line_kwargs={"linewidth": 7}
    )
    assert display.ax_ is ax
    assert display.figure_ is figure
    assert display.rate_ax_ is None
    assert ax.get_title() == "mine"
    assert not ax.spines["top"].get_visible()
    assert display.lines_["loss"].get_linewidth() == 7
    again = display.plot(name="again")
    assert again.ax_ is not ax
    assert again.rate_ax_ is not None


def test_one_epoch_is_a_dot():
    model = MLPBinaryClassifier((5,)).partial_fit(X, Y, classes=[0, 1])
    assert TrainingCurveDisplay.from_estimator(model).lines_["loss"].get_marker() == "o"


def test_a_pipeline():
    pipeline = make_pipeline(StandardScaler(), MLPBinaryClassifier((5,), max_iter=3))
    quietly(pipeline.fit, X, Y)
    display = TrainingCurveDisplay.from_estimator(pipeline)
    assert_line(display.lines_["loss"], pipeline[-1].loss_curve_)


def test_what_has_no_curves():
    with pytest.raises(NotFittedError):
        TrainingCurveDisplay.from_estimator(MLPBinaryClassifier())
    with pytest.raises(ValueError, match="has no loss_curve_: only training by epochs leaves one"):
        TrainingCurveDisplay.from_estimator(fitted(solver="lbfgs"))


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "fastmlp\[plots\]"'):
        TrainingCurveDisplay(loss=[1.0, 0.5]).plot()


def test_the_import_does_not_bring_matplotlib():
    code = "import sys, fastmlp; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_curve_that_a_warm_start_has_begun_ends_with_the_others():
    model = fitted(max_iter=4, warm_start=True, random_state=0)
    quietly(model.set_params(early_stopping=True, max_iter=3, scoring="loss").fit, X, Y)
    display = TrainingCurveDisplay.from_estimator(model)
    assert_line(display.lines_["loss"], model.loss_curve_)
    epochs = display.lines_["validation_loss"].get_xdata()
    np.testing.assert_array_equal(epochs, [5, 6, 7])
    assert set(display.lines_["best_epoch"].get_xdata()) == {5 + model.best_epoch_}
