"""Compiling, and long calls, in another thread: interrupts, errors and warnings."""

import _thread
import gc
import threading
import warnings
from types import SimpleNamespace

import numba
import pytest
from calls import interrupt_main_soon, wait_until
from numba import types
from numba.core.errors import WarningsFixer

from fastmlp.runtime import driver
from fastmlp.runtime.compiling import apart, compile_apart, compile_now
from fastmlp.runtime.jit import by_address, entry
from fastmlp.runtime.numba_internals import compiling
from fastmlp.runtime.threads import is_apart


class Compiler:
    """Stands for a compiled function, and notes what it is asked to compile."""

    def __init__(self, action=lambda: None):
        self.action, self.signatures, self.threads = action, [], []

    def compile(self, signature):
        self.threads.append(threading.get_ident())
        self.action()
        self.signatures.append(signature)


def fail():
    raise ZeroDivisionError


def refuse(*args):
    raise RuntimeError("can't start new thread")


def test_compiled_once_in_another_thread():
    function = Compiler()
    for _ in range(3):
        compile_apart(function, ("a", "b"))
    assert function.signatures == [("a", "b")]
    assert threading.main_thread().ident not in function.threads


def test_a_thread_that_hears_no_signals_compiles_itself():
    function = Compiler()
    user = threading.Thread(target=compile_apart, args=(function, (1,)))
    user.start()
    user.join(30)
    assert function.threads == [user.ident]


def test_where_no_thread_can_be_started_the_caller_compiles(monkeypatch):
    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    function = Compiler()
    compile_apart(function, (1,))
    assert function.threads == [threading.main_thread().ident]


def test_an_error_while_compiling_is_raised_and_compiling_tried_again():
    function = Compiler(fail)
    catch_warnings = WarningsFixer.catch_warnings
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            compile_apart(function, (1,))
        assert WarningsFixer.catch_warnings is catch_warnings
    function.action = lambda: None
    compile_apart(function, (1,))
    assert len(function.signatures) == 1


@pytest.mark.usefixtures("no_collections")
def test_an_interrupt_does_not_wait_for_the_compiler():
    begun, release = threading.Event(), threading.Event()

    def compile_slowly():
        begun.set()
        release.wait(30)

    function = Compiler(compile_slowly)
    interrupter = interrupt_main_soon(begun.is_set)
    with pytest.raises(KeyboardInterrupt):
        compile_apart(function, (1,))
    interrupter.join(30)
    assert function.signatures == []
    release.set()
    wait_until(lambda: len(function.signatures) == 1)  # it was not in vain


def test_one_thread_compiles_at_a_time():
    begun, release, order = threading.Event(), threading.Event(), []

    def compile_slowly():
        begun.set()
        release.wait(30)
        order.append("slow")

    slow = threading.Thread(target=compile_now, args=(compile_slowly,))
    slow.start()
    assert begun.wait(30)
    quick = threading.Thread(target=compile_now, args=(lambda: order.append("quick"),))
    quick.start()
    quick.join(0.05)
    assert order == []
    release.set()
    for thread in (slow, quick):
        thread.join(30)
    assert order == ["slow", "quick"]


def test_warnings_of_other_threads_are_not_lost_while_types_are_inferred():
    begun, release = threading.Event(), threading.Event()

    def compile_slowly():
        with WarningsFixer.catch_warnings(record=True):
            begun.set()
            release.wait(30)

    compiler = threading.Thread(target=compile_now, args=(compile_slowly,))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compiler.start()
        assert begun.wait(30)
        warnings.warn("of a fit", stacklevel=1)
        release.set()
        compiler.join(30)
        warnings.warn("of another fit", stacklevel=1)
    assert [str(warning.message) for warning in caught] == ["of a fit", "of another fit"]


def test_warnings_of_the_compiled_are_not_lost():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compile_now(lambda: warnings.warn("of what is compiled", stacklevel=1))
    assert [str(warning.message) for warning in caught] == ["of what is compiled"]


def test_numba_is_as_it_was_after_compiling():
    before = WarningsFixer.catch_warnings
    with compiling(), compiling():
        assert WarningsFixer.catch_warnings is not before
    assert WarningsFixer.catch_warnings is before


@pytest.mark.parametrize("collects", [True, False])
def test_garbage_collection_is_as_it_was_after_compiling(collects):
    (gc.enable if collects else gc.disable)()
    try:
        with compiling(), compiling():
            assert not gc.isenabled()
        assert gc.isenabled() is collects
        with pytest.raises(ZeroDivisionError):
            compile_now(fail)
        assert gc.isenabled() is collects
    finally:
        gc.enable()


def doubled(x):
    return 2 * sum((x, 0))  # the sum is Python code of Numba's own


@pytest.fixture(params=["before", "after"])
def without_jit(request, monkeypatch):
    """NUMBA_DISABLE_JIT, set before Numba is imported or after: then the compiler comes upon it."""
    changes = iter([1])

    def read_environment(force=False):
        numba.config.DISABLE_JIT = next(changes, numba.config.DISABLE_JIT)

    monkeypatch.setattr(numba.config, "DISABLE_JIT", int(request.param == "before"))
    monkeypatch.setattr(numba.config._env_reloader, "update", read_environment)


def test_kernels_are_compiled_in_spite_of_numba_disable_jit(without_jit, monkeypatch):
    monkeypatch.setenv("FASTMLP_CACHE", "0")
    function = entry(doubled)
    compile_apart(function, (types.int64,))
    assert function(4) == 8
    assert function.nopython_signatures
    assert by_address(doubled, types.int64(types.int64)).address
    # The user's own functions are still interpreted.
    assert numba.njit(doubled) is doubled
    assert numba.config.DISABLE_JIT == 1


def test_work_apart_is_done_and_its_errors_are_raised():
    threads = []
    apart(lambda: threads.append(threading.get_ident()))
    assert threads != [threading.main_thread().ident]
    with pytest.raises(ZeroDivisionError):
        apart(fail)


@pytest.mark.usefixtures("no_collections")
def test_an_interrupt_leaves_work_apart_to_its_thread():
    begun, release, done = threading.Event(), threading.Event(), threading.Event()

    def work():
        begun.set()
        release.wait(30)
        done.set()

    interrupter = interrupt_main_soon(begun.is_set)
    with pytest.raises(KeyboardInterrupt):
        apart(work)
    interrupter.join(30)
    assert not done.is_set()
    release.set()
    assert done.wait(30)


def test_where_no_thread_can_be_started_work_is_done_here(monkeypatch):
    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    threads = []
    apart(lambda: threads.append(threading.get_ident()))
    assert threads == [threading.main_thread().ident]


def test_an_error_of_a_handler_is_not_taken_for_a_lack_of_threads(monkeypatch):
    start = _thread.start_new_thread
    begun, release = threading.Event(), threading.Event()

    def interrupted(*args):
        start(*args)
        assert begun.wait(30)
        raise RuntimeError("of a signal's handler")

    def work():
        assert not begun.is_set()
        begun.set()
        release.wait(30)

    monkeypatch.setattr(_thread, "start_new_thread", interrupted)
    with pytest.raises(RuntimeError, match="handler"):
        apart(work)
    release.set()


def test_who_works_apart_knows():
    answers = []
    apart(lambda: answers.append(is_apart()))
    assert answers == [True]
    assert not is_apart()
    user = threading.Thread(target=apart, args=(lambda: answers.append(is_apart()),))
    user.start()
    user.join(30)
    assert answers == [True, False]


def test_the_driver_is_compiled_apart(monkeypatch):
    """Numba's lock is not taken in the main thread, where an exception could lose it."""
    compiled = []

    def compile_here(function, signature):
        compiled.append(is_apart())
        return SimpleNamespace(address=7)

    monkeypatch.setattr(driver, "_compiled", None)
    monkeypatch.setattr(driver, "by_address", compile_here)
    assert driver.address() == driver.address() == 7
    assert compiled == [True]
