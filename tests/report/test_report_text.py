"""The report in a terminal."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from gates.errors import Exit
from gates.model import Report, Verdict
from gates.report import text


@pytest.mark.parametrize(
    ("verdict", "code"),
    [(Verdict.READY, Exit.READY), (Verdict.NOT_READY, Exit.NOT_READY), (Verdict.INCONCLUSIVE, Exit.INCONCLUSIVE)],
)
def test_the_exit_code_says_the_verdict(report: Report, verdict: Verdict, code: Exit) -> None:
    """0 ready, 1 not ready, 3 inconclusive."""
    assert text.exit_of(replace(report, verdict=verdict)) is code


def test_the_table_has_a_sign_and_a_word_for_every_gate(report: Report) -> None:
    """Colour is never alone, and columns stand under each other."""
    lines = text.table(report).splitlines()
    assert len(lines) == 10
    column = lines[0].index("gate")
    for line, gate in zip(lines[1:], report.gates, strict=True):
        assert line[column:].startswith(gate.gate.name)
    assert lines[1].startswith("✓ pass")
    assert lines[2].startswith("✗ fail")
    assert lines[6].startswith("? inconclusive")


def test_what_to_do_follows_for_gates_that_need_a_person(report: Report) -> None:
    """The gate's own steps, how to have it explained, how to run only it."""
    shown = text.render(report)
    assert "explain it  ./noxw gates explain primitives:ratio/breaker.call.closed 20261123T150405Z-3f9c2ab-5c1e" in shown
    assert "run again   ./noxw gates run --profile standard --set 'gates.burst.limit=60 s' --only crash" in shown
    assert "--only unit" not in shown


def test_escapes_from_a_target_do_not_reach_the_terminal(report: Report) -> None:
    """A test's name can't clear somebody's screen."""
    assert "\x1b" not in text.render(replace(report, headline="\x1b[2J\x1b]0;owned\x07gone"))


def test_a_run_without_troubles_needs_no_advice(ready: Report) -> None:
    """Nothing to do is nothing said."""
    shown = text.render(ready)
    assert shown.startswith("READY  7 of 7 gates pass")
    assert "what to do" not in shown


def test_what_is_said_beside_a_fact_stands_in_brackets(report: Report) -> None:
    """`2 cores 666b` would be read as one thing, and so would `the first this machine only`."""
    lines = text.render(report).splitlines()
    assert re.search(r" cores \([0-9a-f]{4}\)$", next(line for line in lines if line.startswith("  machine ")))
    assert next(line for line in lines if line.startswith("  runs of")).endswith(" (this machine only)")
