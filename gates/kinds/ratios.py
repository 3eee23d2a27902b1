"""Benchmark rounds to ratios: each benchmark against the calibration runs right before and after it. Pure.

The interval is a seeded bootstrap: the rounds of each side are cut into blocks of neighbours, and medians of blocks are drawn
again. Blocks, since neighbouring rounds share the machine's state; both sides are drawn, and the calibration's blocks come from
both runs, so a machine that changes its pace between them widens the interval. One process shares its memory layout and hash
seed over all rounds: the interval says what this process saw, not what the next would.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from gates.model import Interval, Measurement, Unit

METHOD = "bootstrap over blocks of rounds"
LEVEL = 0.95
BLOCKS = 20
RESAMPLES = 2000
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Rounds:
    """One benchmark as it ran: seconds a call for every round, in order."""

    name: str
    seconds: tuple[float, ...]
    iterations: int = 1

    @property
    def median(self) -> float:
        return median(self.seconds)

    def quantile(self, quantile: float) -> float:
        """By nearest rank."""
        ranked = sorted(self.seconds)
        return ranked[min(len(ranked) - 1, int(quantile * len(ranked)))]


def ratio(rounds: Rounds, controls: Sequence[Rounds], seed: int) -> Measurement:
    """`ratio/NAME`: the median of *rounds* over the median of the *controls* together, with its interval."""
    control = [second for each in controls for second in each.seconds]
    value = rounds.median / median(control)
    ours = _blocks(rounds.seconds, BLOCKS)
    theirs = [block for each in controls for block in _blocks(each.seconds, BLOCKS // len(controls))]
    drawn = _drawn(ours, theirs, random.Random(f"{seed}/{rounds.name}"))
    low, high = drawn[int(len(drawn) * (1 - LEVEL) / 2)], drawn[int(len(drawn) * (1 + LEVEL) / 2)]
    interval = Interval(min(low, value), max(high, value), LEVEL, METHOD)
    return Measurement("ratio", value, Unit.FACTOR, len(rounds.seconds), interval, selector=rounds.name)


def nearest(position: int, controls: Sequence[int]) -> tuple[int, ...]:
    """Of the positions of *controls*, the last before *position* and the first after it."""
    before = [each for each in controls if each < position]
    after = [each for each in controls if each > position]
    return (*before[-1:], *after[:1])


def drift(controls: Sequence[Rounds]) -> float:
    """How far apart the calibration runs lie: the slowest median over the fastest."""
    medians = [each.median for each in controls]
    return max(medians) / min(medians)


def _blocks(seconds: Sequence[float], wanted: int) -> list[float]:
    count = min(wanted, len(seconds))
    edges = [len(seconds) * index // count for index in range(count + 1)]
    return [median(seconds[start:end]) for start, end in zip(edges, edges[1:], strict=False)]


def _drawn(ours: Sequence[float], theirs: Sequence[float], generator: random.Random) -> list[float]:
    draw = generator.choices
    return sorted(median(draw(ours, k=len(ours))) / median(draw(theirs, k=len(theirs))) for _ in range(RESAMPLES))
