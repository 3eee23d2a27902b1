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

        def delay(self, attempt: int, previous: float, draw: Callable[[], float], /) -> float:
            """Seconds to wait after failed attempt *attempt*."""
            ...


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
        widths: with full jitter or none the pauses after the first 32 attempts, from index 1; empty otherwise.
        evenly: whether a drawn number times its width is the pause; else the width is.
        spread: the least width of a window. The first window decides how high a herd's peak is, so widen it where many clients
            fail at the same instant.
    """

    __slots__ = ("drawn", "evenly", "factor", "initial", "jitter", "maximum", "multiplier", "spread", "widths", "window")

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
        # Functions of the figures and not bound methods, which would hold the schedule that holds them.
        self.window: Callable[[int], float] = _windows(self.initial, self.maximum, self.multiplier, self.spread)
        # A retry computes with these itself, which saves a call.
        self.widths: tuple[float, ...] = ()
        self.evenly = False
        self.drawn: Callable[[int, float, Callable[[], float]], float] = _JITTERED[self.jitter](self)

    def delay(self, attempt: int, previous: float, draw: Callable[[], float]) -> float:
        """Seconds to wait. A retry calls `drawn` itself, which saves a call."""
        return self.drawn(attempt, previous, draw)


def _windows(initial: float, maximum: float, multiplier: float, spread: float) -> Callable[[int], float]:
    """The function from a failed attempt to the seconds that jitter is drawn from; no attempt is too high for it."""

    def window(attempt: int) -> float:
        try:
            width = initial * multiplier ** (attempt - 1)
        except OverflowError:
            return maximum
        return min(maximum, max(spread, width))

    return window


def _first(window: Callable[[int], float]) -> tuple[float, ...]:
    return (0.0, *(window(attempt) for attempt in range(1, 33)))


def _full(of: Exponential) -> Callable[[int, float, Callable[[], float]], float]:
    window = of.window
    of.widths, of.evenly = _first(window), True
    return lambda attempt, previous, draw: draw() * window(attempt)


def _equal(of: Exponential) -> Callable[[int, float, Callable[[], float]], float]:
    window = of.window
    return lambda attempt, previous, draw: (0.5 + 0.5 * draw()) * window(attempt)


def _decorrelated(of: Exponential) -> Callable[[int, float, Callable[[], float]], float]:
    initial, maximum, spread = of.initial, of.maximum, of.spread

    def delay(attempt: int, previous: float, draw: Callable[[], float]) -> float:
        ceiling = min(maximum, max(3.0 * max(previous, initial), spread))
        return initial + draw() * (ceiling - initial)

    return delay


def _proportional(of: Exponential) -> Callable[[int, float, Callable[[], float]], float]:
    window, maximum, factor = of.window, of.maximum, of.factor
    return lambda attempt, previous, draw: min(maximum, window(attempt) * (1.0 + factor * draw()))


def _none(of: Exponential) -> Callable[[int, float, Callable[[], float]], float]:
    window = of.window
    of.widths = _first(window)
    return lambda attempt, previous, draw: window(attempt)


_JITTERED = {"full": _full, "equal": _equal, "decorrelated": _decorrelated, "proportional": _proportional, "none": _none}
JITTERS = tuple(_JITTERED)


class Constant:
    """The same delay after every attempt; *jitter* `full` draws it from [0, seconds], `equal` from [seconds / 2, seconds].

    Attributes:
        widths: as an Exponential's.
        evenly: as an Exponential's.
    """

    __slots__ = ("evenly", "jitter", "seconds", "widths")

    def __init__(self, seconds: float, jitter: str = "none") -> None:
        self.seconds = number("Constant.seconds", seconds, 0.0)
        self.jitter = choice("Constant.jitter", jitter, ("full", "equal", "none"))
        self.evenly = jitter == "full"
        self.widths = () if jitter == "equal" else (self.seconds,) * 33

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
