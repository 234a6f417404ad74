"""Where a thread runs, and that leaving a core leaves everything else as it was."""

import os
import sys
import threading

import pytest

from fastmlp import cores

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux lets a thread choose")
several = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two cores",
)


def in_a_thread(work):
    """What work() returns in a thread of its own, whose choice of cores ends with it."""
    results = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join(30)
    (result,) = results
    return result


def test_the_current_core_is_one_that_is_allowed():
    assert cores.current() in os.sched_getaffinity(0)


@several
def test_a_thread_leaves_its_core_and_may_come_back():
    before = os.sched_getaffinity(0)

    def leave():
        # Somebody may move the thread between two lines; not ten times in a row.
        moved = []
        for _ in range(10):
            core = cores.current()
            cores.leave({core})
            moved.append(cores.current() != core)
        return any(moved), os.sched_getaffinity(0)

    assert in_a_thread(leave) == (True, before)
    assert os.sched_getaffinity(0) == before


def test_there_may_be_nowhere_to_go():
    before = os.sched_getaffinity(0)

    def leave():
        cores.leave(before)  # all of them
        cores.leave({4000})  # one that is not allowed anyway
        return os.sched_getaffinity(0)

    assert in_a_thread(leave) == before


@several
@pytest.mark.parametrize("refused", ["_set_allowed", "sched_getaffinity"])
def test_a_refusal_is_nobodys_business(monkeypatch, refused):
    def refuse(*_):
        raise PermissionError

    if refused == "sched_getaffinity":
        monkeypatch.setattr(os, refused, refuse)
    else:
        monkeypatch.setattr(cores, refused, lambda *_: -1)  # as C says it
    cores.leave({0})


def test_a_system_that_does_not_tell(monkeypatch):
    monkeypatch.setattr(cores, "_current", lambda: -1)
    assert cores.current() is None
    monkeypatch.setattr(cores, "_current", None)
    assert cores.current() is None
    monkeypatch.setattr(cores, "_set_allowed", None)
    cores.leave({0})


def test_masks_name_the_cores(monkeypatch):
    masks = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 9, 1500})
    monkeypatch.setattr(cores, "_set_allowed", lambda pid, size, mask: masks.append((size, mask)))
    cores.leave({9, 3})
    for (size, mask), expected in zip(masks, ({0, 1500}, {0, 9, 1500}), strict=True):
        assert len(mask) == size.value
        assert size.value % 8 == 0
        number = int.from_bytes(mask, sys.byteorder)
        assert {k for k in range(8 * len(mask)) if number >> k & 1} == expected
