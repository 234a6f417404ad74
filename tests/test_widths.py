"""Other vector widths than this CPU's: the same tests again, with the width forced.

FASTMLP_VECTOR_BYTES is read when the package is imported, so each width has a process of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastmlp.runtime import cpu
from fastmlp.runtime.cpu import VECTOR_BYTES

TESTS = Path(__file__).parent

#: What depends on the width, and little else.
KERNELS = (
    "test_tile.py::test_sizes",
    "test_tile.py::test_tiles",
    "test_product.py::test_every_shape_layout_and_ending",
    "test_product.py::test_a_number_has_the_same_bits_in_every_tile",
    "test_elementwise.py::test_it_writes_what_it_says",
    "test_elementwise.py::test_a_view_may_end_within_a_vector",
    "test_reductions.py::test_square_of_a_row_of_every_width",
    "test_reductions.py::test_add_a_multiple_of_a_row",
    "test_reductions.py::test_dots_of_many_rows",
    "test_reductions.py::test_weighted_sum_of_rows",
    "test_reductions.py::test_transpose_of_a_panel",
    "test_reductions.py::test_interleave",
    "test_functions.py::test_ends_zeros_and_nan",
    "test_functions.py::test_error_in_units_in_the_last_place[sigmoid-float32]",
    "test_functions.py::test_error_in_units_in_the_last_place[tanh-float64]",
    "test_take_rows.py::test_against_the_twin[float32]",
    "test_layer.py::test_refresh",
    "test_layout.py::test_the_layout_is_the_same_on_every_cpu",
)
SESSION = ("test_session.py::test_random_networks[float32]",)
EVERYTHING = (
    "test_tile.py", "test_product.py", "test_elementwise.py", "test_reductions.py",
    "test_functions.py", "test_take_rows.py", "test_layout.py", "test_activations.py",
    "test_any_activation.py", "test_layer.py", "test_loss.py", "test_updates.py", "test_sparse.py",
    "test_session.py",
)  # fmt: skip


def start(vector_bytes, tests):
    """Begin to run tests with vectors of that many bytes."""
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=TESTS, env=os.environ | {"FASTMLP_VECTOR_BYTES": str(vector_bytes)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def check(process):
    """Assert that the tests pass."""
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output[-7000:]
    assert "passed" in output


# This CPU's own width is what all other tests run with.
others = [size for size in (16, 32, 64) if size != VECTOR_BYTES]


@pytest.fixture(scope="module")
def processes():
    """Tests of each other width, on their way all at once: each is busy with one core."""
    # A session compiles for seconds: here with the narrowest vectors only.
    found = {n: start(n, KERNELS + SESSION if n == min(others) else KERNELS) for n in others}
    yield found
    for process in found.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("vector_bytes", others)
def test_kernels(processes, vector_bytes):
    check(processes[vector_bytes])


@pytest.mark.full
@pytest.mark.parametrize("vector_bytes", [16, 32, 64])
def test_everything(vector_bytes):
    process = start(vector_bytes, EVERYTHING)
    try:
        check(process)
    finally:
        process.kill()


@pytest.mark.parametrize("value", ["8", "0", "128", "wide", " "])
def test_no_such_width(value, monkeypatch):
    monkeypatch.setenv("FASTMLP_VECTOR_BYTES", value)
    with pytest.raises(ValueError, match=f"must be 16, 32 or 64, got {value!r}"):
        cpu._register_bytes()


def test_an_empty_width_is_none(monkeypatch):
    monkeypatch.delenv("FASTMLP_VECTOR_BYTES", raising=False)
    expected = cpu._register_bytes()
    monkeypatch.setenv("FASTMLP_VECTOR_BYTES", "")
    assert cpu._register_bytes() == expected


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"avx512f": True, "avx": True}, 64),
        ({"avx512f": False, "avx": True}, 32),
        ({"neon": True}, 16),
        ({}, 16),
        (None, 16),
    ],
)
def test_the_width_follows_the_cpu(features, expected, monkeypatch):
    def known():
        if features is None:
            raise RuntimeError("LLVM does not know this CPU")
        return features

    monkeypatch.delenv("FASTMLP_VECTOR_BYTES", raising=False)
    monkeypatch.setattr(cpu.llvm, "get_host_cpu_features", known)
    assert cpu._register_bytes() == expected
