"""What a long run leaves: for each block of time, flow and endpoint, how arrivals ended and histograms of their times.

All of it is one list of counts by key, kept in the order of the keys. A key says block, flow, endpoint, what is counted and its
bucket, so that adding up two lists adds up everything in them, exactly: slices of a run that were measured apart are the whole.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gates.errors import Exit, GatesError
from gates.load.failure import Failure
from gates.load.histogram import DEFAULT, PER_SECOND, Histogram
from gates.load.outcome import Health
from gates.load.selection import Selection
from gates.load.statistics import Bins, binned_percentiles, block_length, rank
from gates.model import Interval

# What is counted, in the two bits above the bucket.
LATENCY, SERVICE, LATENESS, ENDED = range(4)
BUCKET = 15
CELL = BUCKET + 2
_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]
_HALF = 0.5  # of a microsecond, by which a time was rounded at most


class TallyError(GatesError):
    """Counts that can't answer a question, or that don't add up with others."""

    code = Exit.INCONCLUSIVE


@dataclass(frozen=True, slots=True)
class Grid:
    """Into what a tally is divided: *edges* of blocks of intended start in seconds, flows and endpoints."""

    edges: tuple[float, ...]
    flows: tuple[str, ...]
    endpoints: tuple[str, ...]
    block: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.edges) - 1, len(self.flows), len(self.endpoints)

    def cells(self, intended: _Floats, flow: NDArray[np.int16], endpoint: NDArray[np.int16]) -> _Ints:
        """The cell of each arrival."""
        block = np.searchsorted(self.edges, intended, side="right") - 1
        _, flows, endpoints = self.shape
        return np.asarray((block * flows + flow) * endpoints + endpoint, dtype=np.int64)

    def edge(self, moment: float) -> int:
        """The number of the edge at *moment*; beyond both ends the first and the last. Raises TallyError between two."""
        if moment <= self.edges[0]:
            return 0
        if moment >= self.edges[-1]:
            return len(self.edges) - 1
        found = int(np.searchsorted(self.edges, moment))
        if self.edges[found] != moment:
            raise TallyError(
                f"counts are kept from {self.edges[found - 1]:g} s to {self.edges[found]:g} s, and {moment:g} s lies between",
                hint="give the phase when the run is recorded",
            )
        return found


def grid(last: float, phases: Mapping[str, tuple[float, float]], flows: Sequence[str], endpoints: Sequence[str]) -> Grid:
    """Blocks up to the intended start *last*, cut again where one of *phases* begins or ends."""
    length = block_length(last)
    cuts = {float(edge) for span in phases.values() for edge in span if 0 < edge < last + length}
    edges = sorted({*np.arange(0.0, last + length + 1e-9, length).tolist(), *cuts})
    return Grid(tuple(edges), tuple(flows), tuple(endpoints), length)


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """One worker of a scaled-out run.

    Attributes:
        name, address: of the worker, as its cluster calls it.
        planned: arrivals of its slice.
        sent: how many of them were sent.
        health: of its own generator.
        lateness: 99th percentile, in seconds.
        offset: its wall clock minus ours, in seconds.
        uncertainty: half the time that asking took: the offset is that well known.
    """

    name: str
    address: str
    planned: int
    sent: int
    health: Health
    lateness: float
    offset: float
    uncertainty: float


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Counts over the arrivals that became due. Times in seconds from the start of load.

    Attributes:
        grid: what the counts are divided into.
        keys, counts: of everything, in the order of the keys; see above.
        first, last: of each cell the first intended start and the last end, infinite without an arrival.
        planned, end, health, schedule_hash, stopped, examples: as of a `LoadOutcome`.
        workers: of a scaled-out run.
        problems: what went wrong beside the arrivals, in sentences.
    """

    grid: Grid
    keys: _Ints
    counts: _Ints
    first: _Floats
    last: _Floats
    planned: int
    end: float
    health: Health
    schedule_hash: str
    stopped: bool = False
    examples: Mapping[Failure, tuple[str, ...]] = field(default_factory=dict)
    workers: tuple[WorkerReport, ...] = ()
    problems: tuple[str, ...] = ()

    def __reduce__(self) -> tuple[Callable[..., Tally], tuple[bytes, dict[str, Any]]]:
        """A worker's result: keys as the steps between them, which pack to a small part."""
        rest = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in ("keys", "counts")}
        steps = np.diff(self.keys, prepend=0)
        return _unpacked, (zlib.compress(np.concatenate([steps, self.counts]).tobytes(), 1), rest)

    @property
    def flows(self) -> tuple[str, ...]:
        return self.grid.flows

    @property
    def endpoints(self) -> tuple[str, ...]:
        return self.grid.endpoints

    @property
    def block(self) -> int:
        return self.grid.block

    @property
    def due(self) -> int:
        return self.select().count

    def select(
        self,
        start: float = -np.inf,
        end: float = np.inf,
        *,
        flows: Collection[int] | None = None,
        endpoints: Collection[int] | None = None,
    ) -> TallySelection:
        """As `Outcome.select`. Raises TallyError when *start* or *end* cut a block."""
        return self._blocks(self.grid.edge(start), self.grid.edge(end), flows, endpoints)

    def by_block(self) -> Iterator[tuple[float, Selection]]:
        """As `Outcome.by_block`: what a phase had cut is one again."""
        edges = np.array(self.grid.edges)
        number = np.floor(edges[:-1] / self.block)
        starts = np.flatnonzero(np.diff(number, prepend=-1.0))
        for begin, end in zip(starts, [*starts[1:], len(number)], strict=True):
            found = self._blocks(int(begin), int(end), None, None)
            if found.count:
                yield float(number[begin] * self.block), found

    def _blocks(self, begin: int, end: int, flows: Collection[int] | None, endpoints: Collection[int] | None) -> TallySelection:
        _, all_flows, all_endpoints = self.grid.shape
        width = all_flows * all_endpoints
        part = slice(*np.searchsorted(self.keys, [begin * width << CELL, end * width << CELL]))
        chosen = np.zeros(self.first.shape, dtype=np.bool_)
        wanted = np.ix_(
            range(begin, end),
            sorted(range(all_flows) if flows is None else flows),
            sorted(range(all_endpoints) if endpoints is None else endpoints),
        )
        chosen[wanted] = True
        rows = chosen.reshape(-1)[self.keys[part] >> CELL]
        return TallySelection(self.grid, self.keys[part][rows], self.counts[part][rows], self.first[chosen], self.last[chosen])


def _unpacked(packed: bytes, rest: dict[str, Any]) -> Tally:
    steps, counts = np.frombuffer(zlib.decompress(packed), dtype=np.int64).reshape(2, -1)
    return Tally(keys=np.cumsum(steps), counts=counts, **rest)


@dataclass(frozen=True, slots=True, eq=False)
class TallySelection:
    """Some of the counts of a tally."""

    grid: Grid
    keys: _Ints
    counts: _Ints
    starts: _Floats
    ends: _Floats

    @property
    def count(self) -> int:
        return self._of(ENDED).count

    @property
    def right(self) -> int:
        return self._ended().get(Failure.NONE, 0)

    @property
    def sent(self) -> int:
        ended = self._of(ENDED)
        return int(ended.counted[ended.bucket % 2 == 1].sum())

    @property
    def wrong(self) -> int:
        return self.count - self.right - self.failures.get(Failure.ABANDONED, 0)

    @property
    def failures(self) -> Mapping[Failure, int]:
        return {kind: count for kind, count in self._ended().items() if kind is not Failure.NONE}

    @property
    def first(self) -> float:
        return float(self.starts.min())

    @property
    def last(self) -> float:
        return float(self.ends.max())

    @property
    def latency(self) -> TallySample:
        return self._of(LATENCY)

    @property
    def service(self) -> TallySample:
        return self._of(SERVICE)

    @property
    def lateness(self) -> TallySample:
        return self._of(LATENESS)

    def _ended(self) -> dict[Failure, int]:
        ended = self._of(ENDED)
        counted = np.bincount(ended.bucket >> 1, ended.counted, len(Failure)).astype(np.int64).tolist()
        return {kind: counted[kind] for kind in Failure if counted[kind]}

    def _of(self, what: int) -> TallySample:
        rows = (self.keys >> BUCKET) & 3 == what
        keys = self.keys[rows]
        _, flows, endpoints = self.grid.shape
        moment = np.array(self.grid.edges)[(keys >> CELL) // (flows * endpoints)]
        block = np.floor(moment / self.grid.block).astype(np.int64)
        return TallySample(block, keys & ((1 << BUCKET) - 1), self.counts[rows])


@dataclass(frozen=True, slots=True, eq=False)
class TallySample:
    """Counted times: of each entry its block of time, its bucket and how many."""

    at: _Ints
    bucket: _Ints
    counted: _Ints

    @property
    def count(self) -> int:
        return int(self.counted.sum())

    @property
    def longest(self) -> float:
        return self.quantile(1.0)

    def quantile(self, quantile: float) -> float:
        order = np.argsort(self.bucket, kind="stable")
        reached = np.cumsum(self.counted[order])
        place = int(np.searchsorted(reached, rank(int(reached[-1]), quantile)))
        return float(DEFAULT.highs(self.bucket[order][place : place + 1])[0]) / PER_SECOND

    def percentiles(self, quantiles: Sequence[float], *, seed: int) -> list[tuple[float, Interval]]:
        held, place = np.unique(self.bucket, return_inverse=True)
        lows, highs = DEFAULT.lows(held), DEFAULT.highs(held)
        bins = Bins(
            values=highs / PER_SECOND,
            lows=np.maximum(lows - _HALF, 0) / PER_SECOND,
            highs=(highs + _HALF) / PER_SECOND,
            block=self.at,
            bin=place,
            count=self.counted,
        )
        return binned_percentiles(bins, quantiles, seed=seed)

    def histogram(self) -> Histogram:
        made = Histogram()
        np.add.at(made.counts, self.bucket, self.counted)
        return made


# --- adding up --------------------------------------------------------------------------------------------------------


def summed(keys: _Ints, counts: _Ints) -> tuple[_Ints, _Ints]:
    """Each key once, in order, with the sum of its counts."""
    if not len(keys):
        return keys, counts
    order = np.argsort(keys)
    ordered = keys[order]
    starts = _starts(ordered)
    return ordered[starts], np.add.reduceat(counts[order], starts)


def counted(keys: _Ints) -> tuple[_Ints, _Ints]:
    """Each of *keys* once, in order, and how often it is there."""
    ordered = np.sort(keys)
    starts = _starts(ordered)
    return ordered[starts], np.diff(starts, append=len(ordered))


def _starts(ordered: _Ints) -> NDArray[np.intp]:
    """Where each key begins."""
    return np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))


def merged(tallies: Sequence[Tally]) -> Tally:
    """One tally of all *tallies*, which are slices of one run: the same as if one worker had counted everything.

    Raises TallyError when they are not of the same run.
    """
    if not tallies:
        raise TallyError("there is nothing to add up")
    return reduce(_added, tallies)


def _added(one: Tally, other: Tally) -> Tally:
    if (one.grid, one.schedule_hash) != (other.grid, other.schedule_hash):
        raise TallyError(
            f"slices of different runs don't add up: schedules {one.schedule_hash[:16]} and {other.schedule_hash[:16]}",
            hint="workers need the same release of this package and of numpy",
        )
    keys, counts = summed(np.concatenate([one.keys, other.keys]), np.concatenate([one.counts, other.counts]))
    return replace(
        one,
        keys=keys,
        counts=counts,
        first=np.minimum(one.first, other.first),
        last=np.maximum(one.last, other.last),
        planned=one.planned + other.planned,
        end=max(one.end, other.end),
        health=one.health.worse(other.health),
        stopped=one.stopped or other.stopped,
        examples={kind: _texts(one, other, kind) for kind in sorted({*one.examples, *other.examples})},
        workers=(*one.workers, *other.workers),
    )


def _texts(one: Tally, other: Tally, kind: Failure) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*one.examples.get(kind, ()), *other.examples.get(kind, ()))))[:5]
