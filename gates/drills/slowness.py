"""Drills of the gate `primitives`: a primitive that takes longer than its limit."""

from __future__ import annotations

import json
from pathlib import Path

from gates.drills.limits import limit_of
from gates.model import Base, Drill, Sighting, Tree, Unit

_CALLS = "slowed.json"
_BEYOND = 2.0
_CALIBRATION = 100e-9  # a call through an exception handler; only the size of the defect depends on it, not the verdict
_PLUGIN = '''"""A seeded defect: every function that a retry is woven around takes {seconds!r} seconds longer."""

import functools
import json
import time
from pathlib import Path

from gates.recovery import Retry

woven = Retry.__call__
calls, added = 0, 0.0


def slowed(self, operation):
    fast = woven(self, operation)

    @functools.wraps(fast)
    def slow(*arguments, **named):
        global calls, added
        begin = time.perf_counter()
        while time.perf_counter() - begin < {seconds!r}:
            pass
        calls += 1
        added += time.perf_counter() - begin
        return fast(*arguments, **named)

    return slow


Retry.__call__ = slowed


def pytest_unconfigure():
    Path("{calls}").write_text(json.dumps({{"calls": calls, "seconds": added}}))
'''

PRIMITIVES = Base(
    name="primitives",
    gate="primitives",
    criteria=("ratio/*",),
    settings={"time": "100 ms", "rounds": 20},
    copies=("benchmarks/recovery",),
    seconds=5.0,
)


def _slow_retry(tree: Tree) -> Tree:
    """Make a retry as slow as twice the limit, in units of the calibration."""
    seconds = limit_of(tree, PRIMITIVES.gate, "ratio/*", Unit.FACTOR) * _BEYOND * _CALIBRATION
    plugin = _PLUGIN.format(seconds=seconds, calls=_CALLS)
    return tree.with_gate(PRIMITIVES.gate, plugins=["slowed"]).with_file("slowed.py", plugin)


def _slowed_calls(_gate: Path, tree: Path) -> Sighting:
    """What the plug-in wrote down at its end: how many calls it held up, and for how long by its own clock."""
    file = tree / _CALLS
    counted = json.loads(file.read_text()) if file.exists() else {"calls": 0, "seconds": 0.0}
    calls, seconds = int(counted["calls"]), float(counted["seconds"])
    each = seconds / calls if calls else 0.0
    return Sighting(calls, calls if each > 0 else 0, f"{calls:,} calls were held up by {each * 1e6:.1f} µs each")


DRILLS = (
    Drill(
        "slow-benchmark",
        "A retry takes twice as long as its limit allows.",
        PRIMITIVES,
        "ratio/*",
        _slow_retry,
        _slowed_calls,
        seconds=5.5,
    ),
)
