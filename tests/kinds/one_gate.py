"""One gate from its YAML to its report, without a target: resolved, run in this process, judged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gates import codec
from gates.model import Commit, GateReport, GateResult, PlannedGate, Request
from gates.pipeline.folder import GateFolder
from gates.pipeline.judge import judge_gate
from gates.pipeline.results import undeclared, with_evidence
from gates.spec import resolve


def planned(kind: Any, root: Path, settings: Mapping[str, Any], criteria: Mapping[str, Any]) -> PlannedGate:
    """The gate as `gates plan` makes it. Raises SpecErrors."""
    spec = {"version": 1, "profiles": {"quick": {}}, "gates": {"it": {"kind": kind.name, **settings, "criteria": criteria}}}
    file = root / "readiness.yaml"
    file.write_text(json.dumps(spec))
    groups: dict[str, dict[str, Any]] = {"gates.kinds": {kind.name: kind}}
    return resolve(file, root=root, profile="quick", plugins=lambda group: groups.get(group, {})).gates[0]


def run(kind: Any, root: Path, settings: Mapping[str, Any], criteria: Mapping[str, Any]) -> tuple[GateResult, GateReport]:
    """What the gate hands back, through its file, and what that is judged to be."""
    gate = planned(kind, root, settings, criteria)
    folder = root / "run" / "it"
    folder.mkdir(parents=True, exist_ok=True)
    request = Request("run", str(root), str(folder), "quick", 7, gate, Commit(), {})
    result = with_evidence(GateFolder(folder), kind.run(request))
    codec.write(folder / "result.json", result)
    read = codec.read(folder / "result.json", GateResult)
    assert not undeclared(read, kind.metrics, gate)
    return read, judge_gate(gate, read)


def values(result: GateResult) -> dict[str, float]:
    """Every measured value by its key."""
    return {measurement.key: measurement.value for measurement in result.measurements}
