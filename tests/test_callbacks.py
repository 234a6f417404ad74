"""scikit-learn's callbacks, where it has them."""

import pickle

import numpy as np
import pytest
from data import quietly, two_classes
from sklearn.base import clone
from sklearn.metrics import log_loss

from fastmlp import MLPBinaryClassifier

X, Y = two_classes(200)
SETTINGS = {"hidden_layer_sizes": (5,), "max_iter": 4, "random_state": 0}


def test_without_callbacks_nothing_is_left():
    model = quietly(MLPBinaryClassifier(**SETTINGS).fit, X, Y)
    assert not [name for name in vars(model) if "callback" in name or "skl" in name]


class TestWithScikitLearns:
    """What needs version 1.9."""

    @pytest.fixture(autouse=True)
    def _callbacks(self):
        pytest.importorskip("sklearn.callback")

    class Notes:
        """Writes down every hook; can end training."""

        def __init__(self, stop_at=None):
            self.stop_at, self.told, self.probabilities = stop_at, [], []

        def setup(self, estimator, context):
            self.told.append("setup")

        def teardown(self, estimator, context):
            self.told.append("teardown")

        def on_fit_task_begin(self, estimator, context):
            self.told.append(f"begin {context.task_name} {context.task_id}")

        def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator, metadata):
            self.told.append(f"end {context.task_name} {context.task_id}")
            self.X, self.y, self.metadata = X, y, metadata
            self.probabilities.append(fitted_estimator.predict_proba(X)[:, 1])
            return context.task_name in ("epoch", "iteration") and context.task_id == self.stop_at

    def test_order_of_hooks(self):
        notes = self.Notes()
        model = MLPBinaryClassifier(**{**SETTINGS, "max_iter": 2}).set_callbacks(notes)
        quietly(model.fit, X, Y, np.ones(len(X)))
        assert notes.told == [
            "setup", "begin fit 0",
            "begin epoch 0", "end epoch 0", "begin epoch 1", "end epoch 1",
            "end fit 0", "teardown",
        ]  # fmt: skip
        assert notes.X is X
        np.testing.assert_array_equal(notes.y, Y)
        np.testing.assert_array_equal(notes.metadata["sample_weight"], np.ones(len(X)))
        np.testing.assert_array_equal(notes.probabilities[-1], model.predict_proba(X)[:, 1])

    def test_starts_have_a_level_of_their_own(self):
        notes = self.Notes()
        model = MLPBinaryClassifier(**{**SETTINGS, "max_iter": 1}, n_init=2).set_callbacks(notes)
        quietly(model.fit, X, Y)
        assert notes.told == [
            "setup", "begin fit 0",
            "begin start 0", "begin epoch 0", "end epoch 0", "end start 0",
            "begin start 1", "begin epoch 0", "end epoch 0", "end start 1",
            "end fit 0", "teardown",
        ]  # fmt: skip

    def test_a_callback_that_ends_a_start_ends_all(self):
        class Ends(self.Notes):
            def on_fit_task_end(self, estimator, context):
                return context.task_name == "start"

        model = MLPBinaryClassifier(**SETTINGS, n_init=3).set_callbacks(Ends())
        quietly(model.fit, X, Y)
        assert len(model.init_scores_) == 1
        alone = quietly(MLPBinaryClassifier(**SETTINGS).fit, X, Y)
        np.testing.assert_array_equal(model.coefs_[0], alone.coefs_[0])

    @pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
    def test_a_callback_ends_training(self, solver):
        notes = self.Notes(stop_at=1)
        model = MLPBinaryClassifier(**SETTINGS, solver=solver).set_callbacks(notes)
        model.fit(X, Y)  # with no ConvergenceWarning
        assert model.n_iter_ == 2
        shorter = MLPBinaryClassifier(**{**SETTINGS, "max_iter": 2}, solver=solver)
        quietly(shorter.fit, X, Y)
        np.testing.assert_array_equal(model.coefs_[0], shorter.coefs_[0])

    def test_callbacks_change_nothing(self):
        model = quietly(MLPBinaryClassifier(**SETTINGS).fit, X, Y)
        told = MLPBinaryClassifier(**SETTINGS).set_callbacks(self.Notes())
        quietly(told.fit, X, Y)
        np.testing.assert_array_equal(model.coefs_[0], told.coefs_[0])
        assert {n for n in vars(told) if n not in vars(model)} == {"_skl_callbacks"}

    def test_with_early_stopping_an_epoch_shows_the_best_so_far(self):
        notes = self.Notes()
        model = MLPBinaryClassifier(**SETTINGS, early_stopping=True, scoring="loss")
        quietly(model.set_callbacks(notes).fit, X, Y)
        best = 0
        for epoch, score in enumerate(model.validation_scores_):
            best = epoch if score > model.validation_scores_[best] else best
            np.testing.assert_array_equal(notes.probabilities[epoch], notes.probabilities[best])

    def test_scoring_monitor(self):
        from sklearn.callback import ScoringMonitor

        monitor = ScoringMonitor(scoring="neg_log_loss")
        model = MLPBinaryClassifier(**SETTINGS).set_callbacks(monitor)
        quietly(model.fit, X, Y)
        rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
        assert [row["task_id"] for row in rows] == [0, 1, 2, 3]
        assert rows[-1]["neg_log_loss"] == pytest.approx(-log_loss(Y, model.predict_proba(X)))

    def test_progress_bar(self, capsys):
        pytest.importorskip("rich")
        from sklearn.callback import ProgressBar

        quietly(MLPBinaryClassifier(**SETTINGS).set_callbacks(ProgressBar()).fit, X, Y)
        assert "MLPBinaryClassifier" in capsys.readouterr().out

    def test_an_error_in_a_callback_leaves_the_estimator_as_it_was(self):
        class Fails(self.Notes):
            def on_fit_task_end(self, estimator, context):
                raise LookupError("mine")

        model = quietly(MLPBinaryClassifier(**SETTINGS).fit, X, Y)
        before = model.coefs_
        notes = Fails()
        with pytest.raises(LookupError, match="mine"):
            model.set_callbacks(notes).fit(X, 1 - Y)
        assert model.coefs_ is before
        assert notes.told[-1] == "teardown"
        assert not [name for name in vars(model) if "callback_fit" in name or "teardown" in name]

    def test_clone_and_pickle(self):
        from sklearn.callback import ScoringMonitor

        model = MLPBinaryClassifier(**SETTINGS).set_callbacks(ScoringMonitor(scoring="accuracy"))
        quietly(clone(model).fit, X, Y)
        quietly(model.fit, X, Y)
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
