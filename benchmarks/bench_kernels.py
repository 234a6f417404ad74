"""The three matrix products of a training step, each alone on one core.

    forward     a W       (batch × inputs) · (inputs × outputs)
    recursion   δ Wᵀ      (batch × outputs) · (outputs × inputs)
    gradient    aᵀ δ      (inputs × batch) · (batch × outputs)

Each has the sizes of a work's largest layer, and buffers as a fit lays them out. Operations count
for the true sizes, not for padding.
"""

import functools
import importlib.util
import inspect
import math
import time

import numpy as np

from . import pieces
from .common import Benchmark
from .roof import roof_gflops
from .works import DTYPES, PANEL, WORKS

PRODUCTS = ("forward", "recursion", "gradient")

#: Seconds that a sample takes, and all samples of a product.
SAMPLE_SECONDS, TOTAL_SECONDS = 0.002, 0.2


def _compiled_loop():
    """A compiled function that does a product several times, block of rows by block of rows.

    The kernel is internal to fastmlp: None for a commit that has none, or another one.
    """
    from numba import njit

    try:
        from fastmlp.kernels.products import product
    except ImportError:
        return None
    expected = "a a_row a_step b b_step c c_row rows columns shared start start_row gate floor size"
    if list(inspect.signature(product.py_func).parameters) != expected.split():
        return None

    @njit
    def loop(
        times, block, a, a_row, a_step, b, b_step, c, c_row, rows, columns, shared, zeros, size
    ):  # fmt: skip
        # a_row and c_row: distance of rows in elements and in bytes, which addresses count in.
        for _ in range(times):
            for first in range(0, rows, block):
                product(
                    a + first * a_row[1], a_row[0], a_step, b, b_step, c + first * c_row[1],
                    c_row[0], min(block, rows - first), columns, shared, zeros, 0, 0,
                    -np.inf, size,
                )  # fmt: skip

    return loop


class _Operand:
    """A matrix in a padded buffer, as fastmlp lays them out."""

    def __init__(self, values):
        from fastmlp.network import padded, row_stride

        rows, columns = values.shape
        self.buffer = np.zeros((padded(rows), row_stride(columns, values.dtype)), values.dtype)
        self.values = self.buffer[:rows, :columns]
        self.values[...] = values
        self.address = self.buffer.ctypes.data
        self.stride = self.buffer.shape[1]


def _largest_layer(work, product):
    """(inputs, outputs) of the layer with the largest product; the first has no recursion."""
    layers = work.shapes[:-1] if product != "recursion" else work.shapes[1:-1]
    return max(layers, key=math.prod, default=None)


def _gflops(loop, product, work, dtype):
    from fastmlp.kernels.backprop import GRADIENT_ROWS

    n_in, n_out = _largest_layer(work, product)
    rng = np.random.default_rng(0)
    activations = rng.standard_normal((work.batch_size, n_in)).astype(dtype)
    delta = rng.standard_normal((work.batch_size, n_out)).astype(dtype)
    weights = rng.standard_normal((n_in, n_out)).astype(dtype)
    left, right = {
        "forward": (activations, weights),
        "recursion": (delta, weights.T),
        "gradient": (activations.T, delta),
    }[product]
    expected = left @ right
    result = _Operand(np.zeros_like(expected))
    rows, shared = left.shape
    columns, size = right.shape[1], left.itemsize
    right = _Operand(right)
    if product == "gradient":  # A by columns: neighbours within a column are its rows
        left, block = _Operand(activations), GRADIENT_ROWS
        a_row, a_step = 1, left.stride
    else:
        left, block = _Operand(left), rows
        a_row, a_step = left.stride, 1
    zeros = np.zeros(result.stride, dtype)
    arguments = (
        block, left.address, (a_row, a_row * size), a_step, right.address, right.stride,
        result.address, (result.stride, result.stride * size), rows, columns, shared,
        zeros.ctypes.data, size,
    )  # fmt: skip
    loop(1, *arguments)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(result.values / scale, expected / scale, atol=1e-4)

    def seconds(times):
        start = time.perf_counter()
        loop(times, *arguments)
        return time.perf_counter() - start

    times = max(1, round(SAMPLE_SECONDS / min(seconds(1) for _ in range(3))))
    samples = max(3, round(TOTAL_SECONDS / SAMPLE_SECONDS))
    best = min(seconds(times) for _ in range(samples)) / times
    return 2 * rows * columns * shared / best / 1e9


def _gflops_of_pieces(product, work, dtype):
    layer = work.shapes.index(_largest_layer(work, product))
    return pieces.gflops(product, work, layer, dtype, seconds=TOTAL_SECONDS, sample=SAMPLE_SECONDS)


def _measure():
    """How this commit's products are measured; None for a commit that has none, or others."""
    if importlib.util.find_spec("fastmlp.kernels") is None:
        return None
    if importlib.util.find_spec("fastmlp.kernels.piece") is not None:
        return _gflops_of_pieces
    loop = _compiled_loop()
    return None if loop is None else functools.partial(_gflops, loop)


class Product(Benchmark):
    """GFLOP/s of each product, and its share of the FMA roof."""

    param_names = ("product", "work", "dtype")
    params = (PRODUCTS, tuple(WORKS), DTYPES)

    def setup_cache(self):
        """Measure all: the kernel is compiled once, not once a number."""
        measured = {}
        measure = _measure()
        if measure is None:
            return measured
        for dtype in DTYPES:
            roof = roof_gflops(dtype)
            for product in PRODUCTS:
                for work in PANEL:
                    if _largest_layer(work, product):
                        measured[product, work.name, dtype] = measure(product, work, dtype)
            measured["roof", dtype] = max(roof, roof_gflops(dtype))
        return measured

    def setup(self, measured, product, work, dtype):
        if (product, work, dtype) not in measured:
            raise NotImplementedError("one hidden layer has no recursion, or it is another kernel")

    def track_gflops(self, measured, product, work, dtype):
        return round(measured[product, work, dtype], 1)

    track_gflops.unit = "GFLOP/s"

    def track_share_of_roof(self, measured, product, work, dtype):
        return round(measured[product, work, dtype] / measured["roof", dtype], 3)

    track_share_of_roof.unit = "of the FMA roof"
