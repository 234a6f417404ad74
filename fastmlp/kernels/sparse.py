"""CSR rows in the first layer: product and gradient touch only the entries that are there.

The weights of thousands of features do not fit into a core's cache. So a minibatch's entries are
sorted by blocks of features first: each block of the gradient is then summed, and applied to its
weights, while it is in cache, and never written to memory. For the same reason the panels of the
matrix lie within its rows: the weights of a feature are beside each other.
"""

from functools import lru_cache

import numpy as np

from fastmlp.kernels.epoch import epoch_at, row_number, rows_of
from fastmlp.kernels.layer import layer_record, starts_anew
from fastmlp.kernels.piece import piece
from fastmlp.kernels.simd.elementwise import elementwise
from fastmlp.kernels.simd.panels import add_multiple_of_row
from fastmlp.kernels.simd.vector import PANEL
from fastmlp.kernels.views import column, part, whole
from fastmlp.runtime.jit import kernel
from fastmlp.runtime.records import listed, number, numbers


@lru_cache
def sparse_record(kind):
    """Record of a layer that reads CSR rows, with numbers of `kind`.

    Fields
    ------
    layer : `layer_record`, without a⁽⁰⁾
    values, indices, indptr : the CSR arrays
    entries : position in them and row, for each entry of a minibatch, sorted by features; written
    begins, ends : where the entries of a block lie, by its first feature / PANEL; written
    block_features : features of a block
    epoch : address of the `EPOCH`
    """
    return np.dtype(
        [
            ("layer", layer_record(kind)),
            ("values", numbers(kind)),
            ("indices", numbers("int32")),
            ("indptr", numbers("int64")),
            *((name, numbers("int64")) for name in ("entries", "begins", "ends")),
            ("block_features", np.int64),
            ("epoch", np.int64),
        ]
    )


def relu(z, floor):
    """z ← max(floor, z)."""
    return z.at_least(floor)


_relu = elementwise(relu, views=1, scalars=1, writes=(0,))


@kernel
def _entries(record, position):
    """First entry, and last + 1, of the row at a position of the order."""
    row = row_number(epoch_at(record.epoch), position)
    return number(record.indptr, row), number(record.indptr, row + 1)


@kernel
def _feature(record, entry):
    return np.int64(number(record.indices, entry))


@piece()
def sparse_forward(record, at, first, rows, batch):
    """a⁽¹⁾ = max(floor, x W⁽¹⁾ + b⁽¹⁾) for CSR rows x (N1)."""
    layer, epoch = record.layer, epoch_at(record.epoch)
    a, W, b = part(layer.a, at, 0, rows), whole(layer.W), whole(layer.b)
    start = batch * epoch.batch_size + first
    for r in range(rows):
        low, high = _entries(record, start + r)
        for panel in range(a.shape[0]):
            for k in range(PANEL):
                a[panel, r, k] = b[panel, 0, k]
        for k in range(low, high):
            add_multiple_of_row(a, r, W, _feature(record, k), number(record.values, k))
    _relu((a,), (layer.floor,))


@piece()
def sort_entries(record, at, first, rows, batch):
    """List the entries of the features first … block by block, in each in order of the rows.

    They are written from the number of entries of features below `first` on, so that units of
    other features do not overlap.
    """
    epoch = epoch_at(record.epoch)
    length, start = rows_of(epoch, batch), batch * epoch.batch_size
    size, per_block = record.block_features, record.block_features // PANEL
    slot = first // PANEL
    n_blocks = (rows + size - 1) // size
    slots = n_blocks * per_block
    begins, ends = listed(record.begins, slot, slots), listed(record.ends, slot, slots)
    for b in range(n_blocks):
        ends[b * per_block] = 0
    place = 0
    for r in range(length):
        low, high = _entries(record, start + r)
        for k in range(low, high):
            feature = _feature(record, k)
            if feature < first:
                place += 1
            elif feature < first + rows:
                ends[(feature - first) // size * per_block] += 1
    for b in range(n_blocks):
        count = ends[b * per_block]
        begins[b * per_block] = ends[b * per_block] = place
        place += count
    for r in range(length):
        low, high = _entries(record, start + r)
        for k in range(low, high):
            feature = _feature(record, k)
            if first <= feature < first + rows:
                b = (feature - first) // size * per_block
                entry = listed(record.entries, 2 * ends[b], 2)
                entry[0], entry[1] = k, r
                ends[b] += 1


@piece()
def sparse_gradient(record, at, first, rows, batch):
    """∂ℒ/∂W⁽¹⁾ = xᵀ δ⁽¹⁾ for the rows first … of W (N9); sums run over the minibatch in order."""
    layer, epoch = record.layer, epoch_at(record.epoch)
    dW = part(layer.dW, at, first, rows)
    if starts_anew(layer, batch):
        dW[:] = 0
    block = -1
    delta = part(layer.delta, 0, 0, epoch.block_rows)
    slot = first // PANEL
    for e in range(number(record.begins, slot), number(record.ends, slot)):
        entry = listed(record.entries, 2 * e, 2)
        k, r = entry[0], entry[1]
        if r // epoch.block_rows != block:
            block = r // epoch.block_rows
            delta = part(layer.delta, block, 0, epoch.block_rows)
        value = number(record.values, k)
        feature = _feature(record, k) - first
        add_multiple_of_row(dW, feature, delta, r - block * epoch.block_rows, value)


@piece()
def sparse_output(record, at, first, rows, batch):
    """z = x w + b for CSR rows x, without a hidden layer (N1)."""
    layer, epoch = record.layer, epoch_at(record.epoch)
    z, w = column(layer.logits, at, first, rows), whole(layer.W)
    start = batch * epoch.batch_size + first
    for r in range(rows):
        low, high = _entries(record, start + r)
        total = np.float64(whole(layer.b)[0, 0, 0])
        for k in range(low, high):
            feature = _feature(record, k)
            weight = np.float64(w[feature // PANEL, 0, feature % PANEL])
            total += np.float64(number(record.values, k)) * weight
        z[r] = total


@piece()
def sparse_output_gradient(record, at, first, rows, batch):
    """∂ℒ/∂w = xᵀ δ and ∂ℒ/∂b = Σ δ for CSR rows x, without a hidden layer (N9)."""
    layer, epoch = record.layer, epoch_at(record.epoch)
    dw, db = part(layer.dW, at, 0, 1), part(layer.db, at, 0, 1)
    length, start = rows_of(epoch, batch), batch * epoch.batch_size
    delta = listed(layer.output_delta, 0, length)
    if starts_anew(layer, batch):
        dw[:] = 0
        db[:] = 0
    total = np.float64(db[0, 0, 0])
    for r in range(length):
        total += delta[r]
        low, high = _entries(record, start + r)
        for k in range(low, high):
            feature = _feature(record, k)
            product = np.float64(number(record.values, k)) * np.float64(delta[r])
            panel, place = feature // PANEL, feature % PANEL
            dw[panel, 0, place] = np.float64(dw[panel, 0, place]) + product
    db[0, 0, 0] = total
