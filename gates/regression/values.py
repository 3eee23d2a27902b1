"""The values of a comparison: what is asked for, what one pair of processes measured, and what that says of a benchmark.

Slowdowns are ratios: 0.05 is 5 % slower than the base. Inside, everything is a logarithm of candidate over base, in which a
slowdown and the same speed-up are equally far from nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

FEWEST_PAIRS = 12
LOOSEST = 0.01  # so that an interval always holds at 95 %, however few benchmarks share the family's error
UNSUSPECTED = 0.05  # the share of the family's error that is left for benchmarks that were not suspects


@dataclass(frozen=True, slots=True)
class Tolerance:
    """`{below: 5 %, fail_above: 2 %}` of one benchmark: it passes below *below*, it fails when surely above *fail_above*."""

    below: float = 0.05
    fail_above: float = 0.02

    def __post_init__(self) -> None:
        if not 0 <= self.fail_above <= self.below or not self.below > 0:
            raise ValueError(
                f"a tolerance is above 0 %, and its fail_above between 0 % and it; got {self.below:g} and {self.fail_above:g}"
            )


@dataclass(frozen=True, slots=True)
class Design:
    """How many pairs are measured, and with which errors.

    Attributes:
        first: pairs of stage 1, in which every benchmark takes part.
        second: fewest fresh pairs of stage 2, in which only those take part that stage 1 left open.
        most: most fresh pairs of stage 2: it is made longer for benchmarks that stage 1 saw to be noisy (`stages.First.pairs`).
        suspect: one-sided level at which a benchmark that is slower at all becomes a suspect.
        upper: one-sided level of an interval's upper end, in both stages.
        family: the most that all benchmarks together may fail without a change.
        metrics: how many benchmarks there are.
    """

    first: int = 12
    second: int = 30
    suspect: float = 0.02
    upper: float = 0.005
    family: float = 0.001
    metrics: int = 1
    most: int = 60

    def __post_init__(self) -> None:
        if min(self.first, self.second) < FEWEST_PAIRS or self.most < self.second:
            raise ValueError(f"each stage takes at least {FEWEST_PAIRS} pairs, and stage 2 at most as many as `most`: {self}")
        if self.metrics < 1:
            raise ValueError("a design is for at least one benchmark")

    @property
    def alpha2(self) -> float:
        """The one-sided level of a suspect's lower end in stage 2: `metrics x suspect x alpha2 <= family`."""
        return min(LOOSEST, (1 - UNSUSPECTED) * self.family / (self.metrics * self.suspect))

    @property
    def alpha_unsuspected(self) -> float:
        """The same for a benchmark that stage 1 did not suspect, and that nothing has filtered."""
        return min(self.alpha2, UNSUSPECTED * self.family / self.metrics)


@dataclass(frozen=True, slots=True)
class Pair:
    """What one pair of processes, one of the base and one of the candidate, measured side by side.

    Attributes:
        index: its number in the run, over both stages, from 0.
        seed: the hash seed that both processes share; order and roles are drawn from it too.
        first_started: `base` or `candidate`.
        logs: by benchmark, log(candidate / base) of each round in wall-clock time.
        cpu: the same in the CPU time of the measuring thread; it explains and never decides.
        clock_step: seconds that the wall clock moved against the monotonic one meanwhile.
        seconds: by benchmark, seconds a call of each round as (base, candidate).
        failed: benchmarks that did not measure in this pair, and why.
    """

    index: int
    seed: int
    first_started: str
    logs: Mapping[str, tuple[float, ...]]
    cpu: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    clock_step: float = 0.0
    seconds: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The slowdown of one benchmark, with the interval that it is judged by.

    Attributes:
        stage: 1, or 2 when it rests on the fresh pairs of stage 2 alone.
        pairs: the valid pairs that it rests on.
        slowdown: the estimate, between *low* and *high*.
        level: confidence that the interval holds, both sides together.
        method: how the interval was made, for people.
        suspect: stage 1 suspected it.
        crosscheck: the signed-rank test agrees; where it does not, the interval is wide enough to decide nothing.
        spread: standard deviation of the pairs' logarithms, by the trimmed core.
        reason: why the interval is wider than the statistics alone; empty when it is not.
    """

    name: str
    stage: int
    pairs: int
    slowdown: float
    low: float
    high: float
    level: float
    method: str
    suspect: bool
    crosscheck: bool
    spread: float
    reason: str = ""


def slowdown(logarithm: float) -> float:
    """log(candidate / base) as a slowdown: 0.0488 is 0.05."""
    return math.expm1(logarithm)


def logarithm(slowdown: float) -> float:
    """A slowdown as log(candidate / base); the inverse of `slowdown`."""
    return math.log1p(slowdown)
