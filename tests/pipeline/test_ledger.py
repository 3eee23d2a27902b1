"""The ledger: what is added, and what shows when somebody changed it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gates.model import PROOF, Commit, Level
from gates.pipeline.history import history
from gates.pipeline.ledger import END, START, Entry, Ledger, Reading


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """A ledger with three lines: a run that ended, and one that did not."""
    made = Ledger(tmp_path / "ledger.jsonl")
    for event, run, verdict in ((START, "a", ""), (END, "a", "not_ready"), (START, "b", "")):
        add(made, event, run, verdict)
    return made


def add(ledger: Ledger, event: str, run: str, verdict: str = "") -> None:
    with ledger.held():
        ledger.append(Entry(event, run, "2026-11-23T15:04:05.000Z", ledger.read().head, commit="c0ffee", verdict=verdict))


def change(ledger: Ledger, harm: Callable[[list[bytes]], list[bytes]]) -> None:
    ledger.path.write_bytes(b"".join(harm(ledger.path.read_bytes().splitlines(keepends=True))))


def test_an_untouched_ledger_has_no_findings(ledger: Ledger) -> None:
    """Every line holds the digest of the line before, and reading says so by saying nothing."""
    reading = ledger.read()
    assert [(entry.event, entry.run) for entry in reading.entries] == [("start", "a"), ("end", "a"), ("start", "b")]
    assert reading.findings == ()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_edited_line_is_named(ledger: Ledger, number: int) -> None:
    """A change of any line shows, of the last one too."""
    change(
        ledger, lambda lines: [line.replace(b"c0ffee", b"decaff") if n == number else line for n, line in enumerate(lines, 1)]
    )
    findings = ledger.read().findings
    assert findings[0].location == f"ledger.jsonl:{number}"
    assert {finding.level for finding in findings} == {Level.ERROR}


def test_a_removed_line_breaks_the_chain_at_the_line_that_follows(ledger: Ledger) -> None:
    """Also when it was the first."""
    content = ledger.path.read_bytes()
    change(ledger, lambda lines: [lines[0], lines[2]])
    assert [finding.location for finding in ledger.read().findings] == ["ledger.jsonl:2"]
    ledger.path.write_bytes(content)
    change(ledger, lambda lines: lines[1:])
    assert "lines were removed" in ledger.read().findings[0].message


@pytest.mark.parametrize("rest", [b"\xff\xfe\n", b"[]\n", b"\n", b'{"event": "start"', b'{"event":"x","run":"a","at":""}\n'])
def test_what_is_no_line_is_a_finding_and_later_lines_are_kept(ledger: Ledger, rest: bytes) -> None:
    """A cut-off or senseless line is named; nothing is lost and the next line begins on a line of its own."""
    with ledger.path.open("ab") as file:
        file.write(rest)
    add(ledger, END, "b", "ready")
    reading = ledger.read()
    assert "ledger.jsonl:4" in [finding.location for finding in reading.findings]
    assert (reading.entries[-1].run, reading.entries[-1].verdict) == ("b", "ready")
    assert rest.strip(b"\n") in ledger.path.read_bytes()


def test_a_missing_ledger_is_empty(tmp_path: Path) -> None:
    """The first run of a tree has no past."""
    reading = Ledger(tmp_path / "ledger.jsonl").read()
    assert (reading.entries, reading.head, reading.findings, reading.present) == ((), "", (), False)


def test_lines_cut_from_the_end_show_by_the_folders_of_their_runs(ledger: Ledger, tmp_path: Path) -> None:
    """A chain that is whole but too short is found out by a run folder without a start."""
    for run in "ab":
        (tmp_path / run).mkdir()
        (tmp_path / run / "plan.json").write_text("{}")
    change(ledger, lambda lines: lines[:2])
    past = history(tmp_path, Commit(sha="c0ffee"), ledger.read(), lambda folder: False, this_machine_only=True)
    assert [finding.location for finding in past.findings] == ["b"]


def test_history_counts_the_runs_of_this_commit_alone(ledger: Ledger, tmp_path: Path) -> None:
    """A start without an end was abandoned, unless its run still goes on."""
    reading = ledger.read()
    past = history(tmp_path, Commit(sha="c0ffee"), reading, lambda folder: False, this_machine_only=True)
    assert [(record.run, record.verdict) for record in past.runs] == [("a", "not_ready"), ("b", "abandoned")]
    going_on = history(tmp_path, Commit(sha="c0ffee"), reading, lambda folder: folder.run == "b", this_machine_only=True)
    assert [record.run for record in going_on.runs] == ["a"]
    assert history(tmp_path, Commit(sha="other"), reading, lambda folder: False, this_machine_only=True).runs == ()


@pytest.mark.parametrize("lacking", ["", *PROOF])
def test_a_drill_proves_red_what_it_reached_triggered_and_caught_beside_a_control(tmp_path: Path, lacking: str) -> None:
    """Three of the four are no proof."""
    columns = ["drill", "gate", "criterion", *PROOF, "when"]
    row = ["slow", "load", "p99", *("no" if fact == lacking else "yes" for fact in PROOF), "2026-11-23T15:04:05Z"]
    table = {"type": "table", "title": "drills", "columns": columns, "rows": [row]}
    gate = {"gate": {"name": "drills", "kind": "drills"}, "criteria": [], "result": {"exhibits": [table]}}
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "plan.json").write_text("{}")
    (tmp_path / "a" / "readiness.json").write_text(json.dumps({"gates": [gate]}))
    past = history(tmp_path, Commit(), Reading(), lambda folder: False, this_machine_only=True)
    assert past.proven == ({} if lacking else {"load:p99": "2026-11-23T15:04:05Z"})


def test_a_wildcard_criterion_has_a_previous_value_for_each_of_its_measurements(ledger: Ledger, tmp_path: Path) -> None:
    """By the measurement's own name, since the criterion's stands for several."""
    measured = [{"metric": "ratio", "phase": "", "selector": name, "value": value} for name, value in (("a", 1.5), ("b", 2))]
    gate = {"gate": {"name": "g", "kind": "k"}, "criteria": [{"criterion": {"id": "ratio/*"}, "measurements": measured}]}
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "readiness.json").write_text(json.dumps({"gates": [gate]}))
    past = history(tmp_path, Commit(), ledger.read(), lambda folder: False, this_machine_only=True)
    assert past.previous == {"g:ratio/a": 1.5, "g:ratio/b": 2}
