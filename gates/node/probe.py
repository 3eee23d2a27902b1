"""A bounded question to a dependency: never more than one attempt at a time, never longer than the patience."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Probe:
    """Asks *attempt*, which raises one of *failures* when the dependency is not there.

    A dependency that hangs holds one attempt, which later askers share, so that probes of a hanging database don't pile up.
    """

    def __init__(
        self, attempt: Callable[[], Awaitable[object]], *, patience: float, failures: tuple[type[Exception], ...]
    ) -> None:
        self._attempt, self._patience = attempt, patience
        self._failures: tuple[type[Exception], ...] = (TimeoutError, *failures)
        self._under_way: asyncio.Future[object] | None = None

    async def passes(self) -> bool:
        """Whether the dependency answered in time."""
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.ensure_future(self._attempt())
            self._under_way.add_done_callback(_looked_at)
        try:
            await asyncio.wait_for(asyncio.shield(self._under_way), self._patience)
        except self._failures:
            return False
        return True


def _looked_at(attempt: asyncio.Future[object]) -> None:
    """Take note of an error that came after the last asker had lost patience."""
    if not attempt.cancelled():
        attempt.exception()
