"""Programs in processes of their own: what a test provokes must not take the test run down."""

import importlib.util
import inspect
import os
import subprocess
import sys
from pathlib import Path

import fastmlp

_HERE = Path(__file__).parent
_PACKAGE = Path(fastmlp.__file__).parents[1]


def _layers():
    """Numba's threading layers that can be loaded here."""
    found = []
    for layer, module in (("omp", "omppool"), ("tbb", "tbbpool"), ("workqueue", "workqueue")):
        if importlib.util.find_spec(f"numba.np.ufunc.{module}"):
            try:
                importlib.import_module(f"numba.np.ufunc.{module}")
            except ImportError:
                continue
            found.append(layer)
    return found


LAYERS = _layers()


def start(function, *arguments, environment=None, **options):
    """Have a new interpreter call a function of a test module; returns the process.

    `environment` adds to the variables there are; None takes one away.
    """
    variables = {**os.environ, "PYTHONPATH": str(_PACKAGE), **(environment or {})}
    variables = {name: value for name, value in variables.items() if value is not None}
    module = Path(inspect.getfile(function)).stem
    code = (
        # A shell that runs tests in the background has them, and all they start, ignore Ctrl-C.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"import sys; sys.path[:0] = [{str(_HERE)!r}, {str(_HERE.parent)!r}]; "
        f"import {module}; {module}.{function.__name__}(*{arguments!r})"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=variables,
        cwd=_HERE,  # a working directory would come before the package's in the search for it
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(process, timeout=120):
    """What a process wrote to its two streams; an error where it failed or hung."""
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        output, errors = process.communicate()
        raise AssertionError(f"The process hung.\n{output}\n{errors}") from None
    assert process.returncode == 0, f"exit status {process.returncode}\n{output}\n{errors}"
    return output, errors


def run(function, *arguments, environment=None, timeout=120, **options):
    """Call a function in a new interpreter, and return what it printed."""
    process = start(function, *arguments, environment=environment, **options)
    return finish(process, timeout)[0]
