"""The Python peers of `gates.recovery`, behind the adapters of its conformance suite; imported when they are asked for."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable
from typing import Any

from gates.recovery import CircuitBreaker, CircuitBreakerConfig, CircuitBreakerOpen, Constant, ErrorClassifier, Retry
from gates.recovery.conformance import Breakers, Retries

Operation = Callable[..., Any]
LONG = 1e6


def _state(text: object) -> str:
    """One of the three words of the suite."""
    word = str(getattr(text, "name", text)).lower().replace("-", "_").replace("half_opened", "half_open")
    words = {"opened": "open", "openedstate": "open", "halfopenedstate": "half_open", "closedstate": "closed"}
    return {"working": "closed", "failing": "open", "recovering": "half_open", **words}.get(word, word)


class Ours(Breakers):
    name = "gates.recovery"
    rejection = CircuitBreakerOpen

    def make(self, failures: int, seconds: float | None = None) -> Any:
        config = CircuitBreakerConfig(failures, seconds or self.seconds, 1)
        return CircuitBreaker("peer", config, classifier=ErrorClassifier(permanent=self.business))

    async def call(self, breaker: Any, function: Callable[[], Awaitable[Any]]) -> Any:
        return await breaker(function)()

    def state(self, breaker: Any) -> str:
        return _state(breaker.state)

    def guard(self, breaker: Any, function: Operation) -> Operation:
        guarded: Operation = breaker(function)
        return guarded


class PyBreaker(Ours):
    name = "pybreaker"

    def __init__(self) -> None:
        import pybreaker

        self._module = pybreaker
        self.rejection = pybreaker.CircuitBreakerError

    def make(self, failures: int, seconds: float | None = None) -> Any:
        return self._module.CircuitBreaker(failures, seconds or self.seconds, exclude=[self.business])

    async def call(self, breaker: Any, function: Callable[[], Awaitable[Any]]) -> Any:
        # Its decorator only guards the making of a coroutine; its block guards the awaiting of one, too.
        with breaker.calling():
            return await function()

    def state(self, breaker: Any) -> str:
        return _state(breaker.current_state)


class AioBreaker(PyBreaker):
    name = "aiobreaker"

    def __init__(self) -> None:
        import aiobreaker

        self._module = aiobreaker
        self.rejection = aiobreaker.CircuitBreakerError

    async def call(self, breaker: Any, function: Callable[[], Awaitable[Any]]) -> Any:
        return await breaker(function)()

    def make(self, failures: int, seconds: float | None = None) -> Any:
        duration = datetime.timedelta(seconds=seconds or self.seconds)
        return self._module.CircuitBreaker(failures, duration, exclude=[self.business])


class CircuitBreakerPackage(Ours):
    name = "circuitbreaker"

    def __init__(self) -> None:
        import circuitbreaker

        self._module = circuitbreaker
        self.rejection = circuitbreaker.CircuitBreakerError

    def make(self, failures: int, seconds: float | None = None) -> Any:
        return self._module.CircuitBreaker(failures, seconds or self.seconds, ConnectionError, name=f"b{id(object())}")


class Purgatory(Ours):
    name = "purgatory"

    def __init__(self) -> None:
        import purgatory
        from purgatory.domain.model import OpenedState

        self._module = purgatory
        self.rejection = OpenedState

    def make(self, failures: int, seconds: float | None = None) -> Any:
        return self._module.AsyncCircuitBreakerFactory(failures, seconds or self.seconds, exclude=[self.business])

    async def call(self, breaker: Any, function: Callable[[], Awaitable[Any]]) -> Any:
        async with await breaker.get_breaker("peer"):
            return await function()

    def state(self, breaker: Any) -> str:
        context = next(iter(breaker.uow.contexts.breakers.values()), None)
        return "closed" if context is None else _state(context.state)

    def guard(self, breaker: Any, function: Operation) -> Operation:
        if asyncio.iscoroutinefunction(function):
            guarded: Operation = breaker("peer")(function)
        else:
            sync = self._module.SyncCircuitBreakerFactory(breaker.default_threshold, breaker.default_ttl)
            guarded = sync("peer")(function)
        return guarded


class Hyx(Ours):
    name = "hyx"

    def __init__(self) -> None:
        from hyx.circuitbreaker import consecutive_breaker
        from hyx.circuitbreaker.exceptions import BreakerFailing

        self._make = consecutive_breaker
        self.rejection = BreakerFailing

    def make(self, failures: int, seconds: float | None = None) -> Any:
        return self._make(ConnectionError, failures, seconds or self.seconds, 1)

    def state(self, breaker: Any) -> str:
        return _state(breaker.state.NAME)


class Redress(Ours):
    name = "redress"

    def __init__(self) -> None:
        import redress

        self._module = redress
        self.rejection = redress.CircuitOpenError

    def make(self, failures: int, seconds: float | None = None) -> Any:
        return self._module.CircuitBreaker(failure_threshold=failures, recovery_timeout_s=seconds or self.seconds)

    async def call(self, breaker: Any, function: Callable[[], Awaitable[Any]]) -> Any:
        return await self._module.AsyncPolicy(circuit_breaker=breaker).call(function)

    def guard(self, breaker: Any, function: Operation) -> Operation:
        if asyncio.iscoroutinefunction(function):
            policy = self._module.AsyncPolicy(circuit_breaker=breaker)

            async def guarded_async(value: int) -> Any:
                return await policy.call(lambda: function(value))

            return guarded_async
        plain = self._module.Policy(circuit_breaker=breaker)
        return lambda value: plain.call(lambda: function(value))


class OurRetries(Retries):
    name = "gates.recovery"

    def retried(
        self, function: Callable[[], Awaitable[Any]], attempts: int, delay: float, deadline: float | None = None
    ) -> Any:
        return Retry(attempts, Constant(delay), deadline=deadline)(function)


class Tenacity(Retries):
    name = "tenacity"

    def retried(
        self, function: Callable[[], Awaitable[Any]], attempts: int, delay: float, deadline: float | None = None
    ) -> Any:
        import tenacity

        stop: Any = tenacity.stop_after_attempt(attempts)
        if deadline is not None:
            stop = tenacity.stop_any(stop, tenacity.stop_before_delay(deadline))
        return tenacity.retry(stop=stop, wait=tenacity.wait_fixed(delay))(function)


class Stamina(Retries):
    name = "stamina"

    def retried(
        self, function: Callable[[], Awaitable[Any]], attempts: int, delay: float, deadline: float | None = None
    ) -> Any:
        import stamina

        return stamina.retry(
            on=Exception, attempts=attempts, timeout=deadline, wait_initial=delay, wait_max=delay, wait_jitter=0
        )(function)


class Backoff(Retries):
    name = "backoff"

    def retried(
        self, function: Callable[[], Awaitable[Any]], attempts: int, delay: float, deadline: float | None = None
    ) -> Any:
        import backoff

        return backoff.on_exception(
            backoff.constant, Exception, max_tries=attempts, max_time=deadline, interval=delay, jitter=None
        )(function)


class HyxRetries(Retries):
    """It has no total deadline."""

    name = "hyx"

    def retried(
        self, function: Callable[[], Awaitable[Any]], attempts: int, delay: float, deadline: float | None = None
    ) -> Any:
        from hyx.retry import retry

        return retry(on=Exception, attempts=attempts, backoff=delay)(function)


class RedressRetries(Retries):
    name = "redress"

    def retried(
        self, function: Callable[[], Awaitable[Any]], attempts: int, delay: float, deadline: float | None = None
    ) -> Any:
        import redress

        return redress.retry(
            strategy=lambda attempt, kind, before: delay,
            max_attempts=attempts,
            max_unknown_attempts=None,
            deadline_s=deadline or 60.0,
        )(function)


BREAKERS = (Ours, PyBreaker, AioBreaker, CircuitBreakerPackage, Purgatory, Hyx, Redress)
RETRIES = (OurRetries, Tenacity, Stamina, Backoff, HyxRetries, RedressRetries)
