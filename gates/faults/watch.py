"""What a fault notes while it lasts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Watch:
    """Filled in by a fault: when it was caused and healed, and what its probe saw. Times are of the fault's clock."""

    caused: float | None = None
    healing: float | None = None
    seen_start: float | None = None
    seen_end: float | None = None
    detail: str = ""
