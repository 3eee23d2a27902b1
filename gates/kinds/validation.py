"""The kind `validation`: faults under load, and what clients and the target say afterwards."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from gates import codec, registry
from gates.errors import GatesError
from gates.faults import FAULTS
from gates.faults.spec import FaultSpec, overlaps, planned
from gates.faults.ways import advice, at_odds, controls_of, planes_of
from gates.fields import Ratio, Settings
from gates.kinds.course import PHASES, described, faults_window, phases_of
from gates.kinds.failure import failed_to_run
from gates.kinds.honesty import PERIOD, vital, watched
from gates.kinds.objectives import AGE, FAULTED, HEALTHY, METRICS, OF_SIGNALS, RETRY_AFTER, telling
from gates.kinds.trial import TrialPlan, run_trial
from gates.load.metrics import catalogue
from gates.load.mistakes import mistake
from gates.load.plan import EVEN
from gates.load.reading import read_scenario
from gates.load.resources import NAMES, check_resources, planned_samples
from gates.load.samples import ALL, check_phases, check_selectors, fewest, samples
from gates.load.validity import valid_criteria
from gates.model import (
    CLIENTS,
    Comparator,
    Comparison,
    Criterion,
    GateResult,
    KindContext,
    KindPlan,
    MetricSpec,
    Request,
    Rule,
    Samples,
    TargetPlan,
    Unit,
)
from gates.quantity import show

FEWEST_OPERATIONS = 200
FEWEST_POLLS = 20
START_RETRY_AND_STOP = 8.0
CALM = 2.0
UNSEEN = 0.2
"""So long a fault may last before its probe has seen it: what clients do meanwhile is counted as of no fault."""
_BY_PATH = ("unavailable", "availability")
_ANSWERS = {"stale.answers": AGE, "refused.answers": RETRY_AFTER}
OWN = (
    MetricSpec(
        "recovery.time",
        Unit.SECONDS,
        Rule.SINGLE,
        "From the start of healing to the first right answer of the struck node that no failure followed within a second.",
    ),
    MetricSpec(
        "unavailable",
        Unit.COUNT,
        Rule.CENSUS,
        "Operations without a right answer while the fault was seen: /healthy on other nodes, /faulted on the struck ones.",
        at_least=FEWEST_OPERATIONS,
        phases=("fault",),
        selectors=True,
    ),
    MetricSpec(
        "ready.lied",
        Unit.COUNT,
        Rule.CENSUS,
        "Polls of a node's readiness that were answered with yes while a database that it can't do without was seen locked.",
        at_least=FEWEST_POLLS,
    ),
    *METRICS,
    MetricSpec("valid.fault", Unit.COUNT, Rule.CENSUS, "Faults whose start and end no independent probe saw."),
)
_LOAD_METRICS = ("flow.", "latency.", "service.", "errors.", "lateness.", "unsent.", "requests.", "throughput")


class ValidationSettings(Settings):
    """What a gate of the kind `validation` is given.

    Attributes:
        scenario: path of a scenario with faults and invariants.
        replay: the share of acknowledged operations that clients send again after the faults; those of unknown outcome all are.
        error_budget: the share of operations that may go wrong on paths that no fault struck; `budget.burnt` is measured by it.
    """

    scenario: str
    replay: Ratio = Field(default=0.1, ge=0, le=1)
    error_budget: Ratio = Field(default=0.01, gt=0, lt=1)


class Timeline(BaseModel):
    """The part of a scenario that a load ignores: faults and invariants."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    endpoints: ClassVar[tuple[str, ...]] = ()
    known: ClassVar[frozenset[str]] = frozenset()

    faults: tuple[FaultSpec, ...] = Field(min_length=1)
    invariants: tuple[str, ...] = ()

    @classmethod
    def knowing(cls, endpoints: Iterable[str], invariants: Iterable[str]) -> type[Timeline]:
        """This model, for a target with *endpoints* and an installation with *invariants*."""
        return type(
            cls.__name__, (cls,), {"endpoints": tuple(endpoints), "known": frozenset(invariants), "__module__": __name__}
        )

    @model_validator(mode="after")
    def _makes_sense(self) -> Timeline:
        mistakes = [*self._unknown_nodes(), *self._unknown_invariants(), *self._overlaps(), *self._links_of_two_kinds()]
        mistakes += () if mistakes else self._links_that_are_not_there()
        if mistakes:
            raise ValidationError.from_exception_data("Timeline", mistakes)
        return self

    def _unknown_nodes(self) -> Iterable[InitErrorDetails]:
        for number, fault in enumerate(self.faults):
            for place, node in fault.mentions():
                if node not in self.endpoints:
                    text = f"the target has no node {node!r}; it has {', '.join(self.endpoints)}"
                    yield mistake(text, ("faults", number, fault.key, *place), node)

    def _unknown_invariants(self) -> Iterable[InitErrorDetails]:
        for number, name in enumerate(self.invariants):
            if name not in self.known:
                text = f"unknown invariant {name!r}; there is {', '.join(sorted(self.known)) or 'none'}"
                yield mistake(text, ("invariants", number), name)

    def _overlaps(self) -> Iterable[InitErrorDetails]:
        for one, other in overlaps([planned(fault, 1.0) for fault in self.faults]):
            first, second = self.faults[one], self.faults[other]
            text = (
                f"this fault starts before the {first.key} that starts at {_percent(first.at)} has ended: "
                f"let it start at {_percent(first.at + first.lasting)} or later (got {_percent(second.at)})"
            )
            yield mistake(text, ("faults", other, "at"), second.at)

    def _links_that_are_not_there(self) -> Iterable[InitErrorDetails]:
        ends = (*self.endpoints, CLIENTS)
        there = [(one, other) for one in ends for other in ends if one != other]
        for number, fault in enumerate(self.faults):
            if hasattr(fault.settings, "pairs") and not fault.settings.pairs(there):
                text = (
                    "no other end is left of the links that this fault would strike: name fewer nodes, or others after `with`"
                )
                yield mistake(f"{text} (got {', '.join(fault.settings.nodes)})", ("faults", number, fault.key), "")

    def _links_of_two_kinds(self) -> Iterable[InitErrorDetails]:
        faults = [planned(fault, 1.0) for fault in self.faults]
        for one, other in at_odds(faults, FAULTS):
            text = (
                f"this fault needs links that are made by {planes_of(faults[other], FAULTS)}, "
                f"and the {self.faults[one].key} at {_percent(self.faults[one].at)} links by {planes_of(faults[one], FAULTS)}: "
                f"name a way that both have, or write two scenarios (got {self.faults[other].key})"
            )
            yield mistake(text, ("faults", other), "")


def _percent(share: float) -> str:
    return f"{share * 100:g} %"


class Validation:
    """Causes faults under load and proves recovery from what clients saw."""

    name = "validation"
    summary = "Faults under load: nothing acknowledged is lost, and how long it takes until all is well again."
    measures = True
    needs_target = True
    settings = ValidationSettings

    @property
    def metrics(self) -> tuple[MetricSpec, ...]:
        """Those of a load, our own, and those of every invariant that is installed."""
        invariants = registry.plugins(registry.INVARIANTS).values()
        return (*catalogue(PHASES), *OWN, *(metric for invariant in invariants for metric in invariant.metrics))

    def plan(self, settings: ValidationSettings, context: KindContext) -> KindPlan:
        """Read the scenario with its faults and invariants, and work out the samples of each criterion."""
        assert context.target is not None
        known = context.plugins(registry.INVARIANTS)
        _, load = read_scenario(settings.scenario, context)
        schema = Timeline.knowing(context.target.endpoints, known)
        timeline = context.read(settings.scenario, schema, setting="scenario")
        faults = tuple(planned(fault, load.seconds) for fault in timeline.faults)
        there = context.target.controls
        trial = TrialPlan(load, faults, timeline.invariants, settings.replay, settings.error_budget)
        _check_criteria(trial, known, context)
        return KindPlan(
            settings=codec.to_json(trial),
            built_in=(*valid_criteria(context.criteria, spins=load.pacing == "spin"), _fault_seen()),
            samples=_Samples(trial, context.target, known, context.root).of(context.criteria),
            controls=tuple(sorted({each for fault in faults for each in controls_of(FAULTS[fault.name], fault.asked, there)})),
            seconds=load.seconds + START_RETRY_AND_STOP,
            problems=tuple(dict.fromkeys(filter(None, (advice(FAULTS[each.name], each.asked, there) for each in faults)))),
        )

    def run(self, request: Request) -> GateResult:
        """Carry out the trial and describe its course."""
        started, began = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), time.monotonic()
        plan = codec.from_json(TrialPlan, request.gate.settings)
        invariants = [registry.plugins(registry.INVARIANTS)[name] for name in plan.invariants]
        try:
            course = run_trial(plan, request, invariants)
        except GatesError as error:
            return failed_to_run(request, error, started, time.monotonic() - began)
        return described(plan, course, request, started, time.monotonic() - began)


def _fault_seen() -> Criterion:
    return Criterion(
        "valid.fault",
        Unit.COUNT,
        Rule.CENSUS,
        (Comparison(Comparator.AT_MOST, 0, text="0"),),
        1,
        built_in=True,
        summary="Every fault was seen to start and to end by a probe that did not cause it.",
    )


def _check_criteria(trial: TrialPlan, known: Mapping[str, Any], context: KindContext) -> None:
    """Report criteria that this scenario can't measure, at their lines."""
    of_load = [each for each in context.criteria if each.metric.startswith(_LOAD_METRICS)]
    check_resources(context.criteria, context)
    check_phases(
        phases_of(trial.load, trial.faults),
        [each for each in context.criteria if each.metric in NAMES or each in of_load],
        context,
    )
    check_selectors(trial.load, of_load, context)
    signals = context.plugins(registry.SIGNALS)
    measured_by = {metric.name: name for name, invariant in known.items() for metric in invariant.metrics}
    for criterion in context.criteria:
        where = f"criteria.{criterion.id}"
        needed = measured_by.get(criterion.metric)
        if needed is not None and needed not in trial.invariants:
            context.error(where, f"the scenario does not check the invariant {needed!r}", f"add {needed} to its invariants")
        if criterion.metric == "ready.lied" and not any(vital(fault) for fault in trial.faults):
            context.error(where, "no fault of the scenario keeps a node from being ready", "add a fault `lock: {...}`")
        if criterion.metric in _BY_PATH and (criterion.phase, criterion.selector) not in (
            ("fault", HEALTHY),
            ("fault", FAULTED),
        ):
            name = criterion.metric
            context.error(where, "not measured", f"write {name}@fault/{HEALTHY} or {name}@fault/{FAULTED}")
        if criterion.metric in OF_SIGNALS and context.target and context.target.preset not in signals:
            hint = "a plug-in of the group gates.signals says where a target's metrics are and what they mean"
            context.error(where, f"nobody says what the metrics of a target {context.target.preset!r} mean", hint)
        _check_restored(criterion, trial, where, context)


def _check_restored(criterion: Criterion, trial: TrialPlan, where: str, context: KindContext) -> None:
    """Report a watch that is too short to tell what was before, or that it is so again."""
    if criterion.metric != "restored.time":
        return
    start, end = faults_window(trial.faults)
    if start - trial.load.warmup < CALM or trial.load.seconds - end < CALM:
        hint = f"leave {CALM:g} s between the warm-up and the first fault, and after the last"
        context.error(where, "there is no time to see how it was before, or that it is so again", hint)


@dataclass(frozen=True, slots=True)
class _Samples:
    """Planned samples of the criteria of a trial."""

    trial: TrialPlan
    target: TargetPlan
    invariants: Mapping[str, Any]
    root: Path

    def of(self, criteria: Sequence[Criterion]) -> dict[str, Samples]:
        """By criterion id; what is not there has enough."""
        load, phases = self.trial.load, phases_of(self.trial.load, self.trial.faults)
        censuses = {metric.name for name in self.trial.invariants for metric in self.invariants[name].metrics}
        own = {each.id: self._own(each, censuses) for each in criteria}
        looks = planned_samples(criteria, phases, load.seconds)
        return {
            **looks,
            **samples(load, criteria, phases, root=self.root),
            **{name: found for name, found in own.items() if found is not None},
        }

    def _own(self, criterion: Criterion, censuses: set[str]) -> Samples | None:
        if criterion.metric in _BY_PATH:
            return self._census(self._during_faults(struck=criterion.selector == FAULTED))
        if criterion.metric == "flow.unavailable":
            load = self.trial.load
            share = min(map(load.share, load.mix)) if criterion.selector == ALL else load.share(criterion.selector)
            return self._census(self._during_faults(struck=False) * share)
        if criterion.metric == "budget.burnt":
            return self._census(self._never_struck())
        if criterion.metric in _ANSWERS:
            flows = telling(self.trial, _ANSWERS[criterion.metric])
            return self._census(self.trial.load.seconds * sum(map(self.trial.load.share, flows)))
        if criterion.metric == "ready.lied":
            return self._polls()
        if criterion.metric in censuses:
            return self._census(self.trial.load.seconds - self._during_faults(struck=True, unseen=0.0))
        return None

    def _during_faults(self, *, struck: bool, unseen: float = UNSEEN) -> float:
        """Seconds of the whole arrival rate that go to struck, or to other, endpoints while faults are seen.

        Each is *unseen* for so many of its seconds.
        """
        endpoints = self.target.endpoints
        shares = (sum((name in fault.nodes) == struck for name in endpoints) / len(endpoints) for fault in self.trial.faults)
        lasting = (self._lasting(fault.start + unseen, fault.end) for fault in self.trial.faults)
        return sum(share * seconds for share, seconds in zip(shares, lasting, strict=True))

    def _never_struck(self) -> float:
        """Seconds of the whole arrival rate that go to endpoints that no fault strikes, once the load is warm."""
        struck = {name for fault in self.trial.faults for name in fault.nodes}
        share = sum(name not in struck for name in self.target.endpoints) / len(self.target.endpoints)
        return self._lasting(self.trial.load.warmup, self.trial.load.seconds) * share

    def _lasting(self, start: float, end: float) -> float:
        """Seconds of the average rate in which as many arrivals come as from *start* to *end*."""
        load = self.trial.load
        if load.shape == "constant" and load.gaps == EVEN:
            return max(0.0, end - start)
        return fewest(load, "", (start, max(start, end)), self.root) / load.rate

    def _polls(self) -> Samples:
        seconds = sum(watched(fault.start, fault.end) for fault in self.trial.faults if vital(fault))
        return Samples(int(seconds / PERIOD), lambda needed: f"faults that last {needed * PERIOD:g} s longer would do")

    def _census(self, seconds: float) -> Samples:
        rate = self.trial.load.rate

        def advise(needed: int) -> str:
            if seconds <= 0:
                return f"{needed:,} operations are needed"
            longer = needed / (seconds * rate)
            return f"a rate of {show(needed / seconds, Unit.RATE)} would do, or a load that lasts {longer:.2g} times as long"

        return Samples(int(seconds * rate), advise)
