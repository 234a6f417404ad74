"""Subclasses: a method that a user overrides changes what scikit-learn's changes, and no other."""

import numpy as np
import pytest
from data import assert_same_parameters, quietly, two_classes
from sklearn.neural_network import MLPClassifier

from fastmlp import MLPBinaryClassifier

X, Y = two_classes(200)
LABELS = np.array(["no", "yes"])[Y]


def subclass(base, **methods):
    """A class that has these methods in place of its base's."""
    return type("Own", (base,), methods)


def trained(Class, y=LABELS, **settings):
    settings = {"max_iter": 10, "learning_rate_init": 0.02, "random_state": 0, **settings}
    return quietly(Class((8,), **settings).fit, X, y)


def framed(self, X):
    """A table with named columns."""
    pd = pytest.importorskip("pandas")
    return pd.DataFrame(MLPBinaryClassifier.predict_proba(self, X), columns=self.classes_)


def swapped(self, X):
    """Probabilities that contradict the labels."""
    return super(type(self), self).predict_proba(X)[:, ::-1].copy()


def certain(self, X):
    """Probabilities of 0 and 1, from the labels."""
    return (self.predict(X)[:, None] == self.classes_).astype(float)


def shapeless(self, X):
    return None


PROBABILITIES = {"framed": framed, "swapped": swapped, "certain": certain, "shapeless": shapeless}


@pytest.mark.parametrize("name", PROBABILITIES)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_other_probabilities_leave_labels_and_training_alone(name, early_stopping):
    plain = trained(MLPBinaryClassifier, early_stopping=early_stopping)
    Own = subclass(MLPBinaryClassifier, predict_proba=PROBABILITIES[name])
    own = trained(Own, early_stopping=early_stopping)
    assert_same_parameters(own, plain)
    assert own.validation_scores_ == plain.validation_scores_
    np.testing.assert_array_equal(own.predict(X), plain.predict(X))
    np.testing.assert_array_equal(own.decision_function(X), plain.decision_function(X))
    assert own.score(X, LABELS) == plain.score(X, LABELS)


@pytest.mark.parametrize("base", [MLPClassifier, MLPBinaryClassifier])
def test_logarithms_are_those_of_other_probabilities(base):
    own = trained(subclass(base, predict_proba=swapped))
    np.testing.assert_array_equal(own.predict_log_proba(X), np.log(own.predict_proba(X)))
    np.testing.assert_array_equal(own.predict(X), trained(base).predict(X))


LOGITS = {
    "from probabilities": lambda self, X: np.diff(self.predict_proba(X)).ravel(),
    "from their logarithms": lambda self, X: np.diff(self.predict_log_proba(X)).ravel(),
    "from labels": lambda self, X: np.where(self.predict(X) == self.classes_[1], 1, -1),
    "of two columns": lambda self, X: np.zeros((len(X), 2)),
    "shapeless": shapeless,
}


@pytest.mark.parametrize("name", LOGITS)
def test_other_logits_leave_the_rest_alone(name):
    plain = trained(MLPBinaryClassifier)
    own = trained(subclass(MLPBinaryClassifier, decision_function=LOGITS[name]))
    for method in ("predict", "predict_proba", "predict_log_proba"):
        np.testing.assert_array_equal(getattr(own, method)(X), getattr(plain, method)(X))
    assert np.shape(own.decision_function(X)) == np.shape(LOGITS[name](own, X))


@pytest.mark.parametrize("base", [MLPClassifier, MLPBinaryClassifier])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_other_labels_change_the_score_alone(base, early_stopping):
    def opposite(self, X):
        return 1 - super(type(self), self).predict(X)

    # Numbers: with text, early stopping fails in scikit-learn 1.7.
    plain = trained(base, Y, early_stopping=early_stopping)
    own = trained(subclass(base, predict=opposite), Y, early_stopping=early_stopping)
    assert_same_parameters(own, plain)
    assert own.validation_scores_ == plain.validation_scores_
    np.testing.assert_array_equal(own.predict_proba(X), plain.predict_proba(X))
    assert own.score(X, Y) == pytest.approx(1 - plain.score(X, Y))


def test_methods_that_are_overridden_are_not_called_by_training():
    def refuse(self, *args, **kwargs):
        raise AssertionError

    names = ("predict", "predict_proba", "predict_log_proba", "decision_function", "score")
    Own = subclass(MLPBinaryClassifier, **dict.fromkeys(names, refuse))
    for settings in ({"early_stopping": True}, {"solver": "lbfgs"}, {"solver": "sgd"}):
        assert_same_parameters(trained(Own, **settings), trained(MLPBinaryClassifier, **settings))
    model = Own((8,), random_state=0).partial_fit(X, Y, classes=[0, 1])
    assert model.partial_fit(X, Y).n_iter_ == 1
