"""Forward pass, δ recursion and gradients over a network of any depth: the two phases of a step.

1. Rows: `forward`, then `backward`, for a block of rows whose activations stay in cache.
2. Weights: `descend`, for a block of rows of one layer's gradient: summed over all rows of the
   minibatch, applied to the weights at once, and their transposed copy refreshed.

Addresses are int64; `size` is the bytes of one number, 4 or 8. `network` is `Network.table`,
`places` the addresses of the buffers (see `fields`).
"""

import numpy as np

from fastmlp.kernels import fields as at
from fastmlp.kernels.activations import RELU, activate, multiply_derivative
from fastmlp.kernels.gather import gather
from fastmlp.kernels.jit import phase
from fastmlp.kernels.optimizers import NONE, update
from fastmlp.kernels.products import product, transpose
from fastmlp.kernels.simd import (
    address_of,
    dot,
    load,
    row_dots,
    store,
    weighted_row_sum,
)
from fastmlp.kernels.sparse import (
    apply_clear,
    apply_relu,
    sort_entries,
    sparse_forward,
    sparse_gradient,
    sparse_logits,
    sparse_output_gradient,
)
from fastmlp.kernels.tasks import stopped
from fastmlp.kernels.vectors import BLOCK, VECTOR_BYTES

# A plain 0 or 1 would be a type of its own to Numba, and a kernel would be compiled for each.
_NOTHING = np.int64(0)
_NEXT = np.int64(1)

#: Rows of a gradient that are summed, applied and transposed together, while they are in cache.
GRADIENT_ROWS = 48


@phase
def forward(network, places, csr, order, first, rows, buffer_row, logits, size):
    """z⁽ˡ⁾ = a⁽ˡ⁻¹⁾W⁽ˡ⁾ + b⁽ˡ⁾, a⁽ˡ⁾ = g(z⁽ˡ⁾) up to the logits (N1).

    Parameters
    ----------
    first, rows : int64
        Which rows of the order.
    buffer_row : int64
        Row of the buffers of activations that the first of them takes.
    logits : int64
        Address of z⁽ᴸ⁾, one a row; written.
    """
    last = network.shape[0] - 1
    for layer in range(last + 1):
        entry = network[layer]
        n_in, n_out = entry[at.N_IN], entry[at.N_OUT]
        stride = entry[at.INPUT_STRIDE]
        source = places[at.ACTIVATIONS] + (entry[at.INPUT] + buffer_row * stride) * size
        weights = places[at.PARAMETERS] + entry[at.WEIGHTS] * size
        bias = places[at.PARAMETERS] + entry[at.BIAS] * size
        is_sparse = layer == 0 and csr[2].size > 0
        if layer == 0 and not is_sparse:
            gather(
                places[at.X_TYPE], places[at.X], places[at.X_ROW], places[at.X_COLUMN],
                address_of(order) if order.size > 0 else _NOTHING, first, rows, n_in, source,
                stride, size,
            )  # fmt: skip
        if layer == last and is_sparse:
            sparse_logits(csr, order, first, rows, weights, bias, logits, size)
            return
        if layer == last:
            row_dots(
                source, stride, rows, weights, n_in, load(bias, size), logits, size
            )  # fmt: skip
            return
        target_stride = network[layer + 1, at.INPUT_STRIDE]
        target_start = network[layer + 1, at.INPUT] + buffer_row * target_stride
        target = places[at.ACTIVATIONS] + target_start * size
        relu = entry[at.ACTIVATION] == RELU
        if is_sparse:
            sparse_forward(
                csr, order, first, rows, weights, entry[at.STRIDE], bias, target, target_stride,
                size,
            )  # fmt: skip
            if relu:
                apply_relu(rows * target_stride, size, (target,), ())
        else:
            product(
                source, stride, _NEXT, weights, entry[at.STRIDE], target, target_stride,
                rows, n_out, n_in, bias, _NOTHING, _NOTHING, 0.0 if relu else -np.inf, size,
            )  # fmt: skip
        activate(entry[at.ACTIVATION], target, rows * target_stride, size)


@phase
def backward(network, places, rows, buffer_row, size):
    """δ⁽ˡ⁾ = (δ⁽ˡ⁺¹⁾ W⁽ˡ⁺¹⁾ᵀ) ⊙ g′(z⁽ˡ⁾) from the output down to the first layer (N8).

    Parameters
    ----------
    rows, buffer_row : int64
        How many rows, and the first one's number within the buffers.
    """
    last = network.shape[0] - 1
    for layer in range(last, 0, -1):
        entry = network[layer]
        stride = entry[at.INPUT_STRIDE]
        place = (entry[at.INPUT] + buffer_row * stride) * size
        a, delta = places[at.ACTIVATIONS] + place, places[at.DELTAS] + place
        if layer == last:
            # One output: the recursion is an outer product, a shared dimension of length 1.
            source, source_stride, n_out = (
                places[at.OUTPUT_DELTA] + buffer_row * size,
                _NEXT,
                _NEXT,
            )
            transposed = places[at.PARAMETERS] + entry[at.WEIGHTS] * size
        else:
            source_stride = network[layer + 1, at.INPUT_STRIDE]
            source_start = network[layer + 1, at.INPUT] + buffer_row * source_stride
            source, n_out = places[at.DELTAS] + source_start * size, entry[at.N_OUT]
            transposed = places[at.TRANSPOSES] + entry[at.TRANSPOSED] * size
        code = network[layer - 1, at.ACTIVATION]
        product(
            source, source_stride, _NEXT, transposed, entry[at.TRANSPOSED_STRIDE], delta, stride,
            rows, entry[at.N_IN], n_out, places[at.ZEROS], _NOTHING,
            a if code == RELU else _NOTHING, -np.inf, size,
        )  # fmt: skip
        multiply_derivative(code, delta, a, rows * stride, size)


@phase
def refresh(network, places, row_squares, layer, low, high, with_squares, size):
    """What is derived from rows low … high − 1 of a layer's weights: Wᵀ, and ‖row‖² for the loss.

    Called whenever weights have changed. low is a multiple of `BLOCK` where Wᵀ is needed.
    row_squares : (rows of all matrices,) float64 array; written.
    """
    entry = network[layer]
    stride = entry[at.STRIDE]
    weights = places[at.PARAMETERS] + (entry[at.WEIGHTS] + low * stride) * size
    if 0 < layer < network.shape[0] - 1:
        target = places[at.TRANSPOSES] + (entry[at.TRANSPOSED] + low) * size
        transpose(
            weights, stride, target, entry[at.TRANSPOSED_STRIDE], high - low, entry[at.N_OUT], size
        )  # fmt: skip
    if with_squares:
        for row in range(low, high):
            squares = dot(weights, weights, stride * size // VECTOR_BYTES, size)
            row_squares[entry[at.FIRST_ROW] + row] = squares
            weights += stride * size


@phase
def gradient(
    network, places, csr, entries, begin, end, order, first, rows, layer, low, high, target, bias,
    add, size,
):  # fmt: skip
    """∂W⁽ˡ⁾ = a⁽ˡ⁻¹⁾ᵀ δ⁽ˡ⁾ for the matrix's stored rows low … high − 1; ∂b⁽ˡ⁾ = Σ δ⁽ˡ⁾ (N9).

    Summed over all rows of the minibatch, in order. The bias belongs to whoever has row 0.

    entries, begin, end : of these rows of the matrix, where X is sparse and the layer the first.
    target, bias : addresses of the gradients of row `low` and of the bias; written.
    add : keep what they hold.
    """
    last = network.shape[0] - 1
    entry = network[layer]
    n_in, n_out, stride = entry[at.N_IN], entry[at.N_OUT], entry[at.STRIDE]
    input_stride = entry[at.INPUT_STRIDE]
    source = places[at.ACTIVATIONS] + entry[at.INPUT] * size
    output_delta = places[at.OUTPUT_DELTA]
    is_sparse = layer == 0 and csr[2].size > 0
    if is_sparse and not add:
        apply_clear((high - low) * stride, size, (target,), ())
    width = VECTOR_BYTES // size
    zeros = places[at.ZEROS]
    if layer == last:
        total = load(bias, size) if add else 0.0
        for r in range(rows):
            total += load(output_delta + r * size, size)
        store(bias, total, size)
        if is_sparse:
            sparse_output_gradient(csr, order, first, rows, target, output_delta, size)
        else:
            weighted_row_sum(
                output_delta, _NEXT, source, input_stride, rows,
                target if add else zeros, target, (n_in + width - 1) // width, size,
            )  # fmt: skip
            # Here inputs run along the row, and padding of activations need not be 0 (σ(0) = ½).
            for k in range(n_in, stride):
                store(target + k * size, 0.0, size)
        return
    delta_stride = network[layer + 1, at.INPUT_STRIDE]
    delta = places[at.DELTAS] + network[layer + 1, at.INPUT] * size
    if low == 0:
        weighted_row_sum(
            places[at.ONE], _NOTHING, delta, delta_stride, rows, bias if add else zeros, bias,
            (n_out + width - 1) // width, size,
        )  # fmt: skip
    if is_sparse:
        sparse_gradient(
            csr, entries, begin, end, target, stride, low, delta, delta_stride, size
        )  # fmt: skip
    else:
        product(
            source + low * size, _NEXT, input_stride, delta, delta_stride, target, stride,
            high - low, n_out, rows, target if add else zeros, stride if add else _NOTHING,
            _NOTHING, -np.inf, size,
        )  # fmt: skip


@phase
def descend(
    control, network, places, csr, entries, block_ends, gradients, row_squares, order, first, rows,
    layer, low, high, add, optimizer, alpha, scale, rate, constants, size,
):  # fmt: skip
    """Gradient and update of a layer's stored rows low … high − 1, block by block (N9, N4).

    Parameters
    ----------
    control : (CONTROL_SIZE,) int64 array
        See `tasks`; a call that is stopped leaves the rest of the rows alone.
    entries, block_ends : (n, 2) and (n,) int64 arrays
        Room for `sort_entries` where X is sparse; written.
    gradients : int64
        Address of this unit's room for the gradients of one block; written. Without an update they
        go to the buffer of all gradients.
    add : bool
        Keep what the gradient buffer holds: the rows are one part of a larger sum.
    optimizer : int64
        Code of the update; NONE leaves the weights alone.
    alpha, scale, rate : float64
        L2 strength, 1 / Σ weights of the minibatch, learning rate.
    constants : (N_CONSTANTS,) float64 array
        The optimizer's.
    """
    entry = network[layer]
    stride = entry[at.STRIDE]
    bias_size = stride if layer + 1 < network.shape[0] else BLOCK
    is_sparse = layer == 0 and csr[2].size > 0 and network.shape[0] > 1
    entries_end = _NOTHING
    if is_sparse:
        entries_end = sort_entries(
            csr, order, first, rows, low, high, GRADIENT_ROWS, entries, block_ends
        )
    for block in range(low, high, GRADIENT_ROWS):
        if stopped(control):
            break
        end = min(block + GRADIENT_ROWS, high)
        entries_begin = entries_end
        if is_sparse:
            entries_end = block_ends[(block - low) // GRADIENT_ROWS]
        start, bias_start = (entry[at.WEIGHTS] + block * stride) * size, entry[at.BIAS] * size
        if optimizer == NONE:
            target, bias = places[at.GRADIENTS] + start, places[at.GRADIENTS] + bias_start
        else:
            target = gradients + entry[at.BLOCK_GRADIENT] * size
            bias = target + min(entry[at.ROWS], GRADIENT_ROWS) * stride * size
        gradient(
            network, places, csr, entries, entries_begin, entries_end, order, first, rows, layer,
            block, end, target, bias, add, size,
        )  # fmt: skip
        if optimizer == NONE:
            continue
        update(
            optimizer, (end - block) * stride, places[at.PARAMETERS] + start,
            places[at.MOMENT_1] + start, places[at.MOMENT_2] + start, target, alpha, scale, rate,
            constants, size,
        )  # fmt: skip
        if block == 0:
            update(
                optimizer, bias_size, places[at.PARAMETERS] + bias_start,
                places[at.MOMENT_1] + bias_start, places[at.MOMENT_2] + bias_start, bias, 0.0,
                scale, rate, constants, size,
            )  # fmt: skip
        refresh(network, places, row_squares, layer, block, end, alpha > 0, size)
