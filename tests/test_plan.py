"""Plans: every row and every weight belongs to one unit of equal work, whoever does them."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmlp.kernels.simd.vector import PANEL
from fastmlp.network.layout import Network, layout_of, padded
from fastmlp.network.plan import (
    BIAS,
    BLOCK_ROWS,
    MATRIX,
    PREDICTION_ROWS,
    ROWS_BESIDE_WEIGHTS,
    limits,
    plan_prediction,
    plan_training,
    sums_by_block,
    weight_units,
)

DTYPES = (np.float32, np.float64)


def network(widths, dtype=np.float32):
    return Network(tuple(widths), ("relu",) * (len(widths) - 2), np.dtype(dtype))


networks = st.builds(
    lambda widths, dtype: network((*widths, 1), dtype),
    st.lists(st.one_of(st.integers(1, 60), st.integers(100, 700)), min_size=1, max_size=6),
    st.sampled_from(DTYPES),
)
layouts = st.builds(layout_of, networks, st.booleans())
plans_of = {
    "batch_size": st.one_of(st.integers(1, 300), st.integers(301, 20_000)),
    "n_threads": st.integers(1, 64),
    "whole_gradient": st.booleans(),
}


# --- Rows -----------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None, derandomize=True)
@given(layout=layouts, **plans_of)
def test_every_row_belongs_to_one_unit(layout, batch_size, n_threads, whole_gradient):
    plan = plan_training(layout, batch_size, n_threads, whole_gradient=whole_gradient)
    assert plan.batch_size == batch_size
    assert 1 <= plan.n_threads <= n_threads
    assert plan.block_rows >= 1
    assert plan.n_blocks * plan.block_rows >= batch_size > (plan.n_blocks - 1) * plan.block_rows
    units = plan.row_units()
    assert 1 <= len(units) <= plan.n_units
    assert units[0][0] == 0
    assert units[-1][1] == plan.n_blocks
    assert all(before[1] == after[0] for before, after in pairwise(units))
    sizes = [high - low for low, high in units]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


@settings(max_examples=200, deadline=None, derandomize=True)
@given(layout=layouts, **plans_of)
def test_the_order_of_sums_does_not_depend_on_threads(
    layout, batch_size, n_threads, whole_gradient
):
    one, many = (
        plan_training(layout, batch_size, n, whole_gradient=whole_gradient) for n in (1, n_threads)
    )
    assert one.by_block == many.by_block
    if one.by_block:
        # Gradients are summed within blocks, and then over them.
        assert (one.block_rows, one.n_blocks) == (many.block_rows, many.n_blocks)
        assert not layout.sparse
        assert not whole_gradient


def test_gradients_that_are_smaller_than_activations_are_summed_by_block():
    small, large = network((20, 100, 1)), network((100, 256, 256, 1))
    assert sums_by_block(small, 200)
    assert not sums_by_block(large, 256)
    assert not sums_by_block(network((20, 1)), 200)  # its gradient is a sum over rows anyway
    assert plan_training(layout_of(small, False), 200, 1).by_block
    assert not plan_training(layout_of(small, True), 200, 1).by_block
    assert not plan_training(layout_of(small, False), 200, 1, whole_gradient=True).by_block


def test_small_minibatches_are_not_shared_and_large_ones_are():
    assert plan_training(layout_of(network((10, 10, 1)), False), 32, 64).n_threads == 1
    wide = layout_of(network((500, 700, 700, 1)), False)
    assert plan_training(wide, 1024, 2).n_threads == 2
    assert plan_training(wide, 1024, 2).n_units >= 2


def test_blocks_stay_in_cache():
    for batch_size in (1, 50, 200, 1000, 20_000):
        for widths in ((20, 100, 1), (300, 300, 300, 1)):
            plan = plan_training(layout_of(network(widths), False), batch_size, 1)
            assert plan.block_rows <= (BLOCK_ROWS if plan.by_block else ROWS_BESIDE_WEIGHTS)


# --- Weights --------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None, derandomize=True)
@given(layout=layouts, **plans_of)
def test_every_weight_belongs_to_one_unit(layout, batch_size, n_threads, whole_gradient):
    plan = plan_training(layout, batch_size, n_threads, whole_gradient=whole_gradient)
    units = weight_units(layout, plan)
    assert 1 <= len(units) <= plan.n_units
    assert all(units)
    last = layout.network.n_layers - 1
    parts = [part for unit in units for part in unit]
    for layer, place in enumerate(layout.weights):
        rows = [(first, end) for what, k, first, end in parts if (what, k) == (MATRIX, layer)]
        assert rows[0][0] == 0
        assert rows[-1][1] == place.rows
        assert all(first < end for first, end in rows)
        assert all(a[1] == b[0] for a, b in pairwise(rows))  # no row twice, none left out
        if not (plan.by_block and layer == 0):  # products go by whole panels of rows
            assert all(first % PANEL == 0 for first, _ in rows)
        biases = [part for part in parts if part[:2] == (BIAS, layer)]
        assert len(biases) == (layer < last)  # the last bias goes with its weights


@settings(max_examples=60, deadline=None, derandomize=True)
@given(hidden=st.lists(st.integers(150, 400), min_size=1, max_size=4), n_threads=st.integers(1, 8))
def test_units_have_equal_work(hidden, n_threads):
    layout = layout_of(network((200, *hidden, 1)), False)
    plan = plan_training(layout, 4096, n_threads)
    assert plan.n_threads == n_threads
    work, finest = [], 0
    for unit in weight_units(layout, plan):
        work.append(0)
        for what, layer, first, end in unit:
            columns = layout.network.widths[layer + (layer < layout.network.n_layers - 1)]
            work[-1] += (end - first if what == MATRIX else 1) * padded(columns)
            finest = max(finest, PANEL * padded(columns))
    assert len(work) == plan.n_units
    assert max(work) - min(work) <= 2 * finest


def test_one_unit_has_everything():
    layout = layout_of(network((5, 40, 30, 1)), False)
    plan = plan_training(layout, 100, 1)
    assert weight_units(layout, plan) == [
        [(MATRIX, 0, 0, 5), (BIAS, 0, 0, 1), (MATRIX, 1, 0, 40), (BIAS, 1, 0, 1), (MATRIX, 2, 0, 1)]
    ]


# --- Predictions ----------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None, derandomize=True)
@given(net=networks, n_rows=st.integers(1, 100_000), n_threads=st.integers(1, 64))
def test_blocks_of_a_prediction_hold_all_rows(net, n_rows, n_threads):
    block, n_blocks, used = plan_prediction(net, n_rows, n_threads)
    assert 1 <= block <= min(n_rows, PREDICTION_ROWS)
    assert n_blocks * block >= n_rows > (n_blocks - 1) * block
    assert 1 <= used <= min(n_threads, n_blocks)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_loss_of_a_row_ends_where_scikit_learns_does(dtype):
    eps = np.finfo(dtype).eps
    least, most = limits(np.dtype(dtype))
    assert least == dtype(-np.log(float(dtype(1) - eps)))
    assert most == dtype(-np.log(float(eps)))
