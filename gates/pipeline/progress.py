"""What the engine tells whoever watches, from several threads."""

from __future__ import annotations

from typing import Protocol

from gates.model import GateReport, PlannedGate


class Progress(Protocol):
    """Watches a run. Calls come from several threads, also at the same time."""

    def waiting(self, gate: PlannedGate, whom: str) -> None:
        """*gate* waits for the machine, held by *whom*."""

    def started(self, gate: PlannedGate, attempt: int) -> None:
        """The process of *gate* starts."""

    def finished(self, report: GateReport) -> None:
        """A gate has its result."""


class Silence:
    """Watches and says nothing."""

    def waiting(self, gate: PlannedGate, whom: str) -> None: ...

    def started(self, gate: PlannedGate, attempt: int) -> None: ...

    def finished(self, report: GateReport) -> None: ...
