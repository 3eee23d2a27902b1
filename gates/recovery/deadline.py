"""How long something may take: one attempt (`TimeLimit`), or everything together (`Deadline`).

A deadline is passed down: by a context variable every retry further in knows how much time is left, makes no attempt and
sleeps no sleep that does not fit, and `remaining()` says what to hand on to the next service.
"""

from __future__ import annotations

import time
from _contextvars import ContextVar

from gates.recovery.configuration import ConfigurationError, callable_, number
from gates.recovery.errors import DeadlineExceeded, Timeout
from gates.recovery.timer import Timer
from gates.recovery.weaving import ASYNC, Step, refuse_generators

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token

    from gates.recovery.weaving import Source


class Bound:
    """A moment on a clock after which nothing begins."""

    __slots__ = ("at", "clock")

    def __init__(self, at: float, clock: Callable[[], float]) -> None:
        self.at = at
        self.clock = clock

    def remaining(self) -> float:
        """Seconds left; negative when it is over."""
        return self.at - self.clock()


deadlines: list[bool] = []
"""Not empty once there was a deadline in this process; until then nobody asks for one."""

bound: ContextVar[Bound | None] = ContextVar("gates.recovery.deadline", default=None)


def remaining() -> float | None:
    """Seconds left of the deadline that this code runs under, at least 0; None when it runs under none."""
    known = bound.get()
    return None if known is None else max(0.0, known.remaining())


class TimeLimit(Step):
    """Interrupts a coroutine function after so many seconds, with Timeout.

    A function that is no coroutine can't be interrupted, so it is refused when it is decorated. When a task is cancelled from
    outside in the same tick, the cancellation wins. The time is the event loop's.
    """

    __slots__ = ("_timer", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = number("TimeLimit.seconds", seconds, 0.0, above=True)
        self._timer = Timer(self.seconds)

    def weave(self, source: Source, inner: Callable[[], None]) -> None:
        """Write the alarm around the call."""
        if source.colour != ASYNC:
            raise ConfigurationError("TimeLimit", source.name, "a coroutine function: nothing else can be interrupted")
        weave_alarm(source, inner, self._timer, lambda: Timeout[Exception](self.seconds))


class Deadline(Step):
    """So many seconds for everything further in, retries and pauses included.

    Where it is over before the first call, DeadlineExceeded is raised and nothing is called. A coroutine is interrupted in the
    middle. A function can't be: its retries end at the first failure after the deadline, and a result that comes late is
    returned, because the work is done. A tighter deadline further out stays in force.
    """

    __slots__ = ("_timer", "clock", "seconds")

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = number("Deadline.seconds", seconds, 0.0, above=True)
        callable_("Deadline.clock", clock)
        self.clock = clock
        self._timer = Timer(self.seconds)
        deadlines[:] = [True]

    def weave(self, source: Source, inner: Callable[[], None]) -> None:
        """Write the bound, and for coroutines the alarm."""
        self.weave_telling(source, inner, lambda: DeadlineExceeded[None](0, None))

    def weave_telling(self, source: Source, inner: Callable[[], None], error: Callable[..., Exception], told: str = "") -> None:
        """Write the bound and the alarm; what is interrupted raises *error*, made of the local *told* if there is one."""
        refuse_generators("Deadline", source)
        token, variable = source.local("bound"), source.bind(bound, "variable")
        source.line(f"{token} = {source.bind(self.begin, 'begin')}()")
        with source.block("try:"):
            if source.colour == ASYNC:
                weave_alarm(source, inner, self._timer, error, told)
            else:
                inner()
        with source.block("finally:"):
            # The error holds this frame by its traceback, so what it was made of must not be held here.
            source.line(f"{variable}.reset({token})", *([f"{told} = None"] if told else []))

    def begin(self) -> Token[Bound | None]:
        """Put the deadline in force from now on. Raises DeadlineExceeded when one further out is over."""
        outer = bound.get()
        left = self.seconds if outer is None else outer.remaining()
        if left <= 0.0:
            raise DeadlineExceeded(0, None)
        if outer is not None and left < self.seconds:
            return bound.set(outer)
        return bound.set(Bound(self.clock() + self.seconds, self.clock))


def weave_alarm(
    source: Source, inner: Callable[[], None], timer: Timer, error: Callable[..., Exception], told: str = ""
) -> None:
    """Write *timer* around *inner*; what it interrupts raises *error*, made of the local *told* if there is one."""
    alarm, end = source.local("alarm"), source.bind(timer.end, "end")
    source.line(f"{alarm} = {source.bind(timer.begin, 'begin')}()")
    with source.block("try:"):
        inner()
    with source.block("except BaseException as _r_error:"):
        with source.block(f"if {end}({alarm}, _r_error):"):
            source.line(f"raise {source.bind(error, 'error')}({told}) from _r_error")
        source.line("raise")
    source.line(f"{end}({alarm}, None)")
