"""The smallest shift of p99 and of the error ratio that the gate `sustained` catches in 20 of 20 runs.

    python benchmarks/load_sensitivity.py [--runs 20] [--minutes 5] [--write docs/load.md]

A run is the gate of readiness.yaml in the profile quick, as it is. A proxy holds one answer in twenty back and refuses a share
of the requests; each criterion sees one of the two. Of each the smallest level never missed is run until it was caught as often
as asked for; where it is missed once, the next one is. Every run is kept in `.sensitivity/runs.jsonl`, so that it goes on where
it was interrupted; a run in which a criterion was not measured says nothing of its level.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gates.drills import inner
from gates.drills.limits import limit_of
from gates.drills.tree import build, read_spec
from gates.model import Base, Outcome, Unit
from gates.quantity import show

ROOT = Path(__file__).resolve().parent.parent
KEPT = ROOT / ".sensitivity" / "runs.jsonl"
GATE = "sustained"
LATENCY, ERRORS = "latency.p99@steady", "errors.ratio"
LATE_SHARE = "5 %"
QUIET = 3
FACTORS = {LATENCY: (1.0, 1.02, 1.05, 1.1, 1.2, 1.5), ERRORS: (1.2, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0)}
"""Levels of the defect, as multiples of the criterion's limit."""
BASE = Base(
    name="sensitivity",
    gate=GATE,
    criteria=(LATENCY, ERRORS),
)
BEGIN, END = "<!-- sensitivity: begin -->", "<!-- sensitivity: end -->"


@dataclass(frozen=True, slots=True)
class Run:
    """One run: the level of each defect by criterion (0 for none), what each criterion said, and the value that it measured."""

    commit: str
    levels: Mapping[str, float]
    said: Mapping[str, str]
    values: Mapping[str, float]


def main(arguments: Sequence[str]) -> int:
    """Run until the count is full or the time is over; 0 when every criterion has its level, else 3."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="how often a level must have been caught")
    parser.add_argument("--minutes", type=float, default=60.0, help="when no further run is begun")
    parser.add_argument("--write", type=Path, help="the page whose table is written anew")
    asked = parser.parse_args(arguments)
    limits = the_limits()
    ends = time.monotonic() + asked.minutes * 60
    while (levels := wanted(kept(), limits, asked.runs)) is not None and time.monotonic() < ends:
        keep(performed(levels))
    runs = kept()
    table = render(runs, limits, asked.runs)
    print(table)
    if asked.write:
        write(ROOT / asked.write, table)
    return 0 if wanted(runs, limits, asked.runs) is None else 3


# --- which run is next ------------------------------------------------------------------------------------------------


def wanted(runs: Sequence[Run], limits: Mapping[str, float], times: int) -> Mapping[str, float] | None:
    """The levels of the next run: first three without a defect, then what each criterion still lacks; None when nothing is."""
    quiet = [run for run in runs if not any(run.levels.values())]
    if len(quiet) < QUIET:
        return dict.fromkeys(limits, 0.0)
    lacking = {criterion: lacks(runs, criterion, limit, times) for criterion, limit in limits.items()}
    if all(level is None for level in lacking.values()):
        return None
    # one that has its count is left alone, so that it can't disturb the other
    return {criterion: level or 0.0 for criterion, level in lacking.items()}


def lacks(runs: Sequence[Run], criterion: str, limit: float, times: int) -> float | None:
    """The level of *criterion* that is to be run next: the smallest never missed, unless it has its count."""
    for factor in FACTORS[criterion]:
        caught, judged = counted(runs, criterion, limit * factor)
        if caught == judged:
            return None if caught >= times else limit * factor
    return None


def counted(runs: Sequence[Run], criterion: str, level: float) -> tuple[int, int]:
    """How often the defect of *level* was caught, of how many runs in which the criterion was measured at all."""
    said = [run.said[criterion] for run in runs if abs(run.levels[criterion] - level) < 1e-9]
    return said.count(Outcome.FAIL), sum(each in (Outcome.FAIL, Outcome.PASS, Outcome.INCONCLUSIVE) for each in said)


def the_limits() -> dict[str, float]:
    """The limits of the spec, in base units."""
    tree = build(BASE, read_spec(ROOT), ROOT)
    return {
        LATENCY: limit_of(tree, GATE, LATENCY, Unit.SECONDS),
        ERRORS: limit_of(tree, GATE, ERRORS, Unit.RATIO),
    }


# --- a run ------------------------------------------------------------------------------------------------------------


def performed(levels: Mapping[str, float]) -> Run:
    """One inner run with the defects of *levels*."""
    tree = build(BASE, read_spec(ROOT), ROOT)
    # also without a defect there is a proxy on the way
    proxy: dict[str, object] = {"delay": {"share": LATE_SHARE if levels[LATENCY] else "0 %", "by": f"{levels[LATENCY]!r} s"}}
    if levels[ERRORS]:
        proxy["errors"] = {"share": f"{levels[ERRORS] * 100!r} %"}
    with tempfile.TemporaryDirectory(prefix="gates-sensitivity-") as scratch:
        run = inner.run(tree.with_gate(GATE, proxy=proxy), Path(scratch) / "run", time.time_ns() % 10**6)
        reports = {criterion: run.criterion(GATE, criterion) for criterion in BASE.criteria}
        shutil.rmtree(scratch, ignore_errors=True)
    measured = {name: report for name, report in reports.items() if report is not None and report.measurements}
    return Run(
        commit(),
        levels,
        {name: str(measured[name].outcome) if name in measured else "not measured" for name in BASE.criteria},
        {name: report.measurements[0].value for name, report in measured.items()},
    )


def commit() -> str:
    """The short commit of the tree."""
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def kept() -> list[Run]:
    """Every run so far."""
    return [Run(**json.loads(line)) for line in KEPT.read_text().splitlines()] if KEPT.exists() else []


def keep(run: Run) -> None:
    """Add *run* to the file."""
    KEPT.parent.mkdir(exist_ok=True)
    (KEPT.parent / ".gitignore").write_text("*\n")
    with KEPT.open("a") as file:
        file.write(json.dumps(asdict(run)) + "\n")
    print(json.dumps({"levels": run.levels, "said": run.said}), file=sys.stderr, flush=True)


# --- what came of it --------------------------------------------------------------------------------------------------


def render(runs: Sequence[Run], limits: Mapping[str, float], times: int) -> str:
    """A table of all levels that were run, and the smallest that was caught each time, in Markdown."""
    lines = ["| criterion | limit | without a defect | defect | measured with it | caught |", "|---|---|---|---|---|---|"]
    found = []
    quiet = [run for run in runs if not any(run.levels.values())]
    for criterion, limit in limits.items():
        unit = Unit.SECONDS if criterion == LATENCY else Unit.RATIO
        named = f"| `{criterion}` | {show(limit, unit)} | {span(quiet, criterion, unit)} |"
        smallest = None
        for level in (limit * factor for factor in FACTORS[criterion]):
            at = [run for run in runs if abs(run.levels[criterion] - level) < 1e-9]
            caught, judged = counted(runs, criterion, level)
            what = f"{LATE_SHARE} late by {show(level, unit)}" if criterion == LATENCY else f"{show(level, unit)} refused"
            if judged:
                lines.append(f"{named} {what} | {span(at, criterion, unit)} | {caught} of {judged} |")
            smallest = at if smallest is None and caught == judged >= times else smallest
        found.append(f"- `{criterion}`: {_shift(smallest, quiet, criterion, limit, unit)}")
    return "\n".join([*lines, "", f"The smallest shift that was caught in {times} of {times} runs:", "", *found])


def _shift(at: Sequence[Run] | None, quiet: Sequence[Run], criterion: str, limit: float, unit: Unit) -> str:
    value, before = median(at or (), criterion), median(quiet, criterion)
    if value is None or before is None:
        return "none yet."
    return f"from {show(before, unit)} to {show(value, unit)}, {value / limit:.2f} times the limit (medians)."


def span(runs: Sequence[Run], criterion: str, unit: Unit) -> str:
    """The smallest and the largest value of *criterion* in *runs*."""
    values = [run.values[criterion] for run in runs if criterion in run.values]
    if not values:
        return "not measured"
    low, high = show(min(values), unit), show(max(values), unit)
    return low if low == high else f"{low} to {high}"


def median(runs: Sequence[Run], criterion: str) -> float | None:
    """The median of *criterion* in *runs*."""
    values = [run.values[criterion] for run in runs if criterion in run.values]
    return statistics.median(values) if values else None


def write(page: Path, table: str) -> None:
    """Put *table* between the marks of *page*."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
