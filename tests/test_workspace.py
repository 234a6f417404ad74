"""Buffers of a minibatch, and the cutting of phase 2 into units of equal work."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmlp.kernels import fields as at
from fastmlp.kernels.backprop import GRADIENT_ROWS
from fastmlp.kernels.vectors import BLOCK
from fastmlp.network import Network, padded
from fastmlp.workspace import Workspace, aligned_zeros, weight_segments

DTYPES = (np.float32, np.float64)


def network(widths, dtype=np.float32):
    return Network(tuple(widths), ("relu",) * (len(widths) - 2), np.dtype(dtype))


any_network = st.builds(
    lambda widths, dtype: network((*widths, 1), dtype),
    st.lists(st.one_of(st.integers(1, 60), st.integers(100, 700)), min_size=1, max_size=6),
    st.sampled_from(DTYPES),
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [0, 1, 7, 16, (3, 5, 32), (0, 4)])
def test_buffers_begin_on_cache_lines(dtype, shape):
    for _ in range(5):
        array = aligned_zeros(shape, np.dtype(dtype))
        assert array.dtype == dtype
        assert array.shape == (shape if isinstance(shape, tuple) else (shape,))
        assert array.size == 0 or array.ctypes.data % 64 == 0
        assert not array.any()
        assert array.flags.c_contiguous
        assert array.flags.writeable


@settings(max_examples=150, deadline=None, derandomize=True)
@given(network=any_network, n_units=st.integers(1, 16))
def test_every_row_of_every_layer_belongs_to_one_unit(network, n_units):
    segments = weight_segments(network, n_units)
    assert segments.dtype == np.int64
    assert segments.shape[1] == 4
    units = segments[:, 0]
    assert (np.diff(units) >= 0).all()
    assert units.min() >= 0
    assert units.max() < n_units
    for layer, entry in enumerate(network.table):
        parts = segments[segments[:, 1] == layer][:, 2:]
        assert parts[0, 0] == 0
        assert parts[-1, 1] == entry[at.ROWS]
        np.testing.assert_array_equal(parts[1:, 0], parts[:-1, 1])  # no row twice, none left out
        assert (parts[:, 0] < parts[:, 1]).all()
        if 0 < layer < network.n_layers - 1:  # it has a transposed copy
            assert (parts[:, 0] % BLOCK == 0).all()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(hidden=st.lists(st.integers(150, 400), min_size=1, max_size=4), n_units=st.integers(1, 8))
def test_units_have_equal_work(hidden, n_units):
    wide = network((200, *hidden, 1))
    work = np.zeros(n_units)
    finest = 0
    for unit, layer, first, end in weight_segments(wide, n_units):
        columns = wide.widths[layer + 1] if layer < wide.n_layers - 1 else wide.widths[layer]
        work[unit] += (end - first) * padded(columns)
        finest = max(finest, BLOCK * padded(columns))
    assert work.max() - work.min() <= 2 * finest


def test_one_unit_has_everything():
    np.testing.assert_array_equal(
        weight_segments(network((5, 40, 30, 1)), 1), [[0, 0, 0, 5], [0, 1, 0, 40], [0, 2, 0, 1]]
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    network=any_network,
    n_units=st.integers(1, 4),
    unit_rows=st.integers(1, 40),
    dense=st.booleans(),
    backward=st.booleans(),
)
def test_buffers_of_layers_do_not_overlap(network, n_units, unit_rows, dense, backward):
    n_rows = n_units * unit_rows
    space = Workspace(network, n_rows, n_units, unit_rows, dense=dense, backward=backward)
    end = 0
    for entry in space.table[1:]:
        assert entry[at.INPUT] == end
        end += n_rows * entry[at.INPUT_STRIDE]
    hidden = end
    if dense:
        assert space.table[0, at.INPUT] == end
        end += n_rows * space.table[0, at.INPUT_STRIDE]
    assert space.scratch.shape == (n_units, at.N_SCRATCH, padded(unit_rows))
    sizes = {at.ACTIVATIONS: end, at.SCRATCH: space.scratch.size}
    if backward:
        sizes |= {at.DELTAS: hidden, at.OUTPUT_DELTA: n_rows, at.ROW_LOSS: n_rows}
        sizes[at.BLOCK_GRADIENTS] = n_units * space.gradient_size
    assert {place: buffer.size for place, buffer in space.buffers.items()} == sizes
    assert space.block_rows >= 1
    # The network's own table is as it was.
    assert not network.table[:, at.INPUT].any()
    np.testing.assert_array_equal(space.table[:, : at.INPUT], network.table[:, : at.INPUT])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    hidden=st.lists(st.sampled_from([1, 2, 15, 16, 17, 100, 112, 300]), max_size=6),
    dtype=st.sampled_from(DTYPES),
    n_features=st.sampled_from([1, 16, 300]),
)
def test_room_for_a_block_of_gradients(hidden, dtype, n_features):
    net = network((n_features, *hidden, 1), dtype)
    space = Workspace(net, 8, 2, 4, dense=True, backward=True)
    room = np.full(space.gradient_size, -1)  # the first column of padding of each number's row
    for layer, entry in enumerate(space.table):
        last = layer == net.n_layers - 1
        rows, start = min(GRADIENT_ROWS, entry[at.ROWS]) + 1, entry[at.BLOCK_GRADIENT]
        part = room[start : start + rows * entry[at.STRIDE]]
        assert part.size == rows * entry[at.STRIDE]
        # Layers that share a number pad their rows alike.
        padding = -2 if last else entry[at.N_OUT]
        assert np.isin(part, (-1, padding)).all()
        part[...] = padding


def test_places():
    space = Workspace(network((5, 40, 1)), 8, 1, 8, dense=True, backward=True)
    places = np.zeros(at.N_PLACES, np.int64)
    space.write_places(places)
    assert places[at.ACTIVATIONS] == space.buffers[at.ACTIVATIONS].ctypes.data
    assert places[at.SCRATCH] == space.scratch.ctypes.data
    assert np.count_nonzero(places) == len(space.buffers) == 6


def test_blocks_of_rows_stay_in_cache_where_the_weights_do():
    narrow = Workspace(network((20, 50, 1)), 500, 1, 500, dense=True, backward=True)
    wide = Workspace(network((900, 900, 1)), 500, 1, 500, dense=True, backward=True)
    assert narrow.block_rows < 500
    assert wide.block_rows == 500
