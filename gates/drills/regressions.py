"""Drills of the gate `primitives` against its base: a primitive that became slower or hungrier, a benchmark that is gone, a
baseline of another machine.

Each tree is a small repository of two commits, the second with the defect. The benchmarks are few and their calls long, so that
the defect is as large as it says: the wrapper around a call costs less than a hundredth of it.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from gates.model import Base, Drill, Outcome, Sighting, Tree
from gates.regression.baselines import Baseline, BaselineRun, place, text

GATE = "primitives"
_RETRY = "src/gates/recovery/retry.py"
_SUITE = "benchmarks/drill/test_drilled.py"
_ATTEMPTS = 30
_BENCHMARKS = f'''"""Two primitives, each with work enough that a seeded defect can be measured out."""

import pytest

from gates.recovery import CircuitBreaker, Constant, Retry


class Unavailable(Exception):
    pass


def failing():
    """Fails, {_ATTEMPTS - 1} times, and then answers."""
    left = [{_ATTEMPTS}]

    def operation():
        left[0] -= 1
        if left[0]:
            raise Unavailable
        left[0] = {_ATTEMPTS}
        return 42

    return operation


@pytest.mark.benchmark(group="retry")
def test_many_failures(benchmark):
    retry = Retry(attempts={_ATTEMPTS}, backoff=Constant(0.001), sleep=lambda seconds: None)
    assert benchmark(retry(failing())) == 42


'''
_BREAKER = """@pytest.mark.benchmark(group="breaker")
def test_many_calls(benchmark):
    guarded = CircuitBreaker("prices")(lambda: 42)

    def calls():
        for _ in range(100):
            guarded()

    benchmark(calls)
"""
_DEFECT = """

# A seeded defect: of {attempts} attempts and more, {what}.
_sound = Retry.__call__


def _seeded(self, function):
    fast, calls = _sound(self, function), 0
    if self.attempts < {attempts}:
        return fast

    def defective():
        nonlocal calls
        calls += 1
        {body}
        return fast()

    return defective


Retry.__call__ = _seeded
with open({mark!r}, "a") as _mark:
    _mark.write("imported\\n")
"""
_AGAIN = "if calls % {every} == 0:\n            fast()"
_MORE = "[bytes({size}) for _ in range({blocks})]"
_COUNTED = """
import gc, json, sys, tracemalloc
from gates.recovery import Constant, Retry
made = 0
def operation():
    global made
    made += 1
    if made % {attempts}:
        raise KeyError
    return 42
call = Retry(attempts={attempts}, backoff=Constant(0.001), sleep=lambda seconds: None)(operation)
for _ in range(40): call()
made = 0
for _ in range(200): call()
attempts = made
gc.disable(); tracemalloc.start(); call(); tracemalloc.reset_peak(); before = tracemalloc.get_traced_memory()[0]
call()
print(json.dumps([attempts, tracemalloc.get_traced_memory()[1] - before]))
"""

_MOVED = {"gates/__init__.py": "src/gates/__init__.py", "gates/recovery": "src/gates/recovery"}
_FILES = {_SUITE: _BENCHMARKS + _BREAKER}
COMPARED = Base(
    name="compared",
    gate=GATE,
    criteria=("slowdown/*", "removed"),
    settings={"suite": "benchmarks/drill", "limit": "5 min"},
    moved=_MOVED,
    files=_FILES,
    committed=True,
    seconds=14.0,
)
COUNTED = Base(
    name="counted",
    gate=GATE,
    criteria=("growth.allocations/*", "growth.bytes/*"),
    settings={"suite": "benchmarks/drill"},
    moved=_MOVED,
    files=_FILES,
    committed=True,
    seconds=4.0,
)
STORED = Base(
    name="stored",
    gate=GATE,
    criteria=("growth.allocations/*", "baseline.count.allocations/*"),
    settings={"suite": "benchmarks/drill"},
    moved=_MOVED,
    files=_FILES,
    committed=True,
    seconds=4.0,
)


def _defective(what: str, body: str) -> Callable[[Tree], Tree]:
    """The primitive `Retry` with *body* in every call."""

    def seed(tree: Tree) -> Tree:
        mark = str(Path(tempfile.gettempdir()) / f"gates-drill-{secrets.token_hex(8)}")
        defect = _DEFECT.format(attempts=_ATTEMPTS, what=what, body=body, mark=mark)
        return tree.with_more(_RETRY, defect).with_file("mark", mark)

    return seed


def _imported(tree: Path) -> int:
    """How many processes imported the defect, by the file that each wrote a line into; it is removed."""
    mark = Path((tree / "mark").read_text(encoding="utf-8"))
    count = len(mark.read_text(encoding="utf-8").splitlines()) if mark.exists() else 0
    mark.unlink(missing_ok=True)
    return count


def _attempts_and_bytes(package: str) -> tuple[int, int]:
    """The attempts of 200 calls of a retry, and the bytes of one at its peak, in a process that imports *package*."""
    code = f"import sys; sys.path.insert(0, {package!r}){_COUNTED.format(attempts=_ATTEMPTS)}"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, timeout=60)
    attempts, peak = json.loads(done.stdout)
    return int(attempts), int(peak)


def _slower(_gate: Path, tree: Path) -> Sighting:
    """How many processes of the run imported the defect, and how much more a retry does in a process of the probe's own."""
    imported = _imported(tree)
    attempts = _attempts_and_bytes(str(tree / "src"))[0]
    needed = 200 * _ATTEMPTS
    return Sighting(imported, max(0, attempts - needed), f"200 calls made {attempts:,} attempts where {needed:,} are needed")


def _hungrier(_gate: Path, tree: Path) -> Sighting:
    """The same, of bytes, against the package as it is without the defect."""
    imported = _imported(tree)
    sound = tree / "sound"
    for name in _show(tree, "ls-tree", "-r", "--name-only", "HEAD~1", "src/").splitlines():
        place_ = sound / name
        place_.parent.mkdir(parents=True, exist_ok=True)
        place_.write_text(_show(tree, "show", f"HEAD~1:{name}"), encoding="utf-8")
    before, after = (_attempts_and_bytes(str(root / "src"))[1] for root in (sound, tree))
    return Sighting(imported, max(0, after - before), f"a call's peak grew from {before:,} to {after:,} bytes")


def _show(tree: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(tree), *arguments], capture_output=True, text=True, check=True).stdout


def _removed(tree: Tree) -> Tree:
    return tree.with_file(_SUITE, _BENCHMARKS)


def _is_removed(_gate: Path, tree: Path) -> Sighting:
    """What git shows of the suite at both commits."""
    name = "def test_many_calls"
    before, after = (name in _show(tree, "show", f"{commit}:{_SUITE}") for commit in ("HEAD~1", "HEAD"))
    return Sighting(int(before), int(before and not after), "git shows the benchmark many_calls before, and not after")


_ELSEWHERE = {"cpu": "another machine's", "cores": "64"}


def _foreign(tree: Tree) -> Tree:
    """A baseline that looks well, of a machine that this is not."""
    values = {f"count.allocations/{name}": 5.0 for name in ("retry.many_failures", "breaker.many_calls")}
    run = BaselineRun("20260101T000000Z-0000000-0000", "0" * 40, "2026-01-01T00:00:00.000Z", "a green run elsewhere", values)
    path = place(Path(), _ELSEWHERE, GATE)
    return tree.with_file(str(path), text(Baseline(_ELSEWHERE, GATE, ()).with_run(run)))


def _is_foreign(gate: Path, tree: Path) -> Sighting:
    """The stored file beside the fingerprint that the inner plan has of this machine."""
    stored = tree / place(Path(), _ELSEWHERE, GATE)
    here = json.loads((gate.parent / "plan.json").read_text(encoding="utf-8"))["fingerprint"]
    cpu = json.loads(stored.read_text(encoding="utf-8"))["fingerprint"]["cpu"] if stored.exists() else ""
    differs = bool(cpu) and cpu != here["cpu"]
    return Sighting(int(stored.exists()), int(differs), f"the baseline is of the CPU {cpu!r}, and this is {here['cpu']!r}")


def _slow_drill(percent: int, every: int) -> Drill:
    what = "every call is performed twice" if every == 1 else f"one call in {every} is performed twice"
    return Drill(
        f"slower-by-{percent}-percent",
        f"A retry takes {percent} % longer: {what}.",
        COMPARED,
        "slowdown/*",
        _defective(what, _AGAIN.format(every=every)),
        _slower,
        seconds=40.0 if percent < 50 else 35.0,
    )


def _hungry_drill(name: str, summary: str, criterion: str, blocks: int, size: int) -> Drill:
    seed = _defective(f"each call asks for {blocks} blocks of {size} bytes more", _MORE.format(blocks=blocks, size=size))
    return Drill(name, summary, COUNTED, criterion, seed, _hungrier, seconds=4.5)


DRILLS = (
    _slow_drill(5, 20),
    _slow_drill(10, 10),
    _slow_drill(50, 2),
    Drill("removed-benchmark", "A benchmark of the base is gone.", COMPARED, "removed", _removed, _is_removed, seconds=12.0),
    _hungry_drill("doubled-allocations", "A retry asks for twice as many blocks.", "growth.allocations/*", 200, 40),
    _hungry_drill("large-allocation", "A retry asks for one large block more.", "growth.bytes/*", 1, 262_144),
    Drill(
        "foreign-baseline",
        "The stored baseline is another machine's.",
        STORED,
        "baseline.count.allocations/*",
        _foreign,
        _is_foreign,
        expects=Outcome.INCONCLUSIVE,
        seconds=4.0,
    ),
)
