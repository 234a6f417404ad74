"""The history of results: a branch that every run on a server adds to.

    python -m benchmarks.history fetch     # bring the branch's results into .asv/results
    python -m benchmarks.history push      # add to the branch what was measured since

The branch holds results alone and shares no commit with the code. Only git's plumbing touches it,
so the working tree and what is checked out stay as they are.
"""

import argparse
import os
import subprocess
import tempfile
import time
from pathlib import Path

BRANCH = "asv-results"

#: Where asv keeps results; see asv.conf.json.
RESULTS = Path(__file__).parent / ".asv" / "results"

#: The commit of the branch that the results here began with: what differs from it is ours.
_FETCHED = "refs/asv-results/fetched"

#: The newest commit of the branch, when last looked at.
_TIP = "refs/asv-results/tip"


class History:
    """Results in a folder and on a branch of a remote repository.

    Parameters
    ----------
    repository : path
        A clone.
    results : path
        Folder of results, which need not exist.
    remote, branch : str
        Where the history lies. The branch need not exist: the first push makes it.
    pause : float
        Seconds before the second try of a push; each further one waits twice as long.
    """

    def __init__(self, repository, results, remote="origin", branch=BRANCH, pause=2.0):
        self.repository = Path(repository)
        self.results = Path(results).absolute()
        self.remote = remote
        self.ref = f"refs/heads/{branch}"
        self.pause = pause

    def _git(self, *arguments, stdin=None, index=None):
        """Standard output of git.

        With `index`, a file that stands in for the clone's index, the folder of results is the
        working tree.
        """
        place, environment = ["-C", self.repository], os.environ
        if index is not None:
            git_dir = self._git("rev-parse", "--absolute-git-dir")
            place = ["-C", self.results, "--git-dir", git_dir, "--work-tree", self.results]
            environment = environment | {"GIT_INDEX_FILE": str(index)}
        done = subprocess.run(
            # The same bytes on every system, or each file would differ from what was fetched.
            ["git", "-c", "core.autocrlf=false", *place, *arguments],
            input=stdin,
            stdout=subprocess.PIPE,
            check=True,
            encoding="utf-8",
            env=environment,
        )
        return done.stdout.strip("\n")

    def _commit(self, ref):
        """The commit that a ref names, None where there is no such ref."""
        return self._git("for-each-ref", "--format=%(objectname)", ref) or None

    def _files(self, tree):
        """The files of a tree or commit, each in the form that update-index takes."""
        listing = self._git("ls-tree", "-r", "-z", tree) if tree else ""
        return set(filter(None, listing.split("\0")))

    def _tip(self):
        """The newest commit of the branch, None before the first push."""
        # ls-remote knows a branch that is not there from a remote that does not answer.
        if not self._git("ls-remote", self.remote, self.ref):
            return None
        self._git("fetch", "--quiet", "--no-tags", self.remote, f"+{self.ref}:{_TIP}")
        return self._commit(_TIP)

    def _note_fetched(self, commit):
        if commit:
            self._git("update-ref", _FETCHED, commit)
        elif self._commit(_FETCHED):
            self._git("update-ref", "-d", _FETCHED)

    def head(self):
        """Short name of the commit that is checked out."""
        return self._git("rev-parse", "--short", "HEAD")

    def fetch(self):
        """Lay the branch's results over those in the folder.

        Returns
        -------
        bool
            Whether there is a history yet.
        """
        self.results.mkdir(parents=True, exist_ok=True)
        tip = self._tip()
        if tip:
            with tempfile.TemporaryDirectory() as folder:
                index = Path(folder) / "index"
                self._git("read-tree", tip, index=index)
                self._git("checkout-index", "--all", "--force", index=index)
        self._note_fetched(tip)
        return tip is not None

    def push(self, message, tries=6):
        """Commit to the branch what is new or changed since `fetch`.

        Another run may have pushed meanwhile. Ours goes on top of it, file by file: each commit has
        a file of its own, and of benchmarks.json, which every run writes, the last one counts.

        Parameters
        ----------
        message : str
            Of the commit.
        tries : int
            How often to begin anew after a push that the remote did not take.

        Returns
        -------
        bool
            Whether there was anything to push.
        """
        with tempfile.TemporaryDirectory() as folder:
            index = Path(folder) / "ours"
            # --force, because git ignores whatever asv writes.
            self._git("add", "--force", "--all", ".", index=index)
            ours = self._files(self._git("write-tree", index=index))
            ours -= self._files(self._commit(_FETCHED))
        for attempt in range(1, tries + 1):
            tip = self._tip()
            commit = self._on_top(tip, ours, message)
            if commit == tip:
                return False
            try:
                self._git("push", "--quiet", self.remote, f"{commit}:{self.ref}")
            except subprocess.CalledProcessError:
                if attempt == tries:
                    raise
                time.sleep(self.pause * 2 ** (attempt - 1))
            else:
                self._note_fetched(commit)
                return True
        raise ValueError("tries must be at least 1")

    def _on_top(self, tip, files, message):
        """A commit that adds files to the tip; the tip where it holds them all."""
        if files <= self._files(tip):
            return tip
        with tempfile.TemporaryDirectory() as folder:
            index = Path(folder) / "index"
            self._git("read-tree", tip or "--empty", index=index)
            self._git("update-index", "-z", "--index-info", stdin="\0".join(files), index=index)
            tree = self._git("write-tree", index=index)
        return self._git("commit-tree", tree, *(("-p", tip) if tip else ()), "-m", message)


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history")
    parser.add_argument("command", choices=("fetch", "push"))
    parser.add_argument("--remote", default="origin", help="default: %(default)s")
    parser.add_argument("--branch", default=BRANCH, help="default: %(default)s")
    arguments = parser.parse_args()
    repository = Path(__file__).parent.parent
    history = History(repository, RESULTS, arguments.remote, arguments.branch)
    if arguments.command == "fetch":
        print("the history is here" if history.fetch() else "there is no history yet")
        return
    if not any(RESULTS.glob("*/*.json")):
        parser.exit(1, "nothing was measured\n")
    # Runners differ, and a step in the curves may be a step to another processor.
    from .machine import cpu_name

    message = f"Results from {history.head()}\n\nMeasured on {cpu_name()}."
    print("pushed" if history.push(message) else "nothing new")


if __name__ == "__main__":
    main()
