"""The benchmark of single pieces runs on the network as it is."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fastmlp.network.layout import Network
from fastmlp.network.plan import sums_by_block

PATH = Path(__file__).resolve().parent.parent / "benchmarks" / "pieces.py"


@pytest.fixture(scope="module")
def pieces():
    spec = importlib.util.spec_from_file_location("pieces", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("product", ["forward", "recursion", "gradient"])
@pytest.mark.parametrize(("hidden", "by_block"), [(16, True), (200, False)])
def test_all_products_are_measured(pieces, hidden, by_block, product, dtype):
    network = Network((20, hidden, hidden, 1), ("relu", "relu"), np.dtype(dtype))
    assert sums_by_block(network, 256) == by_block
    work = SimpleNamespace(shapes=network.shapes(), batch_size=256)
    assert 0 < pieces.gflops(product, work, 1, dtype, seconds=0.003, sample=0.001) < np.inf
