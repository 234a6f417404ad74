"""scikit-learn's callbacks during a fit on a table, where scikit-learn has them."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import log_loss

from fastmlp import TabularMLPBinaryClassifier

SETTINGS = {"n_folds": 2, "max_iter": 3, "random_state": 0}


def table(n=300, seed=0):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"x": rng.normal(size=n), "kind": rng.choice(["a", "b", "c"], n)})
    X.loc[rng.random(n) < 0.1, "x"] = np.nan
    z = np.nan_to_num(X["x"].to_numpy()) + (X["kind"] == "b") + 0.5 * rng.normal(size=n)
    return X, np.where(z > 0.3, "yes", "no")


X, Y = table()


@pytest.fixture(scope="module")
def model():
    return TabularMLPBinaryClassifier(**SETTINGS).fit(X, Y)


def test_without_callbacks_nothing_is_left(model):
    assert not [name for name in vars(model) if "callback" in name or "skl" in name]


class TestWithScikitLearns:
    """What needs version 1.9."""

    @pytest.fixture(autouse=True)
    def _callbacks(self):
        pytest.importorskip("sklearn.callback")

    class Notes:
        """Writes down every hook; can end a network at an epoch, or training at a network."""

        def __init__(self, **stop_at):
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
            self.probabilities.append(fitted_estimator.predict_proba(X))
            return self.stop_at.get(context.task_name) == context.task_id

        def of(self, *names):
            """Probabilities at the ends of tasks of these names."""
            ends = [told for told in self.told if told.startswith("end")]
            pairs = zip(ends, self.probabilities, strict=True)
            return [p for told, p in pairs if told.split()[1] in names]

    def test_order_of_hooks(self):
        notes = self.Notes()
        model = TabularMLPBinaryClassifier(n_folds=2, max_iter=2, random_state=0)
        model.set_callbacks(notes).fit(X, Y, np.ones(len(X)))
        network = ["begin epoch 0", "end epoch 0", "begin epoch 1", "end epoch 1"]
        assert notes.told == [
            "setup", "begin fit 0",
            "begin network 0", *network, "end network 0",
            "begin network 1", *network, "end network 1",
            "end fit 0", "teardown",
        ]  # fmt: skip
        assert notes.X is X
        np.testing.assert_array_equal(notes.y, Y)
        np.testing.assert_array_equal(notes.metadata["sample_weight"], np.ones(len(X)))

    def test_what_predicts_at_each_end(self):
        notes = self.Notes()
        model = TabularMLPBinaryClassifier(**SETTINGS).set_callbacks(notes).fit(X, Y)
        np.testing.assert_array_equal(notes.probabilities[-1], model.predict_proba(X))
        networks = notes.of("network")
        np.testing.assert_allclose(np.mean(networks, axis=0), model.predict_proba(X), rtol=1e-6)
        epochs = notes.of("epoch")
        for scores, last in zip(model.validation_scores_, networks, strict=True):
            of_network, epochs = epochs[: len(scores)], epochs[len(scores) :]
            for epoch, p in enumerate(of_network):  # the best so far
                np.testing.assert_array_equal(p, of_network[np.argmax(scores[: epoch + 1])])
            np.testing.assert_array_equal(of_network[-1], last)
        assert not epochs

    def test_a_callback_ends_networks(self):
        notes = self.Notes(epoch=1)
        model = TabularMLPBinaryClassifier(**SETTINGS).set_callbacks(notes).fit(X, Y)
        assert model.n_iter_ == 2
        assert [len(curve) for curve in model.loss_curves_] == [2, 2]
        shorter = TabularMLPBinaryClassifier(**{**SETTINGS, "max_iter": 2}).fit(X, Y)
        np.testing.assert_array_equal(model.predict_proba(X), shorter.predict_proba(X))

    def test_a_callback_ends_training_at_a_network(self):
        notes = self.Notes(network=0)
        model = TabularMLPBinaryClassifier(**SETTINGS).set_callbacks(notes).fit(X, Y)
        assert len(model.loss_curves_) == len(model.best_epochs_) == 1
        np.testing.assert_array_equal(model.predict_proba(X), notes.of("network")[0])
        held_out = np.isfinite(model.oof_probabilities_[:, 1])
        assert 0.4 < held_out.mean() < 0.6

    def test_callbacks_change_nothing(self, model):
        told = TabularMLPBinaryClassifier(**SETTINGS).set_callbacks(self.Notes()).fit(X, Y)
        np.testing.assert_array_equal(told.predict_proba(X), model.predict_proba(X))
        np.testing.assert_array_equal(told.oof_probabilities_, model.oof_probabilities_)
        assert {n for n in vars(told) if n not in vars(model)} == {"_skl_callbacks"}

    @pytest.mark.parametrize(
        ("X", "y"),
        [(X, np.full(len(X), "yes")), (X.assign(x=1.0, kind="a"), Y)],
        ids=["one class", "no column"],
    )
    def test_a_fit_without_networks(self, X, y):
        notes = self.Notes()
        model = TabularMLPBinaryClassifier(**SETTINGS).set_callbacks(notes).fit(X, y)
        assert notes.told == ["setup", "begin fit 0", "end fit 0", "teardown"]
        np.testing.assert_array_equal(notes.probabilities[0], model.predict_proba(X))

    def test_scoring_monitor(self):
        from sklearn.callback import ScoringMonitor

        monitor = ScoringMonitor(scoring="neg_log_loss")
        model = TabularMLPBinaryClassifier(**SETTINGS).set_callbacks(monitor).fit(X, Y)
        rows = monitor.get_logs().data
        epochs = [row["task_id_path"] for row in rows if row["task_name"] == "epoch"]
        assert epochs == [(0, network, epoch) for network in range(2) for epoch in range(3)]
        whole = next(row for row in rows if row["task_name"] == "fit")
        assert whole["neg_log_loss"] == pytest.approx(-log_loss(Y, model.predict_proba(X)))

    def test_progress_bar(self, capsys):
        pytest.importorskip("rich")
        from sklearn.callback import ProgressBar

        TabularMLPBinaryClassifier(**SETTINGS).set_callbacks(ProgressBar()).fit(X, Y)
        out = capsys.readouterr().out
        assert "TabularMLPBinaryClassifier" in out
        assert "network" in out

    def test_an_error_in_a_callback_leaves_the_estimator_as_it_was(self):
        class Fails(self.Notes):
            def on_fit_task_end(self, estimator, context):
                raise LookupError("mine")

        model = TabularMLPBinaryClassifier(**SETTINGS).fit(X, Y)
        before, notes = vars(model)["_models"], Fails()
        with pytest.raises(LookupError, match="mine"):
            model.set_callbacks(notes).fit(X, Y[::-1])
        assert vars(model)["_models"] is before
        assert notes.told[-1] == "teardown"
        assert not [name for name in vars(model) if "callback_fit" in name or "teardown" in name]

    def test_clone_pickle_and_a_second_fit(self):
        from sklearn.callback import ScoringMonitor

        monitor = ScoringMonitor(scoring="roc_auc")
        model = TabularMLPBinaryClassifier(**SETTINGS).set_callbacks(monitor)
        clone(model).fit(X, Y)
        model.fit(X, Y)
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
        # Also on a table of other columns: nothing of the first fit is left in what is shown.
        other = X.assign(more=np.arange(len(X)))
        assert model.fit(other, Y).predict_proba(other).shape == (len(X), 2)
