"""A dense layer: forward pass, δ recursion and gradient, each as the formula says (N1, N8, N9).

A sample is a row here, and W is what scikit-learn stores, of the shape (n_in, n_out): the transpose
of the notes' W. So each formula stands transposed, and N8 with l − 1 where the notes have l:

    N1  z⁽ˡ⁾ = W⁽ˡ⁾ a⁽ˡ⁻¹⁾ + b⁽ˡ⁾             a = g(a_in W + b)
    N8  δ⁽ˡ⁻¹⁾ = (W⁽ˡ⁾ᵀ δ⁽ˡ⁾) ⊙ g′(z⁽ˡ⁻¹⁾)     delta_in = (delta Wᵀ) ⊙ g′
    N9  ∂ℒ/∂W⁽ˡ⁾ = δ⁽ˡ⁾ a⁽ˡ⁻¹⁾ᵀ               dW = a_inᵀ delta

Gradients are sums over rows. δ⁽ᴸ⁾ holds the weights of the rows (see `loss`), and 1 / Σ weights
comes with the update (see `updates`). The last layer has one output; its matrix is stored as one
row. Members that share all other layers have an output each, and take turns: of n members, row r is
that of member r mod n, and the matrix is stored as n rows.

What `at`, `first`, `rows` and `batch` of a piece are is said in `piece`.
"""

from functools import lru_cache

import numpy as np

from fastmlp.kernels.epoch import epoch_at, rows_of
from fastmlp.kernels.piece import piece
from fastmlp.kernels.product import (
    PRODUCT,
    TRANSPOSED_PRODUCT,
    add_transposed_product,
    product,
    product_with_gate,
)
from fastmlp.kernels.simd.panels import (
    outer_product,
    transpose_panel,
)
from fastmlp.kernels.simd.reductions import (
    row_dots,
    square_of_row,
    weighted_row_sum,
)
from fastmlp.kernels.simd.tile import TIMES
from fastmlp.kernels.simd.vector import PANEL
from fastmlp.kernels.views import column, every, matrix, panels_from, part, whole
from fastmlp.runtime.jit import kernel
from fastmlp.runtime.records import listed, numbers


@lru_cache
def layer_record(kind):
    """Record of a layer whose numbers are of `kind`.

    Fields
    ------
    n_in, n_out : widths
    a_in, a : a⁽ˡ⁻¹⁾ and a⁽ˡ⁾, in blocks of rows
    delta_in, delta : δ⁽ˡ⁻¹⁾ and δ⁽ˡ⁾, in blocks of rows
    W, b : weights and bias; the last layer's weights are one row
    Wt, copies : Wᵀ, which has a place of its own, and whether there is one
    zeros : a row of zeros, for sums to start from
    dW, db : where gradients go: a unit's room, a room of a block of rows, or the buffer of all
        gradients
    logits : z⁽ᴸ⁾ of the last layer, by row of the minibatch, or of a thread's block
    output_delta : δ⁽ᴸ⁾ of the last layer, by row of the minibatch
    one : the number 1, the weight of every row in Σ δ
    floor : lower bound of z: 0 makes it relu(z), −∞ leaves it
    gate, ending : what δ⁽ˡ⁻¹⁾ is multiplied by, and how: see `simd.tile`
    squares : ‖row‖² of the weights, and whether they are wanted
    adds : whether gradients add to what is there, from the second minibatch on
    members : of the last layer, how many outputs take turns
    epoch : address of the `EPOCH`
    """
    of_rows = numbers(kind)
    of_matrix = matrix(kind)
    names = (
        "a_in",
        "a",
        "delta_in",
        "delta",
        "W",
        "b",
        "Wt",
        "zeros",
        "dW",
        "db",
        "gate",
        "logits",
    )
    return np.dtype(
        [
            ("n_in", np.int64),
            ("n_out", np.int64),
            *((name, of_matrix) for name in names),
            *((name, of_rows) for name in ("output_delta", "one")),
            ("floor", np.float64),
            ("ending", np.int64),
            ("copies", np.int64),
            ("squares", numbers("float64")),
            ("with_squares", np.int64),
            ("adds", np.int64),
            ("members", np.int64),
            ("epoch", np.int64),
        ]
    )


@kernel
def starts_anew(layer, batch):
    """Whether the gradients of this minibatch replace what is there, or add to it (L-BFGS)."""
    return batch == 0 or not layer.adds


@piece(PRODUCT)
def forward(layer, at, first, rows, batch):
    """a = max(floor, a_in W + b) (N1); any g but relu follows as a step of its own."""
    a_in, a = part(layer.a_in, at, 0, rows), part(layer.a, at, 0, rows)
    sizes = (layer.n_out, layer.n_in)
    product(a, a_in, whole(layer.W), whole(layer.b), sizes, layer.floor)


@piece()
def output(layer, at, first, rows, batch):
    """z⁽ᴸ⁾ = a_in w + b (N1), of each member with its own w and b."""
    z, a_in = column(layer.logits, at, first, rows), part(layer.a_in, at, 0, rows)
    b, n = whole(layer.b), layer.members
    for m in range(n):
        own, shift = part(layer.W, 0, m, 1), b[m // PANEL, 0, m % PANEL]
        row_dots(every(z, m, n), every(a_in, m, n), own, layer.n_in, shift)


@piece(PRODUCT)
def backward(layer, at, first, rows, batch):
    """delta_in = (delta Wᵀ) ⊙ g′(z⁽ˡ⁻¹⁾) (N8).

    The gate is a_in where g is relu, whose g′ is 0 where a is; g′ itself where it waits in delta_in
    already; and of other g the factor g′ follows as a step of its own: see `activations`.
    """
    delta, delta_in = part(layer.delta, at, 0, rows), part(layer.delta_in, at, 0, rows)
    gate, sizes = part(layer.gate, at, 0, rows), (layer.n_in, layer.n_out)
    product_with_gate(
        delta_in, delta, whole(layer.Wt), whole(layer.zeros), sizes, gate, layer.ending
    )
    if layer.ending == TIMES:
        # The product ends with the last vector that holds a column, and behind it lies g′ still.
        for j in range(layer.n_in, delta_in.shape[0] * PANEL):
            delta_in[j // PANEL, :, j % PANEL] = 0


@piece()
def backward_from_output(layer, at, first, rows, batch):
    """delta_in = (δ⁽ᴸ⁾ wᵀ) ⊙ g′(z⁽ᴸ⁻¹⁾), as `backward`, from one output: an outer product (N8)."""
    delta, delta_in = listed(layer.output_delta, first, rows), part(layer.delta_in, at, 0, rows)
    gate, n = part(layer.gate, at, 0, rows), layer.members
    for m in range(n):
        outer_product(
            every(delta_in, m, n), every(delta, m, n), part(layer.W, 0, m, 1), every(gate, m, n),
            layer.ending,
        )  # fmt: skip


@lru_cache
def sensitivity_record(kind):
    """Record of δ⁽⁰⁾, and of the array that it goes to.

    Fields
    ------
    delta : δ⁽⁰⁾, in blocks of rows
    n_features : columns of X
    result : of all rows, one after another; written
    epoch : address of the `EPOCH`
    """
    return np.dtype(
        [
            ("delta", matrix(kind)),
            ("n_features", np.int64),
            ("result", numbers(kind)),
            ("epoch", np.int64),
        ]
    )


@piece()
def write_sensitivity(record, at, first, rows, batch):
    """∂z⁽ᴸ⁾/∂x = δ⁽⁰⁾ of a block of rows, into the result (N8 one layer further)."""
    n, delta = record.n_features, part(record.delta, at, 0, rows)
    start = batch * epoch_at(record.epoch).batch_size + first
    for r in range(rows):
        target = listed(record.result, (start + r) * n, n)
        for panel in range(delta.shape[0]):
            column = panel * PANEL
            for j in range(min(PANEL, n - column)):
                target[column + j] = delta[panel, r, j]


@piece(TRANSPOSED_PRODUCT)
def gradient(layer, at, first, rows, batch):
    """dW = a_inᵀ delta (N9), for the rows first … of W, over all rows of the minibatch."""
    epoch = epoch_at(layer.epoch)
    length = rows_of(epoch, batch)
    # In a room, `first` moves nothing; in the buffer of all gradients, `at` does not.
    dW = part(layer.dW, at, first, rows)
    panel, panels = first // PANEL, (rows + PANEL - 1) // PANEL
    for block in range((length + epoch.block_rows - 1) // epoch.block_rows):
        here = min(epoch.block_rows, length - block * epoch.block_rows)
        a = panels_from(part(layer.a_in, block, 0, here), panel, panels)
        delta = part(layer.delta, block, 0, here)
        if block == 0 and starts_anew(layer, batch):
            add_transposed_product(dW, a, delta, whole(layer.zeros), layer.n_out)
        else:
            add_transposed_product(dW, a, delta, dW, layer.n_out)


@piece(TRANSPOSED_PRODUCT)
def gradient_of_block(layer, at, first, rows, batch):
    """dW = a_inᵀ delta and db = Σ delta over one block of rows (N9), into a room of its own."""
    a, delta = part(layer.a_in, at, 0, rows), part(layer.delta, at, 0, rows)
    add_transposed_product(
        part(layer.dW, at, 0, layer.n_in), a, delta, whole(layer.zeros), layer.n_out
    )
    one, db = listed(layer.one, 0, 1), part(layer.db, at, 0, 1)
    weighted_row_sum(db, one, delta, whole(layer.zeros), 0, rows)


@piece()
def bias_gradient(layer, at, first, rows, batch):
    """db = Σ delta (N9), over all rows of the minibatch."""
    epoch = epoch_at(layer.epoch)
    db, one = part(layer.db, at, 0, 1), listed(layer.one, 0, 1)
    delta = part(layer.delta, 0, 0, epoch.block_rows)
    start = whole(layer.zeros) if starts_anew(layer, batch) else db
    weighted_row_sum(db, one, delta, start, layer.delta.block, rows_of(epoch, batch))


@piece()
def output_gradient(layer, at, first, rows, batch):
    """dw = a_inᵀ δ⁽ᴸ⁾ and db = Σ δ⁽ᴸ⁾ of the last layer (N9), over rows of the minibatch.

    They are the rows first … of one block, or of all blocks.
    """
    block_rows, anew = epoch_at(layer.epoch).block_rows, starts_anew(layer, batch)
    n, db = layer.members, part(layer.db, at, 0, 1)
    delta = listed(layer.output_delta, first, rows)
    a_in = part(layer.a_in, first // block_rows, 0, block_rows)
    for m in range(n):
        dW = part(layer.dW, at, m, 1)
        of_member = every(delta, m, n)
        total = 0.0 if anew else np.float64(db[m // PANEL, 0, m % PANEL])
        for r in range(of_member.shape[0]):
            total += of_member[r]
        db[m // PANEL, 0, m % PANEL] = total
        start = whole(layer.zeros) if anew else dW
        weighted_row_sum(dW, of_member, every(a_in, m, n), start, layer.a_in.block, rows // n)
        # Padding of activations need not be 0 (σ(0) = ½), and that of weights is.
        for k in range(layer.n_in, dW.shape[0] * PANEL):
            dW[k // PANEL, 0, k % PANEL] = 0


@piece()
def refresh(layer, at, first, rows, batch):
    """What is derived from rows first … of W, which have changed: Wᵀ, and ‖row‖² for the loss."""
    W = part(layer.W, 0, first, rows)
    if layer.copies:
        Wt = whole(layer.Wt)
        for panel in range((rows + PANEL - 1) // PANEL):
            for other in range(W.shape[0]):
                transpose_panel(W, panel * PANEL, other, Wt, other * PANEL, first // PANEL + panel)
    if layer.with_squares:
        squares = listed(layer.squares, first, rows)
        for row in range(rows):
            squares[row] = square_of_row(W, row)
