"""What a circuit breaker must do, a check each."""

from __future__ import annotations

from gates.recovery.conformance.acting import awaited, must, raiser, settle
from gates.recovery.conformance.adapters import Breakers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

CALLERS = 50


async def opens_at_its_threshold(breakers: Breakers) -> None:
    """Three failures in a row open it, and two do not."""
    breaker = breakers.make(3)
    await _fail(breakers, breaker, 2)
    must(breakers.state(breaker) == "closed", "two failures opened it, where three should")
    await _fail(breakers, breaker, 1)
    must(breakers.state(breaker) == "open", "three failures in a row did not open it")


async def rejects_without_calling(breakers: Breakers) -> None:
    """Open, it raises its rejection and the operation is not reached."""
    breaker = await _opened(breakers)
    must(await _outcome(breakers, breaker, _answer) == "rejected", "an open breaker called the operation")


async def closes_after_a_good_probe(breakers: Breakers) -> None:
    """When the time is up, a probe that answers closes it."""
    breaker = await _opened(breakers)
    await _wait(breakers)
    must(await _outcome(breakers, breaker, _answer) == "answered", "it admitted no probe when its time was up")
    must(breakers.state(breaker) == "closed", "a good probe did not close it")


async def business_errors_do_not_trip(breakers: Breakers) -> None:
    """An error that it is told not to count opens nothing."""
    breaker = breakers.make(2)
    for _ in range(5):
        await _outcome(breakers, breaker, raiser(breakers.business()))
    must(breakers.state(breaker) == "closed", "business errors opened it")


async def stampede(breakers: Breakers) -> None:
    """Of fifty callers at the moment of expiry one is admitted."""
    import asyncio

    breaker = await _opened(breakers)
    await _wait(breakers)
    release = asyncio.Event()
    inside: list[int] = []

    async def slow() -> None:
        inside.append(1)
        await release.wait()

    callers = [asyncio.ensure_future(_outcome(breakers, breaker, slow)) for _ in range(CALLERS)]
    await settle()
    admitted = len(inside)
    release.set()
    await asyncio.gather(*callers)
    must(admitted == 1, f"{admitted} of {CALLERS} callers were admitted half-open")


async def cancel_closed(breakers: Breakers) -> None:
    """Cancelled calls are no failures."""
    breaker = breakers.make(1)
    await _cancelled_call(breakers, breaker)
    must(breakers.state(breaker) == "closed", "a cancelled call opened it")


async def cancel_resets(breakers: Breakers) -> None:
    """Cancelled calls are no successes either: failure, cancel, failure opens at two."""
    breaker = breakers.make(2)
    await _fail(breakers, breaker, 1)
    await _cancelled_call(breakers, breaker)
    must(breakers.state(breaker) == "closed", "a cancelled call counted as a failure")
    await _fail(breakers, breaker, 1)
    must(breakers.state(breaker) == "open", "a cancelled call wiped the failures out")


async def cancel_half_open(breakers: Breakers) -> None:
    """A cancelled probe neither closes nor opens, and the next call is admitted."""
    breaker = await _opened(breakers)
    await _wait(breakers)
    await _cancelled_call(breakers, breaker)
    must(breakers.state(breaker) != "closed", "a cancelled probe closed it")
    must(await _outcome(breakers, breaker, _answer) == "answered", "after a cancelled probe nobody was admitted")


async def late_success(breakers: Breakers) -> None:
    """A call that began before the trip and answers after it does not close."""
    breaker, late = await _opened_with_a_call_inside(breakers, _answer)
    await late()
    must(breakers.state(breaker) == "open", "a late success closed an open breaker")


async def late_failure_half_open(breakers: Breakers) -> None:
    """A call that began before the trip and fails during the probe changes nothing; the good probe closes."""
    import asyncio

    breaker, late = await _opened_with_a_call_inside(breakers, raiser(ConnectionError()))
    await _wait(breakers)
    release = asyncio.Event()
    probe = asyncio.ensure_future(_outcome(breakers, breaker, release.wait))
    await settle()
    await late()
    during = breakers.state(breaker)
    release.set()
    outcome = await probe
    must(during == "half_open" and outcome == "answered", f"a late failure made it {during} with a good probe in flight")
    must(breakers.state(breaker) == "closed", "a late failure kept it from closing")


async def system_exit(breakers: Breakers) -> None:
    """What is no Exception is no failure."""
    breaker = breakers.make(1)
    try:
        await breakers.call(breaker, raiser(GeneratorExit()))
    except GeneratorExit:
        must(breakers.state(breaker) == "closed", "an interruption opened it")
    else:
        must(False, "an interruption was swallowed")


async def traceback_growth(breakers: Breakers) -> None:
    """The two-hundredth rejection has no longer a traceback than the first."""
    breaker = await _opened(breakers)
    depths = [await _depth(breakers, breaker) for _ in range(200)]
    must(depths[-1] == depths[0], f"the traceback of the 200th rejection has {depths[-1]} entries, of the first {depths[0]}")


TRAPS = (
    stampede,
    cancel_closed,
    cancel_resets,
    cancel_half_open,
    late_success,
    late_failure_half_open,
    system_exit,
    traceback_growth,
)
CHECKS = (
    opens_at_its_threshold,
    rejects_without_calling,
    closes_after_a_good_probe,
    business_errors_do_not_trip,
    *TRAPS,
)


async def _answer() -> str:
    return "answer"


async def _wait(breakers: Breakers) -> None:
    import asyncio

    await asyncio.sleep(breakers.seconds * 1.1)


async def _outcome(breakers: Breakers, breaker: Any, function: Callable[[], Awaitable[Any]]) -> str:
    try:
        await breakers.call(breaker, function)
    except breakers.rejection:
        return "rejected"
    except Exception:
        return "failed"
    return "answered"


async def _fail(breakers: Breakers, breaker: Any, times: int) -> None:
    for _ in range(times):
        await _outcome(breakers, breaker, raiser(ConnectionError()))


async def _opened(breakers: Breakers) -> Any:
    breaker = breakers.make(1)
    await _fail(breakers, breaker, 1)
    must(breakers.state(breaker) == "open", "a failure did not open it")
    return breaker


async def _opened_with_a_call_inside(
    breakers: Breakers, end: Callable[[], Awaitable[Any]]
) -> tuple[Any, Callable[[], Awaitable[Any]]]:
    """A breaker that opened while a call was inside, and a function that lets that call come to its *end*."""
    import asyncio

    breaker, release = breakers.make(1), asyncio.Event()

    async def slow() -> Any:
        await release.wait()
        return await end()

    inside = asyncio.ensure_future(_outcome(breakers, breaker, slow))
    await settle()
    await _fail(breakers, breaker, 1)
    must(breakers.state(breaker) == "open", "a failure did not open it")

    async def late() -> Any:
        release.set()
        return await inside

    return breaker, late


async def _cancelled_call(breakers: Breakers, breaker: Any) -> None:
    import asyncio

    task = asyncio.ensure_future(awaited(lambda: breakers.call(breaker, asyncio.Event().wait)))
    await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _depth(breakers: Breakers, breaker: Any) -> int:
    try:
        await breakers.call(breaker, _answer)
    except breakers.rejection as error:
        depth, traceback = 0, error.__traceback__
        while traceback is not None:
            depth, traceback = depth + 1, traceback.tb_next
        return depth
    return 0
