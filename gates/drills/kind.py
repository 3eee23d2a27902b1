"""The kind `drills`: a seeded sample of the drills that are installed, as a gate."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from gates import codec, registry
from gates.drills.catalogue import fitting, flattened
from gates.drills.performance import Performed, Performer, sampled, seconds, table
from gates.drills.tree import SPEC, read_spec
from gates.fields import Duration, Settings
from gates.model import (
    Drill,
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

_BUDGET_USED = 0.9
FACTS = ("reached", "triggered", "caught", "control")


class DrillsSettings(Settings):
    """What a gate of the kind `drills` can set.

    Attributes:
        sample: how many drills at most, drawn by the run's seed; `all` draws none.
        within: the seconds that they may take together by what they declare; by default nine tenths of the gate's budget.
        from_: names of drills to draw from; all that fit the spec when there are none.
        spec: the readiness.yaml whose gates are drilled.
    """

    sample: Literal["all"] | int = "all"
    within: Duration | None = Field(None, gt=0)
    from_: list[str] = Field(default_factory=list, alias="from")
    spec: str = SPEC


class DrillsKind:
    """Performs drills and counts what was reached, triggered, caught and controlled."""

    name = "drills"
    summary = "Known defects, seeded on the ordinary path, that the gates must catch."
    measures = True
    needs_target = False
    settings = DrillsSettings
    metrics = (
        MetricSpec("reached", Unit.COUNT, Rule.CENSUS, "Drills whose defect was in the path.", selectors=True),
        MetricSpec("triggered", Unit.COUNT, Rule.CENSUS, "Drills whose defect had its effect, as a probe saw.", selectors=True),
        MetricSpec("caught", Unit.COUNT, Rule.CENSUS, "Drills whose criterion said what it must.", selectors=True),
        MetricSpec("control", Unit.COUNT, Rule.CENSUS, "Drills whose run without the defect passed.", selectors=True),
        MetricSpec("missed", Unit.COUNT, Rule.CENSUS, "Drills whose defect had its effect and was not caught."),
    )

    def plan(self, settings: DrillsSettings, context: KindContext) -> KindPlan:
        """Check that there is something to draw from, and how long the sample takes at most."""
        installed, spec = flattened(context.plugins(registry.DRILLS)), read_spec(context.root, settings.spec)
        drills = fitting(installed, spec, context.root, settings.from_)
        if not drills:
            context.error("from", f"no drill that is installed fits the gates of {settings.spec}")
        within = None if settings.within is None else f"{settings.within} s"  # the gate process validates it again
        plain = settings.model_dump(mode="json", by_alias=True) | {"within": within}
        return KindPlan(settings=plain, seconds=min(settings.within or float("inf"), seconds(drills)) if drills else 0.0)

    def run(self, request: Request) -> GateResult:
        """Perform the sample, one drill after the other."""
        began, started = time.monotonic(), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        settings = DrillsSettings.model_validate(request.gate.settings)
        root = Path(request.root)
        spec = read_spec(root, settings.spec)
        fit = fitting(flattened(registry.plugins(registry.DRILLS)), spec, root, settings.from_)
        most = None if settings.sample == "all" else settings.sample
        chosen = sampled(fit, request.seed, most=most, within=settings.within or _BUDGET_USED * request.gate.budget or None)
        with tempfile.TemporaryDirectory(prefix="gates-drills-") as scratch:
            performer = Performer(root, spec, Path(scratch), request.seed, lambda: datetime.now(UTC))
            performed = [performer.perform(drill) for drill in chosen]
            _keep(performed, request.evidence)
        return _Result(request, performed, fit).described(started, time.monotonic() - began)


@dataclass(frozen=True, slots=True)
class _Result:
    """What was performed, of what could have been."""

    request: Request
    performed: Sequence[Performed]
    fit: Sequence[Drill]

    def described(self, started: str, took: float) -> GateResult:
        names = tuple(each.drill.name for each in self.performed)
        return GateResult(
            gate=self.request.gate.name,
            execution=Execution.COMPLETED,
            started=started,
            seconds=took,
            measurements=measurements(self.performed),
            findings=findings(self.performed),
            exhibits=(table(self.performed),),
            summary=self._summary(),
            steps=tuple(f"{self.request.command} drill {each.drill.name} --keep" for each in self.performed if not each.well),
            attempt=self.request.attempt,
            expected=dict.fromkeys(FACTS, names),
        )

    def _summary(self) -> str:
        caught = sum(each.well for each in self.performed)
        drawn = "all of them" if len(self.performed) == len(self.fit) else f"drawn by the seed {self.request.seed}"
        which = f"{len(self.performed)} of {len(self.fit)} drills, {drawn}"
        return f"{which}: {caught} reached, triggered and caught beside a sound control."


def measurements(performed: Sequence[Performed]) -> tuple[Measurement, ...]:
    """Each fact of each drill, and how many of those drills have it that prove something, one way or the other."""
    each = [
        Measurement(fact, int(getattr(one, fact)), Unit.COUNT, 1, selector=one.drill.name)
        for one in performed
        for fact in FACTS
    ]
    proving = [one for one in performed if not one.trouble]
    counts = {fact: sum(getattr(one, fact) for one in proving) for fact in FACTS}
    counts["missed"] = sum(one.missed for one in proving)
    return (*each, *(Measurement(name, count, Unit.COUNT, len(proving)) for name, count in counts.items()))


def findings(performed: Sequence[Performed]) -> tuple[Finding, ...]:
    """An error for every drill that proves nothing, a warning for every gate that is blind."""
    found = []
    for one in performed:
        place = f"{one.drill.base.gate}:{one.drill.criterion}"
        if one.trouble:
            found.append(Finding(Level.ERROR, f"the drill {one.drill.name} proves nothing: {one.trouble}", place))
        elif one.missed:
            message = f"{place} did not catch {one.drill.name}: {one.said or 'it said nothing'} ({one.seen})"
            found.append(Finding(Level.WARNING, message, place))
    return tuple(found)


def _keep(performed: Sequence[Performed], evidence: Path) -> None:
    """Keep what was seen and said, and each inner report."""
    evidence.mkdir(parents=True, exist_ok=True)
    rows = [
        {"drill": one.drill.name, "seen": one.seen, "said": one.said, "trouble": one.trouble, "when": one.when}
        for one in performed
    ]
    codec.write(evidence / "drills.json", {"drills": rows})
    for one in performed:
        report = one.tree / "runs" / "latest" / "readiness.json"
        if report.is_file():
            shutil.copyfile(report, evidence / f"{one.drill.name}.readiness.json")
