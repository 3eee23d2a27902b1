"""What became of what clients asked for: nothing acknowledged lost, one effect a key, an end to every item, replicas agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass

from gates.model import Operation


@dataclass(frozen=True, slots=True)
class Promises:
    """How many things were acknowledged, and which of them are gone, each once, in the order of the history."""

    acknowledged: int
    lost: tuple[Hashable, ...]


def lost(acknowledged: Iterable[Hashable], present: Collection[Hashable]) -> Promises:
    """Which of the *acknowledged* are not *present*."""
    promised = dict.fromkeys(acknowledged)
    there = present if isinstance(present, (set, frozenset, Mapping)) else set(present)
    return Promises(len(promised), tuple(each for each in promised if each not in there))


@dataclass(frozen=True, slots=True)
class Effects:
    """What keys that clients sent have brought about.

    Attributes:
        sent: distinct keys that may have had an effect.
        duplicated: keys with more than one.
        unasked: keys with an effect that no client sent.
    """

    sent: int
    duplicated: tuple[Hashable, ...]
    unasked: tuple[Hashable, ...]


def effects(asked: Iterable[Operation], found: Iterable[Hashable], known: Collection[Hashable] = ()) -> Effects:
    """Compare the keys of the operations *asked* with those of the effects *found*, one for each; *known* were there before.

    A refused operation (`fail`) must have none, but the same key may have been sent again and taken.
    """
    times, before = Counter(found), Counter(known)
    sent = dict.fromkeys(operation.key for operation in asked if operation.status != "fail")
    duplicated = tuple(key for key in times if times[key] > max(1, before[key]))
    unasked = tuple(key for key in times if key not in sent and key not in before)
    return Effects(len(sent), duplicated, unasked)


def unfinished(states: Mapping[Hashable, str], final: Collection[str]) -> tuple[Hashable, ...]:
    """The items whose state is none of the *final* ones."""
    return tuple(item for item, state in states.items() if state not in final)


def disagreeing(replicas: Mapping[str, Hashable]) -> tuple[str, ...]:
    """The replicas that differ from what most of them say; of two equal halves the one that comes later."""
    if not replicas:
        return ()
    most, _ = Counter(replicas.values()).most_common(1)[0]
    return tuple(name for name, says in replicas.items() if says != most)
