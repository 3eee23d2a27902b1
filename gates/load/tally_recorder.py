"""The recorder of long runs, whose memory does not grow with the number of arrivals.

Of an arrival on its way two times are kept; what ended is collected in a list and counted a batch at a time. What was counted
goes to a file that has no name, so that it goes away with the process, and is added up when the run is over.
"""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gates.load.failure import Failure
from gates.load.histogram import DEFAULT, microseconds
from gates.load.outcome import Health
from gates.load.recorder import Examples
from gates.load.schedule import Schedule
from gates.load.selection import TIMED
from gates.load.tally import BUCKET, CELL, ENDED, LATENCY, LATENESS, SERVICE, Grid, Tally, TallyError, counted, summed

NAN = float("nan")
BATCH = 1_024
# Entries that are kept before they are added up and written: some 0.3 ms of work, and a quarter of a megabyte.
KEPT = 16_384
_TIMED = np.isin(np.arange(len(Failure)), TIMED)
_Ints = NDArray[np.int64]


class TallyRecorder:
    """Counts what a run tells. *zero* is the monotonic time of the start of load; *grid* divides the counts."""

    records = False

    def __init__(self, schedule: Schedule, zero: float, grid: Grid) -> None:
        self.schedule = schedule
        self.zero = zero
        self.dispatched: dict[int, float] = {}
        self.sent: dict[int, float] = {}
        self._grid = grid
        self._first = np.full(grid.shape, np.inf)
        self._last = np.full(grid.shape, -np.inf)
        self._batch: list[float] = []
        self._thought: dict[int, float] = {}
        self._counts = Spill()
        self._examples = Examples()

    def think(self, n: int, seconds: float) -> None:
        """The user of arrival *n* thought for *seconds*."""
        self._thought[n] = seconds

    def finish(self, n: int, now: float, failure: Failure, code: int, text: str = "") -> None:
        """Arrival *n* is over."""
        batch = self._batch
        if self._thought:
            now -= self._thought.pop(n, 0.0)
        batch += (n, self.dispatched.pop(n), self.sent.pop(n, NAN), now, failure)
        if text:
            self._examples.add(failure, text)
        if len(batch) >= 5 * BATCH:
            self._count()

    def operation(self, n: int, key: str, later_step: bool, value: Any, answer: Any) -> None:
        """Nothing: a run with a history keeps rows."""

    def outcome(self, due: int, end: float, health: Health, *, stopped: bool) -> Tally:
        """The counts; what was taken up and is not finished was never sent."""
        for n in sorted(self.dispatched):
            self.finish(n, end, Failure.UNSENT, 0)
        self._count()
        keys, counts = self._counts.all()
        tally = Tally(
            grid=self._grid,
            keys=keys,
            counts=counts,
            first=self._first,
            last=self._last,
            planned=len(self.schedule.intended),
            end=end - self.zero,
            health=health,
            schedule_hash=self.schedule.hash,
            stopped=stopped,
            examples=self._examples.all(),
        )
        if tally.due != due:
            raise TallyError(f"{due:,} arrivals became due and {tally.due:,} were counted")
        return tally

    def _count(self) -> None:
        rows = np.array(self._batch, dtype=np.float64).reshape(-1, 5)
        self._batch.clear()
        if not len(rows):
            return
        number, failure = rows[:, 0].astype(np.int64), rows[:, 4].astype(np.int64)
        dispatched, sent, over = (rows[:, column] - self.zero for column in (1, 2, 3))
        intended = self.schedule.intended[number]
        cells = self._grid.cells(intended, self.schedule.flow[number], self.schedule.endpoint[number])
        np.minimum.at(self._first.reshape(-1), cells, intended)
        np.maximum.at(self._last.reshape(-1), cells, over)
        timed, was_sent = _TIMED[failure], ~np.isnan(sent)
        served = timed & was_sent
        self._counts.add(
            np.concatenate(
                [
                    _keys(cells[timed], LATENCY, _bucket((over - intended)[timed])),
                    _keys(cells[served], SERVICE, _bucket((over - sent)[served])),
                    _keys(cells, LATENESS, _bucket(np.maximum(dispatched - intended, 0))),
                    _keys(cells, ENDED, failure * 2 + was_sent),
                ]
            )
        )


def _keys(cells: _Ints, what: int, place: _Ints) -> _Ints:
    return np.asarray((cells << CELL) | (what << BUCKET) | place)


def _bucket(seconds: NDArray[np.float64]) -> _Ints:
    return DEFAULT.places(microseconds(seconds))


class Spill:
    """Counts by key, of which no more than some are in memory."""

    def __init__(self, kept: int = KEPT) -> None:
        self._limit = kept
        self._kept: list[_Ints] = []
        self._size = 0
        self._file = tempfile.TemporaryFile(prefix="readiness-tally-")  # noqa: SIM115 - closed when it was added up

    def add(self, keys: _Ints) -> None:
        """Count each of *keys* once more."""
        self._kept.append(keys)
        self._size += len(keys)
        if self._size >= self._limit:
            self._write()

    def all(self) -> tuple[_Ints, _Ints]:
        """Each key, in order, and its count; nothing can be added afterwards."""
        self._write()
        with self._file:
            self._file.seek(0)
            pairs = np.frombuffer(self._file.read(), dtype=np.int64).reshape(-1, 2)
        return summed(pairs[:, 0], pairs[:, 1])

    def _write(self) -> None:
        if not self._size:
            return
        keys = np.concatenate(self._kept)
        pairs = np.stack(counted(keys), axis=1)
        self._kept.clear()
        self._size = 0
        try:
            self._file.write(pairs.tobytes())
        except OSError as error:
            raise TallyError(
                f"what was counted can't be kept: {error}", hint="make room in the folder that TMPDIR names"
            ) from None
