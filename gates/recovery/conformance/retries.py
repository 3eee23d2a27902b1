"""What a retry must do, a check each."""

from __future__ import annotations

from gates.recovery.conformance.acting import awaited, must, quietly, settle
from gates.recovery.conformance.adapters import Retries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any


async def makes_its_attempts(retries: Retries) -> None:
    """Three attempts are three calls."""
    calls = await _calls(retries, 3, 0.0)
    must(len(calls) == 3, f"three attempts made {len(calls)} calls")


async def no_attempt_after_the_deadline(retries: Retries) -> None:
    """No attempt starts at or after the total deadline."""
    import asyncio

    calls = await asyncio.wait_for(_calls(retries, 10, 0.04, 0.05), 5)
    late = max(calls) - calls[0]
    must(late < 0.05, f"an attempt started after {1000 * late:.0f} ms under a deadline of 50 ms")


async def deadline_interrupts_a_hung_attempt(retries: Retries) -> None:
    """An attempt that hangs ends with the deadline."""
    import asyncio

    loop = asyncio.get_running_loop()
    started = loop.time()

    async def hang() -> None:
        await asyncio.sleep(0.3)
        raise ConnectionError

    await quietly(retries.retried(hang, 2, 0.0, 0.05))
    took = loop.time() - started
    must(took < 0.1, f"a hung attempt under a deadline of 50 ms took {1000 * took:.0f} ms")


async def cancellation_passes(retries: Retries) -> None:
    """A cancelled call ends at once and is not tried again."""
    import asyncio

    calls: list[int] = []

    async def hang() -> None:
        calls.append(1)
        await asyncio.sleep(3)

    task = asyncio.ensure_future(awaited(retries.retried(hang, 3, 0.0)))
    await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    must(task.cancelled() and len(calls) == 1, f"a cancelled call was tried {len(calls)} times")


async def nested_layers_do_not_multiply(retries: Retries) -> None:
    """Three layers of four attempts make at most five calls."""
    calls: list[int] = []

    async def operation() -> None:
        calls.append(1)
        raise ConnectionError

    layered: Callable[[], Awaitable[Any]] = operation
    for _ in range(3):
        layered = retries.retried(layered, 4, 0.0)
    await quietly(layered)
    must(len(calls) <= 5, f"three layers of four attempts made {len(calls)} calls")


async def sleeps_only_between(retries: Retries) -> None:
    """There is no pause after the last attempt."""
    import asyncio

    loop = asyncio.get_running_loop()
    calls = await _calls(retries, 2, 0.1)
    must(loop.time() - calls[-1] < 0.05, "it slept after the last attempt")


CHECKS = (
    makes_its_attempts,
    no_attempt_after_the_deadline,
    deadline_interrupts_a_hung_attempt,
    cancellation_passes,
    nested_layers_do_not_multiply,
    sleeps_only_between,
)


async def _calls(retries: Retries, attempts: int, delay: float, deadline: float | None = None) -> list[float]:
    """The moments at which an operation that always fails was called."""
    import asyncio

    loop = asyncio.get_running_loop()
    moments: list[float] = []

    async def operation() -> None:
        moments.append(loop.time())
        raise ConnectionError

    await quietly(retries.retried(operation, attempts, delay, deadline))
    return moments
