"""Counts of a call as measurements: each tree's own, and how much they grew from base to candidate."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
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


def count_both(
    suite: Suite, trees: Sequence[tuple[Path, str]], scratch: Path, calibration: str, own: Callable[[], Counts | None]
) -> Part:
    """Count base and candidate, in that order in *trees*, each with its interpreter; the candidate's benchmarks are in both.

    *own* tells what the base's own suite has, None when that is not known; it is asked after all counting.
    """
    made = [Tree(path, suite.folders, python) for path, python in trees]
    base, candidate = count(suite.paths[0], made, scratch, options=suite.options)
    _check_origins(base, "base", made, suite)
    _check_origins(candidate, "candidate", made[::-1], suite)
    _check_readable(candidate)
    base, candidate = without(base.named_as(candidate), calibration), without(candidate, calibration)
    uncounted = [name for name in (*candidate.numbers, *candidate.failed) if name not in base.numbers]
    known = own() if uncounted else Counts({})
    lost = uncounted if known is None else known.named_as(candidate).collected
    return together([growth(base, candidate, lost), counted(candidate)])


def _check_origins(counts: Counts, side: str, trees: Sequence[Tree], suite: Suite) -> None:
    """The first of *trees* was counted, and nothing of the others, nor an installed copy of its packages."""
    own, *others = (tree.path for tree in trees)
    foreign = strays(counts, own, others, suite.packages)
    if foreign:
        raise GatesError(f"the {side} was counted with files that are not its own: {', '.join(foreign[:3])}")


def _check_readable(counts: Counts) -> None:
    if counts.unreadable:
        whys = "; ".join(f"{file}: {why}" for file, why in counts.unreadable.items())
        raise GatesError(f"the candidate's suite can't be collected as a whole: {whys}")


def not_counted(why: str) -> Part:
    """Nothing, and why."""
    names = [spec.name for spec in CATALOGUE]
    return Part(findings=(Finding(Level.WARNING, f"nothing was counted: {why}"),), absent=dict.fromkeys(names, why))


def count_one(suite: Suite, root: Path, scratch: Path, calibration: str) -> Part:
    """Count the tree at *root* as it is."""
    (candidate,) = count(suite.paths[0], [Tree(root, suite.folders)], scratch, options=suite.options)
    _check_readable(candidate)
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


def growth(base: Counts, candidate: Counts, own: Collection[str] = ()) -> Part:
    """What grew. A number that the base has and the candidate lost is expected, and so missed by name.

    So is every number of a benchmark that the base's *own* suite has and that could not be counted there.
    """
    every = grown(base.numbers, candidate.numbers)
    both = (*candidate.numbers, *candidate.failed)
    lost = [name for name in both if name in own and name not in base.numbers]
    elsewhere = "; ".join(f"{file}: {why}" for file, why in base.unreadable.items()) or "it was not collected there"
    return Part(
        measurements=tuple(
            Measurement(f"growth.{each.metric}", each.ratio, Unit.RATIO, 1, selector=each.name) for each in every
        ),
        findings=tuple(
            Finding(Level.WARNING, f"the benchmark {name} was not counted on the base: {base.failed.get(name, elsewhere)}")
            for name in lost
        ),
        exhibits=tuple(table for table in (_table(every), _left_out(base, candidate)) if table.rows),
        expected={f"growth.{metric}": _wanted(metric, base, candidate, lost) for metric in METRICS},
        absent=_absent(candidate),
    )


def _wanted(metric: str, base: Counts, candidate: Counts, lost: Collection[str]) -> tuple[str, ...]:
    """Benchmarks of both trees; what only the candidate lost was deterministic before it, and has to be explained.

    Of a benchmark that was *lost* on the base, what the candidate could count.
    """
    dropped = {name for name in lost if metric in candidate.dropped.get(name, {})}
    both = (*candidate.numbers, *candidate.failed)
    return tuple(name for name in both if metric in base.numbers.get(name, {}) or (name in lost and name not in dropped))


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
