"""Compiled code on disk: found again, and never in the way when files or folders are broken."""

import ctypes
import errno
import hashlib
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import llvmlite
import numba
import numpy as np
import pytest

from fastmlp.runtime import cache
from fastmlp.runtime.jit import by_address, entry, parallel_entry


def tiny(x):
    return x + x


def other(x):
    return x - x


@pytest.fixture(autouse=True)
def as_in_a_new_process(monkeypatch):
    cache._stamp()  # read once, before a test moves the files it reads
    monkeypatch.setattr(cache, "_warned", False)
    monkeypatch.delenv("FASTMLP_CACHE", raising=False)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder that compiled code goes to."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path / "fastmlp"


def call(function=tiny, x=1.5):
    """Compile or load in a fresh dispatcher, as a new process would. Returns whether it loaded."""
    dispatcher = entry(function)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        assert dispatcher(x) == function(x)
    assert caught == []
    return sum(dispatcher.stats.cache_hits.values()) == 1


def files(folder):
    return sorted(folder.iterdir()) if folder.exists() else []


def test_the_second_process_loads(folder):
    assert not call()
    assert len(files(folder)) == 1
    assert call()
    assert len(files(folder)) == 1


def test_one_file_a_signature_and_no_drafts(folder):
    assert not call(x=1.5)
    assert not call(x=2)
    assert not call(x=np.float32(1))
    assert not call(other)
    assert len(files(folder)) == 4
    assert all(file.name.startswith(f"{__name__}.") for file in files(folder))
    assert all(file.suffix == ".bin" for file in files(folder))
    assert all([call(x=1.5), call(x=2), call(x=np.float32(1)), call(other)])


def damaged(data):
    """name: what a file of these bytes may be turned into."""
    yield "empty", b""
    for length in (1, 31, 32, 33, len(data) // 2, len(data) - 1):
        yield f"cut to {length}", data[:length]
    for place in (0, 31, 32, 40, len(data) // 3, len(data) // 2, len(data) - 1):
        for bit in (0, 7):
            flipped = bytearray(data)
            flipped[place] ^= 1 << bit
            yield f"bit {bit} of byte {place}", bytes(flipped)
    yield "longer", data + b"\0"
    yield "text", b"not compiled code\n" * 100
    for payload in (b"", b"garbage", pickle.dumps((1, 2)), pickle.dumps(None)):
        yield "right digest, wrong content", hashlib.sha256(payload).digest() + payload


def test_a_damaged_file_is_compiled_anew(folder):
    call()
    (file,) = files(folder)
    whole = file.read_bytes()
    n = 0
    for name, data in damaged(whole):
        file.write_bytes(data)
        assert not call(), name
        assert len(file.read_bytes()) > 100, name
        assert call(), name
        file.write_bytes(whole)
        n += 1
    assert n > 20
    assert call()


def test_a_file_that_cannot_be_read_is_compiled_anew(folder):
    call()
    (file,) = files(folder)
    file.unlink()
    file.symlink_to(folder / "nowhere")
    assert not call()
    assert call()


@pytest.mark.parametrize("on", ["1", ""])
def test_switched_off(folder, monkeypatch, on):
    monkeypatch.setenv("FASTMLP_CACHE", "0")
    assert not call()
    assert not call()
    assert files(folder) == []
    monkeypatch.setenv("FASTMLP_CACHE", on)
    assert not call()
    assert len(files(folder)) == 1
    monkeypatch.setenv("FASTMLP_CACHE", "0")
    assert not call()  # what is there is not read either


def warned(function, arguments, action="default"):
    """The warnings of calls in one process, for which a filter takes this action."""
    dispatcher = entry(function)
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        warnings.simplefilter(action)
        for x in arguments:
            assert dispatcher(x) == function(x)
    return [str(warning.message) for warning in caught]


def test_a_folder_that_cannot_be_made_gives_one_warning(folder):
    folder.parent.joinpath("fastmlp").write_text("a file where the folder should be")
    (message,) = warned(tiny, [1.5, 2, np.float32(1)])
    assert "cannot keep compiled code" in message
    assert "NUMBA_CACHE_DIR" in message
    assert folder.read_text() == "a file where the folder should be"


def test_nothing_fails_where_warnings_are_errors(folder):
    folder.parent.joinpath("fastmlp").write_text("a file where the folder should be")
    (message,) = warned(tiny, [1.5, 2], action="error")
    assert "cannot keep compiled code" in message


def refuse(path, *args):
    raise PermissionError(errno.EACCES, "Permission denied", str(path))


def test_a_folder_that_cannot_be_written_to_gives_one_warning(folder, monkeypatch):
    monkeypatch.setattr(Path, "write_bytes", refuse)
    (message,) = warned(other, [1.5, 2, np.float32(1)])
    assert "Permission denied" in message
    assert files(folder) == []


def test_a_full_disk_leaves_no_draft(folder, monkeypatch):
    write = Path.write_bytes

    def write_a_part(path, data):
        write(path, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_bytes", write_a_part)
    assert len(warned(tiny, [1.5])) == 1
    assert files(folder) == []


def test_what_is_half_written_has_no_name_of_a_file_yet(folder, monkeypatch):
    write, seen = Path.write_bytes, []

    def write_in_halves(path, data):
        write(path, data[: len(data) // 2])
        seen.extend(file.name for file in folder.glob("*.bin"))
        write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_in_halves)
    assert not call()
    assert seen == []
    assert len(files(folder)) == 1


def test_writers_at_once_leave_each_others_drafts_alone(folder, monkeypatch):
    """One writes all of a file while another is between writing its draft and renaming it."""
    replace, drafts = os.replace, []

    def replace_after_another(draft, file):
        drafts.append(draft)
        whole = draft.read_bytes()
        if len(drafts) < 3:
            assert not call()
        assert draft.read_bytes() == whole
        replace(draft, file)

    monkeypatch.setattr(os, "replace", replace_after_another)
    assert not call()
    assert len(set(drafts)) == 3
    assert len(files(folder)) == 1
    assert call()


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_a_fault_before_the_renaming_leaves_no_draft(folder, monkeypatch, error):
    def fail(draft, file):
        assert draft.exists()
        raise error

    monkeypatch.setattr(os, "replace", fail)
    if isinstance(error, OSError):
        (message,) = warned(tiny, [1.5, 2])
        assert "Input/output error" in message
    else:
        with pytest.raises(KeyboardInterrupt):
            call()
    assert files(folder) == []


def test_code_that_cannot_be_pickled_gives_one_warning(folder, monkeypatch):
    def fail(data):
        raise pickle.PicklingError("cannot pickle this")

    monkeypatch.setattr(cache, "reduced", fail)
    (message,) = warned(tiny, [1.5, 2])
    assert "cannot pickle this" in message


@pytest.fixture
def homes(tmp_path, monkeypatch):
    """The package's folder and the user's, where no NUMBA_CACHE_DIR is set."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(cache, "_PACKAGE", tmp_path / "package")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return tmp_path / "package" / "__pycache__", tmp_path / "user" / "fastmlp"


def test_the_packages_folder_comes_first(homes):
    assert cache.folders() == list(homes)
    assert not call()
    assert (len(files(homes[0])), len(files(homes[1]))) == (1, 0)
    assert call()


def test_the_users_folder_is_next(homes):
    homes[0].parent.write_text("no folder")
    assert not call()
    assert len(files(homes[1])) == 1
    assert call()


def test_a_damaged_file_does_not_hide_a_good_one(homes):
    call()
    (file,) = files(homes[0])
    homes[1].mkdir(parents=True)
    (homes[1] / file.name).write_bytes(file.read_bytes())
    file.write_bytes(b"damaged")
    assert call()


def test_nowhere_to_write_gives_one_warning(homes):
    for home in homes:
        home.parent.write_text("no folder")
    (message,) = warned(tiny, [1.5, 2])
    assert message.count(";") == 1  # both reasons


def test_without_a_home(homes, monkeypatch):
    def no_home(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    assert cache.folders() == [homes[0]]


def test_names_follow_what_the_code_depends_on(folder, monkeypatch):
    stamp = cache._stamp.__wrapped__
    before = stamp()
    assert stamp() == before
    for module, name, value in (
        (cache, "VECTOR_BYTES", 8),
        (numba, "__version__", "0.0"),
        (llvmlite, "__version__", "0.0"),
        (sys, "version", "2.7"),
        (numba.config, "BOUNDSCHECK", not numba.config.BOUNDSCHECK),
        (numba.config, "OPT", 1),
        (numba.config, "DEBUGINFO_DEFAULT", not numba.config.DEBUGINFO_DEFAULT),
        (numba.config, "LOOP_VECTORIZE", not numba.config.LOOP_VECTORIZE),
        (numba.config, "SLP_VECTORIZE", not numba.config.SLP_VECTORIZE),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            assert stamp() != before
    call()
    monkeypatch.setattr(cache, "_stamp", lambda: "another version of the kernels")
    assert not call()
    assert len(files(folder)) == 2


EDITED = ("kernels/one.py", "kernels/simd/one.py", "runtime/one.py", "runtime/deep/er/one.py")


@pytest.mark.parametrize("edited", EDITED)
def test_an_edited_file_changes_the_stamp(tmp_path, monkeypatch, edited):
    monkeypatch.setattr(cache, "_PACKAGE", tmp_path)
    for name in (*EDITED, "network/one.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a = 1")
    stamp = cache._stamp.__wrapped__
    before = stamp()
    (tmp_path / edited).write_text("a = 2")
    assert stamp() != before
    (tmp_path / edited).write_text("a = 1")
    assert stamp() == before
    (tmp_path / "network/one.py").write_text("a = 2")  # it holds no compiled code
    assert stamp() == before


def test_all_compiled_code_is_in_the_stamp():
    """Numba is imported where code is compiled, or types and warnings of it are asked for."""
    package = Path(cache.__file__).parents[1]
    others = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if path.relative_to(package).parts[0] not in cache._COMPILED
        and {"njit", "intrinsic", "@kernel", "@entry", "@piece"}
        & set(path.read_text("utf-8").replace("(", " ").replace(",", " ").split())
    ]
    assert others == []


def addresses(x):
    return numba.get_num_threads() + x


def test_code_with_addresses_of_its_process_is_not_kept(folder):
    # Numba's get_num_threads is such code.
    (message,) = warned(addresses, [1])
    assert "holds addresses of its process" in message
    assert files(folder) == []


def double(x):
    return 2 * x


def test_functions_called_by_address_are_kept(folder):
    addresses = []
    for compiled_before in (False, True):
        assert len(files(folder)) == compiled_before
        compiled = by_address(double, numba.types.int64(numba.types.int64))
        addresses.append(compiled.address)
        assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(compiled.address)(21) == 42
        assert compiled.cache_hits == compiled_before


def fill(x, n):
    for k in numba.prange(n):
        x[k] = k + 1


def test_parallel_loops_are_kept(folder):
    for loaded in (False, True):
        function, x = parallel_entry(fill), np.zeros(100)
        function(x, 100)
        np.testing.assert_array_equal(x, np.arange(1, 101))
        assert sum(function.stats.cache_hits.values()) == loaded


def test_flush_removes_a_functions_files_only(folder):
    call(x=1.5)
    call(x=2)
    call(other)
    entry(tiny)._cache.flush()
    (left,) = files(folder)
    assert "other" in left.name
    assert call(other)


def test_numbas_own_switches_are_there(folder, monkeypatch):
    kernel_cache = entry(tiny)._cache
    assert kernel_cache.cache_path == str(folder)
    kernel_cache.disable()
    assert not call()
    kernel_cache.enable()
    assert call()
    monkeypatch.setenv("FASTMLP_CACHE", "0")
    assert kernel_cache.cache_path is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_that_start_at_once(folder):
    children = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside other threads
        for _ in range(6):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    call()
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    assert len(files(folder)) == 1
    assert call()


JOB = """
import sys, types

# The package without what its __init__ imports: kernels alone are there in a third of the time.
package = types.ModuleType("fastmlp")
package.__path__ = [sys.argv[1]]
sys.modules["fastmlp"] = package

from fastmlp.runtime.jit import entry

def job(x):
    return 2 * x

compiled = entry(job)
assert compiled(2.0) == 4.0 and compiled(2) == 4
print(sum(compiled.stats.cache_hits.values()))
"""


def test_in_processes_of_their_own(tmp_path):
    # NUMBA_CACHE_DIR as an environment variable, and a warning that is said once.
    (tmp_path / "job.py").write_text(JOB)
    (tmp_path / "no_folder").write_text("")
    said = []
    for cache_dir in ("there", "there", "no_folder"):
        result = subprocess.run(
            [sys.executable, "job.py", str(Path(cache.__file__).parents[1])],
            cwd=tmp_path, env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / cache_dir)},
            capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        said.append((result.stdout.strip(), result.stderr.count("RuntimeWarning")))
    assert said == [("0", 0), ("2", 0), ("0", 1)]
