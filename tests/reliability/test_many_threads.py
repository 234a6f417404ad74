"""Many Python threads in one process, beside numba's own threads (point 1)."""

import threading

import numba
import numpy as np
import pytest
from data import quietly, two_classes
from fresh import LAYERS, run

from fastmlp import MLPBinaryClassifier

N_THREADS = 8


def settings():
    """Estimators of all kinds, with what each is trained on."""
    X, y = two_classes(300, 12)
    wide = two_classes(2000, 60, dtype=np.float32)
    import scipy.sparse

    common = {"max_iter": 3, "random_state": 0}
    return [
        (MLPBinaryClassifier((20,), **common), X, y),
        (MLPBinaryClassifier((200, 100), n_threads=2, batch_size=500, **common), *wide),
        (MLPBinaryClassifier((100, 50), n_threads=8, batch_size=1000, **common), *wide),
        (MLPBinaryClassifier((7,), activation="tanh", solver="sgd", **common), X, y),
        (MLPBinaryClassifier((30, 30), solver="lbfgs", **common), X, y),
        (MLPBinaryClassifier((9,), **common), scipy.sparse.csr_array(X), y),
        (MLPBinaryClassifier((), activation="logistic", **common), X, y),
        (MLPBinaryClassifier((15,), early_stopping=True, **common), X, y),
    ]


def bits(model, X):
    arrays = (*model.coefs_, *model.intercepts_, model.predict_proba(X))
    return b"".join(array.tobytes() for array in arrays)


def in_threads(*tasks):
    """Run the tasks in a thread each; the first error is raised."""
    errors = []

    def guarded(task):
        try:
            task()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]


def threads_beside_numba(rounds):
    import warnings

    warnings.simplefilter("ignore")

    @numba.njit(parallel=True)
    def parallel_sum(x):
        total = 0.0
        for i in numba.prange(x.size):
            total += x[i]
        return total

    numbers = np.ones(10_000)
    assert parallel_sum(numbers) == numbers.size  # numba's threads run from here on
    cases = settings()
    expected = [bits(model.fit(X, y), X) for model, X, y in cases]
    shared, X, _ = cases[1]
    logits = shared.decision_function(X)
    setting, stop = numba.get_num_threads(), threading.Event()
    counts = np.zeros(3, int)

    def fit(k):
        numba.set_num_threads(1 + k % setting)
        model, X, y = cases[k]
        for _ in range(rounds):
            # Its own estimator, in a thread of its own.
            assert bits(MLPBinaryClassifier(**model.get_params()).fit(X, y), X) == expected[k]
            counts[0] += 1
            # One estimator that all share.
            np.testing.assert_array_equal(shared.decision_function(cases[1][1]), logits)
            counts[1] += 1
        assert numba.get_num_threads() == 1 + k % setting

    def use_numba():
        while not stop.is_set():
            assert parallel_sum(numbers) == numbers.size
            counts[2] += 1

    user = threading.Thread(target=use_numba)
    user.start()
    in_threads(*(lambda k=k: fit(k) for k in range(N_THREADS)))
    stop.set()
    user.join()
    assert numba.get_num_threads() == setting
    assert numba.threading_layer() == numba.config.THREADING_LAYER
    print(*counts)


def repeat_in_layer(layer, rounds):
    printed = run(
        threads_beside_numba,
        rounds,
        environment={"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"},
        timeout=900,
    )
    fits, predictions, regions = map(int, printed.split())
    assert fits == predictions == N_THREADS * rounds
    assert regions > 0


@pytest.mark.parametrize("layer", LAYERS)
def test_threads_beside_numbas_own(layer):
    repeat_in_layer(layer, 2)


@pytest.mark.long
@pytest.mark.parametrize("layer", LAYERS)
def test_threads_beside_numbas_own_for_long(layer):
    repeat_in_layer(layer, 200)


def test_a_fit_elsewhere_does_not_mix_two_models():
    """Whoever predicts gets one of the models, never the weights of one and biases of another."""
    X, y = two_classes(100, 6)
    models = [
        quietly(MLPBinaryClassifier((10,), max_iter=k, random_state=k).fit, X, y) for k in (1, 2)
    ]
    allowed = {model.decision_function(X).tobytes() for model in models}

    class Refitted(MLPBinaryClassifier):
        """Another thread ends a fit at the very moment after the weights have been read."""

        def __getattribute__(self, name):
            value = super().__getattribute__(name)
            if name == "coefs_":
                vars(self).update(coefs_=models[1].coefs_, intercepts_=models[1].intercepts_)
            return value

    shared = Refitted((10,))
    vars(shared).update(vars(models[0]))
    assert shared.decision_function(X).tobytes() in allowed


def test_many_threads_fit_one_estimator():
    X, y = two_classes(200, 6)
    model = MLPBinaryClassifier((10,), max_iter=3, random_state=0)
    expected = bits(quietly(model.fit, X, y), X)

    def fit():
        for _ in range(5):
            model.fit(X, y)

    quietly(in_threads, *[fit] * N_THREADS)
    assert bits(model, X) == expected
