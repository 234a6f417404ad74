import pytest

from fastmlp.training.schedules import Adaptive, Constant, InverseScaling, make_schedule


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
