import numpy as np
import pytest

from fastmlp.training.stopping import Plateau


def test_a_loss_must_fall_by_tol():
    plateau = Plateau(tol=0.1, patience=1, higher_is_better=False)
    seen = [(plateau.update(v), plateau.count, plateau.best) for v in (1.0, 0.95, 0.8, 0.75, 0.7)]
    assert seen == [
        (True, 0, 1.0),
        (True, 1, 0.95),  # better, but not by tol
        (True, 0, 0.8),
        (True, 1, 0.75),
        (True, 2, 0.7),
    ]
    assert plateau.reached


def test_a_score_must_rise_by_tol():
    plateau = Plateau(tol=0.1, patience=1, higher_is_better=True)
    seen = [(plateau.update(v), plateau.count, plateau.best) for v in (0.5, 0.5, 0.6, 0.65)]
    assert seen == [(True, 0, 0.5), (False, 1, 0.5), (True, 0, 0.6), (True, 1, 0.65)]
    assert not plateau.reached


def test_exactly_tol_is_enough():
    plateau = Plateau(tol=0.25, patience=0, higher_is_better=False)
    plateau.update(1.0)
    plateau.update(0.75)
    assert plateau.count == 0


@pytest.mark.parametrize("higher_is_better", [False, True])
def test_nan_is_never_the_best(higher_is_better):
    plateau = Plateau(0.1, 5, higher_is_better)
    plateau.update(1.0)
    assert not plateau.update(np.nan)
    assert (plateau.best, plateau.count) == (1.0, 0)


def test_infinite_patience():
    plateau = Plateau(1e9, np.inf, higher_is_better=False)
    for _ in range(100):
        plateau.update(1.0)
    assert plateau.count == 99
    assert not plateau.reached


def test_message():
    assert str(Plateau(1e-4, 10, higher_is_better=False)) == (
        "Training loss did not improve more than tol=0.000100 for 10 consecutive epochs."
    )
    assert str(Plateau(0.5, 2, higher_is_better=True)).startswith("Validation score did not")
