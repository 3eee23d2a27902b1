"""From the course of a trial to the result of its gate: measurements, exhibits, findings, words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gates import registry
from gates.faults.observation import Observation
from gates.faults.timeline import PlannedFault
from gates.history.statements import availability, counts, recovery_time, undecided
from gates.kinds.honesty import lies, shown
from gates.kinds.objectives import METRICS, longest, objectives, took
from gates.kinds.replay import changes
from gates.kinds.trial import Course, TrialPlan
from gates.load.plan import LoadPlan
from gates.load.resources import NAMES as RESOURCES
from gates.load.resources import Resources, expected, measured
from gates.load.samples import ALL
from gates.model import (
    Execution,
    Exhibit,
    Finding,
    GateResult,
    Level,
    Measurement,
    Request,
    Signals,
    Table,
    Unit,
    Window,
)
from gates.quantity import show

if TYPE_CHECKING:
    from gates.load.outcome import LoadOutcome

PHASES = ("warmup", "steady", "before", "fault", "recovery")
_OF_FAULTS = ("recovery.time", "unavailable", "ready.lied")


def faults_window(faults: Sequence[PlannedFault]) -> tuple[float, float]:
    """From the start of the first fault to the end of the last, as asked for."""
    return min(fault.start for fault in faults), max(fault.end for fault in faults)


def phases_of(load: LoadPlan, faults: Sequence[PlannedFault]) -> dict[str, tuple[float, float]]:
    """From and to of each phase in seconds of intended start."""
    start, end = faults_window(faults)
    return {**load.phases, "before": (load.warmup, start), "fault": (start, end), "recovery": (end, load.seconds)}


def described(plan: TrialPlan, course: Course, request: Request, started: str, seconds: float) -> GateResult:
    """The result of the gate."""
    from gates.load.bottleneck import bottlenecks
    from gates.load.measure import measurements

    phases = phases_of(plan.load, plan.faults)
    resources = measured(course.taken, phases, course.load.end)
    criteria, outcomes = request.gate.criteria, course.outcomes.values()
    return GateResult(
        request.gate.name,
        Execution.COMPLETED,
        started,
        seconds,
        measurements=(
            *measurements(course.load, phases=phases, seed=request.seed, tags=plan.load.tags),
            *fault_measurements(course),
            *lies(course.polls, plan.faults, course.observations),
            *objectives(plan, course, _signals(request)),
            *resources.measurements,
            *(measurement for outcome in outcomes for measurement in outcome.measurements),
        ),
        findings=(
            *bottlenecks(course.load, criteria),
            *_findings(plan, course),
            *(finding for outcome in outcomes for finding in outcome.findings),
        ),
        exhibits=_exhibits(plan, course, request, resources),
        summary=_summary(plan, course),
        steps=_steps(request),
        attempt=request.attempt,
        expected={
            **{each.metric: tuple(plan.load.mix) for each in criteria if each.selector == ALL and each.metric not in RESOURCES},
            **expected(criteria, course.taken),
        },
        absent={**resources.absent, **absent(course)},
    )


def _signals(request: Request) -> Signals | None:
    target = request.gate.target
    found: Signals | None = registry.plugins(registry.SIGNALS).get(target.preset) if target else None
    return found


# --- measurements -----------------------------------------------------------------------------------------------------


def fault_measurements(course: Course) -> tuple[Measurement, ...]:
    """Recovery and availability around the faults that were seen, and how many were not."""
    unseen = sum(not observation.seen for observation in course.observations)
    valid = Measurement("valid.fault", unseen, Unit.COUNT, len(course.observations))
    seen = [observation for observation in course.observations if observation.seen_start is not None]
    return (valid, *_recovery(course.load, seen), *_availability(course.load, seen))


def recovered(load: LoadOutcome, observation: Observation) -> float | None:
    """Seconds from the start of healing to recovery as clients saw it; None when they did not."""
    return None if observation.healing is None else recovery_time(load.operations, observation.nodes, observation.healing)


def absent(course: Course) -> dict[str, str]:
    """Why metrics of the recovery may have no measurement, by metric; it is said where one is missing."""
    unseen = [each for each in course.observations if not each.seen]
    if unseen:
        return dict.fromkeys((*_OF_FAULTS, *(spec.name for spec in METRICS)), _not_seen(unseen[0]))
    opened = dict.fromkeys(("breaker.open.time", "breaker.closed.time", "breaker.stuck"), "no breaker was seen to open")
    moving = (
        {}
        if course.settled
        else {"converge.time": "nobody saw the target stand still: it did not answer, or was asked nothing"}
    )
    return {**opened, **moving, "refused.unadvised": "no flow that keeps Retry-After was refused with 503"}


def _not_seen(observation: Observation) -> str:
    return f"the {observation.fault} of {', '.join(observation.nodes)} was not seen to start and end"


def _recovery(load: LoadOutcome, seen: Sequence[Observation]) -> tuple[Measurement, ...]:
    """The longest recovery. One that did not come is at least as long as was watched."""
    healed = [(each, each.healing) for each in seen if each.healing is not None]
    return longest("recovery.time", [took(recovered(load, each), load.end - healing) for each, healing in healed])


def _availability(load: LoadOutcome, seen: Sequence[Observation]) -> tuple[Measurement, ...]:
    """Operations that were invoked while a fault was seen, on struck endpoints and on the others."""
    if not seen:
        return ()
    found = []
    for selector, struck in (("healthy", False), ("faulted", True)):
        parts = [
            availability(
                load.operations,
                [name for name in load.endpoints if (name in observation.nodes) == struck],
                observation.seen_start or 0.0,
                load.end if observation.seen_end is None else observation.seen_end,
            )
            for observation in seen
        ]
        unavailable, invoked = sum(part.unavailable for part in parts), sum(part.invoked for part in parts)
        found.append(Measurement("unavailable", unavailable, Unit.COUNT, invoked, None, "fault", selector))
    return tuple(found)


# --- exhibits ---------------------------------------------------------------------------------------------------------


def _exhibits(plan: TrialPlan, course: Course, request: Request, resources: Resources) -> tuple[Exhibit, ...]:
    from gates.load.exhibits import exhibits, limits
    from gates.load.resource_exhibits import resource_exhibits

    drawn = exhibits(course.load, limits=limits(request.gate.criteria), windows=_windows(course))
    checked = (exhibit for outcome in course.outcomes.values() for exhibit in outcome.exhibits)
    ready = shown(course.polls, plan.faults, course.observations)
    taken = resource_exhibits(course.taken, resources, request.gate.criteria, _windows(course))
    return (*drawn[:2], _faults(course), *ready, *checked, _operations(plan, course), *drawn[2:], *taken, *course.logs)


def _windows(course: Course) -> list[Window]:
    """Each fault as asked for and as seen, and the moment of recovery."""
    windows = []
    for observation in course.observations:
        by = f" by {observation.way}" if observation.way else ""
        name = f"{observation.fault} of {', '.join(observation.nodes)}{by}"
        windows.append(Window(name, observation.asked_start, observation.asked_end))
        if observation.seen_start is not None:
            end = course.load.end if observation.seen_end is None else observation.seen_end
            windows.append(Window(name, observation.seen_start, end, seen=True))
        took = recovered(course.load, observation)
        if took is not None and observation.healing is not None:
            moment = observation.healing + took
            windows.append(Window("recovered", moment, moment))
    return windows


def _faults(course: Course) -> Table:
    columns = ("fault", "way", "struck", "asked for", "caused", "seen", "healing", "seen over", "recovered", "how it was seen")
    rows = []
    for each in course.observations:
        took = recovered(course.load, each)
        asked = f"{_at(each.asked_start)} to {_at(each.asked_end)}"
        times = tuple(_at(moment) for moment in (each.caused, each.seen_start, each.healing, each.seen_end))
        back = "never" if took is None else f"{show(took, Unit.SECONDS)} after the healing"
        rows.append((each.fault, each.way or "the only one", ", ".join(each.nodes), asked, *times, back, each.detail))
    return Table("Faults, in seconds from the start of load", columns, tuple(rows))


def _at(moment: float | None) -> str:
    return "never" if moment is None else f"{moment:.3f}"


def _operations(plan: TrialPlan, course: Course) -> Table:
    phases = {name: span for name, span in phases_of(plan.load, plan.faults).items() if name != "steady"}
    found = counts(course.load.operations, phases)
    rows = [
        (phase, endpoint, *(f"{found[phase, endpoint][status]:,}" for status in ("ok", "fail", "unknown")))
        for phase in phases
        for endpoint in course.load.endpoints
        if (phase, endpoint) in found
    ]
    again = [operation.status for operation in course.retries]
    rows.append(("sent again", "all", *(f"{again.count(status):,}" for status in ("ok", "fail", "unknown"))))
    return Table("Operations as clients saw them", ("phase", "endpoint", "acknowledged", "refused", "unknown"), tuple(rows))


# --- words ------------------------------------------------------------------------------------------------------------


def _findings(plan: TrialPlan, course: Course) -> tuple[Finding, ...]:
    problems = [Finding(Level.ERROR, problem) for problem in course.problems]
    deaths = [
        Finding(Level.ERROR, f"{name} ended with exit code {code} though nobody asked", hint="its last log lines are below")
        for name, code in course.deaths.items()
    ]
    unseen = [Finding(Level.WARNING, f"{_not_seen(each)}: {each.detail}") for each in course.observations if not each.seen]
    history = (*course.load.operations, *course.retries)
    doubtful = sum(changes(plan.load, operation.kind) for operation in undecided(history))
    undecided_ones = [Finding(Level.NOTE, f"{doubtful} changes are of unknown outcome to the end")] if doubtful else []
    return (*problems, *deaths, *unseen, *undecided_ones)


def _summary(plan: TrialPlan, course: Course) -> str:
    operations = course.load.operations
    unknown = sum(operation.status == "unknown" for operation in operations)
    faults = "; ".join(_in_words(fault) for fault in plan.faults)
    return (
        f"{len(operations):,} operations at {show(plan.load.rate, Unit.RATE)}; {faults}. "
        f"{unknown:,} had an unknown outcome; {len(course.retries):,} were sent again under the same key."
    )


def _in_words(fault: PlannedFault) -> str:
    start, lasting = show(fault.start, Unit.SECONDS), show(fault.end - fault.start, Unit.SECONDS)
    return f"{fault.name} of {', '.join(fault.nodes)} at {start} for {lasting}"


def _steps(request: Request) -> tuple[str, ...]:
    folder = Path(request.folder).name
    return (
        f"look at {folder}/evidence/observations.json for what the faults' probes saw",
        f"read {folder}/evidence/history.jsonl.gz: every operation of every client, one JSON array a line",
        f"look at the nodes' logs and databases in {folder}/target",
    )
