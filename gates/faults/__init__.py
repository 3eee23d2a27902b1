"""Faults: each is caused, seen by a probe that had no part in causing it, and healed whatever happens.

::

    with Crash().apply(target, {"node": "node-b"}, clock=clock) as watch:    # caused
        ...
    observation = watch.observation                                         # healed; seen start and end

`timeline.play` does that for the faults of a scenario at their times; `spec` holds how a scenario writes them.
"""

from __future__ import annotations

from gates.faults.crash import Crash
from gates.faults.locked import DatabaseLocked

FAULTS = {fault.name: fault for fault in (Crash(), DatabaseLocked())}

__all__ = ["FAULTS", "Crash", "DatabaseLocked"]
