"""The rules by which others tell a slowdown, over arrays of seconds whose last axis is all timings of one side."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from scipy import stats

Seconds = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]
THRESHOLD = 1.05
ASV_LEVEL, ASV_FACTOR = 0.002, 1.1


def compare_fail(base: Seconds, candidate: Seconds) -> Flags:
    """pytest-benchmark's `--benchmark-compare-fail=mean:5%` against a saved run."""
    return candidate.mean(axis=-1) > THRESHOLD * base.mean(axis=-1)


def compare_fail_min(base: Seconds, candidate: Seconds) -> Flags:
    """The same of the fastest round: `min:5%`."""
    return candidate.min(axis=-1) > THRESHOLD * base.min(axis=-1)


def asv(base: Seconds, candidate: Seconds) -> Flags:
    """asv's rule: Mann-Whitney below 0.002, and the medians more than a factor of 1.1 apart."""
    far = np.median(candidate, axis=-1) > ASV_FACTOR * np.median(base, axis=-1)
    differ = stats.mannwhitneyu(base, candidate, axis=-1, method="asymptotic").pvalue < ASV_LEVEL
    return far & differ


def previous_run(base: Seconds, candidate: Seconds) -> Flags:
    """An alert when the median is more than 5 % above the previous run's."""
    return np.median(candidate, axis=-1) > THRESHOLD * np.median(base, axis=-1)


RULES: Mapping[str, Callable[[Seconds, Seconds], Flags]] = {
    "pytest-benchmark compare-fail mean:5%": compare_fail,
    "pytest-benchmark compare-fail min:5%": compare_fail_min,
    "asv (Mann-Whitney, factor 1.1)": asv,
    "previous run, median + 5 %": previous_run,
}
# processes of one side in one job: pytest-benchmark measures in one, asv in two
PROCESSES: Mapping[str, int] = {name: 2 if name.startswith("asv") else 1 for name in RULES}
