"""The kind `benchmarks`: a pytest-benchmark suite, judged by itself and against the base that the candidate comes from.

By itself, each benchmark is a ratio to a calibration benchmark in the same process: that catches a broken primitive whatever
the machine, and claims no more. Against the base, pairs of processes find slowdowns of a few percent with known error rates;
counts of allocations, bytes, statements and system calls find what costs more without taking longer.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, StringConstraints

from gates.errors import GatesError
from gates.fields import Duration, Settings
from gates.kinds import growth, stored
from gates.kinds.against import BUILT_IN as COMPARISON_BUILT_IN
from gates.kinds.against import NONE, base_of, is_compared, is_paired, plan_against
from gates.kinds.part import Part, together
from gates.kinds.suite import RatioSuite
from gates.model import (
    Comparator,
    Comparison,
    Criterion,
    Execution,
    Finding,
    GateResult,
    KindContext,
    KindPlan,
    Level,
    Measurement,
    MetricSpec,
    Request,
    Rule,
    Unit,
)

if TYPE_CHECKING:
    from gates.regression.checkouts import Checkouts
    from gates.regression.counts import Counts
    from gates.regression.processes import Suite

FEWEST_ROUNDS = 12
DRIFT = 2.0
_BUILT_IN = (
    Criterion(
        "valid.collected",
        Unit.COUNT,
        Rule.CENSUS,
        (Comparison(Comparator.AT_MOST, 0, text="0"),),
        1,
        built_in=True,
        summary="Benchmarks that were collected and did not run to their end.",
    ),
    Criterion(
        "valid.calibration",
        Unit.FACTOR,
        Rule.SINGLE,
        (Comparison(Comparator.BELOW, DRIFT, text=f"{DRIFT:g}x"),),
        1,
        built_in=True,
        machine=True,
        summary="How far apart the calibration runs of one process lie: the slowest over the fastest.",
    ),
)
_COMPARISON_METRICS = (
    MetricSpec("slowdown", Unit.RATIO, Rule.SLOWDOWN, "How much slower a benchmark is than on the base.", selectors=True),
    MetricSpec("removed", Unit.COUNT, Rule.CENSUS, "Benchmarks of the base that are gone, and that nobody accepted."),
)


class BenchmarksSettings(Settings):
    """What a gate of the kind `benchmarks` can set."""

    suite: str = Field(min_length=1, description="folder or file of pytest-benchmark tests, relative to the root")
    calibration: str = Field(
        "calibration", min_length=1, description="the benchmark, or parametrised ones, that others are held against"
    )
    rounds: int = Field(40, ge=FEWEST_ROUNDS, description="the fewest rounds of each benchmark")
    time: Duration = Field(0.5, gt=0, le=600, description="how long each benchmark is repeated, at least for its rounds")
    plugins: list[str] = Field(default_factory=list, description="modules that pytest loads with -p")
    against: str = Field(
        NONE, min_length=1, description="the base: merge-base (with the default branch), parent, a commit or branch, or none"
    )
    pairs: Annotated[str, StringConstraints(pattern=r"^\d{1,3}\+\d{1,3}$")] = Field(
        "12+30", description="pairs of processes in stage 1, and in stage 2 for what stage 1 left open"
    )
    parallel: list[str] = Field(
        default_factory=list, description="benchmarks of threads, input or output, which run on both sides at once"
    )
    package: str = Field("", description="the folder of the package that is measured, where neither the root nor src holds it")


class BenchmarksKind:
    """Runs a pytest-benchmark suite: ratios to its calibration, slowdowns against a base, counts, stored baselines."""

    name = "benchmarks"
    summary = "A pytest-benchmark suite: ratios to a calibration benchmark, and slowdowns against a base in paired runs."
    measures = True
    needs_target = False
    settings = BenchmarksSettings
    metrics = (
        MetricSpec(
            "ratio",
            Unit.FACTOR,
            Rule.FACTOR,
            "The median of a benchmark over the median of the calibration runs around it.",
            at_least=FEWEST_ROUNDS,
            selectors=True,
        ),
        *_COMPARISON_METRICS,
        *growth.CATALOGUE,
        *stored.CATALOGUE,
    )

    def plan(self, settings: BenchmarksSettings, context: KindContext) -> KindPlan:
        suite = (context.root / settings.suite).resolve()
        if not suite.is_relative_to(context.root.resolve()) or not suite.exists():
            context.error(
                "suite", f"there is no {settings.suite} in the repository", "paths are relative to the repository's root"
            )
        if min(map(int, settings.pairs.split("+"))) < FEWEST_ROUNDS:
            context.error("pairs", f"at least {FEWEST_ROUNDS} pairs are needed in each stage (got {settings.pairs})")
        stored.check_stored(context.criteria, context.root)
        against = plan_against(settings.against, context)
        plain = settings.model_dump(mode="json") | {
            "time": settings.time,
            "base": dict(against.base),
            "accepted_removals": list(against.removed),
        }
        return KindPlan(
            settings=plain,
            built_in=(*(_BUILT_IN if _needs_ratios(context.criteria) else ()), *against.built_in),
            not_applicable=against.not_applicable,
            allowances=against.allowances,
            seconds=_seconds(settings, context.criteria) if "sha" in against.base else 0.0,
        )

    def run(self, request: Request) -> GateResult:
        started, began = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), time.monotonic()
        request.evidence.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="gates-benchmarks-") as scratch:
            course = _Course(request, Path(scratch))
            part = together(course.parts())
        return GateResult(
            gate=request.gate.name,
            execution=Execution.FAILED_TO_RUN if course.reason else Execution.COMPLETED,
            started=started,
            seconds=time.monotonic() - began,
            measurements=part.measurements,
            findings=part.findings,
            exhibits=part.exhibits,
            summary=part.summary,
            reason=course.reason,
            steps=part.steps,
            attempt=request.attempt,
            expected=part.expected,
            absent=part.absent,
        )


def _seconds(settings: BenchmarksSettings, criteria: Sequence[Criterion]) -> float:
    """About how long a comparison takes: a second for each pair of a dozen benchmarks."""
    return float(sum(map(int, settings.pairs.split("+")))) if any(is_paired(each.id) for each in criteria) else 0.0


def _needs_ratios(criteria: Sequence[Criterion]) -> bool:
    """Whether any criterion is about the suite by itself; a gate that only compares needs no calibration benchmark."""
    return any(each.metric in ("ratio", "baseline.ratio") for each in criteria) or not criteria


@dataclass(slots=True)
class _Course:
    """One run of a gate, part after part; *reason* says why the suite did not run as a whole."""

    request: Request
    scratch: Path
    reason: str = ""
    measured: list[Measurement] = field(default_factory=list)

    def parts(self) -> Iterator[Part]:
        for make in (self._ratios, self._comparison, self._stored):
            part = make()
            self.measured += part.measurements
            yield part

    def _ratios(self) -> Part:
        if not _needs_ratios(self.request.gate.criteria):
            return Part()
        suite = RatioSuite(self.request, self.scratch)
        suite.run()
        self.reason = suite.reason
        return suite.part()

    def _stored(self) -> Part:
        try:
            return stored.against_stored(self.request, self.measured)
        except GatesError as error:
            self.reason = self.reason or error.said
            return Part()

    def _comparison(self) -> Part:
        """Counts and slowdowns on checkouts of both commits; on the tree as it is, counts alone."""
        criteria = self.request.gate.criteria
        counted = any(growth.is_counted(each.id) for each in criteria)
        sha, why = base_of(self.request.gate.settings) if self.request.gate.settings["base"] else ("", "")
        try:
            if sha:
                return self._compared(sha, why, counted)
            own = self._counted_alone() if any(growth.is_own_count(each.id) for each in criteria) else Part()
        except GatesError as error:
            return self._not_compared(error.said, error.hint)
        problem = self.request.gate.settings["base"].get("problem", "")
        return together([own, self._not_compared(problem)]) if problem else own

    def _compared(self, sha: str, why: str, counted: bool) -> Part:
        from gates.kinds.slowdowns import run_compared
        from gates.regression import suites
        from gates.regression.checkouts import checked_out
        from gates.regression.trees import overlay

        root, settings = Path(self.request.root), self.request.gate.settings
        with checked_out(root, sha, self.request.commit.sha or "HEAD") as checkouts:
            described = suites.describe(
                checkouts.candidate, settings["suite"], package=settings["package"], plugins=settings["plugins"]
            )
            parts = []
            if any(is_paired(each.id) for each in self.request.gate.criteria):
                parts.append(run_compared(self.request, sha, why, checkouts, described, print))
            else:
                overlay(checkouts.candidate, checkouts.base, described.overlaid)
                parts.append(Part(measurements=(Measurement("valid.base", 0, Unit.COUNT, 1),)))
            if counted:
                parts.append(self._counted_both(described, checkouts))
            return together(parts)

    def _counted_both(self, described: Suite, checkouts: Checkouts) -> Part:
        """Counts of both; when they can't be had, what was compared stands all the same."""
        trees = tuple(zip((checkouts.base, checkouts.candidate), checkouts.pythons, strict=True))
        try:
            calibration = self.request.gate.settings["calibration"]
            return growth.count_both(described, trees, self.scratch, calibration, lambda: self._own(described, checkouts))
        except GatesError as error:
            return growth.not_counted(error.said)

    def _own(self, described: Suite, checkouts: Checkouts) -> Counts | None:
        """What the base's own suite holds, once the candidate's is not needed there any more; None when it can't be told."""
        from gates.regression.counts import Tree, listed
        from gates.regression.trees import restore

        restore(checkouts.base)
        tree = Tree(checkouts.base, described.folders, checkouts.pythons[0])
        return listed(described.paths[0], tree, self.scratch / "own", options=described.options)

    def _counted_alone(self) -> Part:
        from gates.regression import suites

        root, settings = Path(self.request.root), self.request.gate.settings
        described = suites.describe(root, settings["suite"], package=settings["package"], plugins=settings["plugins"])
        return growth.count_one(described, root, self.scratch, settings["calibration"])

    def _not_compared(self, problem: str, hint: str = "") -> Part:
        wanted = {each.metric for each in self.request.gate.criteria if is_compared(each.id)}
        built_in = {each.metric for each in COMPARISON_BUILT_IN}
        return Part(
            findings=(Finding(Level.WARNING, f"nothing was compared: {problem}", hint=hint),),
            absent=dict.fromkeys(sorted({*wanted, *built_in}), problem),
        )
