"""Which commit a candidate is compared with: the merge base with the default branch, its first parent, or one by name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gates.regression.git import GitError, changed_files, commit, git, is_shallow

MERGE_BASE, PARENT = "merge-base", "parent"
BRANCHES = ("origin/main", "origin/master", "main", "master")
UNSHALLOW = "git fetch --unshallow"


@dataclass(frozen=True, slots=True)
class Base:
    """The commit to compare with, and in a few words why it is that one."""

    sha: str
    why: str


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """There is nothing to compare with, and never will be: a first commit."""

    reason: str


@dataclass(frozen=True, slots=True)
class Inconclusive:
    """The base can't be found or used here; *paste* is the line that mends it, empty when there is none."""

    reason: str
    paste: str = ""

    @property
    def said(self) -> str:
        return f"{self.reason}; {self.paste}" if self.paste else self.reason


Chosen = Base | NotApplicable | Inconclusive


def choose(root: Path, against: str = MERGE_BASE, *, dirty: bool = False) -> Chosen:
    """The base of the commit that is checked out at *root*.

    *against* is `merge-base`, `parent` or anything that names a commit. A tree with changes that no commit holds is refused,
    unless *dirty*: what is measured would be no commit's.
    """
    try:
        git(root, "rev-parse", "--git-dir")
        head = commit(root, "HEAD")
        if head is None:
            return Inconclusive("the repository has no commit yet")
        changes = [] if dirty else changed_files(root)
        if changes:
            return Inconclusive(f"the tree has changes that no commit holds ({told(changes)})", "git stash --include-untracked")
        return _chosen(root, head, against)
    except GitError as error:
        return Inconclusive(f"there is no base without git's history: {error}")


def told(names: list[str], most: int = 3) -> str:
    """A few of *names*, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _chosen(root: Path, head: str, against: str) -> Chosen:
    if against == MERGE_BASE:
        return _merge_base(root, head)
    if against == PARENT:
        return _parent(root, "the first parent")
    named = commit(root, against)
    if named is None:
        reason = f"no commit is called {against!r}"
        return _cut(reason) if is_shallow(root) else Inconclusive(reason, "git branch --all")
    if named == head:
        return Inconclusive(f"{against} is the commit itself, so there is nothing to compare")
    return Base(named, against)


def _merge_base(root: Path, head: str) -> Chosen:
    branch = default_branch(root)
    if branch is None:
        reason = "no default branch was found (origin/HEAD, main, master)"
        return _cut(reason) if is_shallow(root) else Inconclusive(reason, "git remote set-head origin --auto")
    try:
        found = git(root, "merge-base", "HEAD", branch)
    except GitError:
        reason = f"HEAD and {branch} have no common commit"
        return _cut(reason) if is_shallow(root) else Inconclusive(reason)
    if found == head:
        return _parent(root, f"the first parent, as {branch} holds the commit already")
    # behind a cut there could be a later common commit
    return (
        _cut(f"the merge base with {branch} is not sure") if is_shallow(root) else Base(found, f"the merge base with {branch}")
    )


def _parent(root: Path, why: str) -> Chosen:
    found = commit(root, "HEAD^1")
    if found is not None:
        return Base(found, why)
    # the commit names its parents also where the clone does not hold them
    if "\nparent " in git(root, "cat-file", "commit", "HEAD").partition("\n\n")[0]:
        return _cut("the parent of HEAD is not in this clone")
    return NotApplicable("the first commit of a repository has nothing to be compared with")


def _cut(reason: str) -> Inconclusive:
    return Inconclusive(f"{reason}, since the clone is shallow", f"{UNSHALLOW} (with actions/checkout: fetch-depth: 0)")


def default_branch(root: Path) -> str | None:
    """What the remote calls its HEAD, else the first of the usual names that is there."""
    try:
        return git(root, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD")
    except GitError:
        return next((name for name in BRANCHES if commit(root, name)), None)
