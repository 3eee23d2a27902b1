"""Reads and writes of single keys, taken out of a history by what somebody declares of its flows.

::

    BALANCES = Declared(key=("endpoint", "value.account"), writes={"set": "value.amount"}, reads={"get": "answer.amount"})

A *place* names a part of an operation: `key`, `endpoint`, `kind`, or a dotted path into `value` (what was asked for) or
`answer` (what came back).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from gates.model import Operation

NEVER = math.inf
_ATTRIBUTES = frozenset({"key", "endpoint", "kind"})


class Action(StrEnum):
    """What an access does: `write` sets a value, `claim` sets it where there is none and answers with what is there.

    What is claimed is never taken away again: a key with claims has no write of None.
    """

    WRITE = "write"
    READ = "read"
    CLAIM = "claim"


@dataclass(frozen=True, slots=True)
class Access:
    """One read or write of one key.

    Attributes:
        value: what was written or read, or what a claim was answered with; None for a value that is not there or not known.
        invoked, completed: seconds; *completed* is NEVER for one of unknown outcome, which may take effect later or not at all.
        age: so many seconds old is what was read, by its own word.
    """

    action: Action
    value: Hashable
    invoked: float
    completed: float
    age: float = 0.0

    @property
    def certain(self) -> bool:
        """Whether it surely took effect, between *invoked* and *completed*."""
        return self.completed != NEVER


@dataclass(frozen=True, slots=True)
class Declared:
    """Which flows write and read values, and where their parts stand.

    Attributes:
        key: the places that together say which value it is.
        writes: the place of what is written, by flow.
        reads: the place of what was read, by flow; a place that is not there is a read of nothing.
        claims: by flow, the place of what is there now, for flows that write only where there is nothing yet.
        age: the place of the declared age of what was read, in seconds; where it is not there, it is said to be fresh.
    """

    key: tuple[str, ...]
    writes: Mapping[str, str] = field(default_factory=dict)
    reads: Mapping[str, str] = field(default_factory=dict)
    claims: Mapping[str, str] = field(default_factory=dict)
    age: str = ""


def at(operation: Operation, place: str) -> Any:
    """What stands at *place*; None when there is nothing."""
    head, *steps = place.split(".")
    if head in _ATTRIBUTES:
        return getattr(operation, head)
    found = operation.value if head == "value" else operation.answer
    for step in steps:
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def accesses(history: Iterable[Operation], declared: Declared) -> dict[tuple[Any, ...], list[Access]]:
    """The accesses of every key, in order of invocation. What surely had no effect, and unanswered reads, are none."""
    found: dict[tuple[Any, ...], list[Access]] = {}
    for operation in history:
        access = _access(operation, declared)
        if access is not None:
            found.setdefault(tuple(at(operation, place) for place in declared.key), []).append(access)
    for each in found.values():
        each.sort(key=lambda access: access.invoked)
    return found


def _access(operation: Operation, declared: Declared) -> Access | None:
    kind, answered = operation.kind, operation.status == "ok"
    if operation.status == "fail":
        return None
    completed = operation.completed if answered else NEVER
    if kind in declared.writes:
        return Access(Action.WRITE, at(operation, declared.writes[kind]), operation.invoked, completed)
    if kind in declared.claims:
        there = at(operation, declared.claims[kind]) if answered else None
        return Access(Action.CLAIM, there, operation.invoked, completed)
    if kind not in declared.reads or not answered:
        return None
    age = at(operation, declared.age) if declared.age else None
    value = at(operation, declared.reads[kind])
    return Access(Action.READ, value, operation.invoked, completed, 0.0 if age is None else float(age))
