"""How a run looks while it goes on."""

from __future__ import annotations

import io

import pytest

from gates.cli.live import Board, Lines
from gates.model import Commit, Execution, GateReport, GateResult, Outcome, Plan, PlannedGate

GATES = tuple(PlannedGate(name, "odd", {}, (), limit=60, budget=20) for name in ("unit", "sustained"))
PLAN = Plan("run-1", "2026-11-23T15:04:05.000Z", "0", "/", "r.yaml", "", "quick", 7, Commit(), {}, GATES, budget=180)
DONE = GateReport(
    GATES[0], Execution.COMPLETED, Outcome.FAIL, "failed is 2", (), GateResult("unit", Execution.COMPLETED, "", 12.5)
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_board_shows_each_gate_with_time_against_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line a gate, never wider than the terminal, the reason cut rather than wrapped."""
    monkeypatch.setenv("NO_COLOR", "1")
    now = 100.0
    board = Board(Terminal(), lambda: now)
    board.planned(PLAN, ("unit", "sustained"))
    board.finished(DONE)
    board.started(GATES[1], 1)
    now = 103.0
    head, unit, sustained = board.lines(60)
    assert "3.0 s of 3 min" in head
    assert unit.startswith("✗ unit ")
    assert "12.5 s of 20 s" in unit
    assert sustained.startswith("▸ sustained  running")
    assert "3.0 s of 20 s" in sustained
    assert max(map(len, board.lines(30))) < 30


def test_the_board_is_drawn_over_the_last_one() -> None:
    """The cursor goes up by as many lines as were drawn, so nothing of the old table stays."""
    terminal = Terminal()
    board = Board(terminal)
    board.planned(PLAN, ("unit", "sustained"))
    first = len(terminal.getvalue())
    board.waiting(GATES[1], "run other, gate burst (pid 4711)")
    assert terminal.getvalue()[first:].startswith("\x1b[3F\x1b[J")
    assert "waiting" in terminal.getvalue()[first:]


def test_elsewhere_every_event_is_a_line() -> None:
    """In CI or a pipe nothing is drawn over, and the gate's name begins what is said."""
    said: list[str] = []
    lines = Lines(said.append, io.StringIO())
    lines.planned(PLAN, ("unit",))
    lines.waiting(GATES[0], "run other, gate burst (pid 4711)")
    lines.started(GATES[0], 2)
    lines.finished(DONE)
    assert said == [
        "run run-1: 1 of 2 gates, profile quick, seed 7",
        "  unit waits for the machine: run other, gate burst (pid 4711)",
        "  unit starts, about 20 s, once more, because the machine spoiled the first attempt",
        "✗ fail  unit in 12.5 s: failed is 2",
    ]
