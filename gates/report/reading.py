"""What a person reads out of a report: words and signs, the tightest criterion, the change since last time, the proof.

Every rendering takes its words from here, so that they all say the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from gates.model import (
    Comparator,
    Comparison,
    CriterionReport,
    Disposition,
    GateReport,
    Level,
    Measurement,
    Outcome,
    Report,
    Rule,
    Severity,
    Table,
    Unit,
    Verdict,
    proves,
)
from gates.quantity import show

VERDICTS = {Verdict.READY: "READY", Verdict.NOT_READY: "NOT READY", Verdict.INCONCLUSIVE: "INCONCLUSIVE"}
SIGNS = {Outcome.PASS: "✓", Outcome.FAIL: "✗", Outcome.INCONCLUSIVE: "?", Outcome.NOT_APPLICABLE: "–"}
WORDS = {
    Outcome.PASS: "pass",
    Outcome.FAIL: "fail",
    Outcome.INCONCLUSIVE: "inconclusive",
    Outcome.NOT_APPLICABLE: "not applicable",
}
SYMBOLS = {
    Comparator.BELOW: "<",
    Comparator.AT_MOST: "≤",
    Comparator.ABOVE: ">",
    Comparator.AT_LEAST: "≥",
    Comparator.EQUALS: "=",
}
UPPER = frozenset({Comparator.BELOW, Comparator.AT_MOST})
_RANK = {Outcome.FAIL: 0, Outcome.INCONCLUSIVE: 1, Outcome.PASS: 2, Outcome.NOT_APPLICABLE: 3}


@dataclass(frozen=True, slots=True)
class Reading:
    """A criterion with the one measurement and comparison of it that are nearest to the limit."""

    report: CriterionReport
    measurement: Measurement | None
    comparison: Comparison | None

    @property
    def usage(self) -> float:
        """How much of the limit is used: below 1 on the right side."""
        return usage(self.measurement, self.comparison) if self.measurement and self.comparison else 0.0


def usage(measurement: Measurement, comparison: Comparison) -> float:
    """The unfavourable end of *measurement* as a share of the limit, 1 at the limit, whichever side is the right one."""
    low, high = ends(measurement)
    end, limit = (high, comparison.limit) if comparison.comparator in UPPER else (comparison.limit, low)
    if comparison.comparator is Comparator.EQUALS:
        return 0.0 if low == comparison.limit == high else float("inf")
    if limit > 0:
        return end / limit
    return 0.0 if end <= limit else float("inf")


def ends(measurement: Measurement) -> tuple[float, float]:
    """The interval of *measurement*, or its value twice."""
    interval = measurement.interval
    return (interval.low, interval.high) if interval else (measurement.value, measurement.value)


def read(criterion: CriterionReport) -> Reading:
    """The measurement and comparison of *criterion* that are nearest to their limit."""
    pairs = [(m, c) for m in criterion.measurements for c in criterion.criterion.comparisons]
    if not pairs:
        return Reading(criterion, None, next(iter(criterion.criterion.comparisons), None))
    return Reading(criterion, *max(pairs, key=lambda pair: usage(*pair)))


def tightest(gate: GateReport) -> Reading | None:
    """The criterion that says most about *gate*: the worst counted one, among passing ones the nearest to its limit."""
    readings = [read(criterion) for criterion in gate.criteria]
    return min(readings, key=_weight, default=None)


def _weight(reading: Reading) -> tuple[bool, int, bool, bool, float]:
    report = reading.report
    return (not counts(report), _RANK[report.outcome], report.criterion.built_in, reading.measurement is None, -reading.usage)


def counts(report: CriterionReport) -> bool:
    """Whether the criterion enters the verdict."""
    return report.disposition is Disposition.COUNTED and report.criterion.severity is Severity.BLOCKING


def outcome_of(report: CriterionReport, index: int) -> Outcome:
    """What the judge said of one of several measurements; of the whole where it said no more."""
    return report.outcomes[index] if len(report.outcomes) == len(report.measurements) else report.outcome


def told_at(report: CriterionReport) -> int:
    """Which of several measurements the reason of *report* is about: the first that the judge said the same of."""
    alike = (index for index in range(len(report.measurements)) if outcome_of(report, index) is report.outcome)
    return next(alike, 0)


def worst_first(gates: Iterable[GateReport]) -> list[GateReport]:
    """*gates* by how much they need a person: failures, then inconclusive ones, else in the order of the plan."""
    return sorted(gates, key=lambda gate: _RANK[gate.outcome])


def worst_criteria_first(criteria: Iterable[CriterionReport]) -> list[CriterionReport]:
    """*criteria* with what fails before what passes, and the kind's own checks of validity last."""
    return sorted(criteria, key=lambda report: (_RANK[report.outcome], report.criterion.built_in))


def needs_attention(gate: GateReport) -> bool:
    """Whether a person should look into *gate*: it fails, is inconclusive, or found an error."""
    found = gate.result.findings if gate.result else ()
    return gate.outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE) or any(f.level is Level.ERROR for f in found)


def tally(report: Report) -> str:
    """How many gates ended how: `7 of 9 gates pass · 1 fails · 1 is inconclusive`."""
    count = {outcome: sum(gate.outcome is outcome for gate in report.gates) for outcome in Outcome}
    total = len(report.gates)
    parts = [f"{count[Outcome.PASS]} of {total} {'gate passes' if total == 1 else 'gates pass'}"]
    if failed := count[Outcome.FAIL]:
        parts.append(f"{failed} fail{'s' if failed == 1 else ''}")
    if unknown := count[Outcome.INCONCLUSIVE]:
        parts.append(f"{unknown} {'is' if unknown == 1 else 'are'} inconclusive")
    if excused := count[Outcome.NOT_APPLICABLE]:
        parts.append(f"{excused} not applicable")
    return " · ".join(parts)


# --- numbers ----------------------------------------------------------------------------------------------------------


def quantity(value: float, unit: Unit, rule: Rule | None = None) -> str:
    """*value* for people; a slowdown carries its sign."""
    text = show(abs(value), unit)
    sign = "−" if value < 0 else "+" if rule is Rule.SLOWDOWN and value > 0 else ""
    return sign + text


def value_of(measurement: Measurement, rule: Rule) -> str:
    """The value, for a census with how many were looked at: `0 of 2,981`."""
    value = quantity(measurement.value, measurement.unit, rule)
    if rule is Rule.CENSUS and measurement.unit is Unit.COUNT and measurement.n > max(measurement.value, 1):
        return f"{value} of {measurement.n:,}"
    return value


def interval_of(measurement: Measurement, rule: Rule | None = None) -> str:
    """The interval without its level: `38 ms to 44 ms`, or nothing."""
    if measurement.interval is None:
        return ""
    low, high = (quantity(end, measurement.unit, rule) for end in ends(measurement))
    return f"{low} to {high}"


def limit_of(comparison: Comparison, unit: Unit, rule: Rule | None = None) -> str:
    """The limit with its symbol: `< 250 ms`, with the second margin where there is one."""
    text = f"{SYMBOLS[comparison.comparator]} {quantity(comparison.limit, unit, rule)}"
    if comparison.fail_beyond is not None:
        text += f" (fails beyond {quantity(comparison.fail_beyond, unit, rule)})"
    return text


def limits_of(report: CriterionReport) -> str:
    """All limits of a criterion, as the report shows them."""
    criterion = report.criterion
    return " and ".join(limit_of(comparison, criterion.unit, criterion.rule) for comparison in criterion.comparisons)


def since_last(report: Report, gate: GateReport, reading: Reading) -> str:
    """The change of a reading since the last closed run: `±0`, `+2 %`, `was 0`; empty when there is none to compare with."""
    if reading.measurement is None:
        return ""
    previous = previous_value(report, gate, reading.report, reading.measurement)
    if previous is None:
        return ""
    if reading.report.criterion.rule is Rule.SLOWDOWN:  # a change already: of one that is about 0 no share can be said
        points = round((reading.measurement.value - previous) * 100, 1)
        return f"{'+' if points > 0 else '−'}{abs(points):g} points" if points else "±0"
    return _change(reading.measurement.value, previous, reading.measurement.unit)


def previous_value(report: Report, gate: GateReport, criterion: CriterionReport, measurement: Measurement) -> float | None:
    """What the last closed run had for *measurement*, or None."""
    before = report.plan.history.previous
    found = before.get(f"{gate.gate.name}:{measurement.key}")
    if found is None and len(criterion.measurements) == 1:
        found = before.get(f"{gate.gate.name}:{criterion.criterion.id}")
    return found


def _change(value: float, previous: float, unit: Unit) -> str:
    if value == previous:
        return "±0"
    if previous == 0 or unit is Unit.COUNT:
        difference = quantity(value - previous, unit)
        return difference if difference.startswith("−") else f"+{difference}"
    percent = round((value - previous) / abs(previous) * 100)
    return f"{'+' if percent > 0 else '−'}{abs(percent):,} %" if percent else "±0"


def took(gate: GateReport) -> str:
    """The gate's seconds, or nothing when it was not run."""
    return show(round(gate.result.seconds, 1), Unit.SECONDS) if gate.result else ""


def budget(gate: GateReport) -> str:
    """The seconds that the gate may take."""
    return show(gate.gate.budget, Unit.SECONDS) if gate.gate.budget else ""


# --- proof and history ------------------------------------------------------------------------------------------------


def proven(report: Report) -> Mapping[str, str]:
    """When a drill last turned each `gate:criterion` red: from the ledger, and from this run's own drills."""
    found = dict(report.plan.history.proven)
    for table in _drill_tables(report):
        for row in table.rows:
            cells = dict(zip(table.columns, row, strict=False))
            if proves(cells):
                key = f"{cells['gate']}:{cells['criterion']}"
                found[key] = max(found.get(key, ""), cells.get("when", "") or report.plan.created)
    return found


def _drill_tables(report: Report) -> Iterable[Table]:
    for gate in report.gates:
        if gate.gate.kind == "drills" and gate.result:
            yield from (shown for shown in gate.result.exhibits if isinstance(shown, Table) and shown.title == "drills")


def proven_gates(report: Report) -> Mapping[str, str]:
    """When each gate was last proven red by any of its criteria; a gate that never was is not there."""
    found: dict[str, str] = {}
    for key, when in proven(report).items():
        gate = key.partition(":")[0]
        found[gate] = max(found.get(gate, ""), when)
    return found


def provable(report: Report) -> list[GateReport]:
    """The gates that a drill can turn red: all but the drills themselves."""
    return [gate for gate in report.gates if gate.gate.kind != "drills"]


def ago(when: str, now: str) -> str:
    """How long before *now* something was: `today`, `1 day`, `6 days`; `never` for nothing."""
    then, today = moment(when), moment(now)
    if then is None or today is None:
        return when or "never"
    days = (today.date() - then.date()).days
    return "today" if days <= 0 else f"{days} day{'s' if days > 1 else ''}"


def moment(text: str) -> datetime | None:
    """The UTC time in an ISO 8601 *text*, or None."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None


def clock(text: str) -> str:
    """An ISO 8601 time for people: `2026-11-23 15:04 UTC`."""
    found = moment(text)
    return found.strftime("%Y-%m-%d %H:%M UTC") if found else text


def runs(report: Report) -> str:
    """How many runs this commit had and how the earlier ones ended: `4; before this one 2 ready, 1 abandoned`."""
    history = report.plan.history
    if not history.runs:
        return "the first"
    ended: dict[str, int] = {}
    for record in history.runs:
        word = record.verdict.replace("_", " ")
        ended[word] = ended.get(word, 0) + 1
    endings = ", ".join(f"{count} {word}" for word, count in sorted(ended.items()))
    return f"{len(history.runs) + 1}; before this one {endings}"


def dispositions(report: Report, disposition: Disposition) -> int:
    """How many criteria have *disposition*."""
    return sum(criterion.disposition is disposition for gate in report.gates for criterion in gate.criteria)
