"""Two checkouts side by side, in a private folder outside of the repository, gone afterwards whatever happens.

Both lie at paths of the same length, since a path's length moves what is in memory and so the times. They are git worktrees.
When this process is killed they stay; the next one finds that nobody holds their lock, and takes them away.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gates.errors import GatesError
from gates.regression.git import GitError, git

OLD, NEW = "old", "new"
"""The folders of the base and of the candidate: names of the same length."""
CONFIGURATION = ("conftest.py", "pytest.ini", ".pytest.ini", "tox.ini", "setup.cfg", "pyproject.toml")


class TreeError(GatesError):
    """A tree that can't be made."""


@dataclass(frozen=True, slots=True)
class Trees:
    """A private folder for checkouts of the repository at *root*."""

    root: Path
    folder: Path

    def checkout(self, name: str, commit: str) -> Path:
        """A worktree of *commit* in the folder *name*; where the root is a folder of a larger repository, that folder of it."""
        place = self.folder / name
        try:
            git(self.root, "worktree", "add", "--detach", "--force", "--quiet", str(place), commit)
        except GitError as error:
            raise TreeError(f"git can't check out {commit[:12]}: {error}", location=str(place)) from None
        return place / self._within

    def copy(self, name: str) -> Path:
        """The working tree as it is, changes included, without what git ignores."""
        place = self.folder / name / self._within
        try:
            listed = git(self.root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
        except GitError as error:
            raise TreeError(f"git can't list the files of the working tree: {error}", location=str(self.root)) from None
        for path in filter(None, listed.split("\0")):
            if os.path.lexists(self.root / path):  # else it was removed, and no commit says so yet
                copy(self.root / path, place / path)
        return place

    @property
    def _within(self) -> str:
        """Where in its repository the root lies; empty when it is the repository's own."""
        try:
            return git(self.root, "rev-parse", "--show-prefix")
        except GitError as error:
            raise TreeError(f"git knows no repository here: {error}", location=str(self.root)) from None


@contextlib.contextmanager
def private(root: Path, parent: Path | None = None) -> Iterator[Trees]:
    """A folder for checkouts of the repository at *root*, below *parent* (else the system's folder for temporary files).

    What earlier runs left there is taken away first.
    """
    home = parent or Path(tempfile.gettempdir()) / f"gates-trees-{os.getuid()}"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if home.stat().st_uid != os.getuid():
        raise TreeError("the folder for checkouts belongs to somebody else", location=str(home), hint="set TMPDIR to another")
    sweep(home)
    folder = home / secrets.token_hex(4)
    with _held(folder):
        folder.mkdir(mode=0o700)
        (folder / "repository").write_text(str(root.resolve()), encoding="utf-8")
        try:
            yield Trees(root.resolve(), folder)
        finally:
            remove(folder)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """The lock that says that *folder* is in use; the kernel lets it go with this process."""
    name = folder.with_suffix(".lock")
    number = _locked(name)
    try:
        yield
    finally:
        name.unlink(missing_ok=True)
        os.close(number)


def _locked(name: Path) -> int:
    """The descriptor of the locked file *name*; made again when somebody's sweep took it between making and locking."""
    while True:
        number = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(number, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(number), name.stat()):
                return number
        os.close(number)


def sweep(home: Path) -> list[Path]:
    """Take away the folders in *home* that nobody holds; which they were."""
    gone = []
    for name in sorted(home.glob("*.lock")):
        with contextlib.suppress(OSError), name.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(name.with_suffix(""))
            name.unlink(missing_ok=True)
            gone.append(name.with_suffix(""))
    return gone


def remove(folder: Path) -> None:
    """Take *folder* away, and its worktrees from the repository's list."""
    with contextlib.suppress(OSError):
        root = Path((folder / "repository").read_text(encoding="utf-8"))
        for name in (OLD, NEW):
            with contextlib.suppress(GitError):
                git(root, "worktree", "remove", "--force", "--force", str(folder / name))
    shutil.rmtree(folder, ignore_errors=True)


def copy(source: Path, place: Path) -> None:
    """A file, a link as a link; a folder (a submodule) whole."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, place, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git"))
    else:
        shutil.copy2(source, place, follow_symlinks=False)


def restore(tree: Path) -> None:
    """Make the checkout at *tree* what its commit says, without what was compiled. Raises TreeError."""
    try:
        git(tree, "reset", "--hard", "--quiet")
        git(tree, "clean", "-ffdxq", ".")
    except GitError as error:
        raise TreeError(f"the checkout can't be restored: {error}", location=str(tree)) from None


def overlay(candidate: Path, base: Path, folder: str) -> None:
    """Put the candidate's benchmarks over the base's: *folder*, and what configures pytest at the root."""
    for name in (folder, *CONFIGURATION):
        if name in ("", "."):
            continue
        old, new = base / name, candidate / name
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
        if os.path.lexists(new):
            copy(new, old)
