"""CSR rows in the first layer: product and gradient touch only the entries that are there."""

import numpy as np

from fastmlp.kernels.jit import kernel
from fastmlp.kernels.simd import elementwise, load, store


def add_multiple(y, x, factor):
    """y ← y + factor·x."""
    return x.times_plus(factor, y)


def copy(y, x, one):
    """y ← x."""
    return x


def relu(z, zero):
    """z ← max(0, z)."""
    return z.at_least(zero)


def fill(x, value):
    """x ← value."""
    return value


_add_multiple = elementwise(add_multiple, arrays=2, scalars=1, writes=(0,))
_copy = elementwise(copy, arrays=2, scalars=1, writes=(0,))
apply_fill = elementwise(fill, arrays=1, scalars=1, writes=(0,))
apply_relu = elementwise(relu, arrays=1, scalars=1, writes=(0,))


@kernel
def sparse_forward(
    csr, order, first, rows, weights, weights_row, bias, z, z_row, bytes_each
):  # fmt: skip
    """z = x W + b for CSR rows x (N1).

    Parameters
    ----------
    csr : tuple of arrays
        data (of the parameters' type), indices (int32), indptr (int64).
    order : (n,) int64
        Row numbers; empty: the rows themselves.
    first, rows : int64
        The rows order[first] … order[first + rows − 1].
    weights, weights_row, bias, z, z_row : int64
        Addresses of W, b and z (written), distances of rows in elements (multiples of `BLOCK`).
    bytes_each : int64
        Bytes of one number.
    """
    data, indices, indptr = csr
    one = data.dtype.type(1)
    for r in range(rows):
        row = order[first + r] if order.size > 0 else first + r
        to = z + r * z_row * bytes_each
        _copy(z_row, (to, bias), (one,))
        for k in range(indptr[row], indptr[row + 1]):
            at = weights + np.int64(indices[k]) * weights_row * bytes_each
            _add_multiple(z_row, (to, at), (data[k],))


@kernel
def sparse_gradient(
    csr, order, first, rows, gradient, gradient_row, low, high, delta, delta_row, bytes_each
):  # fmt: skip
    """∂W[low:high] += xᵀ δ for CSR rows x (N9); the sum runs over the rows in order.

    low, high : int64, the features whose rows of the gradient (written) are this call's; the other
    arguments as in `sparse_forward`.
    """
    data, indices, indptr = csr
    for r in range(rows):
        row = order[first + r] if order.size > 0 else first + r
        source = delta + r * delta_row * bytes_each
        for k in range(indptr[row], indptr[row + 1]):
            feature = np.int64(indices[k])
            if low <= feature < high:
                to = gradient + feature * gradient_row * bytes_each
                _add_multiple(gradient_row, (to, source), (data[k],))


@kernel
def sparse_logits(csr, order, first, rows, weights, bias, logits, bytes_each):
    """logits = x w + b for CSR rows x, without a hidden layer (N1); arguments as in `forward`."""
    data, indices, indptr = csr
    one = data.dtype.type(1)
    for r in range(rows):
        row = order[first + r] if order.size > 0 else first + r
        total = load(bias, one)
        for k in range(indptr[row], indptr[row + 1]):
            total += data[k] * load(weights + np.int64(indices[k]) * bytes_each, one)
        logits[r] = total


@kernel
def sparse_output_gradient(csr, order, first, rows, gradient, delta, bytes_each):
    """∂w += xᵀ δ for CSR rows x, without a hidden layer (N9); arguments as in `descend`."""
    data, indices, indptr = csr
    for r in range(rows):
        row = order[first + r] if order.size > 0 else first + r
        for k in range(indptr[row], indptr[row + 1]):
            to = gradient + np.int64(indices[k]) * bytes_each
            store(to, load(to, data[k]) + data[k] * delta[r])
