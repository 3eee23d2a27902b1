"""Reading a scenario and everything that it names, through whatever reads files: a kind's context or the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

from gates import registry
from gates.load.feeds import read_table
from gates.load.flows import AnyFlow, FlowsFile, registered_flows
from gates.load.plan import LoadPlan
from gates.load.recording import Recording, read_recording
from gates.load.rows import content, digest, unreadable
from gates.load.scenario import Scenario, Sources, Surroundings, resolve

T = TypeVar("T")


class Reader(Protocol):
    """The part of `model.KindContext` that is needed; paths are relative to *root*."""

    root: Path

    def read(self, path: str, schema: type[T], *, setting: str) -> T: ...

    def plugins(self, group: str) -> Mapping[str, Any]: ...


def read_scenario(path: str, reader: Reader, *, setting: str = "scenario") -> tuple[Scenario, LoadPlan]:
    """The scenario at *path* and its plan.

    Flows are the scenario's own, then those of the files in `flows_from`, then those of plug-ins. Whatever *reader* raises for
    a file that can't be used comes through; files of data raise BadFileError at file:line:column, and where they can't be read
    at all the scenario is wrong, at the key that names them.
    """
    flows: dict[str, AnyFlow] = registered_flows(reader.plugins(registry.FLOWS))
    sources = reader.read(path, Sources, setting=setting)
    for source in sources.flows_from:
        flows |= reader.read(source, FlowsFile, setting=setting).flows
    root = reader.root
    tables = {name: read_table(root / file, file) for name, file in sources.tables.items() if not unreadable(root / file)}
    around = Surroundings(flows, _recording(sources.recording, root), tables, root)
    scenario = reader.read(path, Scenario.knowing(around), setting=setting)
    plan = resolve(scenario, name=path)
    return scenario, replace(plan, files={**plan.files, **_bodies(plan, root)})


def _bodies(plan: LoadPlan, root: Path) -> dict[str, str]:
    """The sha256 of each file that a flow sends."""
    flows = [*plan.flows.values(), plan.setup or {}, plan.teardown or {}]
    files = {step["body_file"] for flow in flows for step in flow.get("steps", ()) if "body_file" in step}
    return {file: digest(content(root / file, file)) for file in sorted(files)}


def _recording(file: str, root: Path) -> Recording | None:
    return read_recording(root / file, file) if file and not unreadable(root / file) else None
