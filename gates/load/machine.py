"""What the machine did to us meanwhile: time that the hypervisor took, and steps of the wall clock."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from gates.load.outcome import Health

_STAT = Path("/proc/stat")
_STEAL = 7
_FIELDS_OF_TIME = 8  # guest times are contained in user and nice


@dataclass(frozen=True, slots=True)
class Reading:
    """Clocks and counters at one moment, read in the generator's thread."""

    monotonic: float
    wall: float
    processor: float
    ticks: tuple[int, ...]

    @classmethod
    def now(cls) -> Reading:
        return cls(time.monotonic(), time.time(), time.thread_time(), _ticks())


def health(before: Reading, after: Reading, pacing: str) -> Health:
    """The generator's health between two readings."""
    elapsed = max(after.monotonic - before.monotonic, 1e-9)
    jump = (after.wall - before.wall) - (after.monotonic - before.monotonic)
    return Health((after.processor - before.processor) / elapsed, _steal(before.ticks, after.ticks), abs(jump), pacing)


def _steal(before: tuple[int, ...], after: tuple[int, ...]) -> float | None:
    if not before or not after:
        return None
    spent = [late - early for early, late in zip(before, after, strict=True)]
    return spent[_STEAL] / sum(spent) if sum(spent) > 0 else 0.0


def _ticks() -> tuple[int, ...]:
    """User, nice, system, idle, iowait, irq, softirq, steal of all processors; empty where there is no such file."""
    try:
        fields = _STAT.read_text().splitlines()[0].split()[1 : 1 + _FIELDS_OF_TIME]
    except (OSError, IndexError):
        return ()
    return tuple(int(field) for field in fields) if len(fields) == _FIELDS_OF_TIME else ()
