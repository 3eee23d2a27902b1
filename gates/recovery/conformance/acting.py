"""How the checks act on what they check."""

from __future__ import annotations

from gates.recovery.conformance.adapters import Nonconforming

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any


def must(condition: bool, otherwise: str) -> None:
    """Raise Nonconforming with the sentence *otherwise* unless *condition* holds."""
    if not condition:
        raise Nonconforming(otherwise)


def raiser(error: BaseException) -> Callable[[], Awaitable[None]]:
    """An operation that raises *error*."""

    async def operation() -> None:
        raise error

    return operation


async def awaited(function: Callable[[], Awaitable[Any]]) -> Any:
    """What *function* answers; a coroutine, which a task can be made of."""
    return await function()


async def quietly(function: Callable[[], Awaitable[Any]]) -> None:
    """Call *function*, whatever error it raises."""
    try:
        await function()
    except Exception:
        return


async def settle() -> None:
    """Let every task run until it waits."""
    import asyncio

    for _ in range(10):
        await asyncio.sleep(0)
