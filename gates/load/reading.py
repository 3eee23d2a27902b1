"""Reading a scenario and everything that it names, through whatever reads files: a kind's context or the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from gates import registry
from gates.load.flows import Flow, FlowsFile, registered_flows
from gates.load.plan import LoadPlan
from gates.load.scenario import FlowSources, Scenario, resolve

T = TypeVar("T")


class Reader(Protocol):
    """The part of `model.KindContext` that is needed."""

    def read(self, path: str, schema: type[T], *, setting: str) -> T: ...

    def plugins(self, group: str) -> Mapping[str, Any]: ...


def read_scenario(path: str, reader: Reader, *, setting: str = "scenario") -> tuple[Scenario, LoadPlan]:
    """The scenario at *path* and its plan.

    Flows are the scenario's own, then those of the files in `flows_from`, then those of plug-ins. Whatever *reader* raises for
    a file that can't be used comes through.
    """
    flows: dict[str, Flow] = registered_flows(reader.plugins(registry.FLOWS))
    for source in reader.read(path, FlowSources, setting=setting).flows_from:
        flows |= reader.read(source, FlowsFile, setting=setting).flows
    scenario = reader.read(path, Scenario.knowing(flows), setting=setting)
    return scenario, resolve(scenario, flows, name=path)
