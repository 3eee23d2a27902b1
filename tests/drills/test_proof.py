"""A drill that proves nothing leaves its gate inconclusive: neither a pass nor a proven blindness."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gates.drills import testing
from gates.drills.kind import DrillsKind, findings, measurements
from gates.drills.performance import Performed, Performer, _unsaid
from gates.drills.tree import read_spec, write
from gates.model import (
    CriterionReport,
    Disposition,
    Execution,
    GateResult,
    Outcome,
    PlannedGate,
    Sighting,
    Tree,
)
from gates.pipeline.judge import judge_gate
from gates.spec import resolve

FAILING = next(one for one in testing.DRILLS if one.name == "failing-test")
GATES = {
    "unit": {"kind": "tests", "command": ["true"], "criteria": {"failed": {"at_most": 0}}},
    "drills": {
        "kind": "drills",
        "criteria": {"reached": {"at_least": 1}, "caught": {"at_least": 1}, "missed": {"at_most": 0}},
    },
}


@pytest.fixture
def gate(tmp_path: Path) -> PlannedGate:
    """The gate of drills with the criteria of the project's own."""
    write(Tree({"version": 1, "profiles": {"quick": {}}, "gates": {"unit": GATES["unit"]}}), tmp_path)
    groups: dict[str, dict[str, Any]] = {"gates.kinds": {"drills": DrillsKind()}, "gates.drills": {"t": testing.DRILLS}}
    spec = tmp_path / "spec.yaml"
    write(Tree({"version": 1, "profiles": {"quick": {}}, "gates": {"drills": GATES["drills"]}}), tmp_path / "own")
    spec.write_text((tmp_path / "own" / "workflows" / "readiness.yaml").read_text())
    return resolve(spec, root=tmp_path, profile="quick", plugins=lambda group: groups.get(group, {})).gates[0]


def performed(trouble: str = "", **facts: bool) -> Performed:
    well = {"reached": True, "triggered": True, "caught": True, "control": True}
    return Performed(FAILING, **(well | facts), said="", seen="", trouble=trouble, when="", tree=Path())


def outcome(gate: PlannedGate, *drills: Performed) -> Outcome:
    result = GateResult("drills", Execution.COMPLETED, "", 1.0, measurements(drills), findings(drills))
    return judge_gate(gate, result).outcome


UNSOUND = performed("its control run did not pass", control=False)
NOWHERE = performed("the defect was not reached", reached=False, triggered=False, caught=False)


@pytest.mark.parametrize(
    ("drills", "expected"),
    [
        ([performed()], Outcome.PASS),
        ([UNSOUND], Outcome.INCONCLUSIVE),
        ([NOWHERE], Outcome.INCONCLUSIVE),
        ([NOWHERE, UNSOUND], Outcome.INCONCLUSIVE),
        ([performed(), NOWHERE], Outcome.INCONCLUSIVE),
        ([performed(), performed(caught=False)], Outcome.FAIL),
        ([NOWHERE, performed(caught=False)], Outcome.FAIL),
    ],
)
def test_only_a_missed_defect_is_a_failure(gate: PlannedGate, drills: list[Performed], expected: Outcome) -> None:
    """A noisy machine that spoils a control says nothing of the gates; it does not make them pass either."""
    assert outcome(gate, *drills) is expected


@pytest.mark.parametrize(
    ("said", "unsaid"), [(Outcome.FAIL, False), (Outcome.PASS, False), (Outcome.INCONCLUSIVE, True), (None, True)]
)
def test_a_criterion_that_could_not_say_was_not_blind(gate: PlannedGate, said: Outcome | None, unsaid: bool) -> None:
    """Only a criterion that passed beside the defect missed it; one that was not judged leaves the question open."""
    found = None if said is None else CriterionReport(gate.criteria[0], said, Disposition.COUNTED, "why")
    assert bool(_unsaid(FAILING, found, "why")) is unsaid


def _broken_probe(_gate: Path, _tree: Path) -> Sighting:
    raise SyntaxError("not well-formed")


def test_a_probe_that_breaks_is_its_drills_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a plug-in raises, the other drills go on."""
    write(Tree({"version": 1, "profiles": {"quick": {}}, "gates": {"unit": GATES["unit"]}}), tmp_path)
    monkeypatch.setattr("gates.drills.inner._gates", lambda folder, _: (folder / "said.log").touch() or 0)
    performer = Performer(tmp_path, read_spec(tmp_path), tmp_path / "scratch", 1, lambda: datetime.now(UTC))
    found = performer.perform(replace(FAILING, probe=_broken_probe))
    assert "SyntaxError: not well-formed" in found.trouble
    assert not found.missed
