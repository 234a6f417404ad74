import numpy as np
import pytest
from naive import NaiveRows
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

from fastmlp.data.split import accuracy, always_right, hold_out


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
    p = rng.rand(len(y_held_out))
    held_out_weight = weight[validation.order] if weighted else None
    assert validation.score(p) == accuracy(y_held_out, p, held_out_weight)


@pytest.mark.parametrize("weighted", [False, True])
def test_accuracy(weighted):
    rng = np.random.RandomState(0)
    y, p = (rng.rand(30) < 0.5).astype(float), rng.rand(30)
    p[0] = 0.5  # not above one half
    weight = rng.rand(30) if weighted else None
    assert accuracy(y, p, weight) == accuracy_score(y, p > 0.5, sample_weight=weight)
    assert always_right(y, p, weight) == 1.0


def test_hold_out_refuses_what_it_cannot_split():
    rows, rng = NaiveRows(np.zeros((4, 1)), "f8"), np.random.RandomState(0)
    with pytest.raises(ValueError, match="least populated class"):
        hold_out(rows, np.array([0.0, 0, 0, 1]), None, 0.5, rng)
    with pytest.raises(ValueError, match=r"validation_fraction=0\.1 of 4 rows leaves 1"):
        hold_out(rows, np.zeros(4), None, 0.1, rng)
    with pytest.raises(ValueError, match="sample_weight is 0 for all rows that were drawn to"):
        hold_out(rows, np.zeros(4), np.array([1.0, 0, 0, 0]), 0.5, rng)
