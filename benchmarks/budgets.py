"""What the pipeline itself costs, against its budgets, all in one run; what `./noxw -s budgets` does. Asserts nothing.

Every figure is a median with the smallest and largest of its repetitions; `ratio` is the median's share of the budget.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from gates.model import (
    Commit,
    Comparator,
    Comparison,
    Criterion,
    Execution,
    GateResult,
    Interval,
    Measurement,
    Plan,
    PlannedGate,
    Report,
    Rule,
    Unit,
)
from gates.pipeline.judge import judge
from gates.report.render import render_all

GATES = [sys.executable, "-m", "gates"]
FEW, MANY = 2, 10
# a call takes from 1 µs to 2 ms
COMPARED = {
    "work.py": "def work(times):\n    for _ in range(times):\n        pass\n",
    "benchmarks/test_work.py": """
import pytest
from work import work

@pytest.mark.parametrize("number", range(50))
def test_work(benchmark, number):
    benchmark(work, round(50 * 2000 ** (number / 49)))
""",
}
NOW = datetime(2026, 1, 1, tzinfo=UTC).isoformat()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=7, help="repetitions of every measurement (7)")
    repeat = parser.parse_args().repeat
    print(f"{'what':58} {'median':>9} {'from':>9} {'to':>9} {'budget':>9} {'ratio':>6}")
    show("python -c pass", 0, timed(repeat, lambda: call([sys.executable, "-c", "pass"])))
    show("gates --help", 0.150, timed(repeat, lambda: call([*GATES, "--help"])))
    with tempfile.TemporaryDirectory() as folder:
        engine(Path(folder), repeat)
    with tempfile.TemporaryDirectory() as folder:
        report = large_report(10_000)
        show("a report of 10,000 criteria, all formats", 2.0, timed(repeat, lambda: render_all(report, Path(folder))))
    with tempfile.TemporaryDirectory() as folder:
        show("a comparison of 50 benchmarks without a change", 90.0, comparisons(Path(folder), min(repeat, 5)))


def engine(root: Path, repeat: int) -> None:
    """What one more gate costs beyond the process that it is: from runs of few and of many gates that do nothing."""
    run_chain(root, FEW)
    folder = next((root / ".readiness").glob("*/gate-0"))
    # side by side, so that a neighbour of the moment weighs on all three
    rounds = [
        (_timed(lambda: run_chain(root, FEW)), _timed(lambda: run_chain(root, MANY)), _process(root, folder))
        for _ in range(repeat)
    ]
    show("the process of a gate that does nothing", 0.4, [start for _, _, start in rounds])
    beyond = [(many - few) / (MANY - FEW) - start for few, many, start in rounds]
    show("the engine, for each further gate, beyond its process", 0.05, beyond)
    show(f"a whole run of {FEW} gates that do nothing", 0, [few for few, _, _ in rounds])


def _process(root: Path, folder: Path) -> float:
    """The median of three starts of the gate in *folder*, without an engine."""
    return statistics.median(_timed(lambda: call([*GATES, "_gate", str(folder)], cwd=root)) for _ in range(3))


def run_chain(root: Path, count: int) -> None:
    """A run of *count* gates, each needing the one before so that nothing runs beside another."""
    lines = ["version: 1", "gates:"]
    for number in range(count):
        needs = f", needs: [gate-{number - 1}]" if number else ""
        lines.append(f"  gate-{number}: {{kind: command, command: ['true'], criteria: {{exit: {{at_most: 0}}}}{needs}}}")
    spec = root / "workflows" / "readiness.yaml"
    spec.parent.mkdir(exist_ok=True)
    spec.write_text("\n".join(lines) + "\n")
    call([*GATES, "-q", "run"], cwd=root)


def comparisons(root: Path, repeat: int) -> list[float]:
    """Seconds of *repeat* comparisons of two commits with the same code and 50 benchmarks."""
    git = ["git", "-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    call([*git, "init", "--quiet"], cwd=root)
    for name, text in COMPARED.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    call([*git, "add", "."], cwd=root)
    for message in ("before", "after"):
        call([*git, "commit", "--quiet", "--allow-empty", "-m", message], cwd=root)
    return [_timed(lambda: call([*GATES, "-q", "compare", "HEAD~1", "HEAD"], cwd=root)) for _ in range(repeat)]


def large_report(cases: int) -> Report:
    """A report of twenty gates with *cases* criteria together, each measured and held."""
    each = cases // 20
    ids = [f"latency.p99/flow_{number}" for number in range(each)]
    limit = (Comparison(Comparator.BELOW, 0.25, text="250 ms"),)
    criteria = tuple(Criterion(name, Unit.SECONDS, Rule.PERCENTILE, limit, 1000) for name in ids)
    interval = Interval(0.11, 0.13, 0.95, "order statistics")
    measured = tuple(Measurement("latency.p99", 0.12, Unit.SECONDS, 1600, interval, "", name.partition("/")[2]) for name in ids)
    gates = tuple(PlannedGate(f"gate-{number}", "load", {}, criteria, 60.0, 20.0) for number in range(20))
    results = {gate.name: GateResult(gate.name, Execution.COMPLETED, NOW, 10.0, measured) for gate in gates}
    plan = Plan("20260101T000000Z-nogit-0000", NOW, "0", "/", "readiness.yaml", "0" * 64, "quick", 0, Commit(), {}, gates)
    return judge(plan, results)


def call(command: list[str], cwd: Path | None = None) -> None:
    """Run *command* to its end. Raises CalledProcessError, because the time of a failure is no figure."""
    subprocess.run(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)


def timed(repeat: int, action: Callable[[], object]) -> list[float]:
    """Seconds of *repeat* times *action*, after one that warms up."""
    action()
    return [_timed(action) for _ in range(repeat)]


def _timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def show(what: str, budget: float, seconds: Iterable[float]) -> None:
    """One line of the table; without a *budget* the line is there to compare with."""
    found = sorted(seconds)
    median = statistics.median(found)
    against = f"{budget * 1000:6.0f} ms {median / budget:6.2f}" if budget else ""
    print(f"{what:58} {median * 1000:6.1f} ms {found[0] * 1000:6.1f} ms {found[-1] * 1000:6.1f} ms {against}", flush=True)


if __name__ == "__main__":
    main()
