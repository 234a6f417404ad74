"""Compiled callers of what Python cannot call itself, so that each is compiled once a dtype."""

from fastmlp.kernels import loss, simd
from fastmlp.kernels.jit import kernel
from fastmlp.kernels.simd import elementwise


@kernel
def load(address, like):
    return simd.load(address, like)


@kernel
def store(address, number):
    simd.store(address, number)


@kernel
def lanes_of(like):
    return simd.lanes_of(like)


@kernel
def size_of(like):
    return simd.size_of(like)


@kernel
def dot(a, b, vectors, like):
    return simd.dot(a, b, vectors, like)


@kernel
def address_of(array):
    return simd.address_of(array)


@kernel
def row_dots(a, a_row, rows, w, columns, shift, out):
    simd.row_dots(a, a_row, rows, w, columns, shift, out)


@kernel
def weighted_row_sum(a, a_step, b, b_step, shared, start, c, vectors, like):
    simd.weighted_row_sum(a, a_step, b, b_step, shared, start, c, vectors, like)


@kernel
def transpose_block(source, source_row, target, target_row, like):
    simd.transpose_block(source, source_row, target, target_row, like)


def _panel(vectors):
    @kernel
    def call(
        tiles, a, a_row, a_step, b, b_step, c, c_row, shared, start, start_row, gate, floor
    ):  # fmt: skip
        simd.panel(
            vectors, tiles, a, a_row, a_step, b, b_step, c, c_row, shared, start, start_row, gate,
            floor,
        )  # fmt: skip

    return call


#: panels[n]: the panel of n vectors beside each other.
panels = {n: _panel(n) for n in (1, 2, 3, 4)}


@kernel
def cross_entropy(count, logit, target, weight, delta, loss_of_row, least, most):
    loss.apply_cross_entropy(count, (logit, target, weight, delta, loss_of_row), (least, most))


@kernel
def both_probabilities(count, logit, complement, one):
    loss.apply_probabilities(count, (logit, complement), (one,))


def in_place(formula):
    """f(address, count, one): x ← formula(x) for a formula of one vector.

    The formula's name names its code: it must differ from every other one.
    """

    def with_one(x, one):
        return formula(x)

    with_one.__name__ = f"test_{formula.__name__}"
    apply = elementwise(with_one, arrays=1, scalars=1, writes=(0,))

    @kernel
    def call(address, count, one):
        apply(count, (address,), (one,))

    return call
