"""The picture of training holds what the estimator's attributes hold."""

import subprocess
import sys

import numpy as np
import pytest
from data import quietly, two_classes
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPBinaryClassifier, TabularMLPBinaryClassifier, TrainingCurveDisplay

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


# -- several networks ------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def of_table():
    return TabularMLPBinaryClassifier(n_folds=3, max_iter=6, random_state=0).fit(X, Y)


def assert_lines(lines, curves):
    assert len({line.get_color() for line in lines}) == 1
    for line, values in zip(lines, curves, strict=True):
        assert_line(line, values)


def test_curves_of_all_networks(of_table):
    display = TrainingCurveDisplay.from_estimator(of_table)
    assert_lines(display.lines_["loss"], of_table.loss_curves_)
    assert_lines(display.lines_["validation_loss"], of_table.validation_loss_curves_)
    assert display.lines_["loss"][0].get_color() != display.lines_["validation_loss"][0].get_color()
    assert "validation_score" not in display.lines_  # the score is the loss
    best, epochs = display.lines_["best_epoch"], of_table.best_epochs_
    np.testing.assert_array_equal(best.get_xdata(), epochs + 1)
    losses = zip(of_table.validation_loss_curves_, epochs, strict=True)
    np.testing.assert_array_equal(best.get_ydata(), [curve[k] for curve, k in losses])
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    first, last = min(epochs) + 1, max(epochs) + 1
    assert labels == [
        "training loss", "validation loss",
        f"best epochs: {first}" + (f" to {last}" if last > first else ""),
    ]  # fmt: skip
    assert display.ax_.get_title() == "TabularMLPBinaryClassifier"
    display.figure_.canvas.draw()


def test_scores_of_all_networks():
    model = TabularMLPBinaryClassifier(n_folds=2, max_iter=4, scoring="roc_auc", random_state=0)
    display = TrainingCurveDisplay.from_estimator(model.fit(X, Y))
    assert_lines(display.lines_["validation_score"], model.validation_scores_)
    assert display.score_ax_.get_ylabel() == "roc_auc"
    # Dots lie on the curves that have chosen the epochs.
    best = display.lines_["best_epoch"]
    assert best.axes is display.score_ax_
    np.testing.assert_array_equal(best.get_ydata(), [max(c) for c in model.validation_scores_])


def test_networks_of_unlike_numbers_of_epochs_and_a_rate_that_falls():
    display = TrainingCurveDisplay(
        loss=[[3.0, 2.0, 1.0], [3.0, 2.5]], best_epoch=[2, 0], learning_rate=[0.3, 0.2, 0.1]
    ).plot()
    assert_lines(display.lines_["loss"], display.loss)
    assert_line(display.lines_["learning_rate"], display.learning_rate)
    np.testing.assert_array_equal(display.lines_["best_epoch"].get_xydata(), [[3, 1], [1, 3]])
    assert display.ax_.get_legend().get_texts()[1].get_text() == "best epochs: 1 to 3"


def test_one_network_for_a_table():
    model = TabularMLPBinaryClassifier(n_folds=1, max_iter=4, random_state=0).fit(X, Y)
    display = TrainingCurveDisplay.from_estimator(model, line_kwargs={"linewidth": 7})
    assert_lines(display.lines_["loss"], model.loss_curves_)
    assert display.lines_["loss"][0].get_linewidth() == 7
    assert set(display.lines_["best_epoch"].get_xdata()) == {model.best_epochs_[0] + 1}


def test_a_table_without_networks():
    model = TabularMLPBinaryClassifier().fit(X, np.ones(len(X)))
    with pytest.raises(ValueError, match="has no curves, because it has no networks"):
        TrainingCurveDisplay.from_estimator(model)
    with pytest.raises(NotFittedError):
        TrainingCurveDisplay.from_estimator(TabularMLPBinaryClassifier())
