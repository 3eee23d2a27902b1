"""The report as a plain table for a terminal or a log, and the exit code of its verdict."""

from __future__ import annotations

from collections.abc import Callable

from gates.errors import Exit
from gates.model import Finding, GateReport, Level, Outcome, Report, Verdict
from gates.report import reading
from gates.report.facts import Fact, facts, what_to_do
from gates.report.prose import clean

_EXITS = {Verdict.READY: Exit.READY, Verdict.NOT_READY: Exit.NOT_READY, Verdict.INCONCLUSIVE: Exit.INCONCLUSIVE}
_COLUMNS = ("", "gate", "tightest criterion", "value", "limit", "since last", "took", "budget", "proven red")
_WIDEST = 44

Paint = Callable[[str, Outcome | Verdict], str]


def exit_of(report: Report) -> Exit:
    """The exit code that says *report*'s verdict: 0 ready, 1 not ready, 3 inconclusive."""
    return _EXITS[report.verdict]


def _unpainted(text: str, _: Outcome | Verdict) -> str:
    return text


def render(report: Report, paint: Paint = _unpainted) -> str:
    """Verdict, headline, facts, the table of gates, and what to do about those that need a person."""
    parts = [headline(report, paint), _facts(report), table(report, paint), _findings(report.findings)]
    parts += [_attention(report, gate, paint) for gate in reading.worst_first(report.gates) if reading.needs_attention(gate)]
    return "\n\n".join(part for part in parts if part) + "\n"


def headline(report: Report, paint: Paint = _unpainted) -> str:
    """The verdict in words, how many gates ended how, and the reason."""
    return f"{paint(reading.VERDICTS[report.verdict], report.verdict)}  {reading.tally(report)}\n{clean(report.headline)}"


def table(report: Report, paint: Paint = _unpainted) -> str:
    """One row a gate, in the order of the plan."""
    proven = reading.proven_gates(report)
    rows = [_row(report, gate, proven.get(gate.gate.name, "")) for gate in report.gates]
    widths = [max(len(row[index]) for row in (_COLUMNS, *rows)) for index in range(len(_COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(_COLUMNS, widths, strict=True)).rstrip()]
    for gate, row in zip(report.gates, rows, strict=True):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join([paint(cells[0], gate.outcome), *cells[1:]]).rstrip())
    return "\n".join(lines)


def _row(report: Report, gate: GateReport, proven: str) -> tuple[str, ...]:
    found = reading.tightest(gate)
    sign = f"{reading.SIGNS[gate.outcome]} {reading.WORDS[gate.outcome]}"
    red = "" if gate.gate.kind == "drills" else reading.ago(proven, report.plan.created)
    times = (reading.took(gate), reading.budget(gate), red)
    if found is None or found.measurement is None:
        criterion = found.report.criterion.id if found else ""
        return tuple(map(_short, (sign, gate.gate.name, criterion, "no value", _limit(found), "", *times)))
    value = reading.value_of(found.measurement, found.report.criterion.rule)
    change = reading.since_last(report, gate, found)
    return tuple(map(_short, (sign, gate.gate.name, found.report.criterion.id, value, _limit(found), change, *times)))


def _limit(found: reading.Reading | None) -> str:
    if found is None or found.comparison is None:
        return ""
    criterion = found.report.criterion
    return reading.limit_of(found.comparison, criterion.unit, criterion.rule)


def _short(text: str) -> str:
    line = " ".join(clean(text).split())
    return line if len(line) <= _WIDEST else line[: _WIDEST - 1] + "…"


def _facts(report: Report) -> str:
    return "\n".join(f"  {fact.label:<19} {clean(fact.value)}{_aside(fact)}" for fact in facts(report))


def _aside(fact: Fact) -> str:
    return f" ({clean(fact.aside)})" if fact.aside else ""


def _attention(report: Report, gate: GateReport, paint: Paint) -> str:
    name = clean(gate.gate.name)
    lines = [f"{paint(reading.SIGNS[gate.outcome], gate.outcome)} {name}: {clean(gate.reason)}"]
    lines += [f"  {label:<11} {clean(step)}" for label, step in what_to_do(report, gate)]
    return "\n".join(lines)


def _findings(findings: tuple[Finding, ...]) -> str:
    return "\n".join(finding(found) for found in findings if found.level is not Level.NOTE)


def finding(found: Finding) -> str:
    """A finding in one line, with its hint in a second one."""
    where = f"{found.location}: " if found.location else ""
    hint = f"\n  {found.hint}" if found.hint else ""
    return clean(f"{found.level.value}: {where}{found.message}{hint}")
