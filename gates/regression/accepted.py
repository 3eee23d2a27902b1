"""`baselines/accepted.yaml`: regressions that somebody decided to live with, each for a while and for a reason.

    version: 1
    accepted:
      - metric: slowdown/retry.success
        commit: 3f9c2ab
        size: 8 %
        reason: every attempt is traced now
        expires: 2027-01-31

While the commit lies between base and candidate, the limits of the metric are raised by the size; once it lies in the base
nothing is left to accept. An entry that expired or names a commit that is not there is an error, so no list grows old unseen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from gates.fields import Ratio, Settings
from gates.regression import git
from gates.regression.counts import METRICS

FILE = "baselines/accepted.yaml"
REMOVED = "removed"
ACCEPTABLE = ("slowdown", REMOVED, *(f"growth.{metric}" for metric in METRICS))


def _of_one_benchmark(metric: str) -> str:
    word, _, name = metric.partition("/")
    if word not in ACCEPTABLE:
        raise ValueError(f"expected {', '.join(ACCEPTABLE[:-1])} or {ACCEPTABLE[-1]}, of one benchmark: slowdown/NAME")
    if not name or "*" in name:
        raise ValueError(f"expected the name of one benchmark: {word}/NAME")
    return metric


def _commit_id(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{7,40}", text):
        raise ValueError("expected 7 to 40 digits of a commit, as `git log` shows it")
    return text


class AcceptedEntry(Settings):
    """One accepted regression; a benchmark that was removed has no *size*."""

    metric: Annotated[
        str, AfterValidator(_of_one_benchmark), Field(description="such as slowdown/retry.success or removed/retry.success")
    ]
    commit: Annotated[str, AfterValidator(_commit_id), Field(description="the commit that made it so")]
    size: Annotated[Ratio, Field(ge=0, le=10)] = 0.0
    reason: Annotated[str, Field(min_length=10)]
    expires: date

    @model_validator(mode="after")
    def _raises_something(self) -> AcceptedEntry:
        if not self.size and self.metric.partition("/")[0] != REMOVED:
            raise ValueError("size is missing: by how much the limit is raised, such as 8 %")
        return self


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
    found = []
    shallow = _is_cut(root)
    for entry in entries:
        if entry.expires < today:
            hint = "remove it with `gates baseline prune`, or decide again"
            found.append(Problem(f"the accepted regression of {entry.metric} expired on {entry.expires}", hint))
        elif not shallow and git.commit(root, entry.commit) is None:
            hint = "name the commit that made it so, by at least 7 digits"
            message = f"the accepted regression of {entry.metric} names the commit {entry.commit}, which is not here"
            found.append(Problem(message, hint))
    return tuple(found)


def in_range(entries: Sequence[AcceptedEntry], root: Path, base: str, candidate: str) -> tuple[AcceptedEntry, ...]:
    """Those whose commit lies after *base* and not after *candidate*."""
    return tuple(entry for entry in entries if is_in(root, entry.commit, candidate) and not is_in(root, entry.commit, base))


def is_in(root: Path, commit: str, tip: str) -> bool:
    """Whether *commit* is *tip* or lies before it."""
    try:
        git.git(root, "merge-base", "--is-ancestor", commit, tip)
    except git.GitError:
        return False
    return True


def _is_cut(root: Path) -> bool:
    try:
        return git.is_shallow(root)
    except git.GitError:
        return True


def without_expired(text: str, today: date) -> str:
    """The file *text* without its expired entries; what is left keeps its comments and its order."""
    import yaml

    document: Any = yaml.compose(text)
    listed = next((value for key, value in document.value if key.value == "accepted"), None)
    lines, gone = text.splitlines(keepends=True), set[int]()
    for node in listed.value if listed is not None else ():
        expires = next(value.value for key, value in node.value if key.value == "expires")
        if date.fromisoformat(expires) < today:
            last = (node if node.flow_style else node.value[-1][1]).end_mark
            gone |= set(range(node.start_mark.line, last.line + bool(last.column)))
    kept = "".join(line for number, line in enumerate(lines) if number not in gone)
    return kept if len(gone) < len(lines) and yaml.safe_load(kept).get("accepted") else "version: 1\naccepted: []\n"
