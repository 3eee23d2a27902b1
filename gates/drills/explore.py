"""Random sequences of faults: drawn from a seed, run as a gate of its own, and shrunk to the shortest that still fails.

The building blocks are the faults of a folder of scenarios, so a sequence is made of what the matrix runs one by one, on any
node. A sequence fails when a criterion of its gate says so; an inconclusive run neither fails nor is shrunk.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from gates.drills import inner
from gates.errors import BadFileError
from gates.faults.spec import FaultSpec
from gates.model import Outcome, Tree

GATE, SCENARIO = "sequence", "scenario.yaml"
BEGIN, END = 0.15, 0.75
SECONDS_A_FAULT, SECONDS_AROUND = 5.0, 8.0
FEWEST_SHARE = 0.04
_TIMES = ("at", "for")

Fault = Mapping[str, Any]
Faults = tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Ran:
    """How one sequence went: `pass`, `fail` or `inconclusive`, and why in the report's words."""

    outcome: str
    why: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The shortest sequence that was found to fail, and how many were tried for it."""

    faults: Faults
    tried: int


class Faulty(BaseModel):
    """The part of a scenario that sequences are made of, for who reads the files first."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    faults: tuple[FaultSpec, ...] = ()


def blocks(folder: Path) -> tuple[Fault, ...]:
    """Every fault of the scenarios in *folder*, without its times. Raises BadFileError when there is none."""
    found: dict[str, Fault] = {}
    for path in sorted(folder.glob("*.yaml")):
        for fault in yaml.safe_load(path.read_text(encoding="utf-8")).get("faults", ()):
            block = {key: value for key, value in fault.items() if key not in _TIMES}
            found[json.dumps(block, sort_keys=True)] = block
    if not found:
        raise BadFileError("no scenario with a fault is there", location=str(folder), hint="name a folder of scenarios")
    return tuple(found.values())


def drawn(known: Sequence[Fault], nodes: Sequence[str], count: int, random: Random) -> Faults:
    """*count* of the *known* faults one after the other, each on nodes by chance and for a time by chance."""
    room = (END - BEGIN) / count
    found = []
    for number in range(count):
        names = dict(zip(sorted(nodes), random.sample(sorted(nodes), len(nodes)), strict=True))
        lasting = max(FEWEST_SHARE, room * random.uniform(0.4, 0.8))
        times = {"at": _percent(BEGIN + room * number), "for": _percent(lasting)}
        found.append({**times, **_renamed(random.choice(known), names)})
    return tuple(found)


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _renamed(each, names) for key, each in value.items()}
    if isinstance(value, list):
        return [_renamed(each, names) for each in value]
    return names.get(value, value) if isinstance(value, str) else value


def _percent(share: float) -> str:
    return f"{share * 100:.3g} %"


def _share(text: str) -> float:
    return float(text.removesuffix("%")) / 100


def shrunk(faults: Faults, fails: Callable[[Faults], bool], *, most: int) -> Shrunk:
    """The shortest sequence for which *fails* still holds, with at most so many trials: fewer faults, then shorter ones."""
    tried = 0
    progress = True
    while progress:
        progress = False
        for candidate in _smaller(faults):
            if tried == most:
                return Shrunk(faults, tried)
            tried += 1
            if fails(candidate):
                faults, progress = candidate, True
                break
    return Shrunk(faults, tried)


def _smaller(faults: Faults) -> list[Faults]:
    """Sequences that are shorter by one step: half of the faults, one fault fewer, one fault half as long."""
    half = len(faults) // 2
    halves = [faults[:half], faults[half:]] if len(faults) > 2 else []
    fewer = [(*faults[:number], *faults[number + 1 :]) for number in range(len(faults))] if len(faults) > 1 else []
    shorter = [
        (*faults[:number], {**fault, "for": _percent(_share(fault["for"]) / 2)}, *faults[number + 1 :])
        for number, fault in enumerate(faults)
        if _share(fault["for"]) / 2 >= FEWEST_SHARE
    ]
    return [*halves, *fewer, *shorter]


def scenario(base: Mapping[str, Any], faults: Faults, count: int) -> dict[str, Any]:
    """The scenario *base* with other faults, long enough for *count* of them."""
    seconds = SECONDS_AROUND + SECONDS_A_FAULT * count
    arrivals = {**base["arrivals"], "for": f"{seconds:g} s"}
    return {
        **base,
        "summary": "A random sequence of faults.",
        "arrivals": arrivals,
        "faults": [dict(fault) for fault in faults],
    }


def written(value: Mapping[str, Any]) -> str:
    """A scenario as a file."""
    return yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, width=128)


def run(target: Any, criteria: Mapping[str, Any], body: Mapping[str, Any], folder: Path, seed: int) -> Ran:
    """Run the scenario *body* against *target* in *folder*, on the ordinary path of the pipeline."""
    gate = {"kind": "validation", "scenario": SCENARIO, "criteria": dict(criteria)}
    spec = {"version": 1, "target": target, "profiles": {"quick": {}}, "gates": {GATE: gate}}
    folder.mkdir(parents=True)
    done = inner.run(Tree(spec, {SCENARIO: written(body)}), folder, seed)
    if done.report is None:
        return Ran(Outcome.INCONCLUSIVE, done.trouble, folder)
    (found,) = done.report.gates
    wrong = [each.reason for each in found.criteria if each.outcome not in (Outcome.PASS, Outcome.NOT_APPLICABLE)]
    return Ran(str(found.outcome), "; ".join(wrong) or found.reason, folder)
