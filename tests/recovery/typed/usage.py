"""What type checkers must see: signatures kept on functions, methods, generators and coroutines. Checked, never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, assert_type

from gates.recovery import (
    BreakerRegistry,
    CircuitBreaker,
    Constant,
    ErrorRecoveryConfig,
    ExhaustedRetries,
    Exponential,
    Policy,
    Retry,
    retry_with_backoff,
)

breaker = CircuitBreaker("typed")
policy = Policy(Retry(3, Exponential(0.1)), Retry(2, Constant(1.0)), breaker)


@policy
def function(item: str, *, amount: int = 1) -> float:
    return float(amount)


@Retry(3)
async def coroutine(item: str) -> float:
    return 1.0


@breaker
def generator(count: int) -> Iterator[int]:
    yield from range(count)


class Client:
    @policy
    def ask(self, question: str) -> int:
        return len(question)


def ask() -> int:
    return 42


async def ask_later() -> int:
    return 42


assert_type(function("bread", amount=2), float)
_: Callable[[str], Coroutine[Any, Any, float]] = coroutine
assert_type(generator(3), Iterator[int])
assert_type(Client().ask("why"), int)
assert_type(policy.call(function, "bread", amount=2), float)
assert_type(breaker.call(divmod, 7, 2), tuple[int, int])
assert_type(BreakerRegistry()["peer"].call(ask), int)
assert_type(retry_with_backoff(ask, ErrorRecoveryConfig.production()), int)


async def main() -> None:
    assert_type(await retry_with_backoff(ask_later), int)
    assert_type(await coroutine("bread"), float)


def handler(error: ExhaustedRetries[ConnectionError]) -> None:
    assert_type(error.last_error, ConnectionError)
    kept: Callable[..., float] = function
    kept("bread")


try:
    function("bread")
except ExhaustedRetries as ended:
    # Nothing says what the operation raises, and yet nothing is unknown.
    cause: Exception = ended.last_error


function(7)  # type: ignore[arg-type]
function("bread", colour="brown")  # type: ignore[call-arg]
Client().ask()  # type: ignore[call-arg]
