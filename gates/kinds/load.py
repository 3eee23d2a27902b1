"""The kind `load`: a scenario's arrivals against a fresh target, with latency from the intended start."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from gates import codec
from gates.errors import GatesError
from gates.fields import Duration, Rate, Settings
from gates.kinds import stored
from gates.kinds.alone import alone
from gates.kinds.failure import failed_to_run
from gates.kinds.interruption import asked_to_stop, measured_for
from gates.load.knee import METRICS as KNEE
from gates.load.knee import Knee, Objectives, check_knee, find_knee, most_lateness, only_until
from gates.load.metrics import catalogue
from gates.load.plan import LoadPlan
from gates.load.reading import read_scenario
from gates.load.resources import NAMES as RESOURCES
from gates.load.resources import check_resources, planned_samples
from gates.load.sampler import Sampler, Taken
from gates.load.samples import ALL, check_phases, check_selectors, samples
from gates.load.scale import scale_of
from gates.load.scenario import ChangeError, changed
from gates.load.validity import valid_criteria
from gates.load.watching import Stretch, Watching, into
from gates.model import Execution, Finding, GateResult, KindContext, KindPlan, Level, Request, Unit, Window
from gates.quantity import show
from gates.target.proxy.settings import ProxySettings

if TYPE_CHECKING:
    from gates.load.breach import Guard
    from gates.load.schedule import Schedule
    from gates.load.selection import Outcome
    from gates.target import RunningTarget

START_AND_STOP = 4.0
SUSTAINED = 3.0
CUT_SHORT = ("requests.count",)
"""What a run that ended itself has less of, whatever the target did."""
INTERRUPTED = (*CUT_SHORT, "throughput", "generator.sent", "generator.done", *sorted(stored.GUARDS))
"""What one that was ended from outside has less of, or can not set against whole runs: its highest rates may not have come."""
PART_SUSTAINED = 0.1
"""Of the arrivals' time, and at least so many seconds a breach must last: hardly anything that it stops would have passed."""


class StopSettings(Settings):
    """When a run ends itself: `after` so long a breach of a latency or error criterion that was proven without a pause, or
    `never`; by default a tenth of the arrivals' time, at least 3 s.
    """

    after: Annotated[Duration, Field(gt=0, le=86_400)] | Literal["never"] | None = None

    def seconds(self, load: LoadPlan) -> float:
        """How long in a run of *load*; 0 for never."""
        if self.after == "never":
            return 0.0
        return max(SUSTAINED, load.seconds * PART_SUSTAINED) if self.after is None else self.after


def _place(text: str) -> str:
    scale_of(text)
    return text


class LoadSettings(Settings):
    """What a gate of the kind `load` is given.

    `scenario` is a path; `rate` and `for` take the place of the scenario's own; `knee` holds the objectives of its steps, for
    `knee.rate`; `proxy` seeds defects into a share of the responses and `drag` is processor time that every arrival costs the
    generator, both for drills; `stop` says how long a breach must last that ends the run;
    `scale` spreads the load over workers, `local:2` or those of `dask://HOST:PORT`, and can't be stopped at a breach.
    """

    scenario: str
    rate: Annotated[Rate, Field(gt=0, le=200_000)] | None = None
    for_: Annotated[Duration, Field(gt=0, le=86_400)] | None = Field(default=None, alias="for")
    knee: Objectives | None = None
    proxy: ProxySettings | None = None
    drag: Annotated[Duration, Field(gt=0, le=10)] | None = None
    stop: StopSettings = StopSettings()
    scale: Annotated[str, AfterValidator(_place)] | None = None


class LoadKind:
    """Offers load as a scenario says and measures what its clients see."""

    name = "load"
    summary = "Open-loop load: latency from the intended start, errors, throughput."
    measures = True
    needs_target = True
    settings = LoadSettings
    metrics = (*catalogue(), *KNEE, *stored.LOAD)

    def plan(self, settings: LoadSettings, context: KindContext) -> KindPlan:
        """Read the scenario and its flows, and work out the samples of each criterion."""
        scenario, load = read_scenario(settings.scenario, context)
        try:
            load = changed(load, rate=settings.rate, seconds=settings.for_)
        except ChangeError as error:
            context.error(error.setting, error.message, error.hint)
            raise
        if scenario.faults or scenario.invariants:
            context.error("scenario", "it has faults or invariants, which a load gate ignores", "use `kind: validation`")
        _check_endpoints(load, context)
        _check_stop(settings, context)
        stored.check_stored(context.criteria, context.root)
        check_resources(context.criteria, context)
        check_knee(load, settings.knee, context)
        limits = settings.knee.limits if settings.knee else None
        of_the_load = [each for each in context.criteria if each.metric not in stored.GUARDS | RESOURCES]
        check_phases(load.phases, [each for each in context.criteria if each.metric not in stored.GUARDS], context)
        check_selectors(load, of_the_load, context)
        _check_drag(settings, context)
        return KindPlan(
            settings={
                "load": codec.to_json(load),
                "proxy": settings.proxy.injection() if settings.proxy else None,
                "knee": limits,
                "drag": settings.drag or 0.0,
                "stop_after": 0.0 if settings.scale else settings.stop.seconds(load),
                "scale": settings.scale,
            },
            built_in=valid_criteria(
                context.criteria, latest=most_lateness(limits) if limits else None, spins=load.pacing == "spin"
            ),
            samples={
                **samples(load, context.criteria, load.phases, root=context.root),
                **planned_samples(context.criteria, load.phases, load.seconds),
            },
            seconds=load.seconds + START_AND_STOP,
        )

    def run(self, request: Request) -> GateResult:
        """Start the target, offer the load, measure."""
        started, began = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), time.monotonic()
        try:
            with ExitStack() as until_the_end:
                return _Gate(request, started, began, until_the_end).run()
        except GatesError as error:
            return failed_to_run(request, error, started, time.monotonic() - began)


class _Gate:
    """One run of a load gate."""

    def __init__(self, request: Request, started: str, began: float, until_the_end: ExitStack) -> None:
        self.request = request
        self.plan = codec.from_json(LoadPlan, request.gate.settings["load"])
        self.folder = Path(request.folder)
        self.lasting: dict[str, str] = {}
        self.guard: Guard | None = None
        self.until_the_end = until_the_end
        self.interrupted = ""
        self.started = started
        self.began = began

    def run(self) -> GateResult:
        from gates.load.exhibits import write_evidence
        from gates.load.offer import offer
        from gates.load.resource_exhibits import write_samples
        from gates.target import running

        assert self.request.gate.target is not None
        injection, scale = (self.request.gate.settings.get(name) for name in ("proxy", "scale"))
        proxies = {"*": injection} if injection else None
        with running(self.request.gate.target, folder=self.folder, proxies=proxies, seed=self.request.seed) as target:
            # what the gate started itself is gone when somebody reads its address
            self.lasting = {} if target.processes() or proxies else dict(target.endpoints)
            started: list[float] = []
            told = self.until_the_end.enter_context(asked_to_stop())
            with Sampler(target.processes) as sampler:
                outcome = offer(
                    self.plan,
                    target.endpoints,
                    seed=self.request.seed,
                    scale=scale_of(scale) if scale else None,
                    headers=target.headers,
                    on_start=started.append,
                    on_second=Watching(self.plan, into(self.folder), self._stretches()),
                    stop=told,
                    abandon=told,
                    guarded=self._guarded,
                    drag=self.request.gate.settings["drag"],
                )
            taken = sampler.taken(started[0])
            deaths = _deaths(target)
            self.interrupted = measured_for(outcome.end, self.plan.seconds) if told.is_set() else ""
            if self.interrupted and not outcome.select().count:
                raise KeyboardInterrupt
            tails = target.logs() if deaths else ()
        write_evidence(outcome, self.request.evidence)
        write_samples(taken, self.request.evidence)
        self._keep_proxy_logs(target)
        return self._result(outcome, taken, deaths, tails)

    def _stretches(self) -> tuple[Stretch, ...]:
        return tuple(Stretch(name, *span) for name, span in self.plan.phases.items())

    def _guarded(self, arrivals: Schedule) -> Guard:
        """What ends the run at a sustained breach; it watches nothing when it is never to."""
        from gates.load.breach import Guard

        after = self.request.gate.settings["stop_after"]
        criteria = self.request.gate.criteria if after else ()
        self.guard = Guard(
            arrivals.intended, arrivals.flow, arrivals.flows, self.plan.phases, criteria, after, self.request.seed
        )
        return self.guard

    def _stopped(self, outcome: Outcome) -> str:
        """Why the run ended itself, as a sentence; empty when it did not."""
        breach = self.guard.found if self.guard else None
        if breach is None:
            return ""
        of = f"{outcome.end:.1f} s of {show(self.plan.seconds, Unit.SECONDS)}"
        return f"stopped after {of}: {breach.criterion} was beyond its limit, proven from {breach.proven:.1f} s on"

    def _execution(self, stopped: str) -> Execution:
        if self.interrupted:
            return Execution.CANCELLED
        return Execution.STOPPED if stopped else Execution.COMPLETED

    def _keep_proxy_logs(self, target: RunningTarget) -> None:
        """What the proxy did is evidence of its own, written by another process than ours."""
        for log in target.proxy_logs.values():
            if log.exists():
                shutil.copyfile(log, self.request.evidence / log.name)

    def _result(self, outcome: Outcome, taken: Taken, deaths: tuple[Finding, ...], tails: tuple[Any, ...]) -> GateResult:
        from gates.load.bottleneck import bottlenecks
        from gates.load.exhibits import exhibits, limits
        from gates.load.measure import measurements
        from gates.load.resource_exhibits import resource_exhibits
        from gates.load.resources import expected, measured

        criteria, phases = self.request.gate.criteria, self.plan.phases
        found = self._knee(outcome)
        windows = [Window(name, *span) for name, span in phases.items() if name != "steady"]
        windows += found.windows if found else ()
        clients = measurements(outcome, phases=phases, seed=self.request.seed, tags=self.plan.tags)
        if found:
            clients = (*only_until(found.until, outcome, clients, self.request.seed), found.measurement)
        resources = measured(taken, phases, outcome.end)
        guards = stored.load_against_stored(self.request, clients)
        stopped = self.interrupted or self._stopped(outcome)
        cut = dict.fromkeys(INTERRUPTED if self.interrupted else CUT_SHORT if stopped else (), stopped)
        of_flows = [c for c in criteria if c.selector == ALL and c.metric not in stored.GUARDS | RESOURCES]
        return GateResult(
            self.request.gate.name,
            self._execution(stopped),
            self.started,
            time.monotonic() - self.began,
            measurements=tuple(
                each for each in (*clients, *resources.measurements, *guards.measurements) if each.metric not in cut
            ),
            reason=stopped,
            findings=(*deaths, *bottlenecks(outcome, criteria), *_problems(outcome), *guards.findings),
            exhibits=(
                *((found.table,) if found else ()),
                *exhibits(outcome, limits=limits(criteria), windows=windows),
                *resource_exhibits(taken, resources, criteria, windows),
                *tails,
            ),
            summary=" ".join(_sentences(stopped, found, outcome)),
            steps=self._steps(outcome),
            attempt=self.request.attempt,
            expected={**{c.metric: tuple(self.plan.mix) for c in of_flows}, **expected(criteria, taken)},
            absent={**resources.absent, **guards.absent, **cut},
        )

    def _knee(self, outcome: Outcome) -> Knee | None:
        limits = self.request.gate.settings.get("knee")
        return find_knee(self.plan, outcome, limits, seed=self.request.seed) if limits else None

    def _steps(self, outcome: Outcome) -> tuple[str, ...]:
        seconds = os.path.relpath(self.request.evidence / "seconds.csv", self.request.root)
        command = alone(self.request, self.plan, self.lasting)
        return (f"look at {seconds} for when it happened", command) if outcome.due else (command,)


def _sentences(stopped: str, found: Knee | None, outcome: Outcome) -> Iterator[str]:
    """The summary: why the load was ended, where its knee lies, what was offered."""
    if stopped:
        yield f"{stopped[:1].upper()}{stopped[1:]}."
    if found:
        yield found.text
    yield summarised(outcome)


def summarised(outcome: Outcome) -> str:
    """One or two sentences: what was offered, what became of it, and how well the generator kept up."""
    whole, health = outcome.select(), outcome.health
    text = f"{outcome.planned:,} planned, {whole.sent:,} sent, {whole.wrong:,} with an error."
    if not whole.count:
        return text
    late = show(whole.lateness.quantile(0.99), Unit.SECONDS)
    steal = "" if health.steal is None else f", {show(health.steal, Unit.RATIO)} of the machine's time stolen"
    return f"{text} The generator was late by {late} at p99{steal}."


def _deaths(target: RunningTarget) -> tuple[Finding, ...]:
    return tuple(
        Finding(Level.ERROR, f"{name} {_ending(code)} in the middle of the load", hint="its last log lines are below")
        for name, code in target.died().items()
    )


def _problems(outcome: Outcome) -> tuple[Finding, ...]:
    return tuple(Finding(Level.WARNING, problem, hint="what was measured stands") for problem in outcome.problems)


def _ending(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _check_drag(settings: LoadSettings, context: KindContext) -> None:
    """Report a seeded defect that no worker would have: a drill with it would see a generator that is quick."""
    if settings.scale and settings.drag:
        text = "a generator over workers is not slowed: `drag` holds up one of a single process only"
        context.error("drag", text, "leave out `drag`, or `scale`")


def _check_endpoints(load: LoadPlan, context: KindContext) -> None:
    """Report flows that name an endpoint which the target does not have."""
    endpoints = context.target.endpoints if context.target else ()
    once = {"setup": load.setup or {}, "teardown": load.teardown or {}}
    for name, definition in {**load.flows, **once}.items():
        wanted = definition.get("endpoint", "any")
        if endpoints and wanted not in ("any", *endpoints):
            context.error("scenario", f"flow {name!r} goes to endpoint {wanted!r}", f"the target has {', '.join(endpoints)}")


def _check_stop(settings: LoadSettings, context: KindContext) -> None:
    """Report a load that is to be ended at a breach which nobody would see."""
    if settings.scale and settings.stop.after not in (None, "never"):
        text = "a load over workers is not ended at a sustained breach: no worker sees enough to prove it"
        context.error("stop", text, "leave out `stop`, or `scale`")
