"""`gates faults` and the page that lists them say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from gates.cli.faults import faults_command
from gates.faults import capability
from gates.leftovers import PLACE, add, entries, unique

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide"


def test_every_fault_is_listed_with_what_it_needs_and_so_does_the_guide() -> None:
    """The same faults with the same controls; what the guide shows as an example has every setting that must be given."""
    pages = "".join(path.read_text("utf-8") for path in sorted(GUIDE.glob("*.md")))
    rows = re.findall(r"^\| `([\w-]+): {(.+?)}` \| .+ \| ([a-z, ]+) \|$", pages, re.MULTILINE)
    told = {name: (set(re.findall(r"(\w+):", settings)), controls.split(", ")) for name, settings, controls in rows}
    listed = json.loads(CliRunner().invoke(faults_command, ["--json"]).stdout)
    assert told.keys() == {each["fault"] for each in listed}
    for each in listed:
        settings, controls = told[each["fault"]]
        assert {name for name, must in each["settings"].items() if must} <= settings <= each["settings"].keys()
        assert controls == each["controls"]


@pytest.mark.parametrize("bare", [False, True])
def test_each_way_says_whether_it_works_here(bare: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not work has its reasons below the table, each once; JSON has them beside the way."""
    if bare:
        monkeypatch.setattr(capability, "works", lambda name: f"{name}: not here")
    listed = json.loads(CliRunner().invoke(faults_command, ["--json"]).stdout)
    ways = [(each["fault"], way) for each in listed for way in each["ways"]]
    text = CliRunner().invoke(faults_command).stdout
    assert ("crash", "") in {(fault, way["way"]) for fault, way in ways}
    for _, way in ways:
        reasons = [reason for reason in map(capability.works, way["capabilities"]) if reason]
        assert way["why_not"] == "; ".join(reasons)
        assert all(text.count(f"  {reason} (no ") == 1 for reason in reasons)
    assert text.count("  no    ") == sum(bool(way["why_not"]) for _, way in ways)


def test_the_table_marks_what_may_be_left_out() -> None:
    """One line a way; a setting with a default is in brackets."""
    lines = CliRunner().invoke(faults_command).stdout.splitlines()
    assert lines[0].split() == ["fault", "way", "here", "settings", "controls", "what", "it", "does"]
    assert any(re.match(r"lock +- +yes +node, file, \[vital] +data +Holds ", line) for line in lines)


def test_clean_undoes_what_the_dead_have_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names each thing; what lives is left alone; a thing that can't be undone makes it end with 3."""
    monkeypatch.setenv(PLACE, str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    dead, alive = tmp_path / unique("dead"), tmp_path / unique("alive")
    for path in (dead, alive):
        path.mkdir()
        add("folder", str(path))
    orphan = entries()[0].path
    orphan.write_text(re.sub(r'"started": \d+', '"started": 1', orphan.read_text()))
    done = CliRunner().invoke(faults_command, ["clean"])
    assert (done.exit_code, dead.exists(), alive.exists()) == (0, False, True)
    assert f"folder {dead}: undone" in done.stderr
    other = add("folder", str(tmp_path)).path
    other.write_text(re.sub(r'"started": \d+', '"started": 1', other.read_text()))
    assert CliRunner().invoke(faults_command, ["clean"]).exit_code == 3


def test_what_is_not_there_is_told_once_with_all_that_it_rules_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several ways lack the same thing, and each lacks several: a reader looks for the way that a scenario names."""
    monkeypatch.setattr(
        "gates.faults.capability.works", lambda name: f"{name}: it needs root" if name in ("nft", "tmpfs") else ""
    )
    printed = CliRunner().invoke(faults_command).stdout.partition("what this machine does not allow:\n")[2].splitlines()
    nft, tmpfs = printed
    assert tmpfs == "  tmpfs: it needs root (no disk-full by tmpfs)"
    assert re.fullmatch(r"  nft: it needs root \(no .*loss by namespace, partition by namespace\)", nft)
