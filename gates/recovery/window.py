"""Sliding windows over the outcomes of calls: the last so many calls, or the calls of the last so many seconds.

`CountWindow` and `TimeWindow` are settings; `start()` gives the state that one breaker keeps. The limits are whole numbers
over whole numbers, so 10 % of 10 calls is 1 call and not 1.0000000000000002.
"""

from __future__ import annotations

from gates.recovery.configuration import ConfigurationError, number, whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    Window: TypeAlias = "CountWindow | TimeWindow"
    Tally: TypeAlias = "CountTally | TimeTally"

NEVER = float("-inf")

SHORTEST = 1e-6
"""Seconds of the shortest window; the number of a bucket on the clock must be one that a float can tell from the next."""


class _Limits:
    """What both windows trip on.

    Attributes:
        failure_rate: the share of failed calls at which the breaker opens, above 0 and at most 1.
        minimum_calls: fewer calls than this in the window never open it.
        slow_call_duration: seconds from which a call counts as slow; None looks at no call's time.
        slow_call_rate: the share of slow calls at which the breaker opens.
    """

    __slots__ = ("_failed", "_slow", "failure_rate", "minimum_calls", "slow_call_duration", "slow_call_rate")

    def __init__(
        self, failure_rate: float, minimum_calls: int, slow_call_duration: float | None, slow_call_rate: float
    ) -> None:
        name = type(self).__name__
        self.failure_rate = number(f"{name}.failure_rate", failure_rate, 0.0, 1.0, above=True)
        self.minimum_calls = whole(f"{name}.minimum_calls", minimum_calls, 1)
        self.slow_call_rate = number(f"{name}.slow_call_rate", slow_call_rate, 0.0, 1.0, above=True)
        if slow_call_duration is not None:
            number(f"{name}.slow_call_duration", slow_call_duration, 0.0, above=True)
        elif self.slow_call_rate < 1.0:
            raise ConfigurationError(f"{name}.slow_call_rate", slow_call_rate, "1 unless slow_call_duration is given")
        self.slow_call_duration = slow_call_duration
        self._failed = _fraction(self.failure_rate)
        self._slow = _fraction(self.slow_call_rate)

    def tripped(self, calls: int, failures: int, slow: int) -> bool:
        """Whether so many failures or slow calls among so many calls open the breaker."""
        if calls < self.minimum_calls:
            return False
        failed, slowed = self._failed, self._slow
        return failures * failed[1] >= failed[0] * calls or slow * slowed[1] >= slowed[0] * calls


class CountWindow(_Limits):
    """The last *size* calls."""

    __slots__ = ("every_other", "mask", "size")

    def __init__(
        self,
        size: int = 100,
        failure_rate: float = 0.5,
        minimum_calls: int = 10,
        *,
        slow_call_duration: float | None = None,
        slow_call_rate: float = 1.0,
    ) -> None:
        self.size = whole("CountWindow.size", size, 1, 100_000)
        super().__init__(failure_rate, minimum_calls, slow_call_duration, slow_call_rate)
        whole("CountWindow.minimum_calls", minimum_calls, 1, self.size)
        self.mask = (1 << 2 * self.size) - 1
        self.every_other = self.mask // 3

    def start(self) -> CountTally:
        """An empty window."""
        return CountTally(self)


class CountTally:
    """Two bits a call, the newest lowest: failed, slow. A success is a shift, and no shift at all while every bit is 0.

    Attributes:
        calls: the calls in the window.
        bits: their outcomes.
    """

    __slots__ = ("bits", "calls", "limits")

    edge = NEVER

    def __init__(self, limits: CountWindow) -> None:
        self.limits = limits
        self.bits = 0
        self.calls = 0

    def record(self, now: float, failed: bool, slow: bool) -> None:
        """Add one outcome; the oldest leaves when the window is full."""
        limits = self.limits
        self.bits = (self.bits << 2 | slow << 1 | failed) & limits.mask
        if self.calls < limits.size:
            self.calls += 1

    def totals(self, now: float) -> tuple[int, int, int]:
        """Calls, failures and slow calls in the window."""
        every_other = self.limits.every_other
        return self.calls, (self.bits & every_other).bit_count(), (self.bits >> 1 & every_other).bit_count()

    def tripped(self, now: float) -> bool:
        """Whether the breaker must open."""
        return self.limits.tripped(*self.totals(now))

    def watchful(self) -> bool:
        """Whether a success may open the breaker, by being the call that makes the minimum."""
        return self.bits != 0 and self.calls < self.limits.minimum_calls

    def clear(self) -> None:
        """Forget all calls."""
        self.bits = 0
        self.calls = 0


class TimeWindow(_Limits):
    """The calls of the last *seconds*, in *buckets*: exact to one bucket's width."""

    __slots__ = ("buckets", "seconds", "width")

    def __init__(
        self,
        seconds: float = 60.0,
        failure_rate: float = 0.5,
        minimum_calls: int = 10,
        *,
        buckets: int = 10,
        slow_call_duration: float | None = None,
        slow_call_rate: float = 1.0,
    ) -> None:
        self.seconds = number("TimeWindow.seconds", seconds, SHORTEST)
        self.buckets = whole("TimeWindow.buckets", buckets, 1, 1000)
        super().__init__(failure_rate, minimum_calls, slow_call_duration, slow_call_rate)
        self.width = self.seconds / self.buckets

    def start(self) -> TimeTally:
        """An empty window."""
        return TimeTally(self)


class TimeTally:
    """A ring of buckets. Calls of the newest one are counted in `current` without a lock, until the clock reaches `edge`.

    Attributes:
        current: calls in the newest bucket.
        edge: the time at which the newest bucket ends.
    """

    __slots__ = ("_calls", "_failures", "_slot", "_slow", "current", "edge", "limits")

    def __init__(self, limits: TimeWindow) -> None:
        self.limits = limits
        self.clear()

    def clear(self) -> None:
        """Forget all calls."""
        count = self.limits.buckets
        self.current = 0
        self.edge = NEVER
        self._slot = 0
        self._calls = [0] * count
        self._failures = [0] * count
        self._slow = [0] * count

    def record(self, now: float, failed: bool, slow: bool) -> None:
        """Add one outcome at *now*; a clock that steps back counts into the newest bucket."""
        if now >= self.edge:
            self._roll(now)
        self.current += 1
        index = self._slot % self.limits.buckets
        self._failures[index] += failed
        self._slow[index] += slow

    def totals(self, now: float) -> tuple[int, int, int]:
        """Calls, failures and slow calls of the buckets that reach into the window at *now*; nothing changes by looking."""
        gone = max(0, int(now // self.limits.width) - self._slot) if self.edge != NEVER else 0
        kept = [slot % self.limits.buckets for slot in range(self._slot - self.limits.buckets + 1 + gone, self._slot + 1)]
        current = self.current if kept else 0
        return (
            current + sum(self._calls[index] for index in kept),
            sum(self._failures[index] for index in kept),
            sum(self._slow[index] for index in kept),
        )

    def tripped(self, now: float) -> bool:
        """Whether the breaker must open."""
        return self.limits.tripped(*self.totals(now))

    def watchful(self) -> bool:
        """Whether a success may open the breaker, by being the call that makes the minimum."""
        if not (any(self._failures) or any(self._slow)):
            return False
        return self.current + sum(self._calls) < self.limits.minimum_calls

    def _roll(self, now: float) -> None:
        """Begin the bucket that *now* belongs to; however long the gap, at most every bucket is emptied once."""
        limits, slot = self.limits, int(now // self.limits.width)
        if self.edge == NEVER:
            self._slot = slot
        self._calls[self._slot % limits.buckets] = self.current
        for gone in range(max(self._slot + 1, slot - limits.buckets + 1), slot + 1):
            index = gone % limits.buckets
            self._calls[index] = self._failures[index] = self._slow[index] = 0
        self._slot = slot
        self.current = 0
        # Not slot * width + width: the edge must be the first number that belongs to the next bucket, for every float.
        self.edge = (slot + 1) * limits.width


def _fraction(share: float) -> tuple[int, int]:
    """*share* as people wrote it, as a numerator and a denominator: 0.1 is 1/10."""
    for digits in range(16):
        denominator: int = 10**digits
        numerator = round(share * denominator)
        if numerator / denominator == share:
            return numerator, denominator
    return share.as_integer_ratio()


def window_or_none(field: str, value: object) -> Window | None:
    """*value* when it is a window or None; else ConfigurationError."""
    if value is None or isinstance(value, (CountWindow, TimeWindow)):
        return value
    raise ConfigurationError(field, value, "a CountWindow, a TimeWindow or None for failures in a row")
