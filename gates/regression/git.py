"""Git, asked about a repository. Nothing of the user's is changed but the list of worktrees."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

PATIENCE = 120.0


class GitError(Exception):
    """Git could not do it, or is not there; the message is git's own last line where it said one."""


def git(root: Path, *arguments: str) -> str:
    """What git prints when run in *root*, without white space at its end. Raises GitError.

    Variables of an outer git (a hook's) don't count, nor do hooks, and it asks nobody for a password.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    command = ["git", "-C", str(root), "-c", f"core.hooksPath={os.devnull}", *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, env=environment, timeout=PATIENCE, check=False
        )
    except FileNotFoundError:
        raise GitError(f"there is no {root}" if not root.is_dir() else "the program git is not installed") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitError(f"git can't be run: {error}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or [f"git ended with exit code {done.returncode}"]
        raise GitError(next((line for line in said if line.startswith(("fatal:", "error:"))), said[-1]))
    return done.stdout.decode(errors="surrogateescape").rstrip()


def commit(root: Path, name: str) -> str | None:
    """The commit that *name* stands for; None when there is none."""
    try:
        return git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}") or None
    except GitError:
        return None


def is_shallow(root: Path) -> bool:
    """Whether the history of the clone is cut off."""
    return git(root, "rev-parse", "--is-shallow-repository") == "true"


def changed_files(root: Path) -> list[str]:
    """Files of the working tree that differ from the commit that is checked out, new ones included."""
    status = git(
        root, "--no-optional-locks", "status", "--porcelain", "-z", "--untracked-files=normal", "--ignore-submodules=none"
    )
    return [entry[3:] for entry in status.split("\0") if len(entry) > 3]
