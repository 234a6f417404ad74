"""Lets the tests of this folder import the helpers of the one above, and fills a cache for them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))


@pytest.fixture(scope="session")
def warmed_up(tmp_path_factory):
    """A folder that the warm-up has filled from nothing, which takes long, and what it said."""
    from kept import run  # which imports the package: not before the number of threads is set

    folder = tmp_path_factory.mktemp("warmed_up")
    return folder, run(folder, "-m", "fastmlp.warmup")
