"""What is compared: each operation bare, and guarded by ours and by every peer that is installed."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

from recovery_peers import BREAKERS, LONG, RETRIES, Operation

from gates.recovery import (
    Bulkhead,
    CircuitBreaker,
    CircuitBreakerConfig,
    Constant,
    CountWindow,
    Exponential,
    Policy,
    Retry,
    RetryBudget,
    TimeLimit,
    TimeWindow,
)


class Unavailable(ConnectionError):
    """The operation's own failure."""


class ConnectionLost(Exception):  # noqa: N818 - a peer classifies errors by their names
    """A plain error, without what OSError adds."""


def answer(value: int) -> int:
    return value


async def answer_async(value: int) -> int:
    return value


def broken(value: int) -> int:
    raise Unavailable


async def broken_async(value: int) -> int:
    raise Unavailable


def failing_twice() -> Operation:
    fails = itertools.cycle((True, True, False)).__next__

    def operation(value: int) -> int:
        if fails():
            raise ConnectionLost
        return value

    return operation


def failing_twice_async() -> Operation:
    fails = itertools.cycle((True, True, False)).__next__

    async def operation(value: int) -> int:
        if fails():
            raise ConnectionLost
        return value

    return operation


def thrice(operation: Operation) -> Operation:
    """Two failures and an answer, by hand."""

    def call(value: int) -> Any:
        for _ in range(3):
            try:
                return operation(value)
            except ConnectionLost:
                continue
        return None

    return call


def thrice_async(operation: Operation) -> Operation:
    """Two failures and an answer, by hand."""

    async def call(value: int) -> Any:
        for _ in range(3):
            try:
                return await operation(value)
            except ConnectionLost:
                continue
        return None

    return call


def no_sleep(seconds: float) -> None:
    return


async def no_sleep_async(seconds: float, result: object = None) -> None:
    return


def ours() -> dict[str, dict[str, Operation]]:
    """Our own cases beside those that peers have, too."""
    time_window = CircuitBreakerConfig(window=TimeWindow(60))
    slow = CircuitBreakerConfig(window=TimeWindow(60, slow_call_duration=10))
    listened = CircuitBreaker("listened")
    listened.listen(lambda event: None)
    own_sleep: Any = {"sleep": no_sleep, "sleep_async": no_sleep_async}
    budget = RetryBudget()
    fused = Policy(Retry(budget=budget), CircuitBreaker("fused"))
    fused_async = Policy(Retry(budget=budget), CircuitBreaker("fused"), Bulkhead(10))
    return {
        "sync success": {
            "gates.recovery breaker, count window": CircuitBreaker(config=CircuitBreakerConfig(window=CountWindow()))(answer),
            "gates.recovery breaker, time window": CircuitBreaker(config=time_window)(answer),
            "gates.recovery breaker, time window and slow calls": CircuitBreaker(config=slow)(answer),
            "gates.recovery retry + breaker + budget": fused(answer),
            "gates.recovery breaker with a listener": listened(answer),
        },
        "async success": {
            "gates.recovery retry + breaker + budget + bulkhead": fused_async(answer_async),
            "gates.recovery time limit": TimeLimit(10)(answer_async),
            "asyncio.timeout": timed(answer_async),
        },
        "sync two failures": {
            "gates.recovery retry": Retry(4, Exponential(), **own_sleep)(failing_twice()),
            "gates.recovery retry, zero delay": Retry(4, Constant(0))(failing_twice()),
        },
        "async two failures": {
            "gates.recovery retry": Retry(4, Exponential(), **own_sleep)(failing_twice_async()),
            "gates.recovery retry, zero delay": Retry(4, Constant(0))(failing_twice_async()),
        },
    }


def asking() -> dict[str, Operation]:
    """Asking an open breaker for a permit, without an error; the bare call asks nothing."""
    breaker = CircuitBreaker("open", CircuitBreakerConfig(1, LONG))
    breaker.acquire().failed(Unavailable())
    ask = breaker.try_acquire
    return {"bare": lambda value: None, "gates.recovery try_acquire()": lambda value: ask()}


def timed(function: Operation) -> Operation:
    async def call(value: int) -> Any:
        async with asyncio.timeout(10):
            return await function(value)

    return call


def cases(missing: set[str]) -> dict[str, dict[str, Operation]]:
    """The tables: what is measured, by name, the bare call first."""
    tables: dict[str, dict[str, Operation]] = {
        "sync success": {"bare": answer},
        "async success": {"bare": answer_async},
        "sync rejection": {"bare": broken},
        "async rejection": {"bare": broken_async},
        "sync two failures": {"bare": thrice(failing_twice())},
        "async two failures": {"bare": thrice_async(failing_twice_async())},
        "sync asking": asking(),
    }
    for kind in BREAKERS:
        try:
            adapter = kind()
            add_breaker(tables, adapter)
        except ImportError:
            missing.add(kind.__name__)
    for retries in RETRIES:
        try:
            add_retry(tables, retries())
        except ImportError:
            missing.add(retries.__name__)
    for table, own in ours().items():
        tables[table].update(own)
    return tables


def add_breaker(tables: dict[str, dict[str, Operation]], adapter: Any) -> None:
    label = "gates.recovery breaker" if adapter.name == "gates.recovery" else adapter.name
    colours = {"hyx": ("async",), "pybreaker": ("sync",)}.get(adapter.name, ("sync", "async"))
    for colour in colours:
        good, bad = (answer, broken) if colour == "sync" else (answer_async, broken_async)
        name = label if adapter.name != "hyx" else "hyx breaker"
        tables[f"{colour} success"][name] = adapter.guard(adapter.make(5, LONG), good)
        rejecting = adapter.guard(adapter.make(1, LONG), bad)
        try:
            asyncio.run(awaited(rejecting)) if colour == "async" else rejecting(1)
        except Exception:
            tables[f"{colour} rejection"][adapter.name] = rejecting


async def awaited(function: Callable[[int], Awaitable[Any]]) -> Any:
    return await function(1)


def add_retry(tables: dict[str, dict[str, Operation]], adapter: Any) -> None:
    colours = ("async",) if adapter.name == "hyx" else ("sync", "async")
    for colour in colours:
        good = answer if colour == "sync" else answer_async
        bad = failing_twice() if colour == "sync" else failing_twice_async()
        tables[f"{colour} success"][f"{adapter.name} retry"] = adapter.retried(good, 4, 0.001)
        if adapter.name != "gates.recovery":
            tables[f"{colour} two failures"][f"{adapter.name} retry"] = adapter.retried(bad, 4, 0.001)
