"""What the machine did to us meanwhile: time that the hypervisor took, and steps of the wall clock."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from gates.load.outcome import Health

_STAT = Path("/proc/stat")
_SCHEDULE = Path("/proc/thread-self/schedstat")
_STEAL = 7
_FIELDS_OF_TIME = 8  # guest times are contained in user and nice


@dataclass(frozen=True, slots=True)
class Reading:
    """Clocks and counters at one moment, read in the generator's thread."""

    monotonic: float
    wall: float
    processor: float
    ticks: tuple[int, ...]
    waited: float | None = None

    @classmethod
    def now(cls) -> Reading:
        return cls(time.monotonic(), time.time(), time.thread_time(), _ticks(), _waited())


def health(before: Reading, after: Reading, pacing: str) -> Health:
    """The generator's health between two readings."""
    elapsed = max(after.monotonic - before.monotonic, 1e-9)
    jump = (after.wall - before.wall) - (after.monotonic - before.monotonic)
    held = None if before.waited is None or after.waited is None else (after.waited - before.waited) / elapsed
    cpu = (after.processor - before.processor) / elapsed
    return Health(cpu, _steal(before.ticks, after.ticks), abs(jump), pacing, held)


def _waited() -> float | None:
    """Seconds for which this thread could have run and had no processor; None where the kernel does not count them."""
    try:
        return int(_SCHEDULE.read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return None


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
