"""Faults: each is caused, seen by a probe that had no part in causing it, and healed whatever happens.

::

    with Crash().apply(target, {"node": "node-b"}, clock=clock) as watch:    # caused
        ...
    observation = watch.observation                                         # healed; seen start and end

`timeline.play` does that for the faults of a scenario at their times; `spec` holds how a scenario writes them; `ways` which of
a fault's ways works on this target and machine. Faults are plug-ins (entry point `gates.faults`, by their key in a scenario),
ours too. `FAULTS` holds all of them by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gates import registry
from gates.faults.crash import Crash
from gates.faults.locked import DatabaseLocked

FAULTS: Mapping[str, Any]


def __getattr__(name: str) -> Any:
    if name == "FAULTS":  # only when asked for: a plug-in's module may import this package
        return {fault.name: fault for fault in registry.plugins(registry.FAULTS).values()}
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["FAULTS", "Crash", "DatabaseLocked"]
