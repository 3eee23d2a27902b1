"""The control: the same code on both sides, in every pair. When it shows a slowdown, the comparison measures something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gates.regression import stages, statistics
from gates.regression.session import CONTROL
from gates.regression.values import Estimate, Pair, slowdown

LEVEL = 0.0005  # one-sided; one sound gate of a thousand is refused
SLACK = 0.005  # a quarter of the default fail margin: a smaller bias can't turn a verdict


@dataclass(frozen=True, slots=True)
class ControlVerdict:
    """What the control says of the whole comparison.

    Attributes:
        estimate: of the control, over the pairs of both stages; none when there are too few to say anything.
        away: how far 0 lies outside of its interval, as a ratio; the criterion is `at_most SLACK`.
        pairs: in how many valid pairs it was measured.
        reason: why the comparison can't be believed, in a sentence; empty when it can.
    """

    estimate: Estimate | None
    away: float
    pairs: int
    reason: str

    @property
    def sound(self) -> bool:
        return not self.reason


def verdict(pairs: Sequence[Pair], fewest: int = 12) -> ControlVerdict:
    """The control over *pairs* of both stages: nothing was chosen by its looks, so all of them count."""
    found = stages.samples(pairs, CONTROL)
    if len(found) < fewest:
        missing = f"the control was measured in {len(found)} valid pairs of {len(pairs)}; at least {fewest} are needed"
        return ControlVerdict(None, float("inf"), len(found), missing)
    estimate = _estimate(found)
    outside = float(away(estimate.low, estimate.high))
    return ControlVerdict(estimate, outside, len(found), _biased(estimate) if outside > SLACK else "")


def away(low: npt.ArrayLike, high: npt.ArrayLike) -> statistics.Array:
    """How far 0 lies outside of the interval from *low* to *high*; 0 within it."""
    return np.asarray(np.maximum(np.maximum(0.0, low), -np.asarray(high)))


def _estimate(found: statistics.Array) -> Estimate:
    bounds = statistics.bounds(np.asarray(found), LEVEL, LEVEL)
    return Estimate(
        name=CONTROL,
        stage=1,
        pairs=len(found),
        slowdown=slowdown(float(bounds.center)),
        low=slowdown(float(bounds.low)),
        high=slowdown(float(bounds.high)),
        level=1 - 2 * LEVEL,
        method="20 % trimmed mean of process pairs (Yuen)",
        suspect=False,
        crosscheck=True,
        spread=float(bounds.spread),
    )


def _biased(estimate: Estimate) -> str:
    return (
        f"the control runs the same code on both sides and shows {estimate.slowdown:+.1%} "
        f"({estimate.low:+.1%} to {estimate.high:+.1%}), so this machine measures something else than the code"
    )
