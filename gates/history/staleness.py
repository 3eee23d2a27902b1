"""Reads that may be old, as long as they say how old: a value is stale when it was overwritten for longer than its age."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from gates.history.access import Access, Action


@dataclass(frozen=True, slots=True)
class Staleness:
    """What reads returned.

    Attributes:
        checked: reads that were looked at.
        declared: of which said that they were old.
        undeclared: keys and reads of a value that was overwritten earlier than the read says.
        phantoms: keys and reads of a value that nobody had written yet.
        too_old: keys and reads that are older, by their own word, than is allowed.
    """

    checked: int
    declared: int
    undeclared: tuple[tuple[Any, Access], ...]
    phantoms: tuple[tuple[Any, Access], ...]
    too_old: tuple[tuple[Any, Access], ...]

    @property
    def wrong(self) -> int:
        return len({id(read) for _, read in (*self.undeclared, *self.phantoms, *self.too_old)})


def staleness(keys: Mapping[Any, Sequence[Access]], initial: Hashable = None, *, oldest: float = math.inf) -> Staleness:
    """Look at every read of *keys*; none may be more than *oldest* seconds old."""
    reads, undeclared, phantoms = [], [], []
    for key, accesses in keys.items():
        spans = {value: _Spans(found) for value, found in _spans(accesses, initial).items()}
        for read in (access for access in accesses if access.action is Action.READ):
            reads.append((key, read))
            until = spans[read.value].until(read.completed) if read.value in spans else None
            if until is None:
                phantoms.append((key, read))
            elif read.invoked - read.age > until:
                undeclared.append((key, read))
    too_old = tuple(each for each in reads if each[1].age > oldest)
    declared = sum(read.age > 0 for _, read in reads)
    return Staleness(len(reads), declared, tuple(undeclared), tuple(phantoms), too_old)


class _Spans:
    """When one value could be the current one: each write of it has a span, and one that begins later excuses no read."""

    def __init__(self, spans: Iterable[tuple[float, float]]) -> None:
        ordered = sorted(spans)
        self._begins = [begin for begin, _ in ordered]
        self._ends = list(accumulate((end for _, end in ordered), max))

    def until(self, moment: float) -> float | None:
        """The latest end of those that had begun by *moment*; None when none had."""
        begun = bisect_right(self._begins, moment)
        return self._ends[begun - 1] if begun else None


def _spans(accesses: Sequence[Access], initial: Hashable) -> dict[Hashable, list[tuple[float, float]]]:
    """By value, from when until when it could be the current one: until a write that surely came after it was answered."""
    writes = [access for access in accesses if access.action is not Action.READ]
    answered = sorted((access for access in writes if access.certain), key=lambda access: access.invoked)
    begins = [access.invoked for access in answered]
    earliest = _suffix_minima([access.completed for access in answered])
    spans: dict[Hashable, list[tuple[float, float]]] = {initial: [(-math.inf, earliest[0])]}
    for write in writes:
        over = earliest[bisect_right(begins, write.completed)]
        spans.setdefault(write.value, []).append((write.invoked, over))
    return spans


def _suffix_minima(values: Iterable[float]) -> list[float]:
    """For every place the least value from there on, and at last infinity."""
    minima = [math.inf]
    for value in reversed(list(values)):
        minima.append(min(minima[-1], value))
    return minima[::-1]
