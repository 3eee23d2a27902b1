"""Closing a run: its files become a report, and the ledger gets the end of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from gates import codec
from gates.model import Finding, GateResult, Level, Plan, Report
from gates.pipeline.folder import RunFolder, stamp, utc_now
from gates.pipeline.ledger import END, NAME, Entry, Ledger, Reading
from gates.pipeline.results import file_digest, read_attempts, read_result


@dataclass(frozen=True, slots=True)
class Left:
    """What the gates of *plan* left: the result of each or why there is none, and what can be read of earlier attempts."""

    plan: Plan
    results: Mapping[str, GateResult | str]
    attempts: Mapping[str, tuple[GateResult, ...]]

    @classmethod
    def read(cls, folder: RunFolder, plan: Plan) -> Left:
        attempts = {gate.name: read_attempts(folder.gate(gate.name), gate) for gate in plan.gates}
        return cls(
            plan,
            {gate.name: read_result(folder.gate(gate.name), gate) for gate in plan.gates},
            {name: earlier for name, earlier in attempts.items() if earlier},
        )

    @property
    def digest(self) -> str:
        return codec.digest({"results": self.results, "attempts": self.attempts})

    def judged(self, findings: tuple[Finding, ...]) -> Report:
        from gates.pipeline.judge import judge

        return judge(self.plan, self.results, self.attempts, findings)


def close(path: Path, *, now: Callable[[], datetime] = utc_now) -> Report:
    """Judge the run in the folder *path* from its files alone, and write readiness.json; in the ledger a run ends once.

    What is missing, broken or edited is a reason or a finding. Raises BadFileError when plan.json can't be read, GatesError
    when the ledger can't be written.
    """
    folder = RunFolder(path.resolve())
    plan = codec.read(folder.plan, Plan)
    left, ledger = Left.read(folder, plan), Ledger(folder.runs / NAME)
    folder.reserve.unlink(missing_ok=True)  # room for what follows, should the disk be full
    if not ledger.path.exists():
        return _written(folder, left.judged(_recorded(folder, plan, Reading())))
    with ledger.held():
        reading = ledger.read()
        findings, end = _recorded(folder, plan, reading), reading.end(folder.run)
        if end is not None:
            return _written(folder, _compared(left, findings, end))
        report = left.judged((*findings, *_closed_before(folder, left.judged(findings))))
        _written(folder, report)
        start = reading.start(folder.run)
        if start is not None:
            ledger.append(_end(start, now(), reading.head, left, report))
        return report


def _end(start: Entry, now: datetime, head: str, left: Left, report: Report) -> Entry:
    return replace(
        start,
        event=END,
        at=stamp(now),
        before=head,
        results=left.digest,
        report=codec.digest(report),
        verdict=report.verdict.value,
    )


def is_closed(folder: RunFolder) -> bool:
    """Whether the ledger holds the end of the run."""
    return Ledger(folder.runs / NAME).read().end(folder.run) is not None


def _recorded(folder: RunFolder, plan: Plan, reading: Reading) -> tuple[Finding, ...]:
    """What the ledger has to say against plan.json."""
    where, known = "plan.json", {(f.message, f.location) for f in plan.history.findings}
    broken = tuple(finding for finding in reading.findings if (finding.message, finding.location) not in known)
    start = reading.start(folder.run)
    if start is None:
        hint = "keep a run together with its ledger.jsonl"
        problem = "has no start of this run" if reading.present else "is not there"
        return (
            *broken,
            Finding(Level.ERROR, f"the ledger {problem}, so nothing shows that plan.json is the one that was run", where, hint),
        )
    if start.plan != file_digest(folder.plan):
        return (
            *broken,
            Finding(Level.ERROR, "plan.json was changed after the run began: its digest is not the one in the ledger", where),
        )
    if plan.run != folder.run:
        return (*broken, Finding(Level.ERROR, f"plan.json belongs to the run {plan.run}, not to {folder.run}", where))
    return broken


def _closed_before(folder: RunFolder, report: Report) -> tuple[Finding, ...]:
    """A finding when *report* is about to close a run that has another report already: its end was taken from the ledger."""
    if not folder.readiness.exists() or file_digest(folder.readiness) == codec.digest(report):
        return ()
    message = "the run has another report already, but the ledger no end of it: its files or the ledger were changed since"
    return (Finding(Level.ERROR, message, NAME),)


def _compared(left: Left, findings: tuple[Finding, ...], end: Entry) -> Report:
    """The report of a closed run, with a finding when it is not what the ledger says of its end."""
    report = left.judged(findings)
    if report.verdict.value != end.verdict:
        message = f"the run was closed as {end.verdict}, but its files now say {report.verdict.value}: they were changed since"
        level = Level.ERROR
    elif end.results and left.digest != end.results:
        message, level = "what the gates measured was changed since the run was closed, with the same verdict", Level.ERROR
    elif codec.digest(report) != end.report:
        message, level = "the report is not the one that the run was closed with, though its verdict is the same", Level.WARNING
    else:
        return report
    return left.judged((*findings, Finding(level, message, NAME)))


def _written(folder: RunFolder, report: Report) -> Report:
    text = codec.dumps(report).encode()
    if not folder.readiness.exists() or folder.readiness.read_bytes() != text:
        codec.replace(folder.readiness, text)
    return report
