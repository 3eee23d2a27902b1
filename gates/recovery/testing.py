"""Time that stands still until it is told to move, for tests of everything that waits.

`VirtualClock` is a clock and a sleep; `run` runs a coroutine on an event loop of virtual time, in which an hour's sleep takes
no time and everything happens in the same order every time.
"""

from __future__ import annotations

from _random import Random

from gates.recovery.reference import RELEASES, ReferenceBreaker, ReferencePermit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Coroutine
    from typing import Any, TypeVar

    R = TypeVar("R")


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


def run(main: Callable[[], Coroutine[Any, Any, R]], clock: VirtualClock | None = None) -> R:
    """Run *main* to its end on a loop whose time is *clock*.

    When every task waits, the clock jumps to the next timer. Raises RuntimeError when there is none: then nothing would ever
    happen.
    """
    import asyncio

    with asyncio.Runner(loop_factory=lambda: _virtual_loop(clock or VirtualClock())) as runner:
        return runner.run(main())


def _virtual_loop(clock: VirtualClock) -> AbstractEventLoop:
    import asyncio
    import selectors

    class Selector(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> Any:
            ready = super().select(0)
            if not ready and timeout is None:
                raise RuntimeError("every task waits, and no timer is set: this would wait for ever")
            if not ready and timeout:
                clock.now += timeout
            return ready

    class Loop(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return clock.now

    return Loop(Selector())


__all__ = ["RELEASES", "ReferenceBreaker", "ReferencePermit", "VirtualClock", "run", "seeded"]
