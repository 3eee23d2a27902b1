"""Intervals against known values and against what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from gates.load.statistics import (
    EXACT,
    beta_quantile,
    binomial_cdf,
    clopper_pearson,
    incomplete_beta,
    order_statistics,
    percentiles,
)


@pytest.mark.parametrize(
    ("failures", "count", "low", "high"),
    [  # scipy.stats.binomtest(x, n).proportion_ci(method="exact")
        (0, 370, 0, 0.009920409332),
        (5, 1600, 0.001015433534, 0.007277521029),
        (3, 10, 0.06673951118, 0.6524528501),
        (10, 10, 0.6915028922, 1),
        (200, 100000, 0.001732632087, 0.002296878294),
    ],
)
def test_clopper_pearson_gives_the_known_bounds(failures: int, count: int, low: float, high: float) -> None:
    """As in the reference tables, to nine digits."""
    interval = clopper_pearson(failures, count)
    assert interval.low == pytest.approx(low, rel=1e-9)
    assert interval.high == pytest.approx(high, rel=1e-9)


def test_zero_errors_need_3_7_samples_a_limit() -> None:
    """The rule of the least number of samples: 370 clean requests show less than 1 %, 360 don't."""
    assert clopper_pearson(0, 370).high < 0.01 < clopper_pearson(0, 360).high


def test_the_incomplete_beta_function_agrees_with_closed_forms() -> None:
    """I_x(1, b) = 1 - (1-x)^b, I_x(a, 1) = x^a, and its quantile inverts it."""
    for x in (1e-6, 0.01, 0.3, 0.5, 0.9, 0.999999):
        assert incomplete_beta(x, 1, 7) == pytest.approx(1 - (1 - x) ** 7, rel=1e-9)
        assert incomplete_beta(x, 7, 1) == pytest.approx(x**7, rel=1e-9)
        assert incomplete_beta(beta_quantile(x, 3, 40), 3, 40) == pytest.approx(x, rel=1e-9)
    assert binomial_cdf(0, 10, 0.1) == pytest.approx(0.9**10)
    assert binomial_cdf(10, 10, 0.1) == 1


@pytest.mark.parametrize(
    ("count", "quantile", "ranks"),
    [(1000, 0.99, (983, 997)), (100, 0.9, (84, 96)), (50, 0.5, (18, 33)), (100_000, 0.999, (99_880, 99_920))],
)
def test_order_statistics_enclose_by_the_binomial_distribution(count: int, quantile: float, ranks: tuple[int, int]) -> None:
    """Ranks are qbinom(0.025) and qbinom(0.975) + 1."""
    assert order_statistics(count, quantile) == ranks


def test_a_percentile_is_a_value_that_was_measured_within_its_interval() -> None:
    """p99 of 1..1000 is 990, with ranks 983 and 997 around it when every second looks the same."""
    values = np.arange(1, 1001, dtype=float)
    [(value, interval)] = percentiles(values, np.tile(np.arange(10) + 0.5, 100), [0.99], seed=1)
    assert value == 990
    assert interval.low <= 983
    assert interval.high >= 997


def test_seconds_that_are_slow_as_a_whole_widen_the_interval() -> None:
    """The same values are less certain when they came bunched in one second: requests of a second are not independent."""
    values = np.concatenate([np.full(980, 0.01), np.linspace(0.5, 1, 20)])
    spread = np.tile(np.arange(10) + 0.5, 100)
    bunched = np.repeat(np.arange(50) + 0.5, 20)
    [(_, wide)] = percentiles(values, bunched, [0.965], seed=1)
    [(_, narrow)] = percentiles(values, spread, [0.965], seed=1)
    assert wide.high > narrow.high
    assert narrow.high == pytest.approx(0.01)


def test_the_same_seed_gives_the_same_interval_and_many_samples_are_rounded_by_a_thousandth() -> None:
    """Anyone can compute it again; beyond some thousand samples the bootstrap rounds, and the value itself does not."""
    values = np.random.default_rng(1).lognormal(size=EXACT * 3)
    at = np.linspace(0, 30, len(values))
    first, again = (percentiles(values, at, [0.5, 0.99], seed=5) for _ in range(2))
    assert first == again
    assert first[1][0] == np.sort(values)[int(np.ceil(0.99 * len(values))) - 1]
    assert first[1][1].low < first[1][0] < first[1][1].high


def test_intervals_cover_the_truth_as_often_as_they_promise() -> None:
    """Of 80 samples of a known distribution at least 92 % of the intervals hold the true p90."""
    generator = np.random.default_rng(11)
    truth = -np.log(0.1)
    hits = 0
    for seed in range(80):
        [(_, interval)] = percentiles(generator.exponential(size=300), np.arange(300) / 30, [0.9], seed=seed)
        hits += interval.low <= truth <= interval.high
    assert hits >= 74
