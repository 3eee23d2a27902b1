"""What the ledger and the runs that are kept say at the moment a plan is made."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gates.model import Commit, Finding, History, Level, RunRecord, criterion_id, proves
from gates.pipeline.folder import RunFolder, all_runs
from gates.pipeline.ledger import END, START, Reading

ABANDONED = "abandoned"
DRILLS = "drills"


def history(
    runs: Path, commit: Commit, reading: Reading, alive: Callable[[RunFolder], bool], *, this_machine_only: bool
) -> History:
    """What a plan carries of the past. *alive* tells a run that is still going on from one that was abandoned."""
    kept = list(all_runs(runs))
    previous_run, previous = _previous(runs, reading)
    return History(
        head=reading.head,
        runs=_runs(runs, commit, reading, alive),
        previous=previous,
        previous_run=previous_run,
        proven=_proven(kept),
        this_machine_only=this_machine_only,
        findings=(*reading.findings, *_unrecorded(kept, reading)),
    )


def _runs(runs: Path, commit: Commit, reading: Reading, alive: Callable[[RunFolder], bool]) -> tuple[RunRecord, ...]:
    ends = {entry.run: entry.verdict for entry in reading.entries if entry.event == END}
    started = [entry for entry in reading.entries if entry.event == START and entry.commit == commit.sha]
    return tuple(
        RunRecord(entry.run, ends.get(entry.run, ABANDONED), entry.dirty)
        for entry in started
        if entry.run in ends or not alive(RunFolder(runs / entry.run))
    )


def _unrecorded(kept: Sequence[RunFolder], reading: Reading) -> list[Finding]:
    """A run whose folder is there and whose start is not: lines were removed from the end of the ledger, or all of it."""
    known = {entry.run for entry in reading.entries if entry.event == START}
    missing = [folder for folder in kept if folder.run not in known]
    hint = "a run that was brought here from elsewhere belongs into a folder of its own, with its ledger"
    return [
        Finding(Level.ERROR, f"the ledger has no start of the run {f.run}, whose folder is here", f.run, hint) for f in missing
    ]


def _previous(runs: Path, reading: Reading) -> tuple[str, Mapping[str, float]]:
    """The last closed run that still has its report, and what it measured, by `gate:metric@phase/selector`."""
    for entry in reversed(reading.entries):
        report = _report(runs / entry.run / "readiness.json") if entry.event == END else None
        if report is not None:
            return entry.run, dict(_values(report))
    return "", {}


def _values(report: Any) -> list[tuple[str, float]]:
    return [
        (f"{gate['gate']['name']}:{criterion_id(each['metric'], each['phase'], each['selector'])}", each["value"])
        for gate in report["gates"]
        for criterion in gate["criteria"]
        for each in criterion["measurements"]
    ]


def _proven(kept: Sequence[RunFolder]) -> dict[str, str]:
    """When a drill last turned each criterion red, by the tables that gates of kind `drills` left in the kept runs."""
    proven: dict[str, str] = {}
    for folder in kept:
        report = _report(folder.readiness, needle=b'"drills"')
        for gate in report["gates"] if report else ():
            if gate["gate"]["kind"] == DRILLS and gate.get("result"):
                for key, when in _caught(gate["result"]["exhibits"]):
                    proven[key] = max(when, proven.get(key, ""))
    return proven


def _caught(exhibits: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    tables = [exhibit for exhibit in exhibits if exhibit.get("type") == "table" and exhibit.get("title") == DRILLS]
    rows = [dict(zip(table["columns"], row, strict=False)) for table in tables for row in table["rows"]]
    return [(f"{row['gate']}:{row['criterion']}", row.get("when", "")) for row in rows if proves(row)]


def _fits(report: Any) -> bool:
    """Whether *report* has the least that it must have to be looked into."""
    try:
        _values(report)
    except (KeyError, TypeError, IndexError):
        return False
    return True


def _report(path: Path, needle: bytes = b"") -> Any:
    """The plain JSON of a report that holds *needle*; None when there is none of the right shape."""
    try:
        content = path.read_bytes()
        report = json.loads(content) if needle in content else None
    except (OSError, ValueError, RecursionError):
        return None
    return report if report is not None and _fits(report) else None
