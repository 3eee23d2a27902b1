"""Whether the reads and writes of one key are linearizable: is there an order in which each took effect at one moment between
its invocation and its answer, and every read saw the last write?

The search is Wing and Gong's, with Lowe's memory of configurations and his linearization just in time: nothing is ordered
before an answer demands it. Keys are checked apart, which is enough: a history is linearizable exactly when each key's is.

What has an unknown outcome may take effect at any time after its invocation, or never.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gates.history.access import Access, Action

MOST = 100_000
"""More configurations than these at once are given up."""
_SOME = object()  # what a claim of unknown outcome left there: there is something, nobody has seen what
_Configuration = tuple[Hashable, frozenset[int]]


@dataclass(frozen=True, slots=True)
class Linearity:
    """What the search found.

    Attributes:
        checked: accesses that were looked at.
        broken: keys for which there is no order, and the first access that fits into none.
        undecided: keys with so many concurrent writes that the search was given up.
    """

    checked: int
    broken: Mapping[Any, Access]
    undecided: tuple[Any, ...]


class TooMany(Exception):
    """The search was given up."""


def linearity(keys: Mapping[Any, Sequence[Access]], initial: Hashable = None, *, most: int = MOST) -> Linearity:
    """Check every key of *keys*, each of which begins with the value *initial*."""
    broken: dict[Any, Access] = {}
    undecided: list[Any] = []
    for key, accesses in keys.items():
        try:
            misfit = first_misfit(accesses, initial, most=most)
        except TooMany:
            undecided.append(key)
            continue
        if misfit is not None:
            broken[key] = misfit
    return Linearity(sum(map(len, keys.values())), broken, tuple(undecided))


def first_misfit(accesses: Sequence[Access], initial: Hashable = None, *, most: int = MOST) -> Access | None:
    """The first access, by its answer, that fits into no order of those before; None when all do.

    Raises TooMany when there are more than *most* configurations at a time.
    """
    accesses = _without_the_unseen(accesses)
    events = [(access.invoked, 0, number) for number, access in enumerate(accesses)]
    events += [(access.completed, 1, number) for number, access in enumerate(accesses) if access.certain]
    pending: dict[int, Access] = {}
    now: set[_Configuration] = {(initial, frozenset())}
    # an access that was answered at the moment in which another was invoked counts as concurrent with it
    for _, answered, number in sorted(events):
        if not answered:
            pending[number] = accesses[number]
            continue
        now = _after(now, number, pending, most)
        if not now:
            return accesses[number]
        del pending[number]
    return None


def _without_the_unseen(accesses: Sequence[Access]) -> list[Access]:
    """Without writes of unknown outcome of whose value nobody was told: that they never were explains all that they could."""
    told = {access.value for access in accesses if access.action is not Action.WRITE and access.certain}
    return [each for each in accesses if each.certain or each.action is Action.CLAIM or each.value in told]


def _after(now: Iterable[_Configuration], number: int, pending: Mapping[int, Access], most: int) -> set[_Configuration]:
    """The configurations in which the access *number* has taken effect, whatever pending ones did before it."""
    found: set[_Configuration] = set()
    seen: set[_Configuration] = set(now)
    left = list(seen)
    while left:
        state, done = left.pop()
        done = _with_reads(state, done, pending)
        if number in done:
            found.add((state, done - {number}))
            continue
        for other, access in pending.items():
            if other in done:
                continue
            fits, after = _step(state, access)
            configuration = after, done | {other}
            if fits and configuration not in seen:
                seen.add(configuration)
                left.append(configuration)
        if len(seen) > most:
            raise TooMany
    return found


def _with_reads(state: Hashable, done: frozenset[int], pending: Mapping[int, Access]) -> frozenset[int]:
    """*done*, and every pending read and claim that fits now and changes nothing: to wait with it would never help."""
    idle = [
        other
        for other, access in pending.items()
        if access.action is not Action.WRITE and other not in done and _step(state, access) == (True, state)
    ]
    return done.union(idle) if idle else done


def _step(state: Hashable, access: Access) -> tuple[bool, Hashable]:
    """Whether *access* can take effect in *state*, and the state after it."""
    if access.action is Action.WRITE:
        return True, access.value
    if access.action is Action.READ:
        fits = state == access.value or (state is _SOME and access.value is not None)
        return fits, access.value if state is _SOME else state
    if not access.certain:
        return True, _SOME if state is None else state
    return state in (None, _SOME, access.value), access.value
