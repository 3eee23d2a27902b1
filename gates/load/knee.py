"""The knee of a load in steps: the highest rate at which its objectives still held, before the first at which they did not.

A step *holds* when the interval of every objective lies below its limit, and it *breaks* when the interval of one lies above.
A step in which the generator itself was late says nothing of the target, nor does what comes after it. So the knee has an
interval: from the last step that held to the first that broke; where none broke, to the highest rate that was offered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import RootModel, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from gates.load import validity
from gates.load.metrics import QUANTILES
from gates.load.mistakes import mistake
from gates.load.plan import LoadPlan
from gates.model import Interval, KindContext, Measurement, MetricSpec, Rule, Table, Unit, Window
from gates.quantity import parse, show

if TYPE_CHECKING:
    from gates.load.selection import Outcome, Selection

KNEE = "knee.rate"
METRICS = (MetricSpec(KNEE, Unit.RATE, Rule.SINGLE, "The highest rate of the steps at which the objectives held."),)
ERRORS = "errors.ratio"
HELD, BROKE, OPEN, LATE = "held", "broke", "can't be told", "the generator was late"
METHOD = "from the last step that held to the first that broke"
LEVEL = 0.95
_BEYOND, _NO_ERRORS = 10, 3.7
_HAIR = 1e-9
_UNITS = {f"latency.{short}": Unit.SECONDS for short in QUANTILES} | {ERRORS: Unit.RATIO}


class Objectives(RootModel[dict[str, Any]]):
    """Upper limits by metric: `{latency.p95: 500 ms, errors.ratio: 2 %}`."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Objectives:
        mistakes = list(self._mistakes())
        if mistakes:
            raise ValidationError.from_exception_data("Objectives", mistakes)
        return self

    def _mistakes(self) -> Iterable[InitErrorDetails]:
        if not self.root:
            yield mistake("no objective; expected one such as `latency.p95: 500 ms`", (), "")
        for name, value in self.root.items():
            if name not in _UNITS:
                yield mistake(f"no objective of a step; expected one of {', '.join(_UNITS)}", (name, "[key]"), name)
                continue
            try:
                limit = parse(value, _UNITS[name])
            except ValueError as error:
                yield mistake(str(error), (name,), value)
                continue
            if limit <= 0:
                yield mistake("expected more than 0", (name,), value)

    @property
    def limits(self) -> dict[str, float]:
        """In base units."""
        return {name: parse(value, _UNITS[name]) for name, value in self.root.items()}


@dataclass(frozen=True, slots=True)
class Step:
    """A rate, and from and to when it was offered, in seconds; what lies in the warm-up is no part of it."""

    rate: float
    start: float
    end: float


def steps(plan: LoadPlan) -> tuple[Step, ...]:
    """The steps of *plan* after its warm-up."""
    found, start = [], 0.0
    for piece in plan.pieces:
        end = start + piece.seconds
        if end > plan.warmup + _HAIR:
            found.append(Step(piece.start, max(start, plan.warmup), end))
        start = end
    return tuple(found)


def check_knee(plan: LoadPlan, objectives: Objectives | None, context: KindContext) -> None:
    """Report a knee that this load can't find, and a criterion over one that is not asked for."""
    asked = [each for each in context.criteria if each.metric == KNEE]
    if objectives is None:
        for criterion in asked:
            context.error(
                f"criteria.{criterion.id}", "no objectives are given", "add `knee: {latency.p95: 500 ms}` to the gate"
            )
        return
    rates = [step.rate for step in steps(plan)] if plan.shape == "steps" else []
    if len(rates) < 2 or sorted(set(rates)) != rates:
        context.error("knee", "a knee is found by steps, each of a higher rate than the one before", "`shape: steps`")
        return
    for step in steps(plan):
        for name, limit in objectives.limits.items():
            needed, there = _needed(name, limit), int(step.rate * (step.end - step.start) + _HAIR)
            if there < needed:
                text = f"{name} needs {needed:,} requests in every step, and the one of {step.rate:g}/s has {there:,}"
                context.error(f"knee.{name}", text, f"let it last {needed / step.rate:.1f} s")
    for criterion in asked:
        for comparison in criterion.comparisons:
            if comparison.limit > rates[-1]:
                text = f"the highest step is {rates[-1]:g}/s, which can't show {comparison.text}"
                context.error(f"criteria.{criterion.id}", text)


def _needed(name: str, limit: float) -> int:
    return round(_NO_ERRORS / limit if name == ERRORS else _BEYOND / (1 - QUANTILES[name.removeprefix("latency.")]))


# --- after the run ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """What became of one step, and why in a few words."""

    step: Step
    state: str
    count: int
    values: Mapping[str, float]
    why: str


@dataclass(frozen=True, slots=True)
class Knee:
    """Where the objectives broke.

    Attributes:
        held: the highest rate of the steps that held from the first on, 0 when the first did not.
        highest: what the knee lies below, or the highest rate that was offered when nothing broke.
        broke: whether a step did.
        seen: the steps one by one, as far as they say something.
        until: to when the load says something of the target, in seconds.
    """

    held: float
    highest: float
    broke: bool
    seen: tuple[Seen, ...]
    until: float

    @property
    def text(self) -> str:
        """A sentence for the summary."""
        last = self.seen[-1]
        if self.broke:
            between = f"between {self.held:g}/s and {last.step.rate:g}/s" if self.held else f"below {last.step.rate:g}/s"
            return f"The knee lies {between}: {last.why}."
        least = f"at least {self.held:g}/s" if self.held else "not found"
        reason = f"{last.state} at {last.step.rate:g}/s" if last.state is LATE else "no step broke"
        return f"The knee is {least}: {reason}."

    @property
    def measurement(self) -> Measurement:
        count = sum(each.count for each in self.seen)
        return Measurement(KNEE, self.held, Unit.RATE, count, Interval(self.held, self.highest, LEVEL, METHOD))

    @property
    def windows(self) -> tuple[Window, ...]:
        """The steps, for plots over time; those that have no name of their own show their rate."""
        return tuple(Window(f"{each.step.rate:g}/s", each.step.start, each.step.end) for each in self.seen)

    @property
    def table(self) -> Table:
        names = tuple(self.seen[0].values)
        columns = ("rate", "requests", *names, "step")
        rows = tuple(
            (
                f"{each.step.rate:g}/s",
                f"{each.count:,}",
                *(show(each.values[name], _UNITS[name]) if name in each.values else "" for name in names),
                each.state,
            )
            for each in self.seen
        )
        return Table("Steps to the knee", columns, rows)


def find_knee(plan: LoadPlan, outcome: Outcome, limits: Mapping[str, float], *, seed: int) -> Knee | None:
    """The knee of *outcome*; None when nothing came. *limits* are upper ones, in base units."""
    seen: list[Seen] = []
    for step in steps(plan):
        seen.append(_look(step, outcome, limits, seed))
        if seen[-1].state in (BROKE, LATE):
            break
    if not any(each.count for each in seen):
        return None
    firm = next((at for at, each in enumerate(seen) if each.state != HELD), len(seen))
    broke = seen[-1].state == BROKE
    held = seen[firm - 1].step.rate if firm else 0.0
    # what was seen to break lies above the knee, not on it
    highest = seen[-1].step.rate * (1 - _HAIR) if broke else steps(plan)[-1].rate
    until = (seen[-2] if seen[-1].state == LATE and len(seen) > 1 else seen[-1]).step.end
    return Knee(held, highest, broke, tuple(seen), until)


def only_until(until: float, outcome: Outcome, measured: Sequence[Measurement], seed: int) -> tuple[Measurement, ...]:
    """*measured*, where what the generator says of itself is of the arrivals before *until* alone: beyond the knee it waits."""
    from gates.load.failure import Failure

    before = outcome.select(0.0, until)
    if not before.count:
        return tuple(measured)
    own = {
        validity.LATENESS: before.lateness.percentiles((0.99,), seed=seed)[0][0],
        validity.UNSENT: before.failures.get(Failure.UNSENT, 0) / before.count,
    }
    return tuple(replace(each, value=own[each.metric], n=before.count) if each.metric in own else each for each in measured)


def _look(step: Step, outcome: Outcome, limits: Mapping[str, float], seed: int) -> Seen:
    chosen = outcome.select(step.start, step.end)
    if chosen.count < int(step.rate * (step.end - step.start)):
        return Seen(step, OPEN, chosen.count, {}, "the load was ended before")
    found = {name: _measured(name, chosen, outcome.end, seed) for name in limits}
    values = {name: value for name, (value, _) in found.items()}
    late = chosen.lateness.percentiles((0.99,), seed=seed)[0][0]
    if late > most_lateness(limits):
        return Seen(step, LATE, chosen.count, values, f"by {show(late, Unit.SECONDS)} at p99")
    for name, (value, interval) in found.items():
        if interval.low >= limits[name]:
            return Seen(step, BROKE, chosen.count, values, f"at {step.rate:g}/s {name} was {show(value, _UNITS[name])}")
    held = all(interval.high < limits[name] for name, (_, interval) in found.items())
    return Seen(step, HELD if held else OPEN, chosen.count, values, "")


def most_lateness(limits: Mapping[str, float]) -> float:
    """How late the generator may be in a step, at p99: a tenth of the tightest latency that is an objective."""
    tightest = min((limit for name, limit in limits.items() if name != ERRORS), default=None)
    return validity.LATENESS_WITHOUT_LIMIT if tightest is None else tightest * validity.PART_OF_THE_LIMIT


def _measured(name: str, chosen: Selection, end: float, seed: int) -> tuple[float, Interval]:
    from gates.load.statistics import clopper_pearson

    if name == ERRORS:
        errors = chosen.wrong
        return errors / chosen.count, clopper_pearson(errors, chosen.count)
    if not chosen.latency.count:  # nothing but refusals: as long as the whole run, and over any limit
        return end, Interval(end, end, LEVEL, METHOD)
    return chosen.latency.percentiles((QUANTILES[name.removeprefix("latency.")],), seed=seed)[0]
