"""Evidence that was deleted or edited after the run never leaves it green."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gates import codec
from gates.errors import BadFileError
from gates.model import Verdict
from gates.pipeline.close import close
from gates.pipeline.ledger import Ledger

from .conftest import Repository

pytestmark = pytest.mark.end_to_end


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def measured_twice(run: Path) -> None:
    """The result as if it rested on two samples: the verdict stays the same."""
    edited(run / "good" / "result.json", '"metric":"value","n":1', '"metric":"value","n":2')


def shopped(run: Path) -> None:
    """The result as if it were another one, and the end of the run gone from the ledger."""
    measured_twice(run)
    ledger = run.parent / "ledger.jsonl"
    ledger.write_text(ledger.read_text().splitlines(keepends=True)[0])


CASES: dict[str, Callable[[Path], object]] = {
    "a result": lambda run: (run / "good" / "result.json").unlink(),
    "a gate's folder": lambda run: shutil.rmtree(run / "good"),
    "evidence": lambda run: (run / "good" / "evidence" / "seen.txt").unlink(),
    "content of evidence": lambda run: edited(run / "good" / "evidence" / "seen.txt", "seen", "SEEN"),
    "a measurement": measured_twice,
    "a measurement and the end in the ledger": shopped,
    "the ledger, now a folder": lambda run: ((run.parent / "ledger.jsonl").unlink(), (run.parent / "ledger.jsonl").mkdir()),
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
        assert not lines.is_file() or len(lines.read_text().splitlines()) == 2, name


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


def test_a_line_of_an_earlier_version_is_still_whole(repository: Repository) -> None:
    """A line is checked by what it holds, so a ledger outlives the entries that later versions add."""
    repository.spec(good={})
    assert repository.run() == 0
    ledger = repository.runs / "ledger.jsonl"
    first = json.loads(ledger.read_text().splitlines()[0])
    del first["results"]
    sealed = codec.dumps({**first, "own": codec.digest({**first, "own": ""})})
    ledger.write_text(sealed)
    assert Ledger(ledger).read().findings == ()


def test_a_run_without_its_plan_is_named(repository: Repository) -> None:
    """`latest` names a run whose plan was deleted: exit 4 with its name, not "there is no run"."""
    repository.spec(good={})
    assert repository.run() == 0
    (repository.latest / "plan.json").unlink()
    assert repository.run("report") == 4
    assert repository.latest.name in repository.said
    (repository.runs / "latest").unlink()
    assert repository.run("report") == 5


def test_a_result_that_cannot_be_shown_is_inconclusive(repository: Repository) -> None:
    """A number beyond all bounds and half a character in an edited result end in a report, not in an internal error."""
    for old, new in (('"value":0', f'"value":1{"0" * 400}'), ('"gate":"good"', '"gate":"good\\ud800"')):
        repository.spec(good={})
        assert repository.run() == 0
        edited(repository.latest / "good" / "result.json", old, new)
        assert repository.run("report") == 3
        assert "its result can't be used" in repository.gate("good")["reason"]


def test_any_damage_to_what_a_verdict_rests_on_keeps_it_from_ready(repository: Repository) -> None:
    """A flipped, removed or doubled piece of plan, ledger, results or evidence; only what means the same stays ready."""
    repository.spec(one={"do": "evidence"}, two={})
    assert repository.run() == 0
    run, chance = repository.latest, random.Random(20261123)
    files = [run / "plan.json", run.parent / "ledger.jsonl", *run.glob("*/result.json"), *run.glob("*/evidence/*")]
    contents = {path: path.read_bytes() for path in files}
    for number in range(200):
        path = chance.choice(files)
        harmed = damaged(contents[path], chance)
        if harmed == contents[path] or (path.name == "result.json" and same(harmed, contents[path])):
            continue
        path.write_bytes(harmed)
        try:
            assert close(run).verdict is not Verdict.READY, (number, path.name, harmed)
        except BadFileError:
            assert path.name == "plan.json"
        for each, content in contents.items():
            each.write_bytes(content)
    assert close(run).verdict is Verdict.READY


def same(harmed: bytes, content: bytes) -> bool:
    """Whether both are the same JSON, but for white space."""
    with contextlib.suppress(ValueError):
        return bool(json.loads(harmed) == json.loads(content))
    return False


def damaged(content: bytes, chance: random.Random) -> bytes:
    begin = chance.randrange(len(content))
    end = min(len(content), begin + chance.choice((1, 1, 2, 8, 64)))
    replacement = chance.choice((b"", b"0", b"1", b'"', b"\n", content[begin:end] * 2, bytes([chance.randrange(256)])))
    return content[:begin] + replacement + content[end:]
