"""Some of the arrivals of a run, by time, flow and endpoint: what every number, plot and table of a load is made from.

A run leaves rows or, when it was long, counts; both answer the same questions, so that nothing else knows the difference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from gates.load.failure import WAITED, Failure
from gates.load.histogram import Histogram
from gates.load.statistics import percentiles, rank
from gates.model import Interval

if TYPE_CHECKING:
    from gates.load.outcome import Health

_Floats = NDArray[np.float64]
_Rows = NDArray[np.bool_]
TIMED = tuple(int(kind) for kind in (Failure.NONE, *WAITED))


class Sample(Protocol):
    """Times in seconds of one kind."""

    @property
    def count(self) -> int: ...

    @property
    def longest(self) -> float:
        """The longest; of counted times the upper edge of its bucket. There must be one."""

    def quantile(self, quantile: float) -> float:
        """The smallest time with at least that part of all at or below it. There must be one."""

    def percentiles(self, quantiles: Sequence[float], *, seed: int) -> list[tuple[float, Interval]]:
        """Each of *quantiles* with its 95 % interval. There must be a time."""

    def histogram(self) -> Histogram:
        """All of them, in microseconds."""


class Selection(Protocol):
    """Arrivals that became due.

    Attributes:
        count: how many.
        right: of how many every check held.
        wrong: how many ended in an error; of what was abandoned nobody knows.
        sent: of how many a request was written.
        failures: how many ended in each class of failure.
        first, last: the first intended start and the last end, in seconds from the start of load.
        latency: from the intended start to the end, of right answers and of waits that ended without one.
        service: from the first byte sent to the end, of those of them that were sent.
        lateness: how late the generator took each arrival up.
    """

    @property
    def count(self) -> int: ...

    @property
    def right(self) -> int: ...

    @property
    def wrong(self) -> int: ...

    @property
    def sent(self) -> int: ...

    @property
    def failures(self) -> Mapping[Failure, int]: ...

    @property
    def first(self) -> float: ...

    @property
    def last(self) -> float: ...

    @property
    def latency(self) -> Sample: ...

    @property
    def service(self) -> Sample: ...

    @property
    def lateness(self) -> Sample: ...


class Outcome(Protocol):
    """What a run left, in rows or in counts. *block* is the length of its blocks of time, in seconds."""

    @property
    def flows(self) -> tuple[str, ...]: ...

    @property
    def endpoints(self) -> tuple[str, ...]: ...

    @property
    def planned(self) -> int: ...

    @property
    def due(self) -> int:
        """How many arrivals became due."""

    @property
    def end(self) -> float: ...

    @property
    def health(self) -> Health: ...

    @property
    def schedule_hash(self) -> str: ...

    @property
    def stopped(self) -> bool: ...

    @property
    def examples(self) -> Mapping[Failure, tuple[str, ...]]: ...

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong beside the arrivals, in sentences."""

    @property
    def block(self) -> int: ...

    def select(
        self,
        start: float = -np.inf,
        end: float = np.inf,
        *,
        flows: Collection[int] | None = None,
        endpoints: Collection[int] | None = None,
    ) -> Selection:
        """Arrivals with an intended start from *start* to before *end*, of *flows* and *endpoints* (indices; None is all)."""

    def by_block(self) -> Iterator[tuple[float, Selection]]:
        """The start of each block of time that has arrivals, and its arrivals."""


# --- rows -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RowSample:
    """Times as they were measured, each with the intended start of its arrival."""

    values: _Floats
    at: _Floats
    block: int

    @property
    def count(self) -> int:
        return len(self.values)

    @property
    def longest(self) -> float:
        return float(self.values.max())

    def quantile(self, quantile: float) -> float:
        place = rank(len(self.values), quantile) - 1
        return float(np.partition(self.values, place)[place])

    def percentiles(self, quantiles: Sequence[float], *, seed: int) -> list[tuple[float, Interval]]:
        return percentiles(self.values, self.at, quantiles, seed=seed, length=self.block)

    def histogram(self) -> Histogram:
        made = Histogram()
        made.record_seconds(self.values)
        return made


@dataclass(frozen=True, slots=True)
class RowSelection:
    """Arrivals in columns, as in `LoadOutcome`."""

    intended: _Floats
    dispatched: _Floats
    sent_at: _Floats
    completed: _Floats
    failure: NDArray[np.int8]
    block: int
    thought: _Floats | None = None

    def where(self, rows: _Rows | slice) -> RowSelection:
        """Some of them."""
        return RowSelection(
            self.intended[rows],
            self.dispatched[rows],
            self.sent_at[rows],
            self.completed[rows],
            self.failure[rows],
            self.block,
            None if self.thought is None else self.thought[rows],
        )

    @property
    def count(self) -> int:
        return len(self.intended)

    @property
    def right(self) -> int:
        return int(np.count_nonzero(self.failure == Failure.NONE))

    @property
    def wrong(self) -> int:
        return int(np.count_nonzero((self.failure != Failure.NONE) & (self.failure != Failure.ABANDONED)))

    @property
    def sent(self) -> int:
        return int(np.count_nonzero(~np.isnan(self.sent_at)))

    @property
    def failures(self) -> Mapping[Failure, int]:
        counted = Counter(self.failure.tolist())
        return {kind: counted[kind] for kind in Failure if kind is not Failure.NONE and counted[kind]}

    @property
    def first(self) -> float:
        return float(self.intended.min())

    @property
    def last(self) -> float:
        return float(self.completed.max())

    @property
    def latency(self) -> RowSample:
        timed = np.isin(self.failure, TIMED)
        return self._sample(self._worked - self.intended, timed)

    @property
    def service(self) -> RowSample:
        served = np.isin(self.failure, TIMED) & ~np.isnan(self.sent_at)
        return self._sample(self._worked - self.sent_at, served)

    @property
    def lateness(self) -> RowSample:
        return RowSample(np.maximum(self.dispatched - self.intended, 0), self.intended, self.block)

    @property
    def _worked(self) -> _Floats:
        """When each was over had its user not thought."""
        return self.completed if self.thought is None else self.completed - self.thought

    def _sample(self, values: _Floats, rows: _Rows) -> RowSample:
        return RowSample(values[rows], self.intended[rows], self.block)
