"""Programs: what is written with names, and bound to numbers."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmlp.kernels.piece import piece
from fastmlp.network.program import Record, Ref, Segment, Step, Writer, compile_steps
from fastmlp.runtime.driver import PHASE, SEGMENT, STEP, UNIT
from fastmlp.runtime.records import numbers

INNER = np.dtype([("float32", np.int64), ("rows", np.int64)])
OUTER = np.dtype(
    [("scale", np.float64), ("inner", INNER), ("count", np.int64), ("x", numbers("float64"))]
)


class FakePiece:
    """Has an address without being compiled; notes what it is asked for."""

    def __init__(self, address):
        self._address, self.compiled = address, []

    def is_compiled(self, record):
        return record in self.compiled

    def address(self, record):
        if record not in self.compiled:
            self.compiled.append(record)
        return self._address


def read(bound, address, dtype, count=1):
    """Records at an address within a bound program."""
    start = address - bound.words.ctypes.data
    assert start >= 0
    return bound.words.view(np.uint8)[start : start + count * dtype.itemsize].view(dtype)


def tables(bound, n_units):
    """Units, segments and steps, as far as they follow from one another."""
    units = read(bound, bound.fields["units"], UNIT, n_units)
    n_segments = units["end_segment"].max()
    segments = read(bound, bound.fields["segments"], SEGMENT, n_segments)
    steps = read(bound, bound.fields["steps"], STEP, segments["end_step"].max())
    return units, segments, steps


def named(bound, name, dtype):
    """A named record."""
    start = bound._starts[name]
    return bound.words.view(np.uint8)[start : start + dtype.itemsize].view(dtype)


def one_step_program(record, name=None, piece=None):
    writer = Writer()
    if name:
        writer.record(record, name)
    step = Step(piece or FakePiece(77), record)
    return writer.finish([[[Segment((step,), 0, 5, 2)]]], waits=True)


def test_fields_hold_numbers_records_and_what_names_stand_for():
    record = Record(
        OUTER,
        {"scale": -0.5, "inner": {"float32": Ref("a", 24), "rows": 7}, "x": {"float64": Ref("b")}},
    )
    bound = one_step_program(record, "it").bind({"a": 1000, "b": 2**40})
    (written,) = named(bound, "it", OUTER)
    assert written["scale"] == -0.5
    assert written["inner"]["float32"] == 1024
    assert written["inner"]["rows"] == 7
    assert written["count"] == 0  # it was not named
    assert written["x"]["float64"] == 2**40


def test_steps_know_their_pieces_and_records():
    record = Record(OUTER, {"count": 3})
    bound = one_step_program(record, "it").bind({})
    units, segments, steps = tables(bound, bound.fields["n_units"])
    assert units.tolist() == [(0, 1)]
    assert segments.tolist() == [(0, 1, 0, 5, 2, 0, 0, 0)]
    assert steps["piece"].tolist() == [77]
    (found,) = read(bound, int(steps["record"][0]), OUTER)
    assert found["count"] == 3


def test_a_record_is_written_once_and_can_be_named_by_others():
    writer = Writer()
    inner = Record(INNER, {"rows": 9})
    ref = writer.record(inner, "inner")
    assert writer.record(inner) == ref
    other = Record(numbers("int64"), {"int64": ref})
    step = Step(FakePiece(1), other)
    segments = [Segment((step, Step(FakePiece(2), other)), 0, 1, 1)]
    bound = writer.finish([[segments]], waits=True).bind({})
    _, _, steps = tables(bound, 1)
    assert steps["record"][0] == steps["record"][1]
    (address,) = read(bound, int(steps["record"][0]), numbers("int64"))
    (found,) = read(bound, int(address["int64"]), INNER)
    assert found["rows"] == 9


def test_records_that_only_the_writer_knows_are_not_mixed_up():
    writer = Writer()
    for k in range(20):
        writer.record(Record(INNER, {"rows": k}), str(k))
    bound = writer.finish([], waits=True).bind({})
    assert [named(bound, str(k), INNER)["rows"][0] for k in range(20)] == list(range(20))


def test_programs_that_are_bound_twice_have_memory_of_their_own():
    program = one_step_program(Record(OUTER, {"x": {"float64": Ref("x")}}), "it")
    one, two = program.bind({"x": 1}), program.bind({"x": 2})
    assert not np.shares_memory(one.words, two.words)
    for bound, value in ((one, 1), (two, 2)):
        assert named(bound, "it", OUTER)[0]["x"]["float64"] == value
        for what in ("phases", "units", "segments", "steps"):
            assert read(bound, bound.fields[what], np.dtype(np.int64)).size == 1
        *_, steps = tables(bound, 1)
        assert read(bound, int(steps["record"][0]), OUTER)[0]["x"]["float64"] == value
    named(one, "it", OUTER)["count"] = 5
    assert named(two, "it", OUTER)["count"] == 0
    assert named(program.bind({"x": 3}), "it", OUTER)["count"] == 0


def test_the_first_fields_of_a_record_can_be_written():
    program = one_step_program(Record(INNER, {"rows": 4}), "it")
    bound = program.bind({})
    bound.write("it", (3, 5))
    assert named(bound, "it", INNER).tolist() == [(3, 5)]
    assert named(program.bind({}), "it", INNER).tolist() == [(0, 4)]


def test_a_name_without_a_value_is_not_overlooked():
    program = one_step_program(Record(OUTER, {"x": {"float64": Ref("x")}}))
    with pytest.raises(KeyError, match="x"):
        program.bind({})


def test_a_field_that_there_is_not_is_not_overlooked():
    with pytest.raises(AssertionError, match="cuont"):
        one_step_program(Record(OUTER, {"cuont": 3}))


@pytest.mark.parametrize("waits", [False, True])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(shape=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=4))
def test_phases(waits, shape):
    # shape : of each phase, of each unit, number of segments
    steps = [Step(FakePiece(k), Record(INNER, {"rows": k})) for k in range(5)]
    phases, number = [], 0
    for phase in shape:
        units = []
        for count in phase:
            units.append(
                [
                    Segment(tuple(steps[: 1 + (number + k) % 4]), number, number + k, k + 1, k, 1)
                    for k in range(count)
                ]
            )
            number += 1
        phases.append(units)
    writer = Writer()
    program = writer.finish(phases, waits=waits)
    n_units = sum(map(len, shape))
    bound = program.bind({})
    assert bound.fields["n_units"] == n_units
    assert bound.fields["n_phases"] == len(shape)
    assert bound.fields["waits"] == waits
    units = read(bound, bound.fields["units"], UNIT, n_units)
    ends = np.cumsum([0, *map(len, shape)])
    phases_of_call = read(bound, bound.fields["phases"], PHASE, len(shape))
    assert phases_of_call.tolist() == list(pairwise(ends.tolist()))
    given_segments = [part for phase in phases for unit in phase for part in unit]
    assert units["segment"][0] == 0
    assert (units["segment"][1:] == units["end_segment"][:-1]).all()
    assert units["end_segment"][-1] == len(given_segments)
    segments = read(bound, bound.fields["segments"], SEGMENT, len(given_segments))
    for found, part in zip(segments, given_segments, strict=True):
        for name in ("begin", "end", "block", "at", "at_advance", "of_rows"):
            assert found[name] == getattr(part, name)
        count = found["end_step"] - found["step"]
        address = bound.fields["steps"] + int(found["step"]) * STEP.itemsize
        of_segment = read(bound, address, STEP, count)
        assert of_segment["piece"].tolist() == [step.piece._address for step in part.steps]
        for step, written in zip(part.steps, of_segment, strict=True):
            (record,) = read(bound, int(written["record"]), INNER)
            assert record["rows"] == step.record.values["rows"]


def test_what_is_missing_is_compiled_once():
    one, two = FakePiece(1), FakePiece(2)
    steps = [
        Step(one, Record(INNER, {})),
        Step(two, Record(OUTER, {})),
        Step(one, Record(OUTER, {})),
    ]
    compile_steps(steps)
    assert one.compiled == [INNER, OUTER]
    assert two.compiled == [OUTER]
    asked = []
    for fake in (one, two):
        fake.address = asked.append
    compile_steps(steps)
    assert asked == []


def test_an_error_while_compiling_is_raised():
    @piece()
    def wrong(record, at, first, rows, batch):
        record.no_such_field = 1

    for _ in range(2):
        with pytest.raises(Exception, match="no_such_field"):
            one_step_program(Record(numbers("int64"), {}), piece=wrong)
