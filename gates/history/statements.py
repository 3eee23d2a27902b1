"""Pure statements over a history, for every target: who was answered, who was not, and when an endpoint came back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from gates.model import Operation

STEADY = 1.0


def acknowledged(history: Sequence[Operation]) -> tuple[Operation, ...]:
    """The operations that the client was told had been done."""
    return tuple(operation for operation in history if operation.status == "ok")


def undecided(history: Sequence[Operation]) -> tuple[Operation, ...]:
    """The operations of which the client can't know whether they were done: unanswered, and by no later answer decided."""
    decided = {(operation.endpoint, operation.key) for operation in history if operation.status == "ok"}
    return tuple(
        operation
        for operation in history
        if operation.status == "unknown" and (operation.endpoint, operation.key) not in decided
    )


def counts(history: Sequence[Operation], phases: Mapping[str, tuple[float, float]]) -> dict[tuple[str, str], Counter[str]]:
    """How many operations ended how, by phase (of invocation) and endpoint."""
    found: dict[tuple[str, str], Counter[str]] = {}
    for operation in history:
        for phase, (start, end) in phases.items():
            if start <= operation.invoked < end:
                found.setdefault((phase, operation.endpoint), Counter())[operation.status] += 1
    return found


@dataclass(frozen=True, slots=True)
class Availability:
    """How many operations were invoked, and how many of them were not answered rightly."""

    invoked: int
    unavailable: int


def availability(history: Sequence[Operation], endpoints: Collection[str], start: float, end: float) -> Availability:
    """What clients of *endpoints* got for operations that they invoked from *start* to *end*."""
    statuses = [
        operation.status for operation in history if operation.endpoint in endpoints and start <= operation.invoked <= end
    ]
    return Availability(len(statuses), sum(status != "ok" for status in statuses))


def recovery_time(
    history: Sequence[Operation], endpoints: Collection[str], healed: float, *, steady: float = STEADY
) -> float | None:
    """Seconds from *healed* to the first right answer of *endpoints* that no failure followed for *steady* seconds.

    None when there was no such answer, or *history* ends before so many seconds were watched: then nobody saw it recover.
    The operations must have been invoked after *healed*.
    """
    later = sorted(
        (operation for operation in history if operation.endpoint in endpoints and operation.completed >= healed),
        key=lambda operation: operation.completed,
    )
    failures = [operation.completed for operation in later if operation.status != "ok"]
    watched = max((operation.completed for operation in history), default=healed)
    following = 0
    for operation in later:
        if operation.status != "ok" or operation.invoked < healed:
            continue
        if operation.completed + steady > watched:
            return None
        while following < len(failures) and failures[following] < operation.completed:
            following += 1
        if following == len(failures) or failures[following] > operation.completed + steady:
            return operation.completed - healed
    return None
