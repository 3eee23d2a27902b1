"""`CircuitBreaker.call` and what an error asks for: what a breaker makes of answers and errors that are not plain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator

import pytest

from gates.recovery import CircuitBreaker, CircuitBreakerConfig, CircuitState, ConfigurationError, Outcome, Retry
from gates.recovery.events import Event
from gates.recovery.testing import VirtualClock


class SilentError(ConnectionError):
    """An error that fails when it is asked how long to wait."""

    @property
    def retry_after(self) -> float:
        raise LookupError


def test_a_generator_that_is_called_is_guarded_to_its_end() -> None:
    """Its failure comes with an item, long after the call."""
    breaker = CircuitBreaker("api", CircuitBreakerConfig(1))

    def items() -> Iterator[int]:
        yield 1
        raise ConnectionError

    with pytest.raises(ConnectionError):
        list(breaker.call(items))
    assert breaker.state is CircuitState.OPEN


def test_a_call_that_gives_an_awaitable_is_no_outcome_until_that_was_awaited() -> None:
    """A listener hears that the call itself said nothing, and then what came of the awaitable."""
    breaker = CircuitBreaker("api")
    heard: list[object] = []

    def listen(event: Event) -> None:
        heard.append(event.detail["outcome"])

    breaker.listen(listen)

    async def fetch() -> int:
        return 1

    def without_colour() -> Awaitable[int]:
        return fetch()

    async def call() -> int:
        return await breaker.call(without_colour)

    assert asyncio.run(call()) == 1
    assert heard == [Outcome.IGNORED, Outcome.SUCCESS]


def test_an_error_that_can_not_be_asked_how_long_to_wait_asks_for_nothing() -> None:
    """The breaker is open for as long as it would be anyway."""
    clock = VirtualClock(0.0)
    breaker = CircuitBreaker("api", CircuitBreakerConfig(1, recovery_timeout=0.25), clock=clock)

    def refuse() -> None:
        raise SilentError

    with pytest.raises(SilentError):
        breaker.call(refuse)
    assert breaker.snapshot().retry_after == 0.25


def test_what_a_retry_wraps_is_a_flag_and_named_as_such() -> None:
    """The error says which field it was."""
    with pytest.raises(ConfigurationError, match=r"^Retry\.wraps_permanent"):
        Retry(wraps_permanent="yes")  # type: ignore[arg-type]
