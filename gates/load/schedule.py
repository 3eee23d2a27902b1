"""When each request starts and what it does: one seeded array, the same for the same seed, whoever runs it.

Three ways to have it, which give the same arrivals, numbers and hash::

    schedule(plan, endpoints, seed=7)               # the whole, 12 bytes an arrival
    schedule(plan, endpoints, seed=7).slice(k, n)   # worker k of n: arrivals k, k + n, k + 2n, ... of the whole
    blocks(plan, endpoints, seed=7)                 # an iterator of Schedules of some 65,536 arrivals each, for runs of any
                                                    # length: one after the other they are the whole; slice them for a worker

`arrivals.number(i)` is the number of the i-th row in the whole: keys, UUIDs and rows of feeds derive from it, so that they are
those of one worker. `arrivals.hash` is that of the whole also in a slice; who goes by blocks adds each (unsliced) to a
`ScheduleHash`, or takes `hash_of(plan, endpoints, seed=7)`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gates.load.curve import Curve
from gates.load.plan import EXPONENTIAL, LoadPlan
from gates.load.recording import recorded

BLOCK = 65_536
MOST_KEPT = 4
_FLOWS, _GAPS = 0, 1


@dataclass(frozen=True, slots=True)
class Schedule:
    """Arrivals in order of time.

    Attributes:
        intended: seconds from the start of load, float64.
        flow: index into *flows*, int16.
        endpoint: index into *endpoints*, int16.
        first: number of the first row in the whole schedule.
        step: by how much the number grows from row to row.
        whole: hash of the whole schedule; empty when these rows are the whole.
    """

    intended: NDArray[np.float64]
    flow: NDArray[np.int16]
    endpoint: NDArray[np.int16]
    flows: tuple[str, ...]
    endpoints: tuple[str, ...]
    first: int = 0
    step: int = 1
    whole: str = ""

    @property
    def hash(self) -> str:
        """sha256 of the arrivals of the whole schedule, in hex."""
        return self.whole or ScheduleHash().add(self).hex

    def number(self, row: int) -> int:
        """The number of *row* in the whole schedule."""
        return self.first + self.step * row

    def slice(self, k: int, n: int, *, whole: str = "") -> Schedule:
        """The arrivals whose number is k, k + n, k + 2n, ...

        Of a block the hash of the whole is not known: it is *whole*.
        """
        assert self.step == 1, "a slice is not sliced again"
        skipped = (k - self.first) % n
        rows = slice(skipped, None, n)
        return replace(
            self,
            intended=self.intended[rows],
            flow=self.flow[rows],
            endpoint=self.endpoint[rows],
            first=self.first + skipped,
            step=n,
            whole=whole or self.hash,
        )


class ScheduleHash:
    """The hash of a schedule, from its blocks in order."""

    def __init__(self) -> None:
        self._names = ""
        self._columns = (hashlib.sha256(), hashlib.sha256(), hashlib.sha256())

    def add(self, block: Schedule) -> ScheduleHash:
        """Take the next block in."""
        self._names = repr((block.flows, block.endpoints))
        for found, column in zip(self._columns, (block.intended, block.flow, block.endpoint), strict=True):
            found.update(np.ascontiguousarray(column).data)
        return self

    @property
    def hex(self) -> str:
        """sha256 of the names and of the sha256 of each column, in hex."""
        whole = hashlib.sha256(self._names.encode())
        for column in self._columns:
            whole.update(column.digest())
        return whole.hexdigest()


def schedule(plan: LoadPlan, endpoints: Sequence[str], *, seed: int) -> Schedule:
    """The arrivals of *plan* over *endpoints*. Raises BadFileError when a recording is not the one that was planned."""
    parts = list(blocks(plan, endpoints, seed=seed))
    return Schedule(
        intended=np.concatenate([part.intended for part in parts] or [np.empty(0)]),
        flow=np.concatenate([part.flow for part in parts] or [np.empty(0, np.int16)]),
        endpoint=np.concatenate([part.endpoint for part in parts] or [np.empty(0, np.int16)]),
        flows=tuple(sorted(plan.mix)),
        endpoints=tuple(endpoints),
    )


def hash_of(plan: LoadPlan, endpoints: Sequence[str], *, seed: int) -> str:
    """The hash of the schedule, made block by block."""
    found = ScheduleHash()
    for block in blocks(plan, endpoints, seed=seed):
        found.add(block)
    return found.hex


def blocks(plan: LoadPlan, endpoints: Sequence[str], *, seed: int) -> Iterator[Schedule]:
    """The arrivals of *plan* in pieces of whole stretches of the mix, each of about 65,536 arrivals.

    Flows keep their weights in every stretch of sum-of-weights arrivals, in a seeded order within it, so that each phase has
    the samples that were planned; a recording that names its flows keeps them. Endpoints take turns.
    """
    # by name, as plan.json sorts its keys: the same schedule from a scenario and from its plan
    flows, names = tuple(sorted(plan.mix)), tuple(endpoints)
    stretch, size = _stretch(plan.mix)
    times = _Times(plan, size, seed)
    fixed = np.array([_fixed(plan.flows[flow], names) for flow in flows], dtype=np.int16)
    for number, first in enumerate(range(0, plan.arrivals, size)):
        count = min(size, plan.arrivals - first)
        flow = times.flows(first, count)
        if flow is None:
            flow = _order(stretch, size, number, seed)[:count]
        yield Schedule(times.of(number, first, count), flow, _endpoints(flow, fixed, first, len(names)), flows, names, first)


class Turns:
    """Which turn an arrival has among those of the flows *users*: how many of them come before it in the whole schedule."""

    def __init__(self, plan: LoadPlan, users: Iterable[str], *, seed: int) -> None:
        self._seed = seed
        self._stretch, self._size = _stretch(plan.mix)
        chosen = set(users)
        self._mine = np.array([name in chosen for name in sorted(plan.mix)])
        self._a_block = int(np.count_nonzero(self._mine[self._stretch])) * (self._size // len(self._stretch))
        self._known: dict[int, list[int]] = {}
        self._recorded: list[int] | None = None
        if plan.replay and plan.replay.flows:
            times = _Times(plan, self._size, seed)
            flow = times.flows(0, plan.arrivals)
            assert flow is not None
            self._recorded = self._before(flow)

    def of(self, n: int) -> int:
        """The turn of arrival *n*, from 0."""
        if self._recorded is not None:
            return self._recorded[n]
        block, at = divmod(n, self._size)
        return block * self._a_block + self._block(block)[at]

    def _block(self, number: int) -> list[int]:
        if number not in self._known:
            if len(self._known) >= MOST_KEPT:
                del self._known[min(self._known)]
            self._known[number] = self._before(_order(self._stretch, self._size, number, self._seed))
        return self._known[number]

    def _before(self, flow: NDArray[np.int16]) -> list[int]:
        mine = self._mine[flow]
        before: list[int] = (np.cumsum(mine) - mine).tolist()
        return before


def _stretch(mix: Mapping[str, int]) -> tuple[NDArray[np.int16], int]:
    """The shortest run of arrivals in which all weights hold, and the length of a block of such runs."""
    weights = np.array([mix[name] for name in sorted(mix)], dtype=np.int64)
    weights //= math.gcd(*weights.tolist())
    stretch = np.repeat(np.arange(len(weights), dtype=np.int16), weights)
    return stretch, max(1, BLOCK // len(stretch)) * len(stretch)


def _order(stretch: NDArray[np.int16], size: int, number: int, seed: int) -> NDArray[np.int16]:
    """The flows of block *number*."""
    generator = np.random.default_rng([seed, _FLOWS, number])
    return generator.permuted(np.tile(stretch, (size // len(stretch), 1)), axis=1).reshape(-1)


def _endpoints(flow: NDArray[np.int16], fixed: NDArray[np.int16], first: int, count: int) -> NDArray[np.int16]:
    turns = ((first + np.arange(len(flow))) % count).astype(np.int16)
    return turns if (fixed < 0).all() else np.where(fixed[flow] < 0, turns, fixed[flow])


def _fixed(definition: Any, names: Sequence[str]) -> int:
    wanted = definition.get("endpoint", "any")
    return -1 if wanted == "any" else list(names).index(wanted)


class _Times:
    """When arrivals come, asked for block by block in their order."""

    def __init__(self, plan: LoadPlan, size: int, seed: int) -> None:
        self._plan = plan
        self._size = size
        self._seed = seed
        self._reached = 0.0
        self._recording = recorded(plan.replay, Path.cwd()) if plan.replay else None
        if self._recording:
            order = [sorted(plan.mix).index(name) if name in plan.mix else 0 for name in self._recording.names]
            self._order = np.array(order, dtype=np.int16)
        else:
            self._pieces = _Pieces(plan.curve)
            self._scale = plan.curve.total / self._whole() if plan.gaps == EXPONENTIAL else 1.0

    def of(self, number: int, first: int, count: int) -> NDArray[np.float64]:
        """Seconds from the start of load of *count* arrivals, which begin with arrival *first* and are block *number*."""
        if self._recording and self._plan.replay:
            return np.array(self._recording.times[first : first + count]) / self._plan.replay.speed
        if self._plan.gaps != EXPONENTIAL:
            return self._pieces.times(np.arange(first, first + count, dtype=np.float64))
        reached = self._reached + np.cumsum(self._gaps(number, count))
        self._reached = float(reached[-1])
        return self._pieces.times(reached * self._scale)

    def flows(self, first: int, count: int) -> NDArray[np.int16] | None:
        """The flows that were recorded; None when nobody says."""
        if self._recording is None or not self._recording.names:
            return None
        return np.asarray(self._order[np.array(self._recording.flow[first : first + count])])

    def _gaps(self, number: int, count: int) -> NDArray[np.float64]:
        return np.random.default_rng([self._seed, _GAPS, number]).standard_exponential(count)

    def _whole(self) -> float:
        """The sum of all gaps, with one more after the last arrival.

        Arrivals at the running sums over this whole are those of a Poisson process that is known to have so many of them
        (order statistics of uniform times); see Devroye, Non-Uniform Random Variate Generation, V.3.
        """
        arrivals, total, number = self._plan.arrivals, 0.0, -1
        for number, first in enumerate(range(0, arrivals, self._size)):
            total = float((total + np.cumsum(self._gaps(number, min(self._size, arrivals - first))))[-1])
        return total + float(self._gaps(number + 1, 1)[0])


class _Pieces:
    """A curve in arrays: what `Curve.time` does, for many arrivals at once, with the same bits."""

    def __init__(self, curve: Curve) -> None:
        self._masses = np.array(curve.masses)
        self._starts = np.array(curve.starts)
        self._lengths = np.array([piece.seconds for piece in curve.pieces])
        self._rates = np.array([piece.start for piece in curve.pieces])
        self._bends = np.array([(piece.end - piece.start) / piece.seconds for piece in curve.pieces])

    def times(self, masses: NDArray[np.float64]) -> NDArray[np.float64]:
        index = np.searchsorted(self._masses, masses, side="right") - 1
        left, rate = masses - self._masses[index], self._rates[index]
        root = np.sqrt(np.maximum(0.0, rate * rate + 2 * self._bends[index] * left))
        with np.errstate(invalid="ignore", divide="ignore"):
            into = np.minimum(2 * left / (rate + root), self._lengths[index])
        return np.asarray(self._starts[index] + np.where(left > 0, into, 0.0))
