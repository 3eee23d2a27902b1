"""Scenario files: what a person writes, checked, and resolved to a `LoadPlan`."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from gates.errors import GatesError
from gates.fields import WITH_UNITS, Duration, Settings
from gates.load.arrivals import HIGHEST_RATE, Arrivals, Constant, Replayed, Shape
from gates.load.curve import Piece
from gates.load.flows import Flow, Name
from gates.load.mistakes import closest, mistake
from gates.load.plan import LoadPlan, Replay
from gates.load.recording import Recording

MOST_ARRIVALS = 20_000_000
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
        flows: names of those from files and plug-ins.
        recording: what the file of a replay holds.
    """

    flows: frozenset[str] = frozenset()
    recording: Recording | None = None


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
    faults: tuple[dict[str, Any], ...] = ()
    invariants: tuple[str, ...] = ()

    @classmethod
    def knowing(cls, around: Surroundings) -> type[Scenario]:
        """This model, for a place with what is *around*."""
        return type(cls.__name__, (cls,), {"around": around, "__doc__": cls.__doc__, "__module__": cls.__module__})

    @model_validator(mode="after")
    def _makes_sense(self) -> Scenario:
        mistakes = [*self._unknown_flows(), *self._recorded_flows(), *self._too_much()]
        if mistakes:
            raise ValidationError.from_exception_data("Scenario", mistakes)
        return self

    @property
    def seconds(self) -> float:
        """How long arrivals come."""
        return (
            replayed(self.arrivals, self.around.recording)[1] if isinstance(self.arrivals, Replayed) else self.arrivals.seconds
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
            yield mistake(f"the recording lasts {whole:g} s at this speed", ("arrivals", "for"), arrivals.for_)
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


def resolve(scenario: Scenario, flows: Mapping[str, Flow], *, name: str = "") -> LoadPlan:
    """The plan of *scenario*, whose own flows come before *flows* from elsewhere."""
    everything = {**flows, **scenario.flows}
    plan = LoadPlan(
        scenario=name,
        summary=scenario.summary,
        rate=0.0,
        seconds=scenario.seconds,
        warmup=scenario.warmup,
        connections=scenario.connections,
        timeout=scenario.timeout,
        mix=dict(scenario.mix),
        flows={flow: _plain(everything[flow]) for flow in scenario.mix},
        shape=scenario.arrivals.shape,
        pacing=scenario.pacing,
        ca=scenario.ca,
    )
    arrivals = scenario.arrivals
    return (
        _with_replay(plan, arrivals, scenario.around.recording)
        if isinstance(arrivals, Replayed)
        else _with_shape(plan, arrivals)
    )


def _plain(flow: Flow) -> dict[str, Any]:
    """What the gate's process reads as a flow again."""
    return flow.model_dump(mode="json", by_alias=True, exclude_unset=True, context=WITH_UNITS)


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
    if plan.arrivals > MOST_ARRIVALS:
        raise ChangeError(
            setting, f"{plan.arrivals:,} requests; expected at most {MOST_ARRIVALS:,}", "take less time or a lower rate"
        )
