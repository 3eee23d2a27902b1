"""Two trees of a tiny package with a suite, for tests that start real pairs of processes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gates.regression.pairs import Runner
from gates.regression.processes import Side, Suite
from gates.regression.session import Rounds
from gates.regression.suites import describe

QUICK = Rounds(count=2, seconds=0.001, parts=2, patience=20.0)
PACKAGE = """
def work():
    return sum(range(100))
"""
SUITE = """
from pkg import work

def test_work(benchmark):
    assert benchmark(work) == 4950
"""


@dataclass(frozen=True)
class Project:
    """A folder with the trees `old` and `new`, which differ as asked for."""

    base: Path
    candidate: Path
    scratch: Path

    @property
    def suite(self) -> Suite:
        return describe(self.candidate, "benchmarks")

    def runner(self, rounds: Rounds = QUICK) -> Runner:
        base, candidate = (
            Side(name, tree, sys.executable) for name, tree in (("base", self.base), ("candidate", self.candidate))
        )
        return Runner(base, candidate, self.suite, self.scratch, rounds)


def project(
    folder: Path, suite: str = SUITE, *, base: Mapping[str, str] | None = None, candidate: Mapping[str, str] | None = None
) -> Project:
    """Both trees with the package and *suite*; *base* and *candidate* are files that only one of them has."""
    for name, own in (("old", base or {}), ("new", candidate or {})):
        for path, text in {"pkg/__init__.py": PACKAGE, "benchmarks/test_it.py": suite, **own}.items():
            place = folder / name / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text, encoding="utf-8")
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    return Project(folder / "old", folder / "new", scratch)
