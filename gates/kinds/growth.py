"""Counts of a call as measurements: each tree's own, and how much they grew from base to candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from gates.errors import GatesError
from gates.kinds.part import Part, together
from gates.model import Finding, Level, Measurement, MetricSpec, Rule, Table, Unit
from gates.quantity import show
from gates.regression.counts import METRICS, Counts, Growth, Tree, count, grown, strays
from gates.regression.processes import Suite

T = TypeVar("T")
WORDS = {"allocations": "allocations", "bytes": "bytes", "statements": "SQL statements", "system_calls": "system calls"}
UNITS = {"allocations": Unit.COUNT, "bytes": Unit.BYTES, "statements": Unit.COUNT, "system_calls": Unit.COUNT}

CATALOGUE = (
    *(
        MetricSpec(f"growth.{metric}", Unit.RATIO, Rule.CENSUS, f"How many more {WORDS[metric]} a call makes.", selectors=True)
        for metric in METRICS
    ),
    *(
        MetricSpec(f"count.{metric}", UNITS[metric], Rule.CENSUS, f"The {WORDS[metric]} of a call.", selectors=True)
        for metric in METRICS
    ),
)


def is_counted(criterion: str) -> bool:
    """Whether *criterion* needs counts."""
    return criterion.startswith(("growth.", "count.", "baseline.count."))


def is_own_count(criterion: str) -> bool:
    """Whether *criterion* needs the counts of the candidate alone."""
    return criterion.startswith(("count.", "baseline.count."))


def count_both(suite: Suite, trees: Sequence[tuple[Path, str]], scratch: Path, calibration: str) -> Part:
    """Count base and candidate, in that order in *trees*, each with its interpreter; the candidate's benchmarks are in both."""
    made = [Tree(path, suite.folders, python) for path, python in trees]
    base, candidate = count(suite.paths[0], made, scratch, options=suite.options)
    for counts, other, side in ((base, made[1], "base"), (candidate, made[0], "candidate")):
        foreign = strays(counts, [other.path])
        if foreign:
            raise GatesError(f"the {side} was counted with files of the other tree: {', '.join(foreign[:3])}")
    base, candidate = without(base, calibration), without(candidate, calibration)
    return together([growth(base, candidate), counted(candidate)])


def not_counted(why: str) -> Part:
    """Nothing, and why."""
    names = [spec.name for spec in CATALOGUE]
    return Part(findings=(Finding(Level.WARNING, f"nothing was counted: {why}"),), absent=dict.fromkeys(names, why))


def count_one(suite: Suite, root: Path, scratch: Path, calibration: str) -> Part:
    """Count the tree at *root* as it is."""
    (candidate,) = count(suite.paths[0], [Tree(root, suite.folders)], scratch, options=suite.options)
    return counted(without(candidate, calibration))


def without(counts: Counts, calibration: str) -> Counts:
    """*counts* without the benchmark that others are held against."""

    def kept(of: Mapping[str, T]) -> dict[str, T]:
        return {name: each for name, each in of.items() if name.partition("[")[0] != calibration}

    return replace(counts, numbers=kept(counts.numbers), dropped=kept(counts.dropped), failed=kept(counts.failed))


def counted(candidate: Counts) -> Part:
    """The candidate's own counts; a benchmark that failed is missed by name."""
    names = (*candidate.numbers, *candidate.failed)
    return Part(
        measurements=tuple(
            Measurement(f"count.{metric}", number, UNITS[metric], 1, selector=name)
            for name, numbers in candidate.numbers.items()
            for metric, number in numbers.items()
        ),
        findings=tuple(
            Finding(Level.WARNING, f"the benchmark {name} was not counted: {why}") for name, why in candidate.failed.items()
        ),
        expected={f"count.{metric}": _expected(names, metric, candidate.dropped) for metric in METRICS},
    )


def _expected(names: Sequence[str], metric: str, dropped: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    return tuple(name for name in names if metric not in dropped.get(name, {}))


def growth(base: Counts, candidate: Counts) -> Part:
    """What grew. A number that the base has and the candidate lost is expected, and so missed by name."""
    every = grown(base.numbers, candidate.numbers)
    return Part(
        measurements=tuple(
            Measurement(f"growth.{each.metric}", each.ratio, Unit.RATIO, 1, selector=each.name) for each in every
        ),
        exhibits=tuple(table for table in (_table(every), _left_out(base, candidate)) if table.rows),
        expected={f"growth.{metric}": _wanted(metric, base, candidate) for metric in METRICS},
        absent=_absent(candidate),
    )


def _wanted(metric: str, base: Counts, candidate: Counts) -> tuple[str, ...]:
    """Benchmarks of both trees; what only the candidate lost was deterministic before it, and has to be explained."""
    both = (*candidate.numbers, *(name for name in candidate.failed if name in base.numbers))
    return tuple(name for name in both if metric in base.numbers.get(name, {}))


def _absent(candidate: Counts) -> dict[str, str]:
    """For a metric that no benchmark has, the first reason why."""
    found = {}
    for metric in METRICS:
        whys = [dropped[metric] for dropped in candidate.dropped.values() if metric in dropped]
        if whys and not any(metric in numbers for numbers in candidate.numbers.values()):
            found[f"growth.{metric}"] = found[f"count.{metric}"] = whys[0]
    return found


def _table(every: Sequence[Growth]) -> Table:
    names = list(dict.fromkeys(each.name for each in every))
    by_place = {(each.name, each.metric): each for each in every}
    rows = [(name, *(_cell(by_place.get((name, metric))) for metric in METRICS)) for name in names]
    return Table("Counts of a call, base to candidate", ("benchmark", *WORDS.values()), tuple(rows))


def _cell(each: Growth | None) -> str:
    if each is None:
        return "not deterministic"
    unit = UNITS[each.metric]
    before, after = show(each.before, unit), show(each.after, unit)
    return after if each.before == each.after else f"{before} to {after} ({each.ratio * 100:+.0f} %)"


def _left_out(base: Counts, candidate: Counts) -> Table:
    rows = [
        (side, name, WORDS[metric], why)
        for side, counts in (("base", base), ("candidate", candidate))
        for name, dropped in counts.dropped.items()
        for metric, why in dropped.items()
    ]
    return Table("Not counted", ("side", "benchmark", "what", "why"), tuple(rows))
