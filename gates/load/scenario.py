"""Scenario files: what a person writes, checked, and resolved to a `LoadPlan`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from gates.fields import Duration, Rate, Settings
from gates.load.flows import Flow, Name, mistake
from gates.load.plan import LoadPlan

MOST_ARRIVALS = 20_000_000
Weight = Annotated[int, Field(ge=1, le=1_000_000)]


class Arrivals(Settings):
    """How requests come: at a rate, for a time, whatever the answers do."""

    rate: Annotated[Rate, Field(gt=0, le=200_000)]
    for_: Annotated[Duration, Field(alias="for", gt=0, le=86_400)]
    shape: Literal["constant"] = "constant"


class FlowSources(BaseModel):
    """The one key of a scenario that must be known before the rest can be checked."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    flows_from: tuple[str, ...] = ()


class Scenario(Settings):
    """Arrivals, a mix of flows, and for validation a timeline of faults and the invariants that must hold."""

    known_flows: ClassVar[frozenset[str]] = frozenset()

    version: Literal[1]
    summary: str = ""
    arrivals: Arrivals
    warmup: Annotated[Duration, Field(ge=0)] = 0.0
    connections: Annotated[int, Field(ge=1, le=10_000)] = 50
    timeout: Annotated[Duration, Field(gt=0, le=600)] = 10.0
    mix: Annotated[dict[Name, Weight], Field(min_length=1)]
    flows: dict[Name, Flow] = {}
    flows_from: tuple[str, ...] = ()
    faults: tuple[dict[str, Any], ...] = ()
    invariants: tuple[str, ...] = ()

    @classmethod
    def knowing(cls, flows: Iterable[str]) -> type[Scenario]:
        """This model, for a place where *flows* are there besides the scenario's own."""
        return type(
            cls.__name__, (cls,), {"known_flows": frozenset(flows), "__doc__": cls.__doc__, "__module__": cls.__module__}
        )

    @model_validator(mode="after")
    def _makes_sense(self) -> Scenario:
        mistakes = [*self._unknown_flows(), *self._too_much()]
        if mistakes:
            raise ValidationError.from_exception_data("Scenario", mistakes)
        return self

    def _unknown_flows(self) -> list[InitErrorDetails]:
        known = {*self.flows, *self.known_flows}
        return [mistake(_unknown_flow(name, known), ("mix", name, "[key]"), name) for name in self.mix if name not in known]

    def _too_much(self) -> list[InitErrorDetails]:
        found = []
        arrivals = self.arrivals.rate * self.arrivals.for_
        if self.warmup >= self.arrivals.for_:
            found.append(
                mistake("the warm-up leaves nothing to measure; expected less than arrivals.for", ("warmup",), self.warmup)
            )
        if arrivals < 1:
            found.append(mistake("no request at all comes in this time at this rate", ("arrivals",), arrivals))
        if arrivals > MOST_ARRIVALS:
            found.append(mistake(f"{arrivals:,.0f} requests; expected at most {MOST_ARRIVALS:,}", ("arrivals",), arrivals))
        return found


def resolve(scenario: Scenario, flows: Mapping[str, Flow], *, name: str = "") -> LoadPlan:
    """The plan of *scenario*, whose own flows come before *flows* from elsewhere."""
    everything = {**flows, **scenario.flows}
    return LoadPlan(
        scenario=name,
        summary=scenario.summary,
        rate=scenario.arrivals.rate,
        seconds=scenario.arrivals.for_,
        warmup=scenario.warmup,
        connections=scenario.connections,
        timeout=scenario.timeout,
        mix=dict(scenario.mix),
        flows={flow: everything[flow].model_dump(mode="json", by_alias=True, exclude_unset=True) for flow in scenario.mix},
        shape=scenario.arrivals.shape,
    )


def changed(
    plan: LoadPlan, *, rate: float | None = None, seconds: float | None = None, connections: int | None = None
) -> LoadPlan:
    """*plan* with another rate, duration or number of connections, where given; the warm-up shrinks with a
    time that has no room for it.
    """
    length = plan.seconds if seconds is None else seconds
    return replace(
        plan,
        rate=plan.rate if rate is None else rate,
        seconds=length,
        warmup=plan.warmup if plan.warmup < length else plan.warmup / plan.seconds * length,
        connections=plan.connections if connections is None else connections,
    )


def _unknown_flow(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    if close:
        return f"unknown flow; did you mean {close[0]!r}?"
    return f"unknown flow; there is {', '.join(sorted(known)) or 'none'}"
