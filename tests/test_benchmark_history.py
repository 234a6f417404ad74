"""The branch that keeps the benchmarks' results: runs add to it, and none loses another's."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def plain_git(monkeypatch, tmp_path):
    """A git without this machine's settings, not even those of a hook that runs the tests."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "no settings"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "a runner")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "runner@example.com")


@pytest.fixture(scope="module")
def history():
    """benchmarks/history.py as a module."""
    path = ROOT / "benchmarks" / "history.py"
    spec = importlib.util.spec_from_file_location("history", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def git(folder, *arguments):
    done = subprocess.run(
        ["git", "-C", folder, *arguments], check=True, capture_output=True, encoding="utf-8"
    )
    return done.stdout.strip()


@pytest.fixture
def remote(tmp_path):
    """A repository on a server, with one commit of code."""
    path = tmp_path / "remote.git"
    path.mkdir()
    git(path, "init", "--quiet", "--bare", "--initial-branch=main")
    first = tmp_path / "first"
    git(tmp_path, "clone", "--quiet", str(path), str(first))
    (first / "code.py").write_text("pass\n")
    (first / ".gitignore").write_text("benchmarks/.asv/\n")
    git(first, "add", ".")
    git(first, "commit", "--quiet", "--message", "code")
    git(first, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    return path


class Runner:
    """A fresh machine: a clone, and results that asv writes."""

    def __init__(self, history, remote, folder):
        git(remote, "clone", "--quiet", "--branch", "main", str(remote), str(folder))
        self.clone = folder
        self.results = folder / "benchmarks" / ".asv" / "results"
        self.history = history.History(folder, self.results, pause=0.0)

    def measure(self, commit, value="1", known="[]"):
        """What asv writes for a commit."""
        machine = self.results / "github-actions"
        machine.mkdir(parents=True, exist_ok=True)
        (machine / "machine.json").write_text("{}\n")
        (machine / f"{commit}-env.json").write_text(f"{value}\n")
        (self.results / "benchmarks.json").write_text(f"{known}\n")


@pytest.fixture
def runner(history, remote, tmp_path):
    """A function that makes a Runner."""
    numbers = iter(range(100))
    return lambda: Runner(history, remote, tmp_path / f"runner {next(numbers)}")


def published(remote):
    """The branch's files and what is in them."""
    names = git(remote, "ls-tree", "-r", "--name-only", "asv-results").split("\n")
    return {Path(name).name: git(remote, "show", f"asv-results:{name}") for name in names}


def measured(remote):
    return {name[0]: value for name, value in published(remote).items() if "-env" in name}


def test_the_first_run_makes_the_branch(runner, remote):
    first = runner()
    assert not first.history.fetch()
    first.measure("a")
    assert first.history.push("Results of a")
    assert set(published(remote)) == {"a-env.json", "machine.json", "benchmarks.json"}
    # Nothing of the code, no commit of the code, and the clone stays as it was.
    assert git(remote, "rev-list", "--count", "asv-results") == "1"
    assert git(first.clone, "status", "--porcelain") == ""
    assert git(first.clone, "branch", "--show-current") == "main"


def test_a_second_run_finds_the_first_and_adds_to_it(runner, remote):
    for commit in "ab":
        run = runner()
        assert run.history.fetch() == (commit == "b")
        run.measure(commit, known=f'["{commit}"]')
        assert run.history.push(commit)
    assert sorted(path.name[0] for path in run.results.glob("*/*-env.json")) == ["a", "b"]
    assert measured(remote) == {"a": "1", "b": "1"}
    assert published(remote)["benchmarks.json"] == '["b"]'
    assert git(remote, "log", "--format=%s", "asv-results").split() == ["b", "a"]


@pytest.mark.parametrize("branch_exists", [False, True])
def test_runs_at_the_same_time_keep_all_results(runner, remote, branch_exists):
    if branch_exists:
        earlier = runner()
        earlier.measure("a")
        earlier.history.push("a")
    runs = {commit: runner() for commit in "bcd"}
    for run in runs.values():
        assert run.history.fetch() == branch_exists
    for commit, run in runs.items():
        run.measure(commit)
        assert run.history.push(commit)
    assert set(measured(remote)) == set("abcd" if branch_exists else "bcd")


def test_a_push_between_look_and_push_is_tried_again(runner, remote, monkeypatch):
    ours, theirs = runner(), runner()
    for run, commit in ((ours, "a"), (theirs, "b")):
        run.history.fetch()
        run.measure(commit)
    on_top = ours.history._on_top

    def late(*arguments):
        commit = on_top(*arguments)
        theirs.history.push("b")  # the second time there is nothing new
        return commit

    monkeypatch.setattr(ours.history, "_on_top", late)
    assert ours.history.push("a")
    assert measured(remote) == {"a": "1", "b": "1"}


def test_a_run_does_not_take_back_what_others_measured_again(runner, remote):
    first = runner()
    first.measure("a", "old")
    first.history.push("a")
    again, next_one = runner(), runner()
    for run in (again, next_one):
        run.history.fetch()
    again.measure("a", "new")
    again.history.push("a again")
    next_one.measure("b")  # its folder still holds the old a
    next_one.history.push("b")
    assert measured(remote) == {"a": "new", "b": "1"}


def test_the_same_commit_again_adds_only_what_changed(runner, remote):
    run = runner()
    run.history.fetch()
    run.measure("a")
    assert run.history.push("a")
    assert not run.history.push("a")
    again = runner()
    again.history.fetch()
    assert not again.history.push("a")
    again.measure("a", "2")
    assert again.history.push("a")
    assert measured(remote) == {"a": "2"}
    assert git(remote, "rev-list", "--count", "asv-results") == "2"


def test_a_file_removed_here_stays_in_the_history(runner, remote):
    run = runner()
    run.measure("a")
    run.history.push("a")
    (run.results / "github-actions" / "a-env.json").unlink()
    run.measure("b")
    run.history.push("b")
    assert set(measured(remote)) == {"a", "b"}


def test_a_remote_that_refuses_is_an_error(runner, remote):
    hook = remote / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    run = runner()
    run.measure("a")
    with pytest.raises(subprocess.CalledProcessError):
        run.history.push("a", tries=2)


def test_a_remote_that_is_not_there_is_no_first_run(runner, tmp_path):
    run = runner()
    git(run.clone, "remote", "set-url", "origin", str(tmp_path / "nowhere.git"))
    with pytest.raises(subprocess.CalledProcessError):
        run.history.fetch()


def test_the_command_explains_itself():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.history", "--help"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    assert "fetch" in done.stdout
    assert "push" in done.stdout
