"""Closing a run: its files become a report, and the ledger gets the end of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from gates import codec
from gates.model import Finding, GateResult, Level, Plan, Report
from gates.pipeline.folder import RunFolder, stamp, utc_now
from gates.pipeline.ledger import END, NAME, Entry, Ledger, Reading
from gates.pipeline.results import file_digest, read_attempts, read_result


def close(path: Path, *, now: Callable[[], datetime] = utc_now) -> Report:
    """Judge the run in the folder *path* from its files alone, and write readiness.json; in the ledger a run ends once.

    What is missing, broken or edited is a reason or a finding. Raises BadFileError when plan.json can't be read, GatesError
    when the ledger can't be written.
    """
    folder = RunFolder(path.resolve())
    plan = codec.read(folder.plan, Plan)
    ledger = Ledger(folder.runs / NAME)
    if not ledger.path.exists():
        return _written(folder, _judged(folder, plan, _recorded(folder, plan, Reading())))
    with ledger.held():
        reading = ledger.read()
        report = _judged(folder, plan, _recorded(folder, plan, reading))
        end, start = reading.end(folder.run), reading.start(folder.run)
        if end is not None:
            return _written(folder, _compared(report, end))
        digest = codec.digest(report)
        report = _written(folder, report)
        if start is not None:
            ledger.append(
                Entry(
                    END,
                    folder.run,
                    stamp(now()),
                    reading.head,
                    start.commit,
                    start.dirty,
                    start.plan,
                    digest,
                    report.verdict.value,
                )
            )
        folder.reserve.unlink(missing_ok=True)
        return report


def is_closed(folder: RunFolder) -> bool:
    """Whether the ledger holds the end of the run."""
    return Ledger(folder.runs / NAME).read().end(folder.run) is not None


def _judged(folder: RunFolder, plan: Plan, findings: tuple[Finding, ...]) -> Report:
    from gates.pipeline.judge import judge

    results: dict[str, GateResult | str] = {gate.name: read_result(folder.gate(gate.name), gate) for gate in plan.gates}
    attempts = {gate.name: read_attempts(folder.gate(gate.name), gate) for gate in plan.gates}
    return judge(plan, results, {name: earlier for name, earlier in attempts.items() if earlier}, findings)


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


def _compared(report: Report, end: Entry) -> Report:
    """*report* of a closed run, with a finding when it is not what the ledger says of its end."""
    if report.verdict.value != end.verdict:
        message = f"the run was closed as {end.verdict}, but its files now say {report.verdict.value}: they were changed since"
        level = Level.ERROR
    elif codec.digest(report) != end.report:
        message, level = "the report is not the one that the run was closed with, though its verdict is the same", Level.WARNING
    else:
        return report
    from gates.pipeline.judge import judge

    finding = Finding(level, message, NAME)
    results: dict[str, GateResult | str] = {gate.gate.name: gate.result or gate.reason for gate in report.gates}
    attempts = {gate.gate.name: gate.earlier_attempts for gate in report.gates}
    own = report.findings[len(report.plan.findings) + len(report.plan.history.findings) :]
    return judge(report.plan, results, attempts, (*own, finding))


def _written(folder: RunFolder, report: Report) -> Report:
    text = codec.dumps(report).encode()
    if not folder.readiness.exists() or folder.readiness.read_bytes() != text:
        codec.replace(folder.readiness, text)
    return report
