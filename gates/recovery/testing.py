"""A clock that stands still until it is told to move, for tests of everything that waits."""

from __future__ import annotations

from _random import Random

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class VirtualClock:
    """Time as a test wants it: `clock()` reads it, `clock.sleep` and `clock.sleep_async` move it on at once.

    Attributes:
        now: the reading, in seconds.
        sleeps: every sleep that was asked for, in order.
    """

    __slots__ = ("now", "sleeps")

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.sleeps: list[float] = []

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move on by *seconds*; a negative number steps back, as a broken clock does."""
        self.now += seconds

    def sleep(self, seconds: float) -> None:
        """Sleep: the time passes at once."""
        self.sleeps.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        """Sleep as a coroutine: the time passes at once, and other tasks have their turn."""
        import asyncio

        self.sleep(seconds)
        await asyncio.sleep(0)


def seeded(seed: int) -> Callable[[], float]:
    """Uniform numbers in [0, 1) that are the same for the same *seed*."""
    return Random(seed).random
