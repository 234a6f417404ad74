"""The compiled shuffle makes the draws and swaps of NumPy's."""

import numpy as np
import pytest
from sklearn.utils import check_random_state

from fastmlp.training.loop import shuffle

# Around the powers of two, where a place takes a bit less, and the stretches drawn ahead.
SIZES = [*range(35), 63, 64, 65, 511, 512, 513, 514, 1023, 1024, 1025, 5000, 65_536, 65_537]
GENERATORS = {
    "Mersenne twister": lambda seed: np.random.RandomState(seed),
    "PCG": lambda seed: np.random.RandomState(np.random.PCG64(seed)),
}


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("n", SIZES)
def test_same_order_and_same_state_as_numpy(n, generator):
    ours, theirs = (GENERATORS[generator](n + 7) for _ in range(2))
    order = np.arange(n, dtype=np.int64) * 3
    for _ in range(3):
        expected = order.copy()
        theirs.shuffle(expected)
        shuffle(order, ours)
        np.testing.assert_array_equal(order, expected)
    assert ours.randint(1 << 30) == theirs.randint(1 << 30)


def test_the_global_generator():
    rng = check_random_state(None)
    state = rng.get_state()
    result = np.arange(100)
    shuffle(result, rng)
    rng.set_state(state)
    expected = np.arange(100)
    rng.shuffle(expected)
    np.testing.assert_array_equal(result, expected)
