"""What a flow in Python is given of the arrival that it does."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from gates.load.variables import Variables

if TYPE_CHECKING:
    import httpx


class Arrival:
    """One arrival.

    Attributes:
        number: in the schedule, from 0.
        key: an idempotency key of its own; derived from the seed, as *uuid* is.
        endpoint: name of the endpoint that serves it.
        value: what a recorded history holds as asked for; set by the flow.
        answer: what it holds as the answer; set by the flow.
    """

    __slots__ = ("_variables", "answer", "endpoint", "key", "number", "uuid", "value")

    def __init__(self, number: int, key: str, digest: bytes, endpoint: str, variables: Variables | None) -> None:
        self.number = number
        self.key = key
        self.uuid = str(uuid.UUID(bytes=digest, version=4))
        self.endpoint = endpoint
        self.value: Any = None
        self.answer: Any = None
        self._variables = variables

    def row(self, feed: str) -> Mapping[str, str]:
        """The row of *feed* that this arrival takes; of `setup` what the set-up captured. Raises LookupError."""
        if self._variables is None:
            raise LookupError(f"no feed {feed!r}")
        return self._variables.row(feed, self.number)


Doing = Callable[["httpx.AsyncClient", Arrival], Awaitable[Any]]
