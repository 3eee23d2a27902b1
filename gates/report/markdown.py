"""The report as Markdown: what a person reads in a pull request, a terminal or an editor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import quote

from gates.model import (
    ClaimReport,
    CriterionReport,
    Exhibit,
    Finding,
    GateReport,
    Intervals,
    LogTail,
    Outcome,
    Report,
    Table,
    Unit,
)
from gates.quantity import show
from gates.report import reading
from gates.report.facts import facts, what_to_do
from gates.report.prose import clean, code, markdown_text, to_inline


def render(report: Report) -> str:
    """The whole report. Gates that pass are one row; those that need a person have a section with every criterion."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield from (f"# {reading.VERDICTS[report.verdict]}", "", reading.tally(report), "")
    yield from (f"**Why:** {markdown_text(report.headline)}", "")
    yield from _facts(report)
    yield from _findings(report.findings)
    yield from _gates(report)
    for gate in reading.worst_first(report.gates):
        if reading.needs_attention(gate):
            yield from _section(report, gate)
    yield from _claims(report)


def _facts(report: Report) -> Iterator[str]:
    for fact in facts(report):
        aside = f" ({markdown_text(fact.aside)})" if fact.aside else ""
        yield f"- {fact.label}: **{markdown_text(fact.value)}**{aside}"
    yield ""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table of cells that are Markdown already, and an empty line."""
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _gates(report: Report) -> Iterator[str]:
    columns = ("", "gate", "tightest criterion", "value", "limit", "since last", "took", "budget", "proven red")
    proven = reading.proven_gates(report)
    yield from ("## Gates", "")
    yield from table(columns, (_row(report, gate, proven.get(gate.gate.name, "")) for gate in report.gates))


def _row(report: Report, gate: GateReport, proven: str) -> tuple[str, ...]:
    found = reading.tightest(gate)
    criterion = code(found.report.criterion.id) if found else ""
    red = "" if gate.gate.kind == "drills" else reading.ago(proven, report.plan.created)
    return (
        f"{reading.SIGNS[gate.outcome]} {reading.WORDS[gate.outcome]}",
        markdown_text(gate.gate.name),
        criterion,
        *(_value(found) if found else (markdown_text(gate.reason), "")),
        reading.since_last(report, gate, found) if found else "",
        reading.took(gate),
        reading.budget(gate),
        markdown_text(red),
    )


def _value(found: reading.Reading) -> tuple[str, str]:
    criterion = found.report.criterion
    limit = reading.limit_of(found.comparison, criterion.unit, criterion.rule) if found.comparison else ""
    if found.measurement is None:
        return "no value", markdown_text(limit)
    interval = reading.interval_of(found.measurement, criterion.rule)
    value = reading.value_of(found.measurement, criterion.rule)
    return markdown_text(f"{value} ({interval})" if interval else value), markdown_text(limit)


def _section(report: Report, gate: GateReport) -> Iterator[str]:
    yield from (f"## {reading.SIGNS[gate.outcome]} {markdown_text(gate.gate.name)}: {reading.WORDS[gate.outcome]}", "")
    done = gate.result.summary if gate.result else ""
    for paragraph in (to_inline(gate.gate.summary), markdown_text(gate.reason), to_inline(done)):
        if paragraph:
            yield from (paragraph, "")
    yield from _criteria(gate)
    if gate.result:
        yield from _findings(gate.result.findings)
        for exhibit in gate.result.exhibits:
            yield from _exhibit(exhibit)
    yield from ("```text", *(f"{label:<11} {_line(step)}" for label, step in what_to_do(report, gate)), "```", "")
    yield from _evidence(gate)
    yield from _attempts(gate)


def _criteria(gate: GateReport) -> Iterator[str]:
    columns = ("", "criterion", "value", "interval", "limit", "n", "why")
    rows = (row for report in reading.worst_criteria_first(gate.criteria) for row in _criterion_rows(report))
    yield from table(columns, rows)


def _criterion_rows(report: CriterionReport) -> Iterator[tuple[str, ...]]:
    criterion = report.criterion
    limits, why = markdown_text(reading.limits_of(report)), markdown_text(report.reason)
    if not report.measurements:
        yield (_sign(report.outcome), code(criterion.id), "no value", "", limits, "0", why)
    for index, found in enumerate(report.measurements):
        name = criterion.id if len(report.measurements) == 1 else found.key
        value, interval = reading.value_of(found, criterion.rule), reading.interval_of(found, criterion.rule)
        sign = _sign(reading.outcome_of(report, index))
        yield (sign, code(name), value, interval, limits, f"{found.n:,}", why if index == reading.told_at(report) else "")


def _sign(outcome: Outcome) -> str:
    return f"{reading.SIGNS[outcome]} {reading.WORDS[outcome]}"


def _exhibit(exhibit: Exhibit) -> Iterator[str]:
    if isinstance(exhibit, Table):
        yield from (f"**{markdown_text(exhibit.title)}**", "")
        width = len(exhibit.columns)
        rows = ([markdown_text(cell) for cell in row[:width]] + [""] * (width - len(row)) for row in exhibit.rows)
        yield from table([markdown_text(column) for column in exhibit.columns], rows)
    elif isinstance(exhibit, LogTail):
        yield from (f"**{markdown_text(exhibit.title)}**", "", "````text", *(_line(line) for line in exhibit.lines), "````", "")
    elif isinstance(exhibit, Intervals):
        yield from (f"**{markdown_text(exhibit.title)}**", "")
        cells = (
            (row.name, *(reading.quantity(x, exhibit.unit) for x in (row.value, row.low, row.high))) for row in exhibit.rows
        )
        yield from table(("", "value", "low", "high"), ([markdown_text(cell) for cell in row] for row in cells))


def _line(text: str) -> str:
    return " ".join(clean(text).split("\n")).replace("```", "'''")


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    for found in findings:
        where = f"{code(found.location)}: " if found.location else ""
        hint = f"\n  {to_inline(found.hint)}" if found.hint else ""
        yield f"- **{found.level.value}**: {where}{markdown_text(found.message)}{hint}"
    if findings:
        yield ""


def _evidence(gate: GateReport) -> Iterator[str]:
    if gate.result is None or not gate.result.evidence:
        return
    rows = (
        (
            f"[{markdown_text(e.path)}](<{quote(f'{gate.gate.name}/{e.path}', errors='replace')}>)",
            show(e.size, Unit.BYTES),
            code(e.sha256),
        )
        for e in gate.result.evidence
    )
    yield from table(("evidence", "size", "sha256"), rows)


def _attempts(gate: GateReport) -> Iterator[str]:
    for attempt in gate.earlier_attempts:
        reason = attempt.reason or "rejected because of the machine"
        yield from (f"Attempt {attempt.attempt}, {reading.clock(attempt.started)}: {markdown_text(reason)}", "")


def _claims(report: Report) -> Iterator[str]:
    if not report.claims:
        return
    yield from ("## Claims", "")
    yield from table(("", "claim", "rests on"), (_claim(claim) for claim in report.claims))


def _claim(report: ClaimReport) -> tuple[str, str, str]:
    why = "" if report.outcome is Outcome.PASS else f" ({markdown_text(report.reason)})"
    rests_on = ", ".join(code(key) for key in report.claim.by)
    return f"{reading.SIGNS[report.outcome]} {reading.WORDS[report.outcome]}", markdown_text(report.claim.say) + why, rests_on
