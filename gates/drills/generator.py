"""The drill of a generator that is too slow: what it measures is its own, so nothing may pass on it."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import yaml

from gates.errors import GatesError
from gates.model import Base, Drill, Outcome, Sighting, Tree

RATE, SECONDS = 300.0, 4.5
BUSY = 1.2
"""The part of its time that a check takes of the generator: more than all of it, so that it falls behind."""
MOST_TURNS = 24
_TYPE = "application/json"
_LOOK: dict[str, Any] = {"path": "/live", "check": {"status": 200, "headers": {"Content-Type": {"matches": _TYPE}}}}

# a proxy that does nothing but write down when requests come is the clock that is not the generator's
GENERATOR = Base(
    name="generator",
    gate="sustained",
    criteria=("errors.ratio",),
    settings={"proxy": {"delay": {"share": "0 %", "by": "0 s"}}},
    scenario={
        "arrivals": {"rate": f"{RATE:g}/s", "for": f"{SECONDS:g} s", "shape": "constant"},
        "warmup": "1 s",
        "timeout": "30 s",
        "mix": {"look": 1},
        "flows": {"look": {"steps": [_LOOK]}},
    },
    seconds=8.0,
)


def slow_pattern(seconds: float) -> str:
    """A regular expression that is right of `application/json`, after backtracking for about *seconds* here, or up to twice.

    Every turn doubles the ways to try, all of which fail at the `!`. Raises GatesError when no number of turns takes that long.
    """
    for turns in range(8, MOST_TURNS):
        pattern = f"^(?:(?:[a-z/]?){{{turns}}}!|{_TYPE})"
        if min(_taken(pattern) for _ in range(3)) >= seconds:
            return pattern
    raise GatesError(f"no pattern of {MOST_TURNS} turns takes {seconds:g} s here")


def _taken(pattern: str) -> float:
    search, began = re.compile(pattern).search, time.thread_time()
    search(_TYPE)
    return time.thread_time() - began


def _with_a_slow_check(tree: Tree) -> Tree:
    path = tree.gate(GENERATOR.gate)["scenario"]
    scenario = yaml.safe_load(tree.files[path])
    headers = {"Content-Type": {"matches": slow_pattern(BUSY / RATE)}}
    scenario["flows"] = {"look": {"steps": [{**_LOOK, "check": {"status": 200, "headers": headers}}]}}
    return tree.with_file(path, yaml.safe_dump(scenario, sort_keys=False))


def requests_came_late(gate: Path, _tree: Path) -> Sighting:
    """By the proxies' clocks: how many requests came, and whether they took longer to come than was planned."""
    logs = sorted((gate / "target").glob("*.jsonl"))
    totals = [json.loads(line) for log in logs for line in log.read_text().splitlines() if '"total"' in line]
    came = [total for total in totals if total["forwarded"]]
    span = max(total["last"] for total in came) - min(total["first"] for total in came) if came else 0.0
    text = f"what was planned for {SECONDS:g} s came to the proxies in {span:.1f} s"
    return Sighting(sum(total["forwarded"] for total in came), int(span > 1.1 * SECONDS), text)


DRILLS = (
    Drill(
        "slow-generator",
        "A check of the answers takes the generator more time than it has.",
        GENERATOR,
        "valid.lateness",
        _with_a_slow_check,
        requests_came_late,
        expects=Outcome.INCONCLUSIVE,
        seconds=30.0,
    ),
)
