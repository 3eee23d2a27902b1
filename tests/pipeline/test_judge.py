"""The aggregation table of gates.pipeline.judge, by example and by property."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gates.model import (
    Claim,
    Commit,
    Comparator,
    Comparison,
    Criterion,
    Disposition,
    Execution,
    Finding,
    GateResult,
    Interval,
    Level,
    Measurement,
    Outcome,
    Plan,
    PlannedGate,
    Report,
    Rule,
    Severity,
    Unit,
    Verdict,
)
from gates.pipeline.judge import compare, judge, judge_gate, worst

BELOW = Comparison(Comparator.BELOW, 0.25, text="250 ms")
P99 = Criterion("latency.p99@steady", Unit.SECONDS, Rule.PERCENTILE, (BELOW,), 1000)
LOST = Criterion("acknowledged.lost", Unit.COUNT, Rule.CENSUS, (Comparison(Comparator.AT_MOST, 0, text="0"),), 200)
VALID = Criterion("valid.unsent", Unit.RATIO, Rule.RATIO, (Comparison(Comparator.AT_MOST, 0.001),), 1, built_in=True)


def gate(*criteria: Criterion, name: str = "sustained", **more: object) -> PlannedGate:
    return PlannedGate(name, "load", {}, criteria or (P99,), limit=60, budget=20, **more)  # type: ignore[arg-type]


def plan(*gates: PlannedGate, **more: object) -> Plan:
    return Plan("r", "2026-01-01T00:00:00Z", "0", "/", "s", "d", "quick", 1, Commit(), {}, gates, **more)  # type: ignore[arg-type]


def result(*measurements: Measurement, name: str = "sustained", **more: object) -> GateResult:
    fields = {"execution": Execution.COMPLETED, **more}
    return GateResult(name, started="2026-01-01T00:00:10Z", seconds=5.0, measurements=measurements, **fields)  # type: ignore[arg-type]


def p99(value: float, low: float, high: float, n: int = 1300) -> Measurement:
    return Measurement("latency.p99", value, Unit.SECONDS, n, Interval(low, high, 0.95, "order"), "steady")


def lost(value: int, n: int = 500) -> Measurement:
    return Measurement("acknowledged.lost", value, Unit.COUNT, n)


@pytest.mark.parametrize(
    ("comparator", "limit", "low", "high", "expected"),
    [
        (Comparator.BELOW, 5, 3, 4.9, Outcome.PASS),
        (Comparator.BELOW, 5, 3, 5, Outcome.INCONCLUSIVE),
        (Comparator.BELOW, 5, 5, 6, Outcome.FAIL),
        (Comparator.AT_MOST, 5, 5, 5, Outcome.PASS),
        (Comparator.AT_MOST, 5, 4, 6, Outcome.INCONCLUSIVE),
        (Comparator.AT_MOST, 5, 5.1, 6, Outcome.FAIL),
        (Comparator.ABOVE, 5, 5.1, 6, Outcome.PASS),
        (Comparator.ABOVE, 5, 5, 6, Outcome.INCONCLUSIVE),
        (Comparator.ABOVE, 5, 4, 5, Outcome.FAIL),
        (Comparator.AT_LEAST, 5, 5, 6, Outcome.PASS),
        (Comparator.AT_LEAST, 5, 4, 6, Outcome.INCONCLUSIVE),
        (Comparator.AT_LEAST, 5, 4, 4.9, Outcome.FAIL),
        (Comparator.EQUALS, 5, 5, 5, Outcome.PASS),
        (Comparator.EQUALS, 5, 4, 6, Outcome.INCONCLUSIVE),
        (Comparator.EQUALS, 5, 6, 7, Outcome.FAIL),
    ],
)
def test_an_interval_is_judged_by_the_side_it_lies_on(
    comparator: Comparator, limit: float, low: float, high: float, expected: Outcome
) -> None:
    """Wholly right passes, wholly wrong fails, across the limit is inconclusive."""
    assert compare(Comparison(comparator, limit), low, high) is expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.021, 0.04, Outcome.FAIL), (0.01, 0.049, Outcome.PASS), (0.01, 0.06, Outcome.INCONCLUSIVE), (0.02, 0.04, Outcome.PASS)],
)
def test_two_margins_fail_beyond_the_inner_one_and_pass_within_the_outer_one(
    low: float, high: float, expected: Outcome
) -> None:
    """{below: 5 %, fail_above: 2 %}: fail when the lower end is above 2 %, otherwise pass when the upper end is below 5 %."""
    assert compare(Comparison(Comparator.BELOW, 0.05, fail_beyond=0.02), low, high) is expected


def test_no_measurement_is_inconclusive() -> None:
    """No data is never a pass."""
    report = judge_gate(gate(), result())
    assert report.outcome is Outcome.INCONCLUSIVE
    assert "was not measured" in report.reason


def test_a_proven_breach_fails_even_with_few_samples() -> None:
    """The minimum keeps a criterion from passing, never from failing."""
    assert judge_gate(gate(), result(p99(0.4, 0.3, 0.5, n=20))).outcome is Outcome.FAIL
    assert judge_gate(gate(), result(p99(0.1, 0.05, 0.2, n=20))).outcome is Outcome.INCONCLUSIVE
    assert judge_gate(gate(LOST), result(lost(1, n=2))).outcome is Outcome.FAIL


def test_a_percentile_without_its_interval_is_inconclusive() -> None:
    """Every number carries its prescribed interval."""
    bare = Measurement("latency.p99", 0.01, Unit.SECONDS, 5000, None, "steady")
    assert judge_gate(gate(), result(bare)).outcome is Outcome.INCONCLUSIVE


def test_a_measurement_in_another_unit_is_inconclusive() -> None:
    """A count is no latency."""
    wrong = replace(p99(0.01, 0.01, 0.01), unit=Unit.COUNT)
    assert judge_gate(gate(), result(wrong)).outcome is Outcome.INCONCLUSIVE


def test_a_built_in_criterion_is_at_worst_inconclusive() -> None:
    """`valid.*` says that the measurement can't be used, never that the target is bad."""
    bad = Measurement("valid.unsent", 0.5, Unit.RATIO, 100, Interval(0.4, 0.6, 0.95, "clopper-pearson"))
    report = judge_gate(gate(P99, VALID), result(p99(0.1, 0.1, 0.1), bad))
    assert report.outcome is Outcome.INCONCLUSIVE
    assert report.criteria[1].outcomes == (Outcome.INCONCLUSIVE,), "its row in the report says otherwise"


def test_a_gate_that_did_not_complete_keeps_its_proven_breach_and_loses_its_passes() -> None:
    """What was proven stands; what would pass is inconclusive."""
    early = {"execution": Execution.TIMED_OUT, "reason": "60 s are over"}
    assert judge_gate(gate(), result(p99(0.4, 0.3, 0.5), **early)).outcome is Outcome.FAIL
    lost = judge_gate(gate(), result(p99(0.1, 0.1, 0.1), **early))
    assert lost.outcome is Outcome.INCONCLUSIVE
    assert lost.criteria[0].outcomes == (Outcome.INCONCLUSIVE,), "its row in the report says otherwise"


def test_an_error_finding_keeps_a_gate_from_passing() -> None:
    """A target that died in the middle is no pass, whatever was measured before."""
    died = Finding(Level.ERROR, "node-b died")
    assert judge_gate(gate(), result(p99(0.1, 0.1, 0.1), findings=(died,))).outcome is Outcome.INCONCLUSIVE


def test_a_missing_label_of_a_wildcard_is_inconclusive() -> None:
    """`ratio/*` needs every benchmark that the gate said it would measure."""
    every = Criterion("ratio/*", Unit.FACTOR, Rule.FACTOR, (Comparison(Comparator.BELOW, 10),), 12)
    one = Measurement("ratio", 3, Unit.FACTOR, 50, Interval(2, 4, 0.95, "order"), selector="retry")
    assert judge_gate(gate(every), result(one, expected={"ratio": ("retry",)})).outcome is Outcome.PASS
    two = judge_gate(gate(every), result(one, expected={"ratio": ("retry", "breaker")}))
    assert two.outcome is Outcome.INCONCLUSIVE
    assert "breaker" in two.reason


def test_the_same_measurement_twice_is_inconclusive() -> None:
    """A result that contradicts itself proves nothing."""
    assert judge_gate(gate(), result(p99(0.1, 0.1, 0.1), p99(0.1, 0.1, 0.1))).outcome is Outcome.INCONCLUSIVE


def test_a_gate_without_a_result_says_why() -> None:
    """The reason reaches the report."""
    report = judge(plan(gate()), {"sustained": "result.json is not there"})
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "result.json is not there" in report.headline


def test_missing_controls_are_named() -> None:
    """A gate that can't be measured here is inconclusive by name, without running."""
    report = judge(plan(gate(missing=("the target has no control kill",))), {})
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "no control kill" in report.headline


def test_an_advisory_miss_does_not_block() -> None:
    """Advisory criteria are shown, not counted."""
    advice = replace(P99, id="latency.p90@steady", severity=Severity.ADVISORY)
    slow = replace(p99(9, 8, 10), metric="latency.p90")
    report = judge(plan(gate(P99, advice)), {"sustained": result(p99(0.1, 0.1, 0.1), slow)})
    assert report.verdict is Verdict.READY
    assert report.gates[0].criteria[1].outcome is Outcome.FAIL
    assert report.gates[0].criteria[1].disposition is Disposition.ADVISORY


def test_an_error_among_the_runs_findings_keeps_it_from_ready() -> None:
    """A broken ledger or an edited plan is never READY."""
    good = {"sustained": result(p99(0.1, 0.1, 0.1))}
    assert judge(plan(gate()), good).verdict is Verdict.READY
    assert judge(plan(gate()), good, findings=(Finding(Level.ERROR, "the plan was edited"),)).verdict is Verdict.INCONCLUSIVE


def test_a_plan_where_nothing_counts_is_inconclusive() -> None:
    """Only measured fact passes."""
    assert judge(plan(), {}).verdict is Verdict.INCONCLUSIVE
    assert judge(plan(gate(not_applicable="macOS only")), {}).verdict is Verdict.INCONCLUSIVE


def test_a_claim_is_as_good_as_the_worst_of_its_criteria_and_its_gate() -> None:
    """A pass inside an inconclusive gate proves no claim."""
    claim = Claim("nothing is lost", ("sustained:acknowledged.lost",))
    planned = plan(gate(P99, LOST), claims=(claim,))
    assert judge(planned, {"sustained": result(p99(0.1, 0.1, 0.1), lost(0))}).claims[0].outcome is Outcome.PASS
    assert judge(planned, {"sustained": result(lost(0))}).claims[0].outcome is Outcome.INCONCLUSIVE
    assert judge(planned, {"sustained": result(lost(2))}).claims[0].outcome is Outcome.FAIL
    assert judge(plan(gate(), claims=(claim,)), {}).claims[0].outcome is Outcome.NOT_APPLICABLE


def test_the_seconds_run_from_the_plan_to_the_end_of_the_last_gate() -> None:
    """The clock of the report is that of the evidence, not of the reader."""
    assert judge(plan(gate()), {"sustained": result(p99(0.1, 0.1, 0.1))}).seconds == 15.0


# --- properties -------------------------------------------------------------------------------------------------------

intervals = st.tuples(st.floats(0, 1), st.floats(0, 1), st.integers(0, 3000)).map(
    lambda drawn: p99(sum(sorted(drawn[:2])) / 2, *sorted(drawn[:2]), n=drawn[2])
)
executions = st.sampled_from(list(Execution))
results = st.one_of(
    st.just("there is no result"),
    st.builds(
        lambda measured, count, execution, error: result(
            *measured, *count, execution=execution, findings=(Finding(Level.ERROR, "x"),) if error else ()
        ),
        st.lists(intervals, max_size=1),
        st.lists(st.builds(lost, st.integers(0, 2), st.integers(0, 400)), max_size=1),
        executions,
        st.booleans(),
    ),
)
names = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5, unique=True)
ORDER = {Verdict.NOT_READY: 0, Verdict.INCONCLUSIVE: 1, Verdict.READY: 2}


def drawn_run(data: st.DataObject) -> tuple[Plan, dict[str, GateResult | str]]:
    chosen = data.draw(names)
    criteria = st.sampled_from([(P99,), (LOST,), (P99, LOST), (P99, VALID)])
    planned = plan(*(gate(*data.draw(criteria), name=name) for name in chosen))
    return planned, {name: data.draw(results) for name in chosen}


def verdict_of(planned: Plan, measured: dict[str, GateResult | str]) -> Verdict:
    return judge(planned, measured).verdict


@given(st.data())
def test_adding_a_failure_never_improves_the_verdict(data: st.DataObject) -> None:
    """A proven breach more makes the run NOT READY, whatever else there is."""
    planned, measured = drawn_run(data)
    worse = replace(planned, gates=(*planned.gates, gate(LOST, name="extra")))
    assert verdict_of(worse, {**measured, "extra": result(lost(1))}) is Verdict.NOT_READY


@given(st.data())
def test_removing_evidence_never_turns_anything_green(data: st.DataObject) -> None:
    """Without a result, or without one of its measurements, READY can't come out unless it came out before."""
    planned, measured = drawn_run(data)
    before = verdict_of(planned, measured)
    name = data.draw(st.sampled_from(sorted(measured)))
    assert verdict_of(planned, {key: value for key, value in measured.items() if key != name}) is not Verdict.READY
    found = measured[name]
    if isinstance(found, GateResult) and found.measurements:
        kept = replace(found, measurements=found.measurements[1:])
        assert verdict_of(planned, {**measured, name: kept}) is not Verdict.READY or before is Verdict.READY


@given(st.data())
def test_stopping_a_gate_never_improves_the_verdict_nor_a_criterion(data: st.DataObject) -> None:
    """What a gate that ended itself had proven stands, what would pass does not, and nothing else comes of it."""
    planned, measured = drawn_run(data)
    name = data.draw(st.sampled_from(sorted(measured)))
    found = measured[name]
    if not isinstance(found, GateResult):
        return
    stopped = {**measured, name: replace(found, execution=Execution.STOPPED, reason="stopped after 5.2 s of 1 min")}
    before, after = judge(planned, measured), judge(planned, stopped)
    assert ORDER[after.verdict] <= ORDER[before.verdict]
    assert after.verdict is not Verdict.READY
    rank = [Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS].index
    for one, other in zip(before.gates, after.gates, strict=True):
        for was, now in zip(one.criteria, other.criteria, strict=True):
            assert rank(now.outcome) <= rank(was.outcome)
            assert (now.outcome is Outcome.FAIL) == (was.outcome is Outcome.FAIL)


def test_a_gate_that_ended_itself_says_why_its_other_criteria_prove_nothing() -> None:
    """It fails by what was proven; the rest is inconclusive, with the moment and the reason."""
    found = result(p99(0.5, 0.4, 0.6), lost(0), execution=Execution.STOPPED, reason="stopped after 5.2 s of 1 min")
    report = judge_gate(gate(P99, LOST), found)
    assert report.outcome is Outcome.FAIL
    assert [each.outcome for each in report.criteria] == [Outcome.FAIL, Outcome.INCONCLUSIVE]
    assert "stopped after 5.2 s of 1 min" in report.criteria[1].reason


@given(st.data())
def test_the_order_of_gates_and_measurements_never_matters(data: st.DataObject) -> None:
    """The verdict is a function of a set."""
    planned, measured = drawn_run(data)
    shuffled = replace(planned, gates=tuple(data.draw(st.permutations(planned.gates))))
    turned = {
        key: replace(value, measurements=value.measurements[::-1]) if isinstance(value, GateResult) else value
        for key, value in measured.items()
    }
    assert verdict_of(shuffled, turned) is verdict_of(planned, measured)


@given(st.data())
def test_ready_means_that_every_counted_criterion_was_measured_and_passed(data: st.DataObject) -> None:
    """Our green is evidence."""
    planned, measured = drawn_run(data)
    report: Report = judge(planned, measured)
    if report.verdict is Verdict.READY:
        counted = [c for each in report.gates for c in each.criteria if c.disposition is Disposition.COUNTED]
        assert counted
        assert all(c.outcome is Outcome.PASS and c.measurements for c in counted)


@given(st.lists(st.sampled_from(list(Outcome))), st.sampled_from(list(Outcome)))
def test_the_worst_of_more_outcomes_is_never_better(outcomes: list[Outcome], more: Outcome) -> None:
    """`worst` is monotone."""
    rank = [Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS, Outcome.NOT_APPLICABLE].index
    assert rank(worst([*outcomes, more])) <= rank(worst(outcomes))


def test_one_gate_with_one_criterion_is_one() -> None:
    """`All 1 gates pass: 1 criteria hold` is no sentence."""
    only = judge(plan(gate(LOST)), {"sustained": result(lost(0))})
    assert only.headline == "The gate passes: 1 criterion holds."


def test_only_counts_are_of_a_number() -> None:
    """1 of 500 jobs was lost; a lateness of 2 ms is not of 500 anything."""
    most = Comparison(Comparator.AT_MOST, 0.001, text="1 ms")
    late = Criterion("valid.lateness", Unit.SECONDS, Rule.SINGLE, (most,), 1, built_in=True)
    found = result(Measurement("valid.lateness", 0.002, Unit.SECONDS, 500), lost(1))
    reasons = [criterion.reason for criterion in judge_gate(gate(late, LOST), found).criteria]
    assert reasons == [
        "valid.lateness is 2 ms (n 500); it must be at most 1 ms",
        "acknowledged.lost is 1 of 500; it must be at most 0",
    ]


@pytest.mark.parametrize(
    ("interval", "why"),
    [
        (Interval(0.01, 0.02, 0.95, "order"), "lies outside of its interval"),
        (Interval(0.01, 0.1, 0.5, "order"), "holds at 50 % only"),
        (Interval(0.1, 0.01, 0.95, "order"), "upside down"),
    ],
)
def test_an_interval_that_does_not_hold_its_value_or_its_level_proves_nothing(interval: Interval, why: str) -> None:
    """Each number has its prescribed interval at 95 %; one that can't be that of its value is no data."""
    measured = Measurement("latency.p99", 0.05, Unit.SECONDS, 1300, interval, "steady")
    judged = judge_gate(gate(P99), result(measured))
    assert judged.outcome is Outcome.INCONCLUSIVE
    assert why in judged.reason
