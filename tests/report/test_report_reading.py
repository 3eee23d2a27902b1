"""What a person reads out of a report."""

from __future__ import annotations

from dataclasses import replace

import pytest
import realistic_report as realistic

from gates.model import Comparator, Comparison, History, Outcome, Report, RunRecord, Table, Unit, Verdict
from gates.report import reading
from gates.report.facts import facts


def gate(report: Report, name: str) -> reading.GateReport:
    """The gate of that name."""
    return next(one for one in report.gates if one.gate.name == name)


def test_the_realistic_report_is_what_the_tests_take_it_for(report: Report) -> None:
    """Nine gates, one fails, one is inconclusive."""
    assert (report.verdict, len(report.gates)) == (Verdict.NOT_READY, 9)
    assert reading.tally(report) == "7 of 9 gates pass · 1 fails · 1 is inconclusive"


def test_the_tightest_criterion_is_the_one_that_fails(report: Report) -> None:
    """A failing criterion is shown, however near to their limit the others are."""
    found = reading.tightest(gate(report, "primitives"))
    assert found
    assert found.report.criterion.id == "ratio/breaker.call.closed"


def test_among_passing_criteria_the_nearest_to_its_limit_is_shown(report: Report) -> None:
    """The upper end of the interval counts: 0.23 % of 1 % is nearer than 45 ms of 250 ms. Advisory ones come after."""
    found = reading.tightest(gate(report, "sustained"))
    assert found
    assert found.report.criterion.id == "errors.ratio"


@pytest.mark.parametrize(
    ("comparator", "limit", "value", "usage"),
    [
        (Comparator.BELOW, 10, 5, 0.5),
        (Comparator.AT_LEAST, 5, 10, 0.5),
        (Comparator.AT_MOST, 0, 0, 0.0),
        (Comparator.AT_MOST, 0, 1, float("inf")),
        (Comparator.AT_LEAST, 1, 0, float("inf")),
        (Comparator.EQUALS, 3, 3, 0.0),
        (Comparator.EQUALS, 3, 4, float("inf")),
    ],
)
def test_usage_is_one_at_the_limit(comparator: Comparator, limit: float, value: float, usage: float) -> None:
    """Whichever side is the right one, more of the limit is used the nearer the value is to the wrong one."""
    measured = realistic.measured("metric", value, Unit.COUNT)
    assert reading.usage(measured, Comparison(comparator, limit)) == usage


def test_the_change_since_the_last_run_is_told(report: Report) -> None:
    """A percentage for times, a difference for counts, nothing when there is nothing to compare with."""
    changes = {
        one.gate.name: reading.since_last(report, one, found) for one in report.gates if (found := reading.tightest(one))
    }
    assert changes["primitives"] == "+8 %"
    assert changes["partition"] == "−8 %"
    assert changes["unit"] == "±0"
    assert changes["alerts"] == ""


def test_this_runs_own_drills_prove_gates_red(report: Report) -> None:
    """A drill that was reached, triggered and caught counts at once; older proofs come from the ledger."""
    proven = reading.proven_gates(report)
    assert proven["unit"] == "2026-11-23T15:08:30Z"
    assert proven["partition"] == "2026-11-17T03:00:00Z"
    assert "alerts" not in proven


@pytest.mark.parametrize("column", ["reached", "triggered", "caught", "control"])
def test_a_drill_that_was_not_caught_proves_nothing(report: Report, column: str) -> None:
    """The defect must have been in the path, had its effect and been caught, and the control must have been sound."""
    drills = gate(report, "drills")
    assert drills.result
    table = drills.result.exhibits[0]
    assert isinstance(table, Table)
    at = table.columns.index(column)
    rows = tuple(tuple("no" if index == at else cell for index, cell in enumerate(row)) for row in table.rows)
    result = replace(drills.result, exhibits=(replace(table, rows=rows),))
    others = tuple(replace(one, result=result) if one is drills else one for one in report.gates)
    assert "unit" not in reading.proven_gates(replace(report, gates=others))


def test_the_strip_says_how_many_runs_the_commit_had(report: Report) -> None:
    """Runs can't be shopped for: the earlier ones and their ends are on the first screen."""
    shown = {fact.label: f"{fact.value} {fact.aside}" for fact in facts(report)}
    assert shown["runs of this commit"] == "3; before this one 1 abandoned, 1 not ready this machine only"
    assert shown["commit"] == "3f9c2ab on main, with uncommitted changes"
    assert shown["gates proven red"] == "5 of 8 "


def test_a_ledger_that_came_along_is_not_this_machine_only(report: Report) -> None:
    """The words go when the ledger is not the machine's own."""
    history = History(runs=(RunRecord("a", "ready"),), this_machine_only=False)
    shown = {fact.label: fact for fact in facts(replace(report, plan=replace(report.plan, history=history)))}
    assert (shown["runs of this commit"].value, shown["runs of this commit"].aside) == ("2; before this one 1 ready", "")


def test_an_inconclusive_gate_needs_attention_and_a_passing_one_does_not(report: Report) -> None:
    """What stands open in the page is what a person has to look at."""
    assert [one.gate.name for one in report.gates if reading.needs_attention(one)] == ["primitives", "crash"]
    assert [one.outcome for one in reading.worst_first(report.gates)][:2] == [Outcome.FAIL, Outcome.INCONCLUSIVE]
