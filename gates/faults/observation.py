"""What became of a fault: when it was asked for, when it was done, and when an independent probe saw it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Observation:
    """One fault. All times are seconds from the start of load.

    Attributes:
        fault: its name, `crash`.
        nodes: the endpoints that it struck.
        asked_start, asked_end: the window that the scenario asked for.
        caused, healing: when it was caused, and when healing began; None when it came to neither.
        seen_start, seen_end: when the probe first saw it, and first saw it gone; None when it did not.
        detail: what the probe looked at and how often, or why it did not come to the fault.
        way: which of the fault's ways was used; empty for a fault that has only one.
    """

    fault: str
    nodes: tuple[str, ...]
    asked_start: float
    asked_end: float
    caused: float | None = None
    healing: float | None = None
    seen_start: float | None = None
    seen_end: float | None = None
    detail: str = ""
    way: str = ""

    @property
    def seen(self) -> bool:
        """Whether the probe saw it start and end."""
        return self.seen_start is not None and self.seen_end is not None
