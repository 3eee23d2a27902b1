"""What the node says no with: a refusal that is the client's business, and a dependency that is not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Refusal(Exception):
    """A request that the node will not carry out.

    Attributes:
        code: the HTTP status.
        retry_after: seconds until asking again may help, or None.
        details: further members of the answer's body, beside `error`.
    """

    def __init__(self, code: int, text: str, *, retry_after: float | None = None, **details: Any) -> None:
        super().__init__(text)
        self.code, self.retry_after = code, retry_after
        self.details: Mapping[str, Any] = details


class StoreUnavailable(Exception):
    """The database could not take what was asked; nothing was written."""


class Undecided(Exception):
    """The commit itself failed: what was asked may or may not be there after a restart. Asking again under the key tells."""


class PeerUnavailable(Exception):
    """A peer could not be reached, did not answer in time, or its breaker is open."""


FAILURES = (StoreUnavailable, Undecided)
