import numpy as np
import pytest
from naive import NaiveRows
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split

from fastmlp.data.split import Validation, accuracy, always_right, hold_out, negative_loss


@pytest.mark.parametrize("weighted", [False, True])
def test_hold_out_draws_the_split_of_the_rows_themselves(weighted):
    rng = np.random.RandomState(0)
    X, y = rng.randn(50, 3), (rng.rand(50) < 0.3).astype(float)
    weight = rng.rand(50) if weighted else None
    order, validation = hold_out(NaiveRows(X, "f8"), y, weight, 0.2, np.random.RandomState(7))
    X_train, X_held_out, _, y_held_out = train_test_split(
        X, y, test_size=0.2, random_state=np.random.RandomState(7), stratify=y
    )
    np.testing.assert_array_equal(X[order], X_train)
    np.testing.assert_array_equal(X[validation.order], X_held_out)
    np.testing.assert_array_equal(validation.targets, y_held_out)
    if weighted:
        np.testing.assert_array_equal(validation.sample_weight, weight[validation.order])


@pytest.mark.parametrize("weighted", [False, True])
def test_metrics(weighted):
    rng = np.random.RandomState(0)
    y, p = rng.rand(30) < 0.5, rng.rand(30)
    p[0] = 0.5  # not above one half
    weight = rng.rand(30) if weighted else None
    expected = {
        accuracy: accuracy_score(y, p > 0.5, sample_weight=weight),
        always_right: 1.0,
        negative_loss: -log_loss(y, p, sample_weight=weight),
    }
    for metric, value in expected.items():
        validation = Validation(None, None, y, weight, metric)
        score = validation.score(np.column_stack([1 - p, p]), None)
        assert score == pytest.approx(value, rel=1e-14)


def test_the_loss_of_float32_probabilities_is_summed_in_float64():
    p = np.float32([[1e-30, 1.0], [0.5, 0.5]])
    validation = Validation(None, None, np.array([False, True]), None, accuracy)
    expected = -(np.log(np.float64(p[0, 0])) + np.log(0.5)) / 2
    assert validation.loss(p) == pytest.approx(expected, rel=1e-15)


def test_hold_out_refuses_what_it_cannot_split():
    rows, rng = NaiveRows(np.zeros((4, 1)), "f8"), np.random.RandomState(0)
    with pytest.raises(ValueError, match="least populated class"):
        hold_out(rows, np.array([0.0, 0, 0, 1]), None, 0.5, rng)
    with pytest.raises(ValueError, match=r"validation_fraction=0\.1 of 4 rows leaves 1"):
        hold_out(rows, np.zeros(4), None, 0.1, rng)
    with pytest.raises(ValueError, match="sample_weight is 0 for all rows that were drawn to"):
        hold_out(rows, np.zeros(4), np.array([1.0, 0, 0, 0]), 0.5, rng)
