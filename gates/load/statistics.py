"""Intervals: order statistics and a block bootstrap for percentiles, Clopper-Pearson for ratios. numpy alone.

A percentile's interval is the wider of two. Order statistics assume independent samples; requests are not independent,
because a slow second slows all of its requests. The bootstrap over one-second blocks keeps such seconds together. Samples are
values, or counts in the buckets of a histogram; of a bucket the edge counts that makes the interval wider.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gates.model import Interval

LEVEL = 0.95
RESAMPLES = 400
METHOD = "wider of order statistics and bootstrap over seconds"
CLOPPER_PEARSON = "clopper-pearson"
# Beyond an hour blocks are longer than a second, so that there are never more: a day has as sound an interval, at less cost.
MOST_BLOCKS = 3_600
_LENGTHS = (1, 2, 5, 10, 15, 30, 60)
_BLOCKS_AT_ONCE = 256
# beyond this many samples values are rounded up to 1 in 1,000 before they are resampled, which bounds time and memory
EXACT = 4_000
_ROUNDING = math.log(1.001)
_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Bins:
    """How many values each block of time has in each bucket.

    Attributes:
        values: what stands for each bucket when a percentile falls into it, in seconds, in order.
        lows, highs: between what the values of each bucket lie for sure.
        block: of each entry, the number of its block.
        bin: of each entry, the index of its bucket.
        count: of each entry, how many values; each pair of block and bucket comes any number of times.
    """

    values: _Floats
    lows: _Floats
    highs: _Floats
    block: _Ints
    bin: _Ints
    count: _Ints


def block_length(seconds: float) -> int:
    """How long the blocks of a run of *seconds* are: one second, and more only beyond an hour."""
    return next((length for length in _LENGTHS if seconds <= length * MOST_BLOCKS), math.ceil(seconds / MOST_BLOCKS))


def percentiles(
    values: _Floats, at: _Floats, quantiles: Sequence[float], *, seed: int, length: int = 1
) -> list[tuple[float, Interval]]:
    """For each of *quantiles* the percentile of *values* with its 95 % interval; *at* are the intended start times in seconds,
    *length* that of a block.

    A percentile is the smallest value with at least that part of all values at or below it: one that was measured. Where the
    samples are too few to bound it from above, the interval ends at the largest; too few samples never pass anyway.
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    resampled = _bootstrap(ordered, np.floor(at[order] / length).astype(np.int64), quantiles, seed)
    found = []
    for index, quantile in enumerate(quantiles):
        low_rank, high_rank = order_statistics(len(ordered), quantile)
        low = min(ordered[low_rank - 1], resampled[index][0])
        high = max(ordered[high_rank - 1], resampled[index][1])
        value = ordered[rank(len(ordered), quantile) - 1]
        found.append((float(value), Interval(float(low), float(high), LEVEL, METHOD)))
    return found


def binned_percentiles(bins: Bins, quantiles: Sequence[float], *, seed: int) -> list[tuple[float, Interval]]:
    """As `percentiles`, of counted values: a percentile is the value of its bucket, an interval runs from a lower edge to
    an upper one, so that it is never narrower than that of the values themselves.
    """
    reached = np.cumsum(np.bincount(bins.bin, bins.count, len(bins.lows))).astype(np.int64)
    count = int(reached[-1])
    drawn = _resampled(bins.block, bins.bin, bins.count, len(bins.lows), quantiles, seed)
    found = []
    for quantile, (resampled_low, resampled_high) in zip(quantiles, drawn, strict=True):
        ranks = [*order_statistics(count, quantile), rank(count, quantile)]
        low, high, value = np.searchsorted(reached, ranks).tolist()
        interval = Interval(
            float(bins.lows[min(low, resampled_low)]), float(bins.highs[max(high, resampled_high)]), LEVEL, METHOD
        )
        found.append((float(bins.values[value]), interval))
    return found


def order_statistics(count: int, quantile: float) -> tuple[int, int]:
    """Ranks, from 1, of the two ordered samples that enclose *quantile* with 95 % confidence, as far as there are any."""
    tail = (1 - LEVEL) / 2
    low = _smallest(lambda rank: binomial_cdf(rank, count, quantile) > tail, count)
    high = _smallest(lambda rank: binomial_cdf(rank, count, quantile) >= 1 - tail, count) + 1
    return max(1, low), min(count, high)


def clopper_pearson(failures: int, count: int) -> Interval:
    """The exact 95 % interval of a ratio of *failures* in *count*."""
    tail = (1 - LEVEL) / 2
    low = 0.0 if failures == 0 else beta_quantile(tail, failures, count - failures + 1)
    high = 1.0 if failures == count else beta_quantile(1 - tail, failures + 1, count - failures)
    return Interval(low, high, LEVEL, CLOPPER_PEARSON)


def binomial_cdf(successes: int, count: int, probability: float) -> float:
    """P(X <= *successes*) of a binomial distribution."""
    if successes >= count:
        return 1.0
    return incomplete_beta(1 - probability, count - successes, successes + 1) if successes >= 0 else 0.0


def beta_quantile(probability: float, a: float, b: float) -> float:
    """The x at which the regularised incomplete beta function is *probability*, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if incomplete_beta(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (Numerical Recipes 6.4)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    # the fraction converges fast on this side of the mean only
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / a
    return 1 - front * _fraction(1 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    """Lentz's evaluation of the continued fraction."""
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    result = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _away_from_zero(1 + term * d)
            c = _away_from_zero(1 + term / c)
            result *= d * c
        if abs(d * c - 1) < 1e-14:
            break
    return result


def _away_from_zero(number: float) -> float:
    return number if abs(number) > 1e-300 else 1e-300


def rank(count: int, quantile: float) -> int:
    """The rank, from 1, of *quantile* in *count* ordered samples."""
    return min(count, max(1, math.ceil(quantile * count - 1e-9)))


def _smallest(holds: Callable[[int], bool], count: int) -> int:
    """The smallest rank from 0 to *count* at which *holds*, which stays true beyond it."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _bootstrap(ordered: _Floats, seconds: _Ints, quantiles: Sequence[float], seed: int) -> list[tuple[float, float]]:
    """For each quantile the 2.5 and 97.5 percentiles over resamples of whole seconds."""
    if len(ordered) > EXACT:
        ordered = np.exp(np.ceil(np.log(np.maximum(ordered, 1e-9)) / _ROUNDING) * _ROUNDING)
    values, place = np.unique(ordered, return_inverse=True)
    drawn = _resampled(seconds, place, np.ones(len(place), dtype=np.int64), len(values), quantiles, seed)
    return [(float(values[low]), float(values[high])) for low, high in drawn]


def _resampled(
    seconds: _Ints, place: _Ints, count: _Ints, width: int, quantiles: Sequence[float], seed: int
) -> Iterator[tuple[int, int]]:
    """For each quantile the 2.5 and 97.5 percentiles over resamples of whole seconds, as places in *width* distinct values."""
    _, block = np.unique(seconds, return_inverse=True)
    blocks = int(block.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), size=RESAMPLES)
    reached = np.zeros((RESAMPLES, width))
    order = np.argsort(block, kind="stable")
    block, place, count = block[order], place[order], count[order]
    for first in range(0, blocks, _BLOCKS_AT_ONCE):
        last = min(first + _BLOCKS_AT_ONCE, blocks)
        part = slice(*np.searchsorted(block, [first, last]))
        weights = np.bincount((block[part] - first) * width + place[part], count[part], (last - first) * width)
        reached += drawn[:, first:last] @ weights.reshape(last - first, width)
    np.cumsum(reached, axis=1, out=reached)
    for quantile in quantiles:
        wanted = np.ceil(quantile * reached[:, -1] - 1e-9).clip(min=1)
        places = (reached < wanted[:, None]).sum(axis=1)
        low, high = np.quantile(places, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
        yield int(low), int(high)
