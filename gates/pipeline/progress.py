"""What the engine tells whoever watches: called from its threads, one call at a time."""

from __future__ import annotations

from typing import Protocol

from gates.model import GateReport, Plan, PlannedGate


class Progress(Protocol):
    """Watches a run. Calls come one at a time, though from several threads."""

    def planned(self, plan: Plan, selected: tuple[str, ...]) -> None:
        """The run begins."""

    def waiting(self, gate: PlannedGate, whom: str) -> None:
        """*gate* waits for the machine, held by *whom*."""

    def started(self, gate: PlannedGate, attempt: int) -> None:
        """The process of *gate* starts."""

    def finished(self, report: GateReport) -> None:
        """A gate has its result."""

    def said(self, text: str) -> None:
        """Something that a person should know."""


class Silence:
    """Watches and says nothing."""

    def planned(self, plan: Plan, selected: tuple[str, ...]) -> None: ...

    def waiting(self, gate: PlannedGate, whom: str) -> None: ...

    def started(self, gate: PlannedGate, attempt: int) -> None: ...

    def finished(self, report: GateReport) -> None: ...

    def said(self, text: str) -> None: ...
