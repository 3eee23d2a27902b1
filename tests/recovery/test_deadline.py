"""Deadlines and limits, on a loop of virtual time: what hangs is interrupted, and when two want to, the outer one wins."""

from __future__ import annotations

import asyncio

import pytest

from gates.recovery import (
    CircuitBreaker,
    CircuitBreakerConfig,
    CircuitState,
    ConfigurationError,
    Constant,
    Deadline,
    DeadlineExceeded,
    ExhaustedRetries,
    Retry,
    TimeLimit,
    Timeout,
    remaining,
    with_timeout,
)
from gates.recovery.testing import VirtualClock, run


@pytest.fixture
def clock() -> VirtualClock:
    """The clock of the loop and of the deadlines."""
    return VirtualClock(0.0)


async def hang() -> None:
    """Never answer."""
    await asyncio.sleep(3600)


def test_a_hung_attempt_is_interrupted_at_the_deadline(clock):
    """The call returns at 0.3 s; the peers return after the whole hour."""
    call = Retry(5, Constant(0.1), deadline=0.3, clock=clock)(hang)

    async def scene() -> None:
        with pytest.raises(DeadlineExceeded, match="Deadline exceeded"):
            await call()

    run(scene, clock)
    assert clock.now == pytest.approx(0.3)


def test_every_attempt_has_its_own_limit(clock):
    """Three attempts of 1 s with 0.5 s between end after 4 s, each with Timeout."""

    async def scene() -> None:
        with pytest.raises(ExhaustedRetries) as caught:
            await Retry(3, Constant(0.5), attempt_timeout=1.0)(hang)()
        assert [str(attempt.error) for attempt in caught.value.history] == ["Operation timeout after 1 s"] * 3

    run(scene, clock)
    assert clock.now == pytest.approx(4.0)


def test_no_attempt_starts_at_or_after_the_deadline(clock):
    """With attempts every 0.1 s under 0.25 s there are three; the pause that would not fit is not slept."""
    starts = []

    async def failing() -> None:
        starts.append(clock.now)
        raise ConnectionError

    async def scene() -> None:
        with pytest.raises(DeadlineExceeded) as caught:
            await Retry(None, Constant(0.1), deadline=0.25, clock=clock)(failing)()
        assert caught.value.attempts == 3

    run(scene, clock)
    assert starts == pytest.approx([0.0, 0.1, 0.2])
    assert clock.now == pytest.approx(0.2)


def test_a_function_stops_at_the_first_failure_that_leaves_no_time(clock):
    """A sync attempt can't be interrupted; its failure after the deadline is the last, and nothing sleeps."""

    def slow() -> None:
        clock.advance(0.4)
        raise ConnectionError

    with pytest.raises(DeadlineExceeded):
        Retry(5, Constant(0.01), deadline=0.3, clock=clock, sleep=clock.sleep)(slow)()
    assert clock.sleeps == []


def test_a_result_that_comes_late_is_returned(clock):
    """The work is done, so throwing it away helps nobody."""

    def slow() -> str:
        clock.advance(0.4)
        return "answer"

    assert Deadline(0.3, clock=clock)(slow)() == "answer"


def test_the_deadline_is_passed_down(clock):
    """A retry three layers further in, with no deadline of its own, keeps to the one further out; `remaining` tells it."""
    seen = []

    def failing() -> None:
        seen.append(remaining())
        raise ConnectionError

    inner = Retry(None, Constant(1.0), sleep=clock.sleep)(failing)
    with pytest.raises(DeadlineExceeded):
        Deadline(10, clock=clock)(Deadline(2.5, clock=clock)(inner))()
    assert seen == pytest.approx([2.5, 1.5, 0.5])
    assert remaining() is None


def test_a_tighter_deadline_further_out_stays_in_force(clock):
    """An inner deadline can't give itself more time, and where none is left nothing is called."""

    def look() -> float | None:
        return remaining()

    assert Deadline(1, clock=clock)(Deadline(100, clock=clock)(look))() == 1

    def late() -> None:
        clock.advance(2)
        Deadline(100, clock=clock)(pytest.fail)()

    with pytest.raises(DeadlineExceeded):
        Deadline(1, clock=clock)(late)()


def test_a_cancellation_from_outside_in_the_same_tick_wins(clock):
    """The task is cancelled and timed out at once: CancelledError comes out, and the task's count of requests is balanced."""

    async def scene() -> None:
        task = asyncio.ensure_future(TimeLimit(1.0)(hang)())
        asyncio.get_running_loop().call_at(clock.now + 1.0, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        assert task.cancelling() == 1

    run(scene, clock)


def test_a_timeout_leaves_the_task_uncancelled(clock):
    """After a timeout the task goes on, `cancelling()` is 0, and an asyncio.timeout around and inside still works."""

    async def scene() -> None:
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(Timeout):
            await TimeLimit(1.0)(hang)()
        assert task.cancelling() == 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await TimeLimit(1.0)(hang)()
        assert task.cancelling() == 0

        async def inner() -> str:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await hang()
            return "answer"

        assert await TimeLimit(1.0)(inner)() == "answer"

    run(scene, clock)
    assert clock.now == pytest.approx(2.0)


def test_a_callee_that_swallows_the_interruption_is_not_cancelled_later(clock):
    """It returns its answer, and the request to cancel is taken back."""

    async def stubborn() -> str:
        try:
            await hang()
        except asyncio.CancelledError:
            return "answer"
        return ""

    async def scene() -> None:
        task = asyncio.current_task()
        assert task is not None
        assert await TimeLimit(1.0)(stubborn)() == "answer"
        assert task.cancelling() == 0
        await asyncio.sleep(1)

    run(scene, clock)


def test_many_calls_share_one_timer(clock):
    """A hundred calls of one limit that begin at different times are each interrupted at their own, by one timer at a time."""
    limited = TimeLimit(10.0)(hang)
    ended = []

    async def one(begin: float) -> None:
        await asyncio.sleep(begin)
        with pytest.raises(Timeout):
            await limited()
        ended.append(clock.now - begin)

    async def scene() -> None:
        loop, armed = asyncio.get_running_loop(), []
        call_at = loop.call_at

        def counted(when, function, *arguments, **more):
            if getattr(function, "__name__", "") == "ring":
                armed.append(when)
            return call_at(when, function, *arguments, **more)

        loop.call_at = counted
        await asyncio.gather(*(one(index * 0.05) for index in range(100)))
        # Each time the timer rings it is armed once for the next; never is there a second one beside it.
        assert len(armed) <= 100
        assert armed == sorted(set(armed))

    run(scene, clock)
    assert ended == pytest.approx([10.0] * 100)


def test_a_limit_forgets_the_loops_that_are_closed():
    """However many loops it is used on, one after the other, it holds no more than the last two."""
    limit = TimeLimit(10.0)

    @limit
    async def answer() -> int:
        return 42

    for _ in range(5):
        assert run(answer) == 42
    assert len(limit._timer._queues) <= 2


def test_a_time_limit_refuses_what_it_cant_interrupt():
    """A function is refused when it is decorated; so is a retry with an attempt limit around one."""
    with pytest.raises(ConfigurationError, match="a coroutine function: nothing else can be interrupted"):
        TimeLimit(1)(len)
    with pytest.raises(ConfigurationError, match="a coroutine function"):
        Retry(2, attempt_timeout=1)(lambda: 1)
    with pytest.raises(ConfigurationError, match="Retry.attempt_timeout is 0"):
        Retry(2, attempt_timeout=0)


def test_a_timeout_inside_a_breaker_counts_as_a_failure(clock):
    """A dependency that hangs opens the breaker around the limit; a cancellation by a deadline further out does not."""
    breaker = CircuitBreaker("slow", CircuitBreakerConfig(1), clock=clock)

    async def scene() -> None:
        with pytest.raises(DeadlineExceeded):
            await Deadline(0.5, clock=clock)(breaker(hang))()
        assert breaker.state is CircuitState.CLOSED
        with pytest.raises(Timeout):
            await breaker(TimeLimit(1.0)(hang))()
        assert breaker.state is CircuitState.OPEN

    run(scene, clock)


def test_with_timeout_is_the_originals_function(clock):
    """It awaits at most so long, and raises Timeout with the duration."""

    async def scene() -> None:
        with pytest.raises(Timeout, match="Operation timeout after 2 s") as caught:
            await with_timeout(hang, 2.0, "prices")
        assert caught.value.duration == 2.0

    run(scene, clock)


def test_cancellation_at_every_await_point_passes_and_leaves_nothing_behind(clock):
    """A retry with deadline, limit and breaker is cancelled at every moment of its life: no permit stays out, and no task."""
    for moment in range(40):
        breaker = CircuitBreaker("all", CircuitBreakerConfig(1, 0.2, 9), clock=clock)

        async def operation() -> None:
            await asyncio.sleep(0.1)
            raise ConnectionError

        guarded = Retry(5, Constant(0.15), deadline=2.0, attempt_timeout=1.0, clock=clock, wait_for_breaker=True)(
            breaker(operation)
        )

        async def scene(moment=moment, guarded=guarded) -> bool:
            task = asyncio.ensure_future(guarded())
            asyncio.get_running_loop().call_later(moment * 0.025, task.cancel)
            try:
                await task
            except asyncio.CancelledError:
                assert asyncio.all_tasks() == {asyncio.current_task()}
                return True
            except Exception:
                return False
            return False

        cancelled = run(scene, clock)
        assert cancelled or moment > 20
        assert breaker.snapshot().in_flight == 0
