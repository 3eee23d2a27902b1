"""How long to wait between attempts.

Every schedule is `delay(attempt, previous, draw)`: *attempt* counts from 1 and is the one that has just failed, *previous* is
the delay before it (0 at first), *draw* gives uniform numbers in [0, 1). All delays are seconds and stay inside the cap,
jitter included.
"""

from __future__ import annotations

from gates.recovery.configuration import ConfigurationError, callable_, choice, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Backoff(Protocol):
        """Anything with this method is a schedule."""

        def delay(self, attempt: int, previous: float, draw: Callable[[], float]) -> float:
            """Seconds to wait after failed attempt *attempt*."""


JITTERS = ("full", "equal", "decorrelated", "proportional", "none")


class Exponential:
    """The delay grows by *multiplier* with every attempt, up to *maximum*.

    With `w = min(maximum, max(spread, initial * multiplier ** (attempt - 1)))`:

    | jitter | delay |
    |---|---|
    | full | uniform in [0, w] |
    | equal | uniform in [w / 2, w] |
    | decorrelated | uniform in [initial, min(maximum, 3 * previous delay)] |
    | proportional | w to w * (1 + factor), never above maximum |
    | none | w |

    Attributes:
        spread: the least width of a window. The first window decides how high a herd's peak is, so widen it where many clients
            fail at the same instant.
    """

    __slots__ = ("_widths", "delay", "factor", "initial", "jitter", "maximum", "multiplier", "spread")

    delay: Callable[[int, float, Callable[[], float]], float]

    def __init__(
        self,
        initial: float = 0.1,
        maximum: float = 30.0,
        multiplier: float = 2.0,
        jitter: str = "full",
        *,
        factor: float = 0.1,
        spread: float = 0.0,
    ) -> None:
        self.initial = number("Exponential.initial", initial, 0.0)
        self.maximum = number("Exponential.maximum", maximum, self.initial)
        self.multiplier = number("Exponential.multiplier", multiplier, 1.0)
        self.jitter = choice("Exponential.jitter", jitter, JITTERS)
        self.factor = number("Exponential.factor", factor, 0.0, 1.0)
        self.spread = number("Exponential.spread", spread, 0.0, self.maximum)
        # Index 0 is no attempt; later ones than these are computed.
        self._widths = (0.0, *(self.window(attempt) for attempt in range(1, 33)))
        # The jitter is chosen once, not at every failure.
        self.delay = getattr(self, "_" + self.jitter)

    def window(self, attempt: int) -> float:
        """The seconds that jitter is drawn from after failed attempt *attempt*; no attempt is too high for it."""
        try:
            width = self.initial * self.multiplier ** (attempt - 1)
        except OverflowError:
            return self.maximum
        if width < self.spread:
            width = self.spread
        return width if width < self.maximum else self.maximum

    def _full(self, attempt: int, previous: float, draw: Callable[[], float]) -> float:
        return draw() * (self._widths[attempt] if attempt <= 32 else self.window(attempt))

    def _equal(self, attempt: int, previous: float, draw: Callable[[], float]) -> float:
        return (0.5 + 0.5 * draw()) * self.window(attempt)

    def _decorrelated(self, attempt: int, previous: float, draw: Callable[[], float]) -> float:
        before = previous if previous > self.initial else self.initial
        ceiling = min(self.maximum, max(3.0 * before, self.spread))
        return self.initial + draw() * (ceiling - self.initial)

    def _proportional(self, attempt: int, previous: float, draw: Callable[[], float]) -> float:
        return min(self.maximum, self.window(attempt) * (1.0 + self.factor * draw()))

    def _none(self, attempt: int, previous: float, draw: Callable[[], float]) -> float:
        return self.window(attempt)


class Constant:
    """The same delay after every attempt; *jitter* `full` draws it from [0, seconds], `equal` from [seconds / 2, seconds]."""

    __slots__ = ("jitter", "seconds")

    def __init__(self, seconds: float, jitter: str = "none") -> None:
        self.seconds = number("Constant.seconds", seconds, 0.0)
        self.jitter = choice("Constant.jitter", jitter, ("full", "equal", "none"))

    def delay(self, attempt: int, previous: float, draw: Callable[[], float]) -> float:
        """Seconds to wait."""
        if self.jitter == "none":
            return self.seconds
        return self.seconds * (draw() if self.jitter == "full" else 0.5 + 0.5 * draw())


class Custom:
    """A schedule of your own: *function* takes the failed attempt (from 1) and gives seconds.

    Its answer can only be checked when it is asked: one that is no number of at least 0 raises ConfigurationError then.
    """

    __slots__ = ("function",)

    def __init__(self, function: Callable[[int], float]) -> None:
        callable_("Custom.function", function)
        self.function = function

    def delay(self, attempt: int, previous: float, draw: Callable[[], float]) -> float:
        """Seconds to wait."""
        return number(f"Custom.function({attempt})", self.function(attempt), 0.0)


def schedule(field: str, value: object) -> Backoff:
    """*value* when it is a schedule; else ConfigurationError."""
    if not callable(getattr(value, "delay", None)):
        raise ConfigurationError(field, value, "Exponential, Constant, Custom or anything with their method `delay`")
    return value  # type: ignore[return-value]  # the line above is the check
