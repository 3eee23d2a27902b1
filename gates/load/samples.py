"""How many samples a plan gives a criterion, and what would give it enough. Base dependencies only.

Counted in the schedule that the run will have, whatever its seed: evenly spaced and recorded arrivals are counted one by one;
of a Poisson process with N arrivals, of which a phase gets the part p, the number is at least Np - sqrt(2 Np ln 10^9) but once
in 10^9 runs (Chernoff's bound; Mitzenmacher and Upfal, Probability and Computing, theorem 4.5). The order of flows within a
stretch of the mix is the seed's, so of the two stretches that the ends of a phase cut a flow gets what no order can deny it.
"""

from __future__ import annotations

import difflib
import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from gates.load.plan import EXPONENTIAL, TAG, LoadPlan
from gates.load.recording import recorded
from gates.load.scenario import ChangeError, changed
from gates.model import Criterion, KindContext, Samples, Unit
from gates.quantity import show

ALL = "*"
LONGEST = 86_400
FASTEST = 200_000
_ONCE_IN = 1e9
_BY_FLOW_ALONE = "flow."
_PER_ARRIVAL = ("latency.", "service.", "errors.", "lateness.", "unsent.")
Span = tuple[float, float]


def samples(
    plan: LoadPlan, criteria: Iterable[Criterion], phases: Mapping[str, Span], *, root: Path | None = None
) -> dict[str, Samples]:
    """Planned samples of each of *criteria* that counts arrivals, by its id. *root* is that of a recording's path."""
    return {
        criterion.id: Samples(
            fewest(plan, criterion.selector, phases.get(criterion.phase), root or Path()),
            _advice(plan, criterion, phases.get(criterion.phase)),
        )
        for criterion in criteria
        if criterion.metric.startswith(_PER_ARRIVAL) and (not criterion.phase or criterion.phase in phases)
    }


def check_selectors(plan: LoadPlan, criteria: Iterable[Criterion], context: KindContext) -> None:
    """Report criteria over flows that are not in the mix, and over tags that no flow of it has, at their lines."""
    tags = [f"{TAG}{tag}" for tag in plan.tags]
    for criterion in criteria:
        known = list(plan.mix) if criterion.metric.startswith(_BY_FLOW_ALONE) else [*plan.mix, *tags]
        if criterion.selector in ("", ALL, *known):
            continue
        close = difflib.get_close_matches(criterion.selector, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"the mix has {', '.join(known)}"
        tag = criterion.selector.removeprefix(TAG)
        what = f"no flow with the tag {tag!r}" if tag != criterion.selector else f"no flow {criterion.selector!r}"
        context.error(f"criteria.{criterion.id}", f"{what} in the scenario's mix", hint)


def check_phases(phases: Mapping[str, Span], criteria: Iterable[Criterion], context: KindContext) -> None:
    """Report criteria over a phase that is none of *phases*, at their lines."""
    for criterion in criteria:
        if criterion.phase == "warmup" and "warmup" not in phases:
            context.error(f"criteria.{criterion.id}", "the scenario has no warm-up", "give it one: `warmup: 3 s`")
        elif criterion.phase and criterion.phase not in phases:
            close = difflib.get_close_matches(criterion.phase, list(phases), n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"the scenario has {', '.join(phases)}"
            context.error(f"criteria.{criterion.id}", f"no phase {criterion.phase!r} in the scenario", hint)


def fewest(plan: LoadPlan, selector: str, phase: Span | None, root: Path) -> int:
    """The fewest arrivals of *selector* that start within *phase*, over all seeds; None is the whole time."""
    start, end = phase or (-math.inf, math.inf)
    if plan.replay:
        return _of_recording(plan, selector, start, end, root)
    before, after = (0 if time <= 0 else plan.curve.before(min(time, plan.seconds)) for time in (start, end))
    if plan.gaps == EXPONENTIAL and phase is not None:
        # no order of flows is known to begin at any of them
        before, after = 0, _surely(plan, start, end)
        return min(_of_part(plan.mix, weights, after) for weights in _weights(plan, selector))
    return min(_of_run(plan.mix, weights, before, after) for weights in _weights(plan, selector))


def _weights(plan: LoadPlan, selector: str) -> list[int]:
    """The weight of what *selector* means, or of each flow."""
    if selector == ALL:
        return list(plan.mix.values())
    return [sum(plan.mix.get(flow, 0) for flow in plan.chosen(selector))]


def _surely(plan: LoadPlan, start: float, end: float) -> int:
    curve = plan.curve
    part = (curve.mass(min(end, plan.seconds)) - curve.mass(max(start, 0.0))) / curve.total
    expected = curve.count * max(0.0, part)
    return max(0, math.floor(expected - math.sqrt(2 * expected * math.log(_ONCE_IN)) + 1e-9)) if part < 1 else curve.count


def _of_run(mix: Mapping[str, int], weight: int, before: int, after: int) -> int:
    """How many of the arrivals from *before* up to *after* have *weight*, at least."""
    share = math.gcd(*mix.values())
    length, own = sum(mix.values()) // share, weight // share
    whole, first = after // length - -(-before // length), -before % length
    if whole < 0:
        return max(0, own - (length - (after - before)))
    return whole * own + max(0, own - (length - first) if first else 0) + max(0, own - (length - after % length))


def _of_part(mix: Mapping[str, int], weight: int, count: int) -> int:
    """The same, of *count* arrivals that begin anywhere."""
    share = math.gcd(*mix.values())
    length, own = sum(mix.values()) // share, weight // share
    if own == length:
        return count
    return max(0, (count // length - 1) * own)


def _of_recording(plan: LoadPlan, selector: str, start: float, end: float, root: Path) -> int:
    assert plan.replay is not None
    recording, speed = recorded(plan.replay, root), plan.replay.speed
    last = plan.replay.count
    before, after = (min(last, bisect_left(recording.times, time * speed)) for time in (start, end))
    if not plan.replay.flows:
        return min(_of_run(plan.mix, weight, before, after) for weight in _weights(plan, selector))
    flows = recording.flow[before:after]
    counts = {name: flows.count(index) for index, name in enumerate(recording.names)}
    if selector == ALL:
        return min(counts[name] for name in plan.mix)
    return sum(counts.get(name, 0) for name in plan.chosen(selector))


# --- what would do --------------------------------------------------------------------------------------------------------


def _advice(plan: LoadPlan, criterion: Criterion, phase: Span | None) -> Callable[[int], str]:
    def enough(other: LoadPlan, needed: int) -> bool:
        return fewest(other, criterion.selector, _moved(plan, other, criterion.phase, phase), Path()) >= needed

    def advise(needed: int) -> str:
        if plan.replay:
            return f"{needed:,} samples are needed; a longer recording would do"
        rate = _smallest(FASTEST, lambda rate: enough(changed(plan, rate=rate), needed))
        seconds = _smallest(LONGEST, lambda seconds: enough(changed(plan, seconds=seconds), needed))
        mean = "" if not plan.pieces else " on average"
        ways = [f"a rate of {rate:,}/s{mean} would do"] if rate else []
        ways += [f"arrivals for {show(seconds, Unit.SECONDS)} at {plan.rate:g}/s{mean}"] if seconds else []
        return ", or ".join(ways) or f"{needed:,} samples are needed, which no rate and no time would give"

    return advise


def _moved(plan: LoadPlan, other: LoadPlan, name: str, phase: Span | None) -> Span | None:
    """Where *phase* lies in *other*: in its own place there, or in proportion, as faults lie."""
    if phase is None:
        return None
    if plan.phases.get(name) == phase and name in other.phases:
        return other.phases[name]
    longer = other.seconds / plan.seconds
    return phase[0] * longer, phase[1] * longer


def _smallest(most: int, does: Callable[[int], bool]) -> int:
    """The smallest whole number up to *most* that *does*, where all above one that does do too; 0 when there is none."""

    def tried(number: int, *, too_much: bool = True) -> bool:
        try:
            return does(number)
        except ChangeError:
            return too_much

    high = 1
    while high < most and not tried(high):
        high *= 2
    found = bisect_left(range(1, min(high, most)), True, key=tried) + 1
    return found if tried(found, too_much=False) else 0
