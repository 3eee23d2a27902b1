"""The faults of a scenario, one after the other, each at its time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
    A fault whose node does not come back ends the timeline.
    """
    observations: list[Observation] = []
    failed = False
    for fault in sorted(faults, key=lambda fault: fault.start):
        if not failed and not _wait(fault.start, clock, stop):
            watch, failed = _one(fault, target, known[fault.name], clock, stop)
        else:
            watch = Watch(detail="not caused: " + ("an earlier fault was not healed" if failed else "the load was stopped"))
        observations.append(_observation(fault, watch))
    return tuple(observations)


def _one(fault: PlannedFault, target: Target, kind: Any, clock: Callable[[], float], stop: Event) -> tuple[Watch, bool]:
    watch = Watch()
    try:
        told = {"way": fault.way} if getattr(kind, "ways", ()) else {}
        with kind.apply(target, fault.settings, clock=clock, **told) as watch:
            _wait(fault.end, clock, stop)
    except GatesError as error:
        watch.detail = f"{watch.detail}; {error.message}".lstrip("; ")
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
