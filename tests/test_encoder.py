"""A network of members that share a trunk behind embedded columns, beside its NumPy twin."""

import numpy as np
import pytest

from fastmlp.data.rows import as_rows
from fastmlp.network.regularisation import Regularisation
from fastmlp.network.session import Optimizer, Session
from tests import tables


def session_of(case, parameters, n_threads=1):
    session = Session(case.network, n_threads, columns=case.columns)
    session.set_parameters(*parameters)
    return session


def one_step(case, parameters, rows, rate=1.0, **more):
    """Parameters after a step of gradient descent on some rows: what is taken away is ∂ℒ."""
    session = session_of(case, parameters, more.pop("n_threads", 1))
    session.prepare(
        as_rows(case.X, case.network.dtype), case.y, more.pop("weight", None), len(rows), alpha=0,
        optimizer=Optimizer("sgd", momentum=0.0, nesterov=False), **more,
    )  # fmt: skip
    loss = session.train_epoch(rows, rate)
    return loss, session.get_parameters()


@pytest.mark.parametrize("members", [1, 3, 8])
@pytest.mark.parametrize("width", [8, 16])
def test_probabilities_are_the_mean_of_the_members(members, width):
    rng = np.random.default_rng(members)
    case = tables.random_case(rng, members=members, width=width, n_rows=300)
    parameters = tables.random_parameters(case.network, rng)
    rows = as_rows(case.X, case.network.dtype)
    p = session_of(case, parameters).probabilities(rows)
    expected = np.mean(1 / (1 + np.exp(-tables.logits(case, parameters))), axis=1)
    np.testing.assert_allclose(p[:, 1], expected, rtol=1e-12)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-14)


@pytest.mark.parametrize("members", [1, 3, 8])
@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_gradients_are_those_of_finite_differences(members, plain, weighted):
    rng = np.random.default_rng(members)
    case = tables.random_case(rng, members=members, n_rows=150, plain=plain)
    parameters = tables.random_parameters(case.network, rng)
    rows = rng.permutation(150)
    weight = rng.uniform(0.5, 2, 150) if weighted else None

    def mean_loss(parameters):
        return np.average(tables.losses(case, parameters), weights=weight)

    loss, after = one_step(case, parameters, rows, weight=weight)
    np.testing.assert_allclose(loss, mean_loss(parameters), rtol=1e-12)
    network, h = case.network, 1e-6
    flat = network.flatten(parameters)
    found = flat - network.flatten(after)
    for k in rng.choice(flat.size, 200, replace=False):
        step = np.zeros_like(flat)
        step[k] = h
        high, low = (mean_loss(network.unflatten(flat + s * step)) for s in (1, -1))
        np.testing.assert_allclose(found[k], (high - low) / (2 * h), atol=3e-9)


@pytest.mark.parametrize(
    ("alpha", "more"),
    [
        (0.1, {}),
        (0, {"regularisation": Regularisation(max_grad_norm=1.0)}),
        (0, {"regularisation": Regularisation(input_dropout=0.1)}),
    ],
)
def test_what_an_encoder_has_no_steps_for(alpha, more):
    rng = np.random.default_rng(0)
    case = tables.random_case(rng)
    session = session_of(case, tables.random_parameters(case.network, rng))
    rows = as_rows(case.X, case.network.dtype)
    with pytest.raises(ValueError, match="An encoder has no"):
        session.prepare(rows, case.y, None, 10, alpha=alpha, optimizer=Optimizer(), **more)
    session.prepare(rows, case.y, None, 10, alpha=0, optimizer=Optimizer())
    with pytest.raises(ValueError, match="in minibatches"):
        session.loss_and_gradient()
    with pytest.raises(ValueError, match="whose mean"):
        session.logits(rows)


@pytest.mark.parametrize("n_threads", [2, 5])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("members", "batch_size"), [(8, 256), (4, 100), (1, 256), (3, 37)])
def test_bits_do_not_depend_on_threads(n_threads, dtype, members, batch_size):
    rng = np.random.default_rng(0)
    case = tables.random_case(rng, members=members, n_rows=2000, hidden=(64, 48), dtype=dtype)
    parameters = tables.random_parameters(case.network, rng)
    results = []
    for threads in (1, n_threads):
        session = session_of(case, parameters, threads)
        rows = as_rows(case.X, case.network.dtype)
        session.prepare(rows, case.y, None, batch_size, alpha=0, optimizer=Optimizer())
        losses = [session.train_epoch(np.arange(2000), 0.01) for _ in range(2)]
        results.append((losses, session.state().parameters, session.probabilities(rows)))
    assert results[0][0] == results[1][0]
    for one, other in zip(results[0][1:], results[1][1:], strict=True):
        np.testing.assert_array_equal(one, other)
    assert results[0][0][1] < results[0][0][0]
