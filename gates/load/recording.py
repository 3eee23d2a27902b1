"""Arrivals that were recorded, to be replayed: when each came, and perhaps which flow it was. Base dependencies only.

A file has a row an arrival, in order of time: CSV with a header or a JSON object a line (`gates.load.rows`). The column `at`
has seconds, counted from anywhere (the first arrival becomes second 0); `flow`, where it is there, the flow's name. The
evidence `arrivals.csv.gz` of a load can be replayed as it is: its column is `intended_s`.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gates.errors import BadFileError
from gates.load.plan import Replay
from gates.load.rows import Row, bad, content, digest, rows

TIMES = ("at", "intended_s")
FLOW = "flow"
MOST_RECORDED = 20_000_000


@dataclass(frozen=True, slots=True)
class Recording:
    """What a file holds.

    Attributes:
        times: seconds since the first arrival, ascending.
        names: of the flows, in order of their first arrival; empty when the file does not say.
        flow: index into *names* of each arrival; empty when the file does not say.
        sha256: of the file, in hex.
    """

    times: array[float]
    names: tuple[str, ...]
    flow: array[int]
    sha256: str

    @property
    def lasting(self) -> float:
        """Seconds until the last arrival, and one mean gap more."""
        count, last = len(self.times), self.times[-1]
        return last * count / (count - 1) if last > 0 else 1.0


def read_recording(path: Path, name: str) -> Recording:
    """The recording at *path*, which its user knows as *name*.

    Raises BadFileError at file:line:column: no such column, a time that is no number or goes backwards, no row at all.
    """
    data = content(path, name)
    times, flow, names = array("d"), array("h"), dict[str, int]()
    for row in rows(data, name):
        if len(times) >= MOST_RECORDED:
            raise BadFileError(f"more than {MOST_RECORDED:,} arrivals", location=f"{name}:{row.line}:1")
        column = _column(row, name)
        times.append(_time(row, column, name, times[-1] if times else -math.inf))
        if FLOW in row.values:
            flow.append(names.setdefault(_flow(row, name), len(names)))
        if len(flow) not in (0, len(times)):
            raise bad(name, row, FLOW, "some rows name their flow and some do not", "name all of them or none")
    if not times:
        raise BadFileError("no arrival in it", location=name, hint="a row an arrival: a header `at,flow` and then `0.5,NAME`")
    first = times[0]
    return Recording(array("d", (time - first for time in times)), tuple(names), flow, digest(data))


@lru_cache(maxsize=2)
def recorded(replay: Replay, root: Path) -> Recording:
    """What *replay* was planned from. Raises BadFileError when the file is another now."""
    found = read_recording(root / replay.file, replay.file)
    if found.sha256 != replay.sha256:
        hint = "plan again; a plan never changes"
        raise BadFileError("the file has changed since the run was planned", location=replay.file, hint=hint)
    return found


def _column(row: Row, name: str) -> str:
    found = next((column for column in TIMES if column in row.values), None)
    if found is None:
        there = ", ".join(row.values) or "none"
        line = 1 if name.removesuffix(".gz").endswith(".csv") else row.line
        raise BadFileError(f"no column `at`; it has {there}", location=f"{name}:{line}:1", hint="`at` is the time in seconds")
    return found


def _time(row: Row, column: str, name: str, before: float) -> float:
    given = row.values[column]
    try:
        time = float(given) if isinstance(given, (str, int, float)) and not isinstance(given, bool) else math.nan
    except ValueError:
        time = math.nan
    if not math.isfinite(time):
        raise bad(name, row, column, f"expected a number of seconds (got {given!r})")
    if time < before:
        raise bad(name, row, column, f"this arrival comes before the one above it ({time:g} after {before:g})", "sort the rows")
    return time


def _flow(row: Row, name: str) -> str:
    given = row.values[FLOW]
    if not isinstance(given, str) or not given:
        raise bad(name, row, FLOW, f"expected the name of a flow (got {given!r})")
    return given
