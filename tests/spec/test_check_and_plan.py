"""The commands over a spec: what they print where, and how they end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from gates.cli.check import check_command, told_once
from gates.cli.plan import plan_command
from gates.cli.schema import schema_command
from gates.errors import GatesError
from gates.spec import Problem, SpecErrors, resolve
from gates.spec.schema import schema

Run = Callable[..., Result]


@pytest.fixture
def run(bench: Any, spec: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in a repository with a good spec and the tests' own plug-ins."""
    monkeypatch.chdir(bench.root)
    monkeypatch.setenv("NO_COLOR", "1")
    (bench.root / "workflows").mkdir()
    (bench.root / "workflows/readiness.yaml").write_text(spec)
    monkeypatch.setitem(resolve.__kwdefaults__, "plugins", bench.plugins)
    monkeypatch.setattr(schema, "__defaults__", (bench.plugins,))

    def invoke(command: click.Command, *arguments: str) -> Result:
        return CliRunner().invoke(command, list(arguments))

    return invoke


@pytest.mark.parametrize("command", [check_command, plan_command])
def test_the_root_is_the_repositorys_wherever_the_command_is_started(
    run: Run, bench: Any, monkeypatch: pytest.MonkeyPatch, command: click.Command
) -> None:
    """As with `gates run`: the files that a spec names are found from a subfolder too."""
    monkeypatch.chdir(bench.root / "workflows")
    assert run(command).exit_code == 0


def test_check_counts_every_profile_of_the_file(run: Run) -> None:
    """One line a profile, on stdout, and exit 0."""
    result = run(check_command)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "quick: 2 gates, 5 criteria, 1 claim",
        "standard: 2 gates, 5 criteria, 1 claim",
        "full: 3 gates, 7 criteria, 1 claim",
        "release: 2 gates, 5 criteria, 1 claim",
    ]


def test_check_of_one_profile_says_one_line(run: Run) -> None:
    """--profile narrows it."""
    assert run(check_command, "--profile", "full").stdout == "full: 3 gates, 7 criteria, 1 claim\n"


def test_check_finds_what_is_wrong_in_any_profile_once(run: Run, bench: Any, changed: Callable[[str, str], str]) -> None:
    """A mistake of full alone is found, and one of all profiles is said once; nothing is printed as if it were right."""
    text = changed("{latency.p99: {below: 1 s}}", "{latency.p98: {below: 1 s}}").replace("{at_most: 0}", "{at_mots: 0}")
    (bench.root / "bad.yaml").write_text(text)
    result = run(check_command, "bad.yaml")
    assert isinstance(result.exception, SpecErrors)
    assert int(result.exception.code) == 4
    assert result.stdout == ""
    assert [problem.path for problem in result.exception.problems] == [
        "gates.unit.criteria.failed.at_mots",
        "gates.soak.criteria.latency.p98",
    ]


def test_too_few_samples_in_every_profile_are_told_once(run: Run, bench: Any, changed: Callable[[str, str], str]) -> None:
    """The same line three times over is read as three mistakes."""

    def problem(profile: str, line: int = 3) -> Problem:
        return Problem("r.yaml", line, 1, "a.b", f"b needs 10 samples, and the profile {profile} gives it 5", hint="more")

    told = told_once({"quick": (problem("quick"),), "full": (problem("full"), problem("full", 4))})
    assert [(one.line, one.message) for one in told] == [
        (3, "b needs 10 samples, and the profile quick gives it 5; the same in full"),
        (4, "b needs 10 samples, and the profile full gives it 5"),
    ]


def test_check_as_json_is_one_value_right_or_wrong(run: Run, bench: Any, changed: Callable[[str, str], str]) -> None:
    """An editor reads it: what each profile has, and every problem with its place; the exit code stays."""
    right = json.loads(run(check_command, "--profile", "full", "--json").stdout)
    assert right["profiles"] == [{"profile": "full", "gates": 3, "criteria": 7, "claims": 1, "findings": []}]
    assert right["problems"] == []
    (bench.root / "bad.yaml").write_text(changed("{at_most: 0}", "{at_mots: 0}"))
    result = run(check_command, "bad.yaml", "--json")
    assert isinstance(result.exception, SpecErrors)
    (wrong,) = json.loads(result.stdout)["problems"]
    assert (wrong["path"], wrong["line"] > 0) == ("gates.unit.criteria.failed.at_mots", True)


def test_plan_shows_steps_times_and_what_is_left_out(run: Run) -> None:
    """The graph as a person reads it."""
    text = run(plan_command).stdout
    assert text.startswith("quick: 2 gates, 33 s of 3 min\n")
    assert text.index("step 1") < text.index("unit (check)") < text.index("step 2") < text.index("alone on the machine")
    assert "sustained (stream): 3 criteria, 13 s, at most 60 s, after unit" in text
    assert "not in this profile: soak" in text


def test_plan_says_what_is_missing_and_what_was_set(run: Run) -> None:
    """A control that is not there, and the overrides that took it away."""
    text = run(plan_command, "--set", "target={place: 'http://x'}").stdout
    assert "INCONCLUSIVE without running, missing: control 'kill' of the target" in text
    assert "set on the command line: target={place: 'http://x'}" in text


def test_plan_warns_when_the_gates_take_longer_than_the_profile_allows(run: Run) -> None:
    """33 seconds do not go into 10."""
    assert "longer than the profile's budget" in run(plan_command, "--set", "profiles.quick.budget=10 s").stdout


def test_plan_as_json_is_the_resolved_spec(run: Run) -> None:
    """One JSON value on stdout, in canonical form."""
    found = json.loads(run(plan_command, "--json", "--set", "gates.unit.limit=3 min").stdout)
    assert [(gate["name"], gate["limit"]) for gate in found["gates"]] == [("unit", 180.0), ("sustained", 60.0)]
    assert found["overrides"] == ["gates.unit.limit=3 min"]


def test_schema_prints_json(run: Run) -> None:
    """To be redirected into a file."""
    assert json.loads(run(schema_command).stdout)["title"] == "readiness.yaml"


@pytest.mark.parametrize("command", [check_command, plan_command])
def test_a_spec_that_is_not_there_is_said_by_name(
    command: click.Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default path is named in the message."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command, [])
    assert isinstance(result.exception, GatesError)
    assert str(result.exception).startswith("workflows/readiness.yaml: the file is not there")
