"""One row from compiled code: the memory that a call reads, and the memory that it works in."""

import ctypes

import numpy as np
import pytest
from guards import MARGIN, untouched
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmlp.data.rows import as_rows
from fastmlp.kernels.activations import ACTIVATIONS
from fastmlp.network.layout import Network
from fastmlp.network.program import Record, Ref, Writer
from fastmlp.network.row import row_memory
from fastmlp.network.session import Session
from fastmlp.runtime import row
from fastmlp.runtime.cpu import CACHE_LINE
from fastmlp.runtime.records import numbers


def drawn(network, seed=0):
    """Weights and biases of a network."""
    rng = np.random.RandomState(seed)
    return (
        [rng.standard_normal(shape) for shape in network.shapes()],
        [rng.standard_normal(width) for width in network.widths[1:]],
    )


def called(memory, x):
    """What a call leaves at the place of its result, from scratch memory within guard zones."""
    fields = dict(zip(row.ROW.names, memory[: len(row.ROW.names)], strict=True))
    around = untouched(int(fields["scratch"]) + 2 * MARGIN, np.dtype(np.int64))
    scratch = around[MARGIN:-MARGIN]
    line = -scratch.ctypes.data % CACHE_LINE
    place = scratch.view(np.uint8)[line:]
    place[fields["x"] :][: x.nbytes].view(x.dtype)[:] = x
    before = around.copy()
    run = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)(int(fields["run"]))
    run(memory.ctypes.data, place.ctypes.data)
    for guard in (slice(None, MARGIN), slice(-MARGIN, None)):
        np.testing.assert_array_equal(around[guard], before[guard])
    return place[fields["result"] :][: 2 * x.itemsize].view(x.dtype).copy()


@settings(max_examples=60, deadline=None)
@given(
    hidden=st.lists(
        st.tuples(st.integers(1, 70), st.sampled_from(sorted(ACTIVATIONS))), max_size=3
    ),
    n_features=st.integers(1, 70),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_a_row_has_the_bits_of_a_prediction_and_stays_in_its_memory(hidden, n_features, dtype):
    widths = (n_features, *(width for width, _ in hidden), 1)
    network = Network(widths, tuple(name for _, name in hidden), np.dtype(dtype))
    parameters = drawn(network)
    session = Session(network, 1)
    session.set_parameters(*parameters)
    x = np.random.RandomState(1).standard_normal(n_features).astype(dtype)
    expected = session.probabilities(as_rows(x[None], network.dtype))[0]
    memory = row_memory(network, parameters)
    before = memory.copy()
    np.testing.assert_array_equal(called(memory, x), expected)
    np.testing.assert_array_equal(memory, before)  # a call only reads it


def test_weights_are_checked():
    network = Network((3, 2, 1), ("relu",), np.dtype("float64"))
    coefs, intercepts = drawn(network)
    with pytest.raises(ValueError, match=r"coefs_\[0\] must have shape \(3, 2\)"):
        row_memory(network, ([coefs[0].T, coefs[1]], intercepts))


RECORD = np.dtype([("inner", numbers("float64")), ("next", np.int64), ("count", np.int64)])


def program_of_two_records():
    writer = Writer()
    first = writer.record(Record(RECORD, {"inner": {"float64": Ref("moves", 8)}, "count": 3}), "a")
    writer.record(Record(RECORD, {"inner": {"float64": Ref("stays", 16)}, "next": first}), "b")
    return writer.finish([], waits=False)


def test_a_program_that_can_be_copied():
    """Its own addresses, and those of what moves with it, are counted from where a copy begins."""
    words, places = program_of_two_records().movable({"stays": 1000}, {"moves": 200})
    assert words[:6].tolist() == [208, 0, 3, 1016, 0, 0]
    assert sorted(places) == [0, 4]


def test_where_a_record_lies_in_a_program():
    program = program_of_two_records()
    assert (program.words_of("a"), program.words_of("b")) == (slice(0, 3), slice(3, 6))
    assert program.n_words == 6


def test_a_name_without_a_value_is_not_overlooked():
    with pytest.raises(KeyError, match="stays"):
        program_of_two_records().movable({}, {"moves": 0})
