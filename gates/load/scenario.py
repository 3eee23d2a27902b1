"""Scenario files: what a person writes, checked, and resolved to a `LoadPlan`."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from gates.errors import GatesError
from gates.fields import WITH_UNITS, Duration, Settings
from gates.load.arrivals import HIGHEST_RATE, Arrivals, Constant, Replayed, Shape
from gates.load.attachments import unreadable_files
from gates.load.curve import Piece
from gates.load.feeds import GIVEN, FeedSettings, Table, exhausted
from gates.load.flows import AnyFlow, Flow, Name, PythonFlow, dotted
from gates.load.mistakes import closest, mistake
from gates.load.plan import Feed, LoadPlan, Replay
from gates.load.recording import Recording

MOST_ARRIVALS = 20_000_000
FASTEST_PYTHON = 500
"""Arrivals a second that flows in Python may have: httpx takes three quarters of a core for as many requests."""
Weight = Annotated[int, Field(ge=1, le=1_000_000)]


class ChangeError(GatesError):
    """A rate or a time that can't take the place of a scenario's own; *setting* is `rate` or `for`."""

    def __init__(self, setting: str, message: str, hint: str) -> None:
        super().__init__(message, location=setting, hint=hint)
        self.setting = setting


class Sources(BaseModel):
    """The parts of a scenario that name other files, which must be read before the rest can be checked."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    flows_from: tuple[str, ...] = ()
    arrivals: Any = None
    feeds: Any = None

    @property
    def tables(self) -> dict[str, str]:
        """Path of the file of each feed that names one."""
        given = self.feeds if isinstance(self.feeds, dict) else {}
        files = {name: feed.get("file") for name, feed in given.items() if isinstance(feed, dict)}
        return {name: file for name, file in files.items() if isinstance(file, str)}

    @property
    def recording(self) -> str:
        """Path of the recording that is replayed; empty when there is none, or when it is no path."""
        given = self.arrivals if isinstance(self.arrivals, dict) else {}
        file = given.get("file")
        return file if given.get("shape") == "replay" and isinstance(file, str) else ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a scenario is checked against besides itself.

    Attributes:
        flows: those from files and plug-ins.
        recording: what the file of a replay holds.
        tables: what the files of feeds hold.
        root: what paths are relative to; None where files are not looked for.
    """

    flows: Mapping[str, AnyFlow] = field(default_factory=dict)
    recording: Recording | None = None
    tables: Mapping[str, Table] = field(default_factory=dict)
    root: Path | None = None


class Scenario(Settings):
    """Arrivals, a mix of flows, and for validation a timeline of faults and the invariants that must hold."""

    around: ClassVar[Surroundings] = Surroundings()

    version: Literal[1]
    summary: str = ""
    arrivals: Arrivals
    warmup: Annotated[Duration, Field(ge=0)] = 0.0
    connections: Annotated[int, Field(ge=1, le=10_000)] = 50
    timeout: Annotated[Duration, Field(gt=0, le=600)] = 10.0
    pacing: Literal["timer", "spin"] = "timer"
    ca: str = ""
    mix: Annotated[dict[Name, Weight], Field(min_length=1)]
    flows: dict[Name, Flow] = {}
    flows_from: tuple[str, ...] = ()
    feeds: dict[Name, FeedSettings] = {}
    setup: Flow | None = None
    teardown: Flow | None = None
    faults: tuple[dict[str, Any], ...] = ()
    invariants: tuple[str, ...] = ()

    @classmethod
    def knowing(cls, around: Surroundings) -> type[Scenario]:
        """This model, for a place with what is *around*."""
        return type(cls.__name__, (cls,), {"around": around, "__doc__": cls.__doc__, "__module__": cls.__module__})

    @model_validator(mode="after")
    def _makes_sense(self) -> Scenario:
        mistakes = list(unreadable_files(self, self.around.root)) if self.around.root else []
        if not mistakes:
            mistakes = [*self._unknown_flows(), *self._recorded_flows(), *self._too_much(), *self._unknown_names()]
        if not mistakes:
            mistakes = list(self._can_not_be(resolve(self)))
        if mistakes:
            raise ValidationError.from_exception_data("Scenario", mistakes)
        return self

    @property
    def seconds(self) -> float:
        """How long arrivals come."""
        return (
            replayed(self.arrivals, self.around.recording)[1] if isinstance(self.arrivals, Replayed) else self.arrivals.seconds
        )

    def _can_not_be(self, plan: LoadPlan) -> Iterable[InitErrorDetails]:
        for name, problem in exhausted(plan):
            yield mistake(f"{problem}; give it more rows, or another order", ("feeds", name, "order"), "once")
        if (rate := python_rate(plan)) > FASTEST_PYTHON:
            name = next(name for name in self.mix if isinstance(self.flow(name), PythonFlow))
            yield mistake(_too_fast(rate), ("mix", name, "[key]"), name)

    def flow(self, name: str) -> AnyFlow:
        """The flow called *name*: the scenario's own, else one of around."""
        return self.flows[name] if name in self.flows else self.around.flows[name]

    def _unknown_names(self) -> Iterable[InitErrorDetails]:
        """Names with a dot that no feed and no set-up defines: at their text, or where the mix names a flow from elsewhere."""
        places: list[tuple[Flow, tuple[str, ...], bool]] = [(self.flows[name], ("flows", name), True) for name in self.flows]
        places += [
            (flow, ("mix", name, "[key]"), False)
            for name in self.mix
            if name not in self.flows and isinstance(flow := self.around.flows.get(name), Flow)
        ]
        places += [(flow, (key,), True) for key, flow in (("setup", self.setup), ("teardown", self.teardown)) if flow]
        for flow, here, own in places:
            for where, name in dotted(flow):
                if problem := self._unknown_name(name, once=here[0] if len(here) == 1 else ""):
                    yield mistake(problem, (*here, *where) if own else here, name)
        if GIVEN in self.feeds:
            yield mistake(f"{GIVEN} stands for what the set-up captured; choose another name", ("feeds", GIVEN, "[key]"), GIVEN)

    def _unknown_name(self, name: str, *, once: str) -> str:
        """What is wrong with *name*, empty when nothing is; *once* says that it is in the set-up or in the teardown."""
        feed, _, column = name.partition(".")
        if feed == GIVEN and once != GIVEN:
            captured = {each for step in self.setup.steps for each in step.capture} if self.setup else set[str]()
            return "" if column in captured else f"undefined variable {{{name}}}: the set-up captures {_listed(captured)}"
        if once:
            return f"undefined variable {{{name}}}: what runs once takes no row of a feed"
        if feed not in self.feeds:
            return f"undefined variable {{{name}}}: no feed {feed!r}; {closest(feed, self.feeds)}"
        table = self.around.tables.get(feed)
        if table is None or column in table.columns:
            return ""
        return (
            f"undefined variable {{{name}}}: {self.feeds[feed].file} has no column {column!r}; {closest(column, table.columns)}"
        )

    def _unknown_flows(self) -> list[InitErrorDetails]:
        known = {*self.flows, *self.around.flows}
        return [
            mistake(f"unknown flow; {closest(name, known)}", ("mix", name, "[key]"), name)
            for name in self.mix
            if name not in known
        ]

    def _recorded_flows(self) -> Iterable[InitErrorDetails]:
        recording = self.around.recording
        for name in recording.names if recording else ():
            if name not in self.mix:
                text = f"the recording has the flow {name!r}, which the mix does not have; {closest(name, self.mix)}"
                yield mistake(text, ("arrivals", "file"), "")

    def _too_much(self) -> Iterable[InitErrorDetails]:
        if isinstance(self.arrivals, Replayed):
            yield from self._too_much_recorded(self.arrivals)
            arrivals = 1.0
        else:
            arrivals = self.arrivals.mass
        if self.warmup >= self.seconds:
            time = "the recording lasts" if isinstance(self.arrivals, Replayed) else "arrivals.for"
            yield mistake(f"the warm-up leaves nothing to measure; expected less than {time}", ("warmup",), self.warmup)
        if arrivals < 1:
            yield mistake("no request at all comes in this time at this rate", ("arrivals",), arrivals)
        if arrivals > MOST_ARRIVALS:
            yield mistake(f"{arrivals:,.0f} requests; expected at most {MOST_ARRIVALS:,}", ("arrivals",), arrivals)

    def _too_much_recorded(self, arrivals: Replayed) -> Iterable[InitErrorDetails]:
        recording = self.around.recording
        if recording is None:
            return
        whole = recording.lasting / arrivals.speed
        if arrivals.for_ is not None and arrivals.for_ > whole:
            text = f"the recording lasts {whole:g} s at this speed; expected at most that, or no `for`"
            yield mistake(text, ("arrivals", "for"), arrivals.for_)
        if (rate := len(recording.times) / whole) > HIGHEST_RATE:
            yield mistake(f"{rate:,.0f} requests a second; expected at most {HIGHEST_RATE:,}", ("arrivals",), rate)


def replayed(arrivals: Replayed, recording: Recording | None) -> tuple[int, float]:
    """How many arrivals of *recording* come, and in how many seconds."""
    if recording is None:
        return 0, arrivals.for_ or 1.0
    whole = recording.lasting / arrivals.speed
    if arrivals.for_ is None or arrivals.for_ >= whole:
        return len(recording.times), whole
    return bisect_left(recording.times, arrivals.for_ * arrivals.speed), arrivals.for_


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nothing"


def _too_fast(rate: float) -> str:
    return (
        f"{rate:,.0f} arrivals a second of flows in Python, which httpx can't hold; expected at most {FASTEST_PYTHON}/s: "
        "lower the rate or its weight, or write it as steps"
    )


def python_rate(plan: LoadPlan) -> float:
    """The highest rate at which flows in Python come, in arrivals a second."""
    share = sum(plan.share(name) for name, flow in plan.flows.items() if "python" in flow)
    return share * max((max(each.start, each.end) for each in plan.pieces), default=plan.rate)


def _written(flow: AnyFlow | None) -> dict[str, Any] | None:
    """A flow as plain JSON that can be read again."""
    return None if flow is None else flow.model_dump(mode="json", by_alias=True, exclude_unset=True, context=WITH_UNITS)


def resolve(scenario: Scenario, *, name: str = "") -> LoadPlan:
    """The plan of *scenario*, whose own flows come before those around."""
    feeds, tables = scenario.feeds, scenario.around.tables
    plan = LoadPlan(
        scenario=name,
        summary=scenario.summary,
        rate=0.0,
        seconds=scenario.seconds,
        warmup=scenario.warmup,
        connections=scenario.connections,
        timeout=scenario.timeout,
        mix=dict(scenario.mix),
        flows={flow: _written(scenario.flow(flow)) for flow in scenario.mix},
        shape=scenario.arrivals.shape,
        pacing=scenario.pacing,
        ca=scenario.ca,
        feeds={feed: Feed(given.file, given.order, len(tables[feed].rows)) for feed, given in feeds.items()},
        files={given.file: tables[feed].sha256 for feed, given in feeds.items()},
        setup=_written(scenario.setup),
        teardown=_written(scenario.teardown),
    )
    arrivals = scenario.arrivals
    return (
        _with_replay(plan, arrivals, scenario.around.recording)
        if isinstance(arrivals, Replayed)
        else _with_shape(plan, arrivals)
    )


def _with_shape(plan: LoadPlan, arrivals: Shape) -> LoadPlan:
    """A constant rate needs no pieces, and then any other rate and time can take its place."""
    steady = isinstance(arrivals, Constant)
    return replace(
        plan,
        rate=arrivals.rate if isinstance(arrivals, Constant) else arrivals.mass / arrivals.seconds,
        pieces=() if steady else arrivals.pieces(),
        gaps=arrivals.gaps,
        stretches=arrivals.stretches(plan.warmup),
    )


def _with_replay(plan: LoadPlan, arrivals: Replayed, recording: Recording | None) -> LoadPlan:
    """The weights of the mix are those of the recording, where it names its flows."""
    assert recording is not None, "a scenario with a replay is read with its recording"
    count, seconds = replayed(arrivals, recording)
    counted = Counter(recording.flow[:count])
    mix = {name: counted[index] for index, name in enumerate(recording.names) if counted[index]} or plan.mix
    return replace(
        plan,
        rate=count / seconds,
        mix=mix,
        flows={name: plan.flows[name] for name in mix},
        replay=Replay(arrivals.file, recording.sha256, count, arrivals.speed, bool(recording.names)),
    )


def changed(
    plan: LoadPlan, *, rate: float | None = None, seconds: float | None = None, connections: int | None = None
) -> LoadPlan:
    """*plan* with another average rate, duration or number of connections, where given.

    A shape that changes keeps its form: all of its rates, or all of its times, grow by one factor. The warm-up of one that does
    not change stays as long as there is room for it. Raises ChangeError for a replay, whose times are its own, and for what
    would be too fast, or too much.
    """
    if plan.replay and (rate is not None or seconds is not None):
        setting = "for" if rate is None else "rate"
        raise ChangeError(setting, "a replay has a rate and a time of its own", "set `speed:` or `for:` of its arrivals")
    length = plan.seconds if seconds is None else seconds
    longer, faster = length / plan.seconds, 1.0 if rate is None else rate / plan.rate
    fixed = plan.warmup < length and not plan.pieces
    new = replace(
        plan,
        rate=plan.rate if rate is None else rate,
        seconds=length,
        warmup=plan.warmup if fixed else plan.warmup * longer,
        connections=plan.connections if connections is None else connections,
        pieces=tuple(Piece(each.seconds * longer, each.start * faster, each.end * faster) for each in plan.pieces),
    )
    _check_change(new, "for" if rate is None else "rate")
    return replace(new, stretches=_stretched(plan, new, longer))


def _stretched(plan: LoadPlan, new: LoadPlan, longer: float) -> dict[str, tuple[float, float]]:
    if plan.shape == "soak":
        third = (new.seconds - new.warmup) / 3
        return {"first": (new.warmup, new.warmup + third), "last": (new.seconds - third, new.seconds)}
    return {name: (start * longer, end * longer) for name, (start, end) in plan.stretches.items()}


def _check_change(plan: LoadPlan, setting: str) -> None:
    highest = max((max(each.start, each.end) for each in plan.pieces), default=plan.rate)
    if highest > HIGHEST_RATE:
        hint = f"the highest rate would be {highest:,.0f}/s"
        raise ChangeError(setting, f"beyond {HIGHEST_RATE:,} requests a second", hint)
    if (rate := python_rate(plan)) > FASTEST_PYTHON:
        raise ChangeError(setting, _too_fast(rate), "")
    for feed, problem in exhausted(plan):
        raise ChangeError(setting, f"feed {feed!r}: {problem}", "give it more rows, or another order")
    if plan.arrivals > MOST_ARRIVALS:
        raise ChangeError(
            setting, f"{plan.arrivals:,} requests; expected at most {MOST_ARRIVALS:,}", "take less time or a lower rate"
        )
