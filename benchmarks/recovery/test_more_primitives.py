"""What the other primitives cost a call, and the asynchronous forms; their limits are those of `slowdown/*`.

Coroutines are driven by hand: nothing in them waits, and an event loop would cost more than what is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from gates.recovery import (
    Bulkhead,
    CircuitBreaker,
    DefaultErrorClassifier,
    Exponential,
    Policy,
    RateLimiter,
    Retry,
    RetryBudget,
)

Benchmark = Callable[..., Any]


async def answer() -> int:
    return 42


def plain_answer() -> int:
    return 42


def driven(operation: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """The result of a coroutine that never waits."""
    coroutine = operation()
    try:
        coroutine.send(None)
    except StopIteration as ending:
        return int(ending.value)
    raise AssertionError("it waited")


@pytest.mark.benchmark(group="retry")
def test_async_success(benchmark: Benchmark) -> None:
    """The first attempt of an asynchronous operation succeeds."""
    assert benchmark(driven, Retry(attempts=4)(answer)) == 42


@pytest.mark.benchmark(group="breaker")
def test_async_closed(benchmark: Benchmark) -> None:
    """A closed breaker admits an asynchronous call that succeeds."""
    assert benchmark(driven, CircuitBreaker("prices")(answer)) == 42


@pytest.mark.benchmark(group="bulkhead")
def test_free_place(benchmark: Benchmark) -> None:
    """A bulkhead with free places lets a call pass."""
    assert benchmark(Bulkhead(16)(plain_answer)) == 42


@pytest.mark.benchmark(group="limiter")
def test_within_rate(benchmark: Benchmark) -> None:
    """A limiter far from its rate lets a call pass."""
    assert benchmark(RateLimiter(1e9, burst=1_000_000_000).try_acquire)


@pytest.mark.benchmark(group="budget")
def test_deposit_and_withdraw(benchmark: Benchmark) -> None:
    """A budget takes a deposit and gives it back."""
    budget = RetryBudget(ratio=1.0)  # each deposit pays for one retry

    def both() -> bool:
        budget.deposit()
        return budget.withdraw()

    benchmark(both)


@pytest.mark.benchmark(group="classification")
def test_classify(benchmark: Benchmark) -> None:
    """An error that is no class of its own is classified by what it is."""
    classify, error = DefaultErrorClassifier().classify, ConnectionResetError("gone")
    benchmark(lambda: classify(error))


@pytest.mark.benchmark(group="combined")
def test_policy(benchmark: Benchmark) -> None:
    """Retry, breaker and bulkhead as one policy around an operation that succeeds."""
    policy = Policy(Retry(attempts=4, backoff=Exponential(0.01)), CircuitBreaker("prices"), Bulkhead(16))
    assert benchmark(policy(plain_answer)) == 42
