"""What a circuit breaker and a retry must do, as checks that any implementation can run.

Write an adapter (a subclass of `Breakers` or `Retries`), then `asyncio.run(check_all(adapter))`, or `testing.run` for virtual
time. Each check raises Nonconforming with one sentence about what was seen.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

CALLERS = 50


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


async def check_all(adapter: Breakers | Retries) -> dict[str, str]:
    """What each check says about *adapter*: an empty text where it conforms."""
    checks = BREAKER_CHECKS if isinstance(adapter, Breakers) else RETRY_CHECKS
    said: dict[str, str] = {}
    for check in checks:
        try:
            await check(adapter)  # type: ignore[arg-type]  # each list is of its adapter's checks
            said[check.__name__] = ""
        except Nonconforming as error:
            said[check.__name__] = str(error)
        except Exception as error:
            said[check.__name__] = f"raised {type(error).__name__}: {error}"
    return said


async def opens_at_its_threshold(breakers: Breakers) -> None:
    """Three failures in a row open it, and two do not."""
    breaker = breakers.make(3)
    await _fail(breakers, breaker, 2)
    _must(breakers.state(breaker) == "closed", "two failures opened it, where three should")
    await _fail(breakers, breaker, 1)
    _must(breakers.state(breaker) == "open", "three failures in a row did not open it")


async def rejects_without_calling(breakers: Breakers) -> None:
    """Open, it raises its rejection and the operation is not reached."""
    breaker = await _opened(breakers)
    _must(await _outcome(breakers, breaker, _answer) == "rejected", "an open breaker called the operation")


async def closes_after_a_good_probe(breakers: Breakers) -> None:
    """When the time is up, a probe that answers closes it."""
    breaker = await _opened(breakers)
    await _wait(breakers)
    _must(await _outcome(breakers, breaker, _answer) == "answered", "it admitted no probe when its time was up")
    _must(breakers.state(breaker) == "closed", "a good probe did not close it")


async def business_errors_do_not_trip(breakers: Breakers) -> None:
    """An error that it is told not to count opens nothing."""
    breaker = breakers.make(2)
    for _ in range(5):
        await _outcome(breakers, breaker, _raiser(breakers.business()))
    _must(breakers.state(breaker) == "closed", "business errors opened it")


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
    await _settle()
    admitted = len(inside)
    release.set()
    await asyncio.gather(*callers)
    _must(admitted == 1, f"{admitted} of {CALLERS} callers were admitted half-open")


async def cancel_closed(breakers: Breakers) -> None:
    """Cancelled calls are no failures."""
    breaker = breakers.make(1)
    await _cancelled_call(breakers, breaker)
    _must(breakers.state(breaker) == "closed", "a cancelled call opened it")


async def cancel_resets(breakers: Breakers) -> None:
    """Cancelled calls are no successes either: failure, cancel, failure opens at two."""
    breaker = breakers.make(2)
    await _fail(breakers, breaker, 1)
    await _cancelled_call(breakers, breaker)
    _must(breakers.state(breaker) == "closed", "a cancelled call counted as a failure")
    await _fail(breakers, breaker, 1)
    _must(breakers.state(breaker) == "open", "a cancelled call wiped the failures out")


async def cancel_half_open(breakers: Breakers) -> None:
    """A cancelled probe neither closes nor opens, and the next call is admitted."""
    breaker = await _opened(breakers)
    await _wait(breakers)
    await _cancelled_call(breakers, breaker)
    _must(breakers.state(breaker) != "closed", "a cancelled probe closed it")
    _must(await _outcome(breakers, breaker, _answer) == "answered", "after a cancelled probe nobody was admitted")


async def late_success(breakers: Breakers) -> None:
    """A call that began before the trip and answers after it does not close."""
    breaker, late = await _opened_with_a_call_inside(breakers, _answer)
    await late()
    _must(breakers.state(breaker) == "open", "a late success closed an open breaker")


async def late_failure_half_open(breakers: Breakers) -> None:
    """A call that began before the trip and fails during the probe changes nothing; the good probe closes."""
    import asyncio

    breaker, late = await _opened_with_a_call_inside(breakers, _raiser(ConnectionError()))
    await _wait(breakers)
    release = asyncio.Event()
    probe = asyncio.ensure_future(_outcome(breakers, breaker, release.wait))
    await _settle()
    await late()
    during = breakers.state(breaker)
    release.set()
    outcome = await probe
    _must(during == "half_open" and outcome == "answered", f"a late failure made it {during} with a good probe in flight")
    _must(breakers.state(breaker) == "closed", "a late failure kept it from closing")


async def system_exit(breakers: Breakers) -> None:
    """What is no Exception is no failure."""
    breaker = breakers.make(1)
    try:
        await breakers.call(breaker, _raiser(GeneratorExit()))
    except GeneratorExit:
        _must(breakers.state(breaker) == "closed", "an interruption opened it")
    else:
        _must(False, "an interruption was swallowed")


async def traceback_growth(breakers: Breakers) -> None:
    """The two-hundredth rejection has no longer a traceback than the first."""
    breaker = await _opened(breakers)
    depths = [await _depth(breakers, breaker) for _ in range(200)]
    _must(depths[-1] == depths[0], f"the traceback of the 200th rejection has {depths[-1]} entries, of the first {depths[0]}")


async def makes_its_attempts(retries: Retries) -> None:
    """Three attempts are three calls."""
    calls = await _calls(retries, 3, 0.0)
    _must(len(calls) == 3, f"three attempts made {len(calls)} calls")


async def no_attempt_after_the_deadline(retries: Retries) -> None:
    """No attempt starts at or after the total deadline."""
    import asyncio

    calls = await asyncio.wait_for(_calls(retries, 10, 0.04, 0.05), 5)
    late = max(calls) - calls[0]
    _must(late < 0.05, f"an attempt started after {1000 * late:.0f} ms under a deadline of 50 ms")


async def deadline_interrupts_a_hung_attempt(retries: Retries) -> None:
    """An attempt that hangs ends with the deadline."""
    import asyncio

    loop = asyncio.get_running_loop()
    started = loop.time()

    async def hang() -> None:
        await asyncio.sleep(0.3)
        raise ConnectionError

    await _quietly(retries.retried(hang, 2, 0.0, 0.05))
    took = loop.time() - started
    _must(took < 0.1, f"a hung attempt under a deadline of 50 ms took {1000 * took:.0f} ms")


async def cancellation_passes(retries: Retries) -> None:
    """A cancelled call ends at once and is not tried again."""
    import asyncio

    calls: list[int] = []

    async def hang() -> None:
        calls.append(1)
        await asyncio.sleep(3)

    task = asyncio.ensure_future(_awaited(retries.retried(hang, 3, 0.0)))
    await _settle()
    task.cancel()
    await asyncio.wait([task])
    _must(task.cancelled() and len(calls) == 1, f"a cancelled call was tried {len(calls)} times")


async def nested_layers_do_not_multiply(retries: Retries) -> None:
    """Three layers of four attempts make at most five calls."""
    calls: list[int] = []

    async def operation() -> None:
        calls.append(1)
        raise ConnectionError

    layered: Callable[[], Awaitable[Any]] = operation
    for _ in range(3):
        layered = retries.retried(layered, 4, 0.0)
    await _quietly(layered)
    _must(len(calls) <= 5, f"three layers of four attempts made {len(calls)} calls")


async def sleeps_only_between(retries: Retries) -> None:
    """There is no pause after the last attempt."""
    import asyncio

    loop = asyncio.get_running_loop()
    calls = await _calls(retries, 2, 0.1)
    _must(loop.time() - calls[-1] < 0.05, "it slept after the last attempt")


BREAKER_TRAPS = (
    stampede,
    cancel_closed,
    cancel_resets,
    cancel_half_open,
    late_success,
    late_failure_half_open,
    system_exit,
    traceback_growth,
)
BREAKER_CHECKS = (
    opens_at_its_threshold,
    rejects_without_calling,
    closes_after_a_good_probe,
    business_errors_do_not_trip,
    *BREAKER_TRAPS,
)
RETRY_CHECKS = (
    makes_its_attempts,
    no_attempt_after_the_deadline,
    deadline_interrupts_a_hung_attempt,
    cancellation_passes,
    nested_layers_do_not_multiply,
    sleeps_only_between,
)


def _must(condition: bool, otherwise: str) -> None:
    if not condition:
        raise Nonconforming(otherwise)


async def _answer() -> str:
    return "answer"


def _raiser(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def operation() -> None:
        raise error

    return operation


async def _awaited(function: Callable[[], Awaitable[Any]]) -> Any:
    return await function()


async def _quietly(function: Callable[[], Awaitable[Any]]) -> None:
    try:
        await function()
    except Exception:
        return


async def _settle() -> None:
    """Let every task run until it waits."""
    import asyncio

    for _ in range(10):
        await asyncio.sleep(0)


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
        await _outcome(breakers, breaker, _raiser(ConnectionError()))


async def _opened(breakers: Breakers) -> Any:
    breaker = breakers.make(1)
    await _fail(breakers, breaker, 1)
    _must(breakers.state(breaker) == "open", "a failure did not open it")
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
    await _settle()
    await _fail(breakers, breaker, 1)
    _must(breakers.state(breaker) == "open", "a failure did not open it")

    async def late() -> Any:
        release.set()
        return await inside

    return breaker, late


async def _cancelled_call(breakers: Breakers, breaker: Any) -> None:
    import asyncio

    task = asyncio.ensure_future(_awaited(lambda: breakers.call(breaker, asyncio.Event().wait)))
    await _settle()
    task.cancel()
    await asyncio.wait([task])


async def _depth(breakers: Breakers, breaker: Any) -> int:
    try:
        await breakers.call(breaker, _answer)
    except breakers.rejection as error:
        depth, traceback = 0, error.__traceback__
        while traceback is not None:
            depth, traceback = depth + 1, traceback.tb_next
        return depth
    return 0


async def _calls(retries: Retries, attempts: int, delay: float, deadline: float | None = None) -> list[float]:
    """The moments at which an operation that always fails was called."""
    import asyncio

    loop = asyncio.get_running_loop()
    moments: list[float] = []

    async def operation() -> None:
        moments.append(loop.time())
        raise ConnectionError

    await _quietly(retries.retried(operation, attempts, delay, deadline))
    return moments
