"""Recovery objectives: how soon a fault is noticed, what clients see of it, what breakers do, and when all is as before.

| metric | from | to |
|---|---|---|
| detect.time | the fault was caused | a node's own metrics first tell of it |
| restored.time | the healing began | throughput and p99 are back within 10 % of before, and stay |
| back.time | the healing began | the last stale answer or 503 that a client saw |
| converge.time | the last healing began | load is over and nothing moves any more on any node |
| breaker.open.time | the fault was caused | a breaker first opens |
| breaker.closed.time | the healing began | every breaker that had opened is closed again |

What did not come while it was watched takes at least as long as was watched.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gates.faults.observation import Observation
from gates.history.statements import availability, recovery_time
from gates.kinds.signals import Opened, breakers, calls, noticed
from gates.model import Interval, Measurement, MetricSpec, Operation, Rule, Signals, Unit

if TYPE_CHECKING:
    from gates.kinds.trial import Course, TrialPlan
    from gates.load.outcome import LoadOutcome

HEALTHY, FAULTED = "healthy", "faulted"
LONGEST = 86_400.0
WINDOW, STEP, LASTING = 1.0, 0.1, 2
TENTH = 0.1
AGE, RETRY_AFTER = "age", "retry_after"
_BEYOND_ALL = "had not come when the watch ended: at least as long as was watched"


def _time(name: str, summary: str) -> MetricSpec:
    return MetricSpec(name, Unit.SECONDS, Rule.SINGLE, summary)


METRICS = (
    _time("detect.time", "From the fault to the first node whose own metrics tell of it."),
    _time("restored.time", "From the start of healing until throughput and p99 are within 10 % of before, and stay for 2 s."),
    _time("back.time", "From the start of healing to the last stale answer or 503 that a client saw."),
    _time("converge.time", "From the start of the last healing until load is over and nothing moves any more on any node."),
    _time("breaker.open.time", "From the fault to the first breaker that opens."),
    _time("breaker.closed.time", "From the start of healing until every breaker that had opened is closed."),
    MetricSpec(
        "breaker.stuck",
        Unit.COUNT,
        Rule.CENSUS,
        "Breakers that opened and did not close by way of half open.",
    ),
    MetricSpec(
        "availability",
        Unit.RATIO,
        Rule.RATIO,
        "Right answers to operations invoked while a fault was seen: /healthy on other nodes, /faulted on the struck ones.",
        at_least=200,
        phases=("fault",),
        selectors=True,
    ),
    MetricSpec(
        "flow.unavailable",
        Unit.COUNT,
        Rule.CENSUS,
        "Operations of a flow without a right answer on nodes that were not struck, while a fault was seen.",
        at_least=10,
        phases=("fault",),
        selectors=True,
    ),
    MetricSpec(
        "flow.recovery",
        Unit.SECONDS,
        Rule.SINGLE,
        "From the start of healing to the first right answer of the struck node to a flow, with no failure for a second.",
        selectors=True,
    ),
    MetricSpec(
        "budget.burnt",
        Unit.FACTOR,
        Rule.FACTOR,
        "The part of the error budget that the whole run used, on the paths that no fault struck.",
        at_least=200,
    ),
    MetricSpec(
        "dependency.load",
        Unit.FACTOR,
        Rule.FACTOR,
        "Requests a second of other nodes to the struck ones during the fault, in multiples of before.",
        at_least=20,
    ),
    MetricSpec("stale.answers", Unit.COUNT, Rule.CENSUS, "Answers that said that they are old.", at_least=50),
    MetricSpec("refused.answers", Unit.COUNT, Rule.CENSUS, "Operations that were answered with 503.", at_least=200),
    MetricSpec("refused.unadvised", Unit.COUNT, Rule.CENSUS, "Answers with 503 and without Retry-After."),
)
OF_SIGNALS = frozenset({"detect.time", "breaker.open.time", "breaker.closed.time", "breaker.stuck", "dependency.load"})
"""Metrics that need a target whose plug-in says where its own metrics are (`gates.signals`)."""


def objectives(plan: TrialPlan, course: Course, signals: Signals | None) -> tuple[Measurement, ...]:
    """All that can be told of *course*; a metric without data has no measurement."""
    seen = [each for each in course.observations if each.caused is not None and each.seen_start is not None]
    history = course.load.operations
    return (
        *_back(history, seen, course.load.end),
        *_restored(plan, course, seen),
        *_available(plan, course, seen),
        *_by_flow(plan, course, seen),
        *_converged(course, seen),
        *_answers(plan, history),
        *(_told(plan, course, seen, signals) if signals is not None else ()),
    )


# --- times ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Took:
    """How long something took; when *over* is false, it had not come after so many seconds, when the watch of it ended."""

    seconds: float
    over: bool = True


def longest(metric: str, times: Sequence[Took]) -> tuple[Measurement, ...]:
    """The longest of *times*; where one is not over, at least the longest that was watched. Nothing without any."""
    if not times:
        return ()
    most = max(took.seconds for took in times)
    beyond = None if all(took.over for took in times) else Interval(most, LONGEST, 1.0, _BEYOND_ALL)
    return (Measurement(metric, most, Unit.SECONDS, 1, beyond),)


def took(seconds: float | None, watched: float) -> Took:
    """*seconds*, or that it had not come when it had been *watched* for so long."""
    return Took(max(0.0, watched), over=False) if seconds is None else Took(seconds)


def _back(history: Sequence[Operation], seen: Sequence[Observation], end: float) -> tuple[Measurement, ...]:
    times = []
    for heal, until in _stretches(seen, end):
        odd = [each.completed for each in history if heal <= each.completed <= until and _degraded(each)]
        # an answer of the last second may have been followed by others that nobody asked for
        open_ended = bool(odd) and max(odd) > until - 1.0 and until == end
        times.append(took(None if open_ended else max(odd, default=heal) - heal, until - heal))
    return longest("back.time", times)


def _stretches(seen: Sequence[Observation], end: float) -> list[tuple[float, float]]:
    """From each healing to the next fault, or to the *end*."""
    healed = sorted(each.healing for each in seen if each.healing is not None)
    begins = [each.caused for each in seen if each.caused is not None]
    return [(heal, min((begin for begin in begins if begin > heal), default=end)) for heal in healed]


def _degraded(operation: Operation) -> bool:
    return operation.code == 503 or _answer(operation, AGE) is not None


def _answer(operation: Operation, name: str) -> str | None:
    found = operation.answer.get(name) if isinstance(operation.answer, dict) else None
    return None if found is None else str(found)


def _restored(plan: TrialPlan, course: Course, seen: Sequence[Observation]) -> tuple[Measurement, ...]:
    """When two seconds in a row are as those before the first fault were, each as far as its few samples can tell."""
    if not seen or any(each.healing is None for each in seen):
        return ()
    load, first = course.load, min(each.asked_start for each in seen)
    before = _stretch(load, plan.load.warmup, first)
    if first - plan.load.warmup < WINDOW or before is None:
        return ()
    least = before.right * (1 - TENTH) * WINDOW
    most = before.high * (1 + TENTH)
    stretches = _stretches(seen, plan.load.seconds)
    return longest("restored.time", [took(_first_sound(load, heal, end, least, most), end - heal) for heal, end in stretches])


def _first_sound(load: LoadOutcome, heal: float, until: float, least: float, most: float) -> float | None:
    for start in _steps(heal, until - LASTING * WINDOW, STEP):
        begins = (start + number * WINDOW for number in range(LASTING))
        windows = [_stretch(load, begin, begin + WINDOW) for begin in begins]
        if all(window is not None and window.right * WINDOW >= least and window.low <= most for window in windows):
            return start - heal
    return None


def _steps(start: float, end: float, step: float) -> Iterator[float]:
    return (start + number * step for number in range(max(0, math.floor((end - start) / step + 1e-9) + 1)))


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Right answers a second, and between what their p99 lies with 95 % confidence, as far as there are samples for it."""

    right: float
    low: float
    high: float


def _stretch(load: LoadOutcome, start: float, end: float) -> _Stretch | None:
    """What was meant to start from *start* to *end*; None when nothing was. What was not answered rightly took for ever."""
    import numpy as np

    from gates.load.statistics import order_statistics

    rows = (load.intended >= start) & (load.intended < end)
    count = int(np.count_nonzero(rows))
    if not count:
        return None
    ordered = np.sort(np.where(load.right, load.latency, LONGEST)[rows])
    low, high = order_statistics(count, 0.99)
    return _Stretch(
        float(np.count_nonzero(rows & load.right)) / (end - start), float(ordered[low - 1]), float(ordered[high - 1])
    )


def _converged(course: Course, seen: Sequence[Observation]) -> tuple[Measurement, ...]:
    healed = [each.healing for each in seen if each.healing is not None]
    if course.settled is None or not seen or len(healed) < len(seen):
        return ()
    rested, still = course.settled
    return longest("converge.time", [Took(rested - max(healed), over=still)])


# --- what clients saw -------------------------------------------------------------------------------------------------


def _available(plan: TrialPlan, course: Course, seen: Sequence[Observation]) -> Iterator[Measurement]:
    from gates.load.statistics import clopper_pearson

    load, healthy = course.load, [0, 0]
    struck = {name for each in course.observations for name in each.nodes}
    for selector in (HEALTHY, FAULTED):
        invoked = wrong = 0
        for each in seen:
            until = load.end if each.seen_end is None else each.seen_end
            asked = (
                operation
                for operation in load.operations
                if (operation.endpoint in each.nodes) == (selector == FAULTED)
                and (each.seen_start or 0.0) <= operation.invoked <= until
            )
            for operation in asked:
                invoked, wrong = invoked + 1, wrong + (operation.status != "ok")
        if invoked:
            bound = clopper_pearson(wrong, invoked)
            interval = Interval(1 - bound.high, 1 - bound.low, bound.level, bound.method)
            yield Measurement("availability", 1 - wrong / invoked, Unit.RATIO, invoked, interval, "fault", selector)
    for operation in load.operations:
        if operation.endpoint not in struck and operation.invoked >= plan.load.warmup:
            healthy[0], healthy[1] = healthy[0] + 1, healthy[1] + (operation.status != "ok")
    if seen and healthy[0]:
        bound, allowed = clopper_pearson(healthy[1], healthy[0]), plan.error_budget
        interval = Interval(bound.low / allowed, bound.high / allowed, bound.level, bound.method)
        yield Measurement("budget.burnt", healthy[1] / healthy[0] / allowed, Unit.FACTOR, healthy[0], interval)


def _by_flow(plan: TrialPlan, course: Course, seen: Sequence[Observation]) -> Iterator[Measurement]:
    """What each flow met on healthy paths during the faults, and how soon it was served again on the struck ones."""
    load = course.load
    for flow in plan.load.mix:
        history = [each for each in load.operations if each.kind == flow]
        parts = [
            availability(
                history,
                [name for name in load.endpoints if name not in each.nodes],
                each.seen_start or 0.0,
                load.end if each.seen_end is None else each.seen_end,
            )
            for each in seen
        ]
        invoked = sum(part.invoked for part in parts)
        if invoked:
            wrong = sum(part.unavailable for part in parts)
            yield Measurement("flow.unavailable", wrong, Unit.COUNT, invoked, None, "fault", flow)
        healed = [(each.nodes, each.healing) for each in seen if each.healing is not None]
        times = [took(recovery_time(history, nodes, healing), load.end - healing) for nodes, healing in healed]
        for measured in longest("flow.recovery", times):
            yield replace(measured, selector=flow)


def _answers(plan: TrialPlan, history: Sequence[Operation]) -> Iterator[Measurement]:
    """How many answers were old or refusals; only flows that would tell are counted."""
    aged = [each for each in history if each.kind in telling(plan, AGE)]
    if aged:
        yield Measurement("stale.answers", sum(_answer(each, AGE) is not None for each in aged), Unit.COUNT, len(aged))
    told = [each for each in history if each.kind in telling(plan, RETRY_AFTER)]
    refused = [each for each in told if each.code == 503]
    if told:
        yield Measurement("refused.answers", len(refused), Unit.COUNT, len(told))
    if refused:
        unadvised = sum(_answer(each, RETRY_AFTER) is None for each in refused)
        yield Measurement("refused.unadvised", unadvised, Unit.COUNT, len(refused))


def telling(plan: TrialPlan, name: str) -> frozenset[str]:
    """The flows that keep *name* of an answer when it is there."""
    flows = plan.load.flows.items()
    return frozenset(
        flow for flow, definition in flows if any(name in step.get("capture", {}) for step in definition.get("steps", ()))
    )


# --- what the target's metrics told -----------------------------------------------------------------------------------


def _told(plan: TrialPlan, course: Course, seen: Sequence[Observation], signals: Signals) -> Iterator[Measurement]:
    looks, end = course.looks, course.load.end
    if not looks or not seen:
        return
    lasted = [(end if each.seen_end is None else each.seen_end) - (each.caused or 0.0) for each in seen]
    times = [took(noticed(looks, signals, each), until) for each, until in zip(seen, lasted, strict=True)]
    yield from longest("detect.time", times)
    first = min(each.caused for each in seen if each.caused is not None)
    opened = [each for each in breakers(looks, signals) if each.opened >= first]
    if opened:
        yield Measurement("breaker.open.time", min(each.opened for each in opened) - first, Unit.SECONDS, 1)
        yield from _closed(opened, seen, max(look.when for look in looks))
    counted = calls(looks, signals, seen, plan.load.warmup)
    before, during = round(counted.before), round(counted.during)
    yield from _load_on_the_dead(before, during, counted.seconds_before, counted.seconds_during)


def _closed(opened: Sequence[Opened], seen: Sequence[Observation], end: float) -> Iterator[Measurement]:
    healed = max((each.healing for each in seen if each.healing is not None), default=None)
    stuck = sum(each.closed is None or not each.probed for each in opened)
    yield Measurement("breaker.stuck", stuck, Unit.COUNT, len(opened))
    if healed is not None:
        times = [took(None if each.closed is None else max(0.0, each.closed - healed), end - healed) for each in opened]
        yield from longest("breaker.closed.time", times)


def _load_on_the_dead(before: int, during: int, seconds_before: float, seconds_during: float) -> Iterator[Measurement]:
    """The ratio of two rates; its interval is that of the share of all requests that came during the fault."""
    from gates.load.statistics import clopper_pearson

    if not before or not seconds_before or not seconds_during:
        return
    times, share = seconds_before / seconds_during, clopper_pearson(during, before + during)
    low, high = (times * part / (1 - part) if part < 1 else LONGEST for part in (share.low, share.high))
    interval = Interval(low, high, share.level, "clopper-pearson of the share that came during the fault")
    yield Measurement("dependency.load", times * during / before, Unit.FACTOR, before + during, interval)
