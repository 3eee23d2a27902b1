"""Statistics of pairs, one sample a pair of processes; every function takes arrays whose last axis is the pairs.

Rounds of one pair share its memory layout, hash seed and CPU state, so a pair gives one number, the median of its rounds.
Over pairs: the 20 % trimmed mean with Yuen's standard error (Biometrika 61, 1974), and beside it the exact signed-rank
interval (Hollander and Wolfe, Nonparametric Statistical Methods, chapter 3), which assumes nothing but symmetry. This module
needs numpy and scipy; import it where something is measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

Array = npt.NDArray[np.floating[Any]]
TRIM = 0.2
# Student's t of as many degrees as samples are kept is a little short for samples that are normal (0.62 % at 0.5 % of 12); with
# five sixths of them every level between 2 % and 0.002 % is held from 12 to 60 samples (tests/regression/test_statistics.py).
FREEDOM = 5 / 6
RANK_FACTOR = 10.0  # the cross-check is held at ten times the level: it is to veto, not to decide
RANK_LOOSEST = 0.05


@dataclass(frozen=True, slots=True)
class Bounds:
    """What samples say of their centre.

    Attributes:
        center: the trimmed mean.
        low: its lower confidence bound, *high* its upper one.
        rank_low: the signed-rank test's lower bound at its own, looser level, *rank_high* its upper one.
        spread: what one sample contributes to the error: the standard error times the root of the number of samples.
    """

    center: Array
    low: Array
    high: Array
    rank_low: Array
    rank_high: Array
    spread: Array


def pair_estimates(logs: Array | Sequence[Sequence[float]]) -> Array:
    """The median of the rounds (last axis) of each pair."""
    return np.asarray(np.median(np.asarray(logs), axis=-1))


def bounds(samples: Array | Sequence[float], low: float, high: float) -> Bounds:
    """The one-sided confidence bounds of the centre at the error levels *low* and *high*, by both methods."""
    ranked = np.sort(np.asarray(samples, dtype=float), axis=-1)
    center, error = trimmed_mean(ranked)
    freedom = degrees(ranked.shape[-1])
    rank_low, rank_high = signed_rank_bounds(ranked, rank_level(low), rank_level(high))
    return Bounds(
        center=center,
        low=center - error * critical(low, freedom),
        high=center + error * critical(high, freedom),
        rank_low=rank_low,
        rank_high=rank_high,
        spread=error * math.sqrt(ranked.shape[-1]),
    )


def trimmed_mean(ranked: Array) -> tuple[Array, Array]:
    """The 20 % trimmed mean of sorted samples, and Yuen's standard error of it."""
    count = ranked.shape[-1]
    cut, kept = (count - _kept(count)) // 2, _kept(count)
    core = ranked[..., cut : cut + kept]
    outer = cut * ((core[..., 0] - (center := core.mean(axis=-1))) ** 2 + (core[..., -1] - center) ** 2)
    # the winsorised mean differs from the trimmed one; its variance is taken about itself
    shift = cut * (core[..., 0] + core[..., -1] - 2 * center) / count
    squares = ((core - center[..., None]) ** 2).sum(axis=-1) + outer - count * shift**2
    return center, np.sqrt(np.maximum(squares, 0.0) / (kept * (kept - 1)))


def degrees(count: int) -> float:
    """Of Student's t for the trimmed mean of *count* samples."""
    return FREEDOM * (_kept(count) - 1)


def critical(level: float, freedom: float) -> float:
    """What Student's t exceeds with probability *level*."""
    return -float(special.stdtrit(freedom, level))


def rank_level(level: float) -> float:
    """The level of the cross-check beside a bound at *level*."""
    return min(RANK_LOOSEST, RANK_FACTOR * level)


def signed_rank_bounds(samples: Array, low: float, high: float) -> tuple[Array, Array]:
    """Exact one-sided signed-rank bounds of the centre of symmetry; infinite where so few samples allow none at that level."""
    count = samples.shape[-1]
    first, second = np.triu_indices(count)
    below, above = signed_rank_critical(count, low), signed_rank_critical(count, high)
    averages = (samples[..., first] + samples[..., second]) / 2
    total = averages.shape[-1]
    kept = sorted({max(below, 0), total - 1 - max(above, 0)})
    averages.partition(kept, axis=-1)
    nothing = np.full(averages.shape[:-1], np.inf)
    return (
        averages[..., below] if below >= 0 else -nothing,
        averages[..., total - 1 - above] if above >= 0 else nothing,
    )


@cache
def signed_rank_critical(count: int, level: float) -> int:
    """The largest k with P(W <= k) <= *level* for the signed-rank statistic W of *count* samples; -1 when there is none."""
    ways = [1]
    for rank in range(1, count + 1):
        longer = ways + [0] * rank
        for total, number in enumerate(ways):
            longer[total + rank] += number
        ways = longer
    allowed, so_far = level * 2**count, 0
    for total, number in enumerate(ways):
        so_far += number
        if so_far > allowed:
            return total - 1
    return len(ways) - 1


def _kept(count: int) -> int:
    """How many of *count* samples remain after both ends are trimmed."""
    return count - 2 * int(TRIM * count)
