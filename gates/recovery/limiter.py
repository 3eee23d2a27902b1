"""The rate limiter: in any time T at most burst + rate * T calls.

The state is a moment and a whole number: the allowance is used up until `anchor + count / rate`. No sum of small numbers is
kept, and a call that comes later than it may by no more than rounding leaves both as they are, so a million calls drift by
nothing.
"""

from __future__ import annotations

import time

from gates.recovery.configuration import MOST, callable_, number, text, whole
from gates.recovery.errors import Overloaded
from gates.recovery.locks import shared_lock
from gates.recovery.weaving import SYNC, Awaitable, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable as AwaitableOf
    from collections.abc import Callable

    from gates.recovery.weaving import Source


SLACK = 1e-9
"""Seconds of lateness that are none: the shortest pause that is slept."""


class RateLimiter(Step):
    """So many calls a second, evenly, with a burst. Who would wait longer than *max_wait* gets Overloaded with `retry_after`.

    Those who wait are served in the order in which they came; one that is cancelled leaves its place to the next.

    Attributes:
        rate: calls a second.
        burst: calls that may come at once.
        max_wait: the most seconds to wait; 0 never waits.
    """

    __slots__ = (
        "_anchor",
        "_clock",
        "_count",
        "_last",
        "_lock",
        "_queue",
        "_reach",
        "_sleep",
        "_sleep_async",
        "burst",
        "max_wait",
        "name",
        "rate",
    )

    def __init__(
        self,
        rate: float,
        burst: int = 1,
        *,
        max_wait: float = 0.0,
        name: str = "rate limiter",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
        sleep_async: Callable[[float], AwaitableOf[object]] | None = None,
    ) -> None:
        self.rate = number("RateLimiter.rate", rate, 1 / MOST)
        self.burst = whole("RateLimiter.burst", burst, 1)
        self.max_wait = number("RateLimiter.max_wait", max_wait, 0.0)
        self.name = text("RateLimiter.name", name)
        self._clock = clock
        self._sleep = sleep
        self._sleep_async = _sleep if sleep_async is None else sleep_async
        for field, value in (("clock", clock), ("sleep", sleep), ("sleep_async", self._sleep_async)):
            callable_(f"RateLimiter.{field}", value)
        self._lock = shared_lock()
        self._anchor = self._last = clock()
        self._count = 0
        # How long before the end of the allowance a call may come.
        self._reach = (self.burst - 1) / self.rate
        self._queue: dict[object, None] = {}

    keeps_tail = True

    def weave(self, source: Source, inner: Callable[[], None]) -> None:
        """Write the admission before the call."""
        source.line(f"{source.waits}{source.bind(self.enter_task if source.waits else self.enter, 'enter')}()")
        if source.colour != SYNC:
            inner()
            return
        with source.block("try:"):
            inner()
        with source.block(f"except {source.bind(Awaitable, 'awaitable')}:"):
            # It was only looked at, and is called again where it can be awaited.
            source.line(f"{source.bind(self._give_back, 'give_back')}()", "raise")

    def try_acquire(self) -> bool:
        """Take one call's allowance if there is some now and nobody waits."""
        with self._lock:
            return not self._queue and self._taken()

    def enter(self) -> None:
        """Take one call's allowance, sleeping if need be. Raises Overloaded."""
        if self.try_acquire():
            return
        ticket = self._queued()
        try:
            while (delay := self._delay(ticket)) > 0.0:
                self._sleep(delay)
        finally:
            self._queue.pop(ticket, None)

    async def enter_task(self) -> None:
        """Take one call's allowance, sleeping if need be. Raises Overloaded."""
        if self.try_acquire():
            return
        ticket = self._queued()
        try:
            while (delay := self._delay(ticket)) > 0.0:
                await self._sleep_async(delay)
        finally:
            self._queue.pop(ticket, None)

    def _give_back(self) -> None:
        with self._lock:
            self._count = max(0, self._count - 1)

    def _taken(self) -> bool:
        clock, count = self._clock, self._count
        now = clock()
        anchor = self._anchor if now >= self._last else self._followed(now)
        self._last = now
        due = anchor + count / self.rate
        if now - due > SLACK:
            # Somebody came later than the whole allowance took: it begins anew. Less than that is rounding, and beginning
            # anew each time would add it up.
            self._anchor, self._count = now, 1
            return True
        if due - self._reach > now:
            return False
        self._count = count + 1
        return True

    def _followed(self, now: float) -> float:
        """The anchor, moved with a clock that stepped back: nobody waits for the time that it lost."""
        self._anchor -= max(0.0, self._last - now)
        self._last = now
        return self._anchor

    def _wait(self, ahead: int) -> float:
        """Seconds until a call with so many *ahead* of it is allowed."""
        now = self._clock()
        return self._followed(now) + (self._count + ahead) / self.rate - self._reach - now

    def _queued(self) -> object:
        with self._lock:
            delay = self._wait(len(self._queue))
            if delay > self.max_wait:
                raise Overloaded(self.name, delay)
            ticket = object()
            self._queue[ticket] = None
            return ticket

    def _delay(self, ticket: object) -> float:
        """Seconds for *ticket* to sleep; 0 when the allowance is taken."""
        with self._lock:
            ahead = list(self._queue).index(ticket)
            if ahead == 0 and self._taken():
                del self._queue[ticket]
                return 0.0
            return max(self._wait(ahead), SLACK if ahead == 0 else 0.1 / self.rate)


async def _sleep(seconds: float) -> None:
    import asyncio

    await asyncio.sleep(seconds)
