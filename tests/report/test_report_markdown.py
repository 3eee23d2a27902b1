"""The report as Markdown."""

from __future__ import annotations

import re
from dataclasses import replace

from hostile import rewritten
from markdown_it import MarkdownIt

from gates.model import Outcome, Report
from gates.report import markdown
from gates.report.html.gate import _criteria as criteria_html


def test_the_first_line_is_the_verdict_and_then_comes_the_reason(report: Report) -> None:
    """A person who reads no further knows what to do."""
    lines = [line for line in markdown.render(report).splitlines() if line]
    assert lines[0] == "# NOT READY"
    assert lines[2].startswith("**Why:** primitives: ratio/breaker.call.closed is 3.81x (95 % interval")


def test_every_gate_has_a_row_and_those_that_need_a_person_a_section(report: Report) -> None:
    """Passing gates stay short."""
    text = markdown.render(report)
    for gate in report.gates:
        assert f" | {gate.gate.name} | " in text
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Gates", "## ✗ primitives: fail", "## ? crash: inconclusive", "## Claims",
    ]  # fmt: skip


def test_claims_runs_findings_and_commands_are_told(report: Report) -> None:
    """Claims with their evidence, how the commit's runs ended, findings, what to paste."""
    text = markdown.render(report)
    assert "| ✗ fail | The recovery primitives are cheap" in text
    assert "before this one 1 abandoned, 1 not ready" in text
    assert "- **warning**: the working tree differs from the commit" in text
    assert "./noxw gates run --profile standard --set 'gates.burst.limit=60 s' --only primitives" in text


def test_every_table_has_as_many_cells_as_columns(report: Report) -> None:
    """Whatever is in a name, a row stays a row."""
    odd = rewritten(report, lambda text: f"{text} | a\n| b \\| `c|d`")
    widths: list[int] = []
    tables = 0
    for line in markdown.render(odd).splitlines():
        pipes = re.sub(r"\\[!-/:-@\[-`{-~]", "", line).count("|") if line.startswith("|") else 0
        tables += 1 if pipes and not widths else 0
        widths = [*widths, pipes] if pipes else []
        assert len(set(widths)) <= 1, line
    assert tables == 7


def test_markup_in_a_text_stays_text(report: Report) -> None:
    """No raw HTML, no link and no image of somebody else's making."""
    odd = rewritten(report, lambda _: "<img src=x onerror=alert(1)> ![x](http://h/i.png) [y](javascript:alert) ``` </details>")
    html = MarkdownIt("commonmark").render(markdown.render(odd))
    assert "<img src=x" not in html
    assert "javascript:" not in html.replace("(javascript:alert)", "")


def test_the_same_report_gives_the_same_bytes(report: Report) -> None:
    """Rendering is pure."""
    assert markdown.render(report) == markdown.render(report)


def test_the_reason_stands_beside_the_measurement_that_it_is_about(report: Report) -> None:
    """Of a criterion over many, the row that fails has the words, and a row that passes has none."""
    gate = next(one for one in report.gates if one.gate.name == "accounts")
    many = next(each for each in gate.criteria if each.criterion.id == "mana.imbalance/*")
    outcomes = (Outcome.PASS, Outcome.FAIL, Outcome.PASS)
    failing = replace(many, outcome=Outcome.FAIL, outcomes=outcomes, reason="node-b went wrong")
    changed = replace(gate, outcome=Outcome.FAIL, criteria=(failing,))
    whole = replace(report, gates=tuple(changed if one is gate else one for one in report.gates))
    said = [line for line in markdown.render(whole).splitlines() if line.startswith(("| ✓ pass | `mana", "| ✗ fail | `mana"))]
    assert ["node-b went wrong" in line for line in said] == [False, True, False]
    rows = re.findall(r"<tr[^>]*>.*?mana.*?</tr>", criteria_html(changed))
    assert ["node-b went wrong" in row for row in rows] == [False, True, False]
    assert f"explain 'accounts:mana.imbalance/*' {whole.plan.run}" in markdown.render(whole)
