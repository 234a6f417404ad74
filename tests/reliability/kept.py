"""New processes whose compiled code is kept in a folder of their own."""

import os
import subprocess
import sys
from pathlib import Path

import fastmlp


def run(folder, *arguments):
    """What Python prints."""
    result = subprocess.run(
        [sys.executable, *arguments], timeout=1800, capture_output=True, text=True,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(fastmlp.__file__).parents[1]),
            "NUMBA_CACHE_DIR": str(folder),
            "NUMBA_NUM_THREADS": "2",
            "FASTMLP_CACHE": "1",
        },
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


def files(folder):
    """The files in a folder, and when they were written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
