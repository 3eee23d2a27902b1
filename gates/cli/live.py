"""How a run looks while it goes on: a table that is redrawn in place on a terminal, a line an event elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from gates.cli.console import DIM, GREEN, RED, YELLOW, console, live, paint
from gates.model import GateReport, Outcome, Plan, PlannedGate, Unit
from gates.quantity import show
from gates.report.reading import SIGNS, WORDS

COLOURS = {Outcome.PASS: GREEN, Outcome.FAIL: RED, Outcome.INCONCLUSIVE: YELLOW, Outcome.NOT_APPLICABLE: DIM}
EVERY = 0.25


@dataclass(slots=True)
class _Row:
    """A gate as it stands now; *since* is the monotonic time at which it started."""

    gate: PlannedGate
    word: str = "planned"
    since: float | None = None
    took: float = 0.0
    outcome: Outcome | None = None
    note: str = ""

    def seconds(self, now: float) -> float:
        return now - self.since if self.since is not None else self.took


class Lines:
    """A line an event, for logs and pipes."""

    def __init__(self, say: Callable[[str], None], stream: TextIO) -> None:
        self._say, self._stream = say, stream

    def planned(self, plan: Plan, selected: tuple[str, ...]) -> None:
        self._say(f"run {plan.run}: {len(selected)} of {len(plan.gates)} gates, profile {plan.profile}, seed {plan.seed}")

    def waiting(self, gate: PlannedGate, whom: str) -> None:
        self._say(f"  {gate.name} waits for the machine: {whom}")

    def started(self, gate: PlannedGate, attempt: int) -> None:
        again = ", once more, because the machine spoiled the first attempt" if attempt > 1 else ""
        about = f", about {show(gate.budget, Unit.SECONDS)}" if gate.budget else ""
        self._say(f"  {gate.name} starts{about}{again}")

    def finished(self, report: GateReport) -> None:
        took = report.result.seconds if report.result else 0.0
        verdict = paint(f"{SIGNS[report.outcome]} {WORDS[report.outcome]}", COLOURS[report.outcome], self._stream)
        self._say(f"{verdict}  {report.gate.name} in {_time(took)}: {report.reason}")


@dataclass
class Board:
    """A table of gates that is drawn over itself, with a dashboard of each load that is under way below it.

    *folder* gives the folder of a gate, where its process leaves how its load stands.
    """

    stream: TextIO
    clock: Callable[[], float] = time.monotonic
    folder: Callable[[str], Path] | None = None
    _rows: dict[str, _Row] = field(default_factory=dict)
    _head: str = ""
    _begin: float = 0.0
    _budget: float = 0.0
    _drawn: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def planned(self, plan: Plan, selected: tuple[str, ...]) -> None:
        self._rows = {gate.name: _Row(gate) for gate in plan.gates if gate.name in selected}
        self._head, self._begin, self._budget = f"run {plan.run}, profile {plan.profile}", self.clock(), plan.budget
        self.draw()

    def waiting(self, gate: PlannedGate, whom: str) -> None:
        self._change(gate, "waiting", note=f"for {whom}")

    def started(self, gate: PlannedGate, attempt: int) -> None:
        self._change(gate, "running", since=self.clock(), note="second attempt" if attempt > 1 else "")

    def finished(self, report: GateReport) -> None:
        took = report.result.seconds if report.result else 0.0
        self._change(report.gate, WORDS[report.outcome], took=took, outcome=report.outcome, note=report.reason)

    def _change(
        self,
        gate: PlannedGate,
        word: str,
        *,
        since: float | None = None,
        took: float = 0.0,
        outcome: Outcome | None = None,
        note: str = "",
    ) -> None:
        with self._lock:
            self._rows[gate.name] = _Row(gate, word, since, took, outcome, note)
            self.draw()

    def draw(self) -> None:
        """Draw the table over the last one."""
        with self._lock:
            self._erase()
            columns, rows = size_of(self.stream)
            lines = self.lines(columns)
            below = self.dashboards(columns)
            if len(lines) + len(below) < rows:  # what has scrolled away can't be drawn over
                lines += below
            self.stream.write("\n".join(lines) + "\n")
            self.stream.flush()
            self._drawn = len(lines)

    def lines(self, width: int) -> list[str]:
        """The table now, each line at most *width* wide."""
        now = self.clock()
        of = f" of {show(self._budget, Unit.SECONDS)}" if self._budget else ""
        head = f"{self._head}  {_time(now - self._begin)}{of}"[: width - 1]
        longest = max((len(name) for name in self._rows), default=0)
        return [head, *(self._line(row, longest, width, now) for row in self._rows.values())]

    def dashboards(self, width: int) -> list[str]:
        """How each load that is under way stands, each line at most *width* wide."""
        from gates.cli.dashboard import drawn
        from gates.load.watching import read

        found: list[str] = []
        for name, row in self._rows.items() if self.folder else ():
            state = read(self.folder(name)) if self.folder and row.word == "running" else None
            if state is not None:
                found += ["", *drawn(state, row.gate.criteria, self.stream, width)]
        return found

    def _line(self, row: _Row, longest: int, width: int, now: float) -> str:
        sign = SIGNS[row.outcome] if row.outcome else {"running": "▸", "waiting": "…"}.get(row.word, " ")
        budget = f" of {show(row.gate.budget, Unit.SECONDS)}" if row.gate.budget else ""
        taken = f"{_time(row.seconds(now)):>7}{budget}"
        text = f"{sign} {row.gate.name.ljust(longest)}  {row.word:<14} {taken:<18} {' '.join(row.note.split())}"[: width - 1]
        return paint(text, COLOURS[row.outcome], self.stream) if row.outcome else text

    def _erase(self) -> None:
        if self._drawn:
            self.stream.write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{int(seconds // 60)}:{int(seconds % 60):02d} min"


def size_of(stream: TextIO) -> tuple[int, int]:
    """Columns and lines of the terminal."""
    import os

    try:
        found = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return 80, 24
    return found.columns or 80, found.lines or 24


@contextmanager
def progress(
    plan: Plan, selected: Sequence[str], stream: TextIO | None = None, folder: Callable[[str], Path] | None = None
) -> Iterator[Board | Lines]:
    """What watches a run: a board on a terminal that can be drawn over, else lines. *folder* gives that of a gate."""
    stream = stream or sys.stderr
    if console.quiet or not live(stream):
        lines = Lines(console.talk, stream)
        lines.planned(plan, tuple(selected))
        yield lines
        return
    board, over = Board(stream, folder=folder), threading.Event()
    board.planned(plan, tuple(selected))
    drawer = threading.Thread(target=_redraw, args=(board, over), daemon=True)
    drawer.start()
    try:
        yield board
    finally:
        over.set()
        drawer.join()
        board.draw()


def _redraw(board: Board, over: threading.Event) -> None:
    while not over.wait(EVERY):
        board.draw()
