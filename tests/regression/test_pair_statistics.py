"""Statistics of pairs: against published tables, other implementations and their own promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from gates.regression import statistics

PUBLISHED = [(6, 0.025, 0), (10, 0.025, 8), (12, 0.005, 7), (20, 0.005, 37), (25, 0.01, 76), (30, 0.005, 109)]


@pytest.mark.parametrize(("count", "level", "critical"), PUBLISHED)
def test_signed_ranks_are_those_of_the_tables(count: int, level: float, critical: int) -> None:
    """The critical values that every textbook prints for the one-sided signed-rank test."""
    assert statistics.signed_rank_critical(count, level) == critical


def test_so_few_samples_that_no_rank_can_be_sure_bound_nothing() -> None:
    """Five samples can't reach 2 % (2^-5 is 3.1 %): the bound is infinite, never the smallest sample."""
    found = statistics.signed_rank_bounds(np.arange(1.0, 6.0), 0.02, 0.02)
    assert tuple(map(float, found)) == (-math.inf, math.inf)


def test_the_signed_rank_bound_rejects_what_wilcoxon_rejects() -> None:
    """A centre below the bound is one that the exact Wilcoxon test rejects at that level, one above it is not."""
    samples = np.random.default_rng(7).normal(0.03, 0.01, 20)
    low, high = statistics.signed_rank_bounds(samples, 0.01, 0.02)
    for bound, alternative, level, outwards in ((low, "greater", 0.01, -1e-9), (high, "less", 0.02, 1e-9)):
        outside = stats.wilcoxon(samples - (bound + outwards), alternative=alternative, method="exact").pvalue
        inside = stats.wilcoxon(samples - (bound - outwards), alternative=alternative, method="exact").pvalue
        assert outside <= level < inside


def test_the_error_of_the_trimmed_mean_is_yuens() -> None:
    """Winsorised sum of squares over h(h - 1), beside scipy's trimmed mean and its own winsorising."""
    samples = np.random.default_rng(3).standard_t(3, 30)
    center, error = statistics.trimmed_mean(np.sort(samples))
    winsorised = np.asarray(stats.mstats.winsorize(samples, (0.2, 0.2)))
    assert float(center) == pytest.approx(stats.trim_mean(samples, 0.2))
    assert float(error) == pytest.approx(math.sqrt(winsorised.var(ddof=1) * 29 / (18 * 17)))


@pytest.mark.parametrize(
    ("pairs", "low", "high"), [(12, 0.02, 0.005), (16, 0.02, 0.005), (30, 0.001, 0.005), (60, 0.001, 0.005)]
)
def test_normal_samples_lie_outside_of_a_bound_as_often_as_it_says(pairs: int, low: float, high: float) -> None:
    """Student's t with plain degrees of freedom is wrong half as often again as it says; ours keeps its level from 12 to 60."""
    generator, missed, drawn = np.random.default_rng(pairs), np.zeros(2), 0
    freedom = statistics.degrees(pairs)
    for _ in range(4):
        ranked = np.sort(generator.standard_normal((100_000, pairs), dtype=np.float32), axis=-1)
        center, error = statistics.trimmed_mean(ranked)
        missed += [
            np.count_nonzero(center > error * statistics.critical(low, freedom)),
            np.count_nonzero(center < -error * statistics.critical(high, freedom)),
        ]
        drawn += len(ranked)
    for rate, level in zip(missed / drawn, (low, high), strict=True):
        assert level * 0.8 <= rate <= level + 3 * math.sqrt(level / drawn)


def test_one_wild_pair_moves_nothing() -> None:
    """A pair that measured a tenfold slowdown has no more weight than the slowest of the others."""
    calm = np.random.default_rng(1).normal(0, 0.01, 11)
    wild, mild = (statistics.bounds([*calm, last], 0.02, 0.005) for last in (2.3, float(calm.max()) + 1e-9))
    assert float(wild.high) == pytest.approx(float(mild.high), abs=1e-6)


def test_the_pair_is_the_sample_and_not_its_rounds() -> None:
    """Rounds of a pair give one number, their median, however many there are."""
    assert statistics.pair_estimates([[0.0, 0.1, 5.0], [0.2, 0.3, 0.4]]).tolist() == [0.1, 0.3]


def test_the_cross_check_is_looser_than_what_it_checks() -> None:
    """Ten times the level, and never looser than 5 %."""
    assert [statistics.rank_level(level) for level in (0.001, 0.005, 0.02)] == pytest.approx([0.01, 0.05, 0.05])
