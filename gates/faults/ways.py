"""Which of a fault's ways is used: of those that the scenario names, the first that the target and this machine allow.

A scenario that names none means the fault's first way and no other: a fallback may be another fault, so it must be asked for.

Faults of links share what the links are made of, so all of them in one trial get ways of the same links.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gates.faults.timeline import PlannedFault
from gates.model import Way

Works = Callable[[str], str]
"""Why a capability of the machine, by name, is not there; an empty text when it is."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The faults with the ways that they go, what the target's links must be made of, and why a fault has no way."""

    faults: tuple[PlannedFault, ...]
    links: str
    problems: tuple[str, ...]


def ways_of(fault: Any) -> tuple[Way, ...]:
    """The ways of *fault*; one that declares none has a single one without a name."""
    return tuple(getattr(fault, "ways", ())) or (Way("", tuple(fault.controls)),)


def controls_of(fault: Any, asked: Sequence[str], there: Collection[str]) -> tuple[str, ...]:
    """The controls that *fault* needs: those of the first way *asked* for that *there* is enough for, else of the first."""
    ways = _allowed(fault, asked) or ways_of(fault)
    return next((way for way in ways if set(way.controls) <= set(there)), ways[0]).controls


def advice(fault: Any, asked: Sequence[str], there: Collection[str]) -> str:
    """What a scenario may name where *there* is enough for none of the ways *asked*, but for others; else an empty text."""
    meant = _allowed(fault, asked)
    others = [way for way in ways_of(fault) if way not in meant and set(way.controls) <= set(there)]
    if not meant or not others or any(set(way.controls) <= set(there) for way in meant):
        return ""
    names = " or ".join(way.name for way in others)
    return f"a way of {fault.name} that this target allows, if the scenario names it: way: {names}"


def why_not(way: Way, there: Collection[str], works: Works) -> str:
    """Why *way* can't be gone with the controls *there* on this machine; an empty text when it can."""
    lacking = [control for control in way.controls if control not in there]
    reasons = [f"the target has no control {', '.join(lacking)}"] if lacking else []
    return "; ".join([*reasons, *filter(None, (works(name) for name in way.capabilities))])


def chosen(faults: Sequence[PlannedFault], known: Mapping[str, Any], there: Collection[str], works: Works) -> Chosen:
    """The way of each of *faults*; *there* are the target's controls."""
    open_ways = [_open(fault, known[fault.name], there, works) for fault in faults]
    wanted = [way.links for ways, _ in open_ways for way in ways if way.links]
    planes = [plane for plane in dict.fromkeys(wanted) if all(_fits(ways, plane) for ways, _ in open_ways)]
    plane = planes[0] if planes else ""
    found, problems = [], []
    for fault, (ways, reason) in zip(faults, open_ways, strict=True):
        way = next((way for way in ways if way.links in ("", plane)), None)
        if way is None:
            problems.append(f"{fault.name}: {reason or 'its links must be made of something else than those of another fault'}")
        found.append(replace(fault, way=way.name if way else fault.way))
    return Chosen(tuple(found), plane, tuple(problems))


def at_odds(faults: Sequence[PlannedFault], known: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
    """The numbers of each two faults of which the second's links can't be made of what the first's are, on any machine."""
    found, first = list[tuple[int, int]](), dict[str, int]()
    for number, fault in enumerate(faults):
        planes = set(_planes(fault, known))
        if not planes or "" in planes:
            continue
        common = planes & set(first) if first else planes
        found += [] if common else [(min(first.values()), number)]
        first = {plane: first.get(plane, number) for plane in common} or first
    return tuple(found)


def planes_of(fault: PlannedFault, known: Mapping[str, Any]) -> str:
    """What the links of *fault* may be made of, in words."""
    return " or ".join(_planes(fault, known))


def _planes(fault: PlannedFault, known: Mapping[str, Any]) -> list[str]:
    return [way.links for way in _allowed(known[fault.name], fault.asked)]


def _fits(ways: Sequence[Way], plane: str) -> bool:
    return not ways or any(way.links in ("", plane) for way in ways)


def _open(fault: PlannedFault, kind: Any, there: Collection[str], works: Works) -> tuple[list[Way], str]:
    """The ways that can be gone, in their order; and why the others can't."""
    allowed = _allowed(kind, fault.asked)
    if not allowed:
        return [], f"it has no way {', '.join(fault.asked)}; it has {', '.join(way.name for way in ways_of(kind))}"
    reasons = {way.name: why_not(way, there, works) for way in allowed}
    text = "; ".join(f"by {name}: {reason}" if name else reason for name, reason in reasons.items() if reason)
    others = [way.name for way in ways_of(kind) if way not in allowed]
    if others and all(reasons.values()):
        text = f"{text} (a scenario may name a fallback: way: [{', '.join([*reasons, *others])}])"
    return [way for way in allowed if not reasons[way.name]], text


def _allowed(kind: Any, asked: Sequence[str]) -> tuple[Way, ...]:
    """The ways *asked* for, in that order; the fault's first one when none is."""
    ways = ways_of(kind)
    return tuple(way for name in asked for way in ways if way.name == name) if asked else ways[:1]
