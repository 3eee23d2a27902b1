"""`gates report`, `gates open` and `gates explain` over runs that were written to disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import realistic_report as realistic
from click.testing import CliRunner, Result

from gates import codec
from gates.cli.console import console
from gates.cli.main import cli
from gates.errors import Exit, GatesError, UsageError
from gates.model import Report
from gates.pipeline.folder import RunFolder, set_latest
from gates.report import schema

Gates = Callable[..., Result]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs with one run, not yet closed, whose results are the realistic ones."""
    for name in ("GATES_RUN", "GATES_ROOT", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(console, "quiet", False)
    plan, results, _ = realistic.parts()
    folder = RunFolder(tmp_path / ".readiness" / plan.run)
    folder.path.mkdir(parents=True)
    codec.write(folder.plan, plan)
    for name, result in results.items():
        folder.gate(name).path.mkdir()
        codec.write(folder.gate(name).result, replace(result, evidence=()))
    set_latest(folder)
    return folder.runs


@pytest.fixture
def closed(runs: Path, report: Report) -> Path:
    """The folder of a run that has its report."""
    folder = (runs / "latest").resolve()
    codec.write(folder / "readiness.json", report)
    return folder


@pytest.fixture
def gates() -> Gates:
    """The command in this process."""
    return lambda *arguments: CliRunner().invoke(cli, arguments)


def test_explain_reads_the_latest_run(closed: Path, gates: Gates) -> None:
    """Without RUN it is the run that started last; the explanation is data, on stdout."""
    done = gates("explain", "primitives:ratio/breaker.call.closed")
    assert done.exit_code == 0
    assert done.stdout.startswith("primitives:ratio/breaker.call.closed  ✗ fail\n")
    assert done.stderr == ""


def test_explain_can_speak_json(closed: Path, gates: Gates) -> None:
    """The criterion as readiness.json has it."""
    done = gates("explain", "unit:failed", "--json")
    assert json.loads(done.stdout)["outcome"] == "pass"


def test_explain_of_an_unknown_criterion_is_a_usage_error(closed: Path, gates: Gates) -> None:
    """With a suggestion."""
    done = gates("explain", "unit:faild")
    assert isinstance(done.exception, UsageError)
    assert "did you mean unit:failed?" in str(done.exception)


def test_a_run_that_was_not_closed_says_what_closes_it(runs: Path, gates: Gates) -> None:
    """Explain and open don't judge, they name the command that does."""
    for arguments in (("explain", "unit:failed"), ("open",)):
        done = gates(*arguments)
        assert isinstance(done.exception, GatesError)
        assert done.exception.code is Exit.BAD_FILE
        assert "gates report 20261123T150405Z-3f9c2ab-5c1e" in done.exception.hint


def test_open_prints_the_address_where_there_is_no_display(closed: Path, gates: Gates) -> None:
    """And renders the page when it is missing."""
    done = gates("open")
    assert done.stdout.strip() == (closed / "report.html").as_uri()
    assert (closed / "report.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize("command", [("report",), ("open",), ("explain", "unit:failed")])
def test_no_run_at_all_is_nothing_selected(tmp_path: Path, runs: Path, gates: Gates, command: tuple[str, ...]) -> None:
    """Exit 5, with the command that makes a run."""
    shutil.rmtree(runs)
    done = gates(*command)
    assert isinstance(done.exception, GatesError)
    assert done.exception.code is Exit.NOTHING_SELECTED
    assert "gates run" in done.exception.hint


def test_a_run_that_was_named_and_is_not_there_is_a_usage_error(runs: Path, gates: Gates) -> None:
    """A typing error is not an empty folder."""
    assert isinstance(gates("explain", "unit:failed", "20200101T000000Z-nogit-0000").exception, UsageError)


def test_report_judges_renders_and_exits_by_the_verdict(runs: Path, gates: Gates) -> None:
    """The table is talk, the verdict and the page are data, the exit code is 1 for NOT READY."""
    done = gates("report")
    assert done.exit_code == 1
    assert done.stdout == "NOT READY  .readiness/20261123T150405Z-3f9c2ab-5c1e/report.html\n"
    assert "✗ fail" in done.stderr
    names = {path.name for path in (runs / "latest").resolve().iterdir() if path.is_file()}
    assert {"readiness.json", "report.md", "report.html", "report.junit.xml"} <= names


def test_a_deleted_result_gives_inconclusive_and_exit_3(runs: Path, gates: Gates) -> None:
    """No data is never a pass: the failing gate's evidence is gone, and so is its failure, but not the doubt."""
    for gate in ("primitives", "unit"):
        shutil.rmtree(runs / "latest" / gate)
    done = gates("report")
    assert done.exit_code == 3
    assert done.stdout.startswith("INCONCLUSIVE  ")


@pytest.mark.parametrize(("wanted", "starts"), [("markdown", "# NOT READY"), ("html", "<!doctype html>"), ("junit", "<?xml")])
def test_a_rendering_can_be_had_on_stdout(runs: Path, gates: Gates, wanted: str, starts: str) -> None:
    """And nothing else is there."""
    assert gates("report", "--format", wanted).stdout.startswith(starts)


def test_json_on_stdout_is_the_report(runs: Path, gates: Gates) -> None:
    """Valid against the published schema, the same text as readiness.json."""
    done = gates("report", "--json")
    assert jsonschema.Draft202012Validator(schema.schema()).is_valid(json.loads(done.stdout))
    assert done.stdout == (runs / "latest" / "readiness.json").read_text()


def test_gates_run_wins_over_latest(runs: Path, gates: Gates, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session of Nox reports its own run, whatever started meanwhile."""
    monkeypatch.setenv("GATES_RUN", "20200101T000000Z-nogit-0000")
    done = gates("report")
    assert isinstance(done.exception, GatesError)
    assert done.exception.code is Exit.NOTHING_SELECTED


def test_in_github_actions_the_summary_is_written(
    runs: Path, gates: Gates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """stdout stays data: the annotations are on stderr."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    done = gates("report", "--json")
    assert (tmp_path / "summary.md").read_text().startswith("# NOT READY")
    assert "::error file=workflows/readiness.yaml,line=14," in done.stderr
    assert "::error" not in done.stdout
