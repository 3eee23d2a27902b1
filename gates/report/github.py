"""GitHub Actions: a step summary and annotations, both within GitHub's limits.

A summary beyond 1 MiB is refused, and just below it content can be dropped without a word, so we stop at 900 KiB. GitHub shows
ten annotations of a level a step; the tenth of ours says how many more there are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from gates.model import Finding, GateReport, Level, Outcome, Report, Verdict
from gates.report import markdown, reading
from gates.report.prose import clean

SUMMARY_BYTES = 900 * 1024
ANNOTATIONS = 9
_LOCATION = re.compile(r"(?P<file>[^:\n]+):(?P<line>\d+)(?::\d+)?")
_COMMANDS = {Level.ERROR: "error", Level.WARNING: "warning", Level.NOTE: "notice"}
_GRAVITY = tuple(_COMMANDS)


@dataclass(frozen=True, slots=True)
class Annotation:
    """A message at a line of a file, or of the whole run."""

    level: Level
    title: str
    message: str
    location: str = ""


def publish(report: Report, environ: Mapping[str, str], stream: TextIO) -> None:
    """Append the summary and write the annotations to *stream*, when this is a step of GitHub Actions; else do nothing."""
    if not environ.get("GITHUB_ACTIONS") or not environ.get("GITHUB_STEP_SUMMARY"):
        return
    with Path(environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as file:
        file.write(summary(report))
    for line in workflow_commands(report):
        print(line, file=stream, flush=True)


def summary(report: Report, limit: int = SUMMARY_BYTES) -> str:
    """The Markdown report in at most *limit* bytes, cut after a row of a table with a line that says where the rest is."""
    whole = markdown.render(report)
    if len(whole.encode()) <= limit:
        return whole
    rest = f"\n**Cut here.** The whole report is report.md and report.html of the run `{clean(report.plan.run)}`.\n"
    return _cut(whole, limit - len(rest.encode())) + rest


def _cut(whole: str, limit: int) -> str:
    """The longest beginning of *whole* within *limit* bytes that ends with a row of a table outside a fenced block."""
    kept, size, end, fence = [], 0, 0, ""
    for line in whole.splitlines(keepends=True):
        size += len(line.encode())
        if size > limit:
            break
        kept.append(line)
        marker = re.match("`{3,}", line)
        if marker and (not fence or marker[0] == fence):
            fence = "" if fence else marker[0]
        elif not fence and line.startswith("|"):
            end = len(kept)
    return "".join(kept[:end])


def workflow_commands(report: Report) -> list[str]:
    """At most nine workflow commands, the gravest first, and a tenth that counts the rest."""
    found = sorted(_annotations(report), key=lambda annotation: _GRAVITY.index(annotation.level))
    shown, more = found[:ANNOTATIONS], found[ANNOTATIONS:]
    if more:
        gravest = more[0].level
        shown.append(Annotation(gravest, "More", f"{len(more)} more: see the step summary and the artifacts of the run"))
    return [_command(annotation) for annotation in shown]


def _annotations(report: Report) -> Iterator[Annotation]:
    if report.verdict is not Verdict.READY:
        level = Level.ERROR if report.verdict is Verdict.NOT_READY else Level.WARNING
        yield Annotation(level, reading.VERDICTS[report.verdict], report.headline)
    yield from (_of_finding(found, "Run") for found in report.findings if found.level is not Level.NOTE)
    for gate in reading.worst_first(report.gates):
        yield from _of_gate(gate)


def _of_gate(gate: GateReport) -> Iterator[Annotation]:
    name, line = gate.gate.name, gate.gate.line
    bad = [one for one in reading.worst_criteria_first(gate.criteria) if one.outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE)]
    for criterion in bad:
        level = Level.ERROR if criterion.outcome is Outcome.FAIL and reading.counts(criterion) else Level.WARNING
        yield Annotation(level, f"{name}: {reading.WORDS[criterion.outcome]}", criterion.reason, line)
    if reading.needs_attention(gate) and not bad:
        yield Annotation(Level.WARNING, f"{name}: {reading.WORDS[gate.outcome]}", gate.reason, line)
    found = gate.result.findings if gate.result else ()
    yield from (_of_finding(one, name) for one in found if one.level is not Level.NOTE)


def _of_finding(found: Finding, title: str) -> Annotation:
    message = f"{found.message}\n{found.hint}" if found.hint else found.message
    return Annotation(found.level, title, message, found.location)


def _command(annotation: Annotation) -> str:
    place = _LOCATION.fullmatch(annotation.location)
    properties = {"file": place["file"], "line": place["line"]} if place else {}
    properties["title"] = annotation.title
    written = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{_COMMANDS[annotation.level]} {written}::{_data(annotation.message)}"


def _data(text: str) -> str:
    return clean(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
