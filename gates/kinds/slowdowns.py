"""A comparison of candidate and base as measurements: slowdowns with intervals, what was removed, and whether it is valid."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gates import codec
from gates.kinds.against import STEP
from gates.kinds.part import Part
from gates.model import (
    Comparison,
    Criterion,
    Finding,
    Interval,
    IntervalRow,
    Intervals,
    Level,
    Limit,
    Measurement,
    Request,
    Table,
    Unit,
)
from gates.quantity import show
from gates.regression import comparison as paired
from gates.regression.checkouts import Checkouts
from gates.regression.commits import between
from gates.regression.processes import Suite
from gates.regression.values import Design, Estimate, Pair, Tolerance

MOST_COMMITS = 20


@dataclass(frozen=True, slots=True)
class Tolerances(Mapping[str, Tolerance]):
    """The tolerance of every benchmark, by the criteria of a gate: its own, else that of `slowdown/*`."""

    own: Mapping[str, Tolerance]
    general: Tolerance

    def __getitem__(self, name: str) -> Tolerance:
        return self.own.get(name, self.general)

    def __iter__(self) -> Iterator[str]:
        return iter(self.own)

    def __len__(self) -> int:
        return len(self.own)


def tolerances(criteria: Sequence[Criterion]) -> Tolerances:
    """What the criteria over `slowdown` allow; of several over one benchmark the tightest. Accepted regressions count."""
    asked = [each for each in criteria if each.metric == "slowdown"]
    by_name: dict[str, list[Tolerance]] = {}
    for criterion in asked:
        for comparison in criterion.comparisons:
            by_name.setdefault(criterion.selector, []).append(_tolerance(comparison, 0.0))
    general = _tightest(by_name.get("*", []))
    raised = {one.selector: one.by for each in asked for one in each.allowances}
    names = {*by_name, *raised} - {"*"}
    own = {name: _raised(_tightest([*by_name.get(name, []), *by_name.get("*", [])]), raised.get(name, 0.0)) for name in names}
    return Tolerances(own, general)


def accepted_findings(criteria: Sequence[Criterion], removals: Sequence[str], found: paired.Comparison) -> list[Finding]:
    """What was accepted, and by name what of it fits nothing: a misspelt entry raises no limit."""
    told = []
    for metric, one in [(each.metric, one) for each in criteria for one in each.allowances]:
        if found.known and one.selector not in found.known:
            message = f"{metric}/{one.selector} is accepted, and fits no benchmark"
            told.append(Finding(Level.WARNING, message, hint=_meant(one.selector, found.known)))
        elif metric == "slowdown":
            told.append(Finding(Level.NOTE, f"{one.selector} may be {one.by:.1%} slower: {one.reason}"))
        else:
            told.append(Finding(Level.NOTE, f"{metric}/{one.selector} is accepted up to {one.by:.1%} more: {one.reason}"))
    for name in removals if found.known and not found.problems else ():
        if name not in found.removed:
            message = f"removed/{name} is accepted, and no such benchmark was removed"
            told.append(Finding(Level.WARNING, message, hint=_meant(name, found.removed)))
    return told


def _meant(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def _tolerance(comparison: Comparison, by: float) -> Tolerance:
    beyond = comparison.limit if comparison.fail_beyond is None else comparison.fail_beyond
    return Tolerance(comparison.limit + by, beyond + by)


def _tightest(found: Sequence[Tolerance]) -> Tolerance:
    if not found:
        return Tolerance()
    return Tolerance(min(each.below for each in found), min(each.fail_above for each in found))


def _raised(tolerance: Tolerance, by: float) -> Tolerance:
    return Tolerance(tolerance.below + by, tolerance.fail_above + by)


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison that took place, for the gate *request*; *base* is the commit and *why* it is the one."""

    request: Request
    base: str
    why: str
    suite: Suite
    found: paired.Comparison

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.request.gate.settings

    def part(self) -> Part:
        """Measurements and what a person needs to understand them."""
        codec.write(self.request.evidence / "slowdowns.json", _kept(self.base, self.found))
        slowdowns = [_measurement(each) for each in self.found.estimates]
        known = [each.name for each in self.found.estimates] + list(self.found.broken)
        return Part(
            measurements=(*slowdowns, *self._removed(), *self._validity()),
            findings=(*self._problems(), *self._news()),
            exhibits=(*self._tables(), *self._commits()),
            steps=self._steps(),
            summary=self._summary(),
            expected={"slowdown": tuple(dict.fromkeys(known))},
            absent=dict.fromkeys(("slowdown", "removed"), self.found.problems[0]) if self.found.problems else {},
        )

    def _removed(self) -> list[Measurement]:
        """How many benchmarks of the base's own suite are gone; not measured when something kept that from being known."""
        if self.found.problems:
            return []
        known = len(self.found.estimates) + len(self.found.broken) + len(self._gone())
        unaccepted = [name for name in self._gone() if name not in self.settings["accepted_removals"]]
        return [Measurement("removed", len(unaccepted), Unit.COUNT, max(1, known))]

    def _gone(self) -> list[str]:
        return [name for name in self.found.removed if not _is(name, self.settings["calibration"])]

    def _validity(self) -> list[Measurement]:
        found = [Measurement("valid.base", len(self.found.problems), Unit.COUNT, 1)]
        control = self.found.control
        if control is not None and control.estimate is not None:
            found.append(Measurement("valid.control", control.away, Unit.RATIO, control.pairs))
        if self.found.estimates:
            fewest = min(each.pairs for each in self.found.estimates)
            found.append(Measurement("valid.pairs", fewest, Unit.COUNT, 1))
        counted = [abs(pair.clock_step) for pair in self.found.pairs if abs(pair.clock_step) <= STEP]
        if counted:
            found.append(Measurement("valid.clock", max(counted), Unit.SECONDS, len(counted)))
        return found

    def _problems(self) -> list[Finding]:
        """What keeps the gate from passing, by name."""
        found = [Finding(Level.ERROR, problem) for problem in self.found.problems]
        found += [Finding(Level.ERROR, f"{name} was not compared: {why}") for name, why in self.found.broken.items()]
        control = self.found.control
        if control is not None and control.reason:
            found.append(Finding(Level.WARNING, control.reason))
        strangers = self.found.strangers(self.settings["parallel"])
        found += [Finding(Level.WARNING, f"`parallel` names {each!r}, which fits no benchmark") for each in strangers]
        return found

    def _news(self) -> list[Finding]:
        """What a person should know, though it decides nothing."""
        added = [name for name in self.found.added if not _is(name, self.settings["calibration"])]
        found = [Finding(Level.NOTE, f"{name} is new; only its own limits hold for it") for name in added]
        for name in self._gone():
            accepted = name in self.settings["accepted_removals"]
            hint = "" if accepted else "put it back, or accept its removal in baselines/accepted.yaml (metric removed/NAME)"
            found.append(
                Finding(
                    Level.NOTE if accepted else Level.WARNING,
                    f"{name} is gone{', as was accepted' if accepted else ''}",
                    hint=hint,
                )
            )
        return found + accepted_findings(self.request.gate.criteria, self.settings["accepted_removals"], self.found)

    def _tables(self) -> tuple[Intervals | Table, ...]:
        if not self.found.estimates:
            return ()
        rows = [IntervalRow(each.name, each.slowdown, each.low, each.high) for each in self.found.estimates]
        control = self.found.control
        if control is not None and control.estimate is not None:
            same = control.estimate
            rows.append(IntervalRow("the same code on both sides", same.slowdown, same.low, same.high, control=True))
        plot = Intervals("Slowdown against the base", Unit.RATIO, tuple(rows), self._limits())
        columns = ("benchmark", "slowdown", "interval", "pairs", "stage", "a pair spreads by", "base a call", "note")
        cells = tuple(self._cells(each) for each in self.found.estimates)
        return plot, Table(f"Against {self.base[:12]}, {self.why}", columns, cells)

    def _limits(self) -> tuple[Limit, ...]:
        every = [one for each in self.request.gate.criteria if each.id == "slowdown/*" for one in each.comparisons]
        limits = [Limit(one.text or show(one.limit, Unit.RATIO), one.limit) for one in every]
        beyond = [one.fail_beyond for one in every if one.fail_beyond is not None]
        return (*limits, *(Limit(f"fails when wholly above {show(each, Unit.RATIO)}", each, True) for each in beyond))

    def _cells(self, each: Estimate) -> tuple[str, ...]:
        interval = f"{each.low:+.1%} to {each.high:+.1%} at {each.level:.4%}"
        notes = [each.reason, "a suspect of stage 1" if each.suspect else ""]
        if each.name in self.found.detectable:
            notes.append(f"both sides at once: {self.found.detectable[each.name]:.1%} would have been seen")
        call = _call(self.found.pairs, each.name)
        note = "; ".join(note for note in notes if note)
        spread = f"{each.spread:.1%}"
        return each.name, f"{each.slowdown:+.1%}", interval, str(each.pairs), str(each.stage), spread, call, note

    def _commits(self) -> tuple[Table, ...]:
        """What lies between base and candidate, those first that touch the package."""
        found = between(Path(self.request.root), self.base, self.request.commit.sha or "HEAD", self.suite.sources)
        rows = [(each.sha[:12], each.subject, "yes" if each.touches else "no") for each in found[:MOST_COMMITS]]
        more = [("", f"and {len(found) - MOST_COMMITS} more", "")] if len(found) > MOST_COMMITS else []
        return (Table("Commits between", ("commit", "subject", "touches the package"), (*rows, *more)),) if found else ()

    def _steps(self) -> tuple[str, ...]:
        slow = sorted(self.found.estimates, key=lambda each: -each.low)[:3]
        only = " ".join(f"--only {shlex.quote(each.name)}" for each in slow if each.stage == 2)
        as_here = shlex.join(options(self.settings, tolerances(self.request.gate.criteria).general))
        command = f"{self.request.command} compare {self.base[:12]} {self.request.commit.short} {as_here}"
        return (f"{command} {only}".rstrip(),)

    def _summary(self) -> str:
        second = sum(each.stage == 2 for each in self.found.estimates)
        compared, pairs = len(self.found.estimates), len(self.found.pairs)
        return (
            f"{compared} benchmarks compared with {self.base[:12]} ({self.why}) in {pairs} pairs of processes, "
            f"{second} of them in fresh pairs once more; {len(self.found.broken)} could not be compared."
        )


def options(settings: Mapping[str, Any], tolerance: Tolerance) -> list[str]:
    """What `gates compare` has to be told to measure and judge as a gate of these *settings* does."""
    usual = Tolerance()
    given = [
        ("--suite", settings["suite"]),
        ("--package", settings["package"]),
        *(("--plugin", each) for each in settings["plugins"]),
        *(("--parallel", each) for each in settings["parallel"]),
        ("--pairs", settings["pairs"] if settings["pairs"] != "12+30" else ""),
        ("--below", f"{tolerance.below * 100:g} %" if tolerance.below != usual.below else ""),
        ("--fail-above", f"{tolerance.fail_above * 100:g} %" if tolerance.fail_above != usual.fail_above else ""),
    ]
    return [part for name, value in given if value for part in (name, value)]


def _is(name: str, calibration: str) -> bool:
    return name.partition("[")[0] == calibration


def _measurement(each: Estimate) -> Measurement:
    interval = Interval(each.low, each.high, each.level, each.method)
    return Measurement("slowdown", each.slowdown, Unit.RATIO, each.pairs, interval, selector=each.name)


def _call(pairs: Sequence[Pair], name: str) -> str:
    seconds = sorted(base for pair in pairs for base, _ in pair.seconds.get(name, ()))
    return show(seconds[len(seconds) // 2], Unit.SECONDS) if seconds else ""


def _kept(base: str, found: paired.Comparison) -> Mapping[str, Any]:
    estimates = {each.name: codec.to_json(each) for each in found.estimates}
    same = found.control.estimate if found.control else None
    return {"base": base, "seed": found.seed, "estimates": estimates, "control": codec.to_json(same) if same else None}


def run_compared(request: Request, base: str, why: str, checkouts: Checkouts, suite: Suite, say: Callable[[str], None]) -> Part:
    """Compare the two *checkouts*; the candidate's benchmarks are put over the base's."""
    settings = request.gate.settings
    first, second = (int(number) for number in settings["pairs"].split("+"))
    calibration = settings["calibration"]
    found = paired.compare(
        suite,
        checkouts.base,
        checkouts.candidate,
        Design(first=first, second=second, most=2 * second),
        tolerances(request.gate.criteria),
        seed=request.seed,
        wishes=paired.Wishes(leave_out=(calibration, f"{calibration}[*]"), parallel=tuple(settings["parallel"])),
        evidence=request.evidence,
        on_progress=say,
        pythons=checkouts.pythons,
    )
    return Compared(request, base, why, suite, found).part()
