"""Benchmarks that one CPU would falsify: threads, input and output, servers.

Both sides run at the same time, each on CPUs of its own, which they swap with the ABBA order. What disturbs one disturbs
the other as well, but far from equally, so the spread is larger and the comparison says how small a slowdown it would have
seen. A suite marks such a benchmark `@pytest.mark.unpinned`, or the setting `parallel` names it.
"""

from __future__ import annotations

import math
from fnmatch import fnmatchcase
from statistics import NormalDist

from gates.regression.values import Design, Tolerance, logarithm, slowdown

POWER = 0.99


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether *name* is one of *patterns*, or fits one with `*`; brackets of parameters are plain characters."""
    return any(name == each or fnmatchcase(name, each.replace("[", "[[]")) for each in patterns)


def detectable(spread: float, design: Design, tolerance: Tolerance) -> float:
    """The smallest slowdown that fails with 99 % probability after stage 2, when pairs spread by *spread*."""
    normal = NormalDist()
    reach = normal.inv_cdf(1 - design.alpha2) + normal.inv_cdf(POWER)
    return slowdown(logarithm(tolerance.fail_above) + reach * spread / math.sqrt(design.second))
