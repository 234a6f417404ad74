"""CSR rows in the first layer: product and gradient touch only the entries that are there.

The weights of thousands of features do not fit into a core's cache. So a minibatch's entries are
sorted by blocks of features first: each block of the gradient is then summed, and applied to its
weights, while it is in cache, and never written to memory.
"""

import numpy as np

from fastmlp.kernels.jit import kernel
from fastmlp.kernels.simd import elementwise, load, store


def add_multiple(y, x, factor):
    """y ← y + factor·x."""
    return x.times_plus(factor, y)


def copy(y, x):
    """y ← x."""
    return x


def relu(z):
    """z ← max(0, z)."""
    return z.at_least(0.0)


def clear(x):
    """x ← 0."""
    return x.zeros()


_add_multiple = elementwise(add_multiple, arrays=2, scalars=1, writes=(0,))
_copy = elementwise(copy, arrays=2, scalars=0, writes=(0,))
apply_clear = elementwise(clear, arrays=1, scalars=0, writes=(0,))
apply_relu = elementwise(relu, arrays=1, scalars=0, writes=(0,))


@kernel
def sparse_forward(
    csr, order, first, rows, weights, weights_row, bias, z, z_row, size
):  # fmt: skip
    """z = x W + b for CSR rows x (N1).

    Parameters
    ----------
    csr : tuple
        Address of the numbers (int64), and the arrays indices (int32) and indptr (int64).
    order : (n,) int64
        Row numbers; empty: the rows themselves.
    first, rows : int64
        The rows order[first] … order[first + rows − 1].
    weights, weights_row, bias, z, z_row : int64
        Addresses of W, b and z (written), distances of rows in elements (multiples of `BLOCK`).
    size : int64
        Bytes of one number.
    """
    values, indices, indptr = csr
    for r in range(rows):
        row = order[first + r] if order.size > 0 else first + r
        to = z + r * z_row * size
        _copy(z_row, size, (to, bias), ())
        for k in range(indptr[row], indptr[row + 1]):
            at = weights + np.int64(indices[k]) * weights_row * size
            _add_multiple(z_row, size, (to, at), (load(values + k * size, size),))


@kernel
def sort_entries(csr, order, first, rows, low, high, block, entries, ends):
    """List the entries of the features low … high − 1 block by block, in each in order of the rows.

    Parameters
    ----------
    csr, order, first, rows
        As in `sparse_forward`.
    low, high, block : int64
        Features, and how many of them a block has.
    entries : (entries of these rows or more, 2) int64
        Position in the CSR arrays, and row, counted from `first`; written from the number of
        entries of features below `low` on, so that calls for other features do not overlap.
    ends : (blocks or more,) int64
        Where each block ends in `entries`; written.

    Returns
    -------
    int64
        Where the first block begins.
    """
    _, indices, indptr = csr
    blocks = (high - low + block - 1) // block
    for b in range(blocks):
        ends[b] = 0
    begin = 0
    for r in range(rows):
        row = order[first + r] if order.size > 0 else first + r
        for k in range(indptr[row], indptr[row + 1]):
            feature = np.int64(indices[k])
            if feature < low:
                begin += 1
            elif feature < high:
                ends[(feature - low) // block] += 1
    place = begin
    for b in range(blocks):
        count = ends[b]
        ends[b] = place
        place += count
    for r in range(rows):
        row = order[first + r] if order.size > 0 else first + r
        for k in range(indptr[row], indptr[row + 1]):
            feature = np.int64(indices[k])
            if low <= feature < high:
                b = (feature - low) // block
                place = ends[b]
                entries[place, 0] = k
                entries[place, 1] = r
                ends[b] = place + 1
    return begin


@kernel
def sparse_gradient(
    csr, entries, begin, end, gradient, gradient_row, low, delta, delta_row, size
):  # fmt: skip
    """∂W += xᵀ δ for CSR rows x (N9); the sum runs over the rows in order.

    Parameters
    ----------
    csr
        As in `sparse_forward`.
    entries, begin, end : (n, 2) int64, int64, int64
        From `sort_entries`, and which of them to take.
    gradient, gradient_row, low : int64
        Address of the gradient's row of feature `low` (written), and distance of rows.
    delta, delta_row : int64
        Address of δ of the minibatch's first row, and distance of rows.
    """
    values, indices, _ = csr
    for e in range(begin, end):
        k, r = entries[e, 0], entries[e, 1]
        to = gradient + (np.int64(indices[k]) - low) * gradient_row * size
        source = delta + r * delta_row * size
        _add_multiple(gradient_row, size, (to, source), (load(values + k * size, size),))


@kernel
def sparse_logits(csr, order, first, rows, weights, bias, logits, size):
    """logits = x w + b for CSR rows x, without a hidden layer (N1); arguments as in `forward`."""
    values, indices, indptr = csr
    for r in range(rows):
        row = order[first + r] if order.size > 0 else first + r
        total = load(bias, size)
        for k in range(indptr[row], indptr[row + 1]):
            weight = load(weights + np.int64(indices[k]) * size, size)
            total += load(values + k * size, size) * weight
        store(logits + r * size, total, size)


@kernel
def sparse_output_gradient(csr, order, first, rows, gradient, delta, size):
    """∂w += xᵀ δ for CSR rows x, without a hidden layer (N9); arguments as in `descend`."""
    values, indices, indptr = csr
    for r in range(rows):
        row = order[first + r] if order.size > 0 else first + r
        error = load(delta + r * size, size)
        for k in range(indptr[row], indptr[row + 1]):
            to = gradient + np.int64(indices[k]) * size
            store(to, load(to, size) + load(values + k * size, size) * error, size)
