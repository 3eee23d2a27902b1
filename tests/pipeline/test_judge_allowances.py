"""What the judge makes of excused criteria, of accepted regressions, and of reasons why something is absent."""

from __future__ import annotations

from dataclasses import replace

from gates.model import (
    Allowance,
    Comparator,
    Comparison,
    Criterion,
    Execution,
    GateResult,
    Interval,
    Measurement,
    Outcome,
    PlannedGate,
    Rule,
    Severity,
    Unit,
)
from gates.pipeline.judge import judge_gate

LIMIT = Comparison(Comparator.BELOW, 0.05, fail_beyond=0.02, text="5 %")
SLOWDOWN = Criterion("slowdown/*", Unit.RATIO, Rule.SLOWDOWN, (LIMIT,), 12)
RATIO = Criterion("ratio/a", Unit.FACTOR, Rule.FACTOR, (Comparison(Comparator.BELOW, 4.0, text="4x"),), 12)


def gate(*criteria: Criterion, **more: object) -> PlannedGate:
    return PlannedGate("primitives", "benchmarks", {}, criteria, limit=60, budget=45, **more)  # type: ignore[arg-type]


def slower(name: str, low: float, high: float, n: int = 12) -> Measurement:
    return Measurement("slowdown", (low + high) / 2, Unit.RATIO, n, Interval(low, high, 0.99, "Yuen"), selector=name)


def result(*measurements: Measurement, **more: object) -> GateResult:
    return GateResult("primitives", Execution.COMPLETED, "", 1.0, measurements, **more)  # type: ignore[arg-type]


RIGHT = Measurement("ratio", 2.0, Unit.FACTOR, 40, Interval(1.9, 2.1, 0.95, "bootstrap"), selector="a")


def test_an_excused_criterion_does_not_apply_and_the_others_count() -> None:
    """The first commit has no base; its absolute limits hold all the same."""
    excused = gate(SLOWDOWN, RATIO, excused={"slowdown/*": "the first commit"})
    report = judge_gate(excused, result(RIGHT))
    assert [each.outcome for each in report.criteria] == [Outcome.NOT_APPLICABLE, Outcome.PASS]
    assert (report.outcome, report.reason) == (Outcome.PASS, "1 criterion holds")
    wrong = replace(RIGHT, value=9.0, interval=Interval(8.0, 10.0, 0.95, "bootstrap"))
    assert judge_gate(excused, result(wrong)).outcome is Outcome.FAIL


def test_a_gate_whose_criteria_are_all_excused_is_no_pass() -> None:
    """Nothing was measured, so nothing passed."""
    report = judge_gate(gate(SLOWDOWN, excused={"slowdown/*": "the first commit"}), result())
    assert (report.outcome, report.reason) == (Outcome.NOT_APPLICABLE, "the first commit")


def test_a_criterion_that_nobody_excused_stays_inconclusive_without_data() -> None:
    """With the reason that the gate gave for the metric."""
    report = judge_gate(gate(SLOWDOWN), result(absent={"slowdown": "the clone is shallow; git fetch --unshallow"}))
    assert report.criteria[0].outcome is Outcome.INCONCLUSIVE
    assert report.criteria[0].reason == "slowdown/* was not measured: the clone is shallow; git fetch --unshallow"


def test_an_accepted_regression_raises_the_limits_of_its_benchmark_alone() -> None:
    """8 % accepted: 9 % slower passes below 13 %; another benchmark with the same number fails, and so does 11 % more."""
    allowing = replace(SLOWDOWN, allowances=(Allowance("a", 0.08, "traced now"),))
    report = judge_gate(gate(allowing), result(slower("a", 0.08, 0.097)))
    assert report.outcome is Outcome.PASS
    assert "below 5 % and the accepted 8 %" in report.criteria[0].reason
    assert judge_gate(gate(allowing), result(slower("b", 0.08, 0.097))).outcome is Outcome.FAIL
    assert judge_gate(gate(allowing), result(slower("a", 0.105, 0.14))).outcome is Outcome.FAIL


def test_every_measurement_has_an_outcome_of_its_own() -> None:
    """One that fails among those that pass is told apart."""
    report = judge_gate(gate(SLOWDOWN), result(slower("a", -0.01, 0.01), slower("b", 0.03, 0.06), slower("c", 0.01, 0.06)))
    assert report.criteria[0].outcomes == (Outcome.PASS, Outcome.FAIL, Outcome.INCONCLUSIVE)
    assert report.criteria[0].reason.startswith("slowdown/b is")


def own(selector: str, limit: float, **more: object) -> Criterion:
    """A criterion of one benchmark."""
    return replace(
        SLOWDOWN, id=f"slowdown/{selector}", comparisons=(Comparison(Comparator.BELOW, limit, limit - 0.03),), **more
    )


def test_a_criterion_of_its_own_takes_the_place_of_the_one_for_all() -> None:
    """A wider limit for one benchmark widens it; the others are held to the common one as before."""
    measured = result(slower("a", 0.03, 0.06), slower("b", -0.01, 0.01))
    assert judge_gate(gate(SLOWDOWN), measured).outcome is Outcome.FAIL
    wider = judge_gate(gate(SLOWDOWN, own("a", 0.10)), measured)
    assert [each.outcome for each in wider.criteria] == [Outcome.PASS, Outcome.PASS]
    assert [each.selector for each in wider.criteria[0].measurements] == ["b"]
    failing = judge_gate(gate(SLOWDOWN, own("b", 0.10)), measured)
    assert [each.outcome for each in failing.criteria] == [Outcome.FAIL, Outcome.PASS]


def test_a_milder_criterion_of_its_own_takes_no_place() -> None:
    """One that only advises is shown beside the one that blocks; it does not disarm it."""
    milder = own("a", 0.10, severity=Severity.ADVISORY)
    assert judge_gate(gate(SLOWDOWN, milder), result(slower("a", 0.03, 0.06))).outcome is Outcome.FAIL


def test_a_benchmark_with_its_own_criterion_is_still_missed_when_it_is_not_measured() -> None:
    """By its own criterion; that for all has nothing left to say."""
    report = judge_gate(gate(SLOWDOWN, own("a", 0.10)), result(slower("b", -0.01, 0.01), expected={"slowdown": ("a", "b")}))
    assert [each.outcome for each in report.criteria] == [Outcome.PASS, Outcome.INCONCLUSIVE]
    alone = judge_gate(gate(SLOWDOWN, own("a", 0.10)), result(slower("a", -0.01, 0.01), expected={"slowdown": ("a",)}))
    assert [each.outcome for each in alone.criteria] == [Outcome.NOT_APPLICABLE, Outcome.PASS]
    nothing = judge_gate(gate(SLOWDOWN, own("a", 0.10)), result(expected={"slowdown": ("a",)}))
    assert nothing.outcome is Outcome.INCONCLUSIVE
