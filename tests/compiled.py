"""Compiled callers of what Python cannot call itself, so that each is compiled once."""

from fastmlp.kernels import gather as gather_module
from fastmlp.kernels import loss, simd
from fastmlp.kernels.jit import kernel
from fastmlp.kernels.simd import elementwise


@kernel
def load(address, size):
    return simd.load(address, size)


@kernel
def store(address, number, size):
    simd.store(address, number, size)


@kernel
def dot(a, b, vectors, size):
    return simd.dot(a, b, vectors, size)


@kernel
def interleave(a, b, count, target, size):
    simd.interleave(a, b, count, target, size)


@kernel
def address_of(array):
    return simd.address_of(array)


@kernel
def row_dots(a, a_row, rows, w, columns, shift, out, size):
    simd.row_dots(a, a_row, rows, w, columns, shift, out, size)


@kernel
def weighted_row_sum(a, a_step, b, b_step, shared, start, c, vectors, size):
    simd.weighted_row_sum(a, a_step, b, b_step, shared, start, c, vectors, size)


@kernel
def transpose_block(source, source_row, target, target_row, size):
    simd.transpose_block(source, source_row, target, target_row, size)


@kernel
def gather(
    code, x, x_row, x_column, order, first, rows, columns, target, target_row, size
):  # fmt: skip
    gather_module.gather(
        code, x, x_row, x_column, order, first, rows, columns, target, target_row, size
    )


@kernel
def copy_numbers(source, target, count, size):
    gather_module.copy_numbers(source, target, count, size)


def _panel(vectors):
    @kernel
    def call(
        tiles, a, a_row, a_step, b, b_step, c, c_row, shared, start, start_row, gate, floor, size
    ):  # fmt: skip
        simd.panel(
            vectors, tiles, a, a_row, a_step, b, b_step, c, c_row, shared, start, start_row, gate,
            floor, size,
        )  # fmt: skip

    return call


#: panels[n]: the panel of n vectors beside each other.
panels = {n: _panel(n) for n in (1, 2, 3, 4)}


@kernel
def cross_entropy(count, size, logit, target, weight, delta, loss_of_row, least, most):
    addresses = (logit, target, weight, delta, loss_of_row)
    loss.apply_cross_entropy(count, size, addresses, (least, most))


@kernel
def both_probabilities(count, size, logit, complement):
    loss.apply_probabilities(count, size, (logit, complement), ())


def in_place(formula):
    """f(address, count, size): x ← formula(x) for a formula of one vector.

    The formula's name names its code: it must differ from every other one of its module.
    """
    apply = elementwise(formula, arrays=1, scalars=0, writes=(0,))

    @kernel
    def call(address, count, size):
        apply(count, size, (address,), ())

    return call
