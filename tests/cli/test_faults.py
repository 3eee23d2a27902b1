"""`gates faults` and the page that lists them say the same."""

from __future__ import annotations

import json
import re
from pathlib import Path

from click.testing import CliRunner

from gates.cli.faults import faults_command

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "validation.md"


def test_every_fault_is_listed_with_what_it_needs_and_so_does_the_guide() -> None:
    """The same faults with the same controls; what the guide shows as an example has every setting that must be given."""
    rows = re.findall(r"^\| `(\w+): {(.+?)}` \| .+ \| ([a-z, ]+) \|$", GUIDE.read_text("utf-8"), re.MULTILINE)
    told = {name: (set(re.findall(r"(\w+):", settings)), controls.split(", ")) for name, settings, controls in rows}
    listed = json.loads(CliRunner().invoke(faults_command, ["--json"]).stdout)
    needed = {each["fault"]: {name for name, must in each["settings"].items() if must} for each in listed}
    assert told == {each["fault"]: (needed[each["fault"]], each["controls"]) for each in listed}


def test_the_table_marks_what_may_be_left_out() -> None:
    """One line a fault; a setting with a default is in brackets."""
    lines = CliRunner().invoke(faults_command).stdout.splitlines()
    assert lines[0].split() == ["fault", "settings", "controls", "what", "it", "does"]
    assert any(re.match(r"lock +node, file, \[vital] +data +Holds ", line) for line in lines)
