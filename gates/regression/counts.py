"""What a call of each benchmark costs in whole numbers: allocations, bytes, SQL statements, system calls; of a tree, and of two.

Such numbers depend on the code and not on the machine's mood: each is the same when it is counted again, or it is left out and said
to be not deterministic. They are compared exactly.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gates.errors import Exit, GatesError

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
        files: the files that were imported.
    """

    numbers: Mapping[str, Mapping[str, int]]
    dropped: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()


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
    """Whose package is imported: *path* and what of it goes on the module path, run by *python*."""

    path: Path
    imports: tuple[Path, ...]
    python: str = sys.executable


def count(
    suite: Path, root: Path, trees: Sequence[Tree], scratch: Path, *, plugins: Sequence[str] = (), limit: float = SUITE_LIMIT
) -> tuple[Counts, ...]:
    """Count the benchmarks of *suite* (of the repository at *root*) on each of *trees*, side by side.

    Raises GatesError when one could not be counted, with the last lines of what pytest said.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    alias = scratch / PLUGIN
    if not alias.exists():
        alias.symlink_to(Path(__file__).parent, target_is_directory=True)
    started = [_start(suite, root, tree, scratch, number, plugins) for number, tree in enumerate(trees)]
    try:
        return tuple(_finished(process, tree, scratch, number, limit) for number, (process, tree) in enumerate(started))
    finally:
        for process, _ in started:
            if process.poll() is None:
                process.kill()
            process.wait()


def _start(
    suite: Path, root: Path, tree: Tree, scratch: Path, number: int, plugins: Sequence[str]
) -> tuple[subprocess.Popen[bytes], Tree]:
    own = {"PYTHONPATH": os.pathsep.join(map(str, (*tree.imports, scratch))), "PYTHONSAFEPATH": "1", "PYTHONHASHSEED": "0"}
    own |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", _FILE: str(scratch / f"counts-{number}.json")}
    more = [part for plugin in (f"{PLUGIN}.counting", *plugins) for part in ("-p", plugin)]
    options = ["-q", "-p", "no:cacheprovider", "-o", "addopts=", "-o", "pythonpath=", "--import-mode=importlib"]
    command = [tree.python, "-m", "pytest", str(root / suite), "--rootdir", str(root), *options, *more]
    with (scratch / f"counts-{number}.log").open("wb") as log:
        return subprocess.Popen(
            command, cwd=tree.path, env={**os.environ, **own}, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        ), tree


def _finished(process: subprocess.Popen[bytes], tree: Tree, scratch: Path, number: int, limit: float) -> Counts:
    log, file = scratch / f"counts-{number}.log", scratch / f"counts-{number}.json"
    try:
        code = process.wait(limit)
        plain = json.loads(file.read_text(encoding="utf-8"))
        if code not in (0, 1) or not plain["collected"]:
            raise ValueError(f"pytest ended with exit code {code}")
        return Counts(plain["counts"], plain["dropped"], plain["failed"], tuple(plain["files"]))
    except subprocess.TimeoutExpired:
        why = f"counting took longer than {limit:g} s"
    except (OSError, ValueError, KeyError) as error:
        last = log.read_text("utf-8", "replace").strip().splitlines()[-5:]
        why = f"the benchmarks could not be counted: {error}: {' / '.join(last)}"
    raise GatesError(why, location=str(tree.path), code=Exit.INCONCLUSIVE)


def strays(counts: Counts, tree: Path, others: Sequence[Path], suite: Path) -> tuple[str, ...]:
    """Files that were imported from *others* though *tree* was counted; the *suite* itself belongs to both."""
    foreign = [Path(os.path.realpath(other)) for other in others]
    shared, own = Path(os.path.realpath(suite)), Path(os.path.realpath(tree))
    files = [Path(file) for file in counts.files]
    return tuple(
        str(file)
        for file in files
        if any(file.is_relative_to(other) for other in foreign)
        and not (own.is_relative_to(foreign[0]) and file.is_relative_to(own))
        and not file.is_relative_to(shared if shared.is_dir() else shared.parent)
        and "site-packages" not in file.parts
        and file.parent != Path(__file__).parent.resolve()
        and file.name != "conftest.py"
    )
