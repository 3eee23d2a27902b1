"""The two stages of a comparison, from pairs to the estimates that are judged. Pure; compares nothing, but plans what is open.

Stage 1 measures every benchmark. One that is slower at all at the level `Design.suspect` is a *suspect*; one whose interval
does not end below its tolerance is undecided. Both are open, and are measured again in fresh pairs: stage 2 uses those alone,
so what made a benchmark look bad in stage 1 is not counted twice. A benchmark without a change fails only when it is a suspect
by chance and is then, in new processes, surely above `fail_above`: with m benchmarks, m x suspect x alpha2 <= family. What was
open but never a suspect has not been filtered like that and has to be surer (`Design.alpha_unsuspected`).

How an interval is made for the judge, who fails a benchmark when all of it is above `fail_above` and passes it below `below`:

- Stage 1: the lower end is never above 0, so stage 1 can fail nothing, by construction. The upper end of an open benchmark is
  held above `below`, so that without its stage 2 it can't pass either.
- Both: the interval is the hull of Yuen's and of the signed-rank test's at a ten times looser level. When that turns what
  the trimmed mean alone would say, the two disagree: stage 1 leaves the benchmark open, and stage 2 widens the interval over
  both limits, since an interval that may no longer fail could otherwise pass.
- Fewer than twelve valid pairs decide nothing: in stage 1 the benchmark stays open, in stage 2 the interval is widened over
  both limits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from gates.regression import statistics
from gates.regression.pairs import CLOCK_STEP
from gates.regression.session import CONTROL
from gates.regression.statistics import Array, Bounds
from gates.regression.values import FEWEST_PAIRS, Design, Estimate, Pair, Tolerance, logarithm, slowdown

METHOD = "20 % trimmed mean of process pairs (Yuen), with the signed-rank interval as a cross-check"
STEP = 6  # sizes of stage 2, so that neighbouring spreads plan the same
# A spread seen in twelve pairs may well be half of the true one; stage 2 is planned for twice of what was seen.
CAUTION = 2.0
ACQUITTAL = 0.001  # the level at which a long stage 2 ends early for a benchmark that surely passes
FEWEST_ROUNDS = 2
FARTHEST = math.log(1000)  # a few pairs bound nothing, and a file holds no infinity
CLEAR = 1e-6  # how far an interval that may decide nothing reaches over a limit, as a logarithm
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class First:
    """What stage 1 leaves to do.

    Attributes:
        estimates: of every benchmark; those of open ones decide nothing and wait for stage 2.
        open: the benchmarks that stage 2 measures, in fresh pairs.
        pairs: how many fresh pairs at most; 0 when nothing is open. When that is more than `Design.second`, `remaining` says
            after so many what is left to do.
        design: with the number of benchmarks that the family's error is shared by.
        missing: benchmarks without an estimate, and why.
    """

    estimates: Mapping[str, Estimate]
    open: tuple[str, ...]
    pairs: int
    design: Design
    missing: Mapping[str, str] = field(default_factory=dict)


def first(pairs: Sequence[Pair], design: Design, tolerances: Mapping[str, Tolerance] | None = None) -> First:
    """What *pairs* of stage 1 say. A benchmark that *tolerances* does not name has the default one."""
    names = measured(pairs)
    design = replace(design, metrics=max(design.metrics, len(names), 1))
    estimates, missing = {}, {}
    for name in names:
        found = samples(pairs, name)
        if len(found) < 2:
            missing[name] = _scarce(len(found))
        else:
            estimates[name] = _first(name, found, design, _tolerance(tolerances, name))
    open_ = tuple(name for name, estimate in estimates.items() if estimate.reason)
    length = max((size(estimates[name].spread, design, _tolerance(tolerances, name)) for name in open_), default=0)
    return First(estimates, open_, length, design, missing)


def remaining(
    pairs: Sequence[Pair], stage: First, tolerances: Mapping[str, Tolerance] | None = None
) -> tuple[tuple[str, ...], int]:
    """Which benchmarks a long stage 2 goes on with after the first `Design.second` fresh *pairs*, and for how many more.

    Those that surely pass by now are left out. Nothing fails at this look, so it adds nothing to false failures.
    """
    left: dict[str, int] = {}
    for name in stage.open:
        tolerance, found = _tolerance(tolerances, name), samples(pairs, name)
        more = size(stage.estimates[name].spread, stage.design, tolerance) - stage.design.second
        if more > 0 and len(found) >= FEWEST_PAIRS and not bool(acquitted(found, _level(stage, name), tolerance)):
            left[name] = more
    return tuple(left), max(left.values(), default=0)


def acquitted(found: Array, level: float, tolerance: Tolerance) -> Flags:
    """Whether samples surely pass, with a tenth of the doubt that a final interval leaves."""
    ends = second_ends(statistics.bounds(found, level, ACQUITTAL), tolerance)
    return np.asarray(decided(ends.low, ends.high, tolerance) == -1)


def second(pairs: Sequence[Pair], stage: First, tolerances: Mapping[str, Tolerance] | None = None) -> Mapping[str, Estimate]:
    """The final estimates: of open benchmarks from the fresh *pairs* of stage 2 alone, of all others from stage 1.

    An open benchmark that *pairs* does not hold keeps its estimate of stage 1, which decides nothing.
    """
    final = dict(stage.estimates)
    for name in stage.open:
        found = samples(pairs, name)
        if len(found) >= 2:
            final[name] = _second(name, found, stage, _tolerance(tolerances, name))
    return final


def doubted(estimate: Estimate, tolerance: Tolerance, reason: str) -> Estimate:
    """*estimate* with an interval that decides nothing, because of *reason*."""
    low = min(estimate.low, slowdown(float(_under(logarithm(estimate.low), tolerance))))
    high = max(estimate.high, slowdown(float(_over(logarithm(estimate.high), tolerance))))
    return replace(estimate, low=low, high=high, reason=reason)


def measured(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """The benchmarks that any of *pairs* measured, or failed to, in order; the control is none."""
    names = dict.fromkeys(name for pair in pairs for name in (*pair.logs, *pair.failed))
    return tuple(name for name in names if name != CONTROL)


def samples(pairs: Sequence[Pair], name: str) -> Array:
    """One number for each valid pair in which *name* was measured; a pair over which the clock was set is none."""
    logs = [pair.logs[name] for pair in pairs if name in pair.logs and abs(pair.clock_step) <= CLOCK_STEP]
    sound = [log for log in logs if len(log) >= FEWEST_ROUNDS and all(map(math.isfinite, log))]
    return np.array([float(np.median(log)) for log in sound])


def size(spread: float, design: Design, tolerance: Tolerance) -> int:
    """How many fresh pairs find a slowdown of *tolerance.below*, for a benchmark that spread that much in stage 1.

    The size comes from other pairs than those that decide, so it does not change how often they are wrong.
    """
    gap = logarithm(tolerance.below) - logarithm(tolerance.fail_above)
    for pairs in range(design.second, design.most, STEP):
        if sure_within(pairs, design) * CAUTION * spread <= gap:
            return pairs
    return design.most


@cache
def sure_within(pairs: int, design: Design) -> float:
    """The distance, in spreads, at which *pairs* of stage 2 find a slowdown with probability 1 - `Design.upper`."""
    freedom = statistics.degrees(pairs)
    levels = design.alpha2, design.upper
    return sum(statistics.critical(level, freedom) for level in levels) / math.sqrt(pairs)


@dataclass(frozen=True, slots=True)
class Ends:
    """The intervals that are judged, as logarithms; *unsure* where the statistics alone were not enough."""

    low: Array
    high: Array
    unsure: Flags


def first_ends(bounds: Bounds, tolerance: Tolerance) -> Ends:
    """Stage 1: what is unsure is open. It can't fail, and while it is open it can't pass."""
    high = upper(bounds)
    open_ = is_suspect(bounds) | (high >= logarithm(tolerance.below))
    return Ends(np.minimum(lower(bounds), 0.0), np.where(open_, _over(high, tolerance), high), open_)


def second_ends(bounds: Bounds, tolerance: Tolerance) -> Ends:
    """Stage 2: unsure where the signed-rank test turns what the trimmed mean says."""
    low, high = lower(bounds), upper(bounds)
    unsure = decided(bounds.low, bounds.high, tolerance) != decided(low, high, tolerance)
    return Ends(np.where(unsure, _under(low, tolerance), low), np.where(unsure, _over(high, tolerance), high), unsure)


def decided(low: Array, high: Array, tolerance: Tolerance) -> npt.NDArray[np.int_]:
    """Where an interval of logarithms lies: 1 surely above `fail_above`, -1 surely below `below`, 0 neither."""
    fails, passes = low > logarithm(tolerance.fail_above), high < logarithm(tolerance.below)
    return np.where(fails, 1, np.where(passes, -1, 0))


def is_suspect(bounds: Bounds) -> Flags:
    """Whether a benchmark is slower at all, at the level of the lower bound."""
    return np.asarray(bounds.low > 0)


def lower(bounds: Bounds) -> Array:
    """The lower end of the hull of both methods."""
    return np.minimum(bounds.low, bounds.rank_low)


def upper(bounds: Bounds) -> Array:
    """The upper end of the hull of both methods."""
    return np.maximum(bounds.high, bounds.rank_high)


def _over(high: npt.ArrayLike, tolerance: Tolerance) -> Array:
    """Not below the tolerance, so that nothing passes."""
    return np.asarray(np.maximum(high, logarithm(tolerance.below) + CLEAR))


def _under(low: npt.ArrayLike, tolerance: Tolerance) -> Array:
    """Not above the fail margin, so that nothing fails."""
    return np.asarray(np.minimum(low, logarithm(tolerance.fail_above) - CLEAR))


def _first(name: str, found: Array, design: Design, tolerance: Tolerance) -> Estimate:
    bounds = statistics.bounds(found, design.suspect, design.upper)
    ends, scarce = first_ends(bounds, tolerance), _too_few(len(found))
    agrees = bool(decided(bounds.low, bounds.high, tolerance) == decided(lower(bounds), upper(bounds), tolerance))
    reason = f"stage 1 is not sure of it and no fresh pairs were measured{scarce}" if ends.unsure or scarce else ""
    if reason:
        ends = Ends(ends.low, _over(ends.high, tolerance), ends.unsure)
    level = 1 - design.suspect - design.upper
    return _estimate(name, 1, len(found), bounds, ends, level, bool(is_suspect(bounds)), agrees, reason)


def _second(name: str, found: Array, stage: First, tolerance: Tolerance) -> Estimate:
    level, upper_level = _level(stage, name), stage.design.upper
    bounds = statistics.bounds(found, level, upper_level)
    ends = second_ends(bounds, tolerance)
    reason = "the signed-rank test does not support what the trimmed mean says" if ends.unsure else ""
    if len(found) < FEWEST_PAIRS:
        reason = _scarce(len(found))
        ends = Ends(_under(ends.low, tolerance), _over(ends.high, tolerance), ends.unsure)
    suspect = stage.estimates[name].suspect
    return _estimate(name, 2, len(found), bounds, ends, 1 - level - upper_level, suspect, not ends.unsure, reason)


def _level(stage: First, name: str) -> float:
    """The error of the lower end in stage 2."""
    return stage.design.alpha2 if stage.estimates[name].suspect else stage.design.alpha_unsuspected


def _estimate(
    name: str, stage: int, pairs: int, bounds: Bounds, ends: Ends, level: float, suspect: bool, agrees: bool, reason: str
) -> Estimate:
    return Estimate(
        name=name,
        stage=stage,
        pairs=pairs,
        slowdown=slowdown(float(bounds.center)),
        low=slowdown(float(ends.low)),
        high=slowdown(min(float(ends.high), FARTHEST)),
        level=level,
        method=METHOD,
        suspect=suspect,
        crosscheck=agrees,
        spread=float(bounds.spread),
        reason=reason,
    )


def _tolerance(tolerances: Mapping[str, Tolerance] | None, name: str) -> Tolerance:
    return (tolerances or {}).get(name, Tolerance())


def _too_few(count: int) -> str:
    return f"; {_scarce(count)}" if count < FEWEST_PAIRS else ""


def _scarce(count: int) -> str:
    return f"{count} valid {'pair' if count == 1 else 'pairs'} where at least {FEWEST_PAIRS} are needed"
