"""One row a gate: what it says, its tightest criterion against the limit, the change, the time, the proof."""

from __future__ import annotations

from collections.abc import Iterable

from gates.model import Execution, GateReport, Outcome, Report, Rule
from gates.report import reading
from gates.report.html.parts import bare_sign, breaking, head
from gates.report.html.plots import bar
from gates.report.prose import text

_COLUMNS = ("gate", "tightest criterion", "value against limit", "since last", "took", "proven red")
_NUMBERS = frozenset(_COLUMNS[3:])
_TOO_FAR = 20.0  # a value so many times its limit would leave nothing of the bar to see


def overview(report: Report, links: dict[str, str]) -> str:
    """The table of gates in the order of the plan and, at the reader's choice, worst first."""
    by_need = reading.worst_first(report.gates)
    heading = '<h2 class="hidden">Gates</h2>'
    tables = _table(report, report.gates, links, "gates by-plan")
    if by_need != list(report.gates):
        tables = _choice() + tables + _table(report, by_need, links, "gates by-need")
    return f'<section id="gates">{heading}{tables}</section>'


def _choice() -> str:
    return (
        '<div class="orders" role="radiogroup" aria-label="Order of gates">'
        '<label><input class="order" type="radio" name="order" id="plan" checked>in the order of the plan</label>'
        '<label><input class="order" type="radio" name="order" id="worst">worst first</label></div>'
    )


def _table(report: Report, gates: Iterable[GateReport], links: dict[str, str], class_: str) -> str:
    proven = reading.proven_gates(report)
    rows = "\n".join(_row(report, gate, links[gate.gate.name], proven.get(gate.gate.name, "")) for gate in gates)
    return f'<table class="{class_}">{head(_COLUMNS, _NUMBERS)}<tbody>\n{rows}\n</tbody></table>'


def _row(report: Report, gate: GateReport, link: str, proven: str) -> str:
    found = reading.tightest(gate)
    red = "" if gate.gate.kind == "drills" else reading.ago(proven, report.plan.created)
    change = reading.since_last(report, gate, found) if found else ""
    last = (text(change), _took(gate), text(red))
    numbers = "".join(f'<td class="number">{cell}</td>' for cell in last)
    name = f'<a href="#{link}">{text(gate.gate.name)}</a> '
    criterion = f"<code>{breaking(found.report.criterion.id)}</code>" if found else ""
    cells = f'<td>{bare_sign(gate.outcome)} {name}</td><td class="crit">{criterion}</td>'
    return f'<tr>{cells}<td class="against">{_against(gate, found)}</td>{numbers}</tr>'


def _took(gate: GateReport) -> str:
    took, budget = reading.took(gate), reading.budget(gate)
    if not took or not budget or gate.result is None:
        return took
    over = gate.result.seconds > gate.gate.budget
    return f'{took} <span class="{"inconclusive" if over else "quiet"}">{"over" if over else "of"} {budget}</span>'


def _against(gate: GateReport, found: reading.Reading | None) -> str:
    ended = gate.execution in (Execution.COMPLETED, Execution.STOPPED) or gate.outcome is Outcome.FAIL
    if found is None or found.measurement is None or not ended:
        return f'<span class="quiet">{text(gate.reason)}</span>'
    measurement, comparison, criterion = found.measurement, found.comparison, found.report.criterion
    value = f'<span class="{found.report.outcome.value}">{text(reading.value_of(measurement, criterion.rule))}</span>'
    interval = reading.interval_of(measurement, criterion.rule)
    limit = reading.limit_of(comparison, criterion.unit, criterion.rule) if comparison else ""
    asides = [
        f'<span class="quiet whole">{text(aside)}</span>' for aside in (f"({interval})" if interval else "", limit) if aside
    ]
    return " ".join([_bar(found) + value, *asides])


def _bar(found: reading.Reading) -> str:
    measurement, comparison, criterion = found.measurement, found.comparison, found.report.criterion
    if measurement is None or comparison is None or comparison.limit <= 0 or measurement.value < 0:
        return ""
    low, high = reading.ends(measurement)
    if high > _TOO_FAR * comparison.limit or criterion.rule is Rule.SLOWDOWN:
        return ""
    spoken = (
        f"{reading.value_of(measurement, criterion.rule)}, limit {reading.limit_of(comparison, criterion.unit, criterion.rule)}"
    )
    return bar(measurement.value, low, high, comparison.limit, found.report.outcome, spoken)
