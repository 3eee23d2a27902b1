"""What a call of each benchmark costs in whole numbers: allocations, bytes, SQL statements, system calls.

Such numbers depend on the code and not on the machine's mood: each is the same when it is counted again, or it is left out and
said to be not deterministic. They are compared exactly.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from gates.errors import Exit, GatesError
from gates.regression.naming import alike

T = TypeVar("T")

METRICS = ("allocations", "bytes", "statements", "system_calls")
PLUGIN = "gates_regression"
SUITE_LIMIT = 120.0
_FILE = "GATES_COUNTS_FILE"


@dataclass(frozen=True, slots=True)
class Counts:
    """What one tree's benchmarks cost a call.

    Attributes:
        numbers: by benchmark, what was counted by metric.
        dropped: by benchmark, why a metric is not among them.
        failed: benchmarks that did not run to their end, and why.
        collected: every benchmark, with what pytest calls it.
        unreadable: files that could not be collected, and why.
        modules: by name of each module that was imported, its file.
    """

    numbers: Mapping[str, Mapping[str, int]]
    dropped: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    unreadable: Mapping[str, str] = field(default_factory=dict)
    modules: Mapping[str, str] = field(default_factory=dict)
    collected: Mapping[str, str] = field(default_factory=dict)

    def named_as(self, other: Counts) -> Counts:
        """The same by the names that *other* has for the same benchmarks."""
        called = alike(self.collected, other.collected)
        return replace(
            self,
            numbers=_renamed(self.numbers, called),
            dropped=_renamed(self.dropped, called),
            failed=_renamed(self.failed, called),
            collected=_renamed(self.collected, called),
        )


def _renamed(of: Mapping[str, T], called: Mapping[str, str]) -> dict[str, T]:
    return {called.get(name, name): each for name, each in of.items()}


@dataclass(frozen=True, slots=True)
class Growth:
    """A number of the candidate against the base's: 1.0 is twice as many, -0.5 half as many."""

    metric: str
    name: str
    before: int
    after: int

    @property
    def ratio(self) -> float:
        return (self.after - self.before) / max(1, self.before)


def grown(base: Mapping[str, Mapping[str, int]], candidate: Mapping[str, Mapping[str, int]]) -> tuple[Growth, ...]:
    """Every number that both have, in the candidate's order. Pure."""
    return tuple(
        Growth(metric, name, base[name][metric], number)
        for name, numbers in candidate.items()
        for metric, number in numbers.items()
        if metric in base.get(name, {})
    )


@dataclass(frozen=True, slots=True)
class Tree:
    """A checkout: *path*, the folders in it that packages are imported *from_*, and the interpreter of its environment."""

    path: Path
    from_: tuple[str, ...] = (".",)
    python: str = sys.executable


def count(
    suite: str, trees: Sequence[Tree], scratch: Path, *, options: Sequence[str] = (), limit: float = SUITE_LIMIT
) -> tuple[Counts, ...]:
    """Count the benchmarks at *suite*, relative to each of *trees*, side by side; *options* are pytest's.

    Raises GatesError when one could not be counted, with the last lines of what pytest said.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    alias = scratch / PLUGIN
    if not alias.exists():
        alias.symlink_to(Path(__file__).parent, target_is_directory=True)
    started = [_start(suite, tree, scratch, number, options) for number, tree in enumerate(trees)]
    try:
        return tuple(_finished(process, tree, scratch, number, limit) for number, (process, tree) in enumerate(started))
    finally:
        for process, _ in started:
            if process.poll() is None:
                process.kill()
            process.wait()


def _start(suite: str, tree: Tree, scratch: Path, number: int, options: Sequence[str]) -> tuple[subprocess.Popen[bytes], Tree]:
    imports = [str((tree.path / folder).resolve()) for folder in tree.from_]
    own = {"PYTHONPATH": os.pathsep.join([*imports, str(scratch)]), "PYTHONSAFEPATH": "1", "PYTHONHASHSEED": "0"}
    own |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", _FILE: str(scratch / f"counts-{number}.json")}
    plain = ["-q", "-p", "no:cacheprovider", "-o", "addopts=", "-o", "pythonpath=", "-o", "required_plugins="]
    plain.append("--continue-on-collection-errors")
    told = [str(tree.path / suite), f"--rootdir={tree.path}", *plain, "-p", f"{PLUGIN}.counting", *options]
    with (scratch / f"counts-{number}.log").open("wb") as log:
        process = subprocess.Popen(
            [tree.python, "-m", "pytest", *told],
            cwd=tree.path,
            env={**os.environ, **own},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    return process, tree


def _finished(process: subprocess.Popen[bytes], tree: Tree, scratch: Path, number: int, limit: float) -> Counts:
    log, file = scratch / f"counts-{number}.log", scratch / f"counts-{number}.json"
    try:
        code = process.wait(limit)
        plain = json.loads(file.read_text(encoding="utf-8"))
        if code not in (0, 1) or not plain["collected"]:
            raise ValueError(f"pytest ended with exit code {code}")
        return Counts(
            numbers=plain["counts"],
            dropped=plain["dropped"],
            failed=plain["failed"],
            unreadable=plain["unreadable"],
            modules=plain["modules"],
            collected=plain["collected"],
        )
    except subprocess.TimeoutExpired:
        why = f"counting took longer than {limit:g} s"
    except (OSError, ValueError, KeyError) as error:
        last = log.read_text("utf-8", "replace").strip().splitlines()[-5:]
        why = f"the benchmarks could not be counted: {error}: {' / '.join(last)}"
    raise GatesError(why, location=str(tree.path), code=Exit.INCONCLUSIVE)


def listed(suite: str, tree: Tree, scratch: Path, *, options: Sequence[str] = ()) -> Counts | None:
    """What is collected at *suite* of *tree*, and not run; None when a file of it can't be collected."""
    if not (tree.path / suite).exists():
        return Counts({})
    try:
        (found,) = count(suite, [tree], scratch, options=(*options, "--collect-only"))
    except GatesError:
        return None
    return None if found.unreadable else found


def strays(counts: Counts, tree: Path, others: Sequence[Path], packages: Sequence[str]) -> tuple[str, ...]:
    """Files that should not have been imported where *tree* was counted: of *others*, or *packages* that are not its own."""
    own, foreign = Path(os.path.realpath(tree)), [Path(os.path.realpath(other)) for other in others]

    def is_stray(name: str, file: Path) -> bool:
        if any(file.is_relative_to(other) for other in foreign):
            return True
        return name.partition(".")[0] in packages and not file.is_relative_to(own)

    return tuple(file for name, file in counts.modules.items() if is_stray(name, Path(file)))
