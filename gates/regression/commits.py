"""The commits between base and candidate, for who looks for the one that made it slower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gates.regression.git import GitError, git


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit between the two; *touches*: it changes a file of the package that is measured."""

    sha: str
    subject: str
    touches: bool


def between(root: Path, base: str, candidate: str, packages: Sequence[str] = ()) -> tuple[Commit, ...]:
    """The commits that *candidate* has and *base* has not: those first that touch the *packages*, newest first among each.

    Empty when git does not know them.
    """
    span = f"{base}..{candidate}"
    try:
        everything = git(root, "log", "--format=%H%x00%s", "--no-show-signature", span)
        touching = git(root, "log", "--format=%H", "--no-show-signature", span, "--", *packages) if packages else ""
    except GitError:
        return ()
    touched = set(touching.splitlines())
    rows = (line.partition("\0") for line in everything.splitlines())
    found = [Commit(sha, subject, sha in touched) for sha, _, subject in rows]
    return tuple(sorted(found, key=lambda each: not each.touches))
