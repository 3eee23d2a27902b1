"""The kind `command`: the exit code, and measurements that were declared beforehand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from one_gate import planned, run, values

from gates.kinds.command import CommandKind
from gates.model import Execution, Outcome
from gates.spec import SpecErrors

WELL = {"exit": {"at_most": 0}}
STARTUP = {"startup": {"unit": "s", "rule": "single"}}
P99 = {"latency.p99": {"unit": "s", "rule": "percentile", "quantile": 0.99}}
FAST = {"metric": "latency.p99", "value": 0.01, "unit": "s", "n": 4000}
INTERVAL = {"low": 0.009, "high": 0.011, "level": 0.95, "method": "order statistics"}


def shell(script: str, **more: Any) -> dict[str, Any]:
    """Settings with a command that runs *script*."""
    return {"command": ["sh", "-c", script], **more}


def writing(*measurements: dict[str, Any], declares: dict[str, Any]) -> dict[str, Any]:
    """Settings with a command that writes *measurements* where they belong."""
    text = json.dumps({"measurements": measurements})
    return shell(f"cat > {{evidence}}/measurements.json <<'END'\n{text}\nEND", declares=declares)


@pytest.mark.parametrize(("script", "code"), [("true", 0), ("exit 3", 3), ("kill -9 $$", 137)])
def test_the_exit_code_is_a_metric(tmp_path: Path, script: str, code: int) -> None:
    """The code as the command ended; a death by signal is 128 more, so that `at_most: 0` never lets one through."""
    result, report = run(CommandKind(), tmp_path, shell(script), WELL)
    assert values(result) == {"exit": code, "valid.exit": code}
    assert report.outcome is (Outcome.FAIL if code else Outcome.PASS)


def test_a_command_that_is_not_there_is_inconclusive(tmp_path: Path) -> None:
    """No process, no exit code."""
    result, report = run(CommandKind(), tmp_path, {"command": ["no-such-command"]}, WELL)
    assert (result.execution, report.outcome, values(result)) == (Execution.FAILED_TO_RUN, Outcome.INCONCLUSIVE, {})
    assert "no-such-command" in result.reason


def test_declared_measurements_are_judged(tmp_path: Path) -> None:
    """A metric in the file, in its unit, is held against its limit."""
    settings = writing({"metric": "startup", "value": 0.3, "unit": "s", "n": 1}, declares=STARTUP)
    assert run(CommandKind(), tmp_path, settings, {"startup": {"below": "1 s"}})[1].outcome is Outcome.PASS
    assert run(CommandKind(), tmp_path, settings, {"startup": {"below": "200 ms"}})[1].outcome is Outcome.FAIL


def test_selectors_and_phases_are_part_of_the_name(tmp_path: Path) -> None:
    """A measurement can be of one endpoint."""
    settings = writing({"metric": "startup", "selector": "api", "value": 0.3, "unit": "s", "n": 1}, declares=STARTUP)
    assert run(CommandKind(), tmp_path, settings, {"startup/api": {"below": "1 s"}})[1].outcome is Outcome.PASS
    assert run(CommandKind(), tmp_path, settings, {"startup/web": {"below": "1 s"}})[1].outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('{"measurements": [{"metric": "startup", "value": NaN, "unit": "s", "n": 1}]}', "NaN"),
        ('{"measurements": [{"metric": "startup", "value": Infinity, "unit": "s", "n": 1}]}', "Infinity"),
        ('{"measurements": [{"metric": "other", "value": 1, "unit": "s", "n": 1}]}', "other is not declared"),
        ('{"measurements": [{"metric": "startup", "value": 1, "unit": "B", "n": 1}]}', "s is declared"),
        ('{"measurements": [{"metric": "startup", "value": 1, "unit": "s", "n": 0}]}', "0 samples"),
        ('{"measurements": [{"metric": "startup", "value": "fast", "unit": "s", "n": 1}]}', "expected float"),
        ('{"measurements": [{"metric": "startup", "value": 1, "unit": "s", "n": 1, "note": ""}]}', "unknown key"),
        ('{"measurements": [{"metric": "startup", "value": 1, "unit": "s"', "not valid JSON"),
        ("[]", "expected an object"),
        (json.dumps({"measurements": [{"metric": "startup", "value": 1, "unit": "s", "n": 1}] * 2}), "there twice"),
    ],
)
def test_a_file_that_breaks_its_shape_or_declaration_is_inconclusive(tmp_path: Path, content: str, why: str) -> None:
    """The whole file counts for nothing, with the reason; the exit code is still measured."""
    settings = shell(f"cat > {{evidence}}/measurements.json <<'END'\n{content}\nEND", declares=STARTUP)
    result, report = run(CommandKind(), tmp_path, settings, {"startup": {"below": "9 s"}, **WELL})
    assert report.outcome is Outcome.INCONCLUSIVE
    assert why in result.reason
    assert values(result) == {"exit": 0, "valid.exit": 0}


def test_missing_and_old_measurements_are_inconclusive(tmp_path: Path) -> None:
    """A command that writes nothing, and a file from before it, are no data."""
    settings = shell("true", declares=STARTUP, measurements="m.json")
    assert "did not write" in run(CommandKind(), tmp_path, settings, WELL)[0].reason
    (tmp_path / "m.json").write_text('{"measurements": []}')
    assert "older than this run" in run(CommandKind(), tmp_path, settings, WELL)[0].reason


def test_a_percentile_needs_an_interval_that_holds_it(tmp_path: Path) -> None:
    """A number of a rule with uncertainty must carry it."""
    limit = {"latency.p99": {"below": "50 ms"}}
    bare = run(CommandKind(), tmp_path, writing(FAST, declares=P99), limit)
    assert "has no interval" in bare[0].reason
    beside = FAST | {"interval": INTERVAL | {"low": 0.02, "high": 0.03}}
    assert "does not lie in its interval" in run(CommandKind(), tmp_path, writing(beside, declares=P99), limit)[0].reason


def test_too_few_samples_for_the_declared_rule_are_inconclusive(tmp_path: Path) -> None:
    """A p99 over 900 samples does not pass; over 1,000 it does."""
    limit = {"latency.p99": {"below": "50 ms"}}
    few, enough = (writing(FAST | {"n": n, "interval": INTERVAL}, declares=P99) for n in (999, 1000))
    assert run(CommandKind(), tmp_path, few, limit)[1].outcome is Outcome.INCONCLUSIVE
    assert run(CommandKind(), tmp_path, enough, limit)[1].outcome is Outcome.PASS


def test_too_few_samples_do_not_hide_a_breach(tmp_path: Path) -> None:
    """What is wholly on the wrong side fails, however few the samples."""
    settings = writing(FAST | {"n": 5, "interval": INTERVAL}, declares=P99)
    assert run(CommandKind(), tmp_path, settings, {"latency.p99": {"below": "1 ms"}})[1].outcome is Outcome.FAIL


@pytest.mark.parametrize(
    ("declares", "criteria", "why"),
    [
        ({}, {"startup": {"below": "1 s"}}, "not declared"),
        (STARTUP, {"startup": {"below": 1}}, "write the limit with its unit"),
        ({"p": {"unit": "s", "rule": "percentile"}}, WELL, "quantile"),
        ({"exit": {"unit": "count", "rule": "census"}}, WELL, "measured always"),
    ],
)
def test_what_can_not_be_measured_is_an_error_of_the_spec(
    tmp_path: Path, declares: dict[str, Any], criteria: dict[str, Any], why: str
) -> None:
    """A criterion over a metric that nobody declared, or in another unit, is found before the run."""
    with pytest.raises(SpecErrors, match=why):
        planned(CommandKind(), tmp_path, shell("true", declares=declares), criteria)


def test_a_command_that_fails_is_no_pass_where_nobody_asked_for_its_exit_code(tmp_path: Path) -> None:
    """What a command measured before it failed is no evidence, unless a limit on `exit` allows the failure."""
    limit = {"startup": {"below": "1 s"}}
    settings = writing({"metric": "startup", "value": 0.3, "unit": "s", "n": 1}, declares=STARTUP)
    failing = {**settings, "command": [*settings["command"][:2], settings["command"][2] + "\nexit 1"]}
    assert run(CommandKind(), tmp_path, settings, limit)[1].outcome is Outcome.PASS
    assert run(CommandKind(), tmp_path, failing, limit)[1].outcome is Outcome.INCONCLUSIVE
    assert run(CommandKind(), tmp_path, failing, {**limit, "exit": {"at_most": 1}})[1].outcome is Outcome.PASS
