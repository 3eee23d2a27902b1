"""Base and candidate ready to be run: a checkout of each, and an interpreter that has what it needs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gates.regression.environments import interpreter
from gates.regression.trees import NEW, OLD, Trees, private

WORKING_TREE = "."
ENVIRONMENTS = ".readiness/environments"


@dataclass(frozen=True, slots=True)
class Checkouts:
    """Both trees, at paths of the same length, and the interpreters of base and candidate."""

    base: Path
    candidate: Path
    pythons: tuple[str, str]


@contextlib.contextmanager
def checked_out(root: Path, base: str, candidate: str, *, parent: Path | None = None) -> Iterator[Checkouts]:
    """Checkouts of two commits of the repository at *root*; `.` is its working tree as it is. Gone afterwards.

    Raises TreeError when git can't, and InstallError when a side's dependencies can't be installed.
    """
    cache = root / ENVIRONMENTS
    with private(root, parent) as trees:
        old, new = _tree(trees, OLD, base), _tree(trees, NEW, candidate)
        pythons = interpreter(old, cache, side="base"), interpreter(new, cache, side="candidate")
        yield Checkouts(old, new, pythons)


def _tree(trees: Trees, name: str, commit: str) -> Path:
    return trees.copy(name) if commit == WORKING_TREE else trees.checkout(name, commit)
