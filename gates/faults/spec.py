"""How a scenario writes its faults.

::

    faults:
      - {at: 33 %, for: 20 %, crash: {node: node-b}}
      - {at: 60 %, for: 20 %, lock: {node: node-b, file: ledger.db}}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field, model_validator

from gates.faults.crash import Crash, CrashSettings
from gates.faults.locked import DatabaseLocked, LockSettings
from gates.faults.timeline import PlannedFault
from gates.fields import Ratio, Settings

KEYS: Mapping[str, Crash | DatabaseLocked] = {"crash": Crash(), "lock": DatabaseLocked()}


class FaultSpec(Settings):
    """One fault: when it starts and how long it lasts, in shares of the load's duration, and what it is.

    Attributes:
        at: the start.
        lasting: the length, written `for`.
        crash: kill a node and restart it.
        lock: hold the write lock of a node's database.
    """

    at: Ratio = Field(ge=0, lt=1)
    lasting: Ratio = Field(alias="for", gt=0, le=1)
    crash: CrashSettings | None = None
    lock: LockSettings | None = None

    @model_validator(mode="after")
    def _one(self) -> FaultSpec:
        if sum(getattr(self, key) is not None for key in KEYS) != 1:
            raise ValueError(f"expected exactly one of {', '.join(KEYS)}")
        return self

    @property
    def key(self) -> str:
        """The key that says which fault it is."""
        return next(key for key in KEYS if getattr(self, key) is not None)

    @property
    def settings(self) -> CrashSettings | LockSettings:
        """What is under that key."""
        found: CrashSettings | LockSettings = getattr(self, self.key)
        return found

    @model_validator(mode="after")
    def _within(self) -> FaultSpec:
        if self.at + self.lasting > 1 + 1e-9:
            raise ValueError(f"the fault ends after the load: at and for together are {(self.at + self.lasting) * 100:g} %")
        return self


def overlap(faults: Sequence[PlannedFault]) -> tuple[PlannedFault, PlannedFault] | None:
    """Two faults of which the second starts before the first has ended, or None."""
    ordered = sorted(faults, key=lambda fault: fault.start)
    return next(((one, other) for one, other in zip(ordered, ordered[1:], strict=False) if other.start < one.end), None)


def planned(fault: FaultSpec, seconds: float) -> PlannedFault:
    """*fault* in seconds of a load that lasts *seconds*."""
    kind, settings = KEYS[fault.key], fault.settings.model_dump(mode="json")
    start = fault.at * seconds
    return PlannedFault(kind.name, settings, start, start + fault.lasting * seconds, kind.nodes(settings))
