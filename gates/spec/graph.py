"""The order of gates by what they need."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence

from gates.model import PlannedGate


def ordered(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """The names of *needs* so that each comes after what it needs, otherwise in their own order. Needs no cycle."""
    position = {name: index for index, name in enumerate(needs)}
    open_needs = {name: {need for need in needs[name] if need in needs} for name in needs}
    ready = [position[name] for name in needs if not open_needs[name]]
    names, done = list(needs), list[str]()
    while ready:
        done.append(names[heapq.heappop(ready)])
        for name in needs:
            if done[-1] in open_needs[name]:
                open_needs[name].discard(done[-1])
                if not open_needs[name]:
                    heapq.heappush(ready, position[name])
    return done


def cycle(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """A cycle as the names along it, the first again at the end; empty when there is none."""
    finished: set[str] = set()
    for start in needs:
        found = _search(start, needs, finished)
        if found:
            return found
    return []


def _search(start: str, needs: Mapping[str, Sequence[str]], finished: set[str]) -> list[str]:
    trail, pending = [start], [list(needs[start])]
    while trail:
        if not pending[-1]:
            finished.add(trail.pop())
            pending.pop()
            continue
        following = pending[-1].pop(0)
        if following in trail:
            return [*trail[trail.index(following) :], following]
        if following in needs and following not in finished:
            trail.append(following)
            pending.append(list(needs[following]))
    return []


def bridged(name: str, needs: Mapping[str, Sequence[str]], present: Iterable[str]) -> tuple[str, ...]:
    """What *name* needs among *present*: a gate that is not there is replaced by what it needs itself. Needs no cycle."""
    there, found = set(present), dict[str, None]()
    for need in needs[name]:
        for each in (need,) if need in there else bridged(need, needs, there):
            found[each] = None
    return tuple(found)


def levels(gates: Sequence[PlannedGate]) -> list[list[PlannedGate]]:
    """*gates* in steps: each gate is one step after the last of those that it needs."""
    depth: dict[str, int] = {}
    for gate in gates:
        depth[gate.name] = 1 + max((depth.get(need, -1) for need in gate.needs), default=-1)
    return [[gate for gate in gates if depth[gate.name] == step] for step in range(max(depth.values(), default=-1) + 1)]
