"""The fallback: something worse instead of nothing."""

from __future__ import annotations

from gates.recovery.configuration import ConfigurationError, callable_
from gates.recovery.weaving import ASYNC, GENERATOR, Step, colour_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gates.recovery.weaving import Source


class Fallback(Step):
    """Answers in place of a call that failed. What is no Exception (a cancelled task, Ctrl-C) is never answered for.

    Attributes:
        function: takes the error and gives the answer; around a coroutine function it may be one too.
        on: the types of errors that it answers for.
    """

    __slots__ = ("function", "on")

    def __init__(
        self, function: Callable[[Exception], Any], on: type[Exception] | tuple[type[Exception], ...] = Exception
    ) -> None:
        callable_("Fallback.function", function)
        kinds = on if isinstance(on, tuple) else (on,)
        if not kinds or not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
            raise ConfigurationError("Fallback.on", on, "a subclass of Exception or several")
        self.function = function
        self.on = kinds

    @classmethod
    def value(cls, answer: object, on: type[Exception] | tuple[type[Exception], ...] = Exception) -> Fallback:
        """A fallback that is always the same *answer*."""
        return cls(lambda error: answer, on)

    def weave(self, source: Source, inner: Callable[[], None]) -> None:
        """Write the answer after the failure."""
        colour = colour_of(self.function)
        if source.colour == GENERATOR or source.block_only:
            raise ConfigurationError("Fallback", source.name, "a function or coroutine function: a block has no answer")
        if colour not in ("sync", source.colour):
            raise ConfigurationError("Fallback.function", self.function, f"a {source.colour} function, as {source.name} is one")
        with source.block("try:"):
            inner()
        with source.block(f"except {source.bind(self.on, 'kinds')} as _r_error:"):
            waits = "await " if colour == ASYNC else ""
            source.line(f"_r_result = {waits}{source.bind(self.function, 'fallback')}(_r_error)")
