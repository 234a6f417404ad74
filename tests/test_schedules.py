import numpy as np
import pytest

from fastmlp.training.schedules import (
    Adaptive,
    Constant,
    InverseScaling,
    Scale,
    by_function,
    cosine,
    make_schedule,
)


def test_constant_stays_and_stops_at_a_plateau():
    schedule = Constant(0.1)
    schedule.epoch_ended(1000)
    assert schedule.rate == 0.1
    assert schedule.plateau() == (True, "Stopping.")


@pytest.mark.parametrize("power_t", [0.0, 0.25, 0.5, 2])
def test_inverse_scaling_follows_its_formula(power_t):
    schedule = InverseScaling(0.1, power_t)
    assert schedule.rate == 0.1
    for samples_seen in (8, 16, 10**7):
        schedule.epoch_ended(samples_seen)
        assert schedule.rate == pytest.approx(0.1 / (samples_seen + 1) ** power_t, rel=1e-14)
    assert schedule.plateau().stop


def test_inverse_scaling_ends_in_zero_and_not_in_an_overflow():
    schedule = InverseScaling(0.1, 1000.0)
    schedule.epoch_ended(10**9)
    assert schedule.rate == 0.0


def test_adaptive_divides_by_five_until_it_is_small():
    schedule = Adaptive(0.1)
    rates = []
    while not (action := schedule.plateau()).stop:
        rates.append(schedule.rate)
        assert action.message == f"Setting learning rate to {schedule.rate:f}"
    assert rates == pytest.approx([0.1 / 5**k for k in range(1, len(rates) + 1)])
    assert rates[-2] > 1e-6 >= rates[-1]
    assert action.message == "Learning rate too small. Stopping."


def test_names():
    assert type(make_schedule("sgd", "constant", 0.1, 0.5)) is Constant
    assert type(make_schedule("sgd", "invscaling", 0.1, 0.5)) is InverseScaling
    assert type(make_schedule("sgd", "adaptive", 0.1, 0.5)) is Adaptive


@pytest.mark.parametrize("learning_rate", ["constant", "invscaling", "adaptive"])
def test_adam_ignores_the_schedule(learning_rate):
    assert type(make_schedule("adam", learning_rate, 0.1, 0.5)) is Constant


def rates(schedule, n_epochs):
    """Rates of all minibatches of so many epochs."""
    found = []
    for epoch in range(n_epochs):
        found.append(schedule.rates)
        schedule.epoch_ended(100 * (epoch + 1))
    return np.concatenate(found)


def test_cosine_follows_its_formula():
    schedule = Constant(0.1)
    schedule.scale = Scale(cosine, 0.0, n_epochs=5, n_minibatches=4)
    t = np.arange(20) / 20
    np.testing.assert_allclose(rates(schedule, 5), 0.1 * (1 + np.cos(np.pi * t)) / 2, rtol=1e-14)


def test_cosine_is_torchs():
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)
    expected = []
    for _ in range(20):
        expected.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    schedule = Constant(0.1)
    schedule.scale = Scale(cosine, 0.0, n_epochs=5, n_minibatches=4)
    np.testing.assert_allclose(rates(schedule, 5), expected, rtol=1e-9)


@pytest.mark.parametrize(
    "schedule", [Constant(0.1), InverseScaling(0.1, 0.5), Adaptive(0.1)], ids=lambda s: type(s)
)
def test_warmup_rises_in_equal_steps_to_the_whole_rate(schedule):
    plain = type(schedule)(*([0.1, 0.5] if isinstance(schedule, InverseScaling) else [0.1]))
    whole = []
    for epoch in range(5):
        whole += [plain.rates] * 4
        plain.epoch_ended(100 * (epoch + 1))
    schedule.scale = Scale(None, 0.25, n_epochs=5, n_minibatches=4)
    ramp = [0.2, 0.4, 0.6, 0.8] + [1.0] * 16
    np.testing.assert_allclose(rates(schedule, 5), np.multiply(whole, ramp), rtol=1e-14)


def test_a_function_is_given_the_share_of_training():
    asked = []

    def factor(t):
        asked.append(t)
        return 1 - t

    scale = Scale(by_function(factor), 0.0, n_epochs=2, n_minibatches=2)
    assert asked == [0.0, 0.5, 1.0]
    np.testing.assert_array_equal(scale.of_epoch(), [1.0, 0.75])
    scale.epochs = 1
    np.testing.assert_array_equal(scale.of_epoch(), [0.5, 0.25])


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.1, None, "1", 1j, np.ones(2)])
def test_a_function_must_return_a_factor(value):
    with pytest.raises(ValueError, match=r"^learning_rate must return a finite factor.* for 0 it"):
        by_function(lambda t: value)
    later = by_function(lambda t: value if t == 0.25 else 1.0)
    with pytest.raises(ValueError, match=r"for 0\.25 it returned"):
        later(np.array([0.0, 0.25]))


def test_a_function_may_return_any_kind_of_real_number():
    factors = by_function(lambda t: [np.float32(1), np.array(0.5), 1][int(2 * t)])
    np.testing.assert_array_equal(factors(np.array([0.0, 0.5, 1.0])), [1.0, 0.5, 1.0])


def test_the_end_of_training_is_the_end_of_its_factors():
    scale = Scale(cosine, 0.0, n_epochs=2, n_minibatches=3, epochs=2)
    with pytest.raises(ValueError, match=r"2 of max_iter=2 epochs are done. Raise max_iter"):
        scale.of_epoch()
    # A warm-up has none: the rate stays whole.
    np.testing.assert_array_equal(Scale(None, 1.0, 2, 3, epochs=2).of_epoch(), np.ones(3))
