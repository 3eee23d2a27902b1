"""`baselines/accepted.yaml`: regressions that somebody decided to live with, each for a while and for a reason.

    version: 1
    accepted:
      - metric: slowdown/retry.success
        commit: 3f9c2ab
        size: 8 %
        reason: every attempt is traced now
        expires: 2027-01-31

While the commit lies between base and candidate, the limits of the metric are raised by the size; once it lies in the base nothing is
left to accept. An entry that expired or names a commit that is not there is an error, so the list does not grow old unseen.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from gates.fields import Ratio, Settings

FILE = "baselines/accepted.yaml"


class AcceptedEntry(Settings):
    """One accepted regression; *size* 0 for a benchmark that was removed."""

    metric: Annotated[str, Field(pattern=r"^[a-z_.]+/.+$", description="such as slowdown/retry.success or removed/retry.success")]
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{7,40}$", description="the commit that made it so")]
    size: Annotated[Ratio, Field(ge=0, le=10)] = 0.0
    reason: Annotated[str, Field(min_length=10)]
    expires: date


class AcceptedFile(Settings):
    """All that was accepted."""

    version: Literal[1]
    accepted: list[AcceptedEntry] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with an entry, and what to do about it."""

    message: str
    hint: str


def problems(entries: Sequence[AcceptedEntry], today: date, root: Path) -> tuple[Problem, ...]:
    """Entries that expired, or whose commit the repository at *root* does not have (a shallow one may not have it)."""
    shallow = git(root, "rev-parse", "--is-shallow-repository") == "true"
    found = []
    for entry in entries:
        if entry.expires < today:
            hint = "remove it with `gates baseline prune`, or decide again"
            found.append(Problem(f"the accepted regression of {entry.metric} expired on {entry.expires}", hint))
        elif not shallow and git(root, "cat-file", "-e", f"{entry.commit}^{{commit}}") is None:
            hint = "name the commit that made it so, by at least 7 digits"
            found.append(Problem(f"the accepted regression of {entry.metric} names the commit {entry.commit}, which is not here", hint))
    return tuple(found)


def in_range(entries: Sequence[AcceptedEntry], root: Path, base: str, candidate: str) -> tuple[AcceptedEntry, ...]:
    """Those whose commit lies after *base* and not after *candidate*."""
    return tuple(
        entry for entry in entries if _is_in(root, entry.commit, candidate) and not _is_in(root, entry.commit, base)
    )


def _is_in(root: Path, commit: str, tip: str) -> bool:
    return git(root, "merge-base", "--is-ancestor", commit, tip) is not None


def git(root: Path, *arguments: str) -> str | None:
    """What git prints, without white space around it; None when it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, stdin=subprocess.DEVNULL, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None
