"""A load under way on a terminal: rates, percentiles beside their limits, errors, flows, phases and faults, the generator."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TextIO

from gates.cli.console import coloured
from gates.cli.live import size_of
from gates.load.validity import MOST_CPU, MOST_STEAL, most_lateness
from gates.load.watching import LAST, Live
from gates.model import Criterion, Unit
from gates.quantity import show

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

BAR = 10
MOST_ROWS = 6
WIDTH = 100


def drawn(live: Live, criteria: Sequence[Criterion], stream: TextIO, width: int) -> list[str]:
    """*live* as lines that are at most *width* wide; none when `rich` is not installed."""
    try:
        from rich.console import Console
    except ImportError:
        return []
    paper = io.StringIO()
    Console(
        file=paper, width=min(width, WIDTH) - 1, force_terminal=coloured(stream), no_color=not coloured(stream), highlight=False
    ).print(panel(live, criteria))
    return paper.getvalue().splitlines()


def panel(live: Live, criteria: Sequence[Criterion]) -> RenderableType:
    """The whole of it, to be printed by rich."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 3))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_row(_column(_rates(live)), _column(_latencies(live, criteria)))
    grid.add_row(_column(_flows(live)), _column(_generator(live, criteria)))
    errors = _column(_errors(live))
    grid.add_row(errors, _column(_stretches(live)))
    return grid


class Screen:
    """Draws the latest state over the last one; what was drawn last stays."""

    def __init__(self, stream: TextIO, criteria: Sequence[Criterion] = ()) -> None:
        self._stream, self._criteria = stream, criteria
        self._latest: Live | None = None
        self._shown: Live | None = None
        self._drawn = 0

    def tell(self, live: Live) -> None:
        """Keep *live* until it is drawn; called in the generator's thread, which must not wait for a terminal."""
        self._latest = live

    def draw(self) -> None:
        """Draw what was told last, when that is new."""
        live = self._latest
        if live is None or live is self._shown:
            return
        self._shown = live
        columns, rows = size_of(self._stream)
        lines = drawn(live, self._criteria, self._stream, columns)[: rows - 1] or [line(live)[: columns - 1]]
        up = f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""
        self._stream.write(up + "\n".join(lines) + "\n")
        self._stream.flush()
        self._drawn = len(lines)


def line(live: Live) -> str:
    """*live* in one line, for a pipe."""
    shown = ", ".join(f"{name} {show(value, Unit.SECONDS)}" for name, value in live.percentiles.items())
    late = show(live.late, Unit.SECONDS)
    return f"{live.second:4} s  {live.had:,} of {live.asked:,}/s  {live.errors:,} errors  {shown or 'no answer'}  late {late}"


def _column(rows: Iterable[tuple[str, str, str, bool]]) -> RenderableType:
    """Rows of a word, a value, a limit, and whether the value is beyond it."""
    from rich.table import Table
    from rich.text import Text

    found = list(rows)
    if not found:
        return Text()  # an empty table would take all the width that there is
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True, min_width=12)
    table.add_column(justify="right", no_wrap=True, min_width=10)
    table.add_column(no_wrap=True, style="dim")
    for word, value, limit, bad in found:
        cell: Text = Text(value, style="red" if bad else "")
        table.add_row(Text(word), cell, Text(f"{'!' if bad else ' '} {limit}" if limit else ""))
    return table


def _rates(live: Live) -> Iterator[tuple[str, str, str, bool]]:
    part = min(1.0, live.second / live.seconds) if live.seconds else 1.0
    yield "time", f"{live.second} s", f"of {show(live.seconds, Unit.SECONDS)} {'━' * round(part * BAR):<{BAR}}", False
    yield "asked for", f"{live.asked:,}/s", "", False
    yield "had", f"{live.had:,}/s", "", False
    yield "arrivals", f"{live.done:,}", f"of {live.planned:,}", False


def _latencies(live: Live, criteria: Sequence[Criterion]) -> Iterator[tuple[str, str, str, bool]]:
    yield f"of the last {LAST} s", "", "", False
    for name, value in live.percentiles.items():
        limit = _limit(criteria, f"latency.{name}")
        bad = limit is not None and value > limit[0]
        yield f"latency {name}", show(value, Unit.SECONDS), limit[1] if limit else "", bad
    share, limit = live.errors / live.done if live.done else 0.0, _limit(criteria, "errors.ratio")
    bad = limit is not None and share > limit[0]
    yield "errors so far", show(share, Unit.RATIO), limit[1] if limit else "", bad


def _flows(live: Live) -> Iterator[tuple[str, str, str, bool]]:
    for flow, (count, errors) in list(live.flows.items())[:MOST_ROWS]:
        yield flow, f"{count:,}", f"{errors:,} errors" if errors else "", errors > 0


def _errors(live: Live) -> Iterator[tuple[str, str, str, bool]]:
    for word, count in list(live.failures.items())[:MOST_ROWS]:
        yield word, f"{count:,}", "", True


def _stretches(live: Live) -> Iterator[tuple[str, str, str, bool]]:
    for each in live.stretches[:MOST_ROWS]:
        now = "now" if each.start <= live.second < each.end else "over" if live.second >= each.end else "to come"
        yield each.text, f"{each.start:g} to {each.end:g} s", now, False


def _generator(live: Live, criteria: Sequence[Criterion]) -> Iterator[tuple[str, str, str, bool]]:
    latest = most_lateness(criteria)
    yield "late at most", show(live.late, Unit.SECONDS), f"{show(latest, Unit.SECONDS)} at p99", live.late > latest
    for word, value, limit in (("its processor", live.cpu, MOST_CPU), ("stolen", live.steal, MOST_STEAL)):
        if value is not None:
            yield word, f"{value:.0%}", f"at most {limit:.0%}", value > limit
    if live.held is not None:
        yield "it waited", f"{live.held:.0%}", "for a processor", False
    yield "not taken up", f"{live.behind:,}", "", live.behind > 0


def _limit(criteria: Sequence[Criterion], metric: str) -> tuple[float, str] | None:
    """The tightest upper limit over *metric* of all flows, and as it was written."""
    found = [
        (each.limit, f"{each.comparator.replace('_', ' ')} {each.text}")
        for criterion in criteria
        if criterion.metric == metric and not criterion.selector
        for each in criterion.comparisons
        if each.comparator in ("below", "at_most")
    ]
    return min(found) if found else None
