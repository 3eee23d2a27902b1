"""Evidence that was deleted or edited after the run never leaves it green."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Repository

pytestmark = pytest.mark.end_to_end


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


CASES: dict[str, Callable[[Path], object]] = {
    "a result": lambda run: (run / "good" / "result.json").unlink(),
    "a gate's folder": lambda run: shutil.rmtree(run / "good"),
    "evidence": lambda run: (run / "good" / "evidence" / "seen.txt").unlink(),
    "content of evidence": lambda run: edited(run / "good" / "evidence" / "seen.txt", "seen", "SEEN"),
    "the plan": lambda run: edited(run / "plan.json", '"limit":60', '"limit":61'),
    "the ledger": lambda run: (run.parent / "ledger.jsonl").unlink(),
    "the plan's digest": lambda run: edited(run.parent / "ledger.jsonl", '"plan":"', '"plan":"0'),
}


def test_taking_evidence_away_from_a_closed_run_makes_it_inconclusive(repository: Repository) -> None:
    """`gates report` exits 3 for a run that was READY, and the ledger gets no further line."""
    repository.spec(good={"do": "evidence"})
    assert repository.run() == 0
    whole = repository.path.parent / "whole"
    shutil.copytree(repository.runs, whole, symlinks=True)
    assert repository.run("report") == 0, "an untouched run stays ready"
    for name, harm in CASES.items():
        shutil.rmtree(repository.runs)
        shutil.copytree(whole, repository.runs, symlinks=True)
        harm(repository.latest)
        assert repository.run("report") == 3, name
        assert repository.report()["verdict"] == "inconclusive", name
        lines = repository.runs / "ledger.jsonl"
        assert not lines.exists() or len(lines.read_text().splitlines()) == 2, name


def test_a_broken_ledger_is_a_finding_of_the_next_run(repository: Repository) -> None:
    """An edited line breaks the chain: the next run names the line, is inconclusive, and adds its lines all the same."""
    repository.spec(good={"do": "fail"})
    assert repository.run() == 1
    edited(repository.runs / "ledger.jsonl", "not_ready", "ready")
    repository.spec(good={})
    assert repository.run() == 3
    assert repository.gate("good")["outcome"] == "pass"
    findings = repository.report()["findings"]
    assert [finding["location"] for finding in findings] == ["ledger.jsonl:2"]
    assert json.loads((repository.runs / "ledger.jsonl").read_text().splitlines()[-1])["verdict"] == "inconclusive"
