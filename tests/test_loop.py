"""The loop over epochs, driven by a session whose losses and scores are scripted."""

from dataclasses import replace

import numpy as np
import pytest
from naive import NaiveState
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import shuffle

from fastmlp.data.split import Validation
from fastmlp.training import loop
from fastmlp.training.loop import Training, all_finite
from fastmlp.training.schedules import Adaptive, Constant, InverseScaling, Scale
from fastmlp.training.stopping import Plateau

N_SAMPLES = 20


class ScriptedSession:
    """Plays back losses and scores; its one weight is the number of epochs it ran."""

    def __init__(self, losses, scores=()):
        self.losses, self.scores = list(losses), list(scores)
        self.orders, self.rates = [], []

    def train_epoch(self, order, rate):
        loss = self.losses[len(self.orders)]
        if isinstance(loss, BaseException):
            raise loss
        self.orders.append(order.copy())
        self.rates.append(rate)
        return loss

    def probabilities(self, rows, order):
        score = self.scores[len(self.orders) - 1]
        return np.array([[1 - score, score]])

    def get_parameters(self):
        weight = np.nan if np.isnan([0.0, *self.losses[: len(self.orders)]][-1]) else 0.0
        return [np.array([[len(self.orders) + weight]])], [np.zeros(1)]

    def end_training(self):
        pass

    def state(self):
        return NaiveState(len(self.orders))


def training(losses, scores=None, *, tol=0.0, patience=10, schedule=None, **kwargs):
    validation = None
    if scores is not None:
        # What the session plays back as probabilities is the score itself.
        validation = Validation(
            None, None, np.array([True]), None, lambda validation, p, parameters: p[0, 1]
        )
    return Training(
        ScriptedSession(losses, scores or ()),
        np.arange(N_SAMPLES),
        np.random.RandomState(0),
        schedule or Constant(0.1),
        Plateau(tol, patience, higher_is_better=scores is not None),
        validation,
        **kwargs,
    )


def test_shuffle_draws_what_scikit_learns_shuffle_draws():
    order = np.arange(5, 25)
    ours, theirs = np.random.RandomState(1), np.random.RandomState(1)
    for _ in range(3):
        expected = shuffle(order, random_state=theirs)
        loop.shuffle(order, ours)
        np.testing.assert_array_equal(order, expected)
    assert ours.randint(2**31) == theirs.randint(2**31)


def test_orders_accumulate():
    run = training([3.0, 2.0, 1.0])
    run.run(3, warn_unconverged=False)
    order, rng = np.arange(N_SAMPLES), np.random.RandomState(0)
    for used in run.session.orders:
        order = shuffle(order, random_state=rng)
        np.testing.assert_array_equal(used, order)


def test_without_shuffle_the_order_stays():
    run = training([2.0, 1.0], shuffle=False)
    run.run(2, warn_unconverged=False)
    assert all((order == np.arange(N_SAMPLES)).all() for order in run.session.orders)


def test_max_iter_warns():
    run = training([3.0, 2.0, 1.0])
    result = run.run(3)
    assert isinstance(result.warning, ConvergenceWarning)
    assert "Maximum iterations (3)" in str(result.warning)
    assert (result.n_iter, result.loss, result.loss_curve) == (3, 1.0, [3.0, 2.0, 1.0])
    assert run.samples_seen == 3 * N_SAMPLES
    assert result.parameters[0][0] == 3
    assert result.state.step == 3


def test_samples_are_counted_on():
    run = training([1.0], samples_seen=7)
    run.run(1, warn_unconverged=False)
    assert run.samples_seen == 7 + N_SAMPLES


def test_a_plateau_stops():
    # The first epoch improves on infinity; the count then exceeds 2 at the fourth.
    result = training([1.0] * 9, patience=2, tol=0.1).run(9)
    assert result.n_iter == 4
    assert result.warning is None


def test_a_plateau_at_the_last_epoch_is_no_lack_of_convergence():
    result = training([1.0] * 4, patience=2, tol=0.1).run(4)
    assert result.n_iter == 4
    assert result.warning is None


def test_adaptive_goes_on_after_a_plateau():
    run = training([1.0] * 60, patience=1, tol=0.1, schedule=Adaptive(0.1))
    result = run.run(60)
    # Two epochs without improvement lower the rate. 0.1 / 5⁸ is the first below 1e-6.
    assert run.session.rates[:7] == pytest.approx([0.1] * 3 + [0.02] * 2 + [0.004] * 2)
    assert result.n_iter == 1 + 2 * 8 + 2
    assert run.schedule.rate == pytest.approx(0.1 / 5**8)


def test_inverse_scaling_counts_rows():
    run = training([3.0, 2.0, 1.0], schedule=InverseScaling(0.1, 0.5), samples_seen=100)
    run.run(3, warn_unconverged=False)
    expected = [0.1, 0.1 / (101 + N_SAMPLES) ** 0.5, 0.1 / (101 + 2 * N_SAMPLES) ** 0.5]
    assert run.session.rates == pytest.approx(expected)


def test_early_stopping_keeps_the_first_of_the_best():
    run = training([1.0] * 9, [0.5, 0.7, 0.7, 0.6, 0.6, 0.6], patience=2)
    result = run.run(9)
    assert result.validation_scores == [0.5, 0.7, 0.7, 0.6, 0.6, 0.6]
    assert result.parameters[0][0] == 2
    assert run.plateau.best == 0.7


def test_early_stopping_restores_the_best_at_max_iter_too():
    result = training([1.0] * 3, [0.5, 0.7, 0.6]).run(3)
    assert isinstance(result.warning, ConvergenceWarning)
    assert result.parameters[0][0] == 2


def scored(losses, scores):
    """A training whose scores need be no probabilities."""
    run, following = training(losses, [0.5] * len(losses)), iter(scores)
    run.validation = replace(run.validation, metric=lambda *_: next(following))
    return run


@pytest.mark.parametrize("score", [-np.inf, np.nan])
def test_without_a_score_the_last_weights_are_kept_with_a_warning(score):
    result = scored([1.0] * 3, [score] * 3).run(3)
    assert type(result.warning) is UserWarning
    assert str(result.warning).startswith("scoring has given no epoch a score to go by")
    assert (result.best_epoch, result.n_iter, result.parameters[0][0]) == (None, 3, 3)
    result = scored([1.0, KeyboardInterrupt()], [score]).run(3)
    assert_interrupted(result)
    assert result.parameters[0][0] == 1


def test_one_score_is_one_to_go_by():
    result = scored([1.0] * 3, [-np.inf, 0.5, -np.inf]).run(3)
    assert isinstance(result.warning, ConvergenceWarning)
    assert (result.best_epoch, result.parameters[0][0]) == (1, 2)


def test_an_interrupt_before_the_first_score_leaves_the_first_weights():
    result = training([KeyboardInterrupt()], [0.5]).run(3)
    assert_interrupted(result)
    assert result.parameters[0][0] == 0


def assert_interrupted(result):
    assert isinstance(result.warning, UserWarning)
    assert str(result.warning) == "Training interrupted by user."


def test_interrupt_keeps_the_newest_weights():
    result = training([3.0, 2.0, KeyboardInterrupt()]).run(9)
    assert_interrupted(result)
    assert (result.n_iter, result.loss, result.parameters[0][0]) == (2, 2.0, 2)


def test_interrupt_restores_the_best_weights_of_early_stopping():
    result = training([3.0, 2.0, KeyboardInterrupt()], [0.8, 0.7]).run(9)
    assert_interrupted(result)
    assert (result.n_iter, result.parameters[0][0]) == (2, 1)


def test_interrupt_in_the_first_epoch():
    result = training([KeyboardInterrupt()]).run(9)
    assert_interrupted(result)
    assert result.n_iter == 0
    assert np.isnan(result.loss)
    assert result.parameters[0][0] == 0


def test_another_error_goes_on():
    with pytest.raises(MemoryError):
        training([1.0, MemoryError()]).run(9)


def test_divergence_spares_the_remaining_epochs():
    result = training([1.0, np.nan, np.nan]).run(3)
    assert result.n_iter == 2
    assert not all_finite(result.parameters)


def test_divergence_under_early_stopping_runs_into_the_plateau():
    result = training([1.0] + [np.nan] * 8, [0.7] + [0.5] * 8, patience=2).run(9)
    assert result.n_iter == 4
    assert result.parameters[0][0] == 1


def test_a_plateau_is_printed_on_request(capsys):
    training([1.0] * 3, [0.5, 0.5, 0.5], patience=1, tol=1e-4, verbose=True).run(9)
    assert capsys.readouterr().out.splitlines() == [
        "Validation score did not improve more than tol=0.000100 for 1 consecutive epochs. "
        "Stopping.",
    ]
    run = training([1.0] * 3, patience=1, tol=1e-4, schedule=Adaptive(0.1), verbose=True)
    run.run(3, warn_unconverged=False)
    assert capsys.readouterr().out.splitlines()[-1] == (
        "Training loss did not improve more than tol=0.000100 for 1 consecutive epochs. "
        "Setting learning rate to 0.020000"
    )


def test_quiet_without_verbose(capsys):
    training([1.0] * 3, [0.5, 0.5, 0.5], patience=1, tol=0.1).run(3)
    assert capsys.readouterr().out == ""


def test_validation_is_written_down():
    scores = [0.5, 0.25, 0.8, 0.8]
    result = training([1.0] * 4, scores).run(4)
    np.testing.assert_allclose(result.validation_loss_curve, -np.log(scores), rtol=1e-15)
    assert result.best_epoch == 2
    assert training([1.0]).run(1).best_epoch is None


def test_an_epoch_that_an_interrupt_ends_leaves_nothing_in_the_curves():
    result = training([3.0, KeyboardInterrupt()], [0.8]).run(9)
    assert result.interrupted
    assert (len(result.loss_curve), len(result.rate_curve)) == (1, 1)
    assert (len(result.validation_scores), len(result.validation_loss_curve)) == (1, 1)
    assert not training([3.0]).run(1).interrupted


class Notes:
    """A watcher that writes down what it is told, and ends training after some epochs."""

    def __init__(self, most):
        self.most, self.told = most, []

    def begin(self, result):
        self.told.append(("begin", result.n_iter))

    def end(self, result):
        self.told.append(("end", result.n_iter))
        return result.n_iter == self.most


def test_watchers_are_told_of_each_epoch_and_can_end_training():
    watchers = [Notes(2), Notes(5)]
    result = training([1.0] * 9, watchers=watchers).run(9)
    expected = [("begin", 0), ("end", 1), ("begin", 1), ("end", 2)]
    assert [watcher.told for watcher in watchers] == [expected, expected]
    assert (result.n_iter, result.warning) == (2, None)


def test_rates_of_minibatches_reach_the_session_and_their_mean_the_curve():
    schedule = Constant(0.1)
    schedule.scale = Scale(lambda t: 1 - t, 0.0, n_epochs=2, n_minibatches=2)
    run = training([2.0, 1.0], schedule=schedule)
    result = run.run(2)
    np.testing.assert_allclose(run.session.rates, [[0.1, 0.075], [0.05, 0.025]], rtol=1e-15)
    np.testing.assert_allclose(result.rate_curve, [0.0875, 0.0375], rtol=1e-15)
