"""Shards: what a partition is packed to, and training on shares of it, against plain NumPy."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmlp.data.parts import Part
from fastmlp.network.layout import Network
from fastmlp.network.optimizer import Optimizer
from fastmlp.network.regularisation import NONE
from fastmlp.network.session import State
from fastmlp.training.blocks import Packing, make_shard, pack
from fastmlp.training.shards import (
    Progress,
    Task,
    average,
    evaluate,
    held_out,
    share_of,
    sum_gradient,
    train_round,
)
from fastmlp.training.windows import Pieces, window_rows

FLOAT32 = np.dtype(np.float32)
NETWORK = Network((3, 4, 1), ("relu",), FLOAT32)


def task(**changes):
    settings = {
        "network": NETWORK, "optimizer": Optimizer("adam"), "regularisation": NONE, "alpha": 0.0,
        "batch_size": 5, "shuffle": True, "seed": 0, "n_rounds": 3, **changes,
    }  # fmt: skip
    return Task(**settings)


def rows(n, seed=0):
    rng = np.random.RandomState(seed)
    X = rng.randn(n, 3).astype(np.float32)
    return X, np.where(X[:, 0] > 0, "yes", "no")


def shard_of(*sizes, packing=None, weights=False, classes=("no", "yes"), by_class=None):
    packing = packing or Packing(None)
    blocks = []
    for number, n in enumerate(sizes):
        X, y = rows(n, number)
        weight = np.arange(1.0, n + 1) if weights else None
        blocks.append(pack(X, y, weight, number, packing))
    return make_shard(blocks, np.array(classes), FLOAT32, by_class)


def start(seed=0):
    rng = np.random.RandomState(seed)
    n = NETWORK.n_parameters
    zeros = [np.zeros(n, np.float32) for _ in range(2)]
    return State(0, (0.5 * rng.randn(n)).astype(np.float32), zeros)


@given(
    n_rows=st.integers(1, 200), size=st.integers(1, 50), seed=st.integers(0, 99),
    cuts=st.lists(st.integers(0, 200), max_size=6),
)  # fmt: skip
def test_pieces_have_each_row_once(n_rows, size, seed, cuts):
    pieces = Pieces(n_rows, size)
    order = np.random.RandomState(seed).permutation(pieces.n_pieces)
    ends = sorted({0, n_rows, *(min(cut, n_rows) for cut in cuts)})
    found = []
    for first, last in pairwise(ends):
        runs = pieces.ranges(order, first, last)
        assert sum(stop - begin for begin, stop in runs) == last - first
        found += [row for begin, stop in runs for row in range(begin, stop)]
    assert sorted(found) == list(range(n_rows))
    expected = [row for k in order for row in range(k * size, min((k + 1) * size, n_rows))]
    assert found == expected


@given(n_rows=st.integers(1, 500), batches=st.integers(1, 9), batch_rows=st.integers(1, 20))
def test_windows_are_even(n_rows, batches, batch_rows):
    most = batches * batch_rows
    size = window_rows(n_rows, most, batch_rows)
    assert size % batch_rows == 0
    assert 1 <= size <= most
    assert -(-n_rows // size) == -(-n_rows // most)  # no more windows than full ones would be
    last = n_rows - (-(-n_rows // size) - 1) * size
    assert last > 0
    if batch_rows == 1:
        assert size - last < -(-n_rows // size)


@given(n_rows=st.integers(0, 300), n_rounds=st.integers(1, 9), batch_size=st.integers(1, 40))
def test_rounds_share_the_rows_in_whole_minibatches(n_rows, n_rounds, batch_size):
    places = [
        share_of(n_rows, k, task(n_rounds=n_rounds, batch_size=batch_size))
        for k in range(n_rounds + 1)
    ]
    assert places[0] == 0
    assert places[-1] == n_rows
    assert places == sorted(places)
    assert all(place % batch_size == 0 for place in places[:-1])


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("by_class", [None, np.array([1.0, 3.0])])
def test_a_shard_reads_its_blocks_rows(weights, by_class):
    shard = shard_of(7, 1, 12, weights=weights, by_class=by_class)
    X = np.concatenate([rows(n, k)[0] for k, n in enumerate((7, 1, 12))])
    y = np.concatenate([rows(n, k)[1] for k, n in enumerate((7, 1, 12))]) == "yes"
    weight = np.ones(20)
    if weights:
        weight = np.concatenate([np.arange(1.0, n + 1) for n in (7, 1, 12)])
    if by_class is not None:
        weight = weight * np.where(y, 3.0, 1.0)
    for first, last in ((0, 20), (6, 9), (19, 20), (3, 18)):
        room = shard.room(last - first)
        shard.read(first, room)
        assert np.array_equal(room.X, X[first:last])
        assert np.array_equal(room.targets, y[first:last])
        if weights or by_class is not None:
            assert np.array_equal(room.weight, weight[first:last])
        else:
            assert room.weight is None


def test_held_out_rows_are_a_share_of_each_partition():
    packing = Packing(None, 0.25, seed=3)
    packed = [pack(*rows(2000, k), None, k, packing) for k in range(3)]
    for block, info in packed:
        assert info.n_rows + info.n_held_out == 2000
        assert 400 < info.n_held_out < 600
        both = np.concatenate([block.trained.X, block.held_out.X])
        assert len(np.unique(both, axis=0)) == 2000
    again, _ = pack(*rows(2000, 1), None, 1, packing)
    assert np.array_equal(again.held_out.X, packed[1][0].held_out.X)
    other, _ = pack(*rows(2000, 1), None, 1, Packing(None, 0.25, seed=4))
    assert not np.array_equal(other.held_out.X[:100], again.held_out.X[:100])


def test_rows_that_lie_one_after_the_other_are_not_copied():
    X, y = rows(10)
    block, _ = pack(X, y, None, 0, Packing(None))
    assert np.shares_memory(block.trained.X, X)


def test_a_shard_says_how_large_it_is():
    shard = shard_of(1000)
    assert shard.__sizeof__() >= 1000 * (3 * 4 + 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (np.where(X[2, 1] == X, np.nan, X), y), "partition 4: Input X contains NaN"),
        (lambda X, y: (np.full(X.shape, "a"), y), "partition 4: "),
        (lambda X, y: (X, [*y[:6], "yes", "no", "may"]), "partition 4: Only binary"),
        (lambda X, y: (X, y[1:]), "partition 4: X has 9 rows, and y has 8"),
        (lambda X, y: (X.astype(complex), y), "partition 4: "),
    ],
)
def test_what_is_wrong_in_a_partition(change, message):
    X, y = change(*rows(9))
    with pytest.raises(ValueError, match=message):
        pack(X, y, None, 4, Packing(None))


@pytest.mark.parametrize("weight", [[-1.0] * 9, [np.nan] * 9, [1.0] * 8])
def test_weights_that_are_none(weight):
    with pytest.raises(ValueError, match=r"partition 2: .*sample_weight"):
        pack(*rows(9), np.array(weight), 2, Packing(None))


def test_a_partition_without_rows():
    block, info = pack(np.empty((0, 3)), np.empty(0, str), None, 0, Packing(None))
    assert (info.n_rows, info.n_held_out, info.n_features) == (0, 0, 3)
    assert make_shard([(block, info)], np.array(["no", "yes"]), FLOAT32, None).n_rows == 0


def test_a_round_trains_on_its_share_alone():
    """Each row is one of a feature's own, so weights tell which rows were trained on."""
    network = Network((40, 1), (), np.dtype(np.float64))
    X, y = np.eye(40), np.arange(40) % 2
    shard = make_shard([pack(X, y, None, 0, Packing(None))], np.arange(2), np.dtype(float), None)
    settings = task(network=network, optimizer=Optimizer("sgd", momentum=0.0), n_rounds=4)
    state = State(0, np.zeros(41), [np.zeros(41)])
    trained = []
    for k in range(4):
        after = train_round(shard, Progress(state), settings, (0, k, 0), 0.1, 1)
        trained += np.flatnonzero(after.state.parameters[:40]).tolist()
        assert after.counted == 10
        assert after.state.step == 2
    assert sorted(trained) == list(range(40))


def test_orders_differ_by_epoch_round_shard_and_seed():
    shard, begin = shard_of(60), Progress(start())
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    states = [train_round(shard, begin, task(), p, 0.01, 1).state.parameters for p in places]
    states.append(train_round(shard, begin, task(seed=1), places[0], 0.01, 1).state.parameters)
    again = train_round(shard, begin, task(), places[0], 0.01, 2).state.parameters
    assert np.array_equal(states[0], again)
    for k, state in enumerate(states):
        assert all(not np.array_equal(state, other) for other in states[:k])


def test_rates_are_those_of_the_same_share_of_the_epoch():
    """Rates of 0 in all but one quarter of the epoch leave the other rounds where they are."""
    shard, begin = shard_of(60), Progress(start())
    settings = task(optimizer=Optimizer("sgd", momentum=0.0), n_rounds=4)
    begin.state.moments.pop()
    rates = np.repeat([0.0, 0.1, 0.0, 0.0], 25)
    moved = [
        not np.array_equal(
            train_round(shard, begin, settings, (0, k, 0), rates, 1).state.parameters,
            begin.state.parameters,
        )
        for k in range(4)
    ]
    assert moved == [False, True, False, False]


def test_average_by_rows_in_float64():
    rng = np.random.RandomState(0)
    n, counts = NETWORK.n_parameters, [30, 50, 0, 20]
    vectors = rng.randn(4, 4, n).astype(np.float32)
    shards = [
        Progress(State(k, v[0], [v[1], v[2]], v[3]), 2.0 * k, count)
        for k, (v, count) in enumerate(zip(vectors, counts, strict=True))
    ]
    result = average(Progress(start(), 7.0, 100), shards)
    share = np.array(counts) / 100
    expected = np.einsum("s,svn->vn", share, vectors.astype(np.float64))
    found = [result.state.parameters, *result.state.moments, result.state.average]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    assert all(array.dtype == FLOAT32 for array in found)
    assert result.state.step == 3
    assert result.losses == 7.0 + 2.0 * (1 + 2 + 3)
    assert result.counted == 200


def test_average_of_one_shard_is_that_shard():
    after = train_round(shard_of(60), Progress(start()), task(), (0, 0, 0), 0.01, 1)
    mean = average(Progress(start()), [after])
    assert np.array_equal(mean.state.parameters, after.state.parameters)
    assert all(map(np.array_equal, mean.state.moments, after.state.moments))


def test_nothing_to_train_on_changes_nothing():
    begin = Progress(start())
    after = train_round(shard_of(0), begin, task(), (0, 0, 0), 0.01, 1)
    assert average(begin, [after, after]) is begin


@pytest.mark.parametrize("weight_is_given", [False, True])
def test_evaluate(weight_is_given):
    """Sums against plain formulas, over rows that are validated on."""
    shard = shard_of(9, 4, packing=Packing(None, 1.0), weights=weight_is_given)
    state = start()
    score = evaluate(shard, state.parameters, task(), True, 1)
    (W1, W2), (b1, b2) = NETWORK.unflatten(state.parameters.astype(np.float64))
    X = np.concatenate([rows(9, 0)[0], rows(4, 1)[0]]).astype(np.float64)
    y = np.concatenate([rows(9, 0)[1], rows(4, 1)[1]]) == "yes"
    weight = np.ones(13)
    if weight_is_given:
        weight = np.concatenate([np.arange(1.0, 10), np.arange(1.0, 5)])
    z = (np.maximum(X @ W1 + b1, 0) @ W2 + b2)[:, 0]
    loss = np.logaddexp(0, np.where(y, -z, z))
    assert score.weight == weight.sum()
    np.testing.assert_allclose(score.loss, weight @ loss, rtol=1e-5)
    assert score.right == weight[(z > 0) == y].sum()
    np.testing.assert_allclose(
        np.concatenate(score.probabilities)[:, 1], 1 / (1 + np.exp(-z)), rtol=1e-5
    )
    assert evaluate(shard, state.parameters, task(), False, 1).probabilities == ()
    targets, weights = held_out(shard)
    assert np.array_equal(targets, y)
    assert np.array_equal(weights, weight) if weight_is_given else weights is None


def test_sum_of_gradients_against_finite_differences():
    network = Network((3, 4, 1), ("tanh",), np.dtype(np.float64))
    shard, settings = shard_of(9, 4, weights=True), task(network=network)
    theta = np.random.RandomState(1).randn(network.n_parameters)
    loss, slope, total = sum_gradient(shard, theta, settings, 1)
    assert total == sum(range(10)) + sum(range(5))
    for k in range(network.n_parameters):
        step = np.zeros_like(theta)
        step[k] = 1e-6
        up, down = (sum_gradient(shard, theta + s, settings, 1)[0] for s in (step, -step))
        np.testing.assert_allclose(slope[k], (up - down) / 2e-6, rtol=1e-5, atol=1e-6)
    assert loss > 0


def test_part_takes_rows():
    part = Part.empty(3, 2, FLOAT32, weighted=True)
    part.put(1, Part(np.ones((2, 2)), np.array([True, False]), np.array([2.0, 3.0])))
    assert part.rows(1, 3).weight.tolist() == [2.0, 3.0]
    assert part.X[1:].tolist() == [[1, 1], [1, 1]]
    assert part.targets[1:].tolist() == [True, False]


def test_rows_are_known_again_by_a_digest():
    X, y = rows(20)
    weight = np.arange(40.0)[::2]  # numbers that do not lie side by side

    def digest(X=X, y=y, weight=weight, share=0.0):
        return pack(X, y, weight, 0, Packing(None, share))[1].digest

    assert digest() == digest(X.copy(), y.copy(), weight.copy())
    others = [
        digest(X[::-1], y[::-1], weight[::-1]), digest(X + np.eye(20, 3, dtype=np.float32)),
        digest(y=y[::-1]), digest(y=np.where(y == "yes", "y", y)), digest(weight=weight + 1),
        digest(weight=None), digest(share=0.5), digest(X[:-1], y[:-1], weight[:-1]),
    ]  # fmt: skip
    assert len({digest(), *others}) == 9
