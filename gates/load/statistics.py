"""Intervals: order statistics and a block bootstrap for percentiles, Clopper-Pearson for ratios. numpy alone.

A percentile's interval is the wider of two. Order statistics assume independent samples; requests are not independent,
because a slow second slows all of its requests. The bootstrap over one-second blocks keeps such seconds together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from gates.model import Interval

LEVEL = 0.95
RESAMPLES = 400
METHOD = "wider of order statistics and bootstrap over seconds"
CLOPPER_PEARSON = "clopper-pearson"
# beyond this many samples values are rounded up to 1 in 1,000 before they are resampled, which bounds time and memory
EXACT = 4_000
_ROUNDING = math.log(1.001)
_Floats = NDArray[np.float64]


def percentiles(values: _Floats, at: _Floats, quantiles: Sequence[float], *, seed: int) -> list[tuple[float, Interval]]:
    """For each of *quantiles* the percentile of *values* with its 95 % interval; *at* are the intended start times in seconds.

    A percentile is the smallest value with at least that part of all values at or below it: one that was measured. Where the
    samples are too few to bound it from above, the interval ends at the largest; too few samples never pass anyway.
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    resampled = _bootstrap(ordered, np.floor(at[order]).astype(np.int64), quantiles, seed)
    found = []
    for index, quantile in enumerate(quantiles):
        low_rank, high_rank = order_statistics(len(ordered), quantile)
        low = min(ordered[low_rank - 1], resampled[index][0])
        high = max(ordered[high_rank - 1], resampled[index][1])
        value = ordered[_rank(len(ordered), quantile) - 1]
        found.append((float(value), Interval(float(low), float(high), LEVEL, METHOD)))
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


def _rank(count: int, quantile: float) -> int:
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


def _bootstrap(
    ordered: _Floats, seconds: NDArray[np.int64], quantiles: Sequence[float], seed: int
) -> list[tuple[float, float]]:
    """For each quantile the 2.5 and 97.5 percentiles over resamples of whole seconds."""
    _, block = np.unique(seconds, return_inverse=True)
    blocks = int(block.max()) + 1
    values, weights = _by_value(ordered, block, blocks)
    drawn = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1 / blocks), size=RESAMPLES)
    reached = np.cumsum(drawn @ weights, axis=1)
    found = []
    for quantile in quantiles:
        wanted = np.ceil(quantile * reached[:, -1] - 1e-9).clip(min=1)
        places = (reached < wanted[:, None]).sum(axis=1)
        low, high = np.quantile(values[places], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
        found.append((float(low), float(high)))
    return found


def _by_value(ordered: _Floats, block: NDArray[np.intp], blocks: int) -> tuple[_Floats, NDArray[np.float64]]:
    """Distinct values in order, and how often each block has each of them."""
    if len(ordered) > EXACT:
        ordered = np.exp(np.ceil(np.log(np.maximum(ordered, 1e-9)) / _ROUNDING) * _ROUNDING)
    values, place = np.unique(ordered, return_inverse=True)
    weights = np.zeros((blocks, len(values)))
    np.add.at(weights, (block, place), 1)
    return values, weights
