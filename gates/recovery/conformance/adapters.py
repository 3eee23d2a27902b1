"""What an implementation is asked through, and what it is told where it does not conform."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any


class Nonconforming(AssertionError):  # noqa: N818 - what the implementation is
    """The implementation does not do what the check's sentence says."""


class Breakers:
    """An adapter to breakers that guard coroutine functions.

    Attributes:
        name: of the implementation.
        rejection: what an open breaker raises.
        seconds: the time open, in seconds; everything else scales with it.
        business: an error that the breakers of `make` are told not to count.
    """

    name = ""
    rejection: type[Exception] | tuple[type[Exception], ...] = ()
    seconds = 0.15
    business: type[Exception] = LookupError

    def make(self, failures: int) -> Any:
        """A closed breaker that opens after so many failures in a row, for `seconds`, and closes after one good probe."""
        raise NotImplementedError

    async def call(self, breaker: Any, function: Callable[[], Awaitable[Any]]) -> Any:
        """Call *function* under *breaker*."""
        raise NotImplementedError

    def state(self, breaker: Any) -> str:
        """`closed`, `open` or `half_open`."""
        raise NotImplementedError


class Retries:
    """An adapter to retries of coroutine functions.

    Attributes:
        name: of the implementation.
    """

    name = ""

    def retried(
        self, function: Callable[[], Awaitable[Any]], attempts: int, delay: float, deadline: float | None = None
    ) -> Callable[[], Awaitable[Any]]:
        """*function* with so many attempts, *delay* seconds apart without jitter, and *deadline* seconds for everything."""
        raise NotImplementedError
