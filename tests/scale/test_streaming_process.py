"""streaming.fit as a process sees it: memory, threads, files, interrupts, and its speed."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import pytest

from fastmlp import MLPBinaryClassifier, streaming
from fastmlp.training.windows import Windowed

N, F = 20_000, 10
SMALL = 300_000

#: What a busy machine may take longer; FASTMLP_TEST_SLACK=0.1 measures an idle one.
SLACK = float(os.environ.get("FASTMLP_TEST_SLACK") or "3")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((N, F))
Y = X[:, 0] + X[:, 1] > 0


def new(**parameters):
    return MLPBinaryClassifier((8,), **{"random_state": 0, "max_iter": 2, **parameters})


def chunks(rows=500, at=None, do=None):
    """The rows in chunks; ahead of one of them something is done."""

    def source():
        for first in range(0, N, rows):
            if do is not None and first // rows == at:
                do()
            yield X[first : first + rows], Y[first : first + rows]

    return source


def stream(model, source, **arguments):
    return streaming.fit(model, source, target=None, **{"memory": SMALL, **arguments})


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path, monkeypatch):
    """No file and no thread of this package's, whatever happens."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    threads, files = names_of_threads(), n_open_files()
    yield
    assert not list(folder.iterdir())
    assert names_of_threads() <= threads
    assert n_open_files() == files


def names_of_threads():
    return {thread.name for thread in threading.enumerate()}


def n_open_files():
    folder = "/proc/self/fd"
    if not os.path.isdir(folder):
        return 0
    paths = [os.path.join(folder, name) for name in os.listdir(folder)]
    return sum("fastmlp-" in os.readlink(path) for path in paths if os.path.islink(path))


def test_after_success():
    stream(new(early_stopping=True), chunks())


def fail():
    raise RuntimeError("no more rows")


@pytest.mark.parametrize("at", [0, 30])
def test_after_a_failure_in_the_first_pass(at):
    model = new()
    with pytest.raises(RuntimeError, match="no more rows"):
        stream(model, chunks(at=at, do=fail))
    assert not hasattr(model, "classes_")


def test_an_error_in_the_reading_thread_comes_once_and_the_next_fit_works():
    calls = []

    def later():
        calls.append(threading.current_thread())
        if len(calls) == 3:
            raise OSError("the disk is gone")

    model = new()
    with pytest.raises(OSError, match="the disk is gone"):
        stream(model, chunks(at=30, do=later), scratch=False)
    assert len(calls) == 3
    assert calls[-1] is not threading.main_thread()
    assert not hasattr(model, "classes_")
    assert stream(model, chunks(), scratch=False).t_ == 2 * N


def test_a_scratch_file_that_cannot_be_read(monkeypatch):
    from fastmlp.data.scratch import Scratch

    reads = []

    def read(self, offset, array):
        reads.append(offset)
        if len(reads) > 100:
            raise OSError("bad sector")
        array[...] = 0

    monkeypatch.setattr(Scratch, "_fill", read)
    with pytest.raises(OSError, match="bad sector"):
        stream(new(), chunks())


def test_a_user_of_callbacks_who_raises():
    pytest.importorskip("sklearn.callback")

    class Raises:
        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            raise RuntimeError("no callback")

    with pytest.raises(RuntimeError, match="no callback"):
        stream(new().set_callbacks(Raises()), chunks())


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.usefixtures("no_collections")
@pytest.mark.skipif(os.name != "posix", reason="sends a signal to itself")
@pytest.mark.parametrize("at", [0, 3, 30])
def test_an_interrupt_in_the_first_pass_leaves_the_model_as_it_was(at):
    model = stream(new(), chunks())
    attributes = dict(vars(model))
    with pytest.raises(KeyboardInterrupt):
        stream(model, chunks(at=at, do=interrupt))
    assert vars(model) == attributes


@pytest.mark.usefixtures("no_collections")
@pytest.mark.skipif(os.name != "posix", reason="sends a signal to itself")
@pytest.mark.parametrize("parameters", [{}, {"early_stopping": True}])
@pytest.mark.parametrize("scratch", [None, False])
def test_an_interrupt_in_training_keeps_the_newest_weights(parameters, scratch, monkeypatch):
    arguments = {"validation": chunks(900)} if parameters else {}
    stream(new(**parameters), chunks(), scratch=scratch, **arguments)  # what is compiled, is now
    sent, train_epoch = [], Windowed.train_epoch

    def send():
        sent.append(time.perf_counter())
        interrupt()

    timer = threading.Timer(0.3, send)

    def train_and_start(training, rates):
        result = train_epoch(training, rates)
        if training.samples_seen == 0:  # the first epoch: the first pass is over
            timer.start()
        return result

    monkeypatch.setattr(Windowed, "train_epoch", train_and_start)
    model = new(max_iter=10**6, tol=0, n_iter_no_change=10**6, **parameters)
    with pytest.warns(UserWarning, match="interrupted by user"):
        stream(model, chunks(), scratch=scratch, **arguments)
    assert time.perf_counter() - sent[0] < 0.5 + SLACK
    timer.join()
    assert np.isfinite(model.coefs_[0]).all()
    assert model.n_iter_ > 0


CHILD = """
import json, resource, sys, warnings
import numpy as np, pyarrow.parquet
from fastmlp import MLPBinaryClassifier, streaming

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

warnings.simplefilter("ignore")
path, memory, scratch = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
def new():
    return MLPBinaryClassifier((8,), batch_size=500, max_iter=2, random_state=0)
X = np.random.default_rng(0).standard_normal((2000, 20)).astype(np.float32)
streaming.fit(new(), lambda: iter([(X, X[:, 0] > 0)]), target=None)  # compiles
few = pyarrow.table({**{f"x{k}": X[:, k] for k in range(20)}, "y": X[:, 0] > 0})
pyarrow.parquet.write_table(few, path + "-few")
streaming.fit(new(), path + "-few", target="y")  # Arrow's threads
before = peak()
model = streaming.fit(new(), path, target="y", memory=memory, scratch=scratch)
print(json.dumps([model.t_, peak() - before]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in KiB on Linux")
@pytest.mark.parametrize("scratch", [None, pytest.param(False, marks=pytest.mark.long)])
def test_memory_is_kept_whatever_the_size_of_row_groups(tmp_path, scratch):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    rng = np.random.default_rng(0)
    n, f, memory = 1_300_000, 20, 64 * 2**20  # of 104 MB
    values = rng.standard_normal(n + f, np.float32)
    columns = {f"x{k}": values[k : k + n] for k in range(f)}
    path = tmp_path / "rows.parquet"
    table = pa.table({**columns, "y": values[:n] > 0})
    pq.write_table(table, path, row_group_size=n, compression="none")
    command = [sys.executable, "-c", CHILD, str(path), str(memory), json.dumps(scratch)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seen, used = json.loads(done.stdout)
    assert seen == 2 * n
    assert used < 1.1 * memory, used / 2**20


@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in KiB on Linux")
def test_a_large_file_is_trained_on_in_a_gibibyte(tmp_path):
    """As fast as rows in memory; FASTMLP_STREAM_GIB says how large the file is."""
    pytest.importorskip("pyarrow")
    gib = float(os.environ.get("FASTMLP_STREAM_GIB", "8"))
    script = os.path.join(os.path.dirname(__file__), "streaming_speed.py")
    command = [sys.executable, script, str(tmp_path / "rows.parquet"), str(gib)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    print(result)
    assert result["peak_gib"] < 1.0
    assert result["streamed"] > 0.9 * result["in_memory"]
