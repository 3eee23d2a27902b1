"""What a load run leaves: a row for each arrival, in columns, and the health of the generator."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gates.load.failure import WAITED, Failure
from gates.load.selection import RowSelection
from gates.load.statistics import block_length
from gates.model import Operation


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the generator itself could keep up.

    Attributes:
        cpu: processor time of the generator's thread divided by wall time.
        steal: part of the machine's processor time that the hypervisor took; None where it can't be read.
        clock_jump: how far the wall clock moved against the monotonic one, in seconds.
        pacing: `timerfd`, `timer` or `spin`.
        held: part of the time for which its thread could have run and had no processor; None where it can't be read.
    """

    cpu: float
    steal: float | None
    clock_jump: float
    pacing: str
    held: float | None = None

    def worse(self, other: Health) -> Health:
        """The worse of both in everything; what one could not read is unknown."""
        steal = None if self.steal is None or other.steal is None else max(self.steal, other.steal)
        pacing = self.pacing if self.pacing == other.pacing else f"{self.pacing}, {other.pacing}"
        held = None if self.held is None or other.held is None else max(self.held, other.held)
        return Health(max(self.cpu, other.cpu), steal, max(self.clock_jump, other.clock_jump), pacing, held)


@dataclass(frozen=True, slots=True)
class SecondReport:
    """One second of a run, for people who watch.

    Attributes:
        due: arrivals that were taken up since the start.
        done, errors: arrivals that ended in this second, and those of them in an error; *latencies* of all, in seconds.
        scheduled: arrivals that should have been taken up since the start.
        failures: errors of this second by their class.
        flows: arrivals of this second, and errors, by flow.
        late: how late an arrival of this second was taken up at most, in seconds.
        health: of the generator in this second.
    """

    second: int
    due: int
    done: int
    errors: int
    latencies: tuple[float, ...]
    scheduled: int = 0
    failures: Mapping[Failure, int] = field(default_factory=dict)
    flows: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    late: float = 0.0
    health: Health | None = None


@dataclass(frozen=True, slots=True)
class LoadOutcome:
    """Columns over the arrivals that became due; times in seconds from the start of load, NaN where it did not happen.

    Attributes:
        intended: when it should start; latency counts from here.
        dispatched: when the generator took it up; the difference is its lateness.
        sent: when its first request was written to a connection.
        completed: when it was over, one way or the other; for UNSENT the end of the run.
        flow, endpoint: indices into *flows* and *endpoints*.
        code: status of the last response, 0 without one.
        failure: a `Failure`.
        planned: arrivals of the schedule; more than there are rows when the run was stopped.
        end: when the run was over.
        examples: a few messages of each class of failure.
        operations: one for each row, when the run recorded them.
        thought: for how long of each the user thought, in seconds; None when nobody did.
        given: what the set-up captured.
        problems: what went wrong beside the arrivals, in sentences.
    """

    intended: NDArray[np.float64]
    dispatched: NDArray[np.float64]
    sent: NDArray[np.float64]
    completed: NDArray[np.float64]
    flow: NDArray[np.int16]
    endpoint: NDArray[np.int16]
    code: NDArray[np.int16]
    failure: NDArray[np.int8]
    flows: tuple[str, ...]
    endpoints: tuple[str, ...]
    planned: int
    end: float
    health: Health
    schedule_hash: str
    stopped: bool = False
    examples: Mapping[Failure, tuple[str, ...]] = field(default_factory=dict)
    operations: tuple[Operation, ...] = ()
    thought: NDArray[np.float64] | None = None
    given: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def latency(self) -> NDArray[np.float64]:
        """From the intended start to the end, without what the user thought, for every row."""
        return np.asarray(self.completed - self.intended - (0.0 if self.thought is None else self.thought))

    @property
    def service(self) -> NDArray[np.float64]:
        """From the first byte sent to the end, for every row; NaN for what was never sent."""
        return np.asarray(self.completed - self.sent - (0.0 if self.thought is None else self.thought))

    @property
    def lateness(self) -> NDArray[np.float64]:
        """How late the generator took each arrival up."""
        return np.asarray(self.dispatched - self.intended)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Rows in which every check held."""
        return np.asarray(self.failure == Failure.NONE)

    @property
    def timed(self) -> NDArray[np.bool_]:
        """Rows whose latency counts: right answers, and waits that ended without one, which bound it from below."""
        return np.isin(self.failure, [Failure.NONE, *WAITED])

    @property
    def unsent(self) -> int:
        return int(np.count_nonzero(self.failure == Failure.UNSENT))

    @property
    def failures(self) -> Mapping[Failure, int]:
        """How many rows ended in each class of failure."""
        return self.select().failures

    @property
    def due(self) -> int:
        return len(self.intended)

    @property
    def block(self) -> int:
        return block_length(float(self.intended[-1])) if self.due else 1

    def select(
        self,
        start: float = -np.inf,
        end: float = np.inf,
        *,
        flows: Collection[int] | None = None,
        endpoints: Collection[int] | None = None,
    ) -> RowSelection:
        """As `Outcome.select`."""
        part = slice(*np.searchsorted(self.intended, [start, end]))
        found = self._rows().where(part)
        if flows is None and endpoints is None:
            return found
        rows = np.ones(found.count, dtype=np.bool_)
        for column, wanted in ((self.flow, flows), (self.endpoint, endpoints)):
            if wanted is not None:
                rows &= np.isin(column[part], list(wanted))
        return found.where(rows)

    def by_block(self) -> Iterator[tuple[float, RowSelection]]:
        """As `Outcome.by_block`."""
        rows, number = self._rows(), np.floor(self.intended / self.block)
        starts = np.flatnonzero(np.diff(number, prepend=-1.0))
        for begin, end in zip(starts, [*starts[1:], len(number)], strict=True):
            yield float(number[begin] * self.block), rows.where(slice(begin, end))

    def _rows(self) -> RowSelection:
        return RowSelection(self.intended, self.dispatched, self.sent, self.completed, self.failure, self.block, self.thought)
