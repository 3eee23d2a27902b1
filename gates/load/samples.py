"""How many samples a plan gives a criterion, and what would give it enough. Base dependencies only."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable

from gates.load.plan import LoadPlan
from gates.model import Criterion, KindContext, Samples, Unit
from gates.quantity import show

ALL = "*"
_PER_ARRIVAL = ("latency.", "service.", "errors.", "lateness.", "unsent.")


def samples(plan: LoadPlan, criteria: Iterable[Criterion], phases: dict[str, tuple[float, float]]) -> dict[str, Samples]:
    """Planned samples of each of *criteria* that counts arrivals, by its id."""
    return {
        criterion.id: _samples(plan, criterion, phases)
        for criterion in criteria
        if criterion.metric.startswith(_PER_ARRIVAL) and (not criterion.phase or criterion.phase in phases)
    }


def check_selectors(plan: LoadPlan, criteria: Iterable[Criterion], context: KindContext) -> None:
    """Report criteria over flows that are not in the mix, and over a phase that has no time, at their lines."""
    for criterion in criteria:
        if criterion.selector not in ("", ALL, *plan.mix):
            close = difflib.get_close_matches(criterion.selector, list(plan.mix), n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the mix has {', '.join(plan.mix)}"
            context.error(f"criteria.{criterion.id}", f"no flow {criterion.selector!r} in the scenario's mix", hint)
        if criterion.phase == "warmup" and not plan.warmup:
            context.error(f"criteria.{criterion.id}", "the scenario has no warm-up", "give it one: `warmup: 3 s`")


def _samples(plan: LoadPlan, criterion: Criterion, phases: dict[str, tuple[float, float]]) -> Samples:
    start, end = phases.get(criterion.phase, (0.0, plan.seconds))
    share = min(plan.share(flow) for flow in plan.mix) if criterion.selector == ALL else plan.share(criterion.selector)
    in_phase = math.ceil(end * plan.rate - 1e-9) - math.ceil(start * plan.rate - 1e-9)
    # whole stretches of the mix lie in the phase, but not the two that its ends cut
    lost = 0 if share == 1 else sum(plan.mix.values()) / math.gcd(*plan.mix.values()) * share
    return Samples(max(0, math.floor(in_phase * share - lost)), _advice(plan, start, end, share, lost))


def _advice(plan: LoadPlan, start: float, end: float, share: float, lost: float) -> Callable[[int], str]:
    def advise(needed: int) -> str:
        if share <= 0 or end <= start:
            return f"{needed:,} samples are needed"
        arrivals = (needed + lost + (share < 1)) / share
        rate, longer = math.ceil(arrivals / (end - start)), math.ceil(arrivals / plan.rate - (end - start))
        length = show(plan.seconds + longer, Unit.SECONDS)
        return f"a rate of {rate:,}/s would do, or arrivals for {length} at {plan.rate:g}/s"

    return advise
