"""Drills of the gate `primitives`: a primitive that takes longer than its limit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from gates.drills.limits import limit_of
from gates.model import Base, Drill, Sighting, Tree, Unit

_CALLS = "slowed.json"
_BEYOND = 3.0
_PLUGIN = '''"""A seeded defect: a call through {primitive} takes longer by {calls:g} plain calls, as they are here."""

import functools
import json
import time
from pathlib import Path

from gates.recovery import {primitive}


def answer():
    return 42


def plain():
    try:
        return answer()
    except KeyError:
        return 0


def timed(function, *arguments, **named):
    """The least seconds a call, passed on as the benchmark's own loop does, which takes as long as the call itself."""
    least = float("inf")
    for _ in range(50):
        begin = time.perf_counter()
        for _ in range(5_000):
            function(*arguments, **named)
        least = min(least, (time.perf_counter() - begin) / 5_000)
    return least


SECONDS = {calls!r} * timed(plain)
weave = {primitive}.__call__
calls, added = 0, 0.0


def slowed(self, operation):
    fast = weave(self, operation)

    @functools.wraps(fast)
    def slow(*arguments, **named):
        global calls, added
        begin = time.perf_counter()
        while time.perf_counter() - begin < SECONDS:
            pass
        calls += 1
        added += time.perf_counter() - begin
        return fast(*arguments, **named)

    return slow


{primitive}.__call__ = slowed


def pytest_unconfigure():
    Path("{file}").write_text(json.dumps({{"calls": calls, "seconds": added, "wanted": SECONDS}}))
'''

PRIMITIVES = Base(
    name="primitives",
    gate="primitives",
    criteria=(
        "ratio/retry.success",
        "ratio/retry.two_failures",
        "ratio/breaker.closed",
        "ratio/breaker.rejection",
        "ratio/combined.retry_and_breaker",
    ),
    settings={
        "suite": "benchmarks/recovery/test_retry_and_breaker.py",
        "time": "100 ms",
        "rounds": 20,
        "against": "none",
    },
    copies=("benchmarks/recovery",),
    seconds=5.0,
)


def _slow(primitive: str, criterion: str) -> Callable[[Tree], Tree]:
    """Make *primitive* slower by three times the limit of *criterion*, in plain calls."""

    def seed(tree: Tree) -> Tree:
        calls = limit_of(tree, PRIMITIVES.gate, criterion, Unit.FACTOR) * _BEYOND
        plugin = _PLUGIN.format(primitive=primitive, calls=calls, file=_CALLS)
        return tree.with_gate(PRIMITIVES.gate, plugins=["slowed"]).with_file("slowed.py", plugin)

    return seed


def _slowed_calls(_gate: Path, tree: Path) -> Sighting:
    """What the plug-in wrote down at its end: how many calls it held up, and for how long by its own clock."""
    file = tree / _CALLS
    counted = json.loads(file.read_text()) if file.exists() else {"calls": 0, "seconds": 0.0, "wanted": 0.0}
    calls, seconds, wanted = int(counted["calls"]), float(counted["seconds"]), float(counted["wanted"])
    each = seconds / calls if calls else 0.0
    held = calls if each >= wanted > 0 else 0
    return Sighting(calls, held, f"{calls:,} calls were held up by {each * 1e6:.1f} µs each")


def _drill(name: str, summary: str, primitive: str, benchmark: str) -> Drill:
    criterion = f"ratio/{benchmark}"
    return Drill(name, summary, PRIMITIVES, criterion, _slow(primitive, criterion), _slowed_calls, seconds=5.5)


DRILLS = (
    _drill("slow-benchmark", "A retry takes longer than its limit allows.", "Retry", "retry.success"),
    _drill("slow-retries", "A retry after failures takes longer than its limit allows.", "Retry", "retry.two_failures"),
    _drill("slow-breaker", "A closed breaker takes longer than its limit allows.", "CircuitBreaker", "breaker.closed"),
    _drill(
        "slow-rejection", "An open breaker takes longer to refuse than its limit allows.", "CircuitBreaker", "breaker.rejection"
    ),
    _drill(
        "slow-policy",
        "Retry and breaker together take longer than their limit allows.",
        "CircuitBreaker",
        "combined.retry_and_breaker",
    ),
)
