"""The layout of a network's numbers: round trips, padding, overlaps, strides and errors."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmlp.kernels import fields as at
from fastmlp.kernels.activations import ACTIVATIONS
from fastmlp.kernels.vectors import BLOCK
from fastmlp.network import Network, padded, row_stride

DTYPES = (np.float32, np.float64)
widths = st.one_of(
    st.integers(1, 40),
    st.sampled_from([16, 32, 48, 100, 127, 128, 129, 240, 241, 256, 257, 300, 512]),
)


@st.composite
def networks(draw):
    hidden = draw(st.lists(widths, max_size=5))
    activations = tuple(draw(st.sampled_from(list(ACTIVATIONS))) for _ in hidden)
    dtype = draw(st.sampled_from(DTYPES))
    return Network((draw(widths), *hidden, 1), activations, np.dtype(dtype))


def random_parameters(network, seed):
    rng = np.random.RandomState(seed)
    coefs = [rng.randn(*shape).astype(network.dtype) for shape in network.shapes()]
    return coefs, [rng.randn(n_out).astype(network.dtype) for _, n_out in network.shapes()]


def layers(network):
    """Each layer's entry of the table as a dictionary of Python integers."""
    names = ("N_IN", "N_OUT", "INPUT_STRIDE", "WEIGHTS", "STRIDE", "ROWS", "BIAS", "TRANSPOSED",
             "TRANSPOSED_STRIDE", "ACTIVATION", "FIRST_ROW")  # fmt: skip
    return [{name: int(entry[getattr(at, name)]) for name in names} for entry in network.table]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(network=networks(), seed=st.integers(0, 2**32 - 1))
def test_unpack_gives_back_what_pack_was_given(network, seed):
    coefs, intercepts = random_parameters(network, seed)
    kept = [array.copy() for array in (*coefs, *intercepts)]
    flat = np.zeros(network.size, network.dtype)
    network.pack((coefs, intercepts), flat)
    new_coefs, new_intercepts = network.unpack(flat)
    for array, before, after in zip(
        (*coefs, *intercepts), kept, (*new_coefs, *new_intercepts), strict=True
    ):
        np.testing.assert_array_equal(array, before)
        np.testing.assert_array_equal(after, before)
        assert after.shape == before.shape
        assert after.dtype == network.dtype
        assert after.flags.c_contiguous
        assert after.flags.owndata
        assert not np.shares_memory(after, flat)
    # What is not a parameter is padding, and padding was left alone.
    n_parameters = sum(array.size for array in kept)
    assert np.count_nonzero(flat) == n_parameters


@settings(max_examples=60, deadline=None, derandomize=True)
@given(network=networks(), seed=st.integers(0, 2**32 - 1))
def test_pack_writes_no_padding(network, seed):
    flat = np.full(network.size, np.nan, network.dtype)
    parameters = random_parameters(network, seed)
    network.pack(parameters, flat)
    n_parameters = sum(array.size for array in (*parameters[0], *parameters[1]))
    assert np.isfinite(flat).sum() == n_parameters


@settings(max_examples=60, deadline=None, derandomize=True)
@given(network=networks())
def test_layout(network):
    entries = layers(network)
    assert len(entries) == network.n_layers == len(network.widths) - 1
    itemsize = network.dtype.itemsize
    taken, transposed, rows = [], [], 0
    for k, (entry, (n_in, n_out)) in enumerate(zip(entries, network.shapes(), strict=True)):
        last = k == network.n_layers - 1
        stored = (1, n_in) if last else (n_in, n_out)
        assert (entry["N_IN"], entry["N_OUT"], entry["ROWS"]) == (n_in, n_out, stored[0])
        assert entry["INPUT_STRIDE"] == network.strides[k] == row_stride(n_in, network.dtype)
        for stride in (entry["INPUT_STRIDE"], entry["STRIDE"]):
            assert stride % BLOCK == 0
            assert stride * itemsize % 1024 != 0
        assert entry["STRIDE"] >= stored[1]
        # Whole blocks of rows exist where the transpose reads them.
        held = stored[0] if last else padded(n_in)
        taken.append((entry["WEIGHTS"], entry["WEIGHTS"] + held * entry["STRIDE"]))
        taken.append((entry["BIAS"], entry["BIAS"] + (BLOCK if last else entry["STRIDE"])))
        if k > 0 and not last:
            assert entry["TRANSPOSED_STRIDE"] >= padded(n_in)
            length = padded(n_out) * entry["TRANSPOSED_STRIDE"]
            transposed.append((entry["TRANSPOSED"], entry["TRANSPOSED"] + length))
        if not last:
            assert entry["ACTIVATION"] == ACTIVATIONS[network.activations[k]]
        assert entry["FIRST_ROW"] == rows
        rows += entry["ROWS"]
    assert rows == network.n_rows
    for places, size in ((taken, network.size), (transposed, network.transposed_size)):
        places.sort()
        ends = [0, *(end for _, end in places)]
        assert all(start % BLOCK == 0 for start, _ in places)
        assert [start for start, _ in places] == ends[:-1]  # beside each other: no overlap, no gap
        assert ends[-1] == size


@pytest.mark.parametrize("dtype", DTYPES)
def test_strides_never_map_rows_onto_few_cache_sets(dtype):
    for n in range(1, 3000):
        stride = row_stride(n, np.dtype(dtype))
        assert stride % BLOCK == 0
        assert n <= stride < n + 2 * BLOCK
        assert stride * np.dtype(dtype).itemsize % 1024 != 0


def test_padded():
    assert [padded(n) for n in (0, 1, 15, 16, 17, 32)] == [0, 16, 16, 16, 32, 32]


def test_the_layout_is_the_same_on_every_cpu():
    # Worked out by hand; the tests with other vector widths run this one too.
    network = Network((5, 256, 40, 1), ("relu", "tanh"), np.dtype(np.float32))
    entries = layers(network)
    assert network.strides == [16, 272, 48]  # 256 floats are 1024 bytes: one block more
    assert [e["WEIGHTS"] for e in entries] == [0, 17 * 272, 17 * 272 + 257 * 48]
    assert [e["BIAS"] for e in entries] == [16 * 272, 17 * 272 + 256 * 48, 17 * 272 + 258 * 48]
    assert network.size == 17 * 272 + 258 * 48 + 16
    assert network.transposed_size == 48 * 272
    assert network.n_rows == 5 + 256 + 1


def test_pickle_and_equality():
    network = Network((4, 3, 1), ("tanh",), np.dtype(np.float32))
    network.table  # noqa: B018  (cached: it must not get in the way)
    again = pickle.loads(pickle.dumps(network))
    assert again == network
    assert hash(again) == hash(network)
    np.testing.assert_array_equal(again.table, network.table)
    assert network != Network((4, 3, 1), ("relu",), np.dtype(np.float32))


def test_it_cannot_be_changed():
    network = Network((4, 3, 1), ("tanh",), np.dtype(np.float32))
    with pytest.raises(AttributeError):
        network.widths = (5, 3, 1)
    with pytest.raises(ValueError, match="read-only"):
        network.table[0, 0] = 7


@pytest.mark.parametrize(
    ("widths", "activations"),
    [
        ((4, 3, 1), ()),
        ((4, 1), ("relu",)),
        ((4, 3, 2), ("relu",)),
        ((4,), ()),
        ((), ()),
        ((0, 1), ()),
        ((4, 0, 1), ("relu",)),
        ((4, -3, 1), ("relu",)),
    ],
)
def test_networks_that_cannot_be(widths, activations):
    with pytest.raises(ValueError, match=r"No network has|must be positive"):
        Network(widths, activations, np.dtype(np.float64))


def test_parameters_of_another_network():
    network = Network((4, 3, 1), ("tanh",), np.dtype(np.float64))
    flat = np.zeros(network.size)
    coefs, intercepts = random_parameters(network, 0)
    with pytest.raises(ValueError, match="has 2 layers"):
        network.pack((coefs[:1], intercepts), flat)
    with pytest.raises(ValueError, match="has 2 layers"):
        network.pack((coefs, intercepts[:1]), flat)
    with pytest.raises(ValueError, match=r"coefs_\[1\] must have shape \(3, 1\)"):
        network.pack(([coefs[0], coefs[1][:2]], intercepts), flat)
    with pytest.raises(ValueError, match=r"coefs_\[0\] must have shape \(4, 3\)"):
        network.pack(([coefs[0].T, coefs[1]], intercepts), flat)
    with pytest.raises(ValueError, match=r"intercepts_\[0\] must have shape \(3,\)"):
        network.pack((coefs, [intercepts[0][:1], intercepts[1]]), flat)


def test_parameters_are_converted():
    network = Network((2, 1), (), np.dtype(np.float32))
    flat = np.zeros(network.size, np.float32)
    network.pack(([[[1], [2]]], [[3]]), flat)
    coefs, intercepts = network.unpack(flat)
    assert coefs[0].tolist() == [[1.0], [2.0]]
    assert intercepts[0].tolist() == [3.0]


def test_layers_of_one_unit():
    network = Network((1, 1, 1, 1), ("relu", "relu"), np.dtype(np.float64))
    parameters = random_parameters(network, 1)
    flat = np.zeros(network.size)
    network.pack(parameters, flat)
    for array, back in zip(parameters[0], network.unpack(flat)[0], strict=True):
        np.testing.assert_array_equal(array, back)
