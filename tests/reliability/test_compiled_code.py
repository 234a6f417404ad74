"""Compiled code on disk: whatever state the folders are in, a fit works (point 5)."""

import ctypes
import hashlib
import os
import pickle
import shutil
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import numba
import numpy as np
import pytest
from fresh import finish, run, start

import fastmlp
from fastmlp import MLPBinaryClassifier
from fastmlp.kernels.permutation import permute, room_for_draws
from fastmlp.runtime import cache
from fastmlp.runtime.jit import entry

PACKAGE = Path(fastmlp.__file__).parent


def fit(dtype="float64"):
    """Print the model's bits, the warnings, and whether anything was compiled."""
    from data import two_classes

    compiled = []
    save = cache.KernelCache.save_overload

    def note(self, signature, data):
        compiled.append(self._name)
        save(self, signature, data)

    cache.KernelCache.save_overload = note
    X, y = two_classes()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = MLPBinaryClassifier((5,), max_iter=2, random_state=0, dtype=dtype).fit(X, y)
    ours = [str(w.message) for w in caught if w.category is RuntimeWarning]
    print(
        model.coefs_[0].sum().hex() if dtype == "float64" else model.coefs_[0].sum(),
        len(ours),
        "compiled" if compiled else "loaded",
    )


def fit_in_threads():
    """Have so much to do that threads are used."""
    model = MLPBinaryClassifier((300,), max_iter=1, n_threads=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X = np.random.RandomState(0).randn(3000, 50)
        model.fit(X, X[:, 0] > 0)


def shuffle():
    """Use the smallest function whose compiled code is kept."""
    from fastmlp.training.loop import shuffle

    order = np.arange(50)
    shuffle(order, np.random.RandomState(0))
    print(order[:3])


def files(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def filled(warmed_up):
    """A cache folder that a process has filled, and what a second process printed."""
    folder, _ = warmed_up
    return folder, run(fit, environment={"NUMBA_CACHE_DIR": str(folder)}).split()


def copy_of(filled, tmp_path):
    folder = tmp_path / "cache"
    shutil.copytree(filled[0], folder)
    return folder, {"NUMBA_CACHE_DIR": str(folder)}


def at_once(program, folder, n_processes):
    """Start the program n times at the same moment on one folder; what each printed."""
    environment = {"NUMBA_CACHE_DIR": str(folder)}
    processes = [start(program, environment=environment) for _ in range(n_processes)]
    return {finish(process, timeout=1800)[0] for process in processes}


def test_processes_that_start_at_once_on_an_empty_cache(tmp_path):
    assert len(at_once(shuffle, tmp_path, 4)) == 1
    kept = files(tmp_path)
    assert [path.suffix for path in kept] == [".bin"]  # one file, and no draft left


@pytest.mark.long
def test_eight_processes_twenty_times_on_an_empty_cache(tmp_path):
    run(fit, environment={"NUMBA_CACHE_DIR": str(tmp_path / "one")})
    n_files = len(files(tmp_path / "one"))
    for k in range(20):
        printed = at_once(fit, tmp_path / str(k), 8)
        assert len({line.split()[0] for line in printed}) == 1
        assert len(files(tmp_path / str(k))) == n_files  # and no draft


def test_further_processes_compile_nothing(filled):
    folder, second = filled
    assert second[1:] == ["0", "loaded"]
    before = files(folder)
    assert run(fit, environment={"NUMBA_CACHE_DIR": str(folder)}).split() == second
    assert files(folder) == before


@pytest.mark.long
def test_loaded_code_gives_the_same_bits(filled, tmp_path):
    environment = {"NUMBA_CACHE_DIR": str(tmp_path)}
    assert run(fit, environment=environment).split() == [filled[1][0], "0", "compiled"]


DAMAGES = {
    "empty": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "one byte short": lambda data: data[:-1],
    "flipped": lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
    "other": lambda data: b"x" * len(data),
    "no digest": lambda data: pickle.dumps(print),
    "not a compiled function": lambda data: sealed(pickle.dumps(print)),
    "another version's": lambda data: sealed(pickle.dumps(({}, 1, 2))),
}


def sealed(payload):
    return hashlib.sha256(payload).digest() + payload


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_compiled_anew(monkeypatch, tmp_path, damage):
    """On the smallest function; all take the same way."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    generator = np.random.RandomState(0)._bit_generator
    arguments = ctypes.cast(generator.ctypes.next_uint32, ctypes.c_void_p).value, None

    def use():
        function, order = entry(permute.py_func), np.arange(50)
        generator.state = np.random.RandomState(0)._bit_generator.state
        function(order, room_for_draws(), arguments[0], generator.ctypes.state_address)
        return order.tolist(), sum(function.stats.cache_hits.values())

    first, hits = use()
    assert hits == 0
    (file,) = files(tmp_path)
    data = file.read_bytes()
    assert use() == (first, 1)
    file.write_bytes(DAMAGES[damage](data))
    assert use() == (first, 0)
    assert files(tmp_path) == [file]  # mended
    assert use() == (first, 1)


def test_code_for_another_cpu_or_of_another_source_is_not_taken(filled, tmp_path, monkeypatch):
    folder, _ = filled
    (file,) = folder.rglob("*permut*.bin")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder))

    class Codegen:
        def __init__(self, name):
            self.name = name

        def magic_tuple(self):
            return ("triple", self.name, "+avx")

    kernel_cache = permute._cache
    names = {kernel_cache._file_name("signature", Codegen(name)) for name in ("one", "another")}
    monkeypatch.setattr(cache, "_stamp", lambda: "another source")
    names.add(kernel_cache._file_name("signature", Codegen("one")))
    assert len(names) == 3
    assert file.name not in names


def test_a_cpu_with_fewer_features_compiles_its_own(filled, tmp_path):
    folder, environment = copy_of(filled, tmp_path)
    (file,) = folder.rglob("*permut*.bin")
    assert run(shuffle, environment={**environment, "NUMBA_CPU_NAME": "generic"})
    assert len(list(folder.rglob("*permut*.bin"))) == 2
    assert file.exists()


def read_only(path):
    for item in (path, *path.rglob("*")):
        item.chmod(stat.S_IRUSR | stat.S_IXUSR | stat.S_IRGRP | stat.S_IXGRP)


#: What a user without rights sees; a superuser may write anywhere, so folders are files there.
def uncached(tmp_path):
    """A copy of the package that cannot be written to, and an environment without a home."""
    package = tmp_path / "site-packages" / "fastmlp"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "*.bin"))
    (package / "__pycache__").write_text("not a folder")
    nowhere = tmp_path / "nowhere"
    nowhere.write_text("not a folder")
    read_only(package)
    return package.parent, {
        "NUMBA_CACHE_DIR": None,
        "XDG_CACHE_HOME": None,
        "HOME": str(nowhere / "home"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(package.parent),
    }


def compile_two():
    """Use two of the smallest functions, and print what `fit` does."""
    order, bits = np.arange(50), np.random.RandomState(0)._bit_generator
    next_uint32 = ctypes.cast(bits.ctypes.next_uint32, ctypes.c_void_p).value
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        functions = [entry(permute.py_func) for _ in range(2)]
        for function in functions:
            function(order, room_for_draws(), next_uint32, bits.ctypes.state_address)
    hits = sum(sum(function.stats.cache_hits.values()) for function in functions)
    print(order.sum(), len(caught), "loaded" if hits else "compiled")


@pytest.mark.parametrize("program", [compile_two, pytest.param(fit, marks=pytest.mark.long)])
def test_read_only_site_packages_and_no_home(tmp_path, program):
    place, environment = uncached(tmp_path)
    process = start(program, environment=environment)
    output, _ = finish(process, timeout=300)
    _, n_warnings, how = output.split()
    assert (n_warnings, how) == ("1", "compiled")
    assert not list(place.rglob("*.bin"))


def test_numba_disable_jit_leaves_fastmlp_alone(filled):
    folder, (bits, *_) = filled
    environment = {"NUMBA_CACHE_DIR": str(folder), "NUMBA_DISABLE_JIT": "1"}
    assert run(fit, environment=environment).split() == [bits, "0", "loaded"]


#: What people set who debug or profile functions of their own.
OPTIONS = [
    "NUMBA_ALWAYS_WARN_UNINIT_VAR=1",
    "NUMBA_BOUNDSCHECK=1",
    "NUMBA_CAPTURED_ERRORS=old_style",
    "NUMBA_DEBUGINFO=1",
    "NUMBA_DEBUG_CACHE=1",
    "NUMBA_DEVELOPER_MODE=1",
    "NUMBA_DISABLE_INTEL_SVML=1",
    "NUMBA_DISABLE_JIT=1",
    "NUMBA_ENABLE_AVX=0",
    "NUMBA_ENABLE_CUDASIM=1",
    "NUMBA_EXTEND_VARIABLE_LIFETIMES=1",
    "NUMBA_FULL_TRACEBACKS=1",
    "NUMBA_LOOP_VECTORIZE=0",
    "NUMBA_OPT=0",
    "NUMBA_SLP_VECTORIZE=1",
    "NUMBA_WARNINGS=1",
]


@pytest.mark.long
@pytest.mark.parametrize("option", OPTIONS)
def test_options_of_numba_change_no_result(filled, tmp_path, option):
    name, value = option.split("=")
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), name: value}
    bits, _, how = run(fit, environment=environment, timeout=600).split()
    assert (bits, how) == (filled[1][0], "compiled")


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("NUMBA_NUM_THREADS=0", "Number of threads specified must be > 0"),
        ("NUMBA_THREADING_LAYER=nonsense", "threading layer requested 'nonsense' is unknown"),
    ],
)
def test_an_option_that_numba_refuses_is_named(filled, option, complaint):
    name, value = option.split("=")
    environment = {"NUMBA_CACHE_DIR": str(filled[0]), "NUMBA_NUM_THREADS": "2", name: value}
    with pytest.raises(AssertionError, match=complaint):
        run(fit_in_threads, environment=environment)


def test_the_cache_can_be_turned_off(tmp_path):
    environment = {"NUMBA_CACHE_DIR": str(tmp_path), "FASTMLP_CACHE": "0"}
    run(shuffle, environment=environment)
    assert not files(tmp_path)


def warm_up(folder, **environment):
    return subprocess.run(
        [sys.executable, "-m", "fastmlp.warmup"],
        env={**os.environ, "PYTHONPATH": str(PACKAGE.parent), **environment},
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=300,
        check=False,
    )


def test_warm_up_fills_the_cache(warmed_up):
    folder, said = warmed_up
    assert str(folder) in said
    kept = files(folder)
    for dtype in ("float32", "float64"):
        environment = {"NUMBA_CACHE_DIR": str(folder)}
        assert run(fit, dtype, environment=environment).split()[1:] == ["0", "loaded"]
    assert files(folder) == kept


def test_warm_up_says_where_nothing_can_be_kept(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    result = warm_up(tmp_path, NUMBA_CACHE_DIR=str(blocked / "cache"))
    assert result.returncode == 1
    assert "cannot keep compiled code" in result.stderr
    result = warm_up(tmp_path, FASTMLP_CACHE="0")
    assert result.returncode == 1
    assert "FASTMLP_CACHE=0" in result.stderr
