"""The faults of a scenario, one after the other, each at its time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from subprocess import SubprocessError
from threading import Event
from typing import Any

from gates.errors import GatesError
from gates.faults.observation import Observation
from gates.faults.watch import Watch
from gates.model import Target


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """A fault of the timeline: its name and settings, and its window in seconds from the start of load.

    *asked* are the ways that the scenario names, in the order in which they are tried; *way* is, from `ways.chosen` on, the one
    that is used.
    """

    name: str
    settings: Mapping[str, Any]
    start: float
    end: float
    nodes: tuple[str, ...]
    way: str = ""
    asked: tuple[str, ...] = ()


def play(
    faults: Sequence[PlannedFault],
    target: Target,
    known: Mapping[str, Any],
    *,
    clock: Callable[[], float],
    stop: Event,
) -> tuple[Observation, ...]:
    """Cause and heal *faults* at their times on *clock* (seconds from the start of load), and say what became of them.

    *known* maps names to faults. When *stop* is set, a fault under way is healed at once and later ones are not caused.
    A fault that can't be caused or healed ends the timeline. One whose time is over when it could be caused is left out.
    """
    observations: list[Observation] = []
    failed = False
    for fault in sorted(faults, key=lambda fault: fault.start):
        why_not = _why_not(fault, failed, clock, stop, first=not observations)
        if why_not:
            watch = Watch(detail=f"not caused: {why_not}")
        else:
            watch, failed = _one(fault, target, known[fault.name], clock, stop)
        observations.append(_observation(fault, watch))
    return tuple(observations)


def _why_not(fault: PlannedFault, failed: bool, clock: Callable[[], float], stop: Event, *, first: bool) -> str:
    """Wait for the start of *fault*; why it is not to be caused, empty when it is."""
    if failed:
        return "an earlier fault was not healed"
    if _wait(fault.start, clock, stop):
        return "the load was stopped"
    return "its time was over when an earlier fault had been healed" if not first and clock() > fault.end else ""


def _one(fault: PlannedFault, target: Target, kind: Any, clock: Callable[[], float], stop: Event) -> tuple[Watch, bool]:
    watch = Watch()
    try:
        told = {"way": fault.way} if getattr(kind, "ways", ()) else {}
        with kind.apply(target, fault.settings, clock=clock, **told) as watch:
            _wait(fault.end, clock, stop)
    except (GatesError, OSError, SubprocessError) as error:
        said = error.message if isinstance(error, GatesError) else str(error)
        watch.detail = f"{watch.detail}; {said}".lstrip("; ")
        watch.seen_end = None  # whatever the probe saw, it may not be as it was
        return watch, True
    return watch, False


def _wait(until: float, clock: Callable[[], float], stop: Event) -> bool:
    """Wait for the time *until*; true when the load was stopped instead."""
    while (left := until - clock()) > 0:
        if stop.wait(left):
            return True
    return stop.is_set()


def _observation(fault: PlannedFault, watch: Watch) -> Observation:
    return Observation(
        fault.name,
        fault.nodes,
        fault.start,
        fault.end,
        watch.caused,
        watch.healing,
        watch.seen_start,
        watch.seen_end,
        watch.detail,
        fault.way,
    )
