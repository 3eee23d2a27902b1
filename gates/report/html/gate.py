"""The section of one gate: what was done, every criterion, exhibits, findings, what to do, the evidence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from urllib.parse import quote

from gates.model import (
    CriterionReport,
    Disposition,
    Evidence,
    Execution,
    GateReport,
    GateResult,
    Outcome,
    Report,
    Severity,
    Unit,
)
from gates.quantity import show
from gates.report import reading
from gates.report.facts import what_to_do
from gates.report.html.exhibits import draw
from gates.report.html.parts import bare_sign, breaking, findings, head, scrolling, sign
from gates.report.prose import text, to_html

_COLUMNS = ("verdict", "criterion", "value", "interval", "limit", "n", "why")
_NUMBERS = frozenset({"value", "interval", "limit", "n"})


def anchors(report: Report) -> dict[str, str]:
    """A unique id of the page for each gate's section."""
    taken: dict[str, str] = {}
    for gate in report.gates:
        slug = "gate-" + re.sub(r"[^a-z0-9]+", "-", gate.gate.name.lower()).strip("-")
        taken[gate.gate.name] = slug if slug not in taken.values() else f"{slug}-{len(taken)}"
    return taken


def section(report: Report, gate: GateReport, anchor: str) -> str:
    """The section; open when there is something to find out. A link into a folded one opens it: its target lies inside."""
    opened = " open" if reading.needs_attention(gate) and not _kept_by_a_need(report, gate) else ""
    times = f'<span class="note"> · {text(gate.gate.kind)}{_times(gate)}</span>'
    title = f"<summary>{bare_sign(gate.outcome)} <h2>{text(gate.gate.name)}</h2>{_word(gate.outcome)}{times}</summary>"
    content = f'<div class="anchor" id="{anchor}">{"".join(_content(report, gate))}</div>'
    return f'<details class="gate"{opened}>{title}\n{content}</details>'


def _kept_by_a_need(report: Report, gate: GateReport) -> bool:
    red = {other.gate.name for other in report.gates if other.outcome is not Outcome.PASS}
    return gate.execution is Execution.NOT_RUN and not red.isdisjoint(gate.gate.needs)


def _word(outcome: Outcome) -> str:
    return f'<span class="note {outcome.value}"> {reading.WORDS[outcome]}</span>'


def _times(gate: GateReport) -> str:
    took, budget = reading.took(gate), reading.budget(gate)
    return f" · {took}{f' of {budget}' if budget else ''}" if took else " · not run"


def _content(report: Report, gate: GateReport) -> Iterator[str]:
    result = gate.result
    if gate.reason and gate.outcome is not Outcome.PASS:
        yield f'<p class="reason">{text(gate.reason)}</p>'
    yield f'<div class="done">{to_html(gate.gate.summary)}{to_html(result.summary if result else "")}</div>'
    yield from (f"<p>Not there: {text(missing)}</p>" for missing in gate.gate.missing)
    yield _criteria(gate)
    if result:
        yield findings(result.findings)
        yield from (draw(exhibit, gate) for exhibit in result.exhibits)
    if reading.needs_attention(gate):
        yield _steps(report, gate)
    if result:
        yield _evidence(gate.gate.name, result.evidence)
    yield from (_attempt(gate.gate.name, attempt) for attempt in gate.earlier_attempts)


def _criteria(gate: GateReport) -> str:
    if not gate.criteria:
        return ""
    # what passes is told by its numbers; the last column is for what needs words
    columns = _COLUMNS if any(_why(criterion, gate) for criterion in gate.criteria) else _COLUMNS[:-1]
    rows = "\n".join(
        row
        for one in reading.worst_criteria_first(gate.criteria)
        for row in _rows(one, _why(one, gate) if columns is _COLUMNS else None)
    )
    table = f'<table class="criteria">{head(columns, _NUMBERS)}<tbody>\n{rows}\n</tbody></table>'
    return scrolling(table, f"Criteria of {gate.gate.name}")


def _why(report: CriterionReport, gate: GateReport) -> str:
    if gate.reason and not report.measurements and report.reason.endswith(f": {gate.reason}"):
        return ""  # the section says it once, above all that was therefore not measured
    return "" if report.outcome is Outcome.PASS and report.disposition is Disposition.COUNTED else report.reason


def _rows(report: CriterionReport, reason: str | None) -> Iterator[str]:
    criterion, limits = report.criterion, text(reading.limits_of(report))
    class_ = ' class="aside"' if criterion.built_in and report.outcome is Outcome.PASS else ""
    why, empty_why = (f'<td class="why">{text(reason)}</td>', "<td></td>") if reason is not None else ("", "")
    if not report.measurements:
        name = f"<td><code>{breaking(criterion.id)}</code></td>"
        empty = (
            f'<td class="number">no value</td><td class="number"></td><td class="number">{limits}</td><td class="number">0</td>'
        )
        yield f"<tr{class_}>{_verdict(report, report.outcome)}{name}{empty}{why}</tr>"
    for index, found in enumerate(report.measurements):
        name = criterion.id if len(report.measurements) == 1 else found.key
        cells = (reading.value_of(found, criterion.rule), reading.interval_of(found, criterion.rule))
        numbers = "".join(f'<td class="number">{text(cell)}</td>' for cell in cells)
        numbers += f'<td class="number">{limits}</td><td class="number">{found.n:,}</td>'
        verdict = _verdict(report, reading.outcome_of(report, index))
        last = why if index == reading.told_at(report) else empty_why
        yield f"<tr{class_}>{verdict}<td><code>{breaking(name)}</code></td>{numbers}{last}</tr>"


def _verdict(report: CriterionReport, outcome: Outcome) -> str:
    return f'<td class="whole">{sign(outcome)}{_disposition(report)}</td>'


def _disposition(report: CriterionReport) -> str:
    if report.disposition is not Disposition.COUNTED:
        return f' <span class="quiet">{report.disposition.value}</span>'
    if report.criterion.severity is not Severity.BLOCKING:
        return f' <span class="quiet">{report.criterion.severity.value}</span>'
    return ""


def _steps(report: Report, gate: GateReport) -> str:
    lines = "".join(f"<dt>{text(label)}</dt><dd>{text(line)}</dd>" for label, line in what_to_do(report, gate))
    return f'<dl class="steps" aria-label="What to do about {text(gate.gate.name)}">{lines}</dl>'


def _evidence(folder: str, evidence: Sequence[Evidence]) -> str:
    if not evidence:
        return ""
    rows = "".join(
        f'<tr><td>{_link(folder, one)}</td><td class="number">{show(one.size, Unit.BYTES)}</td>'
        f'<td class="digest">{text(one.sha256)}</td></tr>'
        for one in evidence
    )
    table = f"<table>{head(('file', 'size', 'sha256'), frozenset({'size'}))}<tbody>{rows}</tbody></table>"
    return f"<h3>Evidence</h3>{scrolling(table, f'Evidence of {folder}')}"


def _link(folder: str, evidence: Evidence) -> str:
    path = PurePosixPath(folder, evidence.path)
    shown = text(evidence.path)
    inside = ".." not in path.parts and not PurePosixPath(evidence.path).is_absolute()
    return f'<a href="./{text(quote(str(path), errors="replace"))}">{shown}</a>' if inside else shown


def _attempt(gate: str, attempt: GateResult) -> str:
    measured = ", ".join(f"{one.key} {show(one.value, one.unit)}" for one in attempt.measurements)
    reason = attempt.reason or "rejected because of the machine"
    return (
        f"<h3>Attempt {attempt.attempt}</h3><p>{text(reading.clock(attempt.started))}, "
        f'{show(round(attempt.seconds, 1), Unit.SECONDS)}: {text(reason)}</p><p class="quiet">{text(measured)}</p>'
        f"{_evidence(f'{gate}/attempt-{attempt.attempt}', attempt.evidence)}"
    )
