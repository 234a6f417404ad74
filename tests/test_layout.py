"""The layout of a network's numbers: round trips, padding, overlaps, strides and errors."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmlp.kernels.simd.vector import PANEL
from fastmlp.network.layout import (
    Network,
    aligned_zeros,
    in_panels,
    in_rows,
    layout_of,
    padded,
)

#: Those of which `naive` has a twin.
ACTIVATIONS = ("identity", "logistic", "tanh", "relu")

DTYPES = (np.float32, np.float64)
widths = st.one_of(
    st.integers(1, 40),
    st.sampled_from([16, 32, 48, 100, 127, 128, 129, 240, 241, 256, 257, 300, 512]),
)


@st.composite
def networks(draw):
    hidden = draw(st.lists(widths, max_size=5))
    activations = tuple(draw(st.sampled_from(ACTIVATIONS)) for _ in hidden)
    dtype = draw(st.sampled_from(DTYPES))
    return Network((draw(widths), *hidden, 1), activations, np.dtype(dtype))


layouts = st.builds(layout_of, networks(), st.booleans())


def random_parameters(network, seed):
    rng = np.random.RandomState(seed)
    coefs = [rng.randn(*shape).astype(network.dtype) for shape in network.shapes()]
    return coefs, [rng.randn(n_out).astype(network.dtype) for _, n_out in network.shapes()]


def numbers_of(place):
    """Where the numbers of a place lie, by row, panel and column."""
    return place.start + (
        np.arange(place.rows)[:, None, None] * place.row
        + np.arange(place.panels)[:, None] * place.panel
        + np.arange(PANEL)
    )


# --- Numbers in and out ---------------------------------------------------------------------------


@settings(max_examples=80, deadline=None, derandomize=True)
@given(layout=layouts, seed=st.integers(0, 2**32 - 1))
def test_unpack_gives_back_what_pack_was_given(layout, seed):
    coefs, intercepts = random_parameters(layout.network, seed)
    kept = [array.copy() for array in (*coefs, *intercepts)]
    flat = np.zeros(layout.size, layout.network.dtype)
    layout.pack((coefs, intercepts), flat)
    new_coefs, new_intercepts = layout.unpack(flat)
    for array, before, after in zip(
        (*coefs, *intercepts), kept, (*new_coefs, *new_intercepts), strict=True
    ):
        np.testing.assert_array_equal(array, before)
        np.testing.assert_array_equal(after, before)
        assert after.shape == before.shape
        assert after.dtype == layout.network.dtype
        assert after.flags.c_contiguous
        assert after.base is None or after.base.size == after.size  # nothing else is kept alive
        assert not np.shares_memory(after, flat)
    # What is not a parameter is padding, and padding was left alone.
    n_parameters = sum(array.size for array in kept)
    assert np.count_nonzero(flat) == n_parameters == layout.network.n_parameters


@settings(max_examples=60, deadline=None, derandomize=True)
@given(layout=layouts, seed=st.integers(0, 2**32 - 1))
def test_pack_writes_no_padding(layout, seed):
    flat = np.full(layout.size, np.nan, layout.network.dtype)
    layout.pack(random_parameters(layout.network, seed), flat)
    assert np.isfinite(flat).sum() == layout.network.n_parameters


@settings(max_examples=60, deadline=None, derandomize=True)
@given(network=networks(), seed=st.integers(0, 2**32 - 1))
def test_unflatten_undoes_flatten(network, seed):
    parameters = random_parameters(network, seed)
    flat = network.flatten(parameters)
    assert flat.shape == (network.n_parameters,)
    assert flat.dtype == network.dtype
    expected = [number for array in (*parameters[0], *parameters[1]) for number in array.flat]
    np.testing.assert_array_equal(flat, expected)
    coefs, intercepts = network.unflatten(flat)
    for array, before in zip((*coefs, *intercepts), (*parameters[0], *parameters[1]), strict=True):
        np.testing.assert_array_equal(array, before)
        assert np.shares_memory(array, flat)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(layout=layouts, seed=st.integers(0, 2**32 - 1))
def test_views_show_the_numbers_where_they_lie(layout, seed):
    network = layout.network
    parameters = random_parameters(network, seed)
    flat = np.zeros(layout.size, network.dtype)
    layout.pack(parameters, flat)
    coefs, intercepts = layout.views(flat)
    for k, (view, coef) in enumerate(zip(coefs, parameters[0], strict=True)):
        stored = coef.T if k == network.n_layers - 1 else coef
        np.testing.assert_array_equal(view, flat[numbers_of(layout.weights[k])])
        np.testing.assert_array_equal(view.reshape(len(view), -1)[:, : stored.shape[1]], stored)
        assert not view.reshape(len(view), -1)[:, stored.shape[1] :].any()
        assert np.shares_memory(view, flat)
    for view, bias in zip(intercepts, parameters[1], strict=True):
        np.testing.assert_array_equal(view.reshape(-1)[: bias.size], bias)


# --- Places ---------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, derandomize=True)
@given(layout=layouts)
def test_places(layout):
    network = layout.network
    taken, copies = [], []
    for k, (n_in, n_out) in enumerate(network.shapes()):
        last = k == network.n_layers - 1
        stored = (1, n_in) if last else (n_in, n_out)
        weights, bias, copy = layout.weights[k], layout.biases[k], layout.copies[k]
        assert (weights.rows, weights.panels * PANEL) == (stored[0], padded(stored[1]))
        assert (bias.rows, bias.panels * PANEL) == (1, padded(n_out))
        assert layout.stored_rows[k] == weights.rows
        taken += [weights, bias]
        # Rows of a sparse X take single rows of the first matrix: they lie in one piece.
        in_one_piece = last or (layout.sparse and k == 0)
        if in_one_piece:
            assert (weights.panel, weights.row) == (PANEL, padded(stored[1]))
        else:
            assert weights.row == PANEL
            # Whole panels of rows exist where the transpose reads them.
            assert weights.panel >= padded(n_in) * PANEL
        assert (copy is None) == (k == 0 or last)
        if copy is not None:
            assert (copy.rows, copy.panels * PANEL) == (n_out, padded(n_in))
            assert copy.panel >= padded(n_out) * PANEL
            copies.append(copy)
    for places, size in ((taken, layout.size), (copies, layout.size_of_copies)):
        at = 0
        for place in places:  # beside each other: no overlap, no gap
            assert place.start == at
            assert at % PANEL == 0
            numbers = numbers_of(place)
            assert len(np.unique(numbers)) == numbers.size
            assert numbers.min() == at
            at += place.size
            assert numbers.max() < at
        assert at == size


@pytest.mark.parametrize("dtype", DTYPES)
def test_panels_never_map_onto_few_cache_sets(dtype):
    dtype = np.dtype(dtype)
    for rows in range(1, 3000):
        place = in_panels(0, rows, 40, dtype)
        stored = place.panel // PANEL
        assert stored % PANEL == 0
        assert rows <= stored < rows + 2 * PANEL
        assert place.panel * dtype.itemsize % 4096 != 0 or rows < 256 - PANEL + 1
        assert place.size == 3 * place.panel


def test_padded():
    assert [padded(n) for n in (0, 1, 15, 16, 17, 32)] == [0, 16, 16, 16, 32, 32]


def test_the_layout_is_the_same_on_every_cpu():
    # Worked out by hand; the tests with other vector widths run this one too.
    network = Network((5, 256, 40, 1), ("relu", "tanh"), np.dtype(np.float32))
    dense, sparse = layout_of(network, False), layout_of(network, True)
    # 256 rows of a panel of floats are 16 KB: one panel of rows more.
    starts = np.cumsum([0, 16 * 256, 256, 272 * 48, 48, 48, 16]).tolist()
    assert [p.start for p in dense.weights] == starts[:-1:2]
    assert [p.start for p in dense.biases] == starts[1::2]
    assert dense.size == starts[-1]
    assert [p.panel for p in dense.weights] == [256, 272 * 16, 16]
    assert [p and p.panel for p in dense.copies] == [None, 48 * 16, None]
    assert dense.size_of_copies == 48 * 256
    assert sparse.size == dense.size - 11 * 256  # its rows are not padded
    assert sparse.weights[0] == in_rows(0, 5, 256)
    assert dense.stored_rows == [5, 256, 1]


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


# --- Networks -------------------------------------------------------------------------------------


def test_pickle_and_equality():
    network = Network((4, 3, 1), ("tanh",), np.dtype(np.float32))
    network.n_parameters  # noqa: B018  (cached: it must not get in the way)
    again = pickle.loads(pickle.dumps(network))
    assert again == network
    assert hash(again) == hash(network)
    assert layout_of(again, False) is layout_of(network, False)
    assert network != Network((4, 3, 1), ("relu",), np.dtype(np.float32))
    assert network.n_parameters == 19
    assert network.multiply_adds == 15


def test_it_cannot_be_changed():
    network = Network((4, 3, 1), ("tanh",), np.dtype(np.float32))
    with pytest.raises(AttributeError):
        network.widths = (5, 3, 1)
    with pytest.raises(AttributeError):
        layout_of(network, False).size = 7


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


def test_an_activation_that_is_not_known():
    with pytest.raises(ValueError, match="Activations must be of"):
        Network((4, 3, 1), ("softmax",), np.dtype(np.float64))


@pytest.mark.parametrize("sparse", [False, True])
def test_parameters_of_another_network(sparse):
    layout = layout_of(Network((4, 3, 1), ("tanh",), np.dtype(np.float64)), sparse)
    flat = np.zeros(layout.size)
    coefs, intercepts = random_parameters(layout.network, 0)
    with pytest.raises(ValueError, match="has 2 layers"):
        layout.pack((coefs[:1], intercepts), flat)
    with pytest.raises(ValueError, match="has 2 layers"):
        layout.pack((coefs, intercepts[:1]), flat)
    with pytest.raises(ValueError, match=r"coefs_\[1\] must have shape \(3, 1\)"):
        layout.pack(([coefs[0], coefs[1][:2]], intercepts), flat)
    with pytest.raises(ValueError, match=r"coefs_\[0\] must have shape \(4, 3\)"):
        layout.pack(([coefs[0].T, coefs[1]], intercepts), flat)
    with pytest.raises(ValueError, match=r"intercepts_\[0\] must have shape \(3,\)"):
        layout.pack((coefs, [intercepts[0][:1], intercepts[1]]), flat)


def test_parameters_are_converted():
    layout = layout_of(Network((2, 1), (), np.dtype(np.float32)), False)
    flat = np.zeros(layout.size, np.float32)
    layout.pack(([[[1], [2]]], [[3]]), flat)
    coefs, intercepts = layout.unpack(flat)
    assert coefs[0].tolist() == [[1.0], [2.0]]
    assert intercepts[0].tolist() == [3.0]


@pytest.mark.parametrize("sparse", [False, True])
def test_layers_of_one_unit(sparse):
    layout = layout_of(Network((1, 1, 1, 1), ("relu", "relu"), np.dtype(np.float64)), sparse)
    parameters = random_parameters(layout.network, 1)
    flat = np.zeros(layout.size)
    layout.pack(parameters, flat)
    for array, back in zip(parameters[0], layout.unpack(flat)[0], strict=True):
        np.testing.assert_array_equal(array, back)
