"""The only place that compares: a plan and what the gates measured become a report. Pure.

How outcomes add up (published in docs/verdicts.md):

==========================================  ================================================================
criterion                                   outcome
==========================================  ================================================================
no measurement, or one without what its     inconclusive
rule prescribes (interval, unit)
excused by the plan                         not applicable
whole interval on the wrong side            fail, whatever n; inconclusive for a built-in `valid.*`
fewer samples than the minimum              inconclusive
whole interval on the right side            pass; inconclusive when the gate did not complete
limit inside the interval                   inconclusive
several measurements or comparisons         the worst: fail, then inconclusive, then pass
`/*`, each with a criterion of its own      not applicable
==========================================  ================================================================

==========================================  ================================================================
gate                                        outcome
==========================================  ================================================================
a counted criterion fails                   fail
no valid result, not completed, an error    inconclusive
among its findings, a precondition missing,
or a counted criterion inconclusive
excused by the plan                         not applicable
else                                        pass
==========================================  ================================================================

==========================================  ================================================================
run                                         verdict
==========================================  ================================================================
a gate fails                                NOT READY
a gate is inconclusive, the run has an      INCONCLUSIVE
error finding, or nothing counted passed
else                                        READY
==========================================  ================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from gates.model import (
    Claim,
    ClaimReport,
    Comparator,
    Comparison,
    Criterion,
    CriterionReport,
    Disposition,
    Execution,
    Finding,
    GateReport,
    GateResult,
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
    criterion_id,
    split_criterion_id,
)
from gates.quantity import show

SEVERITIES = (Severity.BLOCKING, Severity.ADVISORY, Severity.INFORMATIONAL)
WORST = (Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS, Outcome.NOT_APPLICABLE)
NEEDS_INTERVAL = frozenset({Rule.PERCENTILE, Rule.RATIO, Rule.SLOWDOWN, Rule.FACTOR})
LEVEL = 0.95
WORDS = {
    Comparator.BELOW: "below",
    Comparator.AT_MOST: "at most",
    Comparator.ABOVE: "above",
    Comparator.AT_LEAST: "at least",
    Comparator.EQUALS: "equal to",
}


def judge(
    plan: Plan,
    results: Mapping[str, GateResult | str],
    attempts: Mapping[str, tuple[GateResult, ...]] | None = None,
    findings: tuple[Finding, ...] = (),
) -> Report:
    """The report of *plan*. *results* maps gates to their result, or to the reason why there is no valid one."""
    earlier = attempts or {}
    gates = tuple(
        judge_gate(gate, results.get(gate.name, "there is no result"), earlier.get(gate.name, ())) for gate in plan.gates
    )
    all_findings = (*plan.findings, *plan.history.findings, *findings)
    verdict = _verdict(gates, all_findings)
    return Report(
        plan=plan,
        verdict=verdict,
        headline=_headline(verdict, gates, all_findings),
        gates=gates,
        claims=tuple(_claim(claim, gates) for claim in plan.claims),
        findings=all_findings,
        seconds=_seconds(plan, gates),
    )


def judge_gate(gate: PlannedGate, result: GateResult | str, earlier: tuple[GateResult, ...] = ()) -> GateReport:
    """The report of one gate from its *result*, or from the reason why there is none."""
    if gate.not_applicable:
        excused = tuple(_unjudged(criterion, Outcome.NOT_APPLICABLE, gate.not_applicable) for criterion in gate.criteria)
        return GateReport(gate, Execution.NOT_RUN, Outcome.NOT_APPLICABLE, gate.not_applicable, excused)
    if isinstance(result, str):
        reason = _missing(gate) or result
        unknown = tuple(_unjudged(criterion, Outcome.INCONCLUSIVE, reason) for criterion in gate.criteria)
        execution = Execution.NOT_RUN if gate.missing else Execution.FAILED_TO_RUN
        return GateReport(gate, execution, Outcome.INCONCLUSIVE, reason, unknown, None, earlier)
    criteria = tuple(
        _unjudged(criterion, Outcome.NOT_APPLICABLE, gate.excused[criterion.id])
        if criterion.id in gate.excused
        else _criterion(criterion, result, _own(criterion, gate.criteria))
        for criterion in gate.criteria
    )
    outcome, reason = _gate_outcome(gate, result, criteria)
    return GateReport(gate, result.execution, outcome, reason, criteria, result, earlier)


def compare(comparison: Comparison, low: float, high: float) -> Outcome:
    """Where the interval from *low* to *high* lies: on the right side (pass), the wrong side (fail), or across the limit."""
    limit = comparison.limit
    match comparison.comparator:
        case Comparator.BELOW:
            right, wrong = high < limit, low >= limit
        case Comparator.AT_MOST:
            right, wrong = high <= limit, low > limit
        case Comparator.ABOVE:
            right, wrong = low > limit, high <= limit
        case Comparator.AT_LEAST:
            right, wrong = low >= limit, high < limit
        case Comparator.EQUALS:
            right, wrong = low == high == limit, not low <= limit <= high
    if comparison.fail_beyond is not None:
        upward = comparison.comparator in (Comparator.BELOW, Comparator.AT_MOST)
        wrong = wrong or (low > comparison.fail_beyond if upward else high < comparison.fail_beyond)
    if wrong:
        return Outcome.FAIL
    return Outcome.PASS if right else Outcome.INCONCLUSIVE


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The worst of *outcomes*; not applicable when there are none."""
    held = set(outcomes)
    return next((outcome for outcome in WORST if outcome in held), Outcome.NOT_APPLICABLE)


# --- criteria ---------------------------------------------------------------------------------------------------------


def _own(criterion: Criterion, criteria: Sequence[Criterion]) -> frozenset[str]:
    """The selectors that have a criterion of their own, at least as severe, in the place of *criterion*, one for `/*`."""
    if criterion.selector != "*":
        return frozenset()
    near = (each for each in criteria if (each.metric, each.phase) == (criterion.metric, criterion.phase))
    severe = SEVERITIES[: SEVERITIES.index(criterion.severity) + 1]
    return frozenset(each.selector for each in near if each.severity in severe and each.selector not in ("", "*"))


def _criterion(criterion: Criterion, result: GateResult, own: frozenset[str]) -> CriterionReport:
    found = tuple(m for m in _measurements(criterion, result) if m.selector not in own)
    if own and not found and not result.absent.get(criterion.metric) and own >= set(result.expected.get(criterion.metric, ())):
        return _unjudged(criterion, Outcome.NOT_APPLICABLE, f"each has a criterion of its own: {', '.join(sorted(own))}")
    absent = _absent(criterion, result, found, own)
    judged = [(_measured(criterion, measurement), measurement) for measurement in found]
    outcome = worst([*(outcome for (outcome, _), _ in judged), *([Outcome.INCONCLUSIVE] if absent else [])])
    decisive = next((reason for (each, reason), _ in judged if each is outcome), absent)
    if outcome is Outcome.PASS and result.execution is not Execution.COMPLETED:
        outcome, decisive = (
            Outcome.INCONCLUSIVE,
            f"{decisive}, but the gate did not complete: {result.reason or result.execution}",
        )
    if outcome is Outcome.FAIL and criterion.built_in:
        outcome = Outcome.INCONCLUSIVE
    each = tuple(_standing(single, criterion, result) for (single, _), _ in judged)
    return CriterionReport(criterion, outcome, _disposition(criterion), decisive, found, each)


def _standing(outcome: Outcome, criterion: Criterion, result: GateResult) -> Outcome:
    """What *outcome* of one measurement is worth: no pass when the gate did not complete, no failure when built in."""
    stopped = outcome is Outcome.PASS and result.execution is not Execution.COMPLETED
    built_in = outcome is Outcome.FAIL and criterion.built_in
    return Outcome.INCONCLUSIVE if stopped or built_in else outcome


def _measurements(criterion: Criterion, result: GateResult) -> tuple[Measurement, ...]:
    if criterion.selector != "*":
        return tuple(m for m in result.measurements if m.key == criterion.id)
    return tuple(
        m
        for m in result.measurements
        if (m.metric, m.phase) == (criterion.metric, criterion.phase) and m.selector not in ("", "*")
    )


def _absent(criterion: Criterion, result: GateResult, found: Sequence[Measurement], own: frozenset[str]) -> str:
    """What should have been measured for *criterion* and was not, as a sentence; empty when nothing is missing."""
    reason = result.absent.get(criterion.metric) or result.reason
    why = f": {reason}" if reason else ""
    if not found:
        return f"{criterion.id} was not measured{why}"
    if len({measurement.key for measurement in found}) < len(found):
        return f"{criterion.id} was measured twice in one result"
    if criterion.selector != "*":
        return ""
    present = own | {measurement.selector for measurement in found}
    missing = [name for name in result.expected.get(criterion.metric, ()) if name not in present]
    return (
        f"{criterion_id(criterion.metric, criterion.phase)} was not measured for {', '.join(missing)}{why}" if missing else ""
    )


def _measured(criterion: Criterion, measurement: Measurement) -> tuple[Outcome, str]:
    text = _value(measurement)
    problem = _malformed(criterion, measurement)
    if problem:
        return Outcome.INCONCLUSIVE, f"{text}, {problem}"
    low, high = (measurement.interval.low, measurement.interval.high) if measurement.interval else (measurement.value,) * 2
    comparisons = [_raised(comparison, criterion, measurement.selector) for comparison in criterion.comparisons]
    outcomes = [(compare(comparison, low, high), comparison) for comparison in comparisons]
    outcome = worst(each for each, _ in outcomes)
    limits = " and ".join(_limit(comparison, criterion) for each, comparison in outcomes if each is outcome)
    if outcome is not Outcome.FAIL and measurement.n < criterion.minimum:
        return Outcome.INCONCLUSIVE, f"{text}; at least {criterion.minimum:,} samples are needed to pass {limits}"
    match outcome:
        case Outcome.FAIL:
            return outcome, f"{text}; it must be {limits}"
        case Outcome.PASS:
            return outcome, f"{text}, {limits}"
        case _:
            return outcome, f"{text}; the limit ({limits}) lies inside the interval"


def _raised(comparison: Comparison, criterion: Criterion, selector: str) -> Comparison:
    """*comparison* with what was accepted for *selector* added to its limits; a lower limit has nothing to be raised by."""
    by = sum(allowance.by for allowance in criterion.allowances if allowance.selector == selector)
    if not by or comparison.comparator not in (Comparator.BELOW, Comparator.AT_MOST):
        return comparison
    beyond = None if comparison.fail_beyond is None else comparison.fail_beyond + by
    accepted = f"{comparison.text or show(comparison.limit, criterion.unit)} and the accepted {show(by, criterion.unit)}"
    return replace(comparison, limit=comparison.limit + by, fail_beyond=beyond, text=accepted)


def _malformed(criterion: Criterion, measurement: Measurement) -> str:
    if measurement.unit is not criterion.unit:
        return f"measured in {measurement.unit} where {criterion.unit} is declared"
    if measurement.n < 1:
        return "measured over no samples"
    interval = measurement.interval
    if interval is None:
        return "which carries no interval" if criterion.rule in NEEDS_INTERVAL else ""
    if interval.low > interval.high:
        return "whose interval is upside down"
    slack = 1e-9 * max(abs(interval.low), abs(interval.high), abs(measurement.value))
    if not interval.low - slack <= measurement.value <= interval.high + slack:
        return "which lies outside of its interval"
    return "" if interval.level >= LEVEL else f"whose interval holds at {interval.level * 100:g} % only"


def _value(measurement: Measurement) -> str:
    text = f"{measurement.key} is {show(measurement.value, measurement.unit)}"
    interval = measurement.interval
    if interval is None:
        if measurement.n <= 1:
            return text
        return f"{text} of {measurement.n:,}" if measurement.unit is Unit.COUNT else f"{text} (n {measurement.n:,})"
    low, high = show(interval.low, measurement.unit), show(interval.high, measurement.unit)
    return f"{text} ({interval.level * 100:g} % interval {low} to {high}, n {measurement.n:,})"


def _limit(comparison: Comparison, criterion: Criterion) -> str:
    return f"{WORDS[comparison.comparator]} {comparison.text or show(comparison.limit, criterion.unit)}"


def _disposition(criterion: Criterion) -> Disposition:
    return Disposition.COUNTED if criterion.severity is Severity.BLOCKING else Disposition.ADVISORY


def _unjudged(criterion: Criterion, outcome: Outcome, reason: str) -> CriterionReport:
    return CriterionReport(criterion, outcome, _disposition(criterion), reason)


# --- gates ------------------------------------------------------------------------------------------------------------


def _gate_outcome(gate: PlannedGate, result: GateResult, criteria: Sequence[CriterionReport]) -> tuple[Outcome, str]:
    counted = [report for report in criteria if report.disposition is Disposition.COUNTED]
    failing = next((report for report in counted if report.outcome is Outcome.FAIL), None)
    if failing:
        return Outcome.FAIL, failing.reason
    if result.execution is not Execution.COMPLETED:
        words = str(result.execution).replace("_", " ")
        return Outcome.INCONCLUSIVE, _missing(gate) or result.reason or f"the gate {words}"
    error = next((finding for finding in result.findings if finding.level is Level.ERROR), None)
    if error:
        return Outcome.INCONCLUSIVE, error.message
    open_ = next((report for report in counted if report.outcome is Outcome.INCONCLUSIVE), None)
    if open_:
        return Outcome.INCONCLUSIVE, open_.reason
    if not counted:
        return Outcome.NOT_APPLICABLE, "no criterion of this gate counts"
    holding = [report for report in counted if report.outcome is Outcome.PASS]
    if not holding:
        return Outcome.NOT_APPLICABLE, counted[0].reason
    return Outcome.PASS, "1 criterion holds" if len(holding) == 1 else f"{len(holding)} criteria hold"


def _missing(gate: PlannedGate) -> str:
    return f"not measurable here: {'; '.join(gate.missing)}" if gate.missing else ""


# --- the whole --------------------------------------------------------------------------------------------------------


def _verdict(gates: Sequence[GateReport], findings: Sequence[Finding]) -> Verdict:
    outcomes = [gate.outcome for gate in gates]
    if Outcome.FAIL in outcomes:
        return Verdict.NOT_READY
    if Outcome.INCONCLUSIVE in outcomes or Outcome.PASS not in outcomes or _error(findings):
        return Verdict.INCONCLUSIVE
    return Verdict.READY


def _error(findings: Sequence[Finding]) -> Finding | None:
    return next((finding for finding in findings if finding.level is Level.ERROR), None)


def _headline(verdict: Verdict, gates: Sequence[GateReport], findings: Sequence[Finding]) -> str:
    wanted = {Verdict.NOT_READY: Outcome.FAIL, Verdict.INCONCLUSIVE: Outcome.INCONCLUSIVE}.get(verdict)
    if wanted is None:
        counted = [
            c for gate in gates for c in gate.criteria if c.disposition is Disposition.COUNTED and c.outcome is Outcome.PASS
        ]
        passing = sum(gate.outcome is Outcome.PASS for gate in gates)
        held = "1 criterion holds" if len(counted) == 1 else f"{len(counted)} criteria hold"
        return f"{'The gate passes' if passing == 1 else f'All {passing} gates pass'}: {held}."
    deciding = next((gate for gate in gates if gate.outcome is wanted), None)
    if deciding:
        return f"{deciding.gate.name}: {deciding.reason}."
    error = _error(findings)
    return f"{error.message}." if error else "No counted criterion was measured."


def _claim(claim: Claim, gates: Sequence[GateReport]) -> ClaimReport:
    bound = [report for reference in claim.by for report in _bound(reference, gates)]
    outcome = worst(report.outcome for report in bound)
    if outcome is Outcome.NOT_APPLICABLE:
        return ClaimReport(claim, outcome, "its criteria are not part of this plan")
    return ClaimReport(claim, outcome, next(report.reason for report in bound if report.outcome is outcome))


def _bound(reference: str, gates: Sequence[GateReport]) -> list[CriterionReport]:
    """The criteria behind `gate:criterion`. A gate that did not pass as a whole proves nothing: its passes don't count."""
    name, _, wanted = reference.partition(":")
    for gate in gates:
        if gate.gate.name == name:
            return [_within(gate, report) for report in gate.criteria if _matches(wanted, report.criterion.id)]
    return []


def _matches(wanted: str, found: str) -> bool:
    metric, phase, selector = split_criterion_id(wanted)
    return wanted == found or (selector == "*" and split_criterion_id(found)[:2] == (metric, phase))


def _within(gate: GateReport, report: CriterionReport) -> CriterionReport:
    if report.outcome is Outcome.PASS and gate.outcome is Outcome.INCONCLUSIVE:
        return replace(
            report, outcome=Outcome.INCONCLUSIVE, reason=f"{report.reason}, but {gate.gate.name} is inconclusive: {gate.reason}"
        )
    return report


def _seconds(plan: Plan, gates: Sequence[GateReport]) -> float:
    ends = [_epoch(gate.result.started) + gate.result.seconds for gate in gates if gate.result]
    return max(0.0, max(ends, default=0.0) - _epoch(plan.created))


def _epoch(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
