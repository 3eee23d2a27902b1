"""An event loop that waits for no timer: its time leaps to the next one, so that a busy machine can be late for nothing."""

from __future__ import annotations

import asyncio
import selectors


class Leaping(selectors.DefaultSelector):
    """Where nothing is ready at once, the time has come for the next timer."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(timeout if timeout is None else 0)
        if not events and timeout:
            self.now += timeout
        return events


class LeapingLoop(asyncio.SelectorEventLoop):
    """A loop on `Leaping`; what its timers are measured by is not the machine's clock."""

    def __init__(self) -> None:
        self.leaping = Leaping()
        super().__init__(self.leaping)

    def time(self) -> float:
        return self.leaping.now
