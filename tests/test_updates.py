"""One update of the parameters in place: SGD, momentum, Nesterov and Adam, against the twin."""

import numpy as np
import pytest
from compiled import address, call, filled
from guards import Guarded, Panels, check_unchanged
from hypothesis import given, settings
from hypothesis import strategies as st
from naive import adam_step, gradient_descent_step, sgd_step

from fastmlp.kernels.epoch import EPOCH
from fastmlp.kernels.simd.vector import PANEL
from fastmlp.kernels.updates import CONSTANTS, adam, nesterov, sgd, sum_of_blocks, update_record
from fastmlp.network.optimizer import Optimizer

DTYPES = (np.float32, np.float64)
PIECES = {"adam": adam, "nesterov": nesterov, "sgd": sgd}


def optimizer_of(name, **constants):
    if name == "adam":
        return Optimizer("adam", **constants)
    return Optimizer("sgd", nesterov=name == "nesterov", **constants)


def run(name, arrays, alpha, scale, rate, optimizer, rows=None, gap=0):
    """The arrays (w, m, v, g), each (rows, columns), after one update of some rows (a slice).

    Parameters move by `first`; the gradient lies in the third room of its unit.
    """
    dtype = arrays[0].dtype
    rows = slice(0, len(arrays[0])) if rows is None else rows
    w, m, v = (Panels(x, gap=gap, shift=k) for k, x in enumerate(arrays[:3]))
    rooms = np.zeros((3, *arrays[3][rows].shape), dtype)
    rooms[2] = arrays[3][rows]
    g = Panels(rooms, gap=gap + 1, shift=3)
    update = optimizer.update(dtype, alpha)
    rates, scales = np.array([np.nan, rate]), np.array([np.nan, scale])
    epoch = filled(EPOCH, rates=rates, scales=scales)
    record = filled(
        update_record(dtype.name),
        **{key: x.fields(advance=x.row) for key, x in (("w", w), ("m", m), ("v", v))},
        dw=g, alpha=update.alpha, **dict(zip(CONSTANTS, update.constants, strict=True)),
        speed=1.0, epoch=address(epoch),
    )  # fmt: skip
    call(PIECES[name], record, at=2, first=rows.start, rows=rows.stop - rows.start, batch=1)
    check_unchanged(g)
    w.check(rows)
    m.check(rows)
    v.check(rows if name == "adam" else slice(0))
    for x in (w, m, v):
        assert not x.padded[:, :, x.columns :].any()  # padding stays zero
    return [x.values[rows] for x in (w, m, v)]


@pytest.mark.parametrize("momentum", [0.0, 1e-9, 0.9])
@pytest.mark.parametrize("name", PIECES)
def test_the_update_of_an_optimizer(name, momentum):
    # Without momentum Nesterov's formula is that of plain gradient descent (N4): it runs that one.
    expected = "sgd" if name == "nesterov" and momentum == 0 else name
    update = optimizer_of(name, momentum=momentum).update(np.dtype(np.float64), 0.0)
    assert update.piece is PIECES[expected]


def state(seed, shape, dtype):
    rng = np.random.RandomState(seed)
    w, m, g = (rng.randn(*shape).astype(dtype) for _ in range(3))
    return w, m, (rng.rand(*shape) ** 2).astype(dtype), g


settings_of_a_step = {
    "seed": st.integers(0, 2**32 - 1),
    "shape": st.tuples(st.integers(1, 12), st.integers(1, 40)),
    "cut": st.tuples(st.integers(0, 12), st.integers(0, 12)),
    "alpha": st.sampled_from([0.0, 1e-4, 0.5]),
    "total": st.integers(1, 400),
    "rate": st.sampled_from([1e-3, 0.1, 2.0]),
    "gap": st.integers(0, 2),
}


def rows_of(cut, shape):
    low, high = sorted(min(x, shape[0]) for x in cut)
    return slice(low, high)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["sgd", "nesterov"])
@settings(max_examples=25, deadline=None, derandomize=True)
@given(momentum=st.sampled_from([0.0, 0.5, 0.9, 1.0]), **settings_of_a_step)
def test_sgd(dtype, name, momentum, seed, shape, cut, alpha, total, rate, gap):
    w, velocity, other, g = state(seed, shape, dtype)
    rows, optimizer = rows_of(cut, shape), optimizer_of(name, momentum=momentum)
    new = run(name, (w, velocity, other, g), alpha, 1 / total, rate, optimizer, rows, gap)
    w, velocity, g = w[rows], velocity[rows], g[rows]
    gradient = (g + alpha * w.astype(np.float64)) / total
    expected = sgd_step(
        w.astype(np.float64), gradient, velocity, rate, momentum, name == "nesterov"
    )
    eps = np.finfo(dtype).eps
    for array, twin in zip(new, expected, strict=False):
        np.testing.assert_allclose(array, twin, rtol=8 * eps, atol=20 * eps)
    # Without momentum, and from rest, both are plain gradient descent (N4).
    if momentum == 0:
        plain = gradient_descent_step(w.astype(np.float64), gradient, rate)
        np.testing.assert_allclose(new[0], plain, rtol=8 * eps, atol=20 * eps)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    step=st.sampled_from([1, 2, 10, 1000]),
    betas=st.sampled_from([(0.9, 0.999), (0.0, 0.0), (0.5, 0.9)]),
    epsilon=st.sampled_from([1e-8, 1e-3]),
    **settings_of_a_step,
)
def test_adam(dtype, step, betas, epsilon, seed, shape, cut, alpha, total, rate, gap):
    arrays = state(seed, shape, dtype)
    optimizer = optimizer_of("adam", beta_1=betas[0], beta_2=betas[1], epsilon=epsilon)
    corrected, rows = optimizer.rates(rate, np.array([step]))[0], rows_of(cut, shape)
    new = run("adam", arrays, alpha, 1 / total, corrected, optimizer, rows, gap)
    w, first, second, g = (x[rows] for x in arrays)
    gradient = (g + alpha * w.astype(np.float64)) / total
    expected = adam_step(
        w.astype(np.float64), gradient, first, second, step, rate, *betas, epsilon
    )  # fmt: skip
    eps = np.finfo(dtype).eps
    moved = np.abs(expected[0] - w).max(initial=1)
    for array, twin in zip(new, expected, strict=True):
        np.testing.assert_allclose(array, twin, rtol=16 * eps, atol=16 * eps * moved)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PIECES)
def test_zeros_stay_zeros(dtype, name):
    # What padding relies on.
    new = run(name, [np.zeros((3, 16), dtype)] * 4, 0.1, 0.01, 1.0, optimizer_of(name))
    for array in new:
        np.testing.assert_array_equal(array, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("epsilon", [1e-30, 1e-50, 1e-300])
def test_zeros_stay_zeros_however_small_epsilon_is(dtype, epsilon):
    # 1e-50 is 0 in float32.
    optimizer = Optimizer(epsilon=epsilon)
    new = run("adam", [np.zeros((1, 16), dtype)] * 4, 0.1, 0.01, 1.0, optimizer)
    for array in new:
        np.testing.assert_array_equal(array, 0)
    arrays = state(0, (1, 16), dtype)
    w = run("adam", arrays, 0.1, 0.01, 0.1, optimizer)[0]
    other = run("adam", arrays, 0.1, 0.01, 0.1, Optimizer(epsilon=1e-37))[0]
    np.testing.assert_array_equal(w, other)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PIECES)
def test_nan_in_a_gradient_reaches_its_weight_alone(dtype, name):
    w, m, v, g = state(1, (3, 16), dtype)
    g[1, 1] = np.nan
    new = run(name, (w, m, v, g), 0.1, 1.0, 0.1, optimizer_of(name))[0]
    np.testing.assert_array_equal(np.isnan(new).ravel(), np.arange(48) == 17)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounded_constants_of_adam(dtype):
    # 1 − β₂ is rounded once: from the float32 0.999 it would be 5e-5 off.
    arrays = [np.zeros((1, 16), dtype)] * 3 + [np.ones((1, 16), dtype)]
    _, first, second = run("adam", arrays, 0.0, 1.0, 0.0, Optimizer())
    np.testing.assert_allclose(first, 1 - 0.9, rtol=np.finfo(dtype).eps)
    np.testing.assert_allclose(second, 1 - 0.999, rtol=np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PIECES)
def test_rows_beside_each_other(dtype, name):
    # A matrix whose panels lie within its rows: one panel as wide as a row.
    arrays = state(2, (6, 40), dtype)
    expected = run(name, arrays, 0.1, 0.5, 0.1, optimizer_of(name), slice(1, 5))
    w, m, v, g = (Panels(x, shift=k, in_rows=True) for k, x in enumerate(arrays))
    update = optimizer_of(name).update(np.dtype(dtype), 0.1)
    epoch = filled(EPOCH, rates=np.array([0.1]), scales=np.array([0.5]))
    fields = {
        key: x.fields(panels=1, columns=x.row, advance=x.row)
        for key, x in (("w", w), ("m", m), ("v", v), ("dw", g))
    }
    fields["dw"][w.memory.dtype.name] += g.row * w.memory.itemsize  # the room begins with row 1
    fields["dw"]["advance"] = 0
    record = filled(
        update_record(w.memory.dtype.name), **fields, alpha=0.1, speed=1.0, epoch=address(epoch),
        **dict(zip(CONSTANTS, update.constants, strict=True)),
    )  # fmt: skip
    call(PIECES[name], record, first=1, rows=4)
    check_unchanged(g)
    for x, twin in zip((w, m, v), expected, strict=True):
        x.check(slice(1, 5))
        np.testing.assert_array_equal(x.values[1:5], twin)


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_blocks=st.integers(1, 6),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 40)),
    cut=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    block_rows=st.integers(1, 5),
    data=st.data(),
)
def test_sum_of_blocks(dtype, seed, n_blocks, shape, cut, block_rows, data):
    # The last block may be ragged; blocks after it belong to a longer minibatch.
    last = data.draw(st.integers(1, block_rows))
    length = (n_blocks - 1) * block_rows + last
    parts = np.random.RandomState(seed).randn(n_blocks + 1, *shape).astype(dtype)
    parts[n_blocks] = np.nan
    rows = rows_of(cut, shape)
    count = rows.stop - rows.start
    p = Panels(parts, gap=1)
    room = Panels(np.full((3, max(1, count), shape[1]), 7, dtype), gap=2, shift=1)
    epoch = filled(EPOCH, n_rows=2 * 40 + length, batch_size=40, block_rows=block_rows)
    record = filled(
        update_record(np.dtype(dtype).name), dw=room, parts=p.fields(advance=PANEL),
        speed=1.0, epoch=address(epoch),
    )  # fmt: skip
    call(sum_of_blocks, record, at=1, first=rows.start, rows=count, batch=2)
    check_unchanged(p)
    room.check(slice(count), block=1)
    expected = parts[0]
    for part in parts[1:n_blocks]:
        expected = expected + part  # in their order
    np.testing.assert_array_equal(room.values[1, :count], expected[rows])


def test_rates_and_scales_are_those_of_the_minibatch():
    rates, scales = Guarded(np.array([0.5, 0.25])), Guarded(np.array([1.0, 2.0]))
    w, g, m = Panels(np.zeros((1, 16))), Panels(np.ones((1, 16))), Panels(np.zeros((1, 16)))
    epoch = filled(EPOCH, rates=rates, scales=scales)
    record = filled(update_record("float64"), w=w, m=m, dw=g, speed=1.0, epoch=address(epoch))
    for batch, value in ((0, -0.5), (1, -1.0)):
        call(sgd, record, rows=1, batch=batch)
        np.testing.assert_array_equal(w.values, value)
    check_unchanged(rates, scales, g)
