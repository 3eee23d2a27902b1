"""Whether a criterion over latencies or errors is broken for good, so that the rest of the run would only take time.

A breach is *proven* when the phase so far proves it, by the same two bounds that the measurement's interval is the wider of
(`gates.load.statistics`): Clopper-Pearson for the share of arrivals beyond the limit, which for a percentile is its order
statistic, and a bootstrap over seconds of intended start. It is *sustained* when it has been proven for a while, what was
decided in that while proves it by itself, and the last second is no better than the limit: a server that has recovered is not
stopped for what it did before. What can't be cured, a count or a maximum beyond its limit, is sustained when it has stood for a
while.

An arrival without an answer that has waited longer than the limit is beyond it already; a younger one is not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gates.load.failure import WAITED, Failure
from gates.load.metrics import QUANTILES
from gates.load.statistics import clopper_pearson
from gates.model import Comparator, Criterion, Severity

ALL = "*"
OPEN = -1
SECOND = 1.0
RESAMPLES = 400
MOST_BLOCKS = 600
DOUBT = 0.01
"""Of the bootstrap; that of the measurement has 2.5 %, with other draws, and must not be less sure than this one."""
_UPPER = (Comparator.BELOW, Comparator.AT_MOST)
_TIMED = np.array([int(each) for each in (Failure.NONE, *WAITED)], dtype=np.int8)
Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Rows = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Breach:
    """A sustained breach of the criterion *criterion*; moments in seconds from the start of load."""

    criterion: str
    proven: float
    sustained: float


@dataclass(slots=True)
class _Seconds:
    """Arrivals by second of the load, and those of them beyond a limit. What comes after the end counts in the last."""

    counted: Counts
    beyond: Counts

    @classmethod
    def none(cls, seconds: int) -> _Seconds:
        return cls(np.zeros(seconds, dtype=np.int64), np.zeros(seconds, dtype=np.int64))

    def copy(self) -> _Seconds:
        return _Seconds(self.counted.copy(), self.beyond.copy())

    def add(self, when: Floats, wrong: Rows) -> None:
        """Count arrivals at *when*, of which those in *wrong* lie beyond the limit."""
        second = np.minimum(np.floor(when), len(self.counted) - 1).astype(np.int64)
        np.add.at(self.counted, second, 1)
        np.add.at(self.beyond, second[wrong], 1)

    def least_share(self, since: float = 0.0) -> float:
        """The least part that may lie beyond the limit, of what came from *since* on; 0 without any."""
        counted, beyond = self._from(since)
        return clopper_pearson(beyond, counted).low if counted else 0.0

    def share(self, since: float) -> float:
        """The part that lies beyond the limit, of what came from *since* on; 0 without any."""
        counted, beyond = self._from(since)
        return beyond / counted if counted else 0.0

    def _from(self, since: float) -> tuple[int, int]:
        late = slice(min(max(0, math.floor(since)), len(self.counted) - 1), None)
        return int(self.counted[late].sum()), int(self.beyond[late].sum())


@dataclass(slots=True)
class _Watched:
    """One limit over one group of arrivals.

    Attributes:
        allowed: the part of the arrivals that may lie beyond the limit; None for what may not happen at all.
        limit: in seconds, of a latency; for errors, how many there may be when *allowed* is None.
        first, last: the arrivals of its phase; *flow* is their number of a flow, or -1 for all.
        started, decided: arrivals and those of them beyond the limit, by second of their intended start and by the second in
            which that was known.
        since: when the breach was proven without a pause; None while it is not.
    """

    criterion: str
    errors: bool
    limit: float
    allowed: float | None
    first: int
    last: int
    flow: int
    started: _Seconds
    decided: _Seconds
    since: float | None = None


@dataclass(slots=True)
class Guard:
    """Watches *criteria* while a run goes on, and says when one of them is broken for good.

    Attributes:
        intended: of every arrival, in seconds from the start of load, in their order; *flow* of every arrival.
        flows: names of the flows by their number in *flow*.
        phases: from and to of each.
        after: for how long a breach must be proven, in seconds.
        found: the breach that ended the run.
    """

    intended: Floats
    flow: NDArray[np.int16]
    flows: Sequence[str]
    phases: Mapping[str, tuple[float, float]]
    criteria: Iterable[Criterion]
    after: float
    seed: int
    found: Breach | None = None
    _told: list[tuple[int, float, int]] = field(default_factory=list)
    _base: int = 0
    _latency: Floats = field(default_factory=lambda: np.empty(0))
    _failure: NDArray[np.int8] = field(default_factory=lambda: np.empty(0, dtype=np.int8))
    _watched: list[_Watched] = field(init=False)

    def __post_init__(self) -> None:
        self._watched = [watched for criterion in self.criteria for watched in self._made(criterion)]

    @property
    def watches(self) -> bool:
        """Whether there is anything to watch."""
        return bool(self._watched)

    def over(self, n: int, latency: float, failure: int) -> None:
        """Arrival *n* is over, *latency* seconds after its intended start."""
        self._told.append((n, latency, failure))

    def look(self, due: int, now: float) -> Breach | None:
        """The sustained breach, with *due* arrivals taken up and *now* seconds since the start of load."""
        self._take(due)
        settled = int(np.argmax(np.append(self._failure == OPEN, True)))
        for each in self._watched:
            self._count(each, slice(0, settled), now, each.started, each.decided)
            started, decided = each.started.copy(), each.decided.copy()
            self._count(each, slice(settled, due - self._base), now, started, decided)
            if self._sustained(each, started, decided, now):
                self.found = Breach(each.criterion, each.since or now, now)
                return self.found
        self._base, self._latency, self._failure = self._base + settled, self._latency[settled:], self._failure[settled:]
        return None

    def _take(self, due: int) -> None:
        """Keep what was told of the arrivals that are not settled: from *base* to *due*, in their order."""
        more = due - self._base - len(self._failure)
        self._latency = np.append(self._latency, np.zeros(more))
        self._failure = np.append(self._failure, np.full(more, OPEN, dtype=np.int8))
        told, self._told = self._told, []
        if told:
            numbers, latencies, failures = zip(*told, strict=True)
            at = np.array(numbers) - self._base
            self._latency[at], self._failure[at] = latencies, failures

    def _count(self, each: _Watched, rows: slice, now: float, started: _Seconds, decided: _Seconds) -> None:
        """Add *rows*, from *base*, to the seconds that they belong to."""
        first, last = max(rows.start, each.first - self._base), min(rows.stop, each.last - self._base)
        if last <= first:
            return
        there = slice(first + self._base, last + self._base)
        latency, failure, intended = self._latency[first:last], self._failure[first:last], self.intended[there]
        waiting = failure == OPEN
        taken = np.where(waiting, now - intended, latency)
        chosen = np.ones(last - first, dtype=np.bool_) if each.flow < 0 else self.flow[there] == each.flow
        if each.errors:
            held, wrong = chosen & ~waiting & (failure != Failure.ABANDONED), failure != Failure.NONE
        else:
            held, wrong = chosen & (waiting | np.isin(failure, _TIMED)), taken > each.limit
        known = held & (wrong | ~waiting)
        started.add(intended[held], wrong[held])
        decided.add((intended + (taken if each.errors else np.minimum(taken, each.limit)))[known], wrong[known])

    def _sustained(self, each: _Watched, started: _Seconds, decided: _Seconds, now: float) -> bool:
        if not self._proven(each, started):
            each.since = None
            return False
        each.since = now if each.since is None else each.since
        return now - each.since >= self.after and _lasts(each, decided, now, self.after)

    def _proven(self, each: _Watched, started: _Seconds) -> bool:
        if each.allowed is None:
            return int(started.beyond.sum()) > (each.limit if each.errors else 0)
        if started.least_share() <= each.allowed:
            return False
        return each.errors or self._holds_by_seconds(each.allowed, started)

    def _holds_by_seconds(self, allowed: float, started: _Seconds) -> bool:
        """Whether hardly any draw of the seconds has no more than *allowed* beyond the limit."""
        there = started.counted > 0
        counted, beyond = _merged(started.counted[there]), _merged(started.beyond[there])
        drawn = np.random.default_rng(self.seed).integers(0, len(counted), (RESAMPLES, len(counted)))
        share = beyond[drawn].sum(axis=1) / counted[drawn].sum(axis=1)
        return float(np.count_nonzero(share <= allowed)) / RESAMPLES < DOUBT

    # --- what is watched

    def _made(self, criterion: Criterion) -> Iterator[_Watched]:
        if criterion.severity is not Severity.BLOCKING or (criterion.phase and criterion.phase not in self.phases):
            return
        first, last = self._span(criterion.phase)
        seconds = math.floor(self.intended[-1]) + 1
        for limit, flow in itertools.product(_upper(criterion), self._of(criterion.selector)):
            what = _what(criterion.metric, limit)
            if what is not None:
                started, decided = _Seconds.none(seconds), _Seconds.none(seconds)
                yield _Watched(criterion.id, *what, first, last, flow, started, decided)

    def _span(self, phase: str) -> tuple[int, int]:
        if not phase:
            return 0, len(self.intended)
        start, end = np.searchsorted(self.intended, self.phases[phase])
        return int(start), int(end)

    def _of(self, selector: str) -> tuple[int, ...]:
        if selector == ALL:
            return tuple(range(len(self.flows)))
        return (-1,) if not selector else tuple(n for n, name in enumerate(self.flows) if name == selector)


def _upper(criterion: Criterion) -> list[float]:
    """The values beyond which *criterion* fails."""
    return [
        each.limit if each.fail_beyond is None else min(each.limit, each.fail_beyond)
        for each in criterion.comparisons
        if each.comparator in _UPPER
    ]


def _what(metric: str, limit: float) -> tuple[bool, float, float | None] | None:
    """Whether *metric* counts errors, the limit of each arrival, and which part of them may be beyond it; None for others."""
    name = metric.removeprefix("latency.")
    if metric == "errors.ratio":
        return True, math.inf, limit
    if metric == "errors.count":
        return True, limit, None
    if metric == "latency.max":
        return False, limit, None
    return (False, limit, 1 - QUANTILES[name]) if metric != name and name in QUANTILES else None


def _lasts(each: _Watched, decided: _Seconds, now: float, after: float) -> bool:
    """Whether a proven breach goes on."""
    if each.allowed is None:
        return True
    return decided.least_share(now - after) > each.allowed and decided.share(math.ceil(now - SECOND)) > each.allowed


def _merged(counts: Counts) -> Counts:
    """*counts* of neighbouring seconds together, so that there are few enough to draw from often."""
    width = -(-len(counts) // MOST_BLOCKS)
    return counts if width == 1 else np.add.reduceat(counts, np.arange(0, len(counts), width))
