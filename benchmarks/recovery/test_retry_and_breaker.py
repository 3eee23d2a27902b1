"""What retry and circuit breaker cost a call: the healthy paths, two failures, and a rejection.

Clock, random generator and sleep are the test's own, so that a pause costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from typing import Any

import pytest

from gates.recovery import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerOpen, Constant, Retry

Benchmark = Callable[..., Any]


class Unavailable(Exception):
    """The operation's own failure."""


def answer() -> int:
    return 42


def failing_twice() -> Callable[[], int]:
    """An operation that fails two times and then answers, over and over."""
    outcomes: Iterator[bool] = cycle((False, False, True))

    def operation() -> int:
        if next(outcomes):
            return 42
        raise Unavailable

    return operation


def no_sleep(seconds: float) -> None:
    """The pause between attempts, left out."""


@pytest.mark.parametrize("place", range(5))
def test_calibration(benchmark: Benchmark, place: int) -> None:
    """A plain call through an exception handler: what the others are held against, run at several places."""

    def plain() -> int:
        try:
            return answer()
        except Unavailable:
            return 0

    assert benchmark(plain) == 42


@pytest.mark.benchmark(group="retry")
def test_success(benchmark: Benchmark) -> None:
    """The first attempt succeeds."""
    assert benchmark(Retry(attempts=4)(answer)) == 42


@pytest.mark.benchmark(group="retry")
def test_two_failures(benchmark: Benchmark) -> None:
    """Two attempts fail and the third succeeds, without the pauses."""
    assert benchmark(Retry(attempts=4, backoff=Constant(0.001), sleep=no_sleep)(failing_twice())) == 42


@pytest.mark.benchmark(group="breaker")
def test_closed(benchmark: Benchmark) -> None:
    """A closed breaker admits a call that succeeds."""
    assert benchmark(CircuitBreaker("prices")(answer)) == 42


@pytest.mark.benchmark(group="breaker")
def test_rejection(benchmark: Benchmark) -> None:
    """An open breaker refuses."""
    breaker = CircuitBreaker("prices", CircuitBreakerConfig(failure_threshold=1, recovery_timeout=3600.0))

    @breaker
    def refused() -> int:
        raise Unavailable

    with pytest.raises(Unavailable):
        refused()

    def caller() -> bool:
        try:
            refused()
        except CircuitBreakerOpen:
            return True
        return False

    assert benchmark(caller)


@pytest.mark.benchmark(group="combined")
def test_retry_and_breaker(benchmark: Benchmark) -> None:
    """A retry around a closed breaker, the first attempt succeeds."""
    assert benchmark(Retry(attempts=4)(CircuitBreaker("prices")(answer))) == 42
