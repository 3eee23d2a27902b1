"""GitHub's step summary and annotations."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from gates.model import Finding, Level, LogTail, Report
from gates.report import github, markdown


def test_outside_of_github_nothing_is_written(report: Report, tmp_path: Path) -> None:
    """Both variables are needed."""
    stream, file = io.StringIO(), tmp_path / "summary.md"
    github.publish(report, {}, stream)
    github.publish(report, {"GITHUB_ACTIONS": "true"}, stream)
    github.publish(report, {"GITHUB_STEP_SUMMARY": str(file)}, stream)
    assert (stream.getvalue(), file.exists()) == ("", False)


def test_in_a_step_the_summary_is_appended(report: Report, tmp_path: Path) -> None:
    """What an earlier step wrote stays."""
    file, stream = tmp_path / "summary.md", io.StringIO()
    file.write_text("before\n")
    github.publish(report, {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(file)}, stream)
    assert file.read_text() == "before\n" + markdown.render(report)
    assert stream.getvalue().startswith("::error ")


def test_a_summary_that_fits_is_not_touched(report: Report) -> None:
    """Only what is too long is cut."""
    assert github.summary(report) == markdown.render(report)


@pytest.mark.parametrize("limit", [900, 1500, 2500, 4000, 5000])
def test_a_long_summary_ends_with_a_row_and_says_where_the_rest_is(report: Report, limit: int) -> None:
    """Within the limit in bytes, never in the middle of a row or a fenced block."""
    text = github.summary(report, limit)
    assert len(text.encode()) <= limit
    kept, _, rest = text.partition("\n**Cut here.**")
    assert "report.html" in rest
    assert kept.splitlines()[-1:] == [] or kept.splitlines()[-1].startswith("|")
    assert kept.count("```") % 2 == 0
    assert markdown.render(report).startswith(kept)


def test_a_summary_is_never_cut_inside_a_log(report: Report) -> None:
    """A log's line may look like a row of a table; a fence that stays open would swallow what follows."""
    gate = next(gate for gate in report.gates if gate.gate.name == "crash")
    assert gate.result
    log = LogTail("log", tuple(f"| line {number} |" for number in range(50)))
    odd = replace(report, gates=(replace(gate, result=replace(gate.result, exhibits=(log,))),))
    whole = markdown.render(odd)
    text = github.summary(odd, whole.index("| line 30 |"))
    assert "**Cut here.**" in text
    assert text.count("````") % 2 == 0


def test_the_gravest_annotations_come_first_at_their_line(report: Report) -> None:
    """Each names its file and line, so that GitHub shows it in the diff."""
    lines = github.workflow_commands(report)
    assert lines[0].startswith("::error title=NOT READY::primitives%3A".replace("%3A", ":"))
    assert lines[1].startswith(
        "::error file=workflows/readiness.yaml,line=14,title=primitives%3A fail::ratio/breaker.call.closed is"
    )
    levels = [line.split(" ")[0] for line in lines]
    assert levels == sorted(levels, key=["::error", "::warning", "::notice"].index)


def test_at_most_ten_are_written_and_the_tenth_counts_the_rest(report: Report) -> None:
    """GitHub would drop the eleventh without a word."""
    many = tuple(Finding(Level.ERROR, f"finding {index}") for index in range(30))
    lines = github.workflow_commands(replace(report, findings=many))
    assert len(lines) == 10
    assert "more: see the step summary" in lines[-1]


def test_a_message_can_not_start_another_command(report: Report) -> None:
    """Line ends and the separators of properties are escaped."""
    found = Finding(Level.ERROR, "a\n::set-output name=x::y 100%", "odd,name.py:3")
    (line,) = [line for line in github.workflow_commands(replace(report, findings=(found,))) if "set-output" in line]
    assert "\n" not in line
    assert "file=odd%2Cname.py,line=3" in line
    assert line.endswith("a%0A::set-output name=x::y 100%25")
