"""Performing drills: control, defect, probe, and what the criterion said."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from gates.drills import inner
from gates.drills.inner import InnerRun
from gates.drills.tree import build
from gates.errors import Exit
from gates.model import Base, CriterionReport, Disposition, Drill, Outcome, Sighting, Table, Verdict

COLUMNS = ("drill", "gate", "criterion", "reached", "triggered", "caught", "control", "when")
_CODES = {Outcome.FAIL: Exit.NOT_READY, Outcome.INCONCLUSIVE: Exit.INCONCLUSIVE}


@dataclass(frozen=True, slots=True)
class Performed:
    """A drill and how it went.

    Attributes:
        caught: the criterion said what the drill expects, and the inner run ended with the exit code that follows from it.
        control: the same run without the defect ended READY.
        said: what the criterion said of the defect, in its own words.
        seen: what the probe saw, in a sentence.
        trouble: why the drill proves nothing; empty when it proves something, one way or the other.
        when: UTC, ISO 8601 with `Z`.
    """

    drill: Drill
    reached: bool
    triggered: bool
    caught: bool
    control: bool
    said: str
    seen: str
    trouble: str
    when: str
    tree: Path

    @property
    def well(self) -> bool:
        return self.reached and self.triggered and self.caught and self.control

    @property
    def missed(self) -> bool:
        """The defect had its effect beside a sound control, and the criterion did not say so: the gate is blind."""
        return self.triggered and self.control and not self.caught and not self.trouble

    @property
    def row(self) -> tuple[str, ...]:
        """The cells under `COLUMNS`."""
        facts = (self.reached, self.triggered, self.caught and self.triggered, self.control)
        words = ("yes" if fact else "no" for fact in facts)
        return (self.drill.name, self.drill.base.gate, self.drill.criterion, *words, self.when)


@dataclass(slots=True)
class Performer:
    """Performs drills of the repository at *root* with its *spec*, in folders below *scratch*; controls are run once a base."""

    root: Path
    spec: Mapping[str, Any]
    scratch: Path
    seed: int
    now: Callable[[], datetime]
    _controls: dict[str, InnerRun] = field(default_factory=dict)

    def perform(self, drill: Drill) -> Performed:
        """The control, unless it was run already, then the drill. What goes wrong on the way is its trouble."""
        try:
            control = self._control(drill.base)
            run, sighting = self._taken_away(drill, control) if drill.take_away else self._seeded(drill)
        except Exception as error:  # seeds and probes are somebody's plug-ins, and one of them must not end the others
            return self._broken(drill, f"{type(error).__name__}: {error}")
        return self._described(drill, control, run, sighting)

    def _control(self, base: Base) -> InnerRun:
        if base.name not in self._controls:
            tree = build(base, self.spec, self.root)
            self._controls[base.name] = inner.run(tree, self.scratch / f"control-{base.name}", self.seed)
        return self._controls[base.name]

    def _seeded(self, drill: Drill) -> tuple[InnerRun, Sighting]:
        tree = drill.seed(build(drill.base, self.spec, self.root))
        run = inner.run(tree, self.scratch / drill.name, self.seed)
        return run, drill.probe(run.gate_folder(drill.base.gate), run.tree)

    def _taken_away(self, drill: Drill, control: InnerRun) -> tuple[InnerRun, Sighting]:
        run = inner.copied(control, self.scratch / drill.name)
        folder = run.gate_folder(drill.base.gate)
        assert drill.take_away is not None
        drill.take_away(folder)
        run = inner.report_again(run, run.tree)
        return run, drill.probe(folder, run.tree)

    def _described(self, drill: Drill, control: InnerRun, run: InnerRun, sighting: Sighting) -> Performed:
        found = run.criterion(drill.base.gate, drill.criterion)
        sound = control.code == Exit.READY and control.report is not None and control.report.verdict is Verdict.READY
        caught = found is not None and found.outcome is drill.expects and run.code == _code(drill, found)
        said = found.reason if found else run.trouble or f"the inner report does not know {drill.criterion}"
        return Performed(
            drill,
            reached=sighting.reached > 0,
            triggered=sighting.triggered > 0,
            caught=caught,
            control=sound,
            said=said,
            seen=sighting.text,
            trouble=_trouble(sighting, control, sound) or _unsaid(drill, found, said),
            when=self._stamp(),
            tree=run.tree,
        )

    def _broken(self, drill: Drill, trouble: str) -> Performed:
        return Performed(drill, False, False, False, False, "", "", trouble, self._stamp(), self.scratch / drill.name)

    def _stamp(self) -> str:
        return self.now().strftime("%Y-%m-%dT%H:%M:%SZ")


def _code(drill: Drill, found: CriterionReport) -> Exit:
    """What the run must end with; a criterion that only advises enters no verdict."""
    return Exit.READY if found.disposition is Disposition.ADVISORY else _CODES[drill.expects]


def _trouble(sighting: Sighting, control: InnerRun, sound: bool) -> str:
    if not sound:
        headline = control.report.headline if control.report else control.trouble
        return f"its control run did not pass: {headline}"
    if not sighting.reached:
        return f"the defect was not reached: {sighting.text}"
    return "" if sighting.triggered else f"the defect had no effect: {sighting.text}"


def _unsaid(drill: Drill, found: CriterionReport | None, said: str) -> str:
    """Why a run that should have failed said nothing either way; empty when the criterion was judged."""
    silent = found is None or found.outcome is Outcome.INCONCLUSIVE
    return f"{drill.criterion} could not say: {said}" if drill.expects is Outcome.FAIL and silent else ""


def table(performed: Sequence[Performed]) -> Table:
    """The table `drills`, which the pipeline reads for when a criterion was last proven red."""
    return Table("drills", COLUMNS, tuple(each.row for each in performed))


def sampled(drills: Sequence[Drill], seed: int, *, most: int | None, within: float | None) -> tuple[Drill, ...]:
    """Some of *drills*, drawn by *seed*: at most so many, together within so many seconds, and at least one.

    A base's control counts once. What does not fit is passed over for what does; when nothing fits, the quickest is taken.
    """
    order = sorted(drills, key=lambda drill: drill.name)
    random.Random(f"drills/{seed}").shuffle(order)
    chosen: list[Drill] = []
    for drill in order:
        full = most is not None and len(chosen) >= most
        if not full and (within is None or seconds([*chosen, drill]) <= within):
            chosen.append(drill)
    return tuple(chosen) or tuple(sorted(drills, key=lambda drill: seconds([drill]))[:1])


def seconds(drills: Sequence[Drill]) -> float:
    """How long *drills* take together, each control once."""
    bases = {drill.base.name: drill.base.seconds for drill in drills}
    return sum(bases.values()) + sum(drill.seconds for drill in drills)
